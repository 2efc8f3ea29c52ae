//! One model over all tickers: periods, samples, training, files.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use gatefold::data::{Date, Scaler, Windows, split_by_time};
use gatefold::train::{Adam, Loss, Progress, Report, Trainer};
use gatefold::{Array, Dataset, Device, Error, Forecaster, LstmConfig, Result};

use super::features::{Days, HORIZON, LOOKBACK, volatility};
use super::prices::Series;

/// Shares of the days that train, choose and test.
const SHARES: [f64; 3] = [0.7, 0.15, 0.15];

/// The names of the periods.
pub const PERIODS: [&str; 3] = ["training", "validation", "test"];

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct Settings {
    pub window: usize,
    pub epochs: usize,
    pub hidden: usize,
    pub layers: usize,
    pub seed: u64,
}

/// All tickers' days, and the dates between the periods.
pub struct Market {
    pub series: Vec<Series>,
    pub days: Vec<Days>,
    /// The first dates of validation and test.
    pub starts: [Date; 2],
}

/// A day of a ticker, with all that a window needs before and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub ticker: usize,
    pub t: usize,
}

impl Market {
    /// Splits by time, or at given dates.
    pub fn new(series: Vec<Series>, starts: Option<[Date; 2]>) -> Result<Market> {
        let mut dates: Vec<Date> = series.iter().flat_map(|s| s.dates.iter().copied()).collect();
        dates.sort_unstable();
        dates.dedup();
        let [_, validation, test] = split_by_time(dates.len(), SHARES)?;
        let last = dates.len() - 1;
        let starts =
            starts.unwrap_or([dates[validation.start.min(last)], dates[test.start.min(last)]]);
        let days = series.iter().map(Days::new).collect();
        Ok(Market { series, days, starts })
    }

    /// The positions of a period's days in a ticker, without those that lack inputs.
    pub fn period(&self, ticker: usize, period: usize) -> Range<usize> {
        let dates = &self.series[ticker].dates;
        let at = |date: Date| dates.partition_point(|d| *d < date);
        let bounds = [LOOKBACK, at(self.starts[0]), at(self.starts[1]), dates.len()];
        bounds[period].max(LOOKBACK).min(dates.len())
            ..bounds[period + 1].max(LOOKBACK).min(dates.len())
    }

    /// The first and last dates of a period.
    pub fn dates(&self, period: usize) -> Option<(Date, Date)> {
        let ranges = (0..self.series.len()).map(|i| (i, self.period(i, period)));
        let ends = ranges
            .filter(|(_, r)| !r.is_empty())
            .map(|(i, r)| (self.series[i].dates[r.start], self.series[i].dates[r.end - 1]));
        ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Inputs of a day.
    pub fn inputs(&self) -> usize {
        self.days.iter().flat_map(|days| days.inputs.last()).map(Vec::len).next().unwrap_or(0)
    }

    /// Every window of a period, with its target.
    ///
    /// # Errors
    /// [`Error::Data`] where a ticker has too few days for one.
    pub fn samples(&self, path: &Path, window: usize, period: usize) -> Result<Vec<Sample>> {
        let windows = Windows { length: window, horizon: HORIZON };
        let mut samples = Vec::new();
        for (ticker, series) in self.series.iter().enumerate() {
            let days = self.period(ticker, period);
            let ends = windows.ends(days.clone());
            if ends.is_empty() {
                return Err(Error::Data {
                    path: path.to_owned(),
                    row: None,
                    column: None,
                    problem: format!(
                        "too few rows: {} has {} usable days in the {} period, one window with its target takes {}",
                        series.ticker,
                        days.len(),
                        PERIODS[period],
                        window.saturating_add(HORIZON)
                    ),
                });
            }
            samples.extend(ends.map(|t| Sample { ticker, t }));
        }
        Ok(samples)
    }

    /// The scalers of inputs and targets, from the training period alone.
    pub fn scalers(&self, samples: &[Sample]) -> Result<[Scaler; 2]> {
        let inputs = (0..self.series.len())
            .flat_map(|i| self.period(i, 0).map(move |t| self.days[i].inputs[t].as_slice()));
        let targets = samples.iter().map(|s| self.days[s.ticker].target(s.t));
        Ok([Scaler::fit(inputs)?, Scaler::fit(targets)?])
    }
}

/// A model with what it takes to use it.
pub struct Model {
    pub forecaster: Forecaster,
    pub window: usize,
    inputs: Scaler,
    targets: Scaler,
    /// The mean volatility over the mean of the exponentials of the model's logarithms, in the
    /// training years: the exponential of a mean logarithm is less than the mean.
    correction: f64,
    pub starts: [Date; 2],
}

/// The forecast of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// The log return of the next day.
    pub log_return: f64,
    /// The volatility of the next five, a day.
    pub volatility: f64,
}

fn dataset(
    market: &Market,
    samples: &[Sample],
    window: usize,
    scalers: &[Scaler; 2],
) -> Result<Dataset> {
    let x = windows(market, samples, window, &scalers[0])?;
    let y = samples.iter().flat_map(|s| {
        let mut target = market.days[s.ticker].target(s.t);
        scalers[1].transform(&mut target);
        target.map(|v| v as f32)
    });
    Dataset::new(x, Array::new(y.collect(), &[samples.len(), 2])?)
}

/// The inputs of the windows that end with each sample, `[N, T, I]`.
pub fn windows(
    market: &Market,
    samples: &[Sample],
    window: usize,
    scaler: &Scaler,
) -> Result<Array> {
    let width = scaler.mean().len();
    let mut x = Vec::with_capacity(samples.len() * window * width);
    for sample in samples {
        for t in (Windows { length: window, horizon: HORIZON }).past(sample.t) {
            let mut day = market.days[sample.ticker].inputs[t].clone();
            scaler.transform(&mut day);
            x.extend(day.into_iter().map(|v| v as f32));
        }
    }
    Array::new(x, &[samples.len(), window, width])
}

impl Model {
    /// Trains on the training period; the validation period says when to stop.
    pub fn train(
        device: &Device,
        market: &Market,
        samples: &[Vec<Sample>; 3],
        settings: &Settings,
        progress: impl FnMut(&Progress),
    ) -> Result<(Model, Report)> {
        let scalers = market.scalers(&samples[0])?;
        let train = dataset(market, &samples[0], settings.window, &scalers)?;
        let validation = dataset(market, &samples[1], settings.window, &scalers)?;
        let config = LstmConfig::new(train.x().shape()[2], settings.hidden)
            .layers(settings.layers)
            .forget_bias(1.0)
            .seed(settings.seed);
        let forecaster = Forecaster::new(device, config, 2)?;
        let mut trainer = Trainer::new(forecaster, Loss::mse(), Adam::new(1e-3).weight_decay(1e-4))
            .batch_size(128)
            .epochs(settings.epochs)
            .shuffle(settings.seed)
            .early_stopping(4);
        let report = trainer.fit(&train, Some(&validation), progress)?;
        let [inputs, targets] = scalers;
        let mut model = Model {
            forecaster: trainer.into_model(),
            window: settings.window,
            inputs,
            targets,
            correction: 1.0,
            starts: market.starts,
        };
        let forecasts = model.forecast(market, &samples[0])?;
        let observed: f64 = samples[0].iter().map(|s| observed(market, s).volatility).sum();
        model.correction = observed / forecasts.iter().map(|f| f.volatility).sum::<f64>();
        Ok((model, report))
    }

    /// The forecasts after each sample's day.
    pub fn forecast(&self, market: &Market, samples: &[Sample]) -> Result<Vec<Forecast>> {
        let (inputs, trained) = (market.inputs(), self.inputs.mean().len());
        if inputs != trained {
            return Err(Error::Value {
                operation: "stocks",
                name: "the table's inputs a day".to_owned(),
                expected: format!("{trained}, as the model was trained on"),
                got: format!("{inputs}; are High, Low and Volume there as they were?"),
            });
        }
        let y = self.forecaster.predict(&windows(market, samples, self.window, &self.inputs)?)?;
        let forecast = |row: &[f32]| {
            let mut row = [f64::from(row[0]), f64::from(row[1])];
            self.targets.inverse(&mut row);
            Forecast { log_return: row[0], volatility: self.correction * row[1].exp() }
        };
        Ok(y.data().chunks_exact(2).map(forecast).collect())
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        let list = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
        let entries = [
            ("window", self.window.to_string()),
            ("inputs_mean", list(self.inputs.mean())),
            ("inputs_std", list(self.inputs.std())),
            ("targets_mean", list(self.targets.mean())),
            ("targets_std", list(self.targets.std())),
            ("correction", self.correction.to_string()),
            ("validation_start", self.starts[0].to_string()),
            ("test_start", self.starts[1].to_string()),
        ];
        let entries: HashMap<String, String> =
            entries.into_iter().map(|(key, value)| (format!("stocks.{key}"), value)).collect();
        self.forecaster.save_with(path, &entries)
    }

    pub fn load(device: &Device, path: &Path) -> Result<Model> {
        let (forecaster, entries) = Forecaster::load_with(device, path)?;
        let refused = |key: &str| Error::Checkpoint {
            path: path.to_owned(),
            problem: format!(
                "its metadata have no usable stocks.{key}; was it saved by this example?"
            ),
        };
        let get = |key: &str| entries.get(&format!("stocks.{key}")).ok_or_else(|| refused(key));
        let list = |key: &str| -> Result<Vec<f64>> {
            get(key)?.split(' ').map(|v| v.parse().map_err(|_| refused(key))).collect()
        };
        let date = |key: &str| {
            let format = time::macros::format_description!("[year]-[month]-[day]");
            get(key).and_then(|text| Date::parse(text, format).map_err(|_| refused(key)))
        };
        let window: usize = get("window")?.parse().map_err(|_| refused("window"))?;
        let correction = list("correction")?[0];
        let model = Model {
            window,
            inputs: Scaler::from_parts(list("inputs_mean")?, list("inputs_std")?)?,
            targets: Scaler::from_parts(list("targets_mean")?, list("targets_std")?)?,
            correction,
            starts: [date("validation_start")?, date("test_start")?],
            forecaster,
        };
        let fits = window > 0 && model.targets.mean().len() == 2 && model.forecaster.outputs() == 2;
        if fits && correction.is_finite() { Ok(model) } else { Err(refused("window")) }
    }
}

/// What happened after a sample's day.
pub fn observed(market: &Market, sample: &Sample) -> Forecast {
    let returns = &market.days[sample.ticker].returns[sample.t + 1..];
    Forecast { log_return: returns[0], volatility: volatility(&returns[..HORIZON]) }
}
