//! Twin of `sgd`.

use super::{CommonSettings, OptimizerStep, Real, SETTINGS};

/// A group's row of settings for gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdSettings {
    /// What all optimizers share; the rate is the learning rate.
    pub common: CommonSettings,
    /// What is left of the momentum after a step.
    pub momentum: f32,
    /// What the momentum takes of a gradient: `1 - dampening`; 1 in the first step, when PyTorch
    /// copies the gradient.
    pub gradient_share: f32,
    /// Whether a step looks ahead (Nesterov).
    pub nesterov: bool,
}

impl SgdSettings {
    /// The row.
    pub fn row(&self) -> [f32; SETTINGS] {
        let nesterov = f32::from(u8::from(self.nesterov));
        self.common.row([self.momentum, self.gradient_share, nesterov])
    }

    /// What a row says.
    ///
    /// # Panics
    /// Where it has fewer than its eight columns.
    pub fn from_row<R: Real>(row: &[R]) -> SgdSettings {
        let (common, [momentum, gradient_share, nesterov]) = CommonSettings::from_row(row);
        SgdSettings { common, momentum, gradient_share, nesterov: nesterov != 0.0 }
    }
}

/// One step of gradient descent, as `torch.optim.SGD` computes it, in every active group of a step
/// that is applied; without a momentum buffer, the step is the gradient's:
///
/// ```text
/// g = clip(scale * g, clip_value)
/// p = keep * p
/// g = g + weight_decay * p
/// momentum = mu * momentum + gradient_share * g
/// g = nesterov ? g + mu * momentum : momentum
/// p = p - rate * g
/// ```
///
/// # Shapes
/// All slices `[N]`; `p` and `momentum` in place.
#[inline(always)]
pub fn sgd<R: Real>(
    step: &OptimizerStep<'_, R>,
    g: &[R],
    p: &mut [R],
    mut momentum: Option<&mut [R]>,
) {
    for (at, row) in step.updated(g.len()) {
        let c = SgdSettings::from_row(row);
        let mu = R::of(c.momentum);
        for i in at {
            let kept = R::of(c.common.keep) * p[i];
            let g = c.common.gradient(step.scale(), g[i], kept);
            let direction = match &mut momentum {
                None => g,
                Some(momentum) => {
                    momentum[i] = mu * momentum[i] + R::of(c.gradient_share) * g;
                    if c.nesterov { g + mu * momentum[i] } else { momentum[i] }
                }
            };
            p[i] = kept - R::of(c.common.rate) * direction;
        }
    }
}
