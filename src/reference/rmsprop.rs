//! Twin of `rmsprop`.

use super::{CommonSettings, OptimizerStep, Real, SETTINGS};

/// A group's row of settings for RMSprop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropSettings {
    /// What all optimizers share; the rate is the learning rate.
    pub common: CommonSettings,
    /// Decay of the averages.
    pub alpha: f32,
    /// `1 - alpha`, rounded once.
    pub one_minus_alpha: f32,
    /// Added to the root of the average of squares.
    pub eps: f32,
    /// What is left of the momentum after a step.
    pub momentum: f32,
}

impl RmsPropSettings {
    /// The row.
    pub fn row(&self) -> [f32; SETTINGS] {
        self.common.row([self.alpha, self.one_minus_alpha, self.eps, self.momentum])
    }

    /// What a row says.
    ///
    /// # Panics
    /// Where it has fewer than its nine columns.
    pub fn from_row<R: Real>(row: &[R]) -> RmsPropSettings {
        let (common, own) = CommonSettings::from_row(row);
        let [alpha, one_minus_alpha, eps, momentum] = own;
        RmsPropSettings { common, alpha, one_minus_alpha, eps, momentum }
    }
}

/// What RMSprop keeps from step to step, each `[N]`.
#[derive(Debug)]
pub struct RmsPropStates<'a, R> {
    /// The average of squares.
    pub square_avg: &'a mut [R],
    /// The momentum, where there is one.
    pub momentum: Option<&'a mut [R]>,
    /// The average of gradients, where squares are centered with it.
    pub grad_avg: Option<&'a mut [R]>,
}

/// One step of RMSprop, as `torch.optim.RMSprop` computes it, in every active group of a step that
/// is applied:
///
/// ```text
/// g = clip(scale * g, clip_value)
/// p = keep * p
/// g = g + weight_decay * p
/// square_avg = alpha * square_avg + (1 - alpha) g^2
/// grad_avg = grad_avg + (1 - alpha) (g - grad_avg)
/// g = g / (sqrt(centered ? max(square_avg - grad_avg^2, 0) : square_avg) + eps)
/// momentum = mu * momentum + g, and g = momentum, where there is one
/// p = p - rate * g
/// ```
///
/// # Shapes
/// All slices `[N]`; `p` and the states in place.
#[inline(always)]
pub fn rmsprop<R: Real>(
    step: &OptimizerStep<'_, R>,
    g: &[R],
    p: &mut [R],
    states: &mut RmsPropStates<'_, R>,
) {
    for (at, row) in step.updated(g.len()) {
        let c = RmsPropSettings::from_row(row);
        let share = R::of(c.one_minus_alpha);
        for i in at {
            let kept = R::of(c.common.keep) * p[i];
            let g = c.common.gradient(step.scale(), g[i], kept);
            let mut variance = R::of(c.alpha) * states.square_avg[i] + share * g * g;
            states.square_avg[i] = variance;
            if let Some(mean) = states.grad_avg.as_deref_mut().map(|all| &mut all[i]) {
                *mean += share * (g - *mean);
                // Rounding may take it below zero, where gradients stay the same.
                variance = variance - *mean * *mean;
                if variance < R::zero() {
                    variance = R::zero();
                }
            }
            let mut direction = g / (variance.sqrt() + R::of(c.eps));
            if let Some(momentum) = states.momentum.as_deref_mut().map(|all| &mut all[i]) {
                *momentum = R::of(c.momentum) * *momentum + direction;
                direction = *momentum;
            }
            p[i] = kept - R::of(c.common.rate) * direction;
        }
    }
}
