//! Results as a table, for people and in markdown.

use std::time::Duration;

use gatefold::Result;

use super::peak::Peak;
use super::shape::{Kind, Shape};
use super::work::Work;

/// What a row came to.
pub enum Outcome {
    /// It was verified and timed.
    Timed {
        /// The median of an iteration.
        median: Duration,
        /// How many were timed.
        samples: usize,
        /// Launches of one.
        dispatches: usize,
        /// Bytes that the device holds for it.
        bytes: u64,
        /// What was compared with the reference.
        verified: String,
    },
    /// It is right; nothing was timed.
    Tested(String),
    /// It was left out, for this reason.
    Skipped(String),
    /// Its results are wrong.
    Wrong(String),
}

impl Outcome {
    pub fn timed(
        work: &Work,
        (median, samples): (Duration, usize),
        verified: String,
    ) -> Result<Outcome> {
        let (dispatches, bytes) = (work.dispatches()?, work.bytes);
        Ok(Outcome::Timed { median, samples, dispatches, bytes, verified })
    }
}

/// The table of one executor, whose rows are printed as they come.
pub struct Table {
    executor: String,
    peak: Peak,
    /// The same in markdown.
    pub markdown: String,
}

/// Three digits that count, and a unit.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let last = units[units.len() - 1];
    let (size, unit) = *units.iter().find(|(size, _)| value >= *size).unwrap_or(&last);
    let value = value / size;
    let digits = if value >= 99.95 { 0 } else { usize::from(value < 9.995) + 1 };
    format!("{value:.digits$} {unit}")
}

fn seconds(time: Duration) -> String {
    scaled(time.as_secs_f64(), &[(1.0, "s"), (1e-3, "ms"), (1e-6, "us")])
}

fn bytes(count: u64) -> String {
    let units = [(1024.0 * 1024.0 * 1024.0, "GiB"), (1024.0 * 1024.0, "MiB"), (1024.0, "KiB")];
    scaled(count as f64, &units)
}

/// What stands above the rows of all executors.
pub fn head() {
    println!(
        "{:<10} {:<16} {:<16} {:>8} {:>10} {:>8} {:>20} {:>10} {:>9}  verified",
        "executor", "TxBxIxH", "what", "time", "us a step", "GFLOP/s", "", "dispatches", "bytes"
    );
}

impl Table {
    /// An empty one; prints the peak.
    pub fn new(executor: &str, peak: Peak) -> Table {
        let (flops, what) = (peak.flops / 1e9, &peak.what);
        println!("{executor}: {flops:.1} GFLOP/s are 100 %: {what}");
        let markdown = format!(
            "{flops:.1} GFLOP/s are 100 %: {what}.\n\n\
             | T x B x I x H | what | time | samples | us a step | GFLOP/s | % of {} | dispatches | bytes | verified |\n\
             |---|---|--:|--:|--:|--:|--:|--:|--:|---|\n",
            peak.short
        );
        Table { executor: executor.to_owned(), peak, markdown }
    }

    /// Adds a row and prints it.
    pub fn row(&mut self, shape: &Shape, kind: Kind, outcome: &Outcome) {
        let shown = format!("{:<10} {:<16} {kind:<16}", self.executor, shape.to_string());
        let empty = |said: String| {
            println!("{shown} {said}");
            format!("| {shape} | {kind} | | | | | | | | {said} |\n")
        };
        let line = match outcome {
            Outcome::Skipped(reason) => empty(format!("skipped: {reason}")),
            Outcome::Wrong(problem) => empty(format!("WRONG, not timed: {problem}")),
            Outcome::Tested(verified) => empty(format!("ok: {verified}")),
            Outcome::Timed { median, samples, dispatches, bytes: held, verified } => {
                let (taken, flop) = (median.as_secs_f64(), kind.flop(shape));
                let step = format!("{:.2}", 1e6 * taken / shape.steps as f64);
                let rate = format!("{:.3}", flop / taken / 1e9);
                let share = format!("{:.2}", 100.0 * flop / taken / self.peak.flops);
                let (time, held) = (seconds(*median), bytes(*held));
                let of = format!("{share} % of {}", self.peak.short);
                println!(
                    "{shown} {time:>8} {step:>10} {rate:>8} {of:>20} {dispatches:>10} {held:>9}  {verified}"
                );
                format!(
                    "| {shape} | {kind} | {time} | {samples} | {step} | {rate} | {share} | {dispatches} | {held} | {verified} |\n"
                )
            }
        };
        self.markdown.push_str(&line);
    }
}
