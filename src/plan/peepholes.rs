//! The peepholes of a layer's cell, and their gradient.

use super::Role;
use super::workspace::{Place, Planner, said};
use crate::command::{BufferId, Range};
use crate::kernels::peephole_gradient;

impl Planner<'_> {
    /// Where the peepholes of a direction start in the parameters, where it has some.
    pub(super) fn peepholes_at(&self, l: usize, d: usize) -> usize {
        self.parameter(self.params, Role::WeightPeephole(l, d)).map_or(0, |place| place.start)
    }

    /// What is bound of the peepholes of some directions, and where they start in it.
    pub(super) fn peepholes(&self, l: usize, directions: &[usize]) -> (Option<Range>, Vec<usize>) {
        if !self.shape.cell.peepholes {
            return (None, Vec::new());
        }
        let len = 4 * self.shape.units(l);
        let each = |d: usize| vec![self.peepholes_at(l, d)];
        let (range, starts) = self.windows_of(directions, self.params, len, &each);
        (Some(range), starts)
    }

    /// The gradient of a direction's peepholes, in one stage or two.
    pub(super) fn peephole_gradient(
        &mut self,
        (l, d): (usize, usize),
        grads: BufferId,
        partials: BufferId,
    ) {
        let Some(to) = self.parameter(grads, Role::WeightPeephole(l, d)) else { return };
        let (hidden, rows) = (self.shape.units(l), self.steps * self.batch);
        let (before, after) = self.c_around(l, d, 0);
        // Reverse, the states before a timestep stand behind those after it; of all timesteps, both are in one
        // piece either way.
        let (gates, c, columns) = (self.gates(l), self.layer("c", l), 4 * hidden);
        let chunk = self.column_sum_chunk(rows, columns);
        let chunks = rows.div_ceil(chunk);
        let label = format!("layer {l}{}, weight_peephole gradient", said(d));
        let shown = (self.rows_in_binding(columns) / chunk).max(1);
        for first in (0..chunks).step_by(shown.min(chunks)) {
            let row = first * chunk;
            let count = (shown * chunk).min(rows - row);
            let start = self.gates_at(l, d, 0) + row * columns;
            let states = [before, after].map(|start| (start + row * hidden, count * hidden));
            let (range, starts) = self.windows(c, &states);
            let out = match chunks {
                1 => to,
                _ => Place { buffer: partials, start: first * columns },
            };
            let operands = peephole_gradient::Operands {
                d_gates: self.window(Place { buffer: gates, start }, count * columns),
                c: range,
                c_prev_start: starts[0],
                c_start: starts[1],
                out: self.window(out, count.div_ceil(chunk) * columns),
            };
            let accumulate = chunks == 1 && self.accumulate;
            let dispatch =
                peephole_gradient::dispatch((count, hidden), chunk, &operands, accumulate);
            self.launch(label.clone(), dispatch);
        }
        if chunks > 1 {
            self.last_sums(&label, (chunks, columns), partials, &[to]);
        }
    }
}
