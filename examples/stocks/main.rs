//! Forecasts of prices and of their volatility, and whether they are worth anything.
//!
//! `cargo run --example stocks -- --help` shows the options, `README.md` beside this file the
//! story.

mod chart;
#[path = "../common/mod.rs"]
mod common;
mod features;
mod forecast;
mod prices;
mod report;
mod toy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::number;
use forecast::{Forecast, Market, Model, PERIODS, Sample, Settings};
use gatefold::train::Progress;
use gatefold::{Device, Error, Result};
use indicatif::{ProgressBar, ProgressStyle};

const PRICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/stocks/prices.csv");

const HELP: &str = "\
Trains an LSTM on daily prices, and says honestly what its forecasts are worth.

Usage: cargo run --example stocks -- [OPTIONS]

Options:
  --toy          Only the toy: two companies, four days
  --csv FILE     Prices of your own: a date column and one or more price columns, or a long
                 table with a ticker column [default: AAPL, GOOG, IBM, MSFT, 2000 to 2013]
  --window N     Past days that the model sees [default: 45]
  --epochs N     Epochs at most; early stopping may end sooner [default: 30]
  --hidden N     Units of a layer [default: 32]
  --layers N     LSTM layers [default: 2]
  --seed N       The seed of weights and shuffling [default: 0]
  --out DIR      Where model.safetensors, forecasts.csv and forecast.png go
                 [default: target/stocks]
  --load FILE    Forecasts with a saved model instead of training one; its window and years
                 are the file's
  --help         This text

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

struct Options {
    toy: bool,
    csv: PathBuf,
    out: PathBuf,
    load: Option<PathBuf>,
    settings: Settings,
}

/// The options, or `None` where only help was wanted.
fn options() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        toy: false,
        csv: PRICES.into(),
        out: "target/stocks".into(),
        load: None,
        settings: Settings { window: 45, epochs: 30, hidden: 32, layers: 2, seed: 0 },
    };
    let settings = &mut options.settings;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("toy") => options.toy = true,
            Long("csv") => options.csv = parser.value()?.into(),
            Long("window") => settings.window = number(&mut parser, "--window", 1..=usize::MAX)?,
            Long("epochs") => settings.epochs = number(&mut parser, "--epochs", 1..=1_000_000)?,
            Long("hidden") => settings.hidden = number(&mut parser, "--hidden", 1..=1_000_000)?,
            Long("layers") => settings.layers = number(&mut parser, "--layers", 1..=1_000)?,
            Long("seed") => settings.seed = number(&mut parser, "--seed", 0..=u64::MAX)?,
            Long("out") => options.out = parser.value()?.into(),
            Long("load") => options.load = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    if options.toy && options.load.is_some() {
        return Err("--toy and --load exclude each other".into());
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<()> {
    let device = Device::from_env()?;
    println!("Running on {device}");
    if options.toy {
        return toy::run(&device, options.settings.seed);
    }
    // Before any work: what can't be read or written is known at once.
    let prices = Prices::read(&device, options)?;
    if prices.loaded.is_none() {
        toy::run(&device, options.settings.seed)?;
    }
    forecast_prices(&device, options, prices)
}

/// What a forecast starts from.
struct Prices {
    loaded: Option<Model>,
    market: Market,
    window: usize,
    samples: [Vec<Sample>; 3],
}

impl Prices {
    fn read(device: &Device, options: &Options) -> Result<Prices> {
        common::folder(&options.out)?;
        let loaded = options.load.as_ref().map(|path| Model::load(device, path)).transpose()?;
        let starts = loaded.as_ref().map(|model| model.starts);
        let market = Market::new(prices::read(&options.csv)?, starts)?;
        let window = loaded.as_ref().map_or(options.settings.window, |model| model.window);
        let mut samples: [Vec<Sample>; 3] = Default::default();
        for (period, samples) in samples.iter_mut().enumerate() {
            // A saved model needs no years to train and to choose on.
            let found = market.samples(&options.csv, window, period);
            *samples =
                if loaded.is_some() && period < 2 { found.unwrap_or_default() } else { found? };
        }
        Ok(Prices { loaded, market, window, samples })
    }
}

fn forecast_prices(device: &Device, options: &Options, prices: Prices) -> Result<()> {
    let Prices { loaded, market, window, samples } = prices;
    let tickers: Vec<&str> = market.series.iter().map(|s| s.ticker.as_str()).collect();
    println!("\nDaily prices of {}", tickers.join(", "));
    for (period, name) in PERIODS.iter().enumerate() {
        if let Some((first, last)) = market.dates(period) {
            let count = samples[period].len();
            println!("  {name:<11} {first} to {last}, {count} windows of {window} days");
        }
    }
    let model = match loaded {
        Some(model) => model,
        None => train(device, &market, &samples, options)?,
    };
    let [_, validation, test] = &samples;
    if !validation.is_empty() {
        let forecasts = model.forecast(&market, validation)?;
        report::print("Validation years", &report::scores(&market, validation, &forecasts));
    }
    let forecasts = model.forecast(&market, test)?;
    let scores = report::scores(&market, test, &forecasts);
    report::print("Test years", &scores);
    println!("{}", report::verdict(&scores));

    report::write_csv(&options.out.join("forecasts.csv"), &market, test, &forecasts)?;
    let png = options.out.join("forecast.png");
    chart::draw(&png, &market, test, &forecasts)?;
    println!("Picture: {}", png.display());
    println!("{}", last_line(&market, &model)?);
    Ok(())
}

fn train(
    device: &Device,
    market: &Market,
    samples: &[Vec<Sample>; 3],
    options: &Options,
) -> Result<Model> {
    let style = "  epoch {pos}/{len} [{bar:30}] {msg}";
    let bar = ProgressBar::new(options.settings.epochs as u64).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.tick();
    let show = |p: &Progress| {
        let validation = p.validation.unwrap_or(f32::NAN);
        let speed = p.samples_per_second;
        bar.set_message(format!(
            "loss {:.4}, validation {validation:.4}, {speed:.0} windows/s",
            p.loss
        ));
        bar.set_position(p.epoch as u64);
        // Where nobody sees a bar, a line an epoch.
        if bar.is_hidden() {
            println!("  epoch {}/{} {}", p.epoch, p.epochs, bar.message());
        }
    };
    let start = std::time::Instant::now();
    let (model, report) = Model::train(device, market, samples, &options.settings, show)?;
    bar.finish_and_clear();
    let best = report.best.map_or(0, |best| best.epoch);
    println!(
        "Trained for {} epochs in {:.1} s; the best was epoch {best}, with validation loss {:.4}",
        report.losses.len(),
        start.elapsed().as_secs_f64(),
        report.validation.unwrap_or(f32::NAN),
    );
    let path = options.out.join("model.safetensors");
    model.save(&path)?;
    println!("Model: {}", path.display());
    Ok(model)
}

/// The forecast for the day after the file's end.
fn last_line(market: &Market, model: &Model) -> Result<String> {
    let ends: Vec<Sample> = market
        .series
        .iter()
        .enumerate()
        .map(|(ticker, series)| Sample { ticker, t: series.price.len() - 1 })
        .collect();
    let last = market.series.iter().filter_map(|s| s.dates.last()).max().copied();
    let line = |(sample, f): (&Sample, &Forecast)| {
        let series = &market.series[sample.ticker];
        let price = series.close[sample.t] * f.log_return.exp();
        let (change, volatility) = (100.0 * f.log_return.exp_m1(), 100.0 * f.volatility);
        let date = series.dates[sample.t];
        // A ticker that ends earlier is forecast from its own end.
        let from = if Some(date) == last { String::new() } else { format!(" (after {date})") };
        format!(
            "{}{from} {price:.2} ({change:+.2} %, volatility {volatility:.2} % a day)",
            series.ticker
        )
    };
    let lines: Vec<String> = ends.iter().zip(&model.forecast(market, &ends)?).map(line).collect();
    let last = last.map_or(String::new(), |date| date.to_string());
    Ok(format!("Forecast for the trading day after {last}: {}", lines.join("; ")))
}

/// A temporary file beside `path`, to be renamed to it once it is whole.
pub fn temporary(path: &Path) -> Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.suffix(".png"); // the picture's format goes by the name
    // A temporary file is for its owner alone; this one becomes a file like any other.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let folder = path.parent().unwrap_or(Path::new("."));
    builder.tempfile_in(folder).map_err(|e| output_error(path, e))
}

/// An error about a file that could not be written.
pub fn output_error(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::Io { path: path.to_owned(), source: std::io::Error::other(error.to_string()) }
}

fn main() -> ExitCode {
    common::main(HELP, options(), run)
}
