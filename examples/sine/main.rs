//! What comes next in a noisy sine? And what two well-known programs really learn.
//!
//! `README.md` beside this file tells the story.

mod as_written;
mod by_hand;
mod chart;
#[path = "../common/mod.rs"]
mod common;
mod wave;

use std::path::PathBuf;
use std::process::ExitCode;

use gatefold::{Dataset, Device, Result};
use wave::{NOISE, WINDOW};

const HELP: &str = "\
Predicts a noisy sine, each value from the 20 before it.

Usage: cargo run --example sine -- [OPTIONS]

Options:
  --points N     Points of the sine, ten to a unit; two thirds train [default: 300]
  --epochs N     Epochs [default: 200]
  --seed N       The seed of noise, weights and shuffling [default: 0]
  --out DIR      Where sine.png and by_hand.safetensors go [default: target/sine]
  --help         This text

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

/// Epochs of the models whose losses are compared bit by bit.
const COMPARED: usize = 5;

struct Options {
    points: usize,
    epochs: usize,
    seed: u64,
    out: PathBuf,
}

/// The options, or `None` where only help was wanted.
fn options() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options { points: 300, epochs: 200, seed: 0, out: "target/sine".into() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("points") => {
                options.points = common::number(&mut parser, "--points", 100..=100_000)?
            }
            Long("epochs") => {
                options.epochs = common::number(&mut parser, "--epochs", 1..=100_000)?
            }
            Long("seed") => options.seed = common::number(&mut parser, "--seed", 0..=u64::MAX)?,
            Long("out") => options.out = parser.value()?.into(),
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<()> {
    let device = Device::from_env()?;
    println!("Running on {device}");
    common::folder(&options.out)?;
    one_number(&device, options)?;
    // Later values are unseen ones: the time axis is cut once, and not shuffled.
    let series = wave::noisy_sine(options.points, options.seed);
    let split = 2 * series.len() / 3;
    let train = wave::windows(&series, WINDOW..split)?;
    next_value(&device, options, &series, split, &train)?;
    gates(&device, options, &train)
}

fn one_number(device: &Device, options: &Options) -> Result<()> {
    println!("\n1. The program as it is written: one prediction for 100 targets");
    let y = wave::noisy_sine(100, options.seed);
    let model = wave::model(device, options.seed)?;
    let learned = as_written::train(model, &y, options.epochs)?;
    let (first, last) = (learned.losses[0], learned.losses[learned.losses.len() - 1]);
    println!(
        "Loss {first:.4} before the first epoch, {last:.4} before the last; the targets' variance is {:.4}",
        learned.variance
    );
    println!(
        "It predicts {:.4} everywhere; the mean of the targets is {:.4}",
        learned.prediction, learned.mean
    );
    Ok(())
}

fn next_value(
    device: &Device,
    options: &Options,
    series: &[f64],
    split: usize,
    train: &Dataset,
) -> Result<()> {
    println!("\n2. What was meant: the next value, from the {WINDOW} before it");
    // No value of an unseen window is one that training has seen.
    let first = split + WINDOW;
    let test = wave::windows(series, first..series.len())?;
    println!(
        "{} windows to train on; {} later ones that share no value with them",
        train.len(),
        test.len()
    );
    let model = wave::model(device, options.seed)?;
    let mut trainer = wave::trainer(model, options.epochs).shuffle(options.seed);
    common::fit(&mut trainer, train, 10)?;

    let predicted = trainer.model().predict(test.x())?;
    let error = wave::rmse(predicted.data(), test.y().data());
    let naive = wave::rmse(&wave::persistence(&test), test.y().data());
    println!(
        "RMSE on unseen windows: {error:.4}; \"as it is now\": {naive:.4}; the noise alone: {NOISE}"
    );
    println!("\nThe first unseen windows: . observed, o predicted, @ both");
    print!("{}", chart::text(test.y().data(), predicted.data()));
    let png = options.out.join("sine.png");
    let whole = wave::windows(series, WINDOW..series.len())?;
    let predicted = trainer.model().predict(whole.x())?;
    chart::draw(&png, series, split, WINDOW, predicted.data())?;
    println!("Picture: {}", png.display());
    Ok(())
}

fn gates(device: &Device, options: &Options, train: &Dataset) -> Result<()> {
    println!("\n3. An LSTM written by hand: W, U and b for each gate");
    let file = options.out.join("by_hand.safetensors");
    // As they were drawn there, and smaller ones, which train: see the page.
    for std in [1.0, 0.25] {
        println!("Weights with a standard deviation of {std}:");
        let gates = by_hand::draw(options.seed, std)?;
        let train = |model| {
            let mut trainer = wave::trainer(model, COMPARED).shuffle(options.seed);
            trainer.fit(train, None, |_| ())
        };
        let converted = train(by_hand::converted(device, &gates)?)?;
        let read = train(by_hand::from_file(device, &gates, &file)?)?;
        for (way, report) in [("by from_gates", &converted), ("from a PyTorch file", &read)] {
            let losses = report.step_losses.iter().take(5);
            let losses: Vec<String> = losses.map(|l| format!("{l:.6}")).collect();
            println!("  {way:<20} losses {} ..", losses.join(" "));
        }
        let pairs = converted.step_losses.iter().zip(&read.step_losses);
        let equal = pairs.filter(|(a, b)| a.to_bits() == b.to_bits()).count();
        println!("  {equal} of {} losses are equal to the last bit", converted.step_losses.len());
        println!("  Epoch [{COMPARED}/{COMPARED}], Loss: {:.4}", converted.losses[COMPARED - 1]);
    }
    Ok(())
}

fn main() -> ExitCode {
    common::main(HELP, options(), run)
}
