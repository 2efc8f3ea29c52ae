//! Twin of `reduce_sum`.

use super::Real;

/// Sums `a [N]` in chunks: `out[p] = scale * sum(a[p * chunk..][..chunk])`, or adds that to what is
/// there.
///
/// # Shapes
/// `out [ceil(N / chunk)]`.
pub fn reduce_sum<R: Real>(chunk: usize, scale: R, a: &[R], out: &mut [R], accumulate: bool) {
    for (part, out) in a.chunks(chunk).zip(out) {
        let sum = scale * part.iter().fold(R::zero(), |sum, &value| sum + value);
        *out = if accumulate { *out + sum } else { sum };
    }
}
