//! Nodes `LSTM` of a walk through a graph.

use super::constant::{Budget, Constant};
use super::layer::{From, Layer, Weights};
use super::proto::Node;
use super::seen::{Axis, Seen, Value, What};
use super::trace::Trace;

impl<'a> Trace<'a> {
    /// A layer, where its weights are constants; else what is wrong with it, among what is left out.
    pub(super) fn lstm(&mut self, node: &'a Node, inputs: Vec<Option<Value>>) -> Vec<Value> {
        let name = self.module_of(node);
        match self.layer(node, inputs, name) {
            Err(problem) => {
                let said = format!("{}: {problem}", node.said());
                self.left_out.insert(said.clone());
                vec![Value::unknown(&said); 3]
            }
            Ok((layer, batch_first, turned)) => {
                let (number, hidden) = (self.layers.len(), layer.hidden);
                let parts = layer.directions.len();
                self.layers.push(layer);
                let part = if parts == 1 { Axis::One } else { Axis::Parts(parts) };
                let units = Axis::Units(hidden);
                let axes = match batch_first {
                    true => vec![Axis::Rows, Axis::Time, part, units],
                    false => vec![Axis::Time, part, Axis::Rows, units],
                };
                let of_states = match batch_first {
                    true => vec![Axis::Rows, part, units],
                    false => vec![part, Axis::Rows, units],
                };
                let states = What::States((0..parts).map(|d| (number, d)).collect());
                let outputs = if turned { What::Turned(number) } else { What::Outputs(number) };
                vec![
                    Value::Seen(Seen { what: outputs, axes }),
                    Value::Seen(Seen { what: states, axes: of_states }),
                    Value::unknown("the final cell state"),
                ]
            }
        }
    }

    pub(super) fn layer(
        &mut self,
        node: &Node,
        inputs: Vec<Option<Value>>,
        name: Option<String>,
    ) -> Result<(Layer, bool, bool), String> {
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().flatten();
        let [x, w, r, b, lengths, h, c, p] = [(); 8].map(|()| next());
        let scales = [(); 4].map(|()| next());
        let constant = |value: Option<Value>, what: &str| match value {
            Some(Value::Constant(constant)) => Ok(constant),
            Some(Value::Unknown(why)) => Err(format!("{what} is made by {why}")),
            Some(_) => Err(format!("{what} isn't a constant")),
            None => Err(format!("there is no {what}")),
        };
        let (mut w, mut r) = (constant(w, "W")?, constant(r, "R")?);
        if node.op_type == "DynamicQuantizeLSTM" {
            let [ws, wz, rs, rz] = scales;
            let budget = &self.budget;
            let scaled = |q: Constant, scale: Option<Value>, zero: Option<Value>, what: &str| {
                let (scale, zero) = (constant(scale, what)?, constant(zero, what)?);
                dequantized(q, scale, zero, budget)
            };
            (w, r) = (scaled(w, ws, wz, "W's scale")?, scaled(r, rs, rz, "R's scale")?);
            self.notes.insert(
                "weights of 8 bits made numbers again; the file rounds inputs and states to 8 bits as well, \
                 at every timestep, and this model doesn't"
                    .to_owned(),
            );
        }
        let optional = |value: Option<Value>, what: &str| match value {
            None => Ok(None),
            some => constant(some, what).map(Some),
        };
        let weights = Weights { w, r, b: optional(b, "B")?, p: optional(p, "P")? };
        let mut layer = Layer::of(node, weights, self.opset)?;
        layer.name = name;
        let batch_first = node.int("layout").is_some_and(|layout| layout == 1);
        let (x, turned) = forward(x, batch_first);
        if turned && (layer.directions.len() == 2 || layer.reverse) {
            return Err("reads a sequence that is turned round in two directions".to_owned());
        }
        layer.reverse |= turned;
        let sizes = self.sizes_of(&x, batch_first);
        self.known = match self.layers.is_empty() {
            true => sizes,
            // Of layers on inputs of several sizes nothing is known.
            false if matches!(x, Some(Value::Seen(Seen { what: What::Outputs(_), .. }))) => {
                self.known
            }
            false if sizes == self.known => sizes,
            false => [None; 2],
        };
        layer.from = self.source(x, batch_first);
        let states = layer.directions.len() * layer.hidden;
        let mut initial = [h, c].into_iter().map(|state| initial(state, &layer, batch_first));
        let both = [initial.next(), initial.next()].map(|state| state.unwrap_or(Ok(None)));
        let [h, c] = both;
        let (h, c) = (h?, c?);
        for state in [&h, &c].into_iter().flatten() {
            match state {
                Ok(_) => {}
                Err(None) => {
                    let said = "initial states: they are given with a call, and zero without";
                    self.left_out.insert(said.to_owned());
                }
                Err(Some(why)) => {
                    self.left_out.insert(format!("initial states that are made by {why}"));
                    layer.begins_by = Some(why.clone());
                }
            }
        }
        let known = [h, c].map(|state| state.and_then(Result::ok));
        if known.iter().any(Option::is_some) {
            layer.initial = Some(known.map(|state| state.unwrap_or_else(|| vec![0.0; states])));
        }
        if let Some(Value::Constant(_) | Value::Fill(..)) = lengths {
            return Err("has lengths of sequences of its own, which a model has not".to_owned());
        }
        if lengths.is_some() {
            self.left_out.insert("lengths of sequences: they are given with a call".to_owned());
        }
        Ok((layer, batch_first, turned))
    }

    /// The timesteps and the rows of what goes into a layer, where it is an input whose sizes are declared.
    fn sizes_of(&self, x: &Option<Value>, batch_first: bool) -> [Option<i64>; 2] {
        let Some(Value::Seen(seen)) = x else { return [None; 2] };
        let name = match &seen.what {
            What::Input(name) | What::OneHot(name) => name,
            What::Embedding(which) => &which.tokens,
            _ => return [None; 2],
        };
        let size = |at: usize| match seen.axes.get(at) {
            Some(Axis::Input(axis)) => self.inputs.get(&**name)?.get(*axis).copied().flatten(),
            _ => None,
        };
        if batch_first { [size(1), size(0)] } else { [size(0), size(1)] }
    }

    /// What a layer stands on.
    pub(super) fn source(&self, x: Option<Value>, batch_first: bool) -> From {
        let Some(Value::Seen(seen)) = x else {
            return From::Other(match x {
                Some(Value::Unknown(why)) => why.to_string(),
                _ => "a constant".to_owned(),
            });
        };
        let order = match batch_first {
            true => [Axis::Rows, Axis::Time],
            false => [Axis::Time, Axis::Rows],
        };
        match (&seen.what, &*seen.axes) {
            (What::Outputs(below), &[a, b, Axis::Units(_)]) if [a, b] == order => {
                From::Layer(*below)
            }
            (What::Outputs(_), _) => {
                From::Other("outputs of a layer whose timesteps aren't its own".to_owned())
            }
            // The last axis is one that is added where the input has a number for each timestep.
            (What::Input(name), &[Axis::Input(a), Axis::Input(b), Axis::Input(_) | Axis::One]) => {
                From::Input { name: name.to_string(), batch_first: batch_first == (a < b) }
            }
            (What::Embedding(which), &[Axis::Input(a), Axis::Input(b), Axis::Units(_)]) => {
                let which = which.clone();
                From::Embedding { which, batch_first: batch_first == (a < b) }
            }
            (What::OneHot(name), &[Axis::Input(a), Axis::Input(b), Axis::Units(_)]) => {
                From::OneHot { name: name.to_string(), batch_first: batch_first == (a < b) }
            }
            (What::Head(..), _) => {
                From::Other("a linear layer or a function of each number".to_owned())
            }
            (What::Backward(..) | What::Turned(_), _) => {
                From::Other("a sequence that is turned round".to_owned())
            }
            (What::States(_) | What::OneWay(..) | What::First(_), _) => {
                From::Other("states of a layer".to_owned())
            }
            (What::Input(_) | What::OneHot(_) | What::Embedding(_), _) => {
                From::Other(format!("an input of {} axes", seen.axes.len()))
            }
        }
    }

    /// The layer of two directions that two layers are, one of them in reverse, on the same input.
    pub(super) fn both_ways(&mut self, forward: usize, backward: usize) -> Option<usize> {
        let is = |n: usize, reverse: bool| {
            let layer = self.layers.get(n)?;
            (layer.directions.len() == 1 && layer.reverse == reverse).then_some(layer)
        };
        let (a, b) = (is(forward, false)?, is(backward, true)?);
        let same = match (&a.from, &b.from) {
            (
                From::Input { name, batch_first },
                From::Input { name: other, batch_first: as_well },
            )
            | (
                From::OneHot { name, batch_first },
                From::OneHot { name: other, batch_first: as_well },
            ) => name == other && batch_first == as_well,
            (
                From::Embedding { which, batch_first },
                From::Embedding { which: other, batch_first: as_well },
            ) => {
                let same = which.tokens == other.tokens && which.name == other.name;
                same && batch_first == as_well
            }
            (From::Layer(below), From::Layer(other)) => below == other,
            _ => false,
        };
        let alike = a.hidden == b.hidden && a.input == b.input && a.cell == b.cell;
        let biased = |layer: &Layer| layer.directions[0].biases.is_some();
        let begins = |layer: &Layer| layer.initial.is_some() || layer.begins_by.is_some();
        if !same || !alike || biased(a) != biased(b) || begins(a) || begins(b) {
            return None;
        }
        let second = self.layers[backward].directions.pop()?;
        let first = self.layers[forward].directions.pop()?;
        let number = self.layers.len();
        let (a, name) = (&self.layers[forward], self.layers[forward].name.clone());
        let (input, hidden, cell, from) = (a.input, a.hidden, a.cell, a.from.clone());
        let directions = vec![first, second];
        let name = name.map(|name| {
            let own = ["forward", "fw"].into_iter().find_map(|word| {
                let at = name.to_lowercase().find(word)?;
                let cut = name[..at].trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned();
                (!cut.is_empty()).then_some(cut)
            });
            own.unwrap_or(name)
        });
        self.layers.push(Layer {
            name,
            input,
            hidden,
            reverse: false,
            directions,
            cell,
            initial: None,
            begins_by: None,
            from,
        });
        self.notes
            .insert("a layer forward and one in reverse made one of both directions".to_owned());
        Some(number)
    }
}

/// What goes into a layer, as it was before it was turned round in time, and whether it was.
fn forward(x: Option<Value>, batch_first: bool) -> (Option<Value>, bool) {
    match x {
        Some(Value::Seen(Seen { what: What::Backward(what, at), axes }))
            if axes.get(usize::from(batch_first)) == Some(&at) =>
        {
            (Some(Value::Seen(Seen { what: *what, axes })), true)
        }
        x => (x, false),
    }
}

/// Weights of 8 bits `[D, I, 4H]` as numbers `[D, 4H, I]`.
pub(super) fn dequantized(
    q: Constant,
    scale: Constant,
    zero: Constant,
    budget: &Budget,
) -> Result<Constant, String> {
    let &[d, _, rows] = &*q.shape else {
        return Err(format!("has weights {:?}, not [D, I, 4H]", q.shape));
    };
    let q = q.transposed(&[0, 2, 1], budget)?;
    let inner = q.shape[2].max(1);
    let (scales, zeros) = (scale.floats(), zero.floats());
    let per_row = |all: &[f32], row: usize| match all.len() {
        len if len == d * rows => all.get(row).copied(),
        len if len == d => all.get(row / rows.max(1)).copied(),
        1 => all.first().copied(),
        _ => None,
    };
    let shape = q.shape.clone();
    let mut values = q.floats();
    for (row, values) in values.chunks_exact_mut(inner).enumerate() {
        let (Some(scale), Some(zero)) = (per_row(&scales, row), per_row(&zeros, row)) else {
            return Err(format!("has {} scales for {} rows", scales.len(), d * rows));
        };
        values.iter_mut().for_each(|value| *value = (*value - zero) * scale);
    }
    Ok(Constant::of_floats(values, shape))
}

/// An initial state of a layer: nothing where it is zero, and where it is no constant what makes it, which is
/// nothing if it is an input.
type Initial = Option<Result<Vec<f32>, Option<String>>>;

pub(super) fn initial(
    state: Option<Value>,
    layer: &Layer,
    batch_first: bool,
) -> Result<Initial, String> {
    let (d, hidden) = (layer.directions.len(), layer.hidden);
    // PyTorch's exporter of 2.15 cuts the weights of an LSTM with a projection, and says nothing.
    let of_projection = |units: usize| {
        format!(
            "has {hidden} units and an initial state of {units}, as of an LSTM with a projection (proj_size), \
             which ONNX hasn't: its exporter has left weights out, and the numbers of this file are wrong"
        )
    };
    let constant = match state {
        None => return Ok(None),
        Some(Value::Fill(_, Some(units))) if units != hidden => return Err(of_projection(units)),
        Some(Value::Fill(0.0, _)) => return Ok(None),
        Some(Value::Fill(fill, _)) => return Ok(Some(Ok(vec![fill; d * hidden]))),
        Some(Value::Constant(constant) | Value::Spread(constant))
            if constant.shape.last().is_some_and(|&units| units != hidden) =>
        {
            return Err(of_projection(constant.shape[constant.shape.len() - 1]));
        }
        Some(Value::Constant(constant)) if constant.uniform() == Some(0.0) => return Ok(None),
        Some(Value::Constant(constant) | Value::Spread(constant)) => constant,
        Some(Value::Seen(Seen { what: What::Input(_), .. })) => return Ok(Some(Err(None))),
        Some(Value::Unknown(why)) => return Ok(Some(Err(Some(why.to_string())))),
        Some(_) => return Ok(Some(Err(Some("something of the graph's".to_owned())))),
    };
    let misshapen = || format!("has an initial state {:?}", constant.shape);
    let &[a, b, units] = &*constant.shape else { return Err(misshapen()) };
    let (parts, rows) = if batch_first { (b, a) } else { (a, b) };
    if units != hidden || parts != d || rows == 0 {
        return Err(misshapen());
    }
    let shape = constant.shape.clone();
    let values = constant.floats();
    let at = |part: usize, row: usize| match batch_first {
        true => (row * parts + part) * hidden,
        false => (part * rows + row) * hidden,
    };
    let of = |part: usize, row: usize| &values[at(part, row)..][..hidden];
    if (0..parts).any(|part| (1..rows).any(|row| of(part, row) != of(part, 0))) {
        return Err(format!("has initial states {shape:?} that differ from row to row"));
    }
    Ok(Some(Ok((0..parts).flat_map(|part| of(part, 0)).copied().collect())))
}
