//! What training draws for the timesteps of a layer, and where masked states stand.

use super::workspace::{Place, Planner, said};
use crate::command::{Operation, Range};
use crate::error::{Error, Result};
use crate::kernels::{Padding, View, sequence_dropout};
use crate::reference::{INPUT, RECURRENT, Strides};

/// Where a key lies in `rows`, and where lengths do behind it.
const KEY: usize = 4;

impl Planner<'_> {
    /// Whether timesteps draw.
    pub(super) fn draws(&self) -> bool {
        self.keep && self.shape.cell.draws()
    }

    /// Whether products take masked hidden states.
    fn masks_hidden(&self) -> bool {
        self.keep && self.shape.cell.recurrent_dropout > 0.0
    }

    /// How many halves a layer's `h` has: the hidden states, and what products take of them where that is something
    /// else.
    pub(super) fn halves_of_h(&self) -> usize {
        1 + usize::from(self.masks_hidden())
    }

    /// Elements from a hidden state of layer `l` to the one that products take, or 0 where that is itself.
    pub(super) fn masked(&self, l: usize) -> usize {
        let slots = self.steps + self.shape.directions();
        if self.masks_hidden() { slots * self.batch * self.shape.layer_output(l) } else { 0 }
    }

    /// How many halves `dc` has: the gradients of cell states, and what a zoneout keeps of those of hidden states.
    pub(super) fn halves_of_dc(&self) -> usize {
        1 + usize::from(self.shape.cell.zoneout.is_some())
    }

    /// Elements from a cell state's gradient to what a zoneout keeps of the hidden state's, or 0 without one.
    pub(super) fn zoned(&self) -> usize {
        (self.halves_of_dc() - 1) * self.shape.directions() * self.batch * self.shape.hidden
    }

    /// Where the masks of a direction are drawn.
    pub(super) fn place_of_masks(&self, l: usize, d: usize) -> usize {
        2 * l + d
    }

    /// Checks that what stands in two halves can be bound whole.
    pub(super) fn check_halves(&self, operation: &'static str) -> Result<()> {
        let slots = self.steps + self.shape.directions();
        let (of_h, of_dc) =
            (self.shape.widest_output(), self.shape.directions() * self.shape.hidden);
        let needs = [
            ("a layer's hidden states and their masked ones", self.halves_of_h(), slots * of_h),
            ("gradients of cell states and of what a zoneout keeps", self.halves_of_dc(), of_dc),
        ];
        for (what, halves, each) in needs {
            let needed = halves.saturating_mul(self.batch).saturating_mul(each);
            if halves > 1 && needed > self.limits.max_binding {
                return Err(Error::Limit {
                    operation,
                    what: what.to_owned(),
                    needed: needed as u64,
                    limit: "largest binding (f32 elements)",
                    available: self.limits.max_binding as u64,
                });
            }
        }
        Ok(())
    }

    /// Puts the key and the lengths in one buffer, which launches of timesteps bind.
    pub(super) fn rows_for_masks(&mut self) {
        if !self.draws() {
            return;
        }
        let rows = self.workspace("rows", "[4 + B]", &[KEY + self.batch]);
        for (name, start) in [("key", 0), ("lengths", KEY)] {
            if let Some(from) = self.program.buffer(name) {
                let from = self.whole(from);
                let to = Range { buffer: rows, start, len: from.len };
                self.push("rows", Operation::Copy { from, to });
            }
        }
    }

    /// The lengths and the key, as launches of timesteps take them.
    pub(super) fn rows(&self) -> (Padding, Option<View>) {
        let Some(rows) = self.program.buffer("rows").filter(|_| self.draws()) else {
            return (self.padding(), None);
        };
        let view = |start: usize| View { range: self.whole(rows), start };
        let lengths = self.sequences.lengths.then(|| view(KEY));
        (Padding(lengths), Some(view(0)))
    }

    /// What products take of the initial state of a direction.
    pub(super) fn masked_initial_state(&mut self, l: usize, d: usize) {
        if !self.masks_hidden() {
            return;
        }
        // Reverse, a row's stands where it ends.
        let (slot, slots) = match (d, self.sequences.lengths) {
            (0, _) => (0, 1),
            (_, false) => (self.steps + 1, 1),
            (_, true) => (0, self.steps + 2),
        };
        let row = self.shape.layer_output(l);
        let start = self.h_at(l, d, slot);
        let label = format!("layer {l}{}, masked initial state", said(d));
        let strides = Strides { step: self.batch * row, row };
        let drawn = (self.shape.cell.recurrent_dropout, self.place_of_masks(l, d), RECURRENT);
        let some = slots.min(self.masks_in_a_loop());
        for first in (0..slots).step_by(some) {
            let size = (some.min(slots - first), self.batch, self.shape.state(l));
            let start = start + first * strides.step;
            let from = Place { buffer: self.layer("h", l), start };
            let to = start + self.masked(l);
            self.sequence_dropout(&label, drawn, size, strides, (from, to));
        }
    }

    /// The same for the gradient of an initial state, which products gave.
    pub(super) fn masked_initial_gradient(&mut self, label: &str, l: usize, d: usize, dh: Place) {
        if !self.masks_hidden() {
            return;
        }
        let width = self.shape.state(l);
        let (size, strides) = ((1, self.batch, width), Strides { step: 0, row: width });
        let (p, place) = (self.shape.cell.recurrent_dropout, self.place_of_masks(l, d));
        self.sequence_dropout(label, (p, place, RECURRENT), size, strides, (dh, dh.start));
    }

    /// Drops features of the input of layer `l`, in a copy.
    pub(super) fn masked_input(&mut self, l: usize) {
        if !self.keep || self.shape.cell.input_dropout == 0.0 {
            return;
        }
        let (from, width) = (self.layer_input(l), self.shape.layer_input(l));
        let size = [self.steps, self.batch, width];
        let copy = self.workspace(&format!("masked_x_l{l}"), "[T, B, I]", &size);
        let to = self.whole(copy);
        let from = Range { buffer: from.buffer, start: from.start, len: to.len };
        let label = format!("layer {l}, masked input");
        self.push(label.clone(), Operation::Copy { from, to });
        self.mask_input(&label, l, Place { buffer: copy, start: 0 });
    }

    /// Drops the same features of an input's gradient as of the input.
    pub(super) fn mask_input(&mut self, label: &str, l: usize, x: Place) {
        let p = self.shape.cell.input_dropout;
        if !self.keep || p == 0.0 {
            return;
        }
        let (steps, batch, width) = (self.steps, self.batch, self.shape.layer_input(l));
        let strides = Strides::time_major(batch, width);
        let place = self.place_of_masks(l, 0);
        // As many timesteps as a window shows: masks don't go by them.
        let some = match self.program.spec(x.buffer).len <= self.limits.max_binding {
            true => steps,
            false => self.rows_in_binding(batch * width),
        };
        let some = some.min(self.masks_in_a_loop());
        for t in (0..steps).step_by(some) {
            let count = some.min(steps - t);
            let x = Place { start: x.start + t * strides.step, ..x };
            let size = (count, batch, width);
            self.sequence_dropout(label, (p, place, INPUT), size, strides, (x, x.start));
        }
    }

    /// The most timesteps that one launch masks: some drivers stop a loop that runs longer.
    fn masks_in_a_loop(&self) -> usize {
        let budget = self.limits.loop_budget.map_or(usize::MAX, |budget| budget as usize);
        sequence_dropout::steps_within(budget)
    }

    fn sequence_dropout(
        &mut self,
        label: &str,
        (p, place, word): (f64, usize, usize),
        (steps, batch, width): (usize, usize, usize),
        strides: Strides,
        (from, to): (Place, usize),
    ) {
        let extent = (steps - 1) * strides.step + (batch - 1) * strides.row + width;
        let parts = [(from.start, extent), (to, extent)];
        let (x, starts) = self.windows(from.buffer, &parts);
        let key = View::of(self.whole(self.named("key")));
        let operands =
            sequence_dropout::Operands { key, x, from: starts[0], to: starts[1], strides };
        let size = (steps, batch, width);
        self.launch(label, sequence_dropout::dispatch(p, (place, word), size, &operands));
    }
}
