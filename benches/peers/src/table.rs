//! The result as markdown.

use std::fmt;

use contestant::{Kind, Result, Shape};

use crate::options::Options;
use crate::peers::{Pair, Peer, Place};
use crate::row::Row;

/// The share of the machine that may be busy between turns without a note.
const DISTURBED: f64 = 0.1;

/// Everything that was measured, and what wasn't.
pub struct Table {
    pairs: usize,
    lines: Vec<(Kind, String)>,
    kinds: Vec<Kind>,
    /// Who ran, in their own words.
    present: Vec<String>,
    missing: Vec<String>,
}

impl Table {
    pub fn new(options: &Options) -> Table {
        Table {
            pairs: options.pairs,
            lines: Vec::new(),
            kinds: options.kinds.clone(),
            present: Vec::new(),
            missing: Vec::new(),
        }
    }

    pub fn present(&mut self, peer: &Peer, pair: &Pair) {
        for line in [pair.ours.about.clone(), format!("{}: {}", peer.name, pair.peer.about)] {
            if !self.present.contains(&line) {
                self.present.push(line);
            }
        }
    }

    pub fn missing(&mut self, peer: &Peer, reason: &str) {
        self.missing.push(format!("{}: {reason}", peer.name));
    }

    pub fn add(
        &mut self,
        peer: &Peer,
        (kind, Shape { steps, batch, input, hidden }): (Kind, Shape),
        result: std::result::Result<Row, String>,
    ) {
        let ours = if peer.place == Place::Cpu { "CPU" } else { "GPU" };
        let line = match result {
            Ok(row) => cells(&row),
            // A reason may hold anything; a cell holds no bar.
            Err(reason) => format!("| | | | | | not timed: {} |", reason.replace('|', "/")),
        };
        let line = format!("| {steps}, {batch}, {input}, {hidden} | {} | {ours} {line}", peer.name);
        eprintln!("{kind} {line}");
        self.lines.push((kind, line));
    }

    /// Writes what there is so far to the file that was asked for.
    pub fn write(&self, options: &Options) -> Result<()> {
        match &options.out {
            Some(path) => Ok(std::fs::write(path, self.to_string())?),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &kind in &self.kinds {
            writeln!(f, "## {kind}\n")?;
            writeln!(
                f,
                "| T, B, I, H | peer | gatefold on | gatefold | peer | gatefold / peer | 95 % interval | \
                 apart | |"
            )?;
            writeln!(f, "|---|---|---|---:|---:|---:|---:|---:|---|")?;
            for (_, line) in self.lines.iter().filter(|(of, _)| *of == kind) {
                writeln!(f, "{line}")?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "Pairs of turns: {}. Times are medians, the ratio is the median of the pairs' ratios, and \
             below 1 gatefold is faster. `apart` is the largest difference of the results, verified \
             before.\n\n{}\n",
            self.pairs,
            machine()
        )?;
        for (title, lines) in [("Contestants", &self.present), ("Missing", &self.missing)] {
            if !lines.is_empty() {
                writeln!(f, "{title}:\n")?;
            }
            for line in lines {
                writeln!(f, "- {line}")?;
            }
            if !lines.is_empty() {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// What a row measured, from gatefold's time on.
fn cells(row: &Row) -> String {
    let interval = match row.interval {
        Some((low, high)) => format!("{} to {}", digits(low), digits(high)),
        None => "none".to_owned(),
    };
    let [ours, peer, ratio] = [time(row.ours), time(row.peer), digits(row.ratio)];
    let note = match row.busy {
        Some(busy) if busy > DISTURBED => format!("machine {:.0} % busy", 100.0 * busy),
        _ => String::new(),
    };
    format!("| {ours} | {peer} | {ratio} | {interval} | {:.0e} | {note} |", row.apart)
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{} µs", digits(s * 1e6)),
        s if s < 1.0 => format!("{} ms", digits(s * 1e3)),
        s => format!("{} s", digits(s)),
    }
}

/// A positive number with three digits that count.
fn digits(value: f64) -> String {
    let decimals = (2.0 - value.log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.decimals$}")
}

/// What all this ran on, as far as the system says.
fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let threads = std::thread::available_parallelism().map_or(0, |threads| threads.get());
    format!(
        "Machine: {}, {threads} hardware threads, {} {}.",
        processor.as_deref().unwrap_or("a processor without a name"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_in_its_cell() {
        let interval = Some((0.5, 0.75));
        let row = Row { ours: 1e-3, peer: 2e-6, ratio: 0.625, interval, apart: 3e-7, busy: None };
        assert_eq!(cells(&row), "| 1.00 ms | 2.00 µs | 0.625 | 0.500 to 0.750 | 3e-7 |  |");
        assert!(cells(&Row { busy: Some(0.3), ..row }).ends_with("| machine 30 % busy |"));
    }

    #[test]
    fn three_digits() {
        let shown = [0.000_012_34, 0.123_4, 1.234, 12.34, 123.4, 1234.0].map(digits);
        assert_eq!(shown, ["0.0000123", "0.123", "1.23", "12.3", "123", "1234"]);
        assert_eq!(time(0.012_34), "12.3 ms");
    }
}
