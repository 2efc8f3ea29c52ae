//! Twin of `softmax`.

use super::Real;

/// `torch.softmax` of rows of `classes`: `exp(logit - m) / sum(exp(logits - m))` with the largest
/// logit `m`. NaN or +inf in a row, or nothing but -inf, makes all of it NaN.
///
/// # Shapes
/// `logits`, `probabilities` `[R, C]`.
pub fn softmax<R: Real>(classes: usize, logits: &[R], probabilities: &mut [R]) {
    for (logits, out) in logits.chunks_exact(classes).zip(probabilities.chunks_exact_mut(classes)) {
        let largest = logits.iter().fold(R::neg_infinity(), |m, &logit| m.max(logit));
        for (out, &logit) in out.iter_mut().zip(logits) {
            *out = (logit - largest).exp();
        }
        // In parts, since an f32 that has grown large no longer feels what is added.
        let add = |sum: R, share: R| sum + share;
        let part = |shares: &[R]| shares.iter().copied().fold(R::zero(), add);
        let sum = out.chunks(1024).map(part).fold(R::zero(), add);
        for out in out {
            *out = *out / sum;
        }
    }
}
