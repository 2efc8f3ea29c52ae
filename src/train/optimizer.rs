//! How parameters follow their gradients.

use crate::error::{Error, Result};
use crate::plan::{Rule, Update};
use crate::reference::{
    AdamSettings, CommonSettings, RmsPropSettings, SETTINGS, SgdSettings, scalars,
};

/// An optimizer with its settings; [`Trainer::new`](super::Trainer::new) takes any of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// [`Adam`].
    Adam(Adam),
    /// [`AdamW`].
    AdamW(AdamW),
    /// [`Sgd`].
    Sgd(Sgd),
    /// [`RmsProp`].
    RmsProp(RmsProp),
}

/// `torch.optim.Adam` (Kingma and Ba, 2015).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

/// `torch.optim.AdamW` (Loshchilov and Hutter, 2019): Adam, with a weight decay that the moments
/// don't see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW(Adam);

/// `torch.optim.SGD`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    lr: f64,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: f64,
}

/// `torch.optim.RMSprop` (Hinton, 2012; centered: Graves, 2013).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    lr: f64,
    alpha: f64,
    eps: f64,
    momentum: f64,
    centered: bool,
    weight_decay: f64,
}

impl Adam {
    /// With PyTorch's defaults: betas (0.9, 0.999), eps 1e-8, no weight decay.
    pub fn new(lr: f64) -> Adam {
        Adam { lr, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 }
    }

    /// The decay rates of both moments, each in `[0, 1)`.
    pub fn betas(self, beta1: f64, beta2: f64) -> Adam {
        Adam { betas: (beta1, beta2), ..self }
    }

    /// What is added to the root of the second moment; above zero.
    pub fn eps(self, eps: f64) -> Adam {
        Adam { eps, ..self }
    }

    /// The factor of the L2 penalty that is added to the gradient.
    pub fn weight_decay(self, weight_decay: f64) -> Adam {
        Adam { weight_decay, ..self }
    }
}

impl AdamW {
    /// With PyTorch's defaults: betas (0.9, 0.999), eps 1e-8, weight decay 0.01.
    pub fn new(lr: f64) -> AdamW {
        AdamW(Adam::new(lr).weight_decay(0.01))
    }

    /// The decay rates of both moments, each in `[0, 1)`.
    pub fn betas(self, beta1: f64, beta2: f64) -> AdamW {
        AdamW(self.0.betas(beta1, beta2))
    }

    /// What is added to the root of the second moment; above zero.
    pub fn eps(self, eps: f64) -> AdamW {
        AdamW(self.0.eps(eps))
    }

    /// The share of a parameter, times the rate, that every step takes away.
    pub fn weight_decay(self, weight_decay: f64) -> AdamW {
        AdamW(self.0.weight_decay(weight_decay))
    }
}

impl Sgd {
    /// With PyTorch's defaults: no momentum, no weight decay.
    pub fn new(lr: f64) -> Sgd {
        Sgd { lr, momentum: 0.0, dampening: 0.0, nesterov: false, weight_decay: 0.0 }
    }

    /// What is left of the last step's direction, in `[0, 1)`.
    pub fn momentum(self, momentum: f64) -> Sgd {
        Sgd { momentum, ..self }
    }

    /// The share of the gradient that the momentum doesn't take, in `[0, 1]`; in optimizer step 1 it
    /// takes all.
    pub fn dampening(self, dampening: f64) -> Sgd {
        Sgd { dampening, ..self }
    }

    /// Nesterov's momentum; without dampening.
    pub fn nesterov(self) -> Sgd {
        Sgd { nesterov: true, ..self }
    }

    /// The factor of the L2 penalty that is added to the gradient.
    pub fn weight_decay(self, weight_decay: f64) -> Sgd {
        Sgd { weight_decay, ..self }
    }
}

impl RmsProp {
    /// With PyTorch's defaults but for the rate, 0.01 there: alpha 0.99, eps 1e-8, no momentum, not
    /// centered, no weight decay.
    pub fn new(lr: f64) -> RmsProp {
        RmsProp { lr, alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.0 }
    }

    /// The decay rate of the mean square, in `[0, 1)`.
    pub fn alpha(self, alpha: f64) -> RmsProp {
        RmsProp { alpha, ..self }
    }

    /// What is added to the root; above zero.
    pub fn eps(self, eps: f64) -> RmsProp {
        RmsProp { eps, ..self }
    }

    /// What is left of the last step, in `[0, 1)`.
    pub fn momentum(self, momentum: f64) -> RmsProp {
        RmsProp { momentum, ..self }
    }

    /// Whether the root is that of the gradient's variance.
    pub fn centered(self) -> RmsProp {
        RmsProp { centered: true, ..self }
    }

    /// The factor of the L2 penalty that is added to the gradient.
    pub fn weight_decay(self, weight_decay: f64) -> RmsProp {
        RmsProp { weight_decay, ..self }
    }
}

macro_rules! into_optimizer {
    ($($name:ident)*) => {$(
        impl From<$name> for Optimizer {
            fn from(optimizer: $name) -> Optimizer {
                Optimizer::$name(optimizer)
            }
        }
    )*};
}
into_optimizer!(Adam AdamW Sgd RmsProp);

/// What a group of parameters has of its own in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupStep {
    /// The rate, as the schedule has it.
    pub lr: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// The bound of a gradient's absolute value, if any.
    pub clip_value: Option<f64>,
    /// Whether its parameters stay as they are.
    pub frozen: bool,
}

impl Optimizer {
    /// The rate before any schedule.
    pub fn lr(&self) -> f64 {
        match self {
            Optimizer::Adam(adam) | Optimizer::AdamW(AdamW(adam)) => adam.lr,
            Optimizer::Sgd(sgd) => sgd.lr,
            Optimizer::RmsProp(rmsprop) => rmsprop.lr,
        }
    }

    /// The weight decay.
    pub fn weight_decay(&self) -> f64 {
        match self {
            Optimizer::Adam(adam) | Optimizer::AdamW(AdamW(adam)) => adam.weight_decay,
            Optimizer::Sgd(sgd) => sgd.weight_decay,
            Optimizer::RmsProp(rmsprop) => rmsprop.weight_decay,
        }
    }

    /// The rule that a plan has.
    pub fn rule(&self) -> Rule {
        match self {
            Optimizer::Adam(_) | Optimizer::AdamW(_) => Rule::Adam,
            Optimizer::Sgd(sgd) => Rule::Sgd { momentum: sgd.momentum != 0.0 },
            Optimizer::RmsProp(rmsprop) => {
                Rule::RmsProp { momentum: rmsprop.momentum != 0.0, centered: rmsprop.centered }
            }
        }
    }

    /// The optimizer step of a plan with one group of parameters, without clipping. Such a plan has
    /// [`status`](crate::reference::status) set by its caller: 1 as scale, and 1 to apply the step.
    pub fn update(&self) -> Update {
        Update { rule: self.rule(), groups: 1, norm: false }
    }

    /// What `scalars` and `settings` of that plan hold in step `step` (from 1).
    pub fn step_values(&self, step: u64) -> Vec<f32> {
        let mut values = vec![0.0; scalars::LEN];
        values[scalars::MAX_NORM] = f32::MAX;
        values.extend(self.row(step, &self.whole()));
        values
    }

    /// What the whole model's parameters take, without groups and without clipping.
    pub fn whole(&self) -> GroupStep {
        let (lr, weight_decay) = (self.lr(), self.weight_decay());
        GroupStep { lr, weight_decay, clip_value: None, frozen: false }
    }

    /// A group's row of a plan's `settings` in step `step` (from 1), rounded once from double
    /// precision.
    pub fn row(&self, step: u64, group: &GroupStep) -> [f32; SETTINGS] {
        let common = CommonSettings {
            rate: group.lr as f32,
            weight_decay: group.weight_decay as f32,
            keep: 1.0,
            clip_value: group.clip_value.map_or(f32::MAX, |value| value as f32),
            active: !group.frozen,
        };
        match self {
            Optimizer::Adam(adam) => adam.row(step, group.lr, common),
            Optimizer::AdamW(AdamW(adam)) => {
                // The decay is taken off the parameter itself.
                let keep = (1.0 - group.lr * group.weight_decay) as f32;
                adam.row(step, group.lr, CommonSettings { weight_decay: 0.0, keep, ..common })
            }
            Optimizer::Sgd(sgd) => SgdSettings {
                common,
                momentum: sgd.momentum as f32,
                // The buffer starts as the first gradient.
                gradient_share: if step == 1 { 1.0 } else { (1.0 - sgd.dampening) as f32 },
                nesterov: sgd.nesterov,
            }
            .row(),
            Optimizer::RmsProp(rmsprop) => RmsPropSettings {
                common,
                alpha: rmsprop.alpha as f32,
                one_minus_alpha: (1.0 - rmsprop.alpha) as f32,
                eps: rmsprop.eps as f32,
                momentum: rmsprop.momentum as f32,
            }
            .row(),
        }
    }

    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        let share = |v: f64| (0.0..1.0).contains(&v) && (v as f32) < 1.0;
        let above = |v: f64| v.is_finite() && v as f32 > 0.0 && (v as f32).is_finite();
        const SHARE: &str = "in [0, 1)";
        const ABOVE: &str = "finite, above 0 in f32";
        let settings = match *self {
            Optimizer::Adam(adam) | Optimizer::AdamW(AdamW(adam)) => vec![
                ("beta1", share(adam.betas.0), SHARE, adam.betas.0),
                ("beta2", share(adam.betas.1), SHARE, adam.betas.1),
                ("eps", above(adam.eps), ABOVE, adam.eps),
            ],
            Optimizer::Sgd(sgd) => {
                let plain = sgd.momentum > 0.0 && sgd.dampening == 0.0;
                let dampens = (0.0..=1.0).contains(&sgd.dampening);
                vec![
                    ("momentum", share(sgd.momentum), SHARE, sgd.momentum),
                    ("dampening", dampens, "in [0, 1]", sgd.dampening),
                    (
                        "momentum",
                        plain || !sgd.nesterov,
                        "above 0, without dampening, as it is Nesterov's",
                        sgd.momentum,
                    ),
                ]
            }
            Optimizer::RmsProp(rmsprop) => vec![
                ("alpha", share(rmsprop.alpha), SHARE, rmsprop.alpha),
                ("momentum", share(rmsprop.momentum), SHARE, rmsprop.momentum),
                ("eps", above(rmsprop.eps), ABOVE, rmsprop.eps),
            ],
        };
        for (name, value) in [("lr", self.lr()), ("weight_decay", self.weight_decay())] {
            expect_rate(operation, name, value)?;
        }
        match settings.into_iter().find(|(_, valid, ..)| !valid) {
            None => Ok(()),
            Some((name, _, expected, got)) => Err(Error::Value {
                operation,
                name: name.to_owned(),
                expected: expected.to_owned(),
                got: got.to_string(),
            }),
        }
    }
}

impl Adam {
    fn row(&self, step: u64, lr: f64, common: CommonSettings) -> [f32; SETTINGS] {
        let power = |beta: f64| beta.powf(step as f64);
        AdamSettings {
            common: CommonSettings { rate: (lr / (1.0 - power(self.betas.0))) as f32, ..common },
            one_minus_beta1: (1.0 - self.betas.0) as f32,
            beta2: self.betas.1 as f32,
            one_minus_beta2: (1.0 - self.betas.1) as f32,
            eps: self.eps as f32,
            root_correction: (1.0 - power(self.betas.1)).sqrt() as f32,
        }
        .row()
    }
}

/// Checks a rate or a decay; kernels compute in f32.
pub(super) fn expect_rate(operation: &'static str, name: &str, value: f64) -> Result<()> {
    match value >= 0.0 && (value as f32).is_finite() {
        true => Ok(()),
        false => Err(Error::Value {
            operation,
            name: name.to_owned(),
            expected: "finite, at least 0".to_owned(),
            got: value.to_string(),
        }),
    }
}
