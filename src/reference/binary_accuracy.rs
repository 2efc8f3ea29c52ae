//! Twin of `binary_accuracy`.

use super::{Lengths, Real};

/// 1, or the weight of its row, for a logit above 0 whose target is above 1/2, and for one that isn't and
/// whose target isn't; else 0. A NaN is on no side. Rows that have ended are 0: element `n` is element
/// `first + n` of `[T, B, width]`, and `lengths` count from timestep 0 on.
///
/// # Shapes
/// `logits`, `targets`, `correct` `[N]`; `weights` of the rows of `[T, B]`, from that of element `first` on.
pub fn binary_accuracy<R: Real>(
    (first, batch, width): (usize, usize, usize),
    logits: &[R],
    targets: &[R],
    lengths: Option<Lengths<'_, R>>,
    weights: Option<&[R]>,
    correct: &mut [R],
) {
    for (n, correct) in correct.iter_mut().enumerate() {
        let (logit, target, row) = (logits[n], targets[n], (first + n) / width);
        let ended = lengths.is_some_and(|lengths| lengths.after(row / batch).ended(row % batch));
        let same = (logit > R::zero()) == (target > R::of(0.5));
        let right = same && !logit.is_nan() && !target.is_nan();
        let weight = weights.map_or(R::one(), |weights| weights[row - first / width]);
        *correct = if right && !ended { weight } else { R::zero() };
    }
}
