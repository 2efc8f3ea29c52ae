//! A noisy sine, cut into windows: the last values of each are followed by the one to predict.

use gatefold::data::Windows;
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Dataset, Device, Forecaster, LstmConfig, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// Standard deviation of the noise: on average no forecast can be closer than this.
pub const NOISE: f64 = 0.1;
/// The distance of two points, that of `linspace(0, 10, 100)`.
pub const SPACING: f64 = 10.0 / 99.0;
/// Units of the LSTM.
pub const HIDDEN: usize = 50;
/// Values that the model sees before the one that it predicts.
pub const WINDOW: usize = 20;

/// `sin(x) + noise` at so many points from 0 on.
pub fn noisy_sine(points: usize, seed: u64) -> Vec<f64> {
    let noise = StandardNormal.sample_iter(ChaCha8Rng::seed_from_u64(seed)).take(points);
    noise.enumerate().map(|(i, z): (usize, f64)| (i as f64 * SPACING).sin() + NOISE * z).collect()
}

/// The windows that end in `targets`: `x [N, WINDOW, 1]`, and `y [N, 1]`, the value after each.
/// Targets start at `WINDOW` at the earliest.
pub fn windows(series: &[f64], targets: std::ops::Range<usize>) -> Result<Dataset> {
    let windows = Windows { length: WINDOW, horizon: 1 };
    let ends = windows.ends(targets.start.saturating_sub(WINDOW)..targets.end);
    let value = |t: usize| series[t] as f32;
    let x = ends.clone().flat_map(|t| windows.past(t).map(value)).collect();
    let y = ends.clone().map(|t| value(t + 1)).collect();
    Dataset::new(Array::new(x, &[ends.len(), WINDOW, 1])?, Array::new(y, &[ends.len(), 1])?)
}

/// An LSTM with a linear head on its output at the last timestep.
pub fn model(device: &Device, seed: u64) -> Result<Forecaster> {
    Forecaster::new(device, LstmConfig::new(1, HIDDEN).seed(seed), 1)
}

/// Mean squared error, Adam at 0.001, in batches of 16 windows.
pub fn trainer(model: Forecaster, epochs: usize) -> Trainer {
    Trainer::new(model, Loss::mse(), Adam::new(0.001)).batch_size(16).epochs(epochs)
}

/// The root of the mean squared difference.
pub fn rmse(predicted: &[f32], observed: &[f32]) -> f64 {
    let square = |(p, o): (&f32, &f32)| (f64::from(*p) - f64::from(*o)).powi(2);
    (predicted.iter().zip(observed).map(square).sum::<f64>() / observed.len() as f64).sqrt()
}

/// What "as it is now" predicts: the last value of each window.
pub fn persistence(data: &Dataset) -> Vec<f32> {
    data.x().data().chunks(WINDOW).map(|window| window[WINDOW - 1]).collect()
}
