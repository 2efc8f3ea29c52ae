//! Launches of one timestep of a layer.

use super::Role;
use super::parameters::quads;
use super::workspace::{Place, Planner, said};
use crate::command::Dispatch;
use crate::kernels::{lstm_step_backward, lstm_step_forward, projection_clip};
use crate::reference::Product;

impl Planner<'_> {
    /// The `s`th step of every direction: one launch, or, where the operands of both can't be
    /// bound together, one a direction; and, with a projection, its product.
    pub(super) fn step_forward(&mut self, l: usize, s: usize) {
        let label = match self.shape.bidirectional {
            false => format!("layer {l}, t = {s}"),
            true => format!("layer {l}, t = {s} and {}", self.visit(1, s)),
        };
        self.launch_directions(
            &label,
            |d, planner| format!("layer {l}{}, t = {}", said(d), planner.visit(d, s)),
            |directions, planner| planner.step_forward_dispatch(l, s, directions),
        );
        let Some(projection) = self.shape.projection else { return };
        let (h, z) = (self.layer("h", l), self.layer("z", l));
        let operands: Vec<(Place, Place, Place)> = (0..self.shape.directions())
            .map(|d| {
                let t = self.visit(d, s);
                let a = Place { buffer: z, start: self.z_at(l, d, t) };
                let b = self.required(self.params, Role::WeightHr(l, d));
                (a, b, Place { buffer: h, start: self.h_around(l, d, t).1 })
            })
            .collect();
        let shape = Product {
            ldb: quads(projection),
            ldc: self.shape.layer_output(l),
            // Rows that have ended add zeros, and what stands in their slot stays.
            accumulate: self.sequences.lengths,
            ..Product::dense(self.batch, projection, self.shape.units(l), false, false)
        };
        self.products(&format!("{label}, projection"), shape, &operands);
        for d in 0..self.shape.directions() {
            self.clip_projection(l, d, self.visit(d, s));
        }
    }

    /// Bounds the projected hidden states of a timestep, where they are bounded.
    fn clip_projection(&mut self, l: usize, d: usize, t: usize) {
        let Some((bound, width)) = self.shape.cell.projection_clip.zip(self.shape.projection)
        else {
            return;
        };
        let row = self.shape.layer_output(l);
        let h = Place { buffer: self.layer("h", l), start: self.h_around(l, d, t).1 };
        let x = self.window(h, (self.batch - 1) * row + width);
        // Nothing is read of it there, but a launch binds a buffer.
        let unused = self.window(Place { buffer: self.params, start: 0 }, 1);
        let size = (self.batch, width);
        let dispatch =
            projection_clip::dispatch(bound, size, None, (x, row), (self.padding(), t), unused);
        self.launch(format!("layer {l}{}, t = {t}, projection clip", said(d)), dispatch);
    }

    fn step_forward_dispatch(&self, l: usize, s: usize, directions: &[usize]) -> Dispatch {
        let (batch, hidden, terms) = (self.batch, self.shape.units(l), self.shape.state(l));
        let (slot, features) = (self.slot(l), self.shape.layer_output(l));
        let windows = |buffer, len: usize, each: &dyn Fn(usize) -> Vec<usize>| {
            self.windows_of(directions, buffer, len, each)
        };
        let t = |d: usize| self.visit(d, s);
        let weight = |d: usize| self.required(self.params, Role::WeightHh(l, d)).start;
        let (u, u_at) = windows(self.params, 4 * terms * hidden, &|d| vec![weight(d)]);
        let (gates, gates_at) =
            windows(self.gates(l), 4 * slot, &|d| vec![self.gates_at(l, d, t(d))]);
        let pair = |(before, after): (usize, usize)| vec![before, after];
        let row = (batch - 1) * features + terms;
        let (h, h_at) = windows(self.layer("h", l), row, &|d| pair(self.h_around(l, d, t(d))));
        let (c, c_at) = windows(self.layer("c", l), slot, &|d| pair(self.c_around(l, d, t(d))));
        let projected = self.shape.projection.is_some();
        // Without a projection nothing is written there, but a launch binds a buffer.
        let z_buffer = if projected { self.layer("z", l) } else { self.named("unused") };
        let (z, z_at) = match projected {
            true => windows(z_buffer, slot, &|d| vec![self.z_at(l, d, t(d))]),
            false => (self.whole(z_buffer), Vec::new()),
        };
        let (p, p_at) = self.peepholes(l, directions);
        let at = |i: usize| lstm_step_forward::At {
            p: p_at.get(i).copied().unwrap_or(0),
            place: self.place_of_masks(l, directions[i]),
            t: t(directions[i]),
            u: u_at[i],
            gates: gates_at[i],
            h_prev: h_at[2 * i],
            h: h_at[2 * i + 1],
            c_prev: c_at[2 * i],
            c: c_at[2 * i + 1],
            z: z_at.get(i).copied(),
            input: None,
        };
        let at: Vec<_> = (0..directions.len()).map(at).collect();
        let cell = self.shape.cell;
        let ((padding, key), masked) = (self.rows(), self.masked(l));
        let h_row = features;
        let shape = lstm_step_forward::Shape { cell, key, batch, hidden, terms, h_row, masked };
        let bound = lstm_step_forward::Bindings { u, gates, h, c, z, p };
        let dispatch = lstm_step_forward::dispatch(&shape, &bound, &at, true, padding);
        lstm_step_forward::with_tile(dispatch, self.step_tile())
    }

    /// The `s`th step back of every direction, as [`step_forward`](Self::step_forward).
    pub(super) fn step_backward(&mut self, l: usize, s: usize) {
        let label = match self.shape.bidirectional {
            false => format!("layer {l}, backward, t = {}", self.visit_back(0, s)),
            true => format!("layer {l}, backward, t = {} and {s}", self.visit_back(0, s)),
        };
        for d in 0..self.shape.directions() {
            self.clip_projection_back(l, d, self.visit_back(d, s));
        }
        self.launch_directions(
            &label,
            |d, planner| {
                format!("layer {l}{}, backward, t = {}", said(d), planner.visit_back(d, s))
            },
            |directions, planner| planner.step_backward_dispatch(l, s, directions),
        );
        let Some(projection) = self.shape.projection.filter(|_| s + 1 < self.steps) else {
            return;
        };
        let (gates, dp) = (self.gates(l), self.named("dp"));
        let operands: Vec<(Place, Place, Place)> = (0..self.shape.directions())
            .map(|d| {
                let (t, next) = (self.visit_back(d, s), self.visit_back(d, s + 1));
                let a = Place { buffer: gates, start: self.gates_at(l, d, t) };
                let b = self.required(self.params, Role::WeightHh(l, d));
                (a, b, Place { buffer: dp, start: self.dp_at(d, next) })
            })
            .collect();
        let shape = Product {
            ldc: quads(projection),
            accumulate: true,
            ..Product::dense(self.batch, projection, 4 * self.shape.units(l), false, true)
        };
        self.products(&format!("{label}, projection"), shape, &operands);
    }

    /// Drops the gradients of projected hidden states of a timestep that were bounded.
    fn clip_projection_back(&mut self, l: usize, d: usize, t: usize) {
        let Some((bound, width)) = self.shape.cell.projection_clip.zip(self.shape.projection)
        else {
            return;
        };
        let (h_row, d_row) = (self.shape.layer_output(l), quads(width));
        let h = Place { buffer: self.layer("h", l), start: self.h_around(l, d, t).1 };
        let h = self.window(h, (self.batch - 1) * h_row + width);
        let dp = Place { buffer: self.named("dp"), start: self.dp_at(d, t) };
        let dp = self.window(dp, self.batch * d_row);
        let size = (self.batch, width);
        let dispatch = projection_clip::dispatch(
            bound,
            size,
            Some((h, h_row)),
            (dp, d_row),
            (self.padding(), t),
            h,
        );
        let label = format!("layer {l}{}, backward, t = {t}, projection clip", said(d));
        self.launch(label, dispatch);
    }

    fn step_backward_dispatch(&self, l: usize, s: usize, directions: &[usize]) -> Dispatch {
        let (batch, hidden, slot) = (self.batch, self.shape.units(l), self.slot(l));
        let (features, projection) = (self.shape.layer_output(l), self.shape.projection);
        let terms = projection.map_or(hidden, |p| quads(p) / 4);
        let windows = |buffer, len: usize, each: &dyn Fn(usize) -> Vec<usize>| {
            self.windows_of(directions, buffer, len, each)
        };
        let t = |d: usize| self.visit_back(d, s);
        let weight = |d: usize| {
            let role = match projection {
                Some(_) => Role::WeightHr(l, d),
                None => Role::WeightHh(l, d),
            };
            self.required(self.params, role).start
        };
        let (w, w_at) = windows(self.params, 4 * terms * hidden, &|d| vec![weight(d)]);
        let (c, c_at) = windows(self.layer("c", l), slot, &|d| {
            let (before, after) = self.c_around(l, d, t(d));
            vec![before, after]
        });
        // Without a projection, the product's rows are the gates of the step that ran after.
        let after = |d: usize| match (projection, s) {
            (Some(_), _) | (_, 0) => Vec::new(),
            _ => vec![self.gates_at(l, d, self.visit_back(d, s - 1))],
        };
        let (gates, gates_at) = windows(self.gates(l), 4 * slot, &|d| {
            [vec![self.gates_at(l, d, t(d))], after(d)].concat()
        });
        let each = gates_at.len() / directions.len();
        let (dc, dc_at) = windows(self.named("dc"), slot, &|d| vec![self.dc_at(l, d)]);
        let dy = projection.is_none().then(|| {
            let row = (batch - 1) * features + hidden;
            windows(self.named("dh"), row, &|d| vec![t(d) * batch * features + d * hidden])
        });
        let dp = projection
            .map(|p| windows(self.named("dp"), batch * quads(p), &|d| vec![self.dp_at(d, t(d))]));
        let (p, p_at) = self.peepholes(l, directions);
        let at = |i: usize| lstm_step_backward::At {
            p: p_at.get(i).copied().unwrap_or(0),
            place: self.place_of_masks(l, directions[i]),
            t: t(directions[i]),
            w: w_at[i],
            gates: gates_at[each * i],
            incoming: match &dp {
                Some((_, starts)) => Some(starts[i]),
                None => (each > 1).then(|| gates_at[each * i + 1]),
            },
            c_prev: c_at[2 * i],
            c: c_at[2 * i + 1],
            dy: dy.as_ref().map(|(_, starts)| starts[i]),
            dc: dc_at[i],
            above: None,
        };
        let at: Vec<_> = (0..directions.len()).map(at).collect();
        let cell = self.shape.cell;
        let ((padding, key), zoned, dy_row) = (self.rows(), self.zoned(), features);
        let shape = lstm_step_backward::Shape { cell, key, batch, hidden, dy_row, terms, zoned };
        let bound = lstm_step_backward::Bindings {
            w,
            c,
            dy: dy.as_ref().map(|(range, _)| *range),
            dh: dp.as_ref().map(|(range, _)| *range),
            gates,
            dc,
            p,
        };
        let dispatch = lstm_step_backward::dispatch(&shape, &bound, &at, padding);
        lstm_step_backward::with_tile(dispatch, self.step_tile())
    }
}
