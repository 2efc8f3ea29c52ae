//! How the learning rate changes over a run.

use crate::error::{Error, Result};

/// How the learning rate changes over a run; another run begins anew. Every rule multiplies the
/// optimizer's rate, or that of a [`ParameterGroup`](super::ParameterGroup).
///
/// ```
/// use gatefold::train::{Schedule, Scheduler};
/// let warm = Scheduler::new(Schedule::Cosine { warmup: 4, total: 100, min_factor: 0.01 });
/// assert!((warm.rate(0.1, 0, 0) - 0.02).abs() < 1e-12); // the first step: a fifth
/// assert!((warm.rate(0.1, 4, 0) - 0.1).abs() < 1e-12);
/// assert!((warm.rate(0.1, 100, 3) - 0.001).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Schedule {
    /// The same in every step.
    #[default]
    Constant,
    /// Times `gamma` after every `step_size` epochs, as `torch.optim.lr_scheduler.StepLR`.
    Step {
        /// Epochs between two changes.
        step_size: usize,
        /// What the rate is multiplied by, in `(0, 1]` as a rule.
        gamma: f64,
    },
    /// A straight line from `1 / (warmup + 1)` to 1 over `warmup` optimizer steps, then half a
    /// cosine down to `min_factor` at step `total`, where it stays (Loshchilov and Hutter, 2017,
    /// without restarts). As `LinearLR` and `CosineAnnealingLR` in a row.
    Cosine {
        /// Optimizer steps of the line.
        warmup: u64,
        /// Optimizer steps in all.
        total: u64,
        /// What is left at the end, as a share of the rate.
        min_factor: f64,
    },
    /// Times `factor` after `patience` measurements of the validation set without a better loss, as
    /// `ReduceLROnPlateau`; where there is no validation set, after so many reports without a better
    /// training loss.
    Plateau {
        /// What the rate is multiplied by, in `(0, 1)`.
        factor: f64,
        /// Measurements without a better loss that are put up with.
        patience: usize,
        /// How much lower a loss has to be to count as better, as a share of the best.
        threshold: f64,
        /// Measurements after a change that aren't counted.
        cooldown: usize,
        /// The lowest rate.
        min_lr: f64,
    },
}

impl Schedule {
    /// [`Schedule::Plateau`] with PyTorch's defaults: factor 0.1, patience 10, threshold 1e-4.
    pub fn plateau() -> Schedule {
        Schedule::Plateau { factor: 0.1, patience: 10, threshold: 1e-4, cooldown: 0, min_lr: 0.0 }
    }

    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        let refused = |name: &str, expected: &str, got: String| {
            Err(Error::Value {
                operation,
                name: name.to_owned(),
                expected: expected.to_owned(),
                got,
            })
        };
        match *self {
            Schedule::Constant => Ok(()),
            Schedule::Step { step_size: 0, .. } => refused("step_size", "at least 1", "0".into()),
            Schedule::Step { gamma, .. } if !(gamma.is_finite() && gamma >= 0.0) => {
                refused("gamma", "finite, at least 0", gamma.to_string())
            }
            Schedule::Cosine { warmup, total, .. } if total <= warmup => {
                refused("total", "more than the steps of the warm-up", total.to_string())
            }
            Schedule::Cosine { min_factor, .. } if !(0.0..=1.0).contains(&min_factor) => {
                refused("min_factor", "in [0, 1]", min_factor.to_string())
            }
            Schedule::Plateau { factor, .. } if !(factor > 0.0 && factor < 1.0) => {
                refused("factor", "in (0, 1)", factor.to_string())
            }
            Schedule::Plateau { threshold, .. } if !(0.0..1.0).contains(&threshold) => {
                refused("threshold", "in [0, 1)", threshold.to_string())
            }
            Schedule::Plateau { min_lr, .. } if !(min_lr.is_finite() && min_lr >= 0.0) => {
                refused("min_lr", "finite, at least 0", min_lr.to_string())
            }
            _ => Ok(()),
        }
    }
}

/// A schedule and what it has seen of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduler {
    schedule: Schedule,
    pub(super) seen: Seen,
}

/// What [`Schedule::Plateau`] goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// Times the rate was lowered.
    pub(super) lowered: u32,
    /// The best loss.
    pub(super) best: f64,
    /// Reports since then.
    pub(super) bad: usize,
    /// Reports that aren't counted yet.
    pub(super) cooldown: usize,
}

impl Scheduler {
    /// Before the first step.
    pub fn new(schedule: Schedule) -> Scheduler {
        let seen = Seen { lowered: 0, best: f64::INFINITY, bad: 0, cooldown: 0 };
        Scheduler { schedule, seen }
    }

    /// The schedule.
    pub fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// What becomes of the rate `lr` after so many optimizer steps and whole epochs.
    pub fn rate(&self, lr: f64, steps: u64, epochs: usize) -> f64 {
        match self.schedule {
            Schedule::Constant => lr,
            Schedule::Step { step_size, gamma } => {
                lr * gamma.powf((epochs / step_size.max(1)) as f64)
            }
            Schedule::Cosine { warmup, .. } if steps < warmup => {
                lr * (steps + 1) as f64 / (warmup + 1) as f64
            }
            Schedule::Cosine { warmup, total, min_factor } => {
                let all = total.saturating_sub(warmup).max(1);
                let share = (steps - warmup).min(all) as f64 / all as f64;
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
                lr * (min_factor + (1.0 - min_factor) * cosine)
            }
            Schedule::Plateau { factor, min_lr, .. } => {
                (lr * factor.powf(self.seen.lowered.into())).max(min_lr.min(lr))
            }
        }
    }

    /// Takes note of a report's loss.
    pub fn observe(&mut self, loss: f64) {
        let Schedule::Plateau { patience, threshold, cooldown, .. } = self.schedule else {
            return;
        };
        let seen = &mut self.seen;
        // NaN isn't better than anything.
        if loss < seen.best * (1.0 - threshold) {
            (seen.best, seen.bad) = (loss, 0);
        } else {
            seen.bad += 1;
        }
        if seen.cooldown > 0 {
            (seen.cooldown, seen.bad) = (seen.cooldown - 1, 0);
        }
        if seen.bad > patience {
            seen.lowered += 1;
            (seen.cooldown, seen.bad) = (cooldown, 0);
        }
    }
}
