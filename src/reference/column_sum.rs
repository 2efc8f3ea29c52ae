//! Twin of `column_sum`.

use super::Real;

/// Sums the rows of `a [M, N]` in chunks of `chunk` rows: `out[p][n]` is the sum of
/// `a[p * chunk..][n]` over the chunk's rows, in order, or it is added to what is there. One chunk of
/// all rows gives column sums.
///
/// # Shapes
/// `out [ceil(M / chunk), N]`.
#[inline(always)]
pub fn column_sum<R: Real>(columns: usize, chunk: usize, a: &[R], out: &mut [R], accumulate: bool) {
    for (rows, out) in a.chunks(chunk * columns).zip(out.chunks_exact_mut(columns)) {
        if !accumulate {
            out.fill(R::zero());
        }
        for row in rows.chunks_exact(columns) {
            for (sum, &value) in out.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}
