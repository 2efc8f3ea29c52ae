//! Twin of `pack_panels`.

use super::Real;

/// Columns of a panel.
pub const PANEL: usize = 64;

/// Copies `B [K, N]`, or the transpose of a stored `[N, K]`, into panels of [`PANEL`] columns, one
/// after the other and filled up with zeros: rows `first` to `first + K` of `[ceil(N / 64), rows, 64]`.
/// A product that reads a panel reads memory in order, whatever `N` is.
pub fn pack_panels<R: Real>(p: &Panels, b: &[R], out: &mut [R]) {
    for (panel, out) in out[..p.len()].chunks_exact_mut(p.rows * PANEL).enumerate() {
        for (k, row) in out.chunks_exact_mut(PANEL).skip(p.first).take(p.k).enumerate() {
            for (i, out) in row.iter_mut().enumerate() {
                let n = panel * PANEL + i;
                let value = if n >= p.n {
                    R::zero()
                } else if p.transpose {
                    b[n * p.ldb + k]
                } else {
                    b[k * p.ldb + n]
                };
                *out = if p.accumulate { *out + value } else { value };
            }
        }
    }
}

/// What is packed into panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panels {
    /// Rows `K`.
    pub k: usize,
    /// Columns `N`.
    pub n: usize,
    /// B is stored `[N, K]`.
    pub transpose: bool,
    /// Elements from one stored row of B to the next.
    pub ldb: usize,
    /// Rows of a panel, which may hold several matrices one below the other.
    pub rows: usize,
    /// The row of a panel where this one begins.
    pub first: usize,
    /// B is added to what is there.
    pub accumulate: bool,
}

impl Panels {
    /// Dense B alone in its panels.
    pub fn dense(k: usize, n: usize, transpose: bool) -> Panels {
        let ldb = if transpose { k } else { n };
        Panels { k, n, transpose, ldb, rows: k, first: 0, accumulate: false }
    }

    /// Elements of the panels.
    pub fn len(&self) -> usize {
        panels(self.rows, self.n)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Elements of the panels of a `[K, N]`.
pub fn panels(k: usize, n: usize) -> usize {
    n.div_ceil(PANEL) * k * PANEL
}

/// Where the element (k, n) of a `[K, N]` stands in its panels.
pub fn in_panels(k: usize, n: usize, terms: usize) -> usize {
    (n / PANEL * terms + k) * PANEL + n % PANEL
}

/// Rows of the matrix with `N` columns that stands in panels of so many rows.
pub(super) fn unpacked<R: Real>(
    rows: std::ops::Range<usize>,
    (terms, n): (usize, usize),
    panels: &[R],
) -> Vec<R> {
    let at = rows.flat_map(|row| (0..n).map(move |column| in_panels(row, column, terms)));
    at.map(|at| panels[at]).collect()
}

/// The transpose `[N, K]` of what stands in panels.
pub(super) fn unpacked_transpose<R: Real>((k, n): (usize, usize), panels: &[R]) -> Vec<R> {
    let at = (0..n).flat_map(|column| (0..k).map(move |row| in_panels(row, column, k)));
    at.map(|at| panels[at]).collect()
}
