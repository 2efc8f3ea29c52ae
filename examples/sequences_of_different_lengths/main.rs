//! Which of nine gestures is it? Sequences of different lengths, a class each.

#[path = "../common/mod.rs"]
mod common;
mod gestures;

use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Dataset, Device, Forecaster, LstmConfig, Result};
use gestures::NAMES;

const HELP: &str = "\
Learns to tell nine gestures of a hand apart, which take 15 to 60 timesteps each.

Usage: cargo run --example sequences_of_different_lengths

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

fn run(_: &()) -> Result<()> {
    // A vector of timesteps for each gesture, and which one it was.
    let (sequences, classes) = gestures::recorded(1500, 1);
    let data = Dataset::from_sequences(sequences, classes)?;
    let [train, validation, test] = data.shuffled(7).split([0.6, 0.2, 0.2])?;

    let device = Device::from_env()?;
    println!("Running on {device}");
    let model = Forecaster::new(&device, LstmConfig::new(2, 32), NAMES.len())?;
    let mut trainer = Trainer::new(model, Loss::cross_entropy(), Adam::new(0.01));
    trainer = trainer.epochs(20).shuffle(7).clip_norm(1.0).keep_best();
    trainer.fit(&train, Some(&validation), |p| {
        let accuracy = p.validation_accuracy.unwrap_or_default();
        println!("epoch {:2}: loss {:.3}, accuracy {accuracy:.3}", p.epoch, p.loss);
    })?;

    // What is said of each gesture that the training has not seen, a row for what it is.
    let mut confusion = [[0; NAMES.len()]; NAMES.len()];
    let said = trainer.model().classes(&test)?;
    for (&is, &said) in test.y().data().iter().zip(said.data()) {
        confusion[is as usize][said as usize] += 1;
    }
    for (name, row) in NAMES.iter().zip(&confusion) {
        println!("{name:>15} {row:3?}");
    }
    let accuracy = trainer.accuracy(&test)?;
    println!("Accuracy on {} others: {accuracy:.3}", test.len());
    assert!(accuracy > 0.9, "nine of ten gestures should be told apart");
    Ok(())
}

fn main() -> std::process::ExitCode {
    common::main(HELP, common::no_options(), run)
}
