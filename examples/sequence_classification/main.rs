//! Which class does a sequence belong to? An LSTM, a linear head on its last timestep, cross-entropy.
//!
//! First on random data, where there is nothing to learn but the shapes; then on a task that only a
//! memory solves.

#[path = "../common/mod.rs"]
mod common;
mod memory;
mod random;

use std::path::PathBuf;
use std::process::ExitCode;

use gatefold::{Device, Forecaster, Result};
use memory::Settings;

const HELP: &str = "\
Classifies sequences: random ones, then ones whose class is shown at the first timestep alone.

Usage: cargo run --example sequence_classification -- [OPTIONS]

Options:
  --steps N      Timesteps of a sequence in the second task [default: 60]
  --hidden N     Units of the LSTM there [default: 16]
  --epochs N     Epochs there [default: 20]
  --seed N       The seed of data, weights and shuffling [default: 0]
  --out DIR      Where model.safetensors goes [default: target/sequence_classification]
  --help         This text

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

struct Options {
    settings: Settings,
    out: PathBuf,
}

/// The options, or `None` where only help was wanted.
fn options() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut settings = Settings { steps: 60, hidden: 16, epochs: 20, seed: 0 };
    let mut out = PathBuf::from("target/sequence_classification");
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("steps") => settings.steps = common::number(&mut parser, "--steps", 2..=10_000)?,
            Long("hidden") => settings.hidden = common::number(&mut parser, "--hidden", 1..=1024)?,
            Long("epochs") => {
                settings.epochs = common::number(&mut parser, "--epochs", 1..=10_000)?
            }
            Long("seed") => settings.seed = common::number(&mut parser, "--seed", 0..=u64::MAX)?,
            Long("out") => out = parser.value()?.into(),
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(Options { settings, out }))
}

fn run(options: &Options) -> Result<()> {
    let device = Device::from_env()?;
    println!("Running on {device}");
    common::folder(&options.out)?;
    random::run(&device, options.settings.seed)?;
    remember(&device, options)
}

fn remember(device: &Device, options: &Options) -> Result<()> {
    let settings = &options.settings;
    let steps = settings.steps;
    println!("\n2. A class that is shown at the first of {steps} timesteps, then noise");
    let [train, test] = memory::data(settings)?;

    // Who sees the last timestep alone can only guess: the same model and training, with sequences
    // of one timestep.
    let trainer = |forget_bias| {
        let model = memory::model(device, settings, forget_bias)?;
        Ok::<_, gatefold::Error>(memory::trainer(model, settings))
    };
    let mut last = trainer(Some(memory::REMEMBER))?;
    last.fit(&memory::last_steps(&train)?, None, |_| ())?;
    let last = last.accuracy(&memory::last_steps(&test)?)?;
    // Nor is it enough to have seen the first one, where the model starts out forgetting.
    println!("PyTorch's initial biases:");
    let mut forgetful = trainer(None)?;
    common::fit(&mut forgetful, &train, 5)?;
    println!("Forget gate's initial bias {}:", memory::REMEMBER);
    let mut trainer = trainer(Some(memory::REMEMBER))?;
    common::fit(&mut trainer, &train, 1)?;

    println!("Accuracy on {} sequences that training has not seen:", test.len());
    println!("  a guess               {:.3}", 1.0 / memory::CLASSES as f64);
    println!("  last timestep alone   {last:.3}");
    println!("  PyTorch's biases      {:.3}", forgetful.accuracy(&test)?);
    println!("  forget gate's bias {}  {:.3}", memory::REMEMBER, trainer.accuracy(&test)?);

    // What is saved is all that the model is: another process, or PyTorch, gets the same classes.
    let path = options.out.join("model.safetensors");
    trainer.model().save(&path)?;
    let loaded = Forecaster::load(device, &path)?;
    let classes = [trainer.model(), &loaded].map(|model| model.classes(test.x()));
    let [before, after] = classes;
    let same = if before? == after? { "the same" } else { "other" };
    println!("Model: {}; loaded again, it gives {same} classes", path.display());
    Ok(())
}

fn main() -> ExitCode {
    common::main(HELP, options(), run)
}
