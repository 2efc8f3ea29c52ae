//! What is known of a graph's values before they are computed.

use std::rc::Rc;

use super::constant::Constant;
use crate::plan::{Nonlinearity, Readout};

/// A value of a graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Constant(Constant),
    /// This number in every element, whatever its shape, of which the last size may be known.
    Fill(f32, Option<usize>),
    /// A constant, spread over sizes that aren't known.
    Spread(Constant),
    /// Whole numbers, such as a shape, of which some aren't known. Also whether it is one number.
    Sizes(Vec<Option<i64>>, bool),
    Seen(Seen),
    /// By what an input was divided before it was rounded, times some constant.
    Scale(Option<Constant>),
    /// What isn't known here: the operator.
    Unknown(Rc<str>),
}

/// A value that depends on the input.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) what: What,
    pub(super) axes: Vec<Axis>,
}

/// What an axis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Time,
    Rows,
    /// Features.
    Units(usize),
    /// Directions, or states of several layers.
    Parts(usize),
    /// Timesteps and rows in one, these within those or those within these.
    Flat(bool),
    /// Of size 1.
    One,
    /// One of the axes of an input of the graph, of which an LSTM says later what it is.
    Input(usize),
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// An input of the graph.
    Input(Rc<str>),
    /// An input of the graph, each number of it as a one among zeros.
    OneHot(Rc<str>),
    /// Rows of a table, by an input of the graph.
    Embedding(Rc<Embedding>),
    /// One of these, turned round along an axis.
    Backward(Box<What>, Axis),
    /// All outputs of a layer.
    Outputs(usize),
    /// All outputs of a layer that reads from the end, the one of the last timestep first.
    Turned(usize),
    /// All outputs of a layer in one of its directions.
    OneWay(usize, usize),
    /// A layer's outputs at the first timestep.
    First(usize),
    /// Final hidden states: of which layers, and of which of their directions.
    States(Vec<(usize, usize)>),
    /// What is made of something read.
    Head(Read, Vec<Module>),
}

#[derive(Debug)]
pub(super) struct Embedding {
    pub(super) name: String,
    pub(super) table: Constant,
    pub(super) tokens: Rc<str>,
}

/// What a head reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Of a layer's outputs.
    Of(usize, Readout),
    States(Vec<(usize, usize)>),
}

/// A module of a head.
#[derive(Clone, Debug)]
pub(super) enum Module {
    Linear(Rc<Linear>),
    Nonlinearity(Nonlinearity),
    Dropout(f64),
    Softmax,
}

#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub(super) name: String,
    /// `[O, F]`.
    pub(super) weight: Vec<f32>,
    pub(super) outputs: usize,
    pub(super) features: usize,
    pub(super) bias: Option<Vec<f32>>,
    /// Whether the weight is whole numbers, whose scale comes later.
    pub(super) unscaled: bool,
}

/// An input of a node, where it is a constant.
pub(super) fn constant(inputs: &[Option<Value>], at: usize) -> Option<Constant> {
    match inputs.get(at)? {
        Some(Value::Constant(constant)) => Some(constant.clone()),
        _ => None,
    }
}

impl Value {
    pub(super) fn unknown(what: &str) -> Value {
        Value::Unknown(what.into())
    }

    /// As whole numbers that may be known, and whether it is one.
    pub(super) fn sizes(&self) -> Option<(Vec<Option<i64>>, bool)> {
        match self {
            Value::Sizes(sizes, scalar) => Some((sizes.clone(), *scalar)),
            Value::Constant(constant) if constant.shape.len() <= 1 => {
                let all = constant.ints()?.into_iter().map(Some).collect();
                Some((all, constant.shape.is_empty()))
            }
            _ => None,
        }
    }

    /// Whole numbers that are all known.
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        match self {
            Value::Constant(constant) => constant.ints(),
            Value::Sizes(sizes, _) => sizes.iter().copied().collect(),
            _ => None,
        }
    }
}

impl Seen {
    /// The same with other axes.
    pub(super) fn with(self, axes: Vec<Axis>) -> Value {
        Value::Seen(Seen { axes, ..self })
    }

    /// What can be said of its sizes.
    pub(super) fn sizes(&self) -> Vec<Option<i64>> {
        self.axes.iter().map(|axis| axis.size().and_then(|size| i64::try_from(size).ok())).collect()
    }

    /// As what a head stands on, with the modules of it that are there already.
    pub(super) fn head(&self) -> Option<(Read, Vec<Module>)> {
        // Not of each direction for itself.
        if self.axes.iter().any(|axis| matches!(axis, Axis::Parts(_))) {
            return None;
        }
        match &self.what {
            What::Head(read, modules) => Some((read.clone(), modules.clone())),
            What::Outputs(layer) => Some((Read::Of(*layer, Readout::EveryStep), Vec::new())),
            What::States(parts) => Some((Read::States(parts.clone()), Vec::new())),
            _ => None,
        }
    }

    /// Whether the last axis is that of the features, or there was one, which is gone.
    pub(super) fn is_of_features(&self) -> bool {
        self.features().is_some() || !self.axes.iter().any(|axis| matches!(axis, Axis::Units(_)))
    }

    /// The features, where they are the last axis.
    pub(super) fn features(&self) -> Option<usize> {
        match self.axes.last() {
            Some(Axis::Units(features)) => Some(*features),
            _ => None,
        }
    }
}

impl Axis {
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Axis::Units(size) | Axis::Parts(size) => Some(size),
            Axis::One => Some(1),
            _ => None,
        }
    }
}

/// What axes become in another shape, of which some sizes are known: each axis of it is one of these, or two of them
/// in one.
/// `known` are the timesteps and the rows, where the graph's input says how many it has.
pub(super) fn reshaped(
    axes: &[Axis],
    sizes: &[Option<i64>],
    known: [Option<i64>; 2],
) -> Option<Vec<Axis>> {
    // 0 is the size that is there.
    let sizes = sizes.iter().enumerate().map(|(at, &size)| match size {
        Some(0) => axes.get(at).map(|axis| axis.size().and_then(|size| i64::try_from(size).ok())),
        Some(-1) => Some(None),
        other => Some(other),
    });
    let sizes: Vec<Option<i64>> = sizes.collect::<Option<_>>()?;
    let parts = axes.iter().flat_map(|&axis| match axis {
        Axis::One => vec![],
        Axis::Flat(true) => vec![Axis::Time, Axis::Rows],
        Axis::Flat(false) => vec![Axis::Rows, Axis::Time],
        other => vec![other],
    });
    let parts: Vec<Axis> = parts.collect();
    // A single feature may go as an axis of size 1 does.
    let without: Vec<Axis> = parts.iter().copied().filter(|axis| *axis != Axis::Units(1)).collect();
    grouped(&parts, &sizes, known).or_else(|| grouped(&without, &sizes, known))
}

/// Axes of which none has size 1, in so many groups of some sizes.
fn grouped(axes: &[Axis], sizes: &[Option<i64>], known: [Option<i64>; 2]) -> Option<Vec<Axis>> {
    let Some((&size, sizes)) = sizes.split_first() else {
        return axes.is_empty().then(Vec::new);
    };
    // A new axis of size 1 only where nothing else fits.
    for taken in [1, 2, 0].into_iter().filter(|&taken| taken <= axes.len()) {
        let (group, rest) = axes.split_at(taken);
        let merged = match *group {
            [] => Axis::One,
            [axis] => axis,
            [Axis::Parts(parts), Axis::Units(units)] => Axis::Units(parts.checked_mul(units)?),
            [Axis::Time, Axis::Rows] => Axis::Flat(true),
            [Axis::Rows, Axis::Time] => Axis::Flat(false),
            _ => continue,
        };
        let fits = match (size, merged.size()) {
            (Some(wanted), Some(there)) => i64::try_from(there) == Ok(wanted),
            // Timesteps and rows are of any size, unless the graph says of which.
            (Some(wanted), None) => {
                Some(wanted)
                    == match merged {
                        Axis::Time => known[0],
                        Axis::Rows => known[1],
                        Axis::Flat(_) => known[0].zip(known[1]).and_then(|(t, b)| t.checked_mul(b)),
                        _ => None,
                    }
            }
            // An axis of size 1 has that number in a shape, unless it is computed.
            (None, _) => taken > 0,
        };
        if fits && let Some(mut others) = grouped(rest, sizes, known) {
            others.insert(0, merged);
            return Some(others);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_say_what_axes_become() {
        let reshaped =
            |axes: &[Axis], sizes: &[Option<i64>]| reshaped(axes, sizes, [Some(7), Some(3)]);
        let outputs = [Axis::Time, Axis::Rows, Axis::Parts(2), Axis::Units(8)];
        let merged = Some(vec![Axis::Time, Axis::Rows, Axis::Units(16)]);
        assert_eq!(reshaped(&outputs, &[Some(0), Some(0), Some(-1)]), merged);
        assert_eq!(reshaped(&outputs, &[None, None, Some(16)]), merged);
        assert_eq!(reshaped(&outputs, &[None, Some(3), Some(16)]), merged);
        assert_eq!(reshaped(&outputs, &[None, None, Some(15)]), None);
        assert_eq!(reshaped(&outputs, &[None, Some(4), Some(16)]), None);
        let one = [Axis::Time, Axis::One, Axis::Rows, Axis::Units(8)];
        let squeezed = Some(vec![Axis::Time, Axis::Rows, Axis::Units(8)]);
        assert_eq!(reshaped(&one, &[None, Some(3), Some(8)]), squeezed);
        let flat = Some(vec![Axis::Flat(true), Axis::Units(8)]);
        assert_eq!(reshaped(&one, &[None, Some(-1)]), flat);
        assert_eq!(reshaped(&one, &[Some(-1)]), None);
        let every = [Axis::Rows, Axis::Time, Axis::Units(8)];
        let flat = vec![Axis::Flat(false), Axis::Units(8)];
        assert_eq!(reshaped(&every, &[Some(-1), Some(8)]), Some(flat.clone()));
        assert_eq!(reshaped(&flat, &[Some(3), Some(-1), Some(8)]), Some(every.to_vec()));
        assert_eq!(
            reshaped(&every[1..], &[Some(1), Some(-1), Some(8)]),
            Some(vec![Axis::One, Axis::Time, Axis::Units(8)])
        );
        let wrong = [Axis::Parts(2), Axis::Rows, Axis::Units(8)];
        assert_eq!(reshaped(&wrong, &[Some(-1), Some(16)]), None);
    }
}
