//! Operators of a head: linear layers and functions of each number.

use std::rc::Rc;

use super::constant::{Constant, axes_of, axis};
use super::proto::Node;
use super::seen::{Axis, Linear, Module, Read, Seen, Value, What, constant};
use super::trace::{Trace, path};
use crate::plan::{Nonlinearity, Readout};

impl<'a> Trace<'a> {
    pub(super) fn dropout(&self, node: &Node, inputs: &[Option<Value>], seen: Seen) -> Value {
        let ratio = match inputs.get(1).cloned().flatten() {
            Some(Value::Constant(ratio)) => ratio.scalar(),
            _ => node.float("ratio"),
        };
        let ratio = f64::from(ratio.unwrap_or(0.5));
        // Between layers it is nothing that a model needs to know in inference.
        match seen.what {
            What::Head(read, mut modules) if (0.0..1.0).contains(&ratio) => {
                modules.push(Module::Dropout(ratio));
                Value::Seen(Seen { what: What::Head(read, modules), axes: seen.axes })
            }
            _ => Value::Seen(seen),
        }
    }

    pub(super) fn dequantize(
        &mut self,
        node: &Node,
        value: Value,
        inputs: &[Option<Value>],
    ) -> Result<Option<Value>, String> {
        Ok(match value {
            // A constant that was never rounded.
            Value::Constant(q) if q.is_float() => Some(Value::Constant(q)),
            Value::Constant(q) => {
                let Some(scale) = constant(inputs, 1) else { return Ok(None) };
                let along = axis(node.int("axis").unwrap_or(1), q.shape.len().max(1));
                self.budget(q.len())?;
                let (shape, scales) = (q.shape.clone(), scale.floats());
                let zeros =
                    constant(inputs, 2).map_or_else(|| vec![0.0; scales.len()], Constant::floats);
                let inner: usize = match (scales.len(), along) {
                    (1, _) => q.len().max(1),
                    (len, Some(along)) if shape.get(along) == Some(&len) => {
                        shape[along + 1..].iter().product()
                    }
                    _ => return Ok(None),
                };
                if zeros.len() != scales.len() || inner == 0 {
                    return Ok(None);
                }
                let values = q.floats().into_iter().enumerate().map(|(at, value)| {
                    let part = at / inner % scales.len();
                    (value - zeros[part]) * scales[part]
                });
                let values = values.collect();
                self.notes.insert("weights of 8 bits made numbers again".to_owned());
                Some(Value::Constant(Constant::of_floats(values, shape)))
            }
            seen @ Value::Seen(_) => {
                self.quantized = true;
                Some(seen)
            }
            _ => None,
        })
    }

    pub(super) fn linear(
        &mut self,
        node: &Node,
        seen: Seen,
        inputs: &[Option<Value>],
    ) -> Result<Option<Value>, String> {
        let (Some((read, mut modules)), Some(features)) = (seen.head(), seen.features()) else {
            return Ok(None);
        };
        let Some(weight) = constant(inputs, 1) else { return Ok(None) };
        let &[rows, columns] = &*weight.shape else { return Ok(None) };
        let gemm = node.op_type == "Gemm";
        let transposed = gemm && node.int("transB").unwrap_or(0) != 0;
        let fits = if transposed { columns } else { rows } == features;
        if !fits || gemm && (node.int("transA").unwrap_or(0) != 0 || seen.axes.len() != 2) {
            return Ok(None);
        }
        let outputs = if transposed { rows } else { columns };
        let mut weight = match transposed {
            true => weight,
            false => weight.transposed(&[1, 0], &self.budget)?,
        }
        .floats();
        let integer = node.op_type == "MatMulInteger";
        if integer {
            let zeros = match inputs.get(3).cloned().flatten() {
                None => vec![0.0],
                Some(Value::Constant(zeros)) => zeros.floats(),
                Some(_) => return Ok(None),
            };
            let zero = |row: usize| zeros.get(if zeros.len() == 1 { 0 } else { row }).copied();
            for (at, value) in weight.iter_mut().enumerate() {
                let Some(zero) = zero(at / features) else { return Ok(None) };
                *value -= zero;
            }
        }
        let scale = node.float("alpha").unwrap_or(1.0);
        weight.iter_mut().filter(|_| gemm && scale != 1.0).for_each(|value| *value *= scale);
        let mut bias = None;
        if let Some(value) = inputs.get(2).cloned().flatten().filter(|_| gemm) {
            let Value::Constant(constant) = value else { return Ok(None) };
            bias = spread(constant, outputs);
            if bias.is_none() {
                return Ok(None);
            }
            let scale = node.float("beta").unwrap_or(1.0);
            bias.iter_mut().flatten().filter(|_| scale != 1.0).for_each(|value| *value *= scale);
        }
        let [of_weight, of_bias] = [1, 2].map(|at| node.input.get(at).map_or("", String::as_str));
        let name = self.origin(of_weight, &["weight"]).or_else(|| self.origin(of_bias, &["bias"]));
        let name = name.map(|(before, _)| before).or_else(|| path(&node.name));
        let name = name.unwrap_or_default();
        let linear = Linear { name, weight, outputs, features, bias, unscaled: integer };
        modules.push(Module::Linear(Rc::new(linear)));
        let mut axes = seen.axes;
        if let Some(last) = axes.last_mut() {
            *last = Axis::Units(outputs);
        }
        Ok(Some(Value::Seen(Seen { what: What::Head(read, modules), axes })))
    }

    pub(super) fn arithmetic(
        &mut self,
        node: &'a Node,
        operator: &str,
        inputs: &[Option<Value>],
    ) -> Result<Option<Value>, String> {
        let [Some(a), Some(b)] = inputs else { return Ok(None) };
        // Sizes that are computed.
        if let (Some((a, one)), Some((b, other))) = (a.sizes(), b.sizes()) {
            let len = a.len().max(b.len());
            let at = |all: &[Option<i64>], n: usize| {
                all.get(if all.len() == 1 { 0 } else { n }).copied().flatten()
            };
            let made = (0..len.min(64)).map(|n| {
                let (a, b) = (at(&a, n)?, at(&b, n)?);
                match operator {
                    "Add" => a.checked_add(b),
                    "Sub" => a.checked_sub(b),
                    "Mul" => a.checked_mul(b),
                    _ => a.checked_div(b),
                }
            });
            return Ok(Some(Value::Sizes(made.collect(), one && other)));
        }
        Ok(match (a, b) {
            (Value::Constant(a), Value::Constant(b)) => self.computed(operator, a, b)?,
            (Value::Scale(None), Value::Constant(scale))
            | (Value::Constant(scale), Value::Scale(None))
                if operator == "Mul" =>
            {
                Some(Value::Scale(Some(scale.clone())))
            }
            (Value::Seen(seen), Value::Scale(Some(scale))) if operator == "Mul" => {
                self.scaled(seen.clone(), scale.clone())
            }
            (Value::Seen(seen), Value::Constant(bias))
            | (Value::Constant(bias), Value::Seen(seen))
                if operator == "Add" =>
            {
                self.biased(node, seen.clone(), bias.clone())
            }
            // x * sigmoid(x).
            (Value::Seen(a), Value::Seen(b)) if operator == "Mul" => {
                let names =
                    [node.input.first(), node.input.get(1)].map(|name| name.map(String::as_str));
                let [Some(first), Some(second)] = names else { return Ok(None) };
                let of = |name: &str| self.sigmoids.get(name).copied();
                let what = match (of(first), of(second)) {
                    (_, Some(x)) if x == first => a.clone(),
                    (Some(x), _) if x == second => b.clone(),
                    _ => return Ok(None),
                };
                self.function(node, "Swish", what)
            }
            _ => None,
        })
    }

    /// Of two constants.
    pub(super) fn computed(
        &self,
        operator: &str,
        a: &Constant,
        b: &Constant,
    ) -> Result<Option<Value>, String> {
        if !a.is_float() || !b.is_float() {
            return Ok(None);
        }
        let Some(wide) = a.expanded(&b.shape, &self.budget)? else { return Ok(None) };
        let Some(other) = b.expanded(&wide.shape, &self.budget)? else { return Ok(None) };
        let shape = wide.shape.clone();
        let pairs = wide.floats().into_iter().zip(other.floats());
        let values = pairs.map(|(a, b)| match operator {
            "Add" => a + b,
            "Sub" => a - b,
            "Mul" => a * b,
            _ => a / b,
        });
        Ok(Some(Value::Constant(Constant::of_floats(values.collect(), shape))))
    }

    /// With a bias on the linear layer that is the last module.
    pub(super) fn biased(&self, node: &Node, seen: Seen, bias: Constant) -> Option<Value> {
        let features = seen.features();
        let Seen { what: What::Head(read, mut modules), axes } = seen else { return None };
        let Some(Module::Linear(last)) = modules.pop() else { return None };
        // A bias of timesteps is none of features.
        if features != Some(last.outputs) || last.bias.is_some() || last.unscaled {
            return None;
        }
        let bias = Some(spread(bias, last.outputs)?);
        let own = node.input.iter().find_map(|name| self.origin(name, &["bias"]));
        let name = own.map_or_else(|| last.name.clone(), |(before, _)| before);
        let linear = Rc::try_unwrap(last).unwrap_or_else(|shared| (*shared).clone());
        modules.push(Module::Linear(Rc::new(Linear { name, bias, ..linear })));
        Some(Value::Seen(Seen { what: What::Head(read, modules), axes }))
    }

    /// With the scale of a weight of whole numbers.
    pub(super) fn scaled(&mut self, seen: Seen, scale: Constant) -> Option<Value> {
        let features = seen.features();
        let Seen { what: What::Head(read, mut modules), axes } = seen else { return None };
        let Some(Module::Linear(last)) = modules.pop() else { return None };
        if features != Some(last.outputs) {
            return None;
        }
        let scales = spread(scale, last.outputs)?;
        let mut linear = Rc::try_unwrap(last).unwrap_or_else(|shared| (*shared).clone());
        if !linear.unscaled {
            return None;
        }
        let rows = linear.weight.chunks_exact_mut(linear.features.max(1)).zip(scales);
        rows.for_each(|(row, scale)| row.iter_mut().for_each(|value| *value *= scale));
        linear.unscaled = false;
        modules.push(Module::Linear(Rc::new(linear)));
        self.notes.insert(
            "a linear layer of 8 bits made numbers again; the file rounds its inputs as well, and this model \
             doesn't"
                .to_owned(),
        );
        Some(Value::Seen(Seen { what: What::Head(read, modules), axes }))
    }

    /// A function of each number, or of all that a row has.
    pub(super) fn function(&mut self, node: &'a Node, operator: &str, seen: Seen) -> Option<Value> {
        let (read, mut modules) = seen.head()?;
        if !seen.is_of_features() {
            return None;
        }
        let alpha = |usual: f32| node.float("alpha").unwrap_or(usual) == usual;
        modules.push(match operator {
            "Relu" => Module::Nonlinearity(Nonlinearity::Relu),
            "Tanh" => Module::Nonlinearity(Nonlinearity::Tanh),
            "Sigmoid" => {
                let names = (node.output.first(), node.input.first());
                if let (Some(output), Some(input)) = names {
                    self.sigmoids.insert(output, input);
                }
                Module::Nonlinearity(Nonlinearity::Sigmoid)
            }
            "Swish" if alpha(1.0) => Module::Nonlinearity(Nonlinearity::Silu),
            "Elu" if alpha(1.0) => Module::Nonlinearity(Nonlinearity::Elu),
            "LeakyRelu" if alpha(0.01) => Module::Nonlinearity(Nonlinearity::LeakyRelu),
            "Softmax" => {
                let usual = if self.opset < 13 { 1 } else { -1 };
                let at = axis(node.int("axis").unwrap_or(usual), seen.axes.len())?;
                (at + 1 == seen.axes.len()).then_some(Module::Softmax)?
            }
            _ => return None,
        });
        Some(Value::Seen(Seen { what: What::Head(read, modules), axes: seen.axes }))
    }
}

/// A number for each of so many outputs, or the same for all.
pub(super) fn spread(constant: Constant, outputs: usize) -> Option<Vec<f32>> {
    let last = constant.shape.last().copied().unwrap_or(1);
    match constant.len() {
        len if len == outputs && last == outputs => Some(constant.floats()),
        1 => Some(vec![constant.scalar()?; outputs]),
        _ => None,
    }
}

/// The mean or the maximum of a layer's outputs over time.
pub(super) fn reduce(
    node: &Node,
    seen: Seen,
    inputs: &[Option<Value>],
    mean: bool,
) -> Option<Value> {
    let said = match inputs.get(1).cloned().flatten() {
        Some(axes) => axes.ints()?,
        None => node.ints("axes")?.to_vec(),
    };
    let Seen { what: What::Outputs(layer), mut axes } = seen else { return None };
    let [at] = *axes_of(&said, axes.len())? else { return None };
    if axes[at] != Axis::Time {
        return None;
    }
    match node.int("keepdims").unwrap_or(1) {
        0 => drop(axes.remove(at)),
        _ => axes[at] = Axis::One,
    }
    let readout = if mean { Readout::MeanOverTime } else { Readout::MaxOverTime };
    Some(Value::Seen(Seen { what: What::Head(Read::Of(layer, readout), Vec::new()), axes }))
}
