//! The fast CPU form of `matmul`.

use pulp::{Simd, WithSimd};

use super::Aligned;
use super::panel::{From, Left, RowsTimesPanel, Tile, blocks};
use super::simd::arch;
use super::threads::{for_all, for_chunks, give_scratch, take_scratch, with_scratch, worth};
use crate::reference::{PANEL, Panels, Product};

/// Terms that pass at a time: a panel of so many rows takes 64 KiB, and stays near a core while all
/// rows of A pass.
const TERMS: usize = 256;

/// The most elements of B that are packed at a time, 4 MiB.
const PACKED: usize = 1 << 20;

/// Rows of A from which on packing B is worth its time.
const PACK_FROM: usize = 13;

/// Rows of C that one task computes, about.
const TASK: usize = 24;

/// Rows of A and C up to which a product of many terms is split over its columns.
const FEW_ROWS: usize = 512;

/// Panels that a task of such a product owns.
const OWNED: usize = 2;

/// The product of [`reference::matmul`](crate::reference::matmul), as rows times panels. Each element
/// is one chain of multiply-adds from the bias or C on, whatever is computed beside it.
///
/// # Panics
/// Where a slice is shorter than the shape says.
pub fn matmul(p: &Product, a: &[f32], b: &[f32], biases: &[&[f32]], c: &mut [f32]) {
    let c = &mut c[..(p.m - 1) * p.ldc + p.n];
    let bias = bias_row(p, biases);
    let first = match (&bias, p.accumulate) {
        (_, true) => Start::Result,
        (Some(bias), false) => Start::Bias(bias),
        (None, false) => Start::Zero,
    };
    let packs = !p.packed_b && (p.transpose_b || p.m >= PACK_FROM);
    if packs && p.m <= FEW_ROWS && p.k > TERMS && p.n > 2 * PANEL * OWNED {
        by_columns(p, first, a, b, c);
        return add_bias(p, bias.as_deref(), c);
    }
    // Columns at a time: all, or as many as are packed at a time.
    let columns = match packs {
        true => (PACKED / TERMS.min(p.k) / PANEL).max(1) * PANEL,
        false => p.n,
    };
    for n in (0..p.n).step_by(columns) {
        let columns = columns.min(p.n - n);
        for k in (0..p.k).step_by(TERMS) {
            let terms = TERMS.min(p.k - k);
            let from = if k == 0 { first } else { Start::Result };
            let left = if p.transpose_a { &a[k * p.lda..] } else { &a[k..] };
            let part = Part { p, left, from, n, columns, terms };
            if packs {
                let panels = Panels { ldb: p.ldb, ..Panels::dense(terms, columns, p.transpose_b) };
                let b = if p.transpose_b { &b[n * p.ldb + k..] } else { &b[k * p.ldb + n..] };
                with_scratch(panels.len(), |packed| {
                    pack(&panels, b, packed);
                    part.run(Right { b: packed, panel: terms * PANEL, ld: PANEL, whole: true }, c);
                });
            } else if p.packed_b {
                part.run(
                    Right { b: &b[k * PANEL..], panel: p.ldb * PANEL, ld: PANEL, whole: true },
                    c,
                );
            } else {
                part.run(Right { b: &b[k * p.ldb..], panel: PANEL, ld: p.ldb, whole: false }, c);
            }
        }
    }
    add_bias(p, bias.as_deref(), c);
}

/// Adds biases to sums that began at what was in C.
fn add_bias(p: &Product, bias: Option<&[f32]>, c: &mut [f32]) {
    let Some(bias) = bias.filter(|_| p.accumulate) else { return };
    for row in c.chunks_mut(p.ldc) {
        for (out, bias) in row.iter_mut().zip(&bias[..p.n]) {
            *out += bias;
        }
    }
}

/// The sum of the biases, filled up to whole panels.
fn bias_row(p: &Product, biases: &[&[f32]]) -> Option<Aligned<f32>> {
    let (one, others) = biases.split_first()?;
    let mut sum = Aligned::new(0);
    sum.resize(p.n.next_multiple_of(PANEL), 0.0);
    sum[..p.n].copy_from_slice(&one[..p.n]);
    for bias in others {
        for (sum, value) in sum.iter_mut().zip(&bias[..p.n]) {
            *sum += value;
        }
    }
    Some(sum)
}

/// [`reference::pack_panels`](crate::reference::pack_panels), a task a panel.
pub fn pack(panels: &Panels, b: &[f32], out: &mut [f32]) {
    let arch = arch();
    let out = &mut out[..panels.len()];
    for_chunks(out, panels.rows * PANEL, worth(panels.k * panels.n), |i, out| {
        let out = &mut out[panels.first * PANEL..][..panels.k * PANEL];
        arch.dispatch(PackOne { panels, i, b, out });
    });
}

/// [`pack_one`], with vectors.
struct PackOne<'a> {
    panels: &'a Panels,
    i: usize,
    b: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for PackOne<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        pack_one(self.panels, self.i, self.b, self.out);
    }
}

/// Rows of B that are turned at a time: a line of memory of each of 64 columns.
const TURNED: usize = 16;

/// The panel `i`.
#[inline(always)]
fn pack_one(panels: &Panels, i: usize, b: &[f32], out: &mut [f32]) {
    let (first, columns) = (i * PANEL, PANEL.min(panels.n - i * PANEL));
    if panels.accumulate {
        for (k, row) in out.chunks_exact_mut(PANEL).enumerate() {
            for (column, value) in row[..columns].iter_mut().enumerate() {
                let n = first + column;
                let at = if panels.transpose { n * panels.ldb + k } else { k * panels.ldb + n };
                *value += b[at];
            }
        }
        return;
    }
    if !panels.transpose {
        for (k, row) in out.chunks_exact_mut(PANEL).enumerate() {
            let (row, rest) = row.split_at_mut(columns);
            row.copy_from_slice(&b[k * panels.ldb + first..][..columns]);
            rest.fill(0.0);
        }
        return;
    }
    for (part, rows) in out.chunks_mut(TURNED * PANEL).enumerate() {
        let count = rows.len() / PANEL;
        if columns < PANEL {
            rows.fill(0.0);
        }
        for column in 0..columns {
            let from = &b[(first + column) * panels.ldb + part * TURNED..][..count];
            for (row, &value) in rows.chunks_exact_mut(PANEL).zip(from) {
                row[column] = value;
            }
        }
    }
}

/// The product where C is small beside A and B, as gradients of weights are: a task owns some columns
/// and all their terms, and no task waits for another before the end.
fn by_columns(p: &Product, first: Start<'_>, a: &[f32], b: &[f32], c: &mut [f32]) {
    let columns = OWNED * PANEL;
    let mut tasks: Vec<(usize, Vec<&mut [f32]>)> =
        (0..p.n).step_by(columns).map(|n| (n, Vec::with_capacity(p.m))).collect();
    for row in c.chunks_mut(p.ldc) {
        let parts = row[..p.n].chunks_mut(columns);
        tasks.iter_mut().zip(parts).for_each(|((_, rows), part)| rows.push(part));
    }
    let arch = arch();
    for_all(tasks, worth(p.m * p.n * p.k), |(n, rows)| {
        arch.dispatch(Columns { p, first, a, b, n, rows });
    });
}

/// Some columns of a product, from `n` on.
struct Columns<'a> {
    p: &'a Product,
    first: Start<'a>,
    a: &'a [f32],
    b: &'a [f32],
    n: usize,
    rows: Vec<&'a mut [f32]>,
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut scratch = take_scratch((OWNED * self.p.m + TERMS.min(self.p.k)) * PANEL);
        self.run(simd, &mut scratch);
        give_scratch(scratch);
    }
}

impl Columns<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S, scratch: &mut [f32]) {
        let Columns { p, first, a, b, n, .. } = self;
        let width = self.rows[0].len();
        let (sums, panel) = scratch.split_at_mut(OWNED * p.m * PANEL);
        for (i, sums) in sums.chunks_exact_mut(p.m * PANEL).enumerate() {
            let start = (i * PANEL).min(width);
            let columns = PANEL.min(width - start);
            for (row, sums) in self.rows.iter().zip(sums.chunks_exact_mut(PANEL)) {
                match first {
                    Start::Zero => sums.fill(0.0),
                    Start::Bias(bias) => {
                        sums[..columns].copy_from_slice(&bias[n + start..][..columns]);
                    }
                    Start::Result => sums[..columns].copy_from_slice(&row[start..][..columns]),
                }
            }
        }
        for k in (0..p.k).step_by(TERMS) {
            let terms = TERMS.min(p.k - k);
            let panels = Panels { ldb: p.ldb, ..Panels::dense(terms, p.n, p.transpose_b) };
            let b = if p.transpose_b { &b[k..] } else { &b[k * p.ldb..] };
            for (i, sums) in sums.chunks_exact_mut(p.m * PANEL).enumerate() {
                if i * PANEL >= width {
                    break;
                }
                let panel = &mut panel[..terms * PANEL];
                pack_one(&panels, n / PANEL + i, b, panel);
                for (row, count) in blocks(p.m) {
                    simd.vectorize(RowsTimesPanel {
                        rows: count,
                        columns: PANEL.min(width - i * PANEL),
                        left: match p.transpose_a {
                            true => Left::Columns(&a[k * p.lda + row..], p.lda),
                            false => Left::Rows(&a[row * p.lda + k..], p.lda),
                        },
                        panel,
                        ldp: PANEL,
                        terms,
                        from: From::Out,
                        out: &mut sums[row * PANEL..],
                        ldo: PANEL,
                    });
                }
            }
        }
        for (i, sums) in sums.chunks_exact(p.m * PANEL).enumerate() {
            let start = (i * PANEL).min(width);
            let columns = PANEL.min(width - start);
            for (row, sums) in self.rows.iter_mut().zip(sums.chunks_exact(PANEL)) {
                row[start..][..columns].copy_from_slice(&sums[..columns]);
            }
        }
    }
}

/// Where the sums of a part begin.
#[derive(Clone, Copy)]
enum Start<'a> {
    Zero,
    Bias(&'a [f32]),
    /// At what is in C.
    Result,
}

/// B from some term on: panels so many elements apart, with rows `ld` elements apart.
#[derive(Clone, Copy)]
struct Right<'a> {
    b: &'a [f32],
    panel: usize,
    ld: usize,
    /// Whether all panels have 64 columns; inside a matrix the last one ends with its columns.
    whole: bool,
}

/// Some columns of a product over some of its terms.
struct Part<'a> {
    p: &'a Product,
    /// A from the first term on.
    left: &'a [f32],
    from: Start<'a>,
    n: usize,
    columns: usize,
    terms: usize,
}

impl Part<'_> {
    fn run(&self, right: Right<'_>, c: &mut [f32]) {
        let p = self.p;
        // An even number of tasks, of about the same size.
        let tasks = if p.m < 2 * TASK { 1 } else { (p.m / TASK).next_multiple_of(2) };
        let rows = p.m.div_ceil(tasks);
        let side_by_side = tasks > 1 && worth(p.m * self.columns * self.terms);
        let arch = arch();
        for_chunks(c, rows * p.ldc, side_by_side, |i, c| {
            arch.dispatch(Task { part: self, first: i * rows, right, c });
        });
    }
}

/// Some rows of a part.
struct Task<'a> {
    part: &'a Part<'a>,
    first: usize,
    right: Right<'a>,
    /// C from the first row on.
    c: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Task { part, first, right, c } = self;
        let (p, terms) = (part.p, part.terms);
        let rows = c.len().div_ceil(p.ldc);
        // A transposed, in the order in which it is read by each of many panels.
        let turned = (p.transpose_a && part.columns > 4 * PANEL).then(|| {
            let mut turned = Vec::with_capacity(rows * terms);
            for (row, count) in blocks(rows) {
                let columns = part.left[first + row..].chunks(p.lda).take(terms);
                columns.for_each(|column| turned.extend_from_slice(&column[..count]));
            }
            turned
        });
        for start in (0..part.columns).step_by(PANEL) {
            let columns = PANEL.min(part.columns - start);
            let (mut panel, mut ldp) = (&right.b[start / PANEL * right.panel..], right.ld);
            // A panel inside a matrix ends with its columns.
            let mut filled;
            if !right.whole && columns < PANEL {
                filled = vec![0.0; terms * PANEL];
                let rows = filled.chunks_exact_mut(PANEL).zip(panel.chunks(ldp));
                rows.for_each(|(to, from)| to[..columns].copy_from_slice(&from[..columns]));
                (panel, ldp) = (&filled, PANEL);
            }
            let n = part.n + start;
            for (row, count) in blocks(rows) {
                let left = match &turned {
                    Some(turned) => Left::Columns(&turned[row * terms..], count),
                    None if p.transpose_a => Left::Columns(&part.left[first + row..], p.lda),
                    None => Left::Rows(&part.left[(first + row) * p.lda..], p.lda),
                };
                let mut product = RowsTimesPanel {
                    rows: count,
                    columns,
                    left,
                    panel,
                    ldp,
                    terms,
                    from: match part.from {
                        Start::Zero => From::Zero,
                        Start::Bias(bias) => From::Rows(&bias[n..], 0),
                        Start::Result => From::Out,
                    },
                    out: &mut [],
                    ldo: 0,
                };
                let c = &mut c[row * p.ldc + n..];
                if columns == PANEL {
                    (product.out, product.ldo) = (c, p.ldc);
                    simd.vectorize(product);
                    continue;
                }
                let mut tile = Tile::new();
                let both = |tile: &mut Tile, c: &mut [f32], out: bool| {
                    let rows = tile.0.chunks_exact_mut(PANEL).zip(c.chunks_mut(p.ldc));
                    for (tile, c) in rows.take(count) {
                        match out {
                            true => c[..columns].copy_from_slice(&tile[..columns]),
                            false => tile[..columns].copy_from_slice(&c[..columns]),
                        }
                    }
                };
                if let Start::Result = part.from {
                    both(&mut tile, c, false);
                }
                (product.out, product.ldo) = (&mut tile.0, PANEL);
                simd.vectorize(product);
                both(&mut tile, c, true);
            }
        }
    }
}
