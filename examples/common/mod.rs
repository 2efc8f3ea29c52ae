//! What the programs share: options, a folder to write to, training behind a progress bar.

#![allow(dead_code, reason = "not every program uses all of it")]

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{ExitCode, Termination};
use std::str::FromStr;

use gatefold::train::{Report, Trainer};
use gatefold::{Dataset, Error, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// The number behind an option; an error names the option.
pub fn number<T>(
    parser: &mut lexopt::Parser,
    option: &str,
    range: RangeInclusive<T>,
) -> std::result::Result<T, lexopt::Error>
where
    T: FromStr<Err: Display> + PartialOrd + Display,
{
    let text = parser.value()?;
    let text = text.to_string_lossy();
    let refused = |problem: String| format!("{option}: {text:?} {problem}").into();
    let number = text.parse().map_err(|e| refused(format!("is not a number: {e}")))?;
    let (least, most) = (range.start(), range.end());
    match range.contains(&number) {
        true => Ok(number),
        false => Err(refused(format!("is not from {least} to {most}"))),
    }
}

/// Makes a folder and sees that a file can be written there: before any work, not after it.
pub fn folder(path: &Path) -> Result<()> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(io)?;
    tempfile::tempfile_in(path).map(|_| ()).map_err(io)
}

/// Trains behind a progress bar, and prints the mean loss of every so many epochs.
pub fn fit(trainer: &mut Trainer, data: &Dataset, every: usize) -> Result<Report> {
    let style = ProgressStyle::with_template("  [{bar:30}] {pos}/{len} epochs, {elapsed}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style);
    let report = trainer.fit(data, None, |p| {
        bar.set_length(p.epochs as u64);
        bar.set_position(p.epoch as u64);
        if p.epoch == 1 || p.epoch.is_multiple_of(every) {
            let line = format!("Epoch [{}/{}], Loss: {:.4}", p.epoch, p.epochs, p.loss);
            bar.suspend(|| println!("{line}"));
        }
    })?;
    bar.finish_and_clear();
    Ok(report)
}

/// The options of a program that has none: `None` where only help was wanted.
pub fn no_options() -> std::result::Result<Option<()>, lexopt::Error> {
    use lexopt::prelude::*;
    match lexopt::Parser::from_env().next()? {
        None => Ok(Some(())),
        Some(Long("help") | Short('h')) => Ok(None),
        Some(argument) => Err(argument.unexpected()),
    }
}

/// Runs a program with its options, or prints its help, or what is wrong.
pub fn main<O, T: Termination, E: Display>(
    help: &str,
    options: std::result::Result<Option<O>, lexopt::Error>,
    run: impl FnOnce(&O) -> std::result::Result<T, E>,
) -> ExitCode {
    let outcome = match options {
        Ok(None) => {
            print!("{help}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(options)) => run(&options).map_err(|e| e.to_string()),
        Err(error) => Err(format!("{error}; see --help")),
    };
    match outcome {
        Ok(outcome) => outcome.report(),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
