//! Sequences of different lengths as one array.

use super::values::Values;
use crate::error::{Error, Result};
use crate::tensor::Array;

/// Sequences with zeros behind their ends.
pub(super) struct Padded {
    pub(super) array: Array,
    pub(super) lengths: Vec<usize>,
}

/// `[N, T, I]` of features, or `[N, T]` of tokens.
pub(super) fn pad<S: Into<Values>>(
    operation: &'static str,
    sequences: impl IntoIterator<Item = S>,
) -> Result<Padded> {
    let sequences: Vec<Values> = sequences.into_iter().map(Into::into).collect();
    let refused = |expected: &str, got: &str| {
        let (expected, got) = (expected.to_owned(), got.to_owned());
        Err(Error::Value { operation, name: "sequences".to_owned(), expected, got })
    };
    let Some(first) = sequences.first() else { return refused("at least one", "none") };
    if !matches!(first.shape().len(), 1 | 2) {
        return Err(unlike(operation, "sequence 0", "[T, I], or [T] of tokens", first));
    }
    alike(operation, "sequence", &sequences, 1)?;
    let lengths: Vec<usize> = sequences.iter().map(Values::len).collect();
    let steps = lengths.iter().copied().max().unwrap_or(0);
    if steps == 0 {
        return refused("one with a timestep among them", "none");
    }
    Ok(Padded { array: stack(operation, "sequence", &sequences, Some(steps))?, lengths })
}

/// `[N]` or `[N, O]`, or, where there is a target for each timestep, `[N, T]` or `[N, T, O]`.
pub(super) fn pad_targets<Y: Into<Values>>(
    operation: &'static str,
    targets: impl IntoIterator<Item = Y>,
    lengths: &[usize],
    steps: usize,
) -> Result<Array> {
    let targets: Vec<Values> = targets.into_iter().map(Into::into).collect();
    if targets.len() != lengths.len() {
        return Err(Error::Value {
            operation,
            name: "targets".to_owned(),
            expected: format!("{}, one for each sequence", lengths.len()),
            got: targets.len().to_string(),
        });
    }
    let timed = targets[0].is_timed();
    if targets[0].shape().len() > 2 {
        let expected = "a class, [O], or, for each timestep, [T] of classes or [T, O]";
        return Err(unlike(operation, "target 0", expected, &targets[0]));
    }
    alike(operation, "target", &targets, usize::from(timed))?;
    let other = |&(target, length): &(&Values, &usize)| target.len() != *length;
    if let Some(at) = targets.iter().zip(lengths).position(|pair| timed && other(&pair)) {
        let expected = format!("{} timesteps, as sequence {at} has", lengths[at]);
        return Err(unlike(operation, &format!("target {at}"), &expected, &targets[at]));
    }
    stack(operation, "target", &targets, timed.then_some(steps))
}

/// Checks that all have the sizes of the first, from the `from`th on.
fn alike(operation: &'static str, what: &str, all: &[Values], from: usize) -> Result<()> {
    let first = all[0].shape();
    let same = |values: &Values| {
        let shape = values.shape();
        shape.len() == first.len() && shape[from..] == first[from..]
    };
    match all.iter().position(|values| !same(values)) {
        None => Ok(()),
        Some(at) => {
            let mut sizes: Vec<String> = vec!["T".to_owned(); from];
            sizes.extend(first[from..].iter().map(usize::to_string));
            let expected = format!("[{}], as the first", sizes.join(", "));
            Err(unlike(operation, &format!("{what} {at}"), &expected, &all[at]))
        }
    }
}

fn unlike(operation: &'static str, tensor: &str, expected: &str, got: &Values) -> Error {
    Error::Shape {
        operation,
        tensor: tensor.to_owned(),
        expected: expected.to_owned(),
        got: format!("{:?}", got.shape()),
    }
}

/// One below the other, each brought to so many timesteps where that is asked for.
fn stack(
    operation: &'static str,
    what: &str,
    all: &[Values],
    steps: Option<usize>,
) -> Result<Array> {
    let mut shape = vec![all.len()];
    shape.extend_from_slice(all[0].shape());
    if let Some(steps) = steps {
        shape[1] = steps;
    }
    let row: usize = shape[1..].iter().product();
    let mut data = Vec::new();
    for (at, values) in all.iter().enumerate() {
        data.extend_from_slice(values.data(operation, &format!("{what} {at}"))?);
        data.resize((at + 1) * row, 0.0);
    }
    Array::checked(operation, data, &shape)
}
