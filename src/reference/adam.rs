//! Twin of `adam`.

use super::{CommonSettings, OptimizerStep, Real, SETTINGS};

/// A group's row of settings for Adam and AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamSettings {
    /// What all optimizers share; the rate is `lr / (1 - beta1^step)`.
    pub common: CommonSettings,
    /// `1 - beta1`, where beta1 is the decay of the first moment; rounded once from double precision as PyTorch does.
    pub one_minus_beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// `1 - beta2`, rounded once.
    pub one_minus_beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// `sqrt(1 - beta2^step)`.
    pub root_correction: f32,
}

impl AdamSettings {
    /// The row.
    pub fn row(&self) -> [f32; SETTINGS] {
        self.common.row([
            self.one_minus_beta1,
            self.beta2,
            self.one_minus_beta2,
            self.eps,
            self.root_correction,
        ])
    }

    /// What a row says.
    ///
    /// # Panics
    /// Where it has fewer than its ten columns.
    pub fn from_row<R: Real>(row: &[R]) -> AdamSettings {
        let (common, own) = CommonSettings::from_row(row);
        let [one_minus_beta1, beta2, one_minus_beta2, eps, root_correction] = own;
        AdamSettings { common, one_minus_beta1, beta2, one_minus_beta2, eps, root_correction }
    }
}

/// One step of Adam (Kingma and Ba, 2015, algorithm 1) or AdamW (Loshchilov and Hutter, 2019), as
/// `torch.optim.Adam` and `torch.optim.AdamW` compute it, in every active group of a step that is
/// applied:
///
/// ```text
/// g = clip(scale * g, clip_value)
/// p = keep * p
/// g = g + weight_decay * p
/// m = m + (1 - beta1) (g - m)
/// v = beta2 v + (1 - beta2) g^2
/// p = p - rate * m / (sqrt(v) / root_correction + eps)
/// ```
///
/// # Shapes
/// All slices `[N]`; `p`, `m`, `v` in place.
#[inline(always)]
pub fn adam<R: Real>(step: &OptimizerStep<'_, R>, g: &[R], p: &mut [R], m: &mut [R], v: &mut [R]) {
    for (at, row) in step.updated(g.len()) {
        let c = AdamSettings::from_row(row);
        let (g, p) = (&g[at.clone()], &mut p[at.clone()]);
        let states = m[at.clone()].iter_mut().zip(&mut v[at]);
        for ((&g, p), (m, v)) in g.iter().zip(p).zip(states) {
            let kept = R::of(c.common.keep) * *p;
            let g = c.common.gradient(step.scale(), g, kept);
            *m += R::of(c.one_minus_beta1) * (g - *m);
            *v = R::of(c.beta2) * *v + R::of(c.one_minus_beta2) * g * g;
            let denominator = v.sqrt() / R::of(c.root_correction) + R::of(c.eps);
            *p = kept - R::of(c.common.rate) * *m / denominator;
        }
    }
}
