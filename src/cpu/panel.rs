//! Rows times a panel: what every product of the CPU executor is made of.
//!
//! A panel is 64 columns of a matrix, stored row after row (see
//! [`pack_panels`](crate::reference::pack_panels)). Up to [`ROWS`] rows of results stay in registers
//! while the panel passes through once: 6 x 4 vectors of AVX-512 are 24 of its 32 registers, and 24
//! multiply-adds for every 10 loads. Each result is one chain of multiply-adds over k in order, so it
//! doesn't depend on which rows or columns are computed together.

use pulp::{Simd, WithSimd};

use crate::reference::PANEL;

/// The most rows of one call.
pub(crate) const ROWS: usize = 6;

/// Products of a few rows and a panel.
#[repr(align(64))]
pub(crate) struct Tile(pub(crate) [f32; ROWS * PANEL]);

impl Tile {
    /// Zeros.
    pub(crate) fn new() -> Tile {
        Tile([0.0; ROWS * PANEL])
    }
}

/// The rows of a product's left side.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Left<'a> {
    /// `[R, K]`, rows so many elements apart.
    Rows(&'a [f32], usize),
    /// `[K, R]`, stored rows so many elements apart.
    Columns(&'a [f32], usize),
    /// Two `[R, ..]` side by side: rows so many elements apart, the first with so many terms of the `K`.
    Beside((&'a [f32], usize, usize), (&'a [f32], usize)),
}

/// Where sums begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From<'a> {
    /// At zero.
    Zero,
    /// At what is in the result.
    Out,
    /// At elements of a `[R, N]` with rows so many elements apart, or at one row where that is 0.
    Rows(&'a [f32], usize),
}

/// `out [R, 64] = from [R, N] + left [R, K] . panel [K, 64]`, of which the first `columns` count.
pub(crate) struct RowsTimesPanel<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) left: Left<'a>,
    /// Rows of the panel; the last may end behind its columns.
    pub(crate) panel: &'a [f32],
    /// Elements from one row of the panel to the next: 64, or more inside a matrix.
    pub(crate) ldp: usize,
    pub(crate) terms: usize,
    pub(crate) from: From<'a>,
    /// Rows `ldo` elements apart; all 64 columns of each are written, or those up to the next
    /// multiple of a few vectors that hold `columns`.
    pub(crate) out: &'a mut [f32],
    pub(crate) ldo: usize,
}

/// `rows` in as few blocks of at most [`ROWS`] as there can be, of about one size: the first row of each
/// and how many it has.
pub(crate) fn blocks(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(ROWS);
    (0..count).map(move |i| (i * rows / count, (i + 1) * rows / count - i * rows / count))
}

impl WithSimd for RowsTimesPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.rows {
            1 => self.of::<S, 1>(simd),
            2 => self.of::<S, 2>(simd),
            3 => self.of::<S, 3>(simd),
            4 => self.of::<S, 4>(simd),
            5 => self.of::<S, 5>(simd),
            _ => self.of::<S, ROWS>(simd),
        }
    }
}

impl RowsTimesPanel<'_> {
    #[inline(always)]
    fn of<S: Simd, const R: usize>(self, simd: S) {
        // Vectors a pass: as many as leave registers for a row of the panel and an element of the left.
        let vectors = self.columns.div_ceil(S::F32_LANES);
        if S::REGISTER_COUNT < 32 || vectors <= 2 {
            self.passes::<S, R, 2>(simd, vectors);
        } else {
            self.passes::<S, R, 4>(simd, vectors);
        }
    }

    #[inline(always)]
    fn passes<S: Simd, const R: usize, const V: usize>(self, simd: S, vectors: usize) {
        let RowsTimesPanel { left, panel, ldp, terms, from, out, ldo, .. } = self;
        let mut first = 0;
        while first < vectors {
            let start = first * S::F32_LANES;
            let mut sums = [[simd.splat_f32s(0.0); V]; R];
            match from {
                From::Zero => {}
                From::Rows(from, ld) => read::<S, R, V>(&mut sums, &from[start..], ld),
                From::Out => read::<S, R, V>(&mut sums, &out[start..], ldo),
            }
            match left {
                Left::Rows(left, ld) => {
                    let panel = &panel[start..];
                    add_rows::<S, R, V>(simd, (left, ld), (panel, ldp), terms, &mut sums);
                }
                Left::Beside((left, ld, count), (other, ld_other)) => {
                    let panel = (&panel[start..], ldp);
                    add_rows::<S, R, V>(simd, (left, ld), panel, count, &mut sums);
                    let (other, panel) = ((other, ld_other), (&panel.0[count * ldp..], ldp));
                    add_rows::<S, R, V>(simd, other, panel, terms - count, &mut sums);
                }
                Left::Columns(left, ld) => {
                    for k in 0..terms {
                        let mut column = [0.0; R];
                        column.copy_from_slice(&left[k * ld..][..R]);
                        let row = &panel[k * ldp + start..][..V * S::F32_LANES];
                        multiply_add::<S, R, V>(simd, column, row, &mut sums);
                    }
                }
            }
            for r in 0..R {
                let out = &mut out[r * ldo + start..][..V * S::F32_LANES];
                S::as_mut_simd_f32s(out).0.copy_from_slice(&sums[r]);
            }
            first += V;
        }
    }
}

// No closures below: they would be functions of their own, without the vectors' instructions.

/// `V` vectors of each of `R` rows.
#[inline(always)]
fn read<S: Simd, const R: usize, const V: usize>(
    sums: &mut [[S::f32s; V]; R],
    from: &[f32],
    ld: usize,
) {
    for r in 0..R {
        sums[r].copy_from_slice(S::as_simd_f32s(&from[r * ld..][..V * S::F32_LANES]).0);
    }
}

/// Terms of every sum, from rows of the left side.
#[inline(always)]
fn add_rows<S: Simd, const R: usize, const V: usize>(
    simd: S,
    (left, ld): (&[f32], usize),
    (panel, ldp): (&[f32], usize),
    terms: usize,
    sums: &mut [[S::f32s; V]; R],
) {
    let mut rows = [left; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &left[r * ld..][..terms];
    }
    for k in 0..terms {
        let mut column = [0.0; R];
        for r in 0..R {
            column[r] = rows[r][k];
        }
        multiply_add::<S, R, V>(simd, column, &panel[k * ldp..][..V * S::F32_LANES], sums);
    }
}

/// One term of every sum.
#[inline(always)]
fn multiply_add<S: Simd, const R: usize, const V: usize>(
    simd: S,
    column: [f32; R],
    row: &[f32],
    sums: &mut [[S::f32s; V]; R],
) {
    let (row, _) = S::as_simd_f32s(row);
    for r in 0..R {
        let left = simd.splat_f32s(column[r]);
        for v in 0..V {
            sums[r][v] = simd.mul_add_f32s(left, row[v], sums[r][v]);
        }
    }
}

/// The multiply-adds of so many turns in the most registers that a product uses.
struct InRegisters(usize);

impl WithSimd for InRegisters {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let [factor, term] = std::hint::black_box([0.5, 0.25]);
        let (factor, term) = (simd.splat_f32s(factor), simd.splat_f32s(term));
        let count = if S::REGISTER_COUNT < 32 { 12 } else { 24 };
        let mut sums = [term; 24];
        for _ in 0..self.0 {
            for sum in &mut sums[..count] {
                *sum = simd.mul_add_f32s(*sum, factor, term);
            }
        }
        std::hint::black_box(&mut sums);
        (self.0 * count * S::F32_LANES) as f64
    }
}

/// Floating-point operations a second (a multiply-add is two) that so many threads reach with
/// multiply-adds in registers: what no product can exceed. It is measured, for about 0.1 s.
pub fn peak_flops(threads: usize) -> f64 {
    const TURNS: usize = 100_000;
    let arch = super::simd::arch();
    let best = |_| {
        let mut best = 0.0f64;
        let start = std::time::Instant::now();
        while start.elapsed().as_secs_f64() < 0.1 {
            let turn = std::time::Instant::now();
            let done = arch.dispatch(InRegisters(TURNS));
            best = best.max(2.0 * done / turn.elapsed().as_secs_f64());
        }
        best
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|i| scope.spawn(move || best(i))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum()
    })
}
