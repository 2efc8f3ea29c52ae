//! Weights in panels, as the CPU executor's products read them.

use super::Role;
use super::workspace::{Place, Planner, said};
use crate::command::{Executor, Operation, Range, Tier};
use crate::kernels::pack_panels;
use crate::reference::{PANEL, Panels, panels};

/// Rows of a batch from which on the timesteps make the input's share of the gates themselves: enough to
/// be worth a pass over the weights. The gates then stay where they are made, which took 2 to 30 % off
/// every shape; with fewer rows, a product over all timesteps passes large weights less often.
const FUSED_ROWS: usize = 6;

/// Weights (f32) that a core keeps beside it, 1 MiB, which may be passed for fewer rows than that.
const FUSED_WEIGHTS: usize = (1 << 20) / 4;

impl Planner<'_> {
    /// Whether products read weights in panels: on the CPU, which binds everything whole.
    pub(super) fn packs(&self) -> bool {
        let (directions, width) = (self.shape.directions(), self.shape.widest_output());
        let slots = (self.steps + directions) * self.batch;
        let rows = self.shape.input.max(width) + 1 + self.shape.hidden;
        let weights = panels(rows, 4 * self.shape.hidden);
        let largest = [
            self.table.len,
            directions * weights.max(panels(4 * self.shape.hidden, self.shape.hidden)),
            slots * self.shape.input.max(width),
            4 * directions * slots * self.shape.hidden,
        ];
        self.limits.executor == Executor::Cpu
            && largest.iter().all(|&len| len <= self.limits.max_binding)
    }

    /// Whether walks through a layer read weights in panels.
    pub(super) fn walks_packed(&self) -> bool {
        self.packs() && self.forward_cut.tier == Tier::Sequence
    }

    /// Whether the timesteps make the input's share of the gates themselves.
    pub(super) fn fuses(&self) -> bool {
        let shape = &self.shape;
        let rows = 1 + shape.input.max(shape.widest_output()) + shape.hidden;
        let few = 4 * shape.hidden * rows <= FUSED_WEIGHTS;
        self.walks_packed() && (self.batch >= FUSED_ROWS || self.steps == 1 || few)
    }

    /// Rows of the panels that the forward walk through a layer reads: where it fuses, the input's
    /// bias and weights stand above the recurrent ones.
    fn walk_rows(&self, l: usize) -> usize {
        let above = if self.fuses() { self.shape.layer_input(l) + 1 } else { 0 };
        above + self.shape.units(l)
    }

    /// What a forward walk's panels hold, in their name.
    fn walk_kind(&self) -> &'static str {
        if self.fuses() { "weights" } else { "weight_hh" }
    }

    /// The weights of all layers in panels, for the CPU executor: the first commands of a plan that
    /// leaves parameters as they are, which need not run again before somebody changes them.
    pub(super) fn prepare(&mut self) {
        if !self.packs() {
            return;
        }
        let packed = |planner: &mut Self, name: &str, columns: usize, rows: usize| {
            let size = [columns.div_ceil(PANEL), rows, PANEL];
            let buffer = planner.workspace(name, "[panels, K, 64]", &size);
            Place { buffer, start: 0 }
        };
        for l in 0..self.shape.layers {
            let columns = 4 * self.shape.units(l);
            for d in 0..self.shape.directions() {
                if self.walks_packed() {
                    let (name, rows) = (packed_name(self.walk_kind(), l, d), self.walk_rows(l));
                    let to = packed(self, &name, columns, rows);
                    self.pack_walk(l, d, to);
                }
                if !self.fuses() {
                    let name = packed_name("weight_ih", l, d);
                    let shape = Panels::dense(self.shape.layer_input(l), columns, false);
                    let to = packed(self, &name, columns, shape.k);
                    self.pack(&name, &shape, Role::WeightIh(l, d), to);
                }
            }
        }
        self.program.prepare = self.program.commands.len();
    }

    /// Packs what the forward walk through a layer reads.
    fn pack_walk(&mut self, l: usize, d: usize, to: Place) {
        let (hidden, rows) = (self.shape.units(l), self.walk_rows(l));
        let columns = 4 * hidden;
        let label = |what: &str| format!("layer {l}{}, packed {what}", said(d));
        let part =
            |k: usize, first: usize| Panels { rows, first, ..Panels::dense(k, columns, false) };
        if self.fuses() {
            let input = self.shape.layer_input(l);
            let roles = [Role::BiasIh(l, d), Role::BiasHh(l, d)];
            let biases: Vec<Role> = roles
                .into_iter()
                .filter(|&role| self.parameter(self.params, role).is_some())
                .collect();
            if biases.is_empty() {
                let len = panels(rows, columns);
                let all = Range { buffer: to.buffer, start: to.start, len };
                self.push(label("weights"), Operation::Zero(all));
            }
            for (i, role) in biases.into_iter().enumerate() {
                let shape = Panels { accumulate: i > 0, ..part(1, 0) };
                self.pack(&label("bias"), &shape, role, to);
            }
            self.pack(&label("input weights"), &part(input, 1), Role::WeightIh(l, d), to);
        }
        self.pack(&label("weights"), &part(hidden, rows - hidden), Role::WeightHh(l, d), to);
    }

    fn pack(&mut self, label: &str, shape: &Panels, role: Role, to: Place) {
        let from = self.window(self.required(self.params, role), shape.k * shape.n);
        let dispatch = pack_panels::dispatch(shape, from, self.window(to, shape.len()));
        self.launch(label, dispatch);
    }

    /// What a walk through a layer reads, forward or backward, in panels that all layers share.
    pub(super) fn pack_recurrent(&mut self, l: usize, transpose: bool) {
        let hidden = self.shape.units(l);
        let packed = self.program.buffer("packed").unwrap_or_else(|| {
            let of_layer = |l: usize| {
                let hidden = self.shape.units(l);
                panels(self.walk_rows(l), 4 * hidden).max(panels(4 * hidden, hidden))
            };
            let most = (0..self.shape.layers).map(of_layer).max().unwrap_or(0);
            self.workspace("packed", "[D, panels]", &[self.shape.directions(), most])
        });
        let each = self.program.spec(packed).len / self.shape.directions();
        for d in 0..self.shape.directions() {
            let to = Place { buffer: packed, start: d * each };
            if transpose {
                let label = format!("layer {l}{}, packed weights", said(d));
                let shape = Panels::dense(4 * hidden, hidden, true);
                self.pack(&label, &shape, Role::WeightHh(l, d), to);
            } else {
                self.pack_walk(l, d, to);
            }
        }
    }

    /// Where the packed weights that a walk through a layer reads are.
    pub(super) fn packed(&self, l: usize, d: usize) -> Place {
        match self.program.buffer(&packed_name(self.walk_kind(), l, d)) {
            Some(buffer) => Place { buffer, start: 0 },
            None => {
                let buffer = self.named("packed");
                let each = self.program.spec(buffer).len / self.shape.directions();
                Place { buffer, start: d * each }
            }
        }
    }
}

/// The buffer of weights in panels.
pub(super) fn packed_name(kind: &str, l: usize, d: usize) -> String {
    format!("packed_{kind}_l{l}{}", if d == 1 { "_reverse" } else { "" })
}
