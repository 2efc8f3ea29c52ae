//! Backpropagation through time.

use super::forward::State;
use super::parameters::quads;
use super::workspace::{Mask, Place, Planner, said};
use super::{Encoding, Head, Role};
use crate::command::{BufferId, Operation, Range, Tier};
use crate::kernels::copy_at_length::Way;
use crate::kernels::matmul::Sums;
use crate::kernels::{View, column_sum, embedding_backward};
use crate::reference::{Alignment, Product, Strides};

impl Planner<'_> {
    /// What comes back from outside to a model without a head.
    pub(super) fn incoming(&mut self) {
        let (steps, batch, width) = (self.steps, self.batch, self.shape.features());
        match self.sequences.batch_first {
            true => self.workspace("dy", "[B, T, D P]", &[batch, steps, width]),
            false => self.workspace("dy", "[T, B, D P]", &[steps, batch, width]),
        };
        self.state_buffer(State::Hidden, "dh_n");
        self.state_buffer(State::Cell, "dc_n");
    }

    /// Every gradient, from the head down.
    pub(super) fn backward(&mut self, input_gradient: bool) {
        let grads = self.callers("grads", "[N]", &[self.table.len]);
        let partials = self.column_sum_partials();
        let sums = self.workspace("column_sums", "[partial sums]", &[partials]);
        let (steps, batch, hidden) = (self.steps, self.batch, self.shape.hidden);
        let (directions, width) = (self.shape.directions(), self.shape.widest_output());
        if self.shape.layers == 0 {
            self.head_backward(grads, sums);
            return;
        }
        self.workspace("dh", "[T, B, D P]", &[steps, batch, width]);
        let wavefront = self.backward_cut.tier == Tier::Wavefront;
        match wavefront {
            true => self.workspace("dc", "[L, B, H]", &[self.shape.layers, batch, hidden]),
            false if self.halves_of_dc() == 1 => {
                self.workspace("dc", "[D, B, H]", &[directions, batch, hidden])
            }
            false => {
                let size = [self.halves_of_dc(), directions, batch, hidden];
                self.workspace("dc", "[2, D, B, H]", &size)
            }
        };
        if let Some(projection) = self.shape.projection {
            let size = [directions, steps, batch, quads(projection)];
            self.workspace("dp", "[D, T, B, P rounded up]", &size);
        }
        if input_gradient && self.shape.encoding == Encoding::Values {
            match self.sequences.batch_first {
                true => self.workspace("dx_0", "[B, T, I]", &[batch, steps, self.shape.input]),
                false => self.workspace("dx_0", "[T, B, I]", &[steps, batch, self.shape.input]),
            };
        }
        if input_gradient || self.shape.learned_state {
            self.state_buffer(State::Hidden, "dh_0");
            self.state_buffer(State::Cell, "dc_0");
            if self.sequences.lengths && self.shape.bidirectional {
                self.workspace("ends", "[B, H, 4]", &[batch, hidden, 4]);
            }
        }
        self.top_gradient(grads, sums);
        if wavefront {
            self.wavefront_backward();
        }
        for l in (0..self.shape.layers).rev() {
            if !wavefront {
                self.layer_steps_backward(l);
            }
            self.layer_weights_backward(l, grads, sums);
            if input_gradient || self.shape.learned_state {
                self.initial_states_backward(l);
            }
            if l == 0 || !wavefront {
                self.layer_inputs_backward(l);
            }
        }
        if self.shape.learned_state {
            if self.program.buffer("fresh").is_some() {
                self.workspace("d_fresh", "[B, H]", &[batch, hidden]);
            }
            self.learned_states_backward(grads, sums);
        }
    }

    /// The gradient of the top layer's outputs, in `dh`.
    fn top_gradient(&mut self, grads: BufferId, sums: BufferId) {
        let (steps, batch, width) = (self.steps, self.batch, self.shape.features());
        let dh = self.named("dh");
        if self.shape.head == Head::Sequence {
            let from = (self.callers_strides(width), Place { buffer: self.named("dy"), start: 0 });
            let to = (Strides::time_major(batch, width), Place { buffer: dh, start: 0 });
            let label = "outputs, gradient";
            match self.alignment() {
                Some(alignment) => self.align_sequence(label, alignment, width, from, to),
                None if from.0 == to.0 && !self.sequences.lengths => {
                    let from = self.whole(from.1.buffer);
                    let to = Range { buffer: dh, start: 0, len: from.len };
                    self.push(label, Operation::Copy { from, to });
                }
                None => {
                    let padded = self.ended_by(0);
                    self.copy_sequence(label, (steps, width), from, to, padded, false);
                }
            }
            return;
        }
        let d_read = self.head_backward(grads, sums);
        self.read_backward(d_read);
    }

    /// A product that is a parameter's gradient: added to what is there where gradients are.
    pub(super) fn summed(&self, product: Product) -> Product {
        Product { accumulate: self.accumulate, ..product }
    }

    /// Backpropagation through time: from `dh` to the gradients of the gates.
    fn layer_steps_backward(&mut self, l: usize) {
        for d in 0..self.shape.directions() {
            self.final_states_backward(l, d);
        }
        if let Some(projection) = self.shape.projection {
            let (width, features) = (quads(projection), self.shape.layer_output(l));
            let (dh, dp) = (self.named("dh"), self.named("dp"));
            if width > projection {
                self.push(format!("layer {l}, backward"), Operation::Zero(self.whole(dp)));
            }
            for d in 0..self.shape.directions() {
                let label = format!("layer {l}{}, projection's gradient", said(d));
                let from = Place { buffer: dh, start: d * projection };
                let from = (Strides::time_major(self.batch, features), from);
                let to = Place { buffer: dp, start: self.dp_at(d, 0) };
                let to = (Strides::time_major(self.batch, width), to);
                self.copy_sequence(&label, (self.steps, projection), from, to, None, false);
            }
        }
        if self.walks_packed() {
            self.pack_recurrent(l, true);
            return self.sequence_backward(l);
        }
        if let Some(walker) = self.backward_cut.walker {
            return self.walk_backward(l, walker);
        }
        for s in 0..self.steps {
            self.step_backward(l, s);
        }
    }

    /// Where the gradient of a cell state starts in `dc`, which the layers of a wavefront don't share.
    pub(super) fn dc_at(&self, l: usize, d: usize) -> usize {
        let place = if self.backward_cut.tier == Tier::Wavefront { l } else { d };
        place * self.slot(l)
    }

    /// Where the gradient of a direction's projected state starts in `dp`.
    pub(super) fn dp_at(&self, d: usize, t: usize) -> usize {
        (d * self.steps + t) * self.batch * quads(self.shape.state(0))
    }

    /// Adds what comes back through the final hidden state to the output that it is, and starts
    /// the cell state's gradient.
    fn final_states_backward(&mut self, l: usize, d: usize) {
        let label = format!("layer {l}{}, final state's gradient", said(d));
        let (dc, batch) = (self.named("dc"), self.batch);
        let (start, width) = self.state_at(State::Cell, l, d);
        let to = Range { buffer: dc, start: self.dc_at(l, d), len: self.slot(l) };
        if self.halves_of_dc() > 1 {
            let kept = Range { start: to.start + self.zoned(), ..to };
            self.push(label.clone(), Operation::Zero(kept));
        }
        let Some(dc_n) = self.program.buffer("dc_n") else {
            return self.push(label, Operation::Zero(to));
        };
        let from = Range { buffer: dc_n, start, len: batch * width };
        self.push(label.clone(), Operation::Copy { from, to });

        let (start, width) = self.state_at(State::Hidden, l, d);
        let from = Place { buffer: self.named("dh_n"), start };
        self.final_output_gradient(&label, l, d, (width, from), true);
    }

    /// The timestep that the backward pass of a direction visits `s`th.
    pub(super) fn visit_back(&self, d: usize, s: usize) -> usize {
        if d == 0 { self.steps - 1 - s } else { s }
    }

    fn layer_weights_backward(&mut self, l: usize, grads: BufferId, partials: BufferId) {
        let (rows, hidden, input) =
            (self.steps * self.batch, self.shape.units(l), self.shape.layer_input(l));
        let (state, features) = (self.shape.state(l), self.shape.layer_output(l));
        for d in 0..self.shape.directions() {
            let said = format!("layer {l}{}", said(d));
            let d_gates = Place { buffer: self.gates(l), start: self.gates_at(l, d, 0) };
            // Both biases are added to the same sum, so their gradients are the same.
            let roles = [Role::BiasIh(l, d), Role::BiasHh(l, d)];
            let biases: Vec<Place> =
                roles.into_iter().filter_map(|role| self.parameter(grads, role)).collect();
            let to = self.required(grads, Role::WeightIh(l, d));
            let shape = self.summed(Product::dense(input, 4 * hidden, rows, true, false));
            let label = format!("{said}, weight_ih gradient");
            let operands = (self.layer_input(l), d_gates, to);
            self.weight_gradient(&label, shape, operands, (Sums::Columns, &biases), partials);
            if d == 0 {
                self.zero_states_of_empty_rows(l);
            }
            // The hidden states before each timestep.
            let slot = if d == 0 { 0 } else { 2 };
            let start = self.h_at(l, d, slot) + self.masked(l);
            let h_prev = Place { buffer: self.layer("h", l), start };
            let to = self.required(grads, Role::WeightHh(l, d));
            let shape =
                Product { lda: features, ..Product::dense(state, 4 * hidden, rows, true, false) };
            let shape = self.summed(shape);
            let label = format!("{said}, weight_hh gradient");
            let none = (Sums::Columns, &[][..]);
            self.weight_gradient(&label, shape, (h_prev, d_gates, to), none, partials);
            if let Some(projection) = self.shape.projection {
                let z = Place { buffer: self.layer("z", l), start: self.z_at(l, d, 0) };
                let dp = Place { buffer: self.named("dp"), start: self.dp_at(d, 0) };
                let to = self.required(grads, Role::WeightHr(l, d));
                let shape = Product {
                    ldb: quads(projection),
                    ldc: quads(projection),
                    ..Product::dense(hidden, projection, rows, true, false)
                };
                let shape = self.summed(shape);
                let label = format!("{said}, weight_hr gradient");
                self.weight_gradient(&label, shape, (z, dp, to), none, partials);
            }
            self.peephole_gradient((l, d), grads, partials);
        }
    }

    /// Where states and gradients are a caller's: a row without timesteps has gates' gradients of zero, and
    /// a state that times zero is NaN where it isn't finite. Reverse, no product has its slot.
    fn zero_states_of_empty_rows(&mut self, l: usize) {
        let given = self.program.buffer("h_0").filter(|_| self.program.buffer("dh_n").is_some());
        let (Some(given), Some(mask)) = (given, self.ended_by(0)) else { return };
        let (start, width) = self.state_at(State::Hidden, l, 0);
        let from = (Strides { step: 0, row: width }, Place { buffer: given, start });
        let to = Place { buffer: self.layer("h", l), start: self.h_at(l, 0, 0) };
        let to = (Strides { step: 0, row: self.shape.layer_output(l) }, to);
        let label = format!("layer {l}, states of rows without timesteps");
        self.copy_sequence(&label, (1, width), from, to, Some(mask), false);
        self.masked_initial_state(l, 0);
    }

    /// The gradients of a layer's initial states, from its first gates.
    fn initial_states_backward(&mut self, l: usize) {
        let (hidden, batch) = (self.shape.units(l), self.batch);
        for d in 0..self.shape.directions() {
            let label = format!("layer {l}{}, initial state's gradient", said(d));
            let (start, width) = self.state_at(State::Hidden, l, d);
            let to = Place { buffer: self.named("dh_0"), start };
            let gates = self.gates(l);
            let mut first = Place { buffer: gates, start: self.gates_at(l, d, 0) };
            if d == 1 && self.sequences.lengths {
                // Where the row ends; a row without timesteps has no gates.
                let ends = Place { buffer: self.named("ends"), start: 0 };
                self.push(label.clone(), Operation::Zero(self.whole(ends.buffer)));
                let row = 4 * hidden;
                let from = (Strides { step: 4 * self.slot(l), row }, first);
                let size = (-1, self.steps, row);
                self.copy_at_length(&label, Way::Gather, size, from, (row, ends), false);
                first = ends;
            } else if d == 1 {
                first.start = self.gates_at(l, d, self.steps - 1);
            }
            let weight = self.required(self.params, Role::WeightHh(l, d));
            let shape = Product::dense(batch, width, 4 * hidden, false, true);
            self.product(&label, shape, first, weight, &[], to);
            self.masked_initial_gradient(&label, l, d, to);
            if self.halves_of_dc() > 1 {
                let start = self.dc_at(l, d) + self.zoned();
                let strides = Strides { step: 0, row: width };
                let kept = (strides, Place { buffer: self.named("dc"), start });
                self.copy_sequence(&label, (1, width), kept, (strides, to), None, true);
            }
            let last = self.final_state_gradient(l, d);
            if let Some(from) = last.filter(|_| self.sequences.lengths) {
                // A row without timesteps ends as it begins: of the slots, only slot 0 is there.
                let (to, size) = ((Strides { step: 0, row: width }, to), (0, 1, width));
                self.copy_at_length(&label, Way::Scatter, size, to, from, true);
            }
            let (start, width) = self.state_at(State::Cell, l, d);
            let len = batch * width;
            let from = Range { buffer: self.named("dc"), start: self.dc_at(l, d), len };
            let to = Range { buffer: self.named("dc_0"), start, len };
            self.push(label, Operation::Copy { from, to });
        }
    }

    /// A learned state is every row's, so its gradient is their sum.
    fn learned_states_backward(&mut self, grads: BufferId, sums: BufferId) {
        let states =
            [(State::Hidden, "dh_0", Role::InitialH), (State::Cell, "dc_0", Role::InitialC)];
        for (state, name, role) in states {
            let from = self.named(name);
            let to = self.required(grads, role);
            for l in 0..self.shape.layers {
                for d in 0..self.shape.directions() {
                    let (start, width) = self.state_at(state, l, d);
                    let to = Place { start: to.start + start / self.batch, ..to };
                    let label = format!("layer {l}{}, learned state's gradient", said(d));
                    let from = Place { buffer: from, start };
                    if let Some(fresh) = self.program.buffer("fresh") {
                        // Only rows that begin anew started from it.
                        let rows = Place { buffer: self.named("d_fresh"), start: 0 };
                        let strides = Strides { step: 0, row: width };
                        let mask = Some(Mask { lengths: fresh, t: 0 });
                        let (given, kept) = ((strides, from), (strides, rows));
                        self.copy_sequence(&label, (1, width), given, kept, mask, false);
                        self.column_sums(&label, (self.batch, width), rows, sums, &[to]);
                    } else if !self.sequences.state {
                        self.column_sums(&label, (self.batch, width), from, sums, &[to]);
                    } else if !self.accumulate {
                        // A given state takes the learned one's place.
                        let range = Range { buffer: to.buffer, start: to.start, len: width };
                        self.push(label, Operation::Zero(range));
                    }
                }
            }
        }
    }

    /// The gradient of the embedding, from that of its rows by the tokens' sorted positions.
    fn embedding_backward(&mut self, dy: BufferId) {
        let Encoding::Embedding(tokens) = self.shape.encoding else {
            unreachable!("only an embedding has its parameter")
        };
        let (positions, width) = (self.steps * self.batch, self.shape.input);
        let to = self.required(self.named("grads"), Role::Embedding);
        let order = View::of(self.whole(self.named("token_order")));
        let offsets = View::of(self.whole(self.named("token_offsets")));
        // Some drivers stop a loop that runs longer.
        let budget = self
            .limits
            .loop_budget
            .map_or(usize::MAX, |budget| embedding_backward::positions_within(budget as usize));
        let (some_tokens, some_positions) =
            (tokens.min(self.rows_in_binding(width)), positions.min(budget));
        for token in (0..tokens).step_by(some_tokens) {
            for first in (0..positions).step_by(some_positions) {
                let count = some_tokens.min(tokens - token);
                let out = Place { start: to.start + token * width, ..to };
                let operands = embedding_backward::Operands {
                    dy: View::of(self.whole(dy)),
                    order,
                    offsets,
                    dweight: self.window(out, count * width),
                };
                let part = (first, (first + some_positions).min(positions));
                // Weights that are tied have the head's gradient already.
                let accumulate = self.accumulate || first > 0 || self.shape.tied;
                let dispatch = embedding_backward::dispatch(
                    (count, width),
                    token,
                    part,
                    accumulate,
                    &operands,
                );
                self.launch("embedding, weight gradient", dispatch);
            }
        }
    }

    fn layer_inputs_backward(&mut self, l: usize) {
        let (rows, width) = (self.steps * self.batch, self.shape.layer_input(l));
        let alignment = self.alignment();
        let moved = self.sequences.batch_first || alignment.is_some();
        let embedded = self.parameter(self.params, Role::Embedding).is_some();
        let to = match l {
            0 if embedded => {
                self.workspace("dx_embedded", "[T, B, I]", &[self.steps, self.batch, width])
            }
            0 if self.program.buffer("dx_0").is_none() => return,
            0 if moved => {
                self.workspace("dx_time_major", "[T, B, I]", &[self.steps, self.batch, width])
            }
            0 => self.named("dx_0"),
            _ => self.named("dh"),
        };
        for d in 0..self.shape.directions() {
            let d_gates = Place { buffer: self.gates(l), start: self.gates_at(l, d, 0) };
            let weight = self.required(self.params, Role::WeightIh(l, d));
            let shape = Product {
                accumulate: d > 0,
                ..Product::dense(rows, width, 4 * self.shape.units(l), false, true)
            };
            let label = format!("layer {l}{}, input gradient", said(d));
            self.product(&label, shape, d_gates, weight, &[], Place { buffer: to, start: 0 });
        }
        let label = format!("layer {l}, masked input's gradient");
        self.mask_input(&label, l, Place { buffer: to, start: 0 });
        if l > 0 {
            if let Some(drop) = self.dropout {
                let label = format!("layer {}, dropout's gradient", l - 1);
                self.drop_elements(&label, drop, l - 1, (self.steps, width), to);
            }
        } else if embedded {
            self.embedding_backward(to);
        } else if moved {
            let from = (Strides::time_major(self.batch, width), Place { buffer: to, start: 0 });
            let dx = Place { buffer: self.named("dx_0"), start: 0 };
            let (label, to) = ("input gradient", (self.callers_strides(width), dx));
            match alignment.map(Alignment::back) {
                Some(back) => self.align_sequence(label, back, width, from, to),
                None => self.copy_sequence(label, (self.steps, width), from, to, None, false),
            }
        }
    }

    /// Rows that one invocation of `column_sum` adds up in the first of two stages: about the
    /// square root, so that neither stage is long. Buffers hold less than 2^32 elements, so both
    /// stay below 2^16 rows, within any loop budget and any grid.
    pub(super) fn column_sum_chunk(&self, rows: usize, columns: usize) -> usize {
        rows.isqrt().max(column_sum::CHUNK).min(self.rows_in_binding(columns))
    }

    /// Elements that the partial sums of the widest column sum take.
    fn column_sum_partials(&self) -> usize {
        let of = |rows: usize, columns: usize| match columns {
            0 => 0,
            _ => rows.div_ceil(self.column_sum_chunk(rows, columns)) * columns,
        };
        let linears = self.shape.head.linears(self.shape.features());
        let widest = linears.iter().map(|linear| linear.outputs).max().unwrap_or(0);
        let head = of(self.shape.predictions(self.steps) * self.batch, widest);
        let states = of(self.batch, self.shape.hidden);
        match self.shape.layers {
            0 => head,
            _ => head.max(states).max(of(self.steps * self.batch, 4 * self.shape.hidden)),
        }
    }

    /// The sums of the columns of `a [rows, columns]`, in one stage or two, to every place of
    /// `to`.
    pub(super) fn column_sums(
        &mut self,
        label: &str,
        (rows, columns): (usize, usize),
        a: Place,
        sums: BufferId,
        to: &[Place],
    ) {
        let chunk = self.column_sum_chunk(rows, columns);
        let chunks = rows.div_ceil(chunk);
        if chunks == 1 {
            for &to in to {
                let at = (self.window(a, rows * columns), self.window(to, columns));
                let size = (rows, columns);
                self.launch(label, column_sum::dispatch(size, rows, at, self.accumulate));
            }
            return;
        }
        // One binding shows so many chunks of the input.
        let shown = (self.rows_in_binding(columns) / chunk).max(1);
        for first in (0..chunks).step_by(shown.min(chunks)) {
            let rows = (shown * chunk).min(rows - first * chunk);
            let from = Place { start: a.start + first * chunk * columns, ..a };
            let out = Place { buffer: sums, start: first * columns };
            let from = self.window(from, rows * columns);
            let out = self.window(out, rows.div_ceil(chunk) * columns);
            self.launch(
                format!("{label}, partial sums"),
                column_sum::dispatch((rows, columns), chunk, (from, out), false),
            );
        }
        self.last_sums(label, (chunks, columns), sums, to);
    }

    /// The second stage: partial sums of chunks, added up.
    pub(super) fn last_sums(
        &mut self,
        label: &str,
        (chunks, columns): (usize, usize),
        sums: BufferId,
        to: &[Place],
    ) {
        for &to in to {
            let from = self.window(Place { buffer: sums, start: 0 }, chunks * columns);
            let out = self.window(to, columns);
            let size = (chunks, columns);
            self.launch(label, column_sum::dispatch(size, chunks, (from, out), self.accumulate));
        }
    }
}
