//! The optimizer step.

use super::workspace::{Place, Planner};
use crate::kernels::{View, adam};
use crate::reference::AdamConstants;

impl Planner<'_> {
    /// Adam over the flat buffers, in chunks that a binding and a grid can hold.
    pub(super) fn adam(&mut self, constants: &AdamConstants) {
        let len = self.table.len;
        let m = self.callers("adam_m", "[N]", &[len]);
        let v = self.callers("adam_v", "[N]", &[len]);
        let (g, p) = (self.named("grads"), self.params);
        let scalars = View::of(self.whole(self.named("scalars")));
        let grid = (self.limits.max_workgroups as usize).saturating_mul(adam::TILE);
        let binding = self.limits.max_binding / self.limits.alignment * self.limits.alignment;
        let chunk = grid.min(binding);
        for start in (0..len).step_by(chunk.min(len)) {
            let count = chunk.min(len - start);
            let view = |buffer| self.window(Place { buffer, start }, count);
            let operands =
                adam::Operands { scalars, g: view(g), p: view(p), m: view(m), v: view(v) };
            let label = if count == len { "adam".to_owned() } else { format!("adam from {start}") };
            self.launch(label, adam::dispatch(count, constants, &operands));
        }
    }
}
