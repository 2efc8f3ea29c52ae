//! How parameters follow their gradients.

use crate::error::{Error, Result};
use crate::reference::{AdamConstants, AdamScalars};

/// `torch.optim.Adam` (Kingma and Ba, 2015).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
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

    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        // The kernels compute in f32.
        let rate = |v: f64| v >= 0.0 && (v as f32).is_finite();
        let beta = |v: f64| (0.0..1.0).contains(&v) && (v as f32) < 1.0;
        let settings = [
            ("lr", rate(self.lr), "finite, at least 0", self.lr),
            ("beta1", beta(self.betas.0), "in [0, 1)", self.betas.0),
            ("beta2", beta(self.betas.1), "in [0, 1)", self.betas.1),
            ("eps", rate(self.eps) && self.eps as f32 > 0.0, "finite, above 0 in f32", self.eps),
            ("weight_decay", rate(self.weight_decay), "finite, at least 0", self.weight_decay),
        ];
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

    /// What a kernel is launched with, rounded once from double precision.
    pub fn constants(&self) -> AdamConstants {
        AdamConstants {
            beta2: self.betas.1 as f32,
            one_minus_beta1: (1.0 - self.betas.0) as f32,
            one_minus_beta2: (1.0 - self.betas.1) as f32,
            eps: self.eps as f32,
            weight_decay: self.weight_decay as f32,
        }
    }

    /// What step `step` (from 1) is run with.
    pub fn scalars(&self, step: u64) -> AdamScalars {
        let power = |beta: f64| beta.powf(step as f64);
        AdamScalars {
            step_size: (self.lr / (1.0 - power(self.betas.0))) as f32,
            root_correction: (1.0 - power(self.betas.1)).sqrt() as f32,
        }
    }
}
