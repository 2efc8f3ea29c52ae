//! Goes through a graph in its order, and tells of each value what it is: a constant, an input in another layout,
//! the outputs of a layer, what a head makes of them.

use std::collections::{BTreeSet, HashMap};

use super::constant::{AXES, Beside, Budget, is_float};
use super::heads::reduce;
use super::proto::{Graph, Info, Node};
use super::seen::{Axis, Seen, Value, What, constant};
use super::sizes::{cast, chosen, product, shape_of};
use super::trace::Trace;
use crate::import::clipped;

/// The outputs of a graph, by name.
pub(super) type Outputs<'a> = Vec<(&'a str, Value)>;

/// Operators that leave their first input as it is, in inference.
const SAME: [&str; 5] = ["Identity", "Cast", "Dropout", "CastLike", "QuantizeLinear"];

/// The nodes in order, with those of one branch of each `If` in its place.
fn flattened<'a>(graph: &'a Graph, branch: &str) -> (Vec<&'a Node>, Vec<(&'a str, &'a str)>) {
    let (mut nodes, mut same) = (Vec::new(), Vec::new());
    let mut open = vec![graph.node.iter()];
    while let Some(last) = open.last_mut() {
        let Some(node) = last.next() else {
            open.pop();
            continue;
        };
        match node.graph(branch).filter(|_| node.op_type == "If") {
            None => nodes.push(node),
            Some(inner) => {
                let outputs = inner.output.iter().map(|info| info.name.as_str());
                same.extend(node.output.iter().map(String::as_str).zip(outputs));
                open.push(inner.node.iter());
            }
        }
    }
    (nodes, same)
}

impl<'a> Trace<'a> {
    /// Of a graph, with the weights in files beside it, taking one of the two branches of each `If`.
    pub(super) fn of(
        graph: &'a Graph,
        beside: &'a Beside,
        opset: i64,
        bytes: u64,
        branch: &str,
    ) -> Result<(Trace<'a>, Outputs<'a>), String> {
        let (nodes, same) = flattened(graph, branch);
        let mut initializers = HashMap::new();
        for tensor in &graph.initializer {
            initializers.insert(tensor.name.as_str(), tensor);
        }
        let (mut uses, mut producers) = (HashMap::<&str, usize>::new(), HashMap::new());
        for node in &nodes {
            node.input.iter().for_each(|name| *uses.entry(name).or_default() += 1);
            producers.extend(node.output.iter().map(|name| (name.as_str(), *node)));
        }
        same.iter().for_each(|(_, name)| *uses.entry(name).or_default() += 1);
        graph.output.iter().for_each(|info| *uses.entry(&info.name).or_default() += 1);
        let mut trace = Trace {
            beside,
            budget: Budget::of(bytes),
            opset,
            initializers,
            producers,
            uses,
            values: HashMap::new(),
            sigmoids: HashMap::new(),
            layers: Vec::new(),
            notes: BTreeSet::new(),
            left_out: BTreeSet::new(),
            quantized: false,
            inputs: HashMap::new(),
            known: [None; 2],
        };
        for info in &graph.input {
            if !trace.initializers.contains_key(info.name.as_str()) {
                trace.values.insert(&info.name, input(info));
                trace.inputs.insert(&info.name, declared(info));
            }
        }
        // An output of `If` is that of its branch.
        let same: HashMap<&str, Vec<&str>> =
            same.into_iter().fold(HashMap::new(), |mut all, (outer, inner)| {
                all.entry(inner).or_insert_with(Vec::new).push(outer);
                all
            });
        trace.alias(&same);
        for node in nodes {
            trace.node(node)?;
            for output in &node.output {
                trace.alias_of(output, &same);
            }
        }
        let names = graph.output.iter().map(|info| info.name.as_str());
        let outputs: Result<Vec<_>, String> =
            names.map(|name| Ok((name, trace.take(name)?))).collect();
        let outputs = outputs?;
        Ok((trace, outputs))
    }

    /// Branches may give what stands outside of them.
    fn alias(&mut self, same: &HashMap<&'a str, Vec<&'a str>>) {
        let known: Vec<&'a str> = self.values.keys().copied().collect();
        known.into_iter().for_each(|name| self.alias_of(name, same));
        let constants: Vec<&'a str> = self.initializers.keys().copied().collect();
        for inner in constants {
            for &outer in same.get(inner).into_iter().flatten() {
                if let Some(tensor) = self.initializers.get(inner).copied() {
                    self.initializers.insert(outer, tensor);
                }
            }
        }
    }

    fn alias_of(&mut self, inner: &str, same: &HashMap<&'a str, Vec<&'a str>>) {
        // A chain of branches in branches, which ends: a name is made once.
        let mut open: Vec<&str> = vec![inner];
        for _ in 0..same.len() + 1 {
            let Some(inner) = open.pop() else { break };
            for &outer in same.get(inner).into_iter().flatten() {
                if let Some(value) = self.values.get(inner).cloned() {
                    self.values.insert(outer, value);
                    open.push(outer);
                }
            }
        }
    }

    fn node(&mut self, node: &'a Node) -> Result<(), String> {
        let operator = node.operator();
        let mut inputs = Vec::new();
        for name in &node.input {
            inputs.push(if name.is_empty() { None } else { Some(self.take(name)?) });
        }
        let outputs = match operator.as_str() {
            "Constant" => vec![Value::Constant(node.constant(self.beside)?)],
            "LSTM" | "com.microsoft.DynamicQuantizeLSTM" => self.lstm(node, inputs),
            _ => self.operator(node, &operator, inputs)?,
        };
        for (name, value) in node.output.iter().zip(outputs) {
            self.values.insert(name, value);
        }
        Ok(())
    }

    /// Any other operator.
    fn operator(
        &mut self,
        node: &'a Node,
        operator: &str,
        inputs: Vec<Option<Value>>,
    ) -> Result<Vec<Value>, String> {
        let first = inputs.first().cloned().flatten();
        match (operator, &first, inputs.get(1)) {
            ("Gather", Some(Value::Constant(table)), Some(Some(Value::Unknown(_))))
                if table.shape.len() == 2 =>
            {
                if let Some(tokens) = self.tokens_behind(&node.input[1], table.shape[0]) {
                    let inputs = [first, Some(tokens)];
                    let [table, _] = &inputs;
                    let found = table.clone().map(|table| self.gather(node, table, &inputs));
                    return Ok(found.transpose()?.flatten().into_iter().collect());
                }
            }
            ("ReverseSequence", Some(Value::Seen(seen)), _) => {
                let turned = self.reversed(node, seen.clone());
                return Ok(vec![turned.unwrap_or_else(|| Value::unknown(&node.said()))]);
            }
            _ => {}
        }
        // What nobody knows is known no better behind an operator.
        let unknown = inputs.iter().flatten().find(|value| matches!(value, Value::Unknown(_)));
        if let (Some(unknown), false) = (unknown, operator == "Shape") {
            return Ok(vec![unknown.clone(); node.output.len().min(64)]);
        }
        let made = match (operator, first) {
            (_, None) => None,
            (same, Some(value)) if SAME.contains(&same) => Some(match value {
                Value::Seen(seen) if same == "Dropout" => self.dropout(node, &inputs, seen),
                Value::Constant(constant) if same == "Cast" => cast(node, constant),
                // Numbers that are made whole aren't the same; tokens are whole.
                Value::Seen(Seen { what, .. })
                    if same == "Cast"
                        && !matches!(what, What::Input(_))
                        && !node.int("to").is_some_and(is_float) =>
                {
                    Value::unknown(&node.said())
                }
                value => value,
            }),
            ("DequantizeLinear", Some(value)) => self.dequantize(node, value, &inputs)?,
            ("DynamicQuantizeLinear", Some(value @ Value::Seen(_))) => {
                self.quantized = true;
                return Ok(vec![value.clone(), Value::Scale(None), value]);
            }
            ("Shape", Some(value)) => Some(shape_of(node, &value)),
            ("Split", Some(Value::Constant(constant))) => {
                return self.split(node, &inputs, &constant);
            }
            ("ConstantOfShape", Some(value)) => self.constant_of_shape(node, &value)?,
            ("OneHot", Some(Value::Seen(seen))) => one_hot(node, seen, &inputs),
            ("Expand", Some(value)) => self.expand(value, &inputs)?,
            ("Reshape" | "Flatten", Some(value)) => self.reshape(node, value, &inputs),
            ("Transpose", Some(value)) => self.transpose(node, value)?,
            ("Squeeze" | "Unsqueeze", Some(value)) => self.squeeze(node, value, &inputs),
            ("Slice", Some(value)) => self.slice(node, value, &inputs)?,
            ("Gather", Some(value)) => self.gather(node, value, &inputs)?,
            ("Concat", Some(_)) => self.concat(node, &inputs)?,
            ("ReduceMean" | "ReduceMax", Some(Value::Seen(seen))) => {
                reduce(node, seen, &inputs, operator == "ReduceMean")
            }
            ("Gemm" | "MatMul" | "MatMulInteger", Some(Value::Seen(seen))) => {
                self.linear(node, seen, &inputs)?
            }
            ("ReduceProd", Some(sizes @ (Value::Sizes(..) | Value::Constant(_)))) => {
                product(node, &sizes)
            }
            ("Equal" | "Where", Some(_)) => chosen(&inputs),
            ("Add" | "Sub" | "Mul" | "Div", Some(_)) => self.arithmetic(node, operator, &inputs)?,
            (function, Some(Value::Seen(seen))) => self.function(node, function, seen),
            _ => None,
        };
        Ok(match made {
            Some(value) => vec![value],
            None => vec![Value::unknown(&node.said()); node.output.len().clamp(1, 64)],
        })
    }
}

/// Tokens, each as a one among zeros on a new last axis.
fn one_hot(node: &Node, seen: Seen, inputs: &[Option<Value>]) -> Option<Value> {
    let [depth, values] = [1, 2].map(|at| constant(inputs, at));
    let depth = depth?.scalar().filter(|depth| (1.0..16_777_216.0).contains(depth))? as usize;
    let last = node.int("axis").unwrap_or(-1);
    let is_last = last == -1 || usize::try_from(last) == Ok(seen.axes.len());
    match seen.what {
        What::Input(name) if is_last && values?.floats() == [0.0, 1.0] => {
            let axes = [&*seen.axes, &[Axis::Units(depth)]].concat();
            Some(Value::Seen(Seen { what: What::OneHot(name), axes }))
        }
        _ => None,
    }
}

/// The sizes that an input is declared with.
fn declared(info: &Info) -> Vec<Option<i64>> {
    let shape = info.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref()?.shape.as_ref());
    let dims = shape.map_or(&[][..], |shape| &*shape.dim);
    dims.iter().take(AXES).map(|dim| dim.dim_value.filter(|size| *size > 0)).collect()
}

/// An input of the graph, of whose axes nobody knows yet what they are.
fn input(info: &Info) -> Value {
    let shape = info.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref()?.shape.as_ref());
    let axes = shape.map_or(3, |shape| shape.dim.len());
    if axes > AXES {
        return Value::unknown(&format!("{}, an input of {axes} axes", clipped(&info.name)));
    }
    let axes = (0..axes).map(Axis::Input).collect();
    Value::Seen(Seen { what: What::Input(info.name.as_str().into()), axes })
}
