//! What one run of a training plan takes, from data on the host.

use std::ops::Range;

use super::Loss;
use crate::data::{Dataset, time_major};
use crate::error::{Error, Result};
use crate::plan::{Encoding, Sequences, StackShape};
use crate::reference::{index_in, sort_tokens};
use crate::tensor::expect_shape;

/// Some timesteps of some sequences: what one run takes.
#[derive(Clone, Debug)]
pub(super) struct Micro<'a> {
    pub(super) data: &'a Dataset,
    pub(super) rows: &'a [usize],
    pub(super) steps: Range<usize>,
    /// Where states are carried: whether each row goes on from what was before.
    pub(super) keep: Option<Vec<bool>>,
}

impl Micro<'_> {
    /// The shape of the run.
    pub(super) fn sequences(&self) -> Sequences {
        Sequences {
            lengths: self.data.lengths().is_some(),
            state: self.keep.is_some(),
            resets: self.keep.is_some(),
            weights: self.data.weights().is_some(),
            ..Sequences::new(self.steps.len(), self.rows.len())
        }
    }

    /// Timesteps of a row inside the run.
    fn length(&self, row: usize) -> usize {
        self.data.length(row).clamp(self.steps.start, self.steps.end) - self.steps.start
    }

    /// Whether no row has a timestep or a target in it.
    pub(super) fn is_over(&self, shape: &StackShape) -> bool {
        shape.every_step() && self.rows.iter().all(|&row| self.length(row) == 0)
    }

    /// Calls with targets that count and how much: those of a row, or of a timestep where they have weights.
    fn counted(&self, shape: &StackShape, mut each: impl FnMut(&[f32], f64)) {
        let data = self.data;
        let width: usize = data.y().data().len() / (data.len() * self.targets_of_a_row(shape));
        let targets =
            |first: usize, count: usize| &data.y().data()[first * width..][..count * width];
        for &row in self.rows {
            let length = self.length(row);
            let start = data.start(row) + self.steps.start;
            match (shape.every_step(), data.weights().is_some()) {
                (true, _) if length == 0 => {}
                (true, false) => each(targets(row * data.steps() + start, length), 1.0),
                (true, true) => (start..start + length).for_each(|t| {
                    let weight = data.weight(row, t);
                    if weight > 0.0 {
                        each(targets(row * data.steps() + t, 1), weight.into());
                    }
                }),
                // A row's only target belongs to its last timestep.
                (false, _) => {
                    let weight = data.weight(row, 0);
                    if self.ends(row) && weight > 0.0 {
                        each(targets(row, 1), weight.into());
                    }
                }
            }
        }
    }

    /// Whether a row's last timestep is inside the run; a row without timesteps ends where all begin.
    fn ends(&self, row: usize) -> bool {
        let last = self.data.length(row).saturating_sub(1);
        self.steps.contains(&last)
    }

    fn targets_of_a_row(&self, shape: &StackShape) -> usize {
        shape.predictions(self.data.steps())
    }

    /// How much the targets count together.
    pub(super) fn weight(&self, shape: &StackShape, loss: &Loss) -> f64 {
        let mut sum = 0.0;
        self.counted(shape, |targets, weight| {
            sum += weight
                * match loss.is_of_classes() {
                    true => targets.iter().map(|&class| loss.counts(class)).sum::<f64>(),
                    false => targets.len() as f64,
                };
        });
        sum
    }

    /// The same without what classes count.
    pub(super) fn weight_of_targets(&self, shape: &StackShape, loss: &Loss) -> f64 {
        let mut sum = 0.0;
        self.counted(shape, |targets, weight| {
            let counts = |target: &&f32| Some(**target) != loss.ignored();
            sum += weight * targets.iter().filter(counts).count() as f64;
        });
        sum
    }

    /// What a plan is fed with, up to the scale of the loss: the order is that of the plan's feed.
    pub(super) fn feed(&self, shape: &StackShape, scale: f32, out: &mut Vec<f32>) {
        self.input(shape, out);
        if self.data.lengths().is_some() {
            out.extend(self.rows.iter().map(|&row| self.length(row) as f32));
        }
        if let Some(keep) = &self.keep {
            let number = |is: bool| f32::from(u8::from(is));
            out.extend(keep.iter().map(|&keep| number(keep)));
            if shape.learned_state {
                out.extend(keep.iter().map(|&keep| number(!keep)));
            }
        }
        self.target(shape, out);
        self.weights(shape, out);
        out.push(scale);
        if let Encoding::Embedding(tokens) = shape.encoding {
            let x = self.data.x().data();
            let at = |t: usize, row: usize| {
                let length = self.length(row);
                if t >= length {
                    return None;
                }
                // The layers' first timestep is the row's last one in reverse.
                let t = if shape.reverse { length - 1 - t } else { t };
                let start = self.data.start(row) + self.steps.start;
                let token = x[row * self.data.steps() + start + t] as usize;
                // What is read of padding changes nothing.
                Some(token).filter(|_| shape.padding_idx != Some(token))
            };
            let positions =
                (0..self.steps.len()).flat_map(|t| self.rows.iter().map(move |&row| at(t, row)));
            let (order, offsets) = sort_tokens(positions, tokens);
            out.extend(order);
            out.extend(offsets);
        }
    }

    /// The input, time-major.
    pub(super) fn input(&self, shape: &StackShape, out: &mut Vec<f32>) {
        self.time_major(self.data.x().data(), shape.given(), out);
    }

    /// The lengths inside the run.
    pub(super) fn lengths(&self) -> Vec<f32> {
        self.rows.iter().map(|&row| self.length(row) as f32).collect()
    }

    /// The targets, time-major.
    pub(super) fn target(&self, shape: &StackShape, out: &mut Vec<f32>) {
        let y = self.data.y().data();
        let width = y.len() / (self.data.len() * self.targets_of_a_row(shape));
        if shape.every_step() {
            return self.time_major(y, width, out);
        }
        for &row in self.rows {
            out.extend_from_slice(&y[row * width..][..width]);
        }
    }

    /// How much each prediction counts, time-major, where that differs.
    pub(super) fn weights(&self, shape: &StackShape, out: &mut Vec<f32>) {
        match self.data.weights() {
            None => {}
            Some(weights) if weights.shape().len() == 2 => {
                self.time_major(weights.data(), 1, out);
            }
            Some(_) => {
                let steps = if shape.every_step() { self.steps.len() } else { 1 };
                let of_rows = self.rows.iter().map(|&row| self.data.weight(row, 0));
                (0..steps).for_each(|_| out.extend(of_rows.clone()));
            }
        }
    }

    fn time_major(&self, values: &[f32], width: usize, out: &mut Vec<f32>) {
        let size = (self.data.steps(), width);
        let start = |row| self.data.start(row);
        time_major(values, size, self.steps.clone(), self.rows, start, out);
    }
}

/// Checks that something in a data set counts.
pub(super) fn expect_something(
    data: &Dataset,
    operation: &'static str,
    name: &str,
    shape: &StackShape,
    loss: &Loss,
) -> Result<()> {
    let rows: Vec<usize> = (0..data.len()).collect();
    let whole = Micro { data, rows: &rows, steps: 0..data.steps(), keep: None };
    if whole.weight(shape, loss) > 0.0 {
        return Ok(());
    }
    Err(Error::Value {
        operation,
        name: name.to_owned(),
        expected: "at least one target that counts".to_owned(),
        got: "none: all are ignored, have the weight 0, or stand behind their sequence's end"
            .to_owned(),
    })
}

/// Checks that a model can learn from a data set, or be measured by it.
pub(super) fn expect(
    data: &Dataset,
    operation: &'static str,
    name: &str,
    shape: &StackShape,
    loss: &Loss,
) -> Result<()> {
    let [n, t] = [("N", Some(data.len())), ("T", Some(data.steps()))];
    let (input, outputs) = (("I", Some(shape.input)), ("O", Some(shape.outputs())));
    let tokens = shape.encoding.tokens(shape.input);
    let x = [("N", None), ("T", None), input];
    let x = &x[..if tokens.is_some() { 2 } else { 3 }];
    expect_shape(operation, &format!("x of {name}"), data.x().shape(), x)?;
    let every = shape.every_step();
    let y = match (every, loss.is_of_classes()) {
        (false, false) => vec![n, outputs],
        (false, true) => vec![n],
        (true, false) => vec![n, t, outputs],
        (true, true) => vec![n, t],
    };
    expect_shape(operation, &format!("y of {name}"), data.y().shape(), &y)?;

    if let Some(weights) = data.weights()
        && !(every && weights.shape().len() == 2)
    {
        expect_shape(operation, &format!("weights of {name}"), weights.shape(), &[n])?;
    }

    let input = tokens.map_or(Numbers::Finite, Numbers::Tokens);
    let targets = match (loss.ignored(), loss.is_binary()) {
        (Some(ignored), _) => Numbers::Classes { count: shape.outputs(), ignored },
        (None, true) => Numbers::Shares,
        (None, false) => Numbers::Finite,
    };
    let checks = [("x", data.x(), input, true), ("y", data.y(), targets, every)];
    for (part, array, numbers, timed) in checks {
        let row = array.data().len() / data.len();
        let width = row / if timed { data.steps() } else { 1 };
        for (r, values) in array.data().chunks_exact(row).enumerate() {
            let (start, count) = match timed {
                true => (data.start(r) * width, data.length(r) * width),
                false => (0, row),
            };
            // Whatever stands in a gap reaches nothing.
            let gap = |at: usize| {
                part == "y" && data.weight(r, if timed { at / width } else { 0 }) == 0.0
            };
            let bad = |&(at, v): &(usize, &f32)| !numbers.holds(*v) && !gap(at);
            let own = values.iter().enumerate().skip(start).take(count);
            let Some((at, got)) = own.clone().find(bad) else { continue };
            let place = match timed {
                true => format!("timestep {}, element {}", at / width, at % width),
                false => format!("element {at}"),
            };
            return Err(Error::Value {
                operation,
                name: format!("{part} of {name}, sequence {r}, {place}"),
                expected: numbers.to_string(),
                got: got.to_string(),
            });
        }
    }
    Ok(())
}

/// What the numbers of an input or a target may be.
#[derive(Clone, Copy)]
enum Numbers {
    Finite,
    /// Targets of yes or no, and anything between.
    Shares,
    /// Tokens below so many.
    Tokens(usize),
    Classes {
        count: usize,
        ignored: f32,
    },
}

impl Numbers {
    fn holds(self, v: f32) -> bool {
        match self {
            Numbers::Finite => v.is_finite(),
            Numbers::Shares => (0.0..=1.0).contains(&v),
            Numbers::Tokens(count) => index_in(v, count).is_some(),
            Numbers::Classes { count, ignored } => v == ignored || index_in(v, count).is_some(),
        }
    }
}

impl std::fmt::Display for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Numbers::Finite => f.write_str("finite"),
            Numbers::Shares => f.write_str("from 0 to 1, as a binary cross-entropy takes them"),
            Numbers::Tokens(count) => write!(f, "a token from 0 to {}", count - 1),
            Numbers::Classes { count, ignored } => {
                write!(f, "a class from 0 to {}, or the ignored {ignored}", count - 1)
            }
        }
    }
}
