//! Does this machine compute what it should? Every kernel on the device, beside its twin; or a model of
//! your own, command by command.

#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use gatefold::reference::Worst;
use gatefold::verify::{Model, verify_with};
use gatefold::{Device, Error, Result};
use indicatif::{ProgressBar, ProgressStyle};

const HELP: &str = "\
Runs every kernel on the device and compares it with its twin on the CPU, in double precision.

Usage: cargo run --release --example verify -- [OPTIONS]

Options:
  --lockstep FILE  Instead, a model of your own, forward and back, a command at a time: a safetensors
                   file with an LSTM, and a linear layer and an embedding where it has them
  --lstm PREFIX    What the names of the LSTM's tensors begin with, where it holds several
  --head PREFIX    The same of the linear layer [default with --lstm: fc.]
  --timesteps N    Timesteps to run [default: 16]
  --batch N        Rows to run [default: 4]
  --commands       A line for every command, not only for every kernel
  --help           This text

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
The exit status is 0 only where everything was right.
";

struct Options {
    lockstep: Option<PathBuf>,
    lstm: Option<String>,
    head: Option<String>,
    timesteps: usize,
    batch: usize,
    commands: bool,
}

/// The options, or `None` where only help was wanted.
fn options() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        lockstep: None,
        lstm: None,
        head: None,
        timesteps: 16,
        batch: 4,
        commands: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("lockstep") => options.lockstep = Some(parser.value()?.into()),
            Long("lstm") => options.lstm = Some(parser.value()?.string()?),
            Long("head") => options.head = Some(parser.value()?.string()?),
            Long("timesteps") => {
                options.timesteps = common::number(&mut parser, "--timesteps", 1..=100_000)?
            }
            Long("batch") => options.batch = common::number(&mut parser, "--batch", 1..=100_000)?,
            Long("commands") => options.commands = true,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    if options.lockstep.is_none() && (options.lstm.is_some() || options.head.is_some()) {
        return Err("--lstm and --head go with --lockstep FILE".into());
    }
    Ok(Some(options))
}

fn bar(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("[{{bar:40}}] {{pos}}/{{len}} {what}"));
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn run(options: &Options) -> Result<ExitCode> {
    let device = Device::from_env()?;
    let right = match &options.lockstep {
        None => kernels(&device)?,
        Some(path) => model(&device, path, options)?,
    };
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every kernel.
fn kernels(device: &Device) -> Result<bool> {
    let (start, bar) = (Instant::now(), bar("programs"));
    let report = verify_with(device, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    println!("{report}, in {:.1} s", start.elapsed().as_secs_f64());
    Ok(report.passed())
}

/// What all launches of a kernel have come to.
struct Kernel {
    name: &'static str,
    launches: usize,
    worst: Vec<Worst>,
}

/// A model of the user's, on the device and on the CPU.
fn model(device: &Device, path: &PathBuf, options: &Options) -> Result<bool> {
    let (steps, batch) = (options.timesteps, options.batch);
    let model = match &options.lstm {
        None if options.head.is_none() => Model::load(device, path, steps, batch)?,
        lstm => {
            let lstm = lstm.as_deref().unwrap_or("lstm.");
            let head = options.head.as_deref().unwrap_or("fc.");
            Model::load_named(device, path, (lstm, head), steps, batch)?
        }
    };
    if !model.ignored().is_empty() {
        println!("not part of the model: {}", model.ignored().join(", "));
    }
    let cpu = device.as_gpu().map(|_| Device::cpu());
    let mut devices = vec![device];
    devices.extend(&cpu);
    for (i, device) in devices.iter().enumerate() {
        println!("{} {device}", (b'A' + i as u8) as char);
    }
    let listing = model.plan().to_string();
    listing.lines().take_while(|line| !line.starts_with("buffer")).for_each(|l| println!("{l}"));

    let bar = bar("commands");
    bar.set_length(model.plan().program.commands.len() as u64);
    let mut kernels: Vec<Kernel> = Vec::new();
    let (mut wrong, mut as_f32) = (None, 0);
    for (index, checks) in model.lockstep(&devices)?.enumerate() {
        bar.set_position(index as u64);
        let mut worst = Vec::new();
        let (mut label, mut name) = (String::new(), "");
        for check in checks {
            match check {
                Ok(check) => {
                    worst.push(check.worst);
                    as_f32 += usize::from(check.as_f32);
                    (label, name) = (check.label, check.kernel);
                }
                Err(Error::Diverged { .. }) if wrong.is_some() => (),
                Err(other) => wrong = Some(other),
            }
        }
        if options.commands && !label.is_empty() {
            bar.suspend(|| println!("{index:>6}  {label:<32} {name:<24} {}", said(&worst)));
        }
        if wrong.is_some() {
            break;
        }
        match kernels.iter_mut().find(|kernel| kernel.name == name) {
            None => kernels.push(Kernel { name, launches: 1, worst }),
            Some(kernel) => {
                kernel.launches += 1;
                let both = kernel.worst.iter().zip(worst).map(|(a, b)| a.or(b));
                kernel.worst = both.collect();
            }
        }
    }
    bar.finish_and_clear();
    println!("{:<24} launches  worst error of what is allowed, for each device", "");
    for Kernel { name, launches, worst } in &kernels {
        println!("{name:<24} {launches:>8}  {}", said(worst));
    }
    if as_f32 > 0 {
        println!("{as_f32} results are as far off as f32 itself is with these weights");
    }
    let right = wrong.is_none();
    match wrong {
        None => println!("every command agrees"),
        Some(error @ Error::Diverged { .. }) => println!("DIVERGED: {error}"),
        Some(other) => return Err(other),
    }
    Ok(right)
}

/// How far each device was off.
fn said(worst: &[Worst]) -> String {
    let one = |(i, worst): (usize, &Worst)| {
        let device = (b'A' + i as u8) as char;
        match worst.error > 0.0 {
            true => format!("{device} {:.1e} of {:.1e}", worst.error, worst.allowed),
            false => format!("{device} 0"),
        }
    };
    let all: Vec<String> = worst.iter().enumerate().map(one).collect();
    all.join("   ")
}

fn main() -> ExitCode {
    common::main(HELP, options(), run)
}
