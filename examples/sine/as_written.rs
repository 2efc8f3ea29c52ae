//! What the original program trains, as it stands: one prediction for a hundred targets.

use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Dataset, Forecaster, Result};

use super::wave;

/// What it came to.
pub struct Learned {
    /// The loss of each epoch, before its step.
    pub losses: Vec<f64>,
    /// The one number that it predicts.
    pub prediction: f32,
    /// The mean of the targets, and their mean squared distance from it.
    pub mean: f64,
    pub variance: f64,
}

/// `x` of shape (100, 1, 1) is one sequence of 100 timesteps, the numbers `linspace(0, 10, 100)`;
/// the head sees the last timestep, so that one number `p` comes out, and MSELoss compares it with
/// each of the 100 targets `y`. The mean of `(p - y)^2` is `(p - mean(y))^2 + variance(y)`: the
/// second part has no gradient, so that one target, the mean, trains the same model.
pub fn train(model: Forecaster, y: &[f64], epochs: usize) -> Result<Learned> {
    let count = y.len() as f64;
    let mean = y.iter().sum::<f64>() / count;
    let variance = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / count;

    let x = (0..y.len()).map(|i| (i as f64 * wave::SPACING) as f32).collect();
    let x = Array::new(x, &[1, y.len(), 1])?;
    let data = Dataset::new(x, Array::new(vec![mean as f32], &[1, 1])?)?;
    let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.001)).epochs(epochs);
    let report = trainer.fit(&data, None, |_| ())?;
    let prediction = trainer.model().predict(data.x())?.data()[0];
    let losses = report.losses.iter().map(|&loss| f64::from(loss) + variance).collect();
    Ok(Learned { losses, prediction, mean, variance })
}
