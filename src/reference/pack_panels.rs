//! Twin of `pack_panels`.

use super::Real;

/// Columns of a panel.
pub const PANEL: usize = 64;

/// Copies `B [K, N]`, or the transpose of a stored `[N, K]`, into panels of [`PANEL`] columns, one
/// after the other: `[ceil(N / 64), K, 64]`, filled up with zeros. A product that reads a panel reads
/// memory in order, whatever `N` is.
pub fn pack_panels<R: Real>(p: &Panels, b: &[R], out: &mut [R]) {
    for (panel, out) in out[..p.len()].chunks_exact_mut(p.k * PANEL).enumerate() {
        for (k, row) in out.chunks_exact_mut(PANEL).enumerate() {
            for (i, value) in row.iter_mut().enumerate() {
                let n = panel * PANEL + i;
                *value = if n >= p.n {
                    R::zero()
                } else if p.transpose {
                    b[n * p.ldb + k]
                } else {
                    b[k * p.ldb + n]
                };
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
}

impl Panels {
    /// Elements of the panels.
    pub fn len(&self) -> usize {
        panels(self.k, self.n)
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

/// The `[K, N]` that stands in panels.
pub(super) fn unpacked<R: Real>((k, n): (usize, usize), panels: &[R]) -> Vec<R> {
    let at = (0..k).flat_map(|row| (0..n).map(move |column| in_panels(row, column, k)));
    at.map(|at| panels[at]).collect()
}

/// The transpose `[N, K]` of what stands in panels.
pub(super) fn unpacked_transpose<R: Real>((k, n): (usize, usize), panels: &[R]) -> Vec<R> {
    let at = (0..n).flat_map(|column| (0..k).map(move |row| in_panels(row, column, k)));
    at.map(|at| panels[at]).collect()
}
