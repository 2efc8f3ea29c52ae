//! A class of its own around an LSTM, trained on the prices of two companies: four days as one
//! timestep of four features, then as four timesteps of one.
//!
//! `lstm.rs` beside this file is the class. `cargo run --example train_by_hand -- --help` shows the
//! options.

#[path = "../common/mod.rs"]
mod common;
mod lstm;

use std::process::ExitCode;
use std::time::Instant;

use common::number;
use gatefold::train::Progress;
use gatefold::{Array, Dataset, Device, Result};
use indicatif::{ProgressBar, ProgressStyle};
use lstm::LstmByHand;

const HELP: &str = "\
Trains an LSTM with one unit on four days of two companies, to predict the fifth.

Usage: cargo run --example train_by_hand -- [OPTIONS]

Options:
  --epochs N     Passes over both companies [default: 50000]
  --seed N       The seed of the weights [default: 0]
  --help         This text

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

/// The prices of four days, and of the fifth. The companies differ on the first day alone.
const COMPANIES: [(&str, [f32; 4], f32); 2] =
    [("Company A", [0.0, 0.5, 0.25, 1.0], 0.0), ("Company B", [1.0, 0.5, 0.25, 1.0], 1.0)];

struct Options {
    epochs: usize,
    seed: u64,
}

/// The options, or `None` where only help was wanted.
fn options() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options { epochs: 50_000, seed: 0 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("epochs") => options.epochs = number(&mut parser, "--epochs", 1..=100_000_000)?,
            Long("seed") => options.seed = number(&mut parser, "--seed", 0..=u64::MAX)?,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}

/// Both companies, a batch each: `x [2, T, I]` and `y [2, 1]`.
fn data_loader(steps: usize, input_size: usize) -> Result<Dataset> {
    let days = COMPANIES.iter().flat_map(|(_, days, _)| *days).collect();
    let fifth = COMPANIES.iter().map(|(_, _, fifth)| *fifth).collect();
    Dataset::new(Array::new(days, &[2, steps, input_size])?, Array::new(fifth, &[2, 1])?)
}

/// Trains on the four days as so many timesteps, and says what was reached: how far the worse of the
/// two predictions is off.
fn learn(device: &Device, options: &Options, steps: usize, input_size: usize) -> Result<f32> {
    let (hidden_size, epochs) = (1, options.epochs);
    let batches = data_loader(steps, input_size)?;
    let mut lstm = LstmByHand::new(input_size, hidden_size, device, options.seed)?;

    let style = "  epoch {pos}/{len} [{bar:30}]";
    let bar = ProgressBar::new(epochs as u64).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.tick();
    let mut reports = 0;
    let show = |p: &Progress| {
        bar.set_position(p.epoch as u64);
        if reports % 10 == 0 || p.epoch == p.epochs {
            bar.suspend(|| println!("Epoch [{}/{}], Loss: {:.6}", p.epoch, p.epochs, p.loss));
        }
        reports += 1;
    };
    let start = Instant::now();
    let report = lstm.train_model(&batches, epochs, show)?;
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let updates = report.step_losses.len();
    // Not to stdout: what stands there is the same in every run.
    eprintln!("{updates} updates in {seconds:.2} s, {:.1} us each", 1e6 * seconds / updates as f64);

    let mut worst = 0.0f32;
    for (name, days, fifth) in COMPANIES {
        let predicted = lstm.predict(&days)?[0]; // one unit, one number
        println!("{name}: predicted {predicted:.3}, observed {fifth:.3}");
        worst = worst.max((predicted - fifth).abs());
    }
    Ok(worst)
}

fn run(options: &Options) -> Result<()> {
    let device = Device::from_env()?;
    println!("Running on {device}");

    println!("\nThe four days as one timestep of four features: LstmByHand::new(4, 1)");
    learn(&device, options, 1, 4)?;
    println!(
        "Company B's 1 is out of reach, however long it is trained. After one timestep the cell\n\
         state is input gate times candidate, below 1, and the hidden state is below tanh(1) =\n\
         {:.3}. More timesteps can add up to more.",
        1.0f32.tanh()
    );

    println!("\nThe four days as four timesteps of one feature: LstmByHand::new(1, 1)");
    let worst = learn(&device, options, 4, 1)?;
    // The first day has to be remembered; where it isn't, the best for both is 0.5.
    if worst < 0.1 {
        println!("Converged: within {worst:.3} of both. It remembers the first day.");
    } else {
        println!("Not converged: {worst:.3} off. Try more --epochs, or other weights by --seed.");
    }
    Ok(())
}

fn main() -> ExitCode {
    common::main(HELP, options(), run)
}
