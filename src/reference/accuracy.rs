//! Twin of `accuracy`.

use super::argmax::position_of_largest;
use super::{Lengths, Real, index_in};

/// 1, or its weight, for a row whose target is the class with the largest logit, else 0. A row whose target is
/// `ignore_index` is 0, and so is one that has ended: row `r` is row `first + r` of `[T, B]`, and
/// `lengths` count from timestep 0 on.
///
/// # Shapes
/// `logits [R, C]`, `targets`, `weights`, `correct` `[R]`.
pub fn accuracy<R: Real>(
    (first, batch, classes): (usize, usize, usize),
    logits: &[R],
    targets: &[R],
    ignore_index: R,
    lengths: Option<Lengths<'_, R>>,
    weights: Option<&[R]>,
    correct: &mut [R],
) {
    for (r, correct) in correct.iter_mut().enumerate() {
        let best = position_of_largest(&logits[r * classes..][..classes]);
        let row = first + r;
        let ended = lengths.is_some_and(|lengths| lengths.after(row / batch).ended(row % batch));
        let right = index_in(targets[r], classes) == Some(best) && targets[r] != ignore_index;
        let weight = weights.map_or(R::one(), |weights| weights[r]);
        *correct = if right && !ended { weight } else { R::zero() };
    }
}
