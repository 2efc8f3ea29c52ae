//! What planning is made of: buffers, windows into them, and copies cut to fit.

use std::sync::Arc;

use super::cut::{self, Cut};
use super::{Encoding, ParameterTable, Plan, Role, Sequences, StackShape};
use crate::command::{
    BufferId, BufferSpec, Command, Dispatch, Limits, Operation, Owner, Program, Range, Tier,
};
use crate::error::{Error, Result};
use crate::kernels::copy_at_length::Way;
use crate::kernels::{self, Padding, View, align_sequence, copy_at_length, copy_sequence, dropout};
use crate::reference::{Alignment, Dropout, SlotAtLength, Strides};

/// A place in a buffer: an operand's first element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) buffer: BufferId,
    pub(super) start: usize,
}

/// Which rows are left out of a copy: those that have ended by `t`, and at later timesteps those
/// that have ended then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    /// A number of timesteps for each row.
    pub(super) lengths: BufferId,
    pub(super) t: usize,
}

/// A direction, as labels name it.
pub(super) fn said(d: usize) -> &'static str {
    if d == 0 { "" } else { " reverse" }
}

/// A program in the making.
pub(super) struct Planner<'a> {
    pub(super) shape: StackShape,
    pub(super) table: ParameterTable,
    pub(super) sequences: Sequences,
    pub(super) steps: usize,
    pub(super) batch: usize,
    pub(super) dropout: Option<Dropout>,
    /// Whether gradients and the loss are added to what is there.
    pub(super) accumulate: bool,
    /// Whether gates are kept for a backward pass.
    pub(super) keep: bool,
    /// The timesteps whose gates are in the workspace, as the first that a direction visits and how many.
    pub(super) chunk: (usize, usize),
    /// Whose the loss and the weights of classes are.
    pub(super) given_results: Owner,
    pub(super) limits: &'a Limits,
    /// How the forward pass through a layer is cut into launches.
    pub(super) forward_cut: Cut,
    /// How the backward pass is.
    pub(super) backward_cut: Cut,
    pub(super) program: Program,
    pub(super) params: BufferId,
    /// What the caller writes.
    pub(super) x: BufferId,
    /// Where the outputs or the prediction are.
    pub(super) output: Option<Range>,
    pub(super) forward_from: usize,
    pub(super) backward_from: usize,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        operation: &'static str,
        shape: &StackShape,
        sequences: &Sequences,
        dropout: Option<Dropout>,
        keep: bool,
        limits: &'a Limits,
    ) -> Result<Self> {
        let (steps, batch) = (sequences.steps, sequences.batch);
        shape.check(operation, steps, batch)?;
        shape.fits(operation, steps, batch, limits)?;
        if shape.layers == 0 && (sequences.lengths || sequences.state) {
            return Err(Error::Value {
                operation,
                name: "sequences".to_owned(),
                expected: "without lengths and states, in a linear layer alone".to_owned(),
                got: match (sequences.lengths, sequences.state) {
                    (true, true) => "lengths and states",
                    (true, false) => "lengths",
                    _ => "states",
                }
                .to_owned(),
            });
        }
        if sequences.resets && (!sequences.state || !shape.is_causal()) {
            return Err(Error::Value {
                operation,
                name: "resets".to_owned(),
                expected: "of given states, in the forward direction alone".to_owned(),
                got: if shape.is_causal() { "no states" } else { "a reverse direction" }.to_owned(),
            });
        }
        if sequences.right_aligned && (!sequences.lengths || shape.outputs() > 0) {
            return Err(Error::Value {
                operation,
                name: "right-aligned rows".to_owned(),
                expected: "lengths, and a model without predictions".to_owned(),
                got: if sequences.lengths { "predictions" } else { "no lengths" }.to_owned(),
            });
        }
        if let Some((name, expected, got)) = shape.cell.not_trainable().filter(|_| keep) {
            let (name, expected) = (name.to_owned(), expected.to_owned());
            return Err(Error::Value { operation, name, expected, got });
        }
        let table = ParameterTable::new(shape);
        let mut planner = Planner {
            shape: shape.clone(),
            sequences: *sequences,
            steps,
            batch,
            dropout,
            accumulate: false,
            keep,
            chunk: (0, steps),
            given_results: Owner::Caller,
            limits,
            forward_cut: Cut { tier: Tier::Step, reason: String::new(), walker: None },
            backward_cut: Cut { tier: Tier::Step, reason: String::new(), walker: None },
            program: Program::default(),
            params: BufferId(0),
            x: BufferId(0),
            output: None,
            forward_from: 0,
            backward_from: 0,
            table,
        };
        planner.check_halves(operation)?;
        planner.cut(operation)?;
        planner.params = planner.callers("params", "[N]", &[planner.table.len]);
        let given = shape.given();
        planner.x = match (sequences.batch_first, shape.encoding) {
            (false, Encoding::Values) => {
                planner.workspace("x", "[T, B, I]", &[steps, batch, given])
            }
            (true, Encoding::Values) => planner.workspace("x", "[B, T, I]", &[batch, steps, given]),
            (false, _) => planner.workspace("x", "[T, B]", &[steps, batch]),
            (true, _) => planner.workspace("x", "[B, T]", &[batch, steps]),
        };
        if sequences.lengths {
            planner.workspace("lengths", "[B]", &[batch]);
        }
        if sequences.resets {
            planner.workspace("keep", "[B]", &[batch]);
            if shape.learned_state {
                planner.workspace("fresh", "[B]", &[batch]);
            }
        }
        if shape.layers > 0 && shape.projection.is_none() {
            // Shaders may take them in fours.
            planner.workspace("unused", "[4]", &[4]);
            planner.workspace("no_projection", "[4]", &[4]);
        }
        Ok(planner)
    }

    /// The lengths of the rows, where they have any.
    pub(super) fn padding(&self) -> Padding {
        Padding(self.program.buffer("lengths").map(|lengths| View::of(self.whole(lengths))))
    }

    /// How the caller's `x` and `y` lie, with so many features.
    pub(super) fn callers_strides(&self, width: usize) -> Strides {
        match self.sequences.batch_first {
            true => Strides::batch_first(self.steps, width),
            false => Strides::time_major(self.batch, width),
        }
    }

    pub(super) fn add(
        &mut self,
        name: &str,
        dims: &str,
        shape: &[usize],
        slots: usize,
        owner: Owner,
    ) -> BufferId {
        self.program.add(BufferSpec {
            name: name.to_owned(),
            shape: format!("{dims} = {shape:?}"),
            len: shape.iter().product(),
            slots,
            owner,
        })
    }

    pub(super) fn workspace(&mut self, name: &str, dims: &str, shape: &[usize]) -> BufferId {
        self.add(name, dims, shape, 1, Owner::Workspace)
    }

    pub(super) fn callers(&mut self, name: &str, dims: &str, shape: &[usize]) -> BufferId {
        self.add(name, dims, shape, 1, Owner::Caller)
    }

    pub(super) fn ring(
        &mut self,
        name: &str,
        dims: &str,
        shape: &[usize],
        slots: usize,
        owner: Owner,
    ) -> BufferId {
        self.add(name, dims, shape, slots, owner)
    }

    /// The buffer of a layer, or of all where they are stacked.
    pub(super) fn layer(&self, name: &str, l: usize) -> BufferId {
        match self.stacked() {
            true => self.named(name),
            false => self.named(&format!("{name}_l{l}")),
        }
    }

    /// A buffer that an earlier part of the plan has added.
    ///
    /// # Panics
    /// Where none has.
    pub(super) fn named(&self, name: &str) -> BufferId {
        self.program.buffer(name).unwrap_or_else(|| panic!("the plan has no buffer `{name}`"))
    }

    pub(super) fn whole(&self, buffer: BufferId) -> Range {
        self.program.whole(buffer)
    }

    pub(super) fn push(&mut self, label: impl Into<String>, operation: Operation) {
        self.program.commands.push(Command { label: label.into(), operation });
    }

    pub(super) fn launch(&mut self, label: impl Into<String>, dispatch: Dispatch) {
        self.push(label, Operation::Dispatch(dispatch));
    }

    /// The place in a flat buffer of a parameter that the model must have.
    ///
    /// # Panics
    /// Where it hasn't.
    pub(super) fn required(&self, buffer: BufferId, role: Role) -> Place {
        self.parameter(buffer, role).unwrap_or_else(|| panic!("the model has no {role:?}"))
    }

    /// A parameter's place in a flat buffer, where the model has it.
    pub(super) fn parameter(&self, buffer: BufferId, role: Role) -> Option<Place> {
        self.table.get(role).map(|entry| Place { buffer, start: entry.start })
    }

    /// The view of `len` elements: the whole buffer where it may be bound whole, so that
    /// neighbouring commands share a bind group; else the elements, from an aligned start.
    pub(super) fn window(&self, at: Place, len: usize) -> View {
        let spec = self.program.spec(at.buffer);
        if spec.len <= self.limits.max_binding {
            return View { range: self.whole(at.buffer), start: at.start };
        }
        let base = at.start - at.start % self.limits.alignment;
        let start = at.start - base;
        View { range: Range { buffer: at.buffer, start: base, len: start + len }, start }
    }

    /// What is bound for several parts of one buffer, each a start and a length, and where they
    /// start in it: the whole buffer or, where that is too large, from the first part to the last.
    pub(super) fn windows(
        &self,
        buffer: BufferId,
        parts: &[(usize, usize)],
    ) -> (Range, Vec<usize>) {
        let first = parts.iter().map(|part| part.0).min().unwrap_or(0);
        let end = parts.iter().map(|part| part.0 + part.1).max().unwrap_or(0);
        let View { range, start } = self.window(Place { buffer, start: first }, end - first);
        (range, parts.iter().map(|part| start + part.0 - first).collect())
    }

    /// The same for the parts of `len` elements that each of some directions touches; `each` gives
    /// where one's start.
    pub(super) fn windows_of(
        &self,
        directions: &[usize],
        buffer: BufferId,
        len: usize,
        each: &dyn Fn(usize) -> Vec<usize>,
    ) -> (Range, Vec<usize>) {
        let starts = directions.iter().flat_map(|&d| each(d));
        let parts: Vec<(usize, usize)> = starts.map(|start| (start, len)).collect();
        self.windows(buffer, &parts)
    }

    /// Whether every binding of a launch is small enough.
    pub(super) fn can_bind(&self, dispatch: &Dispatch) -> bool {
        dispatch.bindings.iter().all(|range| range.len <= self.limits.max_binding)
    }

    /// The most rows of `row` elements that a window of this device shows.
    pub(super) fn rows_in_binding(&self, row: usize) -> usize {
        (self.limits.max_binding.saturating_sub(self.limits.alignment) / row).max(1)
    }

    /// The mask of the rows' lengths from timestep `t` on, where rows have any.
    pub(super) fn ended_by(&self, t: usize) -> Option<Mask> {
        self.program.buffer("lengths").map(|lengths| Mask { lengths, t })
    }

    /// Copies `[steps, B, K]` from one place and layout to another, or adds it, in as many pieces
    /// as bindings need; rows that have ended by the mask become zero.
    pub(super) fn copy_sequence(
        &mut self,
        label: &str,
        (steps, width): (usize, usize),
        (from, source): (Strides, Place),
        (to, copied): (Strides, Place),
        mask: Option<Mask>,
        accumulate: bool,
    ) {
        let padding = Padding(mask.map(|mask| View::of(self.whole(mask.lengths))));
        // As many rows at a time as can be bound with all their timesteps, then fewer timesteps.
        let extent = |strides: Strides, steps: usize, rows: usize| {
            (steps - 1) * strides.step + (rows - 1) * strides.row + width
        };
        let fits = |steps: usize, rows: usize| {
            let shown = |at: Place, strides: Strides| {
                let len = self.program.spec(at.buffer).len;
                len <= self.limits.max_binding
                    || extent(strides, steps, rows) + self.limits.alignment
                        <= self.limits.max_binding
            };
            shown(source, from) && shown(copied, to)
        };
        let (mut some_steps, mut some_rows) = (steps, self.batch);
        while !fits(some_steps, some_rows) && (some_steps > 1 || some_rows > 1) {
            // The dimension with the wider stride is cut: the pieces stay in one place.
            let by_step = from.step.max(to.step) >= from.row.max(to.row);
            if some_steps > 1 && (by_step || some_rows == 1) {
                some_steps = some_steps.div_ceil(2);
            } else {
                some_rows = some_rows.div_ceil(2);
            }
        }
        for t in (0..steps).step_by(some_steps) {
            for b in (0..self.batch).step_by(some_rows) {
                let (count, rows) = (some_steps.min(steps - t), some_rows.min(self.batch - b));
                let part = |at: Place, strides: Strides| {
                    let start = at.start + t * strides.step + b * strides.row;
                    self.window(Place { start, ..at }, extent(strides, count, rows))
                };
                let lengths = padding.0.map(|view| View { start: view.start + b, ..view });
                let dispatch = copy_sequence::dispatch(
                    (count, rows, width),
                    (from, part(source, from)),
                    (to, part(copied, to)),
                    (Padding(lengths), mask.map_or(0, |mask| mask.t) + t),
                    accumulate,
                );
                self.launch(label, dispatch);
            }
        }
    }

    /// Copies a row each from or to the slot of a sequence that belongs to its length, or adds it,
    /// in as many pieces as bindings need.
    pub(super) fn copy_at_length(
        &mut self,
        label: &str,
        way: Way,
        (offset, slots, width): (isize, usize, usize),
        (strides, sequence): (Strides, Place),
        (row, rows): (usize, Place),
        accumulate: bool,
    ) {
        let Padding(Some(lengths)) = self.padding() else {
            unreachable!("rows have lengths here");
        };
        let batch = self.batch;
        let extent = |slots: usize| (slots - 1) * strides.step + (batch - 1) * strides.row + width;
        let whole = slots == 1 || self.program.spec(sequence.buffer).len <= self.limits.max_binding;
        let some = match whole {
            true => slots,
            false => (self.limits.max_binding.saturating_sub(self.limits.alignment + extent(1))
                / strides.step)
                .clamp(1, slots),
        };
        for first in (0..slots).step_by(some) {
            let count = some.min(slots - first);
            let start = sequence.start + first * strides.step;
            let shown = self.window(Place { start, ..sequence }, extent(count));
            let others = self.window(rows, (self.batch - 1) * row + width);
            let slot = SlotAtLength { longest: self.steps, offset, first, slots: count };
            let size = (self.batch, width);
            let dispatch = copy_at_length::dispatch(
                way,
                size,
                slot,
                lengths,
                (strides, shown),
                (row, others),
                accumulate,
            );
            self.launch(label, dispatch);
        }
    }

    /// Drops elements of a `[T, B, K]`, what leaves a layer or a module or its gradients; `place` tells them
    /// apart in the generator's counter.
    pub(super) fn drop_elements(
        &mut self,
        label: &str,
        drop: Dropout,
        place: usize,
        (all, width): (usize, usize),
        x: BufferId,
    ) {
        let row = self.batch * width;
        let key = View::of(self.whole(self.named("key")));
        let some = match self.program.spec(x).len <= self.limits.max_binding {
            true => all,
            false => self.rows_in_binding(row),
        };
        for t in (0..all).step_by(some) {
            let steps = some.min(all - t);
            let shown = self.window(Place { buffer: x, start: t * row }, steps * row);
            let at = [0, 0, t as u32, place as u32];
            let size = (steps, self.batch, width);
            self.launch(label, dropout::dispatch(drop, at, size, key, shown));
        }
    }

    /// From how the caller's rows lie and run to how the layers take them, where that differs.
    pub(super) fn alignment(&self) -> Option<Alignment> {
        let (from_right, reverse) = (self.sequences.right_aligned, self.shape.reverse);
        (from_right || reverse).then_some(Alignment { from_right, to_right: false, reverse })
    }

    /// Moves the rows of a `[T, B, K]`, in as many pieces as bindings need.
    pub(super) fn align_sequence(
        &mut self,
        label: &str,
        alignment: Alignment,
        width: usize,
        (from, source): (Strides, Place),
        (to, copied): (Strides, Place),
    ) {
        let (steps, batch, most) = (self.steps, self.batch, self.limits.max_binding);
        let extent = |strides: Strides, steps: usize, rows: usize| {
            (steps - 1) * strides.step + (rows - 1) * strides.row + width
        };
        let whole = |at: Place| self.program.spec(at.buffer).len <= most;
        let fits = |at: Place, strides: Strides, steps: usize, rows: usize| {
            whole(at) || extent(strides, steps, rows) + self.limits.alignment <= most
        };
        // As many rows at a time as can be bound with a timestep, then as many timesteps as that leaves.
        let halved = |n: usize| n.div_ceil(2);
        let mut rows = batch;
        while rows > 1 && !(fits(source, from, 1, rows) && fits(copied, to, 1, rows)) {
            rows = halved(rows);
        }
        let timesteps = |at: Place, strides: Strides| {
            let mut some = steps;
            while some > 1 && !fits(at, strides, some, rows) {
                some = halved(some);
            }
            some
        };
        let (read, written) = (timesteps(source, from), timesteps(copied, to));
        let Padding(lengths) = self.padding();
        for b in (0..batch).step_by(rows) {
            let rows = rows.min(batch - b);
            let padding = Padding(lengths.map(|view| View { start: view.start + b, ..view }));
            for first in (0..steps).step_by(written) {
                for shown in (0..steps).step_by(read) {
                    let (written, read) = (written.min(steps - first), read.min(steps - shown));
                    let part = |at: Place, strides: Strides, t: usize, count: usize| {
                        let start = at.start + t * strides.step + b * strides.row;
                        self.window(Place { start, ..at }, extent(strides, count, rows))
                    };
                    let dispatch = align_sequence::dispatch(
                        alignment,
                        (first, written, steps),
                        (rows, width),
                        (shown, read),
                        padding,
                        (from, part(source, from, shown, read)),
                        (to, part(copied, to, first, written)),
                    );
                    self.launch(label, dispatch);
                }
            }
        }
    }

    /// Moves the top layer's outputs to where the caller has them.
    pub(super) fn align_outputs(
        &mut self,
        label: &str,
        alignment: Alignment,
        (to, copied): (Strides, BufferId),
    ) {
        let (top, width) = (self.shape.layers - 1, self.shape.features());
        let from = Place { buffer: self.layer("h", top), start: self.h_at(top, 0, 1) };
        let from = (Strides::time_major(self.batch, width), from);
        let to = (to, Place { buffer: copied, start: 0 });
        self.align_sequence(label, alignment, width, from, to);
    }

    pub(super) fn finish(self) -> Result<Plan> {
        let table = kernels::table();
        self.program.check(&table, self.limits)?;
        let Some(output) = self.output else { unreachable!("a plan has a result") };
        let trained = (self.backward_from > 0).then_some(&self.backward_cut);
        let tier = self.forward_cut.tier;
        let reason = cut::said(&self.forward_cut, trained);
        Ok(Plan {
            program: Arc::new(self.program.trust(&table)),
            shape: self.shape,
            sequences: self.sequences,
            output,
            forward_from: self.forward_from,
            backward_from: self.backward_from,
            tier,
            reason,
        })
    }
}
