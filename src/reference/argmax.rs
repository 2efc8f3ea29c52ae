//! Twin of `argmax`.

use super::Real;

/// The first position of a row's largest element; a NaN is larger than any number, as in
/// `torch.argmax`.
pub(super) fn position_of_largest<R: Real>(row: &[R]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate().skip(1) {
        let larger = value.is_nan() || *value > row[best];
        if larger && !row[best].is_nan() {
            best = i;
        }
    }
    best
}

/// The class with the largest logit of each row, the first where several have it.
///
/// # Shapes
/// `logits [R, C]`, `out [R]`.
pub fn argmax<R: Real>(classes: usize, logits: &[R], out: &mut [R]) {
    for (logits, out) in logits.chunks_exact(classes).zip(out) {
        *out = R::of_f64(position_of_largest(logits) as f64);
    }
}
