//! What planning is made of: buffers, windows into them, and products cut to fit.

use std::sync::Arc;

use super::{ParameterTable, Plan, Role, StackShape};
use crate::command::{
    BufferId, BufferSpec, Command, Dispatch, Limits, Operation, Owner, Program, Range,
};
use crate::error::Result;
use crate::kernels::{self, View, matmul};
use crate::reference::Product;

/// A place in a buffer: an operand's first element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) buffer: BufferId,
    pub(super) start: usize,
}

/// A program in the making.
pub(super) struct Planner<'a> {
    pub(super) shape: StackShape,
    pub(super) table: ParameterTable,
    pub(super) steps: usize,
    pub(super) batch: usize,
    pub(super) limits: &'a Limits,
    pub(super) program: Program,
    pub(super) params: BufferId,
    pub(super) x: BufferId,
}

impl<'a> Planner<'a> {
    pub(super) fn new(shape: &StackShape, steps: usize, batch: usize, limits: &'a Limits) -> Self {
        let table = ParameterTable::new(shape);
        let mut planner = Planner {
            shape: *shape,
            steps,
            batch,
            limits,
            program: Program::default(),
            params: BufferId(0),
            x: BufferId(0),
            table,
        };
        planner.params = planner.callers("params", "[N]", &[planner.table.len]);
        planner.x = planner.workspace("x", "[T, B, I]", &[steps, batch, shape.input]);
        planner
    }

    fn add(
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

    /// The buffer of a layer.
    pub(super) fn layer(&self, name: &str, l: usize) -> BufferId {
        self.named(&format!("{name}_l{l}"))
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

    /// The most rows of `row` elements that a window of this device shows.
    pub(super) fn rows_in_binding(&self, row: usize) -> usize {
        (self.limits.max_binding.saturating_sub(self.limits.alignment) / row).max(1)
    }

    /// A product, cut along M, N and K where a binding, a grid or the loop budget is too small for
    /// the whole. The pieces of K are added in order.
    pub(super) fn product(
        &mut self,
        label: &str,
        p: Product,
        a: Place,
        b: Place,
        biases: &[Place],
        c: Place,
    ) {
        let fits = |buffer: BufferId| self.program.spec(buffer).len <= self.limits.max_binding;
        let rows = |at: Place, row: usize| {
            if fits(at.buffer) { usize::MAX } else { self.rows_in_binding(row) }
        };
        let grid = (self.limits.max_workgroups as usize).saturating_mul(matmul::TILE);
        let mut most_m = rows(c, p.ldc).min(grid);
        let (mut most_k, mut most_n) = (usize::MAX, usize::MAX);
        if p.transpose_a {
            most_k = most_k.min(rows(a, p.lda));
        } else {
            most_m = most_m.min(rows(a, p.lda));
        }
        if p.transpose_b {
            most_n = most_n.min(rows(b, p.ldb));
        } else {
            most_k = most_k.min(rows(b, p.ldb));
        }
        if let Some(budget) = self.limits.loop_budget {
            most_k = most_k.min(matmul::terms_within(budget as usize));
        }
        // The view of a stored block of a matrix, `rows x columns` from (row, column) on.
        let block = |at: Place,
                     ld: usize,
                     (row, rows): (usize, usize),
                     (column, columns): (usize, usize)| {
            let start = at.start + row * ld + column;
            self.window(Place { start, ..at }, (rows - 1) * ld + columns)
        };
        let mut launches = Vec::new();
        for m in (0..p.m).step_by(most_m.min(p.m)) {
            for n in (0..p.n).step_by(most_n.min(p.n)) {
                for k in (0..p.k).step_by(most_k.min(p.k)) {
                    let piece = Product {
                        m: most_m.min(p.m - m),
                        n: most_n.min(p.n - n),
                        k: most_k.min(p.k - k),
                        accumulate: p.accumulate || k > 0,
                        ..p
                    };
                    let (rows, columns, terms) = ((m, piece.m), (n, piece.n), (k, piece.k));
                    let (a_rows, a_columns) =
                        if p.transpose_a { (terms, rows) } else { (rows, terms) };
                    let (b_rows, b_columns) =
                        if p.transpose_b { (columns, terms) } else { (terms, columns) };
                    let bias = |bias: &Place| {
                        self.window(Place { start: bias.start + n, ..*bias }, piece.n)
                    };
                    let biases: Vec<View> = biases.iter().filter(|_| k == 0).map(bias).collect();
                    let label = match (piece.m, piece.n, piece.k) == (p.m, p.n, p.k) {
                        true => label.to_owned(),
                        false => format!("{label}, from ({m}, {n}, {k})"),
                    };
                    let dispatch = matmul::dispatch(
                        &piece,
                        block(a, p.lda, a_rows, a_columns),
                        block(b, p.ldb, b_rows, b_columns),
                        &biases,
                        block(c, p.ldc, rows, columns),
                    );
                    launches.push((label, dispatch));
                }
            }
        }
        for (label, dispatch) in launches {
            self.launch(label, dispatch);
        }
    }

    pub(super) fn finish(self) -> Result<Plan> {
        self.program.check(&kernels::table(), self.limits)?;
        Ok(Plan {
            program: Arc::new(self.program),
            shape: self.shape,
            steps: self.steps,
            batch: self.batch,
            tier: "step",
            reason: "one dispatch a timestep, the only tier so far".to_owned(),
        })
    }
}
