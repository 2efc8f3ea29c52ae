//! The result as markdown.

use std::fmt;

use contestant::{Kind, Result, Shape};

use crate::options::Options;
use crate::peers::{Pair, Peer, Place};
use crate::row::Row;

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
            Ok(Row { ours: a, peer: b, ratio, interval, apart }) => {
                let interval = match interval {
                    Some((low, high)) => format!("{low:.3} to {high:.3}"),
                    None => "none".to_owned(),
                };
                format!("| {} | {} | {ratio:.3} | {interval} | {:.0e} | |", time(a), time(b), apart)
            }
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
            "Medians of {} pairs of turns; the ratio is the median of the pairs' ratios, and below 1 \
             gatefold is faster. `apart` is the largest difference of the results, verified before.\n",
            self.pairs
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

/// With three digits.
fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "µs"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}
