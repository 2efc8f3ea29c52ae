//! Twin of `gradient_norm`.

use super::{Groups, Real};

/// Goes over `g [N]` in chunks, a multiple of 64 each, without the elements of groups that aren't
/// active: a chunk's sum of squares, and the offset in it of the first element that isn't finite
/// (`none` where all are).
///
/// # Shapes
/// `partials [ceil(N / chunk), 2]`.
pub fn gradient_norm<R: Real>(
    groups: Groups<'_, R>,
    (chunk, none): (usize, usize),
    g: &[R],
    partials: &mut [R],
) {
    for (first, partial) in (0..g.len()).step_by(chunk).zip(partials.chunks_exact_mut(2)) {
        let (mut sum, mut bad) = (R::zero(), none);
        for (at, _) in groups.active(first..g.len().min(first + chunk)) {
            for i in at {
                sum += g[i] * g[i];
                if !g[i].is_finite() {
                    bad = bad.min(i - first);
                }
            }
        }
        partial.copy_from_slice(&[sum, R::of(bad as f32)]);
    }
}
