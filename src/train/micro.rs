//! What one run of a training plan takes, from data on the host.

use std::ops::Range;

use super::{Loss, Reduction};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::model::time_major;
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
            lengths: self.data.has_lengths(),
            state: self.keep.is_some(),
            resets: self.keep.is_some(),
            ..Sequences::new(self.steps.len(), self.rows.len())
        }
    }

    /// Timesteps of a row inside the run.
    fn length(&self, row: usize) -> usize {
        self.data.length(row).clamp(self.steps.start, self.steps.end) - self.steps.start
    }

    /// Whether every row has ended before.
    pub(super) fn is_over(&self) -> bool {
        self.rows.iter().all(|&row| self.length(row) == 0)
    }

    /// Calls with the targets of each row and timestep that counts, as ranges of `y`, or of each row.
    fn counted(&self, shape: &StackShape, mut each: impl FnMut(&[f32])) {
        let y = self.data.y();
        let width: usize = y.data().len() / (self.data.len() * self.targets_of_a_row(shape));
        for &row in self.rows {
            let (first, count) = match shape.every_step() {
                true => (row * self.data.steps() + self.steps.start, self.length(row)),
                // A row's only target belongs to its last timestep.
                false => (row, usize::from(self.ends(row))),
            };
            each(&y.data()[first * width..][..count * width]);
        }
    }

    /// Whether a row's last timestep is inside the run.
    fn ends(&self, row: usize) -> bool {
        self.steps.contains(&(self.data.length(row) - 1))
    }

    fn targets_of_a_row(&self, shape: &StackShape) -> usize {
        shape.predictions(self.data.steps())
    }

    /// How much the targets count together, where the loss is a mean.
    pub(super) fn weight(&self, shape: &StackShape, loss: &Loss) -> f64 {
        if loss.reduction() == Reduction::Sum {
            return 1.0;
        }
        let mut weight = 0.0;
        self.counted(shape, |targets| match loss.is_of_classes() {
            true => weight += targets.iter().map(|&class| loss.counts(class)).sum::<f64>(),
            false => weight += targets.len() as f64,
        });
        weight
    }

    /// How many targets count.
    pub(super) fn counted_targets(&self, shape: &StackShape, loss: &Loss) -> f64 {
        let mut count = 0;
        self.counted(shape, |targets| {
            count += targets.iter().filter(|&&target| Some(target) != loss.ignored()).count();
        });
        count as f64
    }

    /// What a plan is fed with, up to the scale of the loss: the order is that of the plan's feed.
    pub(super) fn feed(&self, shape: &StackShape, scale: f32, out: &mut Vec<f32>) {
        self.input(shape, out);
        if self.data.has_lengths() {
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
        out.push(scale);
        if let Encoding::Embedding(tokens) = shape.encoding {
            let x = self.data.x().data();
            let at = |t: usize, row: usize| {
                let inside = t < self.length(row);
                inside.then(|| x[row * self.data.steps() + self.steps.start + t] as usize)
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

    fn time_major(&self, values: &[f32], width: usize, out: &mut Vec<f32>) {
        let size = (self.data.steps(), width);
        time_major(values, size, self.steps.clone(), self.rows, out);
    }
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

    let classes = loss.is_of_classes().then(|| shape.outputs());
    let checks =
        [("x", data.x(), tokens, None, true), ("y", data.y(), classes, loss.ignored(), every)];
    for (part, array, count, ignored, timed) in checks {
        let row = array.data().len() / data.len();
        let width = row / if timed { data.steps() } else { 1 };
        for (r, values) in array.data().chunks_exact(row).enumerate() {
            let end = if timed { data.length(r) * width } else { row };
            let valid = |v: f32| match count {
                None => v.is_finite(),
                Some(count) => Some(v) == ignored || index_in(v, count).is_some(),
            };
            let Some(at) = values[..end].iter().position(|&v| !valid(v)) else { continue };
            let place = match timed {
                true => format!("timestep {}, element {}", at / width, at % width),
                false => format!("element {at}"),
            };
            let expected = match (count, ignored) {
                (None, _) => "finite".to_owned(),
                (Some(count), Some(ignored)) => {
                    format!("a class from 0 to {}, or the ignored {ignored}", count - 1)
                }
                (Some(count), None) => format!("a token from 0 to {}", count - 1),
            };
            return Err(Error::Value {
                operation,
                name: format!("{part} of {name}, sequence {r}, {place}"),
                expected,
                got: values[at].to_string(),
            });
        }
    }
    Ok(())
}
