//! Twin of `cross_entropy_loss`.

use super::{Lengths, Real, index_in};

/// The settings of `torch.nn.CrossEntropyLoss` that don't grow with the classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Targets of this class count nothing.
    pub ignore_index: f32,
    /// The share of a target that goes to all classes alike (Szegedy et al., 2016), in `[0, 1]`.
    pub label_smoothing: f32,
}

/// Cross-entropy over classes, value and gradient in one pass, over the rows of a `[T, B, C]`, or
/// over those from `first` on. With `p = softmax(y[r])`, target `t`, class weights `w` (1 without)
/// and smoothing `e`:
///
/// ```text
/// q[c]     = (1 - e) w[t] (c = t) + e / C w[c]
/// loss     = v[r] sum over c of q[c] (log sum exp(y[r]) - y[r][c])
/// dy[r][c] = scale v[r] (p[c] sum(q) - q[c])
/// ```
///
/// where `v` are the rows' weights, 1 without. Rows that have ended, those whose target is the ignored class
/// and those of weight 0 count nothing, whatever stands there. Any other target that isn't a class makes
/// its row NaN.
///
/// # Shapes
/// `y`, `dy` `[R, C]`; `target`, `losses` `[R]`, the latter times `scale`; `weights [C]`;
/// `row_weights [R]`; row `r` is row `first + r` of `[T, B]`; `lengths` count from timestep 0 on.
#[expect(clippy::too_many_arguments, reason = "what nn.CrossEntropyLoss has, and what counts")]
pub fn cross_entropy_loss<R: Real>(
    settings: CrossEntropy,
    (first, batch, classes): (usize, usize, usize),
    scale: R,
    weights: Option<&[R]>,
    lengths: Option<Lengths<'_, R>>,
    row_weights: Option<&[R]>,
    (y, target): (&[R], &[R]),
    (dy, losses): (&mut [R], &mut [R]),
) {
    let smoothing = R::of(settings.label_smoothing);
    let weight = |c: usize| weights.map_or(R::one(), |weights| weights[c]);
    let all = (0..classes).fold(R::zero(), |sum, c| sum + weight(c));
    let shared = smoothing / R::of(classes as f32);
    for (r, &target) in target.iter().enumerate() {
        let (y, dy) = (&y[r * classes..][..classes], &mut dy[r * classes..][..classes]);
        let row = first + r;
        let ended = lengths.is_some_and(|lengths| lengths.after(row / batch).ended(row % batch));
        let row_weight = row_weights.map_or(R::one(), |weights| weights[r]);
        if ended || target == R::of(settings.ignore_index) || row_weight == R::zero() {
            dy.fill(R::zero());
            losses[r] = R::zero();
            continue;
        }
        let Some(class) = index_in(target, classes) else {
            dy.fill(R::nan());
            losses[r] = R::nan();
            continue;
        };
        let largest = y.iter().fold(R::neg_infinity(), |m, &v| if v > m { v } else { m });
        // In parts, since an f32 that has grown large no longer feels what is added.
        let part = |part: &[R]| part.iter().fold(R::zero(), |sum, &v| sum + (v - largest).exp());
        let sum = y.chunks(1024).fold(R::zero(), |sum, logits| sum + part(logits));
        // The largest is subtracted from a logit first: both may be large.
        let far = |c: usize| sum.ln() + (largest - y[c]);
        let mass = (R::one() - smoothing) * weight(class) + shared * all;
        let mut loss = (R::one() - smoothing) * weight(class) * far(class);
        for c in 0..classes {
            let probability = (y[c] - largest).exp() / sum;
            let own = if c == class { (R::one() - smoothing) * weight(c) } else { R::zero() };
            dy[c] = scale * row_weight * (probability * mass - own - shared * weight(c));
            if smoothing > R::zero() {
                loss += shared * weight(c) * far(c);
            }
        }
        losses[r] = scale * row_weight * loss;
    }
}
