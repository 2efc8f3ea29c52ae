//! The forward pass.

use super::packed::packed_name;
use super::workspace::{Mask, Place, Planner, said};
use super::{Encoding, Head, Role};
use crate::command::{BufferId, Dispatch, Executor, Operation, Range};
use crate::kernels::copy_at_length::Way;
use crate::kernels::{embedding, one_hot};
use crate::reference::{Product, Strides};

/// The most gates (f32) that a plan without a backward pass keeps at a time, 16 MiB.
pub(super) const GATES_OF_A_CHUNK: usize = (16 << 20) / 4;

/// The same on the CPU, 2 MiB: what a product has just written is still in a cache when the timesteps
/// read it.
const GATES_IN_CACHE: usize = (2 << 20) / 4;

/// The states of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Hidden,
    Cell,
}

/// The slots of one direction's states.
struct Slots {
    strides: Strides,
    /// Where slot 0 starts.
    first: usize,
    /// The slot of the initial state of a row that has all timesteps.
    initial: usize,
    /// The slot of its final state.
    last: usize,
}

impl Slots {
    fn start(&self, slot: usize) -> usize {
        self.first + slot * self.strides.step
    }
}

/// Where things lie in the buffers of a layer; directions are 0, forward, and 1, reverse.
impl Planner<'_> {
    /// Elements of a direction's cell states in layer `l` at one timestep, a quarter of its gates.
    pub(super) fn slot(&self, l: usize) -> usize {
        self.batch * self.shape.units(l)
    }

    /// The gates of a layer: those of all timesteps where they are kept, else those of a chunk, in a
    /// buffer that all layers share.
    pub(super) fn gates(&self, l: usize) -> BufferId {
        if self.keep { self.layer("gates", l) } else { self.named("gates") }
    }

    /// The first timestep, in time, of those whose gates a direction has in the workspace.
    fn chunk_at(&self, d: usize) -> usize {
        let (first, count) = self.chunk;
        if d == 0 { first } else { self.steps - first - count }
    }

    /// Where the gates of timestep `t` start in the gates of a layer.
    pub(super) fn gates_at(&self, l: usize, d: usize, t: usize) -> usize {
        let in_layer = 4 * (d * self.chunk.1 + t - self.chunk_at(d)) * self.slot(l);
        l * self.gates_stride() + in_layer
    }

    /// Where what is projected at timestep `t` starts in `z_l{l}`.
    pub(super) fn z_at(&self, l: usize, d: usize, t: usize) -> usize {
        (d * self.steps + t) * self.slot(l)
    }

    /// Where slot `slot` of a direction starts in `h_l{l}`. Both directions write slot `t+1` at
    /// timestep `t`, so that slots 1 to T are the layer's outputs; each initial state stands where
    /// its direction comes from.
    pub(super) fn h_at(&self, l: usize, d: usize, slot: usize) -> usize {
        let in_layer = slot * self.batch * self.shape.layer_output(l) + d * self.shape.state(l);
        l * self.state_stride() + in_layer
    }

    /// Where slot `slot` of a direction starts in `c_l{l}`.
    pub(super) fn c_at(&self, l: usize, d: usize, slot: usize) -> usize {
        l * self.state_stride() + (d * (self.steps + 1) + slot) * self.slot(l)
    }

    /// Where the hidden states before and after timestep `t` start.
    pub(super) fn h_around(&self, l: usize, d: usize, t: usize) -> (usize, usize) {
        (self.h_at(l, d, if d == 0 { t } else { t + 2 }), self.h_at(l, d, t + 1))
    }

    /// Where the cell states before and after timestep `t` start.
    pub(super) fn c_around(&self, l: usize, d: usize, t: usize) -> (usize, usize) {
        let (before, after) = if d == 0 { (t, t + 1) } else { (t + 1, t) };
        (self.c_at(l, d, before), self.c_at(l, d, after))
    }

    /// The timestep that a direction visits `s`th.
    pub(super) fn visit(&self, d: usize, s: usize) -> usize {
        if d == 0 { s } else { self.steps - 1 - s }
    }

    /// Where the states of a direction lie in `h_l{l}` or `c_l{l}`.
    fn slots_of(&self, state: State, l: usize, d: usize) -> Slots {
        let (row, step, first) = match state {
            State::Hidden => {
                let row = self.shape.layer_output(l);
                (row, self.batch * row, self.h_at(l, d, 0))
            }
            State::Cell => (self.shape.units(l), self.slot(l), self.c_at(l, d, 0)),
        };
        // Of hidden states both directions write slot t+1, of cell states reverse writes slot t.
        let (initial, last) = match (d, state) {
            (0, _) => (0, self.steps),
            (_, State::Hidden) => (self.steps + 1, 1),
            (_, State::Cell) => (self.steps, 0),
        };
        Slots { strides: Strides { step, row }, first, initial, last }
    }

    /// Where the state of a direction of layer `l` starts in an `[L D, B, ..]`, and its width.
    pub(super) fn state_at(&self, state: State, l: usize, d: usize) -> (usize, usize) {
        let width = |l: usize| match state {
            State::Hidden => self.shape.state(l),
            State::Cell => self.shape.units(l),
        };
        (self.batch * self.shape.states_below(l, d, width), width(l))
    }
}

impl Planner<'_> {
    /// Every layer over every timestep, then the head.
    pub(super) fn forward(&mut self) {
        if self.sequences.state {
            for (state, name) in [(State::Hidden, "h_0"), (State::Cell, "c_0")] {
                self.state_buffer(state, name);
            }
        }
        self.input();
        self.rows_for_masks();
        match self.stacked() {
            true => self.wavefront_forward(),
            false => (0..self.shape.layers).for_each(|l| self.layer_forward(l)),
        }
        match self.shape.head {
            Head::Sequence => self.sequence_results(),
            _ => self.head_forward(),
        }
    }

    /// What the first layer runs over, where it isn't `x` itself.
    fn input(&mut self) {
        let (steps, batch, given) = (self.steps, self.batch, self.shape.given());
        let mut x = self.x;
        let alignment = self.alignment();
        if self.sequences.batch_first || self.sequences.lengths || alignment.is_some() {
            let from = (self.callers_strides(given), Place { buffer: x, start: 0 });
            x = match self.shape.encoding {
                Encoding::Values => {
                    self.workspace("x_time_major", "[T, B, I]", &[steps, batch, given])
                }
                // What is left out is token 0, whatever stands there.
                _ => self.workspace("tokens", "[T, B]", &[steps, batch]),
            };
            let to = (Strides::time_major(batch, given), Place { buffer: x, start: 0 });
            match alignment {
                Some(alignment) => self.align_sequence("input", alignment, given, from, to),
                None => {
                    let padded = self.ended_by(0);
                    self.copy_sequence("input", (steps, given), from, to, padded, false);
                }
            }
        }
        let Some(tokens) = self.shape.encoding.tokens(self.shape.input) else { return };
        let width = self.shape.input;
        let encoded = self.workspace("x_time_major", "[T, B, I]", &[steps, batch, width]);
        let rows = steps * batch;
        let some = match self.program.spec(encoded).len <= self.limits.max_binding {
            true => rows,
            false => self.rows_in_binding(width),
        };
        let weight = self.parameter(self.params, Role::Embedding);
        for first in (0..rows).step_by(some) {
            let count = some.min(rows - first);
            let from = self.window(Place { buffer: x, start: first }, count);
            let to = self.window(Place { buffer: encoded, start: first * width }, count * width);
            let dispatch = match weight {
                Some(weight) => {
                    let weight = self.window(weight, tokens * width);
                    embedding::dispatch((count, tokens, width), from, weight, to)
                }
                None => one_hot::dispatch((count, tokens), from, to),
            };
            self.launch("encoded input", dispatch);
        }
    }

    /// A buffer for a state of all layers.
    pub(super) fn state_buffer(&mut self, state: State, name: &str) {
        let [hidden, cell] = self.shape.state_widths();
        let (width, dims) = match state {
            State::Hidden => (hidden, "[L D, B, P]"),
            State::Cell => (cell, "[L D, B, H]"),
        };
        let states = self.shape.layers * self.shape.directions();
        match self.shape.sizes.is_empty() {
            true => self.workspace(name, dims, &[states, self.batch, width / states.max(1)]),
            false => self.workspace(name, "[L D, B, that of the layer]", &[self.batch * width]),
        };
    }

    /// The input of layer `l`: `x`, or the outputs of the layer below.
    pub(super) fn layer_input(&self, l: usize) -> Place {
        match l.checked_sub(1) {
            _ if self.program.buffer(&format!("masked_x_l{l}")).is_some() => {
                Place { buffer: self.named(&format!("masked_x_l{l}")), start: 0 }
            }
            None => {
                let moved = self.program.buffer("x_time_major");
                Place { buffer: moved.unwrap_or(self.x), start: 0 }
            }
            Some(below) => match self.program.buffer(&format!("y_l{below}")) {
                Some(buffer) => Place { buffer, start: 0 },
                None => Place { buffer: self.layer("h", below), start: self.h_at(below, 0, 1) },
            },
        }
    }

    /// Whether `h` holds more than a layer's outputs between slots 1 and T: with lengths, the
    /// reverse direction's initial state stands where a row ends.
    pub(super) fn outputs_are_mixed(&self) -> bool {
        let initial = self.sequences.state || self.shape.learned_state;
        self.sequences.lengths && self.shape.bidirectional && initial
    }

    fn layer_forward(&mut self, l: usize) {
        let (steps, batch, hidden) = (self.steps, self.batch, self.shape.units(l));
        let (directions, state) = (self.shape.directions(), self.shape.state(l));
        let name = |kind: &str| format!("{kind}_l{l}");
        self.masked_input(l);
        let some = if self.fuses() { steps } else { self.chunk_steps() };
        if self.keep {
            let size = [directions, steps, batch, hidden, 4];
            self.workspace(&name("gates"), "[D, T, B, H, 4]", &size);
        } else if !self.fuses() && self.program.buffer("gates").is_none() {
            let size = [directions, some, batch, self.shape.hidden, 4];
            self.workspace("gates", "[D, chunk of T, B, H, 4]", &size);
        }
        let size = [steps + directions, batch, directions, state];
        let h = match self.halves_of_h() {
            1 => self.workspace(&name("h"), "[T+D, B, D, P]", &size),
            halves => {
                let size = [&[halves][..], &size].concat();
                self.workspace(&name("h"), "[2, T+D, B, D, P]", &size)
            }
        };
        let size = [directions, steps + 1, batch, hidden];
        let c = self.workspace(&name("c"), "[D, T+1, B, H]", &size);
        let mut written = vec![h, c];
        if self.shape.projection.is_some() {
            let size = [directions, steps, batch, hidden];
            written.push(self.workspace(&name("z"), "[D, T, B, H]", &size));
        }
        if self.sequences.lengths {
            // Steps leave rows that have ended alone.
            for buffer in written {
                self.push(format!("layer {l}, padding"), Operation::Zero(self.whole(buffer)));
            }
        }
        for d in 0..directions {
            self.initial_state(State::Hidden, l, d);
            self.initial_state(State::Cell, l, d);
            self.masked_initial_state(l, d);
        }
        if self.walks_packed() && self.keep {
            self.pack_recurrent(l, false);
        }
        for first in (0..steps).step_by(some) {
            self.chunk = (first, some.min(steps - first));
            if !self.fuses() {
                (0..directions).for_each(|d| self.input_projection(l, d));
            }
            if self.walks_packed() {
                self.sequence_forward(l);
                continue;
            }
            if let Some(walker) = self.forward_cut.walker {
                self.walk_forward(l, walker);
                continue;
            }
            for s in first..first + self.chunk.1 {
                self.step_forward(l, s);
            }
        }
        if l + 1 < self.shape.layers {
            self.outputs_for_next(l);
        }
    }

    /// Timesteps whose gates are in the workspace at a time.
    fn chunk_steps(&self) -> usize {
        if self.keep {
            return self.steps;
        }
        let most = match self.limits.executor {
            Executor::Gpu => GATES_OF_A_CHUNK,
            Executor::Cpu => GATES_IN_CACHE,
        };
        let largest = self.batch * self.shape.hidden;
        (most / (4 * self.shape.directions() * largest)).clamp(1, self.steps)
    }

    /// The input's share of the gates of a chunk.
    pub(super) fn input_projection(&mut self, l: usize, d: usize) {
        let roles = [Role::BiasIh(l, d), Role::BiasHh(l, d)];
        let biases: Vec<Place> =
            roles.into_iter().filter_map(|role| self.parameter(self.params, role)).collect();
        let (t, steps) = (self.chunk_at(d), self.chunk.1);
        let (rows, columns) = (steps * self.batch, 4 * self.shape.units(l));
        let width = self.shape.layer_input(l);
        let mut shape = Product::dense(rows, columns, width, false, false);
        let mut weight = self.required(self.params, Role::WeightIh(l, d));
        if let Some(buffer) = self.program.buffer(&packed_name("weight_ih", l, d)) {
            (shape, weight) = (shape.packed(), Place { buffer, start: 0 });
        }
        let mut label = format!("layer {l}{}, input projection", said(d));
        if steps < self.steps {
            label = format!("{label}, t = {t} to {}", t + steps - 1);
        }
        let input = self.layer_input(l);
        let input = Place { start: input.start + t * self.batch * width, ..input };
        let out = Place { buffer: self.gates(l), start: self.gates_at(l, d, t) };
        self.product(&label, shape, input, weight, &biases, out);
    }

    /// Puts an initial state where the first step of a direction finds it.
    pub(super) fn initial_state(&mut self, state: State, l: usize, d: usize) {
        let label = format!("layer {l}{}, initial state", said(d));
        let (start, width) = self.state_at(state, l, d);
        let (name, role) = match state {
            State::Hidden => ("h", Role::InitialH),
            State::Cell => ("c", Role::InitialC),
        };
        let (to, slots) = (self.layer(name, l), self.slots_of(state, l, d));
        let learned = self.parameter(self.params, role).map(|place| {
            // One row for all.
            (0, Place { start: place.start + start / self.batch, ..place })
        });
        let given = self.program.buffer(&format!("{name}_0"));
        if let (Some(keep), Some(given)) = (self.program.buffer("keep"), given) {
            // Rows that begin anew leave the given state behind, for the learned one if there is one.
            let target = Place { buffer: to, start: slots.start(slots.initial) };
            let to = (slots.strides, target);
            let strides = |row: usize| Strides { step: 0, row };
            let from = (strides(width), Place { buffer: given, start });
            let mask = |lengths| Some(Mask { lengths, t: 0 });
            self.copy_sequence(&label, (1, width), from, to, mask(keep), false);
            if let (Some((row, learned)), Some(fresh)) = (learned, self.program.buffer("fresh")) {
                let from = (strides(row), learned);
                self.copy_sequence(&label, (1, width), from, to, mask(fresh), true);
            }
            return;
        }
        let source = match given {
            Some(buffer) => Some((width, Place { buffer, start })),
            None => learned,
        };
        let Some((from_row, from)) = source else {
            if !self.sequences.lengths {
                let (start, len) = (slots.start(slots.initial), slots.strides.row);
                let len = (self.batch - 1) * len + width;
                self.push(label, Operation::Zero(Range { buffer: to, start, len }));
            }
            return;
        };
        if d == 1 && self.sequences.lengths {
            let offset = slots.initial as isize - self.steps as isize;
            let size = (offset, slots.initial + 1, width);
            let to = (slots.strides, Place { buffer: to, start: slots.first });
            self.copy_at_length(&label, Way::Scatter, size, to, (from_row, from), false);
        } else {
            let to = Place { buffer: to, start: slots.start(slots.initial) };
            self.copy_state(&label, width, (from_row, from), (slots.strides.row, to));
        }
    }

    /// One launch for all directions or, where their operands can't be bound together, one each.
    pub(super) fn launch_directions(
        &mut self,
        together: &str,
        alone: impl Fn(usize, &Self) -> String,
        dispatch: impl Fn(&[usize], &Self) -> Dispatch,
    ) {
        let directions: Vec<usize> = (0..self.shape.directions()).collect();
        let all = dispatch(&directions, self);
        if directions.len() == 1 || self.can_bind(&all) {
            return self.launch(together, all);
        }
        for d in directions {
            let (label, one) = (alone(d, self), dispatch(&[d], self));
            self.launch(label, one);
        }
    }

    /// Copies a `[B, K]`, as a command where both are dense.
    pub(super) fn copy_state(
        &mut self,
        label: &str,
        width: usize,
        (from_row, from): (usize, Place),
        (to_row, to): (usize, Place),
    ) {
        if from_row == width && to_row == width {
            let range =
                |at: Place| Range { buffer: at.buffer, start: at.start, len: self.batch * width };
            let (from, to) = (range(from), range(to));
            return self.push(label, Operation::Copy { from, to });
        }
        let strides = |row: usize| Strides { step: 0, row };
        let (from, to) = ((strides(from_row), from), (strides(to_row), to));
        self.copy_sequence(label, (1, width), from, to, None, false);
    }

    /// Makes what the layer above runs over, where it isn't `h` itself.
    fn outputs_for_next(&mut self, l: usize) {
        if self.dropout.is_none() && !self.outputs_are_mixed() {
            return;
        }
        let y = self.copied_outputs(l);
        if let Some(drop) = self.dropout {
            let size = (self.steps, self.shape.layer_output(l));
            self.drop_elements(&format!("layer {l}, dropout"), drop, l, size, y);
        }
    }

    /// A copy of a layer's outputs.
    pub(super) fn copied_outputs(&mut self, l: usize) -> BufferId {
        let width = self.shape.layer_output(l);
        let y = self.workspace(&format!("y_l{l}"), "[T, B, D P]", &[self.steps, self.batch, width]);
        let label = format!("layer {l}, outputs");
        self.copy_outputs(&label, l, (Strides::time_major(self.batch, width), y));
        y
    }

    /// Copies a layer's outputs.
    fn copy_outputs(&mut self, label: &str, l: usize, to: (Strides, BufferId)) {
        let width = self.shape.layer_output(l);
        let time_major = Strides::time_major(self.batch, width);
        let from = Place { buffer: self.layer("h", l), start: self.h_at(l, 0, 1) };
        let copied = Place { buffer: to.1, start: 0 };
        if to.0 == time_major && !self.outputs_are_mixed() {
            let len = self.steps * self.batch * width;
            let range = |at: Place| Range { buffer: at.buffer, start: at.start, len };
            return self.push(label, Operation::Copy { from: range(from), to: range(copied) });
        }
        let padded = self.ended_by(0).filter(|_| self.outputs_are_mixed());
        let (from, to) = ((time_major, from), (to.0, copied));
        self.copy_sequence(label, (self.steps, width), from, to, padded, false);
    }

    /// The outputs and final states of a model without a head.
    fn sequence_results(&mut self) {
        let (top, width) = (self.shape.layers - 1, self.shape.features());
        let alignment = self.alignment();
        if self.sequences.batch_first || self.outputs_are_mixed() || alignment.is_some() {
            let (steps, batch) = (self.steps, self.batch);
            let y = match self.sequences.batch_first {
                true => self.workspace("y", "[B, T, D P]", &[batch, steps, width]),
                false => self.workspace("y", "[T, B, D P]", &[steps, batch, width]),
            };
            let to = (self.callers_strides(width), y);
            match alignment {
                Some(alignment) => self.align_outputs("outputs", alignment.back(), to),
                None => self.copy_outputs("outputs", top, to),
            }
            self.output = Some(self.whole(y));
        } else {
            let (start, len) = (self.h_at(top, 0, 1), self.steps * self.batch * width);
            self.output = Some(Range { buffer: self.layer("h", top), start, len });
        }
        self.final_states();
    }

    /// The final states of all layers, in `h_n` and `c_n`.
    pub(super) fn final_states(&mut self) {
        let states = [(State::Hidden, "h_n"), (State::Cell, "c_n")];
        states.into_iter().for_each(|(state, name)| self.state_buffer(state, name));
        for l in 0..self.shape.layers {
            for d in 0..self.shape.directions() {
                let label = format!("layer {l}{}, final state", said(d));
                for (state, name) in states {
                    let (start, width) = self.state_at(state, l, d);
                    let to = Place { buffer: self.named(name), start };
                    self.final_state(&label, state, (l, d), (width, to));
                }
            }
        }
    }

    /// Copies the final state of a direction of a layer.
    pub(super) fn final_state(
        &mut self,
        label: &str,
        state: State,
        (l, d): (usize, usize),
        to: (usize, Place),
    ) {
        let (_, width) = self.state_at(state, l, d);
        let buffer = match state {
            State::Hidden => self.layer("h", l),
            State::Cell => self.layer("c", l),
        };
        let slots = self.slots_of(state, l, d);
        if d == 0 && self.sequences.lengths {
            // A row's last state is in the slot of its length, the initial one where that is 0.
            let from = (slots.strides, Place { buffer, start: slots.first });
            let size = (0, self.steps + 1, width);
            return self.copy_at_length(label, Way::Gather, size, from, to, false);
        }
        let from = Place { buffer, start: slots.start(slots.last) };
        self.copy_state(label, width, (slots.strides.row, from), to);
    }

    /// Makes the final states the initial ones of the next run.
    pub(super) fn carry_states(&mut self) {
        self.final_states();
        for (last, first) in [("h_n", "h_0"), ("c_n", "c_0")] {
            let (from, to) = (self.whole(self.named(last)), self.whole(self.named(first)));
            self.push("carried state", Operation::Copy { from, to });
        }
    }
}
