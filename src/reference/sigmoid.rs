//! Twin of `sigmoid`.

use super::{Real, sigmoid};

/// `torch.sigmoid` of each logit or, where `decide`, 1 for those above 0, whose probability is above 1/2,
/// and 0 for the others. A NaN stays one, and is no yes.
///
/// # Shapes
/// `logits`, `out` `[N]`.
pub fn sigmoids<R: Real>(decide: bool, logits: &[R], out: &mut [R]) {
    for (&logit, out) in logits.iter().zip(out) {
        *out = match decide {
            false => sigmoid(logit),
            true if logit > R::zero() => R::one(),
            true => R::zero(),
        };
    }
}
