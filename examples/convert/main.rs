//! Turns a model of another library into a file that this one loads, and says what was in it.
//!
//! ```text
//! cargo run --example convert -- IN [OUT] [--list] [--check] [--lstm NAME] [--head NAME] [--readout NAME]
//!     [--as LIBRARY]
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use gatefold::import::{self, Imported, Library};
use gatefold::{Array, Device, Forecaster, LoadOptions, Lstm, Readout, Tensor, export};

const HELP: &str = "\
Turns a model of another library into a safetensors file that gatefold and PyTorch load, or into an ONNX
model.

Usage: cargo run --example convert -- IN [OUT] [OPTIONS]

Options:
  IN               A file of another library; what it is, its content says
  OUT              The file to write, safetensors or, where its name ends so, .onnx; without it IN is looked
                   at
  --list           Prints every LSTM of IN, and nothing else is done
  --check          Runs IN and OUT on the same random input, and says how far they are apart
  --lstm NAME      The LSTM, where there are several, such as encoder.lstm
  --head NAME      The linear layer on it, where there are several
  --embedding NAME The embedding below it, where it is called something else than embedding
  --readout NAME   What the head reads: final_states, last_output, every_step, mean_over_time or
                   max_over_time [default: what the file says, else final_states]
  --as LIBRARY     Whose names and layouts a file of arrays has, where it doesn't say: coreml, equinox, flax,
                   haiku, keras, mlx, paddle, pytorch, tensorflow1 or tensorflow1-zero
  --lstm-alone     The LSTM without a head
  --times N        Opens IN and makes the model N times, and says how long that took
  --help           This text
";

/// The file that is read.
fn opened(options: &Options) -> gatefold::Result<Imported> {
    match options.library {
        Some(library) => import::open_as(&options.files[0], library),
        None => import::open(&options.files[0]),
    }
}

/// Outputs within this are the same, up to the order of sums.
const CLOSE: f32 = 1e-5;

#[derive(Default)]
struct Options {
    files: Vec<PathBuf>,
    list: bool,
    check: bool,
    lstm: Option<String>,
    alone: bool,
    head: Option<String>,
    times: usize,
    library: Option<Library>,
    load: LoadOptions,
}

impl Options {
    /// How a model is loaded: its only LSTM needs no name, and a head that is named has to be there.
    fn of_model(&self, model: &Imported) -> gatefold::Result<LoadOptions> {
        let mut load = self.load.clone();
        if let (None, Some(_), [only]) = (&self.lstm, &self.head, model.all()) {
            load = load.lstm(only.name());
        }
        if let Some(head) = &self.head {
            let name = format!("{head}.weight");
            let linear = |(_, shape): &(&str, &[usize])| shape.len() == 2;
            if !model.others().filter(linear).any(|(other, _)| other == name) {
                let others = model.others().filter(linear);
                let others: Vec<_> =
                    others.filter_map(|(name, _)| name.strip_suffix(".weight")).collect();
                return Err(gatefold::Error::Value {
                    operation: "convert",
                    name: "--head".to_owned(),
                    expected: format!("a linear layer of the file: {}", others.join(", ")),
                    got: format!("{head:?}"),
                });
            }
        }
        Ok(load)
    }
}

/// The options, or `None` where only help was wanted.
fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") => return Ok(None),
            Long("list") => options.list = true,
            Long("check") => options.check = true,
            Long("as") => options.library = Some(parser.value()?.parse()?),
            Long("lstm-alone") => options.alone = true,
            Long("times") => options.times = parser.value()?.parse()?,
            Long("lstm") => options.lstm = Some(parser.value()?.string()?),
            Long("head") => options.head = Some(parser.value()?.string()?),
            Long("embedding") => {
                options.load = options.load.embedding(&parser.value()?.string()?);
            }
            Long("readout") => {
                let name = parser.value()?.string()?;
                let readout = Readout::ALL.into_iter().find(|readout| readout.name() == name);
                let readout = readout.ok_or_else(|| format!("there is no readout {name:?}"))?;
                options.load = options.load.readout(readout);
            }
            Value(file) if options.files.len() < 2 => options.files.push(file.into()),
            _ => return Err(argument.unexpected()),
        }
    }
    if options.files.is_empty() {
        return Err("which file? `--help` says how".into());
    }
    if let Some(lstm) = &options.lstm {
        options.load = options.load.lstm(lstm).leave_others();
    }
    if let Some(head) = &options.head {
        options.load = options.load.head(head).leave_others();
    }
    Ok(Some(options))
}

/// A model, with its head or without.
enum Model {
    Whole(Box<Forecaster>),
    Alone(Lstm),
}

impl Model {
    /// The model that the options ask for, or the one that there is.
    fn of(model: &Imported, options: &Options, device: &Device) -> gatefold::Result<Model> {
        let alone = match &options.lstm {
            Some(name) => model.lstm(name)?,
            None => &model.all()[0],
        };
        if options.alone {
            return Ok(Model::Alone(alone.build(device)?));
        }
        if let Some(why) = model.not_one_model() {
            return Err(gatefold::Error::Value {
                operation: "convert",
                name: "the file".to_owned(),
                expected: "one model; --lstm-alone, with --lstm NAME, takes an LSTM out of it"
                    .to_owned(),
                got: why.to_owned(),
            });
        }
        match model.all().len() > 1 || model.others().next().is_some() {
            true => {
                let whole = model.forecaster_as(device, &options.of_model(model)?)?;
                Ok(Model::Whole(Box::new(whole)))
            }
            false => Ok(Model::Alone(alone.build(device)?)),
        }
    }

    fn save(&self, path: &PathBuf) -> gatefold::Result<()> {
        match (self, is_onnx(path)) {
            (Model::Whole(model), true) => export::onnx(&**model, path),
            (Model::Alone(model), true) => export::onnx(model, path),
            (Model::Whole(model), false) => model.save(path),
            (Model::Alone(model), false) => model.save(path),
        }
    }

    /// The same from the file that was written.
    fn again(&self, path: &PathBuf, device: &Device) -> gatefold::Result<Model> {
        Ok(match (self, is_onnx(path)) {
            (Model::Whole(_), true) => {
                Model::Whole(Box::new(import::open(path)?.forecaster(device)?))
            }
            (Model::Alone(_), true) => Model::Alone(import::open(path)?.all()[0].build(device)?),
            (Model::Whole(_), false) => Model::Whole(Box::new(Forecaster::load(device, path)?)),
            (Model::Alone(_), false) => Model::Alone(Lstm::load(device, path)?),
        })
    }

    /// What it makes of some numbers: five timesteps of three rows.
    fn run(&self, inputs: usize, device: &Device) -> gatefold::Result<Vec<f32>> {
        let wave: Vec<f32> = (0..15 * inputs).map(|i| (i as f32 * 0.7).sin()).collect();
        match self {
            Model::Whole(model) => {
                let x = Array::new(wave, &[3, 5, inputs])?;
                let tokens = Array::new(vec![0.0; 15], &[3, 5])?;
                let y = model.predict(&x).or_else(|_| model.predict(&tokens))?;
                Ok(y.data().to_vec())
            }
            Model::Alone(model) => {
                let x = Tensor::from_slice(device, &wave, &[5, 3, inputs])?;
                model.forward(&x, None)?.0.to_vec()
            }
        }
    }
}

fn is_onnx(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("onnx"))
}

/// How long it takes to open a file and to make its model: the median of some times, in seconds.
fn timed(options: &Options, device: &Device) -> gatefold::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..options.times {
        let start = Instant::now();
        let model = opened(options)?;
        let made = Model::of(&model, options, device)?;
        times.push(start.elapsed().as_secs_f64());
        drop(made);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn convert(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let device = Device::cpu();
    if options.times > 0 {
        println!("{:.4}", timed(options, &device)?);
        return Ok(true);
    }
    let model = opened(options)?;
    println!("{}: {model}", options.files[0].display());
    let Some(out) = options.files.get(1).filter(|_| !options.list) else { return Ok(true) };
    let made = Model::of(&model, options, &device)?;
    made.save(out)?;
    println!("{} is written", out.display());
    if !options.check {
        return Ok(true);
    }
    let weight = |(name, array): &(String, Array)| {
        name.starts_with("weight_ih_l0").then(|| array.shape()[1])
    };
    let named = options.lstm.as_ref().map(|name| model.lstm(name)).transpose()?;
    let lstm = named.unwrap_or(&model.all()[0]);
    let inputs = lstm.state_dict().iter().find_map(weight).unwrap_or(1);
    let [before, after] =
        [made.run(inputs, &device)?, made.again(out, &device)?.run(inputs, &device)?];
    let far = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{} outputs of both are {far:e} apart at most", before.len());
    Ok(before.len() == after.len() && far <= CLOSE)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("convert: {error}");
            return ExitCode::FAILURE;
        }
    };
    match convert(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("convert: {error}");
            ExitCode::FAILURE
        }
    }
}
