//! How the forecasts compare with doing nothing clever.

use std::path::Path;

use gatefold::Result;

use super::features::volatility;
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
    /// Days whose direction was right, of those on which the price moved.
    pub direction: (usize, usize),
}

impl Scores {
    pub fn new(name: &str, market: &Market, samples: &[Sample], forecasts: &[Forecast]) -> Scores {
        let mut scores = Scores { name: name.to_owned(), ..Scores::default() };
        for (sample, forecast) in samples.iter().zip(forecasts) {
            let (days, today) =
                (&market.days[sample.ticker], market.series[sample.ticker].price[sample.t]);
            let seen = observed(market, sample);
            let tomorrow = today * seen.log_return.exp();
            let prices = [today * forecast.log_return.exp(), today];
            for (sum, price) in scores.price.iter_mut().zip(prices) {
                *sum += (price - tomorrow).powi(2);
            }
            let last_five = volatility(&days.returns[sample.t - 4..=sample.t]);
            let volatilities = [forecast.volatility, last_five, days.ewma[sample.t]];
            for (sum, volatility) in scores.volatility.iter_mut().zip(volatilities) {
                *sum += (100.0 * (volatility - seen.volatility)).powi(2);
            }
            if seen.log_return != 0.0 {
                scores.direction.0 +=
                    usize::from((forecast.log_return > 0.0) == (seen.log_return > 0.0));
                scores.direction.1 += 1;
            }
        }
        let root = |sum: &mut f64| *sum = (*sum / samples.len() as f64).sqrt();
        scores.price.iter_mut().for_each(root);
        scores.volatility.iter_mut().for_each(root);
        scores
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
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary =
        tempfile::NamedTempFile::new_in(folder).map_err(|e| super::output_error(path, e))?;
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
    format!(
        "In the test years the volatility forecast beats both baselines {}; the price forecast beats \
         \"as today\" {}; the direction is better than a coin, beyond chance, {}.",
        list(&Scores::volatility_has_skill),
        list(&|s| s.price[0] < s.price[1]),
        list(&|s| s.direction_share().1 > 0.5),
    )
}
