//! Models in the files of other libraries.
//!
//! ```
//! use gatefold::{Array, Device, Forecaster, LstmConfig, export, import};
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("model.onnx");
//! let device = Device::cpu();
//! let model = Forecaster::new(&device, LstmConfig::new(3, 8).layers(2), 2)?;
//! export::onnx(&model, &path)?;
//! let again = import::open(&path)?.forecaster(&device)?;
//! let x = Array::new(vec![0.5; 4 * 10 * 3], &[4, 10, 3])?; // B, T, I
//! assert_eq!(again.predict(&x)?, model.predict(&x)?);
//! # Ok::<(), gatefold::Error>(())
//! ```

use std::collections::HashMap;
use std::path::Path;

use prost::Message;

use crate::checkpoint::replace;
use crate::device::Wait;
use crate::error::{Error, Result};
use crate::import::onnx::proto::{
    Attribute, Dim, Dims, Graph, Info, Model, Node, OperatorSet, Tensor, TensorType, Type,
};
use crate::model::{Forecaster, Lstm, Network};
use crate::plan::{Activation, Cell, Encoding, Head, HeadModule, Nonlinearity, Readout, Role};
use crate::tensor::Array;

/// What the operators' version and the format's are: all that ONNX Runtime has read since 2021.
const OPSET: i64 = 17;
const FORMAT: i64 = 8;

/// ONNX's numbers of types.
const FLOAT: i32 = 1;
const INT64: i32 = 7;

/// The largest message of protobuf.
const LARGEST: usize = (1 << 31) - 1;

/// What can be exported: a model or a reference to one.
pub struct Exported<'a> {
    network: &'a Network,
    lstm: bool,
}

impl<'a> From<&'a Forecaster> for Exported<'a> {
    fn from(model: &'a Forecaster) -> Exported<'a> {
        Exported { network: &model.network, lstm: false }
    }
}

impl<'a> From<&'a Lstm> for Exported<'a> {
    fn from(model: &'a Lstm) -> Exported<'a> {
        Exported { network: model.network(), lstm: true }
    }
}

/// Writes a model as an ONNX graph with a node `LSTM` a layer, of operators of version 17.
///
/// A [`Forecaster`] takes `x [batch, time, I]`, or `tokens [batch, time]` of int64, and gives `y` as
/// [`Forecaster::predict`] does. An [`Lstm`] takes `x [time, batch, I]` (`[batch, time, I]` where it is
/// [`batch_first`](crate::LstmConfig::batch_first)), `h_0` and `c_0 [L D, batch, H]`, unless these are learned, and
/// gives `y`, `h_n` and `c_n`. Batch and time are of any size.
///
/// [`import::open`](crate::import::open) reads it again, to the same bits. What plays a part in training alone is
/// left away: dropout between layers and within cells, the padding token, tied weights.
///
/// # Errors
/// [`Error::Value`] for what ONNX's LSTM hasn't: a projection, a bound on the cell state, zoneout, which inference
/// takes the mean of, and models of 2 GiB and more; [`Error::Io`].
pub fn onnx<'a>(model: impl Into<Exported<'a>>, path: impl AsRef<Path>) -> Result<()> {
    let Exported { network, lstm } = model.into();
    sayable(network)?;
    let tensors = pollster::block_on(network.state_dict(Wait::Blocking))?;
    let mut writer = Writer {
        network,
        lstm,
        batch_first: !lstm || network.config.batch_first,
        tensors: tensors.into_iter().collect(),
        graph: Graph::default(),
    };
    let x = writer.input()?;
    let (y, states) = writer.layers(x)?;
    match lstm {
        true => writer.states(&y, &states),
        false => writer.prediction(&y, &states[0])?,
    }
    writer.graph.name = if lstm { "lstm" } else { "forecaster" }.to_owned();
    write(writer.graph, path.as_ref())
}

/// What ONNX can say of a model, all of it.
fn sayable(network: &Network) -> Result<()> {
    let shape = &network.shape;
    let cell = &shape.cell;
    let refused = |name: &str, got: String| {
        let expected = "none: ONNX's LSTM hasn't it".to_owned();
        Err(Error::Value { operation: "export::onnx", name: name.to_owned(), expected, got })
    };
    if let Some(size) = shape.projection {
        return refused("proj_size", size.to_string());
    }
    if cell.cell_clip.is_some() || cell.zoneout.is_some() {
        return refused("cell_clip and zoneout", cell.to_string());
    }
    Ok(())
}

fn write(graph: Graph, path: &Path) -> Result<()> {
    let model = Model {
        ir_version: FORMAT,
        producer_name: "gatefold".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        ..Model::default()
    };
    let len = model.encoded_len();
    if len > LARGEST {
        return Err(Error::Value {
            operation: "export::onnx",
            name: "the model's size".to_owned(),
            expected: "less than 2 GiB, which a file of ONNX's holds".to_owned(),
            got: format!("{len} bytes"),
        });
    }
    let failed = |source| Error::Io { path: path.to_owned(), source };
    replace(path, &model.encode_to_vec()).map_err(failed)
}

/// A layer's parameter, from the layer and the direction.
type OfLayer = fn(usize, usize) -> Role;

/// A graph that is being written.
struct Writer<'a> {
    network: &'a Network,
    /// Whether it is that of an LSTM without a head.
    lstm: bool,
    batch_first: bool,
    tensors: HashMap<String, Array>,
    graph: Graph,
}

impl Writer<'_> {
    /// The input of the first layer, `[T, B, I]`, from that of the graph.
    fn input(&mut self) -> Result<String> {
        let network = self.network;
        let shape = &network.shape;
        let given = |name: &str, ty: i32, rest: Vec<Dim>| {
            let first = match self.batch_first {
                true => [named("batch"), named("time")],
                false => [named("time"), named("batch")],
            };
            info(name, ty, [first.to_vec(), rest].concat())
        };
        let input = match shape.encoding {
            Encoding::Values => given("x", FLOAT, vec![sized(shape.input)]),
            Encoding::Embedding(_) | Encoding::OneHot => given("tokens", INT64, Vec::new()),
        };
        self.graph.input.push(input);
        let x = match shape.encoding {
            Encoding::Values => "x".to_owned(),
            Encoding::Embedding(_) => {
                let name = network.naming.of(Role::Embedding);
                let table = self.parameter(&name)?;
                self.node("Gather", &module(&name), &[&table, "tokens"], "embedded", &[])
            }
            Encoding::OneHot => {
                let depth = self.ints("vocabulary", &[shape.input as i64], false);
                let values = self.floats("no_and_yes", vec![0.0, 1.0], &[2]);
                let inputs = ["tokens", &*depth, &*values];
                self.node("OneHot", "", &inputs, "one_hot", &[int("axis", -1)])
            }
        };
        let perm = [ints("perm", &[1, 0, 2])];
        Ok(match self.batch_first {
            true => self.node("Transpose", "", &[&x], "time_major", &perm),
            false => x,
        })
    }

    /// The layers: what the top one gives, `[T, B, D H]`, and final hidden and cell states, `[D, B, H]` of each.
    fn layers(&mut self, x: String) -> Result<(String, [Vec<String>; 2])> {
        let network = self.network;
        let shape = &network.shape;
        if self.lstm && !shape.learned_state {
            let states = shape.layers * shape.directions();
            for name in ["h_0", "c_0"] {
                let dims = vec![sized(states), named("batch"), sized(shape.hidden)];
                self.graph.input.push(info(name, FLOAT, dims));
            }
        }
        if shape.learned_state {
            let (given, rows) = (self.graph.input[0].name.clone(), i64::from(!self.batch_first));
            let range = [int("start", rows), int("end", rows + 1)];
            self.node("Shape", "", &[&given], "batch", &range);
        }
        let merged = self.ints("merged", &[0, 0, -1], true);
        let (mut x, mut states) = (x, [Vec::new(), Vec::new()]);
        for l in 0..shape.layers {
            let hidden = shape.units(l);
            let [w, r, b, p] = self.weights(l);
            let begins = [("h_0", Role::InitialH), ("c_0", Role::InitialC)];
            let [h, c] = begins.map(|(name, role)| self.begin(l, name, role));
            let (h, c) = (h?, c?);
            let mut inputs = vec![&*x, &w, &r, &b, "", &h, &c, &p];
            while inputs.last() == Some(&"") {
                inputs.pop();
            }
            let prefix = module(&network.naming.of(Role::WeightIh(l, 0)));
            // Not as the inputs `h_0` and `c_0` are called.
            let outputs = ["outputs", "hidden", "cell"].map(|name| format!("{name}_l{l}"));
            self.graph.node.push(Node {
                input: inputs.iter().map(|&name| name.to_owned()).collect(),
                output: outputs.to_vec(),
                name: format!("{prefix}/LSTM_l{l}"),
                op_type: "LSTM".to_owned(),
                attribute: attributes(&shape.cell, hidden, shape.directions(), shape.reverse),
                domain: String::new(),
            });
            let [y, h, c] = outputs;
            let perm = [ints("perm", &[0, 2, 1, 3])];
            let turned = self.node("Transpose", "", &[&y], &format!("y_{l}_turned"), &perm);
            x = self.node("Reshape", "", &[&turned, &merged], &format!("y_{l}_merged"), &[]);
            states[0].push(h);
            states[1].push(c);
        }
        Ok((x, states))
    }

    /// What a layer begins with: its part of the given states, or of the learned ones for each row; else nothing.
    fn begin(&mut self, l: usize, name: &str, role: Role) -> Result<String> {
        let network = self.network;
        let (directions, hidden) = (network.shape.directions(), network.shape.units(l));
        let (from, to) = (l * directions, (l + 1) * directions);
        let out = format!("{name}_of_{l}");
        if network.shape.learned_state {
            let all = self.tensor(&network.naming.of(role))?;
            let own = all.data()[from * hidden..to * hidden].to_vec();
            let known = self.floats(&format!("{name}_l{l}"), own, &[directions, 1, hidden]);
            let sizes = [directions, hidden];
            let [d, h] = sizes.map(|n| self.ints(&format!("size_{n}"), &[n as i64], true));
            let (size, axis) = (format!("{name}_size_{l}"), [int("axis", 0)]);
            let size = self.node("Concat", "", &[&d, "batch", &h], &size, &axis);
            return Ok(self.node("Expand", "", &[&known, &size], &out, &[]));
        }
        if self.lstm {
            let [from, to, axis] =
                [from, to, 0].map(|at| self.ints(&format!("at_{at}"), &[at as i64], true));
            return Ok(self.node("Slice", "", &[name, &from, &to, &axis], &out, &[]));
        }
        Ok(String::new())
    }

    /// The outputs of an LSTM alone.
    fn states(&mut self, y: &str, states: &[Vec<String>; 2]) {
        let shape = &self.network.shape;
        let first = match self.batch_first {
            true => {
                self.node("Transpose", "", &[y], "y", &[ints("perm", &[1, 0, 2])]);
                [named("batch"), named("time")]
            }
            false => {
                self.node("Identity", "", &[y], "y", &[]);
                [named("time"), named("batch")]
            }
        };
        let dims = [first.to_vec(), vec![sized(shape.features())]].concat();
        self.graph.output.push(info("y", FLOAT, dims));
        for (name, all) in ["h_n", "c_n"].into_iter().zip(states) {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            self.node("Concat", "", &all, name, &[int("axis", 0)]);
            let states = shape.layers * shape.directions();
            let dims = vec![sized(states), named("batch"), sized(shape.hidden)];
            self.graph.output.push(info(name, FLOAT, dims));
        }
    }

    /// The output of a model with a head.
    fn prediction(&mut self, y: &str, states: &[String]) -> Result<()> {
        let shape = &self.network.shape;
        let every = shape.readout == Readout::EveryStep;
        let read = self.readout(shape.readout, y, states);
        let made = self.head(read, every)?;
        self.node("Identity", "", &[&made], "y", &[]);
        let time = if every { vec![named("time")] } else { Vec::new() };
        let outputs = vec![sized(shape.head.width(shape.features()))];
        self.graph.output.push(info("y", FLOAT, [vec![named("batch")], time, outputs].concat()));
        Ok(())
    }

    /// A parameter that isn't written as it is.
    fn tensor(&self, name: &str) -> Result<&Array> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::StateDict { problem: format!("{name} is missing") })
    }

    /// A parameter as a constant of its name, written once.
    fn parameter(&mut self, name: &str) -> Result<String> {
        let written = |tensor: &Tensor| tensor.name == name;
        if !self.graph.initializer.iter().any(written) {
            let array = self.tensor(name)?;
            let (values, shape) = (array.data().to_vec(), array.shape().to_vec());
            self.floats(name, values, &shape);
        }
        Ok(name.to_owned())
    }

    fn floats(&mut self, name: &str, values: Vec<f32>, shape: &[usize]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, FLOAT, bytes, shape)
    }

    /// Whole numbers, a list of them or one.
    fn ints(&mut self, name: &str, values: &[i64], list: bool) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let shape = if list { vec![values.len()] } else { Vec::new() };
        self.constant(name, INT64, bytes, &shape)
    }

    fn constant(&mut self, name: &str, data_type: i32, bytes: Vec<u8>, shape: &[usize]) -> String {
        if !self.graph.initializer.iter().any(|tensor| tensor.name == name) {
            self.graph.initializer.push(Tensor {
                dims: shape.iter().map(|&size| size as i64).collect(),
                data_type,
                name: name.to_owned(),
                raw_data: bytes.into(),
                ..Tensor::default()
            });
        }
        name.to_owned()
    }

    /// An operator with one output, which is its result; its name is of a module, where there is one.
    fn node(
        &mut self,
        operator: &str,
        module: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[Attribute],
    ) -> String {
        self.graph.node.push(Node {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: if module.is_empty() { String::new() } else { format!("{module}/{operator}") },
            op_type: operator.to_owned(),
            attribute: attributes.to_vec(),
            domain: String::new(),
        });
        output.to_owned()
    }

    /// W, R, B and P of a layer; nothing for those that it hasn't.
    fn weights(&mut self, l: usize) -> [String; 4] {
        let shape = &self.network.shape;
        let (hidden, input) = (shape.units(l), shape.layer_input(l));
        [
            self.joined(l, "W", &[Role::WeightIh], &[4 * hidden, input]),
            self.joined(l, "R", &[Role::WeightHh], &[4 * hidden, hidden]),
            self.joined(l, "B", &[Role::BiasIh, Role::BiasHh], &[8 * hidden]),
            self.joined(l, "P", &[Role::WeightPeephole], &[3 * hidden]),
        ]
    }

    /// What a layer has of some kinds in its directions, `[D, ..]`, with gates in ONNX's order.
    fn joined(&mut self, l: usize, kind: &str, roles: &[OfLayer], sizes: &[usize]) -> String {
        let network = self.network;
        let (hidden, directions) = (network.shape.units(l), network.shape.directions());
        let (mut all, mut found) = (Vec::new(), false);
        for direction in 0..directions {
            for role in roles {
                match self.tensors.get(&network.naming.of(role(l, direction))) {
                    Some(array) => {
                        found = true;
                        all.extend(ordered(array.data(), kind == "P"));
                    }
                    // The second bias of a model with one.
                    None => all.extend(vec![0.0; 4 * hidden]),
                }
            }
        }
        if !found {
            return String::new();
        }
        let name = match module(&network.naming.of(Role::WeightIh(l, 0))).as_str() {
            "" => format!("{kind}_l{l}"),
            module => format!("{module}/{kind}_l{l}"),
        };
        self.floats(&name, all, &[&[directions], sizes].concat())
    }

    /// What the head reads: of the top layer's outputs `[T, B, F]` and final states `[D, B, H]`.
    fn readout(&mut self, readout: Readout, y: &str, states: &[String]) -> String {
        let over_time = [ints("axes", &[0]), int("keepdims", 0)];
        match readout {
            Readout::FinalStates => {
                let top = states.last().map_or("", String::as_str);
                let turned =
                    self.node("Transpose", "", &[top], "states", &[ints("perm", &[1, 0, 2])]);
                let all = self.ints("row", &[0, -1], true);
                self.node("Reshape", "", &[&turned, &all], "read", &[])
            }
            Readout::LastOutput => {
                let last = self.ints("last", &[-1], false);
                self.node("Gather", "", &[y, &last], "read", &[int("axis", 0)])
            }
            Readout::EveryStep => {
                self.node("Transpose", "", &[y], "read", &[ints("perm", &[1, 0, 2])])
            }
            Readout::MeanOverTime => self.node("ReduceMean", "", &[y], "read", &over_time),
            Readout::MaxOverTime => self.node("ReduceMax", "", &[y], "read", &over_time),
        }
    }

    /// The modules of the head on what is read, and what inference makes of the outputs.
    fn head(&mut self, read: String, every: bool) -> Result<String> {
        let network = self.network;
        let (mut x, mut linears) = (read, 0);
        let head = match &network.shape.head {
            Head::Sequence => Head::new(),
            head => head.clone(),
        };
        for (n, made) in head.modules().iter().enumerate() {
            let out = format!("made_{n}");
            x = match *made {
                HeadModule::Linear { bias, .. } => {
                    let roles = [Role::HeadWeight(linears), Role::HeadBias(linears)];
                    let names = roles.map(|role| network.naming.of(role));
                    linears += 1;
                    let weight = self.parameter(&names[0])?;
                    let bias = if bias { Some(self.parameter(&names[1])?) } else { None };
                    let path = module(&names[0]);
                    match every {
                        false => {
                            let inputs: Vec<&str> =
                                [Some(x.as_str()), Some(&weight), bias.as_deref()]
                                    .into_iter()
                                    .flatten()
                                    .collect();
                            self.node("Gemm", &path, &inputs, &out, &[int("transB", 1)])
                        }
                        true => {
                            let turned = format!("turned_{n}");
                            self.node(
                                "Transpose",
                                "",
                                &[&weight],
                                &turned,
                                &[ints("perm", &[1, 0])],
                            );
                            let product = match bias {
                                Some(_) => format!("product_{n}"),
                                None => out.clone(),
                            };
                            self.node("MatMul", &path, &[&x, &turned], &product, &[]);
                            if let Some(bias) = bias {
                                self.node("Add", &path, &[&product, &bias], &out, &[]);
                            }
                            out
                        }
                    }
                }
                HeadModule::Dropout(p) => {
                    let p = self.floats(&format!("p_{n}"), vec![p.0 as f32], &[]);
                    self.node("Dropout", "", &[&x, &p], &out, &[])
                }
                HeadModule::Nonlinearity(function) => self.function(function, &x, &out),
            };
        }
        Ok(match network.shape.output {
            None => x,
            Some(Activation::Softmax) => {
                self.node("Softmax", "", &[&x], "probabilities", &[int("axis", -1)])
            }
            Some(Activation::Sigmoid) => self.node("Sigmoid", "", &[&x], "probabilities", &[]),
        })
    }

    fn function(&mut self, function: Nonlinearity, x: &str, out: &str) -> String {
        match function {
            Nonlinearity::Relu => self.node("Relu", "", &[x], out, &[]),
            Nonlinearity::LeakyRelu => {
                self.node("LeakyRelu", "", &[x], out, &[float("alpha", 0.01)])
            }
            Nonlinearity::Elu => self.node("Elu", "", &[x], out, &[float("alpha", 1.0)]),
            Nonlinearity::Tanh => self.node("Tanh", "", &[x], out, &[]),
            Nonlinearity::Sigmoid => self.node("Sigmoid", "", &[x], out, &[]),
            Nonlinearity::Silu => {
                let gate = self.node("Sigmoid", "", &[x], &format!("{out}_gate"), &[]);
                self.node("Mul", "", &[x, &gate], out, &[])
            }
        }
    }
}

/// Gates i, f, g, o as i, o, f, g; peepholes i, f, o as i, o, f.
fn ordered(values: &[f32], peepholes: bool) -> Vec<f32> {
    let parts = if peepholes { 3 } else { 4 };
    let block = values.len() / parts;
    [&values[..block], &values[values.len() - block..], &values[block..values.len() - block]]
        .concat()
}

/// What a node `LSTM` says of its cell.
fn attributes(cell: &Cell, hidden: usize, directions: usize, reverse: bool) -> Vec<Attribute> {
    let direction = match (directions, reverse) {
        (2, _) => "bidirectional",
        (_, true) => "reverse",
        _ => "forward",
    };
    let mut all = vec![int("hidden_size", hidden as i64), text("direction", &[direction], false)];
    if cell.coupled {
        all.push(int("input_forget", 1));
    }
    all.extend(cell.clip.map(|bound| float("clip", bound)));
    let functions_of = |cell: &Cell| [cell.gate, cell.candidate, cell.output];
    let functions = functions_of(cell);
    if functions != functions_of(&Cell::new()) {
        let (mut names, mut alphas, mut betas) = (Vec::new(), Vec::new(), Vec::new());
        for function in std::iter::repeat_n(functions, directions).flatten() {
            names.push(function.name());
            let (_, alpha, beta) = function.code();
            let [alpha, beta] = [(alpha, 1), (beta, 2)]
                .map(|(number, which)| (function.numbers() >= which).then_some(number));
            alphas.extend(alpha);
            betas.extend(beta);
        }
        all.push(text("activations", &names, true));
        let list = |name: &str, values: Vec<f32>| {
            let (name, floats) = (name.to_owned(), values);
            (!floats.is_empty()).then(|| Attribute {
                name,
                floats,
                r#type: 6,
                ..Attribute::default()
            })
        };
        all.extend(list("activation_alpha", alphas));
        all.extend(list("activation_beta", betas));
    }
    all
}

/// The path of a parameter's module, as PyTorch's exporter names nodes: `/encoder/lstm` of `encoder.lstm.weight`.
fn module(parameter: &str) -> String {
    match parameter.rsplit_once('.') {
        Some((module, _)) if !module.is_empty() => format!("/{}", module.replace('.', "/")),
        _ => String::new(),
    }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i, r#type: 2, ..Attribute::default() }
}

fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.to_owned(), f, r#type: 1, ..Attribute::default() }
}

fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: name.to_owned(), ints: values.to_vec(), r#type: 7, ..Attribute::default() }
}

fn text(name: &str, texts: &[&str], list: bool) -> Attribute {
    let (name, mut strings) =
        (name.to_owned(), texts.iter().map(|text| text.as_bytes().to_vec().into()));
    match list {
        true => Attribute { name, strings: strings.collect(), r#type: 8, ..Attribute::default() },
        false => Attribute {
            name,
            s: strings.next().unwrap_or_default(),
            r#type: 3,
            ..Attribute::default()
        },
    }
}

fn info(name: &str, elem_type: i32, dim: Vec<Dim>) -> Info {
    let shape = Some(Dims { dim });
    let r#type = Some(Type { tensor_type: Some(TensorType { elem_type, shape }) });
    Info { name: name.to_owned(), r#type }
}

fn named(name: &str) -> Dim {
    Dim { dim_value: None, dim_param: Some(name.to_owned()) }
}

fn sized(size: usize) -> Dim {
    Dim { dim_value: i64::try_from(size).ok(), dim_param: None }
}
