//! The loss and backpropagation through time.

use super::workspace::{Place, Planner};
use super::{Head, LOSS_SLOTS, Role};
use crate::command::{BufferId, Operation, Owner, Range};
use crate::kernels::{View, column_sum, lstm_step_backward, mse_loss, reduce_sum};
use crate::reference::Product;

/// Runs that the host may prepare before it submits, at most.
const FEED_SLOTS: usize = 16;

/// Elements (64 MiB) that a feed's ring may take where it has more than one slot.
const FEED_ELEMENTS: usize = 16 << 20;

/// Floating-point operations of one submission, about: a slow GPU takes a quarter of a second,
/// well below what a driver's watchdog allows.
const SUBMIT_FLOP: usize = 50_000_000_000;

impl Planner<'_> {
    /// What the host writes for a run, and its way to where kernels read it.
    pub(super) fn feed(&mut self) {
        let x = self.whole(self.x);
        let target = self.workspace("target", "[B, O]", &[self.batch, self.shape.outputs()]);
        let scalars = self.workspace("scalars", "[2]", &[2]);
        let parts = [x, self.whole(target), self.whole(scalars)];
        let len: usize = parts.iter().map(|part| part.len).sum();
        // A training step: forward, and twice that backward.
        let terms = self.shape.input.saturating_add(2 * self.shape.hidden);
        let weights = (4 * self.shape.layers * self.shape.hidden).saturating_mul(terms);
        let flop = (6 * self.steps * self.batch).saturating_mul(weights.max(1));
        let slots = (FEED_ELEMENTS / len).min(SUBMIT_FLOP / flop).clamp(1, FEED_SLOTS);
        let feed = self.ring("feed", "[x, target, scalars]", &[len], slots, Owner::Workspace);
        let mut start = 0;
        for to in parts {
            let from = Range { buffer: feed, start, len: to.len };
            self.push("feed", Operation::Copy { from, to });
            start += to.len;
        }
    }

    /// The mean squared error and the prediction's gradient.
    pub(super) fn loss(&mut self) {
        let (batch, outputs) = (self.batch, self.shape.outputs());
        let len = batch * outputs;
        let dy = self.workspace("dy", "[B, O]", &[batch, outputs]);
        let partials = len.div_ceil(mse_loss::CHUNK);
        let partial = self.workspace("loss_partials", "[ceil(B O / 1024)]", &[partials]);
        let loss = self.workspace("loss", "[1]", &[1]);
        let view = |buffer| View::of(self.whole(buffer));
        let (y, target) = (self.named("y"), self.named("target"));
        let dispatch = mse_loss::dispatch(len, view(y), view(target), view(dy), view(partial));
        self.launch("loss", dispatch);

        // Sums of sums, until one is left; the last is scaled to the mean.
        let (mut from, mut left, mut stage) = (partial, partials, 0);
        loop {
            let sums = left.div_ceil(reduce_sum::CHUNK);
            let (to, scale) = if sums == 1 {
                (loss, (1.0 / len as f64) as f32)
            } else {
                (self.workspace(&format!("loss_sums_{stage}"), "[sums]", &[sums]), 1.0)
            };
            let view = |buffer| View::of(self.whole(buffer));
            let dispatch =
                reduce_sum::dispatch(left, reduce_sum::CHUNK, scale, view(from), view(to));
            self.launch("mean loss", dispatch);
            if sums == 1 {
                break;
            }
            (from, left, stage) = (to, sums, stage + 1);
        }
    }

    /// Keeps the loss for the host.
    pub(super) fn log_loss(&mut self) {
        let losses = self.ring("losses", "[1]", &[1], LOSS_SLOTS, Owner::Caller);
        let (from, to) = (self.whole(self.named("loss")), self.whole(losses));
        self.push("log the loss", Operation::Copy { from, to });
    }

    /// Every gradient, from the head down.
    pub(super) fn backward(&mut self, input_gradient: bool) {
        let grads = self.callers("grads", "[N]", &[self.table.len]);
        let partials = self.column_sum_partials();
        let sums = self.workspace("column_sums", "[partial sums]", &[partials]);
        let dh_n = self.head_backward(grads, sums);
        let (steps, batch, hidden, layers) =
            (self.steps, self.batch, self.shape.hidden, self.shape.layers);
        if layers == 0 {
            return;
        }
        self.workspace("dc", "[B, H]", &[batch, hidden]);
        if layers > 1 {
            self.workspace("dx", "[T, B, H]", &[steps, batch, hidden]);
        }
        if input_gradient {
            self.workspace("dx_0", "[T, B, I]", &[steps, batch, self.shape.input]);
            self.workspace("dh_0", "[L, B, H]", &[layers, batch, hidden]);
            self.workspace("dc_0", "[L, B, H]", &[layers, batch, hidden]);
        }
        for l in (0..layers).rev() {
            self.layer_steps_backward(l, if l + 1 == layers { Some(dh_n) } else { None });
            self.layer_weights_backward(l, grads, sums);
            self.layer_inputs_backward(l, input_gradient);
        }
    }

    /// The gradients of the head's parameters; returns where that of its input is.
    fn head_backward(&mut self, grads: BufferId, sums: BufferId) -> BufferId {
        let (batch, features, outputs) = (self.batch, self.shape.features(), self.shape.outputs());
        let dy = self.named("dy");
        let Head::Linear(_) = self.shape.head else {
            return dy;
        };
        let at_dy = Place { buffer: dy, start: 0 };
        let input = self.head_input();
        let weight = self.required(self.params, Role::HeadWeight);
        let d_weight = self.required(grads, Role::HeadWeight);
        let d_bias = self.required(grads, Role::HeadBias);
        let shape = Product::dense(outputs, features, batch, true, false);
        self.product("head, weight gradient", shape, at_dy, input, &[], d_weight);
        self.column_sums("head, bias gradient", batch, outputs, at_dy, sums, &[d_bias]);
        let dh_n = self.workspace("dh_n", "[B, H]", &[batch, features]);
        let shape = Product::dense(batch, features, outputs, false, false);
        self.product(
            "head, input gradient",
            shape,
            at_dy,
            weight,
            &[],
            Place { buffer: dh_n, start: 0 },
        );
        dh_n
    }

    fn layer_steps_backward(&mut self, l: usize, dh_n: Option<BufferId>) {
        let (steps, batch, hidden) = (self.steps, self.batch, self.shape.hidden);
        let slot = batch * hidden;
        let (gates, c, dc) = (self.layer("gates", l), self.layer("c", l), self.named("dc"));
        let weight = self.required(self.params, Role::WeightHh(l));
        self.push(format!("layer {l}, backward"), Operation::Zero(self.whole(dc)));
        let above = if dh_n.is_none() { Some(self.named("dx")) } else { None };
        for t in (0..steps).rev() {
            let last = t + 1 == steps;
            let at = |buffer, start| Place { buffer, start };
            let operands = lstm_step_backward::Operands {
                u: self.window(weight, 4 * hidden * hidden),
                c: self.window(at(c, t * slot), 2 * slot),
                dy: above.map(|dx| self.window(at(dx, t * slot), slot)),
                dh_n: dh_n.filter(|_| last).map(|dh_n| self.window(at(dh_n, 0), slot)),
                gates: self.window(at(gates, 4 * t * slot), if last { 4 } else { 8 } * slot),
                dc: self.window(at(dc, 0), slot),
            };
            let dispatch = lstm_step_backward::dispatch(batch, hidden, last, &operands);
            self.launch(format!("layer {l}, backward, t = {t}"), dispatch);
        }
    }

    fn layer_weights_backward(&mut self, l: usize, grads: BufferId, sums: BufferId) {
        let (rows, hidden, input) =
            (self.steps * self.batch, self.shape.hidden, self.shape.layer_input(l));
        let d_gates = Place { buffer: self.layer("gates", l), start: 0 };
        // The hidden states before each step: slots 0 to T-1.
        let h_prev = Place { buffer: self.layer("h", l), start: 0 };
        let to = self.required(grads, Role::WeightIh(l));
        let shape = Product::dense(input, 4 * hidden, rows, true, false);
        let label = format!("layer {l}, weight_ih gradient");
        self.product(&label, shape, self.layer_input(l), d_gates, &[], to);
        let to = self.required(grads, Role::WeightHh(l));
        let shape = Product::dense(hidden, 4 * hidden, rows, true, false);
        self.product(&format!("layer {l}, weight_hh gradient"), shape, h_prev, d_gates, &[], to);
        // Both biases are added to the same sum, so their gradients are the same.
        let roles = [Role::BiasIh(l), Role::BiasHh(l)];
        let biases: Vec<Place> =
            roles.into_iter().filter_map(|role| self.parameter(grads, role)).collect();
        self.column_sums(
            &format!("layer {l}, bias gradient"),
            rows,
            4 * hidden,
            d_gates,
            sums,
            &biases,
        );
    }

    fn layer_inputs_backward(&mut self, l: usize, input_gradient: bool) {
        let (rows, batch, hidden) = (self.steps * self.batch, self.batch, self.shape.hidden);
        let input = self.shape.layer_input(l);
        let d_gates = Place { buffer: self.layer("gates", l), start: 0 };
        let to = match l {
            0 if !input_gradient => None,
            0 => Some(self.named("dx_0")),
            _ => Some(self.named("dx")),
        };
        if let Some(to) = to {
            let weight = self.required(self.params, Role::WeightIh(l));
            let shape = Product::dense(rows, input, 4 * hidden, false, true);
            let label = format!("layer {l}, input gradient");
            self.product(&label, shape, d_gates, weight, &[], Place { buffer: to, start: 0 });
        }
        if !input_gradient {
            return;
        }
        let start = l * batch * hidden;
        let weight = self.required(self.params, Role::WeightHh(l));
        let to = Place { buffer: self.named("dh_0"), start };
        let shape = Product::dense(batch, hidden, 4 * hidden, false, true);
        self.product(
            &format!("layer {l}, initial state gradient"),
            shape,
            d_gates,
            weight,
            &[],
            to,
        );
        let to = Range { buffer: self.named("dc_0"), start, len: batch * hidden };
        let from = self.whole(self.named("dc"));
        self.push(format!("layer {l}, initial state gradient"), Operation::Copy { from, to });
    }

    /// Rows that one invocation of `column_sum` adds up in the first of two stages: about the
    /// square root, so that neither stage is long. Buffers hold less than 2^32 elements, so both
    /// stay below 2^16 rows, within any loop budget and any grid.
    fn column_sum_chunk(&self, rows: usize, columns: usize) -> usize {
        rows.isqrt().max(column_sum::CHUNK).min(self.rows_in_binding(columns))
    }

    /// Elements that the partial sums of the widest column sum take.
    fn column_sum_partials(&self) -> usize {
        let of = |rows: usize, columns: usize| {
            rows.div_ceil(self.column_sum_chunk(rows, columns)) * columns
        };
        let head = of(self.batch, self.shape.outputs());
        match self.shape.layers {
            0 => head,
            _ => head.max(of(self.steps * self.batch, 4 * self.shape.hidden)),
        }
    }

    /// The sums of the columns of `a [rows, columns]`, in one stage or two, to every place of
    /// `to`.
    fn column_sums(
        &mut self,
        label: &str,
        rows: usize,
        columns: usize,
        a: Place,
        sums: BufferId,
        to: &[Place],
    ) {
        let chunk = self.column_sum_chunk(rows, columns);
        let chunks = rows.div_ceil(chunk);
        if chunks == 1 {
            for &to in to {
                let (from, out) = (self.window(a, rows * columns), self.window(to, columns));
                self.launch(label, column_sum::dispatch(rows, columns, rows, from, out));
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
                column_sum::dispatch(rows, columns, chunk, from, out),
            );
        }
        for &to in to {
            let from = self.window(Place { buffer: sums, start: 0 }, chunks * columns);
            let out = self.window(to, columns);
            self.launch(label, column_sum::dispatch(chunks, columns, chunks, from, out));
        }
    }
}
