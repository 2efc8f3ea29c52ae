//! Random sequences with random labels: the shapes of a classifier, and nothing to learn.

use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Dataset, Device, Forecaster, LstmConfig, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// Features of a timestep, units of the hidden state, classes.
pub const INPUT_SIZE: usize = 5;
pub const HIDDEN_SIZE: usize = 8;
pub const CLASSES: usize = 2;

/// An LSTM and a linear head on its output at the last timestep: `fc(lstm(x)[0][:, -1])`. What it
/// gives are logits, one a class: any numbers; the largest is the class.
pub fn model(device: &Device, seed: u64) -> Result<Forecaster> {
    Forecaster::new(device, LstmConfig::new(INPUT_SIZE, HIDDEN_SIZE).seed(seed), CLASSES)
}

/// Normal numbers `[batch, steps, INPUT_SIZE]`: batch first, as the host's arrays always are.
pub fn inputs(batch: usize, steps: usize, rng: &mut ChaCha8Rng) -> Result<Array> {
    let x = StandardNormal.sample_iter(rng).take(batch * steps * INPUT_SIZE).collect();
    Array::new(x, &[batch, steps, INPUT_SIZE])
}

/// Sequences of ten timesteps, each with a label that a coin has chosen.
pub fn sequences(batch: usize, rng: &mut ChaCha8Rng) -> Result<Dataset> {
    let x = inputs(batch, 10, rng)?;
    let labels: Vec<u32> = (0..batch).map(|_| rng.next_u32() % CLASSES as u32).collect();
    Dataset::new(x, labels)
}

/// Cross-entropy compares logits with classes; it takes the softmax itself.
pub fn trainer(model: Forecaster, epochs: usize) -> Trainer {
    Trainer::new(model, Loss::cross_entropy(), Adam::new(0.001)).batch_size(16).epochs(epochs)
}

/// One forward pass, then twenty epochs, then many more.
pub fn run(device: &Device, seed: u64) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);

    println!("\n1. Random data");
    let untrained = model(device, seed)?;
    let x = inputs(3, 7, &mut rng)?;
    let y = untrained.predict(&x)?;
    println!("x {:?} -> logits {:?}", x.shape(), y.shape());
    for logits in y.data().chunks(CLASSES) {
        println!("  [{:.4}, {:.4}]", logits[0], logits[1]);
    }

    // Sixteen sequences in batches of sixteen: an epoch is one step. Shuffling changes nothing here
    // but the order of a sum; with more than one batch it does.
    let data = sequences(16, &mut rng)?;
    let mut trainer = trainer(untrained, 20).shuffle(seed);
    println!("{:?} with random labels:", data.x().shape());
    super::common::fit(&mut trainer, &data, 5)?;
    let row = |labels: Vec<String>| labels.join(" ");
    println!("Labels:           {}", row(data.y().data().iter().map(f32::to_string).collect()));
    let classes = trainer.model().classes(&data)?;
    println!("Predicted labels: {}", row(classes.data().iter().map(u32::to_string).collect()));

    // A coin has no rule that could be found. What a model can do is learn sixteen answers by heart.
    let unseen = sequences(1000, &mut rng)?;
    let show = |trainer: &gatefold::train::Trainer, epochs: usize| {
        let (seen, unseen) = (trainer.accuracy(&data)?, trainer.accuracy(&unseen)?);
        println!("After {epochs:>3} epochs: accuracy {seen:.3} on these, {unseen:.3} on others");
        Ok(())
    };
    show(&trainer, 20)?;
    // The run that has ended goes on.
    let mut trainer = trainer.epochs(500);
    trainer.fit(&data, None, |_| ())?;
    show(&trainer, 500)?;
    println!("It has memorised: random labels hold nothing that carries over to other sequences.");
    Ok(())
}
