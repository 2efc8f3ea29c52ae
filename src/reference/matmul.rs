//! Twin of `matmul`.

use super::{Real, in_panels};

/// The shape of `C [M, N] = op(A) [M, K] . op(B) [K, N]`, rows `ld*` elements apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Terms of a sum.
    pub k: usize,
    /// A is stored `[K, M]`.
    pub transpose_a: bool,
    /// B is stored `[N, K]`.
    pub transpose_b: bool,
    /// B is stored in [panels](super::pack_panels), each of `ldb` rows.
    pub packed_b: bool,
    /// Elements from one stored row of A to the next.
    pub lda: usize,
    /// Elements from one stored row of B to the next.
    pub ldb: usize,
    /// Elements from one row of C to the next.
    pub ldc: usize,
    /// The product is added to C instead of replacing it.
    pub accumulate: bool,
}

impl Product {
    /// Dense operands: every stored row follows the one before it.
    pub fn dense(m: usize, n: usize, k: usize, transpose_a: bool, transpose_b: bool) -> Self {
        Product {
            m,
            n,
            k,
            transpose_a,
            transpose_b,
            packed_b: false,
            lda: if transpose_a { m } else { k },
            ldb: if transpose_b { k } else { n },
            ldc: n,
            accumulate: false,
        }
    }

    /// The same, with B in panels.
    pub fn packed(self) -> Self {
        Product { packed_b: true, transpose_b: false, ldb: self.k, ..self }
    }

    /// Where the element (k, n) of B is stored.
    fn in_b(&self, k: usize, n: usize) -> usize {
        match (self.packed_b, self.transpose_b) {
            (true, _) => in_panels(k, n, self.ldb),
            (false, true) => n * self.ldb + k,
            (false, false) => k * self.ldb + n,
        }
    }

    /// The same, added to C.
    pub fn accumulate(self) -> Self {
        Product { accumulate: true, ..self }
    }
}

/// `C[m][n] = (C[m][n] +) sum_k A[m][k] * B[k][n] + sum over biases of bias[n]`.
pub fn matmul<R: Real>(p: &Product, a: &[R], b: &[R], biases: &[&[R]], c: &mut [R]) {
    for m in 0..p.m {
        for n in 0..p.n {
            let mut sum = R::zero();
            for k in 0..p.k {
                let a_mk = if p.transpose_a { a[k * p.lda + m] } else { a[m * p.lda + k] };
                sum += a_mk * b[p.in_b(k, n)];
            }
            for bias in biases {
                sum += bias[n];
            }
            let out = &mut c[m * p.ldc + n];
            *out = if p.accumulate { *out + sum } else { sum };
        }
    }
}

/// `out[n] = (out[n] +) sum_k B[k][n]`, the gradient of a bias where the product is that of a weight.
pub fn column_sums<R: Real>(p: &Product, b: &[R], out: &mut [R]) {
    for (n, out) in out[..p.n].iter_mut().enumerate() {
        let mut sum = R::zero();
        for k in 0..p.k {
            sum += b[p.in_b(k, n)];
        }
        *out = if p.accumulate { *out + sum } else { sum };
    }
}

/// `out[m] = (out[m] +) sum_k A[m][k]`, the same of a weight that stands the other way round.
pub fn row_sums<R: Real>(p: &Product, a: &[R], out: &mut [R]) {
    for (m, out) in out[..p.m].iter_mut().enumerate() {
        let mut sum = R::zero();
        for k in 0..p.k {
            sum += if p.transpose_a { a[k * p.lda + m] } else { a[m * p.lda + k] };
        }
        *out = if p.accumulate { *out + sum } else { sum };
    }
}
