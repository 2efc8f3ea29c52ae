//! Products, cut to fit a device.

use super::tiers::product_tile;
use super::workspace::{Place, Planner};
use crate::command::{BufferId, Executor, Range};
use crate::kernels::matmul::Sums;
use crate::kernels::{Tile, View, column_sum, matmul};
use crate::reference::{Product, panels};

/// Workgroups that a product should have on a GPU: enough for its multiprocessors, whatever their number.
const WORKGROUPS: usize = 128;

/// The fewest terms of a slice of a product whose terms are shared by workgroups: less, and adding up the
/// slices takes as long.
const SLICE: usize = 256;

/// What all slices of a product may take, 16 MiB.
const SLICES: usize = (16 << 20) / 4;

/// Elements from the first to the last of A, of B where it isn't in panels, and of C.
fn extents(p: &Product) -> [usize; 3] {
    let extent = |rows: usize, ld: usize, row: usize| (rows - 1) * ld + row;
    let (a_rows, a_row) = if p.transpose_a { (p.k, p.m) } else { (p.m, p.k) };
    let (b_rows, b_row) = if p.transpose_b { (p.n, p.k) } else { (p.k, p.n) };
    [extent(a_rows, p.lda, a_row), extent(b_rows, p.ldb, b_row), extent(p.m, p.ldc, p.n)]
}

impl Planner<'_> {
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
        self.product_with_sums(label, p, (a, b, c), biases, (Sums::Columns, &[]));
    }

    /// The same, which also makes other sums at some places of C's buffer, all of which can be bound.
    fn product_with_sums(
        &mut self,
        label: &str,
        p: Product,
        (a, b, c): (Place, Place, Place),
        biases: &[Place],
        (of, sums): (Sums, &[Place]),
    ) {
        let fits = |buffer: BufferId| self.program.spec(buffer).len <= self.limits.max_binding;
        let rows = |at: Place, row: usize| {
            if fits(at.buffer) { usize::MAX } else { self.rows_in_binding(row) }
        };
        let grid = (self.limits.max_workgroups as usize).saturating_mul(matmul::FEWEST_ROWS);
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
            let tile = product_tile(self.limits, &p);
            most_k = most_k.min(matmul::terms_within(budget as usize, tile));
        }
        // The view of a stored block of a matrix, `rows x columns` from (row, column) on.
        let block = |at: Place,
                     ld: usize,
                     (row, rows): (usize, usize),
                     (column, columns): (usize, usize)| {
            let start = at.start + row * ld + column;
            self.window(Place { start, ..at }, (rows - 1) * ld + columns)
        };
        if p.packed_b {
            // Only where everything can be bound whole.
            let [of_a, _, of_c] = extents(&p);
            let a = self.window(a, of_a);
            let b = self.window(b, panels(p.k, p.n));
            let biases: Vec<View> = biases.iter().map(|bias| self.window(*bias, p.n)).collect();
            let c = self.window(c, of_c);
            return self.launch(label, matmul::dispatch(&p, a, b, &biases, c));
        }
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
                    // The launches of the first rows add up the columns, those of the first columns the
                    // rows.
                    let (along, across) = if of == Sums::Columns { (n, m) } else { (m, n) };
                    let places: Vec<usize> =
                        sums.iter().filter(|_| across == 0).map(|sum| sum.start + along).collect();
                    let dispatch = matmul::with_sums(dispatch, of, &places);
                    launches.push((
                        label,
                        matmul::with_tile(dispatch, product_tile(self.limits, &piece)),
                    ));
                }
            }
        }
        for (label, dispatch) in launches {
            self.launch(label, dispatch);
        }
    }

    /// One product a direction, without biases: as one launch where the operands of both can be
    /// bound together, else one after the other.
    pub(super) fn products(&mut self, label: &str, p: Product, operands: &[(Place, Place, Place)]) {
        if let [(a, b, c), (a_2, b_2, c_2)] = *operands {
            let [of_a, of_b, of_c] = extents(&p);
            let both = |one: Place, two: Place, len: usize| {
                let (range, starts) =
                    self.windows(one.buffer, &[(one.start, len), (two.start, len)]);
                (View { range, start: starts[0] }, starts[1])
            };
            let (a, a_2) = both(a, a_2, of_a);
            let (b, b_2) = both(b, b_2, of_b);
            let (c, c_2) = both(c, c_2, of_c);
            let dispatch = matmul::dispatch_pair(&p, a, b, c, [a_2, b_2, c_2]);
            let dispatch = matmul::with_tile(dispatch, product_tile(self.limits, &p));
            let budget = self
                .limits
                .loop_budget
                .map(|budget| matmul::terms_within(budget as usize, product_tile(self.limits, &p)));
            if self.can_bind(&dispatch) && budget.is_none_or(|terms| p.k <= terms) {
                return self.launch(label, dispatch);
            }
        }
        for &(a, b, c) in operands {
            self.product(label, p, a, b, &[], c);
        }
    }

    /// A product that is a weight's gradient, `input^T . d` or `d^T . input`, with the gradients of its
    /// biases: sums of `d` over all timesteps and rows.
    pub(super) fn weight_gradient(
        &mut self,
        label: &str,
        p: Product,
        (a, b, to): (Place, Place, Place),
        (of, biases): (Sums, &[Place]),
        partials: BufferId,
    ) {
        let gpu = self.limits.executor == Executor::Gpu;
        // On a GPU, the product adds them up on the way, where both results can be bound.
        let bound = gpu && self.program.spec(to.buffer).len <= self.limits.max_binding;
        let sums = (of, if bound { biases } else { &[] });
        match self.slices(&p, (a, b)).filter(|_| bound) {
            None => self.product_with_sums(label, p, (a, b, to), &[], sums),
            Some(slices) => self.product_in_slices(label, p, slices, (a, b, to), sums),
        }
        if !bound && !biases.is_empty() {
            let label = format!("{label}, biases");
            let (d, columns) = if of == Sums::Columns { (b, p.n) } else { (a, p.m) };
            self.column_sums(&label, (p.k, columns), d, partials, biases);
        }
    }

    /// In how many slices of K a product should be made, where that is more than one.
    fn slices(&self, p: &Product, (a, b): (Place, Place)) -> Option<usize> {
        let whole = |at: Place| self.program.spec(at.buffer).len <= self.limits.max_binding;
        let dense = p.ldc == p.n;
        if self.limits.executor == Executor::Cpu || self.tile() == Tile::Broadcast {
            return None;
        }
        if !dense || !whole(a) || !whole(b) {
            return None;
        }
        let tiles = p.m.div_ceil(matmul::TILE) * p.n.div_ceil(matmul::TILE);
        let room = SLICES.min(self.limits.max_binding);
        let most = room / (p.n * p.m + p.n.max(p.m));
        let slices = (WORKGROUPS / tiles).min(p.k / SLICE).min(most);
        let terms = p.k / slices.max(1) + matmul::TILE_K;
        let tile = product_tile(self.limits, p);
        let short = |budget: u32| terms <= matmul::terms_within(budget as usize, tile);
        (slices > 1 && self.limits.loop_budget.is_none_or(short)).then_some(slices)
    }

    /// A buffer for so many elements of slices, which all products share: it grows with the largest.
    fn room_for_slices(&mut self, len: usize) -> Range {
        let buffer = match self.program.buffer("slices") {
            Some(buffer) => buffer,
            None => self.workspace("slices", "", &[len]),
        };
        let spec = &mut self.program.buffers[buffer.0 as usize];
        spec.len = spec.len.max(len);
        spec.shape = format!("[slices of products] = [{}]", spec.len);
        Range { buffer, start: 0, len }
    }

    /// A product whose terms are shared by workgroups, and then the sum of the slices, in order.
    fn product_in_slices(
        &mut self,
        label: &str,
        p: Product,
        slices: usize,
        (a, b, c): (Place, Place, Place),
        (of, sums): (Sums, &[Place]),
    ) {
        let terms = p.k.div_ceil(slices).next_multiple_of(matmul::TILE_K);
        let slices = p.k.div_ceil(terms);
        let (each, columns) = (p.m * p.n, slices * p.m * p.n);
        let count = if of == Sums::Columns { p.n } else { p.m };
        let len = columns + slices * count;
        let room = self.room_for_slices(len);
        let [of_a, of_b, _] = extents(&p);
        let sliced = Product { accumulate: false, ..p };
        let dispatch = matmul::dispatch(
            &sliced,
            self.window(a, of_a),
            self.window(b, of_b),
            &[],
            View::of(room),
        );
        let places = [columns];
        let places = if sums.is_empty() { &[][..] } else { &places[..] };
        let dispatch = matmul::with_sums(dispatch, of, places);
        let dispatch = matmul::with_slices(dispatch, terms, each);
        let dispatch = matmul::with_tile(dispatch, product_tile(self.limits, &sliced));
        self.launch(format!("{label}, in slices"), dispatch);
        let mut add = |label: String, (start, len): (usize, usize), to: Place| {
            let from = View { range: room, start };
            let to = self.window(to, len);
            let size = (slices, len);
            let dispatch = column_sum::dispatch(size, slices, (from, to), p.accumulate);
            self.launch(label, dispatch);
        };
        add(format!("{label}, sum of slices"), (0, each), c);
        for &sum in sums {
            add(format!("{label}, biases, sum of slices"), (columns, count), sum);
        }
    }
}
