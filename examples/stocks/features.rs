//! What the model sees of a day, and what it is asked: inputs of day t are made of days up to t,
//! targets of the days after it.

use super::prices::Series;

/// Days before the first one that has all inputs: the longest average, and a day for the first
/// return.
pub const LOOKBACK: usize = 22;

/// Days whose volatility is forecast.
pub const HORIZON: usize = 5;

/// RiskMetrics' decay of daily variance (J.P. Morgan/Reuters, 1996).
pub const LAMBDA: f64 = 0.94;

/// Below this a logarithm of a volatility would run away; a hundredth of a percent a day.
const FLOOR: f64 = 1e-4;

/// One ticker's days as numbers.
#[derive(Clone, Debug)]
pub struct Days {
    /// Log returns; the first is zero.
    pub returns: Vec<f64>,
    /// RiskMetrics' volatility after each day, a forecast for the next; zero before
    /// [`LOOKBACK`].
    pub ewma: Vec<f64>,
    /// The inputs of each day; empty before [`LOOKBACK`].
    pub inputs: Vec<Vec<f64>>,
}

/// The square root of the mean squared return.
pub fn volatility(returns: &[f64]) -> f64 {
    (returns.iter().map(|r| r * r).sum::<f64>() / returns.len() as f64).sqrt()
}

fn log(volatility: f64) -> f64 {
    volatility.max(FLOOR).ln()
}

impl Days {
    pub fn new(series: &Series) -> Days {
        let price = &series.price;
        let mut returns = vec![0.0];
        returns.extend(price.windows(2).map(|p| (p[1] / p[0]).ln()));
        let mut days = Days { ewma: vec![0.0; returns.len()], inputs: Vec::new(), returns };
        for t in 0..price.len() {
            let inputs = if t < LOOKBACK { Vec::new() } else { days.day(series, t) };
            days.inputs.push(inputs);
        }
        days
    }

    fn day(&mut self, series: &Series, t: usize) -> Vec<f64> {
        let r = &self.returns;
        let past = |n: usize| &r[t + 1 - n..t + 1];
        let variance = match t {
            LOOKBACK => volatility(past(LOOKBACK)).powi(2),
            _ => LAMBDA * self.ewma[t - 1].powi(2) + (1.0 - LAMBDA) * r[t] * r[t],
        };
        self.ewma[t] = variance.sqrt();
        let mut inputs = vec![
            r[t],
            log(r[t].abs()),
            log(volatility(past(5))),
            log(volatility(past(LOOKBACK))),
            log(self.ewma[t]),
        ];
        if let Some(range) = &series.range {
            let of = |n: usize| range[t + 1 - n..t + 1].iter().sum::<f64>() / n as f64;
            inputs.extend([log(of(1)), log(of(5)), log(of(LOOKBACK))]);
        }
        if let Some(volume) = &series.volume {
            let mean = volume[t + 1 - LOOKBACK..t + 1].iter().sum::<f64>() / LOOKBACK as f64;
            inputs.push(((volume[t] + 1.0) / (mean + 1.0)).ln());
        }
        let weekday = f64::from(series.dates[t].weekday().number_days_from_monday());
        let angle = std::f64::consts::TAU * weekday / 7.0;
        inputs.extend([angle.sin(), angle.cos()]);
        inputs
    }

    /// The next day's return, and the log of the next [`HORIZON`] days' volatility.
    pub fn target(&self, t: usize) -> [f64; 2] {
        let next = &self.returns[t + 1..=t + HORIZON];
        [next[0], log(volatility(next))]
    }
}
