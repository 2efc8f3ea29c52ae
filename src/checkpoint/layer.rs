//! One direction of one layer in PyTorch's layout, and how it is looked up.

use super::StateDict;
use crate::error::{Error, Result};
use crate::tensor::Array;

/// A size with its name, and its value where that is known.
pub(super) type Size = (&'static str, Option<usize>);

/// Finds tensors by name and gathers everything that is wrong with them.
pub(super) struct Lookup<'a> {
    tensors: &'a [(String, Array)],
    problems: Vec<String>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(tensors: &'a [(String, Array)]) -> Lookup<'a> {
        Lookup { tensors, problems: Vec::new() }
    }

    /// The tensor of this name, where there is one.
    pub(super) fn get(&self, name: &str) -> Option<&'a Array> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, array)| array)
    }

    pub(super) fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// The tensor of this name, which has to be there and, by `fits`, of the right shape.
    pub(super) fn expect(
        &mut self,
        name: &str,
        sizes: &[Size],
        fits: impl Fn(&Array) -> bool,
    ) -> Option<&'a Array> {
        if self.tensors.iter().filter(|(n, _)| n == name).count() > 1 {
            self.problem(format!("{name} stands twice"));
            return None;
        }
        match self.get(name) {
            Some(array) if fits(array) => return Some(array),
            Some(array) => self.problem(format!(
                "{name} has shape {:?} instead of {}",
                array.shape(),
                listed(sizes)
            )),
            None => self.problem(format!("{name} {} is missing", listed(sizes))),
        }
        None
    }

    /// `value`, where nothing was wrong.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Error::StateDict { problem: self.problems.join("; ") }),
        }
    }
}

/// Whether an array has these sizes, as far as they are known.
pub(super) fn has_sizes(array: &Array, sizes: &[Size]) -> bool {
    let mut pairs = array.shape().iter().zip(sizes);
    array.shape().len() == sizes.len()
        && pairs.all(|(&size, (_, wanted))| wanted.is_none_or(|wanted| wanted == size))
}

fn listed(sizes: &[Size]) -> String {
    let sizes = sizes.iter().map(|(name, size)| match size {
        Some(size) => size.to_string(),
        None => (*name).to_owned(),
    });
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}

/// One direction of one layer.
pub(super) struct Layer<'a> {
    pub(super) hidden: usize,
    pub(super) input: usize,
    /// `[4H, I]`.
    pub(super) weight_ih: &'a [f32],
    /// `[4H, H]`.
    pub(super) weight_hh: &'a [f32],
    /// `[4H]`.
    pub(super) bias_ih: Option<&'a [f32]>,
    /// `[4H]`.
    pub(super) bias_hh: Option<&'a [f32]>,
    /// `[3H]` of i, f and o.
    pub(super) peepholes: Option<&'a [f32]>,
}

impl<'a> Layer<'a> {
    /// The layer whose names end in `suffix`; where its `(H, I)` aren't given, they are those of
    /// its `weight_ih`.
    pub(super) fn find(
        lookup: &mut Lookup<'a>,
        suffix: &str,
        sizes: Option<(usize, usize)>,
    ) -> Option<Layer<'a>> {
        let projection = format!("weight_hr_{suffix}");
        if lookup.get(&projection).is_some() {
            lookup.problem(format!("{projection}, a projection, can't be converted"));
            return None;
        }
        let [ih, hh, bias_ih, bias_hh] = names(suffix);
        let shape = |name: &str| match *lookup.get(name)?.shape() {
            [rows, columns] => Some((rows, columns)),
            _ => None,
        };
        let (hidden, input) = match (sizes, shape(&ih)) {
            (Some((hidden, input)), _) => (Some(hidden), Some(input)),
            (None, Some((rows, input))) if rows % 4 == 0 => (Some(rows / 4), Some(input)),
            _ => (shape(&hh).map(|(_, hidden)| hidden), None),
        };
        let rows = ("4H", hidden.map(|hidden| 4 * hidden));
        let mut weight = |name: &str, columns: Size| {
            // Rows that tell no `H` aren't those of four gates.
            let wanted = [rows, columns];
            lookup.expect(name, &wanted, |a| hidden.is_some() && has_sizes(a, &wanted))
        };
        let weight_ih = weight(&ih, ("I", input));
        let weight_hh = weight(&hh, ("H", hidden));
        let mut bias = |name: &str| {
            lookup.get(name)?;
            lookup.expect(name, &[rows], |a| has_sizes(a, &[rows])).map(Array::data)
        };
        let (bias_ih, bias_hh) = (bias(&bias_ih), bias(&bias_hh));
        let peepholes = format!("weight_peephole_{suffix}");
        let peepholes = lookup.get(&peepholes).and_then(|_| {
            let wanted = [("3H", hidden.map(|hidden| 3 * hidden))];
            lookup.expect(&peepholes, &wanted, |a| has_sizes(a, &wanted)).map(Array::data)
        });
        let (hidden, input) = hidden.zip(input)?;
        let (weight_ih, weight_hh) = (weight_ih?.data(), weight_hh?.data());
        Some(Layer { hidden, input, weight_ih, weight_hh, bias_ih, bias_hh, peepholes })
    }

    /// The layer, where the format that it is converted to has no peepholes.
    pub(super) fn without_peepholes(self, lookup: &mut Lookup<'a>) -> Option<Layer<'a>> {
        if self.peepholes.is_some() {
            lookup.problem("peepholes, weight_peephole, can't be converted".to_owned());
            return None;
        }
        Some(self)
    }

    /// One bias a gate, `[4H]`: the sum where there are two.
    pub(super) fn bias(&self) -> Option<Vec<f32>> {
        match (self.bias_ih, self.bias_hh) {
            (Some(ih), Some(hh)) => Some(ih.iter().zip(hh).map(|(a, b)| a + b).collect()),
            (one, other) => one.or(other).map(<[f32]>::to_vec),
        }
    }
}

/// PyTorch's names of a layer's tensors.
pub(super) fn names(suffix: &str) -> [String; 4] {
    ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|name| format!("{name}_{suffix}"))
}

/// The tensors of one layer, `weight_ih [4H, I]`, `weight_hh [4H, H]` and up to two biases `[4H]`.
pub(super) fn named(
    suffix: &str,
    (hidden, input): (usize, usize),
    weight_ih: Vec<f32>,
    weight_hh: Vec<f32>,
    biases: impl IntoIterator<Item = Vec<f32>>,
) -> Result<StateDict> {
    let rows = 4 * hidden;
    let [ih, hh, bias_ih, bias_hh] = names(suffix);
    let mut tensors = vec![
        (ih, Array::new(weight_ih, &[rows, input])?),
        (hh, Array::new(weight_hh, &[rows, hidden])?),
    ];
    for (name, bias) in [bias_ih, bias_hh].into_iter().zip(biases) {
        tensors.push((name, Array::new(bias, &[rows])?));
    }
    Ok(tensors)
}

/// The quarters of `values` in another order: first the one that `order` names first.
pub(crate) fn quarters(values: &[f32], order: [usize; 4]) -> Vec<f32> {
    let size = values.len() / 4;
    order.iter().flat_map(|&q| &values[q * size..][..size]).copied().collect()
}

/// `[rows, columns]` as `[columns, rows]`.
pub(crate) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let column = |c: usize| (0..rows).map(move |r| values[r * columns + c]);
    (0..columns).flat_map(column).collect()
}
