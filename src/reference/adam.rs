//! Twin of `adam`.

use super::Real;

/// What stays the same over a training run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConstants {
    /// Decay of the second moment.
    pub beta2: f32,
    /// `1 - beta1`, where beta1 is the decay of the first moment; rounded once from double precision as PyTorch does.
    pub one_minus_beta1: f32,
    /// `1 - beta2`, likewise.
    pub one_minus_beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamScalars {
    /// `lr / (1 - beta1^step)`.
    pub step_size: f32,
    /// `sqrt(1 - beta2^step)`.
    pub root_correction: f32,
}

/// One step of Adam (Kingma and Ba, 2015, algorithm 1), as `torch.optim.Adam` computes it:
///
/// ```text
/// g = g + weight_decay * p
/// m = m + (1 - beta1) (g - m)
/// v = beta2 v + (1 - beta2) g^2
/// p = p - step_size * m / (sqrt(v) / root_correction + eps)
/// ```
///
/// # Shapes
/// All slices `[N]`; `p`, `m`, `v` in place.
pub fn adam<R: Real>(
    constants: &AdamConstants,
    scalars: &AdamScalars,
    g: &[R],
    p: &mut [R],
    m: &mut [R],
    v: &mut [R],
) {
    let c = constants;
    for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
        let g = g + R::of(c.weight_decay) * *p;
        *m += R::of(c.one_minus_beta1) * (g - *m);
        *v = R::of(c.beta2) * *v + R::of(c.one_minus_beta2) * g * g;
        let denominator = v.sqrt() / R::of(scalars.root_correction) + R::of(c.eps);
        *p = *p - R::of(scalars.step_size) * *m / denominator;
    }
}
