//! A task that only a memory solves: the class is shown at the first timestep, then comes noise.

use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Dataset, Device, Forecaster, LstmConfig, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// Classes, and as many features of a timestep.
pub const CLASSES: usize = 4;

/// What can be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub steps: usize,
    pub hidden: usize,
    pub epochs: usize,
    pub seed: u64,
}

/// Sequences `[count, steps, CLASSES]` and their classes `[count]`. All of it is noise, with a
/// standard deviation of 0.5; at the first timestep, 3 is added to the feature of the class.
pub fn sequences(count: usize, steps: usize, rng: &mut ChaCha8Rng) -> Result<Dataset> {
    let (mut x, mut classes) = (Vec::with_capacity(count * steps * CLASSES), Vec::new());
    for _ in 0..count {
        let (first, class) = (x.len(), rng.next_u32() as usize % CLASSES);
        let noise = StandardNormal.sample_iter(&mut *rng).take(steps * CLASSES);
        x.extend(noise.map(|z: f32| 0.5 * z));
        x[first + class] += 3.0;
        classes.push(class as f32);
    }
    Dataset::new(Array::new(x, &[count, steps, CLASSES])?, Array::new(classes, &[count])?)
}

/// The same sequences and classes, of each sequence the last timestep alone.
pub fn last_steps(data: &Dataset) -> Result<Dataset> {
    let sequences = data.x().data().chunks(data.steps() * CLASSES);
    let x = sequences.flat_map(|x| &x[x.len() - CLASSES..]).copied().collect();
    Dataset::new(Array::new(x, &[data.len(), 1, CLASSES])?, data.y().clone())
}

/// Fresh sequences for training and, from other draws, for the test.
pub fn data(settings: &Settings) -> Result<[Dataset; 2]> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(1); // other numbers than those of the random data
    let train = sequences(1000, settings.steps, &mut rng)?;
    Ok([train, sequences(1000, settings.steps, &mut rng)?])
}

/// The bias of the forget gate that lets a model start out remembering.
///
/// At every timestep the cell state is multiplied by the forget gate, `sigmoid(z)`. With PyTorch's
/// biases around 0 that is about a half: after 60 timesteps 1e-18 of the first one is left, and as
/// little of its gradient, so that training never hears of it. `sigmoid(5)` is 0.993: two thirds are
/// left.
pub const REMEMBER: f32 = 5.0;

/// An LSTM with a linear head.
pub fn model(device: &Device, settings: &Settings, forget_bias: Option<f32>) -> Result<Forecaster> {
    let config = LstmConfig::new(CLASSES, settings.hidden).seed(settings.seed);
    let config = match forget_bias {
        Some(bias) => config.forget_bias(bias),
        None => config,
    };
    Forecaster::new(device, config, CLASSES)
}

/// How it is trained. Long sequences can have large gradients, now and then; clipping their norm keeps
/// a single step from spoiling what has been learned.
pub fn trainer(model: Forecaster, settings: &Settings) -> Trainer {
    Trainer::new(model, Loss::cross_entropy(), Adam::new(0.01))
        .clip_norm(1.0)
        .batch_size(32)
        .epochs(settings.epochs)
        .shuffle(settings.seed)
}
