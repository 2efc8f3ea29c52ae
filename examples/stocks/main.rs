//! Two companies' prices over four days: which one is at 0 and which at 1 on the fifth?
//!
//! `cargo run --example stocks -- --help` shows the options, `README.md` beside this file the
//! story.

mod toy;

use gatefold::{Device, Result};

const HELP: &str = "\
Trains an LSTM of one unit on two companies' prices.

Usage: cargo run --example stocks -- [OPTIONS]

Options:
  --toy         The two companies of four days (all that there is so far)
  --seed N      The seed of the initial weights [default: 0]
  --help        This text

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

struct Options {
    seed: u64,
}

/// The options, or `None` where only help was wanted.
fn options() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options { seed: 0 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("toy") => {}
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<()> {
    let device = Device::from_env()?;
    println!("Running on {device}");
    toy::run(&device, options.seed)
}

fn main() -> std::process::ExitCode {
    let outcome = match options() {
        Ok(None) => {
            print!("{HELP}");
            return std::process::ExitCode::SUCCESS;
        }
        Ok(Some(options)) => run(&options).map_err(|e| e.to_string()),
        Err(error) => Err(format!("{error}; see --help")),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}
