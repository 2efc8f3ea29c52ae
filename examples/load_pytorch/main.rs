//! Opens a file that PyTorch has saved, runs the model on the input that the file holds, and says
//! how far the outputs are from those that PyTorch computed.
//!
//! ```text
//! cargo run --example load_pytorch [-- [FILE] [--lstm PREFIX] [--head PREFIX] [--readout NAME]]
//! ```
//!
//! It runs on the CPU, and on the GPU that there is or that `GATEFOLD_DEVICE` names.

#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use gatefold::{Array, Device, Error, Forecaster, LoadOptions, Lstm, Readout, Tensor, checkpoint};

const HELP: &str = "\
Runs a model that PyTorch has saved, and compares its outputs with those that the file holds.

Usage: cargo run --example load_pytorch -- [FILE] [--lstm PREFIX] [--head PREFIX] [--readout NAME]

Options:
  FILE           The safetensors file [default: the one beside this program]
  --lstm PREFIX  What stands before the names of the LSTM [default: lstm.]
  --head PREFIX  What stands before those of the linear layer [default: fc.]
  --readout NAME What the linear layer reads: final_states, last_output, every_step, mean_over_time or
                 max_over_time [default: last_output, out[:, -1] in train.py]
  --help         This text

It runs on the CPU, and on the GPU that there is.
GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

/// Outputs within this are the same, up to the order of sums.
const CLOSE: f32 = 1e-5;

struct Options {
    file: PathBuf,
    /// What stands before the names of the LSTM.
    lstm: String,
    /// What stands before those of the linear layer.
    head: String,
    /// What that reads.
    readout: Readout,
}

/// The options, or `None` where only help was wanted.
fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut options = Options {
        file: concat!(env!("CARGO_MANIFEST_DIR"), "/examples/load_pytorch/model.safetensors")
            .into(),
        lstm: "lstm.".to_owned(),
        head: "fc.".to_owned(),
        readout: Readout::LastOutput,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("lstm") => options.lstm = parser.value()?.string()?,
            Long("head") => options.head = parser.value()?.string()?,
            Long("readout") => {
                let name = parser.value()?.string()?;
                let readout = Readout::named(&name);
                options.readout = readout.ok_or_else(|| format!("no readout `{name}`"))?;
            }
            Value(file) => options.file = file.into(),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

/// The tensors `example.input`, `example.lstm_output` and `example.output`, where a file has them.
fn examples(tensors: &[(String, Array)]) -> [Option<Array>; 3] {
    let stored = checkpoint::with_prefix(tensors, "example.");
    ["input", "lstm_output", "output"]
        .map(|name| stored.iter().find(|(n, _)| n == name).map(|(_, array)| array.clone()))
}

/// The largest difference; infinite where shapes differ or a number is none.
fn difference(got: &[f32], want: &[f32]) -> f32 {
    if got.len() != want.len() {
        return f32::INFINITY;
    }
    let apart = got.iter().zip(want).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, |worst, d| if d.is_nan() { f32::INFINITY } else { worst.max(d) })
}

fn run(device: &Device, options: &Options) -> Result<f32, Error> {
    let file = checkpoint::read(&options.file)?;
    // The input and the outputs of the example stand beside the model.
    let named = LoadOptions::new().lstm(&options.lstm).head(&options.head).leave_others();
    let named = named.readout(options.readout);
    let model = Forecaster::from_checkpoint(device, &file, &named)?;
    println!("\nOn {device}");
    let [Some(input), hidden, output] = examples(&file.tensors) else {
        println!("  loaded; the file has no `example.input` to run it on");
        return Ok(0.0);
    };
    if hidden.is_none() && output.is_none() {
        println!("  loaded; the file has no `example.output` to compare with");
    }
    let mut worst = 0.0f32;
    if let Some(want) = hidden {
        // The LSTM alone, as a layer of its own.
        let lstm = file.with_prefix(&options.lstm);
        let lstm = Lstm::from_checkpoint(device, &lstm)?.batch_first(true);
        let (y, _) =
            lstm.forward(&Tensor::from_slice(device, input.data(), input.shape())?, None)?;
        worst = worst.max(difference(&y.to_vec()?, want.data()));
        println!("  lstm(x)      {:?}: largest difference {worst:.1e}", want.shape());
    }
    if let Some(want) = output {
        let y = model.predict(&input)?;
        let apart = difference(y.data(), want.data());
        println!("  model(x)     {:?}: largest difference {apart:.1e}", y.shape());
        worst = worst.max(apart);
    }
    Ok(worst)
}

fn all(options: &Options) -> Result<f32, Error> {
    let file = checkpoint::read(&options.file)?;
    println!("{}", options.file.display());
    for (name, array) in &file.tensors {
        println!("  {name:<30} {:?}", array.shape());
    }
    let worst = run(&Device::cpu(), options)?;
    let device = Device::from_env()?;
    match device.as_gpu() {
        Some(_) => Ok(worst.max(run(&device, options)?)),
        None => Ok(worst),
    }
}

fn main() -> ExitCode {
    common::main(HELP, options(), |options| {
        let worst = all(options)?;
        if worst <= CLOSE {
            return Ok::<_, Error>(ExitCode::SUCCESS);
        }
        eprintln!("the outputs are {worst:.1e} from PyTorch's, further than {CLOSE:.0e}");
        Ok(ExitCode::FAILURE)
    })
}
