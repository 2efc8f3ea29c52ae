//! How the forecasts compare with doing nothing clever.

use std::path::Path;

use gatefold::Result;

use super::features::{HORIZON, volatility};
use super::forecast::{Forecast, Market, Sample, observed};

/// The name of the row of all tickers.
const ALL: &str = "all";

/// One ticker's scores over a period, or those of all.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    pub name: String,
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
            }
        }
        let root = |sum: &mut f64| *sum = (*sum / samples.len() as f64).sqrt();
        scores.price.iter_mut().for_each(root);
        scores.volatility.iter_mut().for_each(root);
        // The volatilities of neighbouring days share days.
        for ((gain, gains), lags) in
            scores.gain.iter_mut().zip(&gains).zip([0, HORIZON - 1, HORIZON - 1])
        {
            *gain = standard_errors(gains, lags);
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

    /// The share of directions that were right, with its 95 % interval (Wilson, 1927).
    pub fn direction_share(&self) -> (f64, f64, f64) {
        let (n, z) = (self.direction.1.max(1) as f64, 1.96f64);
        let p = self.direction.0 as f64 / n;
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        (p, middle - half, middle + half)
    }
}

/// The mean over its standard error, as Diebold and Mariano (1995) compare forecasts, with the
/// autocovariances of so many lags (Newey and West, 1987).
fn standard_errors(gains: &[f64], lags: usize) -> f64 {
    let n = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / n;
    let covariance = |lag: usize| {
        let pairs = gains.iter().zip(gains.iter().skip(lag));
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / n
    };
    let weight = |lag: usize| 2.0 * (1.0 - lag as f64 / (lags + 1) as f64);
    let variance = covariance(0) + (1..=lags).map(|lag| weight(lag) * covariance(lag)).sum::<f64>();
    if variance > 0.0 { mean / (variance / n).sqrt() } else { 0.0 }
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
        all.push(Scores::new(ALL, market, samples, forecasts));
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
        "         RMSE of the next price     RMSE of 5-day volatility, % a day    direction right"
    );
    println!(
        "            model  as today          model  last 5 days  RiskMetrics     share (95 % interval)"
    );
    for s in scores {
        let (share, low, high) = s.direction_share();
        // Prices of several tickers don't add up to anything.
        let price = |v: f64| if s.name == ALL { "-".to_owned() } else { format!("{v:.4}") };
        println!(
            "{:<8} {:>8}  {:>8}       {:>8.4}  {:>11.4}  {:>11.4}     {:.1} % ({:.1} to {:.1})",
            s.name,
            price(s.price[0]),
            price(s.price[1]),
            s.volatility[0],
            s.volatility[1],
            s.volatility[2],
            100.0 * share,
            100.0 * low,
            100.0 * high
        );
    }
}

/// One line that says where there is skill and where there is none.
pub fn verdict(scores: &[Scores]) -> String {
    let tickers: Vec<&Scores> =
        scores.iter().filter(|s| s.name != ALL || scores.len() == 1).collect();
    let count = |has: &dyn Fn(&Scores) -> bool| tickers.iter().filter(|s| has(s)).count();
    let list = |has: &dyn Fn(&Scores) -> bool| match count(has) {
        0 => "for none of them".to_owned(),
        n if n == tickers.len() => "for all of them".to_owned(),
        _ => {
            let names = tickers.iter().filter(|s| has(s)).map(|s| s.name.as_str());
            format!("for {} alone", names.collect::<Vec<_>>().join(", "))
        }
    };
    // In one direction, at 97.5 %.
    let beyond = |gain: f64| gain > 1.96;
    format!(
        "In the test years the volatility forecast beats both baselines {}, beyond chance {}; the price \
         forecast beats \"as today\" {}, beyond chance {}; the direction is better than a coin, beyond \
         chance, {}. (Beyond chance: 97.5 % in a test by itself; of many tickers some pass by luck.)",
        list(&Scores::volatility_has_skill),
        list(&|s| s.volatility_has_skill() && beyond(s.gain[1].min(s.gain[2]))),
        list(&Scores::beats_as_today),
        list(&|s| s.beats_as_today() && beyond(s.gain[0])),
        list(&|s| s.direction_share().1 > 0.5),
    )
}
