//! How the forecasts compare with doing nothing clever.

use std::path::Path;

use gatefold::Result;

use super::features::{HORIZON, volatility};
use super::forecast::{Forecast, Market, Sample, observed};

/// One ticker's scores over a period, or those of all.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    pub name: String,
    /// Whether these are several tickers' together.
    pub pooled: bool,
    /// Root mean squared errors of the next day's price: the model's, and of "as today".
    pub price: [f64; 2],
    /// Root mean squared errors of the volatility of five days: the model's, that of the last
    /// five days, and RiskMetrics'. In percent a day.
    pub volatility: [f64; 3],
    /// How far beyond chance the model's squared errors are below those of "as today", and of the
    /// last five days and RiskMetrics, in standard errors.
    pub gain: [f64; 3],
    /// Days whose direction was right, of those on which the price moved.
    pub direction: (usize, usize),
    /// Days on which the price rose, of the same: what "always up" gets right.
    pub ups: usize,
}

impl Scores {
    pub fn new(name: &str, market: &Market, samples: &[Sample], forecasts: &[Forecast]) -> Scores {
        let mut scores = Scores { name: name.to_owned(), ..Scores::default() };
        let mut gains: [Vec<f64>; 3] = Default::default();
        for (sample, forecast) in samples.iter().zip(forecasts) {
            let days = &market.days[sample.ticker];
            let today = market.series[sample.ticker].price[sample.t];
            let seen = observed(market, sample);
            let tomorrow = today * seen.log_return.exp();
            let prices = [today * forecast.log_return.exp(), today].map(|p| (p - tomorrow).powi(2));
            let last_five = volatility(&days.returns[sample.t - 4..=sample.t]);
            let volatilities = [forecast.volatility, last_five, days.ewma[sample.t]]
                .map(|v| (100.0 * (v - seen.volatility)).powi(2));
            scores.price.iter_mut().zip(prices).for_each(|(sum, square)| *sum += square);
            scores.volatility.iter_mut().zip(volatilities).for_each(|(sum, square)| *sum += square);
            gains[0].push(prices[1] - prices[0]);
            gains[1].push(volatilities[1] - volatilities[0]);
            gains[2].push(volatilities[2] - volatilities[0]);
            if seen.log_return != 0.0 {
                let right = (forecast.log_return > 0.0) == (seen.log_return > 0.0);
                scores.direction.0 += usize::from(right);
                scores.direction.1 += 1;
                scores.ups += usize::from(seen.log_return > 0.0);
            }
        }
        let root = |sum: &mut f64| *sum = (*sum / samples.len() as f64).sqrt();
        scores.price.iter_mut().for_each(root);
        scores.volatility.iter_mut().for_each(root);
        // The volatilities of neighbouring days share days.
        for ((gain, gains), steps) in scores.gain.iter_mut().zip(&gains).zip([1, HORIZON, HORIZON])
        {
            *gain = standard_errors(gains, steps);
        }
        scores
    }

    fn beats_as_today(&self) -> bool {
        self.price[0] < self.price[1]
    }

    /// Whether the volatility beats both baselines.
    pub fn volatility_has_skill(&self) -> bool {
        self.volatility[0] < self.volatility[1].min(self.volatility[2])
    }

    /// The share of directions that were right, with its interval of `z` standard errors (Wilson,
    /// 1927).
    pub fn direction_share(&self, z: f64) -> (f64, f64, f64) {
        let n = self.direction.1.max(1) as f64;
        let p = self.direction.0 as f64 / n;
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        (p, middle - half, middle + half)
    }
}

/// The mean of forecasts' gains over its standard error, for forecasts of so many steps (Diebold and
/// Mariano, 1995, with the correction of Harvey, Leybourne and Newbold, 1997): neighbours share
/// `steps - 1` steps, so that many autocovariances count. Where their sum isn't a variance, those of
/// four times as many do, with falling weights (Newey and West, 1987).
pub fn standard_errors(gains: &[f64], steps: usize) -> f64 {
    let (n, h) = (gains.len() as f64, steps as f64);
    let mean = gains.iter().sum::<f64>() / n;
    let covariance = |lag: usize| {
        let pairs = gains.iter().zip(gains.iter().skip(lag));
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / n
    };
    let mut variance = covariance(0) + 2.0 * (1..steps).map(covariance).sum::<f64>();
    if variance <= 0.0 {
        let lags = 4 * steps;
        let weight = |lag: usize| 1.0 - lag as f64 / (lags + 1) as f64;
        variance = covariance(0) + 2.0 * (1..=lags).map(|l| weight(l) * covariance(l)).sum::<f64>();
    }
    let correction = ((n + 1.0 - 2.0 * h + h * (h - 1.0) / n) / n).max(0.0).sqrt();
    if variance > 0.0 { correction * mean / (variance / n).sqrt() } else { 0.0 }
}

/// The standard errors that luck alone exceeds, in one direction, with a probability of 2.5 % in any
/// of so many tests (Bonferroni).
pub fn beyond_chance(tests: usize) -> f64 {
    let tail = 0.025 / tests.max(1) as f64;
    // The normal distribution's tail, Abramowitz and Stegun 26.2.17, falls with z.
    let normal_tail = |z: f64| {
        let t = 1.0 / (1.0 + 0.231_641_9 * z);
        let terms = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
        let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
        sum * (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt()
    };
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if normal_tail(middle) > tail { low = middle } else { high = middle }
    }
    low
}

/// Scores of every ticker, and of all together.
pub fn scores(market: &Market, samples: &[Sample], forecasts: &[Forecast]) -> Vec<Scores> {
    let mut all: Vec<Scores> = Vec::new();
    for (ticker, series) in market.series.iter().enumerate() {
        let mine = |s: &&(&Sample, &Forecast)| s.0.ticker == ticker;
        let pairs: Vec<(&Sample, &Forecast)> = samples.iter().zip(forecasts).collect();
        let (samples, forecasts): (Vec<Sample>, Vec<Forecast>) =
            pairs.iter().filter(mine).map(|(s, f)| (**s, **f)).unzip();
        all.push(Scores::new(&series.ticker, market, &samples, &forecasts));
    }
    if all.len() > 1 {
        all.push(Scores { pooled: true, ..Scores::new("all", market, samples, forecasts) });
    }
    all
}

/// Writes every forecast beside what was observed, in full precision.
pub fn write_csv(
    path: &Path,
    market: &Market,
    samples: &[Sample],
    forecasts: &[Forecast],
) -> Result<()> {
    let failed = |e: csv::Error| super::output_error(path, e);
    let temporary = super::temporary(path)?;
    let mut file = csv::Writer::from_writer(&temporary);
    let header = ["ticker", "date", "forecast_price", "price", "forecast_volatility", "volatility"];
    file.write_record(header).map_err(failed)?;
    for (sample, forecast) in samples.iter().zip(forecasts) {
        let series = &market.series[sample.ticker];
        let numbers = [
            series.price[sample.t] * forecast.log_return.exp(),
            series.price[sample.t + 1],
            forecast.volatility,
            observed(market, sample).volatility,
        ];
        let mut record = vec![series.ticker.clone(), series.dates[sample.t + 1].to_string()];
        record.extend(numbers.map(|v| v.to_string()));
        file.write_record(record).map_err(failed)?;
    }
    file.flush().map_err(|e| super::output_error(path, e))?;
    drop(file);
    temporary.persist(path).map_err(|e| super::output_error(path, e))?;
    Ok(())
}

pub fn print(title: &str, scores: &[Scores]) {
    println!("\n{title}");
    println!(
        "         RMSE of the next       RMSE of 5-day volatility,            direction right"
    );
    println!(
        "         price (adjusted)       % a day                              (95 % interval)"
    );
    println!(
        "            model  as today       model  last 5 days  RiskMetrics    model                  always up"
    );
    for s in scores {
        let (share, low, high) = s.direction_share(1.96);
        // Prices of several tickers don't add up to anything, and their days aren't independent.
        let price = |v: f64| if s.pooled { "-".to_owned() } else { format!("{v:.4}") };
        let interval = match s.pooled {
            true => " ".repeat(14),
            false => format!("({:.1} to {:.1})", 100.0 * low, 100.0 * high),
        };
        let [model, last_five, risk_metrics] = s.volatility;
        println!(
            "{:<8} {:>8}  {:>8}    {model:>8.4}  {last_five:>11.4}  {risk_metrics:>11.4}    {:.1} % {interval}  {:.1} %",
            s.name,
            price(s.price[0]),
            price(s.price[1]),
            100.0 * share,
            100.0 * s.ups as f64 / s.direction.1.max(1) as f64,
        );
    }
}

/// One line that says where there is skill and where there is none.
pub fn verdict(scores: &[Scores]) -> String {
    let tickers: Vec<&Scores> = scores.iter().filter(|s| !s.pooled).collect();
    let list = |has: &dyn Fn(&Scores) -> bool| {
        let names: Vec<&str> = tickers.iter().filter(|s| has(s)).map(|s| s.name.as_str()).collect();
        match names.len() {
            0 => "for none".to_owned(),
            n if n == tickers.len() => "for all".to_owned(),
            _ => format!("for {} alone", names.join(", ")),
        }
    };
    let z = beyond_chance(tickers.len());
    format!(
        "In the test years the volatility forecast beats both baselines {}, beyond chance {}; the price \
         forecast beats \"as today\" {}, beyond chance {}; the direction is right more often than a \
         coin's beyond chance {}. (Beyond chance: {z:.2} standard errors, which luck exceeds for any of \
         {} tickers once in 40 times.)",
        list(&Scores::volatility_has_skill),
        list(&|s| s.volatility_has_skill() && s.gain[1].min(s.gain[2]) > z),
        list(&Scores::beats_as_today),
        list(&|s| s.beats_as_today() && s.gain[0] > z),
        list(&|s| s.direction_share(z).1 > 0.5),
        tickers.len(),
    )
}
