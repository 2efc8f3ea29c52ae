//! What the head reads of the top layer, and the way back.

use super::forward::State;
use super::workspace::{Place, Planner, said};
use super::{Head, Readout};
use crate::command::{BufferId, Operation, Range};
use crate::kernels::copy_at_length::Way;
use crate::kernels::{View, pool_over_time, pool_over_time_backward};
use crate::reference::{Pool, Strides};

impl Planner<'_> {
    /// What the head stands on: what is read of the top layer, or the input where there is none.
    pub(super) fn head_input(&self) -> Place {
        if let Some(buffer) = self.program.buffer("read") {
            return Place { buffer, start: 0 };
        }
        match self.shape.layers.checked_sub(1) {
            None => Place { buffer: self.x, start: 0 },
            Some(_) if self.shape.every_step() => self.layer_input(self.shape.layers),
            Some(top) => {
                Place { buffer: self.layer("h", top), start: self.h_at(top, 0, self.steps) }
            }
        }
    }

    /// Whether the head at every timestep reads the outputs of the layers as they lie, and its gradient is
    /// theirs.
    pub(super) fn reads_outputs(&self) -> bool {
        self.shape.every_step() && self.alignment().is_none()
    }

    /// Puts together what the head reads, where it doesn't lie together as it is.
    pub(super) fn read(&mut self) {
        let (batch, width, lengths) = (self.batch, self.shape.features(), self.sequences.lengths);
        let Some(top) = self.shape.layers.checked_sub(1) else { return };
        match self.shape.readout {
            Readout::EveryStep => match self.alignment() {
                Some(alignment) => {
                    let size = [self.steps, batch, width];
                    let read = self.workspace("read", "[T, B, D P]", &size);
                    let to = (Strides::time_major(batch, width), read);
                    self.align_outputs("outputs", alignment.back(), to);
                }
                None if self.outputs_are_mixed() => {
                    self.copied_outputs(top);
                }
                None => {}
            },
            Readout::LastOutput if self.shape.reverse => {
                // Of all outputs it is the one that was computed first.
                let read = self.workspace("read", "[B, D P]", &[batch, width]);
                let from = Place { buffer: self.layer("h", top), start: self.h_at(top, 0, 1) };
                self.copy_state(
                    "last output",
                    width,
                    (width, from),
                    (width, Place { buffer: read, start: 0 }),
                );
            }
            Readout::FinalStates if lengths || self.shape.bidirectional => {
                let read = self.workspace("read", "[B, D P]", &[batch, width]);
                for d in 0..self.shape.directions() {
                    let to = Place { buffer: read, start: d * self.shape.state(top) };
                    let label = format!("final state{}", said(d));
                    self.final_state(&label, State::Hidden, (top, d), (width, to));
                }
            }
            Readout::LastOutput if lengths => {
                let read = self.workspace("read", "[B, D P]", &[batch, width]);
                self.push("last output", Operation::Zero(self.whole(read)));
                let to = (width, Place { buffer: read, start: 0 });
                let (from, size) = (self.outputs_of(top), (-1, self.steps, width));
                self.copy_at_length("last output", Way::Gather, size, from, to, false);
            }
            Readout::MeanOverTime => self.pool(Pool::Mean, top),
            Readout::MaxOverTime => self.pool(Pool::Max, top),
            _ => {}
        }
    }

    /// Where a layer's outputs lie.
    fn outputs_of(&self, l: usize) -> (Strides, Place) {
        let start = self.h_at(l, 0, 1);
        let strides = Strides::time_major(self.batch, self.shape.features());
        (strides, Place { buffer: self.layer("h", l), start })
    }

    fn pool(&mut self, pool: Pool, top: usize) {
        let (batch, width) = (self.batch, self.shape.features());
        let read = match pool {
            Pool::Mean => self.workspace("read", "[B, D P]", &[batch, width]),
            Pool::Max => self.workspace("read", "[2, B, D P]", &[2, batch, width]),
        };
        let (strides, h) = self.outputs_of(top);
        let budget = self.limits.loop_budget.map_or(usize::MAX, |budget| budget as usize);
        let most = self.steps_shown(h.buffer).min(pool_over_time::steps_within(budget));
        for first in (0..self.steps).step_by(most) {
            let steps = most.min(self.steps - first);
            let from = Place { start: h.start + first * strides.step, ..h };
            let dispatch = pool_over_time::dispatch(
                pool,
                (first, steps, self.steps),
                (batch, width),
                self.padding(),
                (strides, self.window(from, steps * strides.step)),
                View::of(self.whole(read)),
            );
            self.launch(self.shape.readout.name(), dispatch);
        }
    }

    /// Timesteps of all rows' outputs that a binding of a buffer shows.
    fn steps_shown(&self, buffer: BufferId) -> usize {
        match self.program.spec(buffer).len <= self.limits.max_binding {
            true => self.steps,
            false => self.rows_in_binding(self.batch * self.shape.features()),
        }
    }

    /// From the gradient of what the head reads, in `d_read`, to that of the top layer's outputs, in `dh`.
    pub(super) fn read_backward(&mut self, d_read: BufferId) {
        let (steps, batch, width) = (self.steps, self.batch, self.shape.features());
        let (dh, top) = (self.named("dh"), self.shape.layers - 1);
        let time_major = Strides::time_major(batch, width);
        match self.shape.readout {
            Readout::EveryStep if d_read == dh => return,
            Readout::EveryStep => {
                let label = "outputs, gradient";
                if let Some(alignment) = self.alignment() {
                    let [from, to] = [d_read, dh].map(|buffer| Place { buffer, start: 0 });
                    let (from, to) = ((time_major, from), (time_major, to));
                    return self.align_sequence(label, alignment, width, from, to);
                }
                let from = self.whole(d_read);
                let to = Range { buffer: dh, start: 0, len: from.len };
                return self.push(label, Operation::Copy { from, to });
            }
            Readout::MeanOverTime => return self.pool_backward(Pool::Mean, d_read),
            Readout::MaxOverTime => return self.pool_backward(Pool::Max, d_read),
            Readout::FinalStates | Readout::LastOutput => {}
        }
        self.push("outputs, gradient", Operation::Zero(self.whole(dh)));
        if self.shape.readout == Readout::FinalStates && self.shape.bidirectional {
            for d in 0..2 {
                let label = format!("final state{}, gradient", said(d));
                let from = Place { buffer: d_read, start: d * self.shape.state(top) };
                self.final_output_gradient(&label, top, d, (width, from), false);
            }
            return;
        }
        let label = "last output, gradient";
        if self.shape.reverse && self.shape.readout == Readout::LastOutput {
            let row = Strides { step: 0, row: width };
            let [from, to] = [d_read, dh].map(|buffer| (row, Place { buffer, start: 0 }));
            return self.copy_sequence(label, (1, width), from, to, self.ended_by(0), false);
        }
        if self.sequences.lengths {
            let to = (Strides::time_major(batch, width), Place { buffer: dh, start: 0 });
            let from = (width, Place { buffer: d_read, start: 0 });
            let size = (-1, steps, width);
            return self.copy_at_length(label, Way::Scatter, size, to, from, false);
        }
        let len = batch * width;
        let to = Range { buffer: dh, start: (steps - 1) * len, len };
        self.push(label, Operation::Copy { from: self.whole(d_read), to });
    }

    fn pool_backward(&mut self, pool: Pool, d_read: BufferId) {
        let (batch, width) = (self.batch, self.shape.features());
        let (dh, step) = (self.named("dh"), batch * width);
        let read = self.named("read");
        let most = self.steps_shown(dh);
        for first in (0..self.steps).step_by(most) {
            let steps = most.min(self.steps - first);
            let to = Place { buffer: dh, start: first * step };
            let dispatch = pool_over_time_backward::dispatch(
                pool,
                (first, steps, self.steps),
                (batch, width),
                self.padding(),
                (View::of(self.whole(d_read)), View::of(self.whole(read))),
                self.window(to, steps * step),
            );
            self.launch(format!("{}, gradient", self.shape.readout.name()), dispatch);
        }
    }

    /// Puts the gradient `[B, P]` of a direction's final hidden state, or adds it, to that of the output
    /// that it is, in `dh`. A row without timesteps has none.
    pub(super) fn final_output_gradient(
        &mut self,
        label: &str,
        l: usize,
        d: usize,
        (row, from): (usize, Place),
        accumulate: bool,
    ) {
        let width = self.shape.state(l);
        let strides = Strides::time_major(self.batch, self.shape.layer_output(l));
        let first = Place { buffer: self.named("dh"), start: d * width };
        if d == 0 && self.sequences.lengths {
            let size = (-1, self.steps, width);
            let to = (strides, first);
            return self.copy_at_length(label, Way::Scatter, size, to, (row, from), accumulate);
        }
        // The last timestep that the direction visits.
        let t = if d == 0 { self.steps - 1 } else { 0 };
        let to = Place { start: first.start + t * strides.step, ..first };
        let from = (Strides { step: 0, row }, from);
        let mask = self.ended_by(t);
        self.copy_sequence(label, (1, width), from, (strides, to), mask, accumulate);
    }

    /// The gradient `[B, P]` that comes back through a final hidden state alone, where there is one: the
    /// elements of a row, and where it starts.
    pub(super) fn final_state_gradient(&self, l: usize, d: usize) -> Option<(usize, Place)> {
        if let Some(buffer) = self.program.buffer("dh_n") {
            let (start, width) = self.state_at(State::Hidden, l, d);
            return Some((width, Place { buffer, start }));
        }
        if l + 1 < self.shape.layers || self.shape.readout != Readout::FinalStates {
            return None;
        }
        if self.shape.head == Head::Sequence {
            return None;
        }
        let read = self.program.buffer("d_read");
        let buffer = read.unwrap_or_else(|| self.named("dy"));
        let start = d * self.shape.state(l);
        Some((self.shape.features(), Place { buffer, start }))
    }
}
