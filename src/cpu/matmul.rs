//! The fast CPU form of `matmul`.

use rayon::prelude::*;

use crate::reference::Product;

/// Rows of C that one task computes: fixed, so that the split depends on the shape alone.
const ROWS: usize = 8;

/// Multiply-adds below which threads cost more than they win.
const PARALLEL_FROM: usize = 1 << 18;

/// The product of [`reference::matmul`](crate::reference::matmul) with the loop over columns
/// innermost, where a compiler vectorises it, and blocks of rows over threads. Every element is
/// summed in the twin's order.
///
/// # Panics
/// Where a slice is shorter than the shape says.
pub fn matmul(p: &Product, a: &[f32], b: &[f32], biases: &[&[f32]], c: &mut [f32]) {
    // Rows of B are read along columns of C; a transposed B is turned once.
    let turned: Vec<f32>;
    let (b, ldb) = if p.transpose_b && p.n > 1 {
        turned = turn(p, b);
        (turned.as_slice(), p.n)
    } else if p.transpose_b {
        (b, 1)
    } else {
        (b, p.ldb)
    };
    let rows = |(block, c): (usize, &mut [f32])| {
        let mut sums = vec![0.0f32; p.n];
        for (i, c_row) in c.chunks_mut(p.ldc).enumerate() {
            let m = block * ROWS + i;
            if m >= p.m {
                break;
            }
            sums.fill(0.0);
            for k in 0..p.k {
                let a_mk = if p.transpose_a { a[k * p.lda + m] } else { a[m * p.lda + k] };
                for (sum, &b_kn) in sums.iter_mut().zip(&b[k * ldb..][..p.n]) {
                    *sum += a_mk * b_kn;
                }
            }
            for bias in biases {
                for (sum, &value) in sums.iter_mut().zip(*bias) {
                    *sum += value;
                }
            }
            for (out, &sum) in c_row.iter_mut().zip(&sums) {
                *out = if p.accumulate { *out + sum } else { sum };
            }
        }
    };
    let used = (p.m - 1) * p.ldc + p.n;
    let c = &mut c[..used];
    if p.m * p.n * p.k >= PARALLEL_FROM {
        c.par_chunks_mut(ROWS * p.ldc).enumerate().for_each(rows);
    } else {
        c.chunks_mut(ROWS * p.ldc).enumerate().for_each(rows);
    }
}

/// `B [N, K]` as `[K, N]`.
fn turn(p: &Product, b: &[f32]) -> Vec<f32> {
    let mut turned = vec![0.0; p.k * p.n];
    for (n, row) in b.chunks(p.ldb).take(p.n).enumerate() {
        for (k, &value) in row[..p.k].iter().enumerate() {
            turned[k * p.n + n] = value;
        }
    }
    turned
}
