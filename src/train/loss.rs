//! What is minimised.

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The mean over rows and outputs of `(y - target)^2`, as `torch.nn.MSELoss`.
    #[default]
    Mse,
}

impl Loss {
    /// The loss of predictions on the host.
    pub(crate) fn of(self, y: &[f32], target: &[f32]) -> f32 {
        let Loss::Mse = self;
        let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
        (y.iter().zip(target).map(square).sum::<f64>() / y.len() as f64) as f32
    }
}
