//! Whole sequences: inference, the forward pass of training and full training steps, on each
//! executor that is there.
//!
//! A result that is wrong isn't timed. README.md beside this file says what is and is not timed.

mod common;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use common::data::Data;
use common::peak::Peak;
use common::record::{self, Machine};
use common::shape::{self, Kind, NAMED, Shape};
use common::table::{self, Outcome, Table};
use common::verify::Reference;
use common::work::Work;
use gatefold::gpu::Adapter;
use gatefold::{DEVICE_VARIABLE, Device, Error};
use lexopt::prelude::*;

/// What one iteration may take, as estimated.
const LONGEST: Duration = Duration::from_secs(3);

const HELP: &str = "\
cargo bench --bench sequence -- [OPTIONS] [FILTER]

FILTER          run what has this in its name, such as cpu/inference/64x32x64x128
--test          verify fewer timesteps of each, and time nothing
--record DIR    write the tables to DIR/<adapter>/<date>.md; as GATEFOLD_BENCH_RECORD

GATEFOLD_BENCH=full adds a grid of shapes; GATEFOLD_DEVICE names the one device.";

#[derive(Default)]
struct Options {
    filter: String,
    test: bool,
    record: Option<PathBuf>,
}

impl Options {
    /// What the command line says, or nothing where it asks for help.
    fn parse() -> Result<Option<Options>, lexopt::Error> {
        let mut options = Options {
            record: std::env::var_os("GATEFOLD_BENCH_RECORD").map(PathBuf::from),
            ..Default::default()
        };
        let (mut arguments, mut bench) = (lexopt::Parser::from_env(), false);
        while let Some(argument) = arguments.next()? {
            match argument {
                // What `cargo bench` says and `cargo test` doesn't.
                Long("bench") => bench = true,
                Long("test") => options.test = true,
                Long("record") => options.record = Some(arguments.value()?.into()),
                Long("help") => return Ok(None),
                Value(filter) => options.filter = filter.string()?,
                other => return Err(other.unexpected()),
            }
        }
        options.test |= !bench;
        Ok(Some(options))
    }
}

/// The devices with their short names: the one that `GATEFOLD_DEVICE` names, else the CPU and the
/// best adapter, a software driver as well.
fn devices() -> gatefold::Result<Vec<(String, Device)>> {
    let short = |name: &str| name.split([' ', '(']).next().unwrap_or("gpu").to_lowercase();
    if std::env::var_os(DEVICE_VARIABLE).is_some() {
        let device = Device::from_env()?;
        let name = match device.as_gpu() {
            Some(gpu) => short(&gpu.name()),
            None => "cpu".to_owned(),
        };
        return Ok(vec![(name, device)]);
    }
    let mut devices = vec![("cpu".to_owned(), Device::cpu())];
    match Adapter::all().first().map(|a| (a.name().to_owned(), a.open())) {
        None => println!("GPU: skipped, no adapter on this machine"),
        Some((name, Err(error))) => println!("{name}: skipped, {error}"),
        Some((name, Ok(gpu))) => devices.push((short(&name), Device::from_gpu(gpu))),
    }
    Ok(devices)
}

/// Why a row has no time.
enum Without {
    Device(Error),
    Outcome(Outcome),
}

impl From<Error> for Without {
    fn from(error: Error) -> Without {
        Without::Device(error)
    }
}

fn wrong(problem: String) -> Without {
    Without::Outcome(Outcome::Wrong(problem))
}

/// About what an iteration takes, from runs of one and of four timesteps.
fn estimate(device: &Device, kind: Kind, shape: Shape, data: &Data) -> gatefold::Result<Duration> {
    let of = |steps: usize| {
        let work = Work::new(device, Shape { steps, ..shape }, kind, data)?;
        // The first compiles the kernels.
        work.run()?;
        work.run()
    };
    if shape.steps <= 4 {
        return of(shape.steps);
    }
    let (one, four) = (of(1)?, of(4)?);
    Ok(one + four.saturating_sub(one).mul_f64((shape.steps - 1) as f64 / 3.0))
}

/// Verifies a row, and times it where it isn't too long.
fn row(
    device: &Device,
    kind: Kind,
    data: &Data,
    reference: &Reference<'_>,
    test: bool,
) -> Result<Outcome, Without> {
    let (shape, fewer) = (reference.shape(), reference.small());
    if !test {
        let estimate = estimate(device, kind, shape, data)?;
        if estimate > LONGEST {
            let seconds = estimate.as_secs_f64();
            let reason = format!("about {seconds:.1} s an iteration, as 1 and 4 timesteps say");
            return Ok(Outcome::Skipped(reason));
        }
    }
    let mut verified = String::new();
    if kind == Kind::Step {
        let small = Work::new(device, fewer, kind, data)?;
        small.run()?;
        reference.check_step(&small).map_err(wrong)?;
        verified = format!(", gradients at T = {}", fewer.steps);
    }
    let work = Work::new(device, shape, kind, data)?;
    let first = work.run()?;
    reference.check(&work).map_err(wrong)?;
    let rows = reference.compared().len();
    let of_steps = if test { format!(" at T = {}", shape.steps) } else { String::new() };
    let verified = format!("{rows} of {} rows{of_steps}{verified}", shape.batch);
    if test {
        return Ok(Outcome::Tested(verified));
    }
    Ok(Outcome::timed(&work, work.time(first)?, verified)?)
}

/// Runs everything on every device; returns whether all was right.
fn run(options: &Options, shapes: &[Shape]) -> gatefold::Result<bool> {
    let wanted = |name: &str, kind: &Kind, shape: &Shape| {
        format!("{name}/{kind}/{shape}").contains(&options.filter)
    };
    let mut devices = devices()?;
    devices.retain(|(name, _)| {
        shapes.iter().any(|shape| Kind::ALL.iter().any(|kind| wanted(name, kind, shape)))
    });
    let mut tables = Vec::new();
    for (name, device) in &devices {
        println!("{name}: {device}");
        tables.push(Table::new(name, Peak::measure(device)?));
    }
    table::head();
    let mut right = true;
    for &shape in shapes {
        let rows =
            Kind::ALL.into_iter().flat_map(|kind| (0..devices.len()).map(move |d| (kind, d)));
        let rows: Vec<_> = rows.filter(|(kind, d)| wanted(&devices[*d].0, kind, &shape)).collect();
        if rows.is_empty() {
            continue;
        }
        // Made once for all that is done with a shape.
        let data = Data::new(&shape);
        let reference = Reference::new(shape, &data);
        let reference = if options.test { reference.quick() } else { reference };
        for (kind, d) in rows {
            let outcome = match row(&devices[d].1, kind, &data, &reference, options.test) {
                Ok(outcome) | Err(Without::Outcome(outcome)) => outcome,
                Err(Without::Device(error)) => Outcome::Skipped(error.to_string()),
            };
            right &= !matches!(outcome, Outcome::Wrong(_));
            tables[d].row(&shape, kind, &outcome);
        }
    }
    if let Some(directory) = options.record.as_ref().filter(|_| !options.test) {
        for ((_, device), table) in devices.iter().zip(&tables) {
            match record::write(directory, &Machine::of(device), &table.markdown) {
                Ok(path) => println!("written to {}", path.display()),
                Err(source) => return Err(Error::Io { path: directory.clone(), source }),
            }
        }
    }
    Ok(right)
}

fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::FAILURE;
        }
    };
    let mut shapes = NAMED.to_vec();
    if std::env::var("GATEFOLD_BENCH").is_ok_and(|value| value == "full") {
        shapes.extend(shape::grid());
    }
    match run(&options, &shapes) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
