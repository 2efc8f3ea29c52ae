//! ONNX models, through the crate `prost`: of the format's messages this reads those that a model with LSTMs needs,
//! and no crate that knows all of the format is kept as well.
//!
//! A file is a graph of operators. [`trace`] goes through it once: constants are computed, layouts followed, and
//! nodes `LSTM` become layers that stand on each other, with what the graph makes of their outputs for a head.

mod constant;
mod heads;
mod idioms;
mod layer;
mod layouts;
mod lstms;
mod node;
mod operators;
pub(crate) mod proto;
mod seen;
mod sizes;
mod trace;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::{Read, some};
use crate::checkpoint::{Checkpoint, StateDict};
use crate::error::{Error, Result};
use crate::import::clipped;
use crate::model::{LoadOptions, ModuleNames};
use crate::plan::{Activation, Head, HeadModule, Nonlinearity, Probability, Readout};
use crate::tensor::Array;
use constant::Beside;
use layer::{From, Layer};
use node::nodes;
use proto::{Graph, Model};
use seen::{Module, Read as ReadOf, Seen, Value};
use trace::Trace;

/// Reads the LSTMs of a model and what stands on them.
pub(super) fn read(path: &Path) -> Result<Read> {
    let bytes = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let len = bytes.len() as u64;
    of_bytes(path, bytes, len).map_err(|problem| Error::Import { path: path.to_owned(), problem })
}

fn of_bytes(path: &Path, bytes: Vec<u8>, len: u64) -> std::result::Result<Read, String> {
    let mut model = Model::of(bytes.into())?;
    let opset = model.opset();
    let graph = model.graph.take().ok_or("it is an ONNX file without a graph")?;
    let beside = Beside::of(path);
    let all = len.saturating_add(beside.len(graph.initializer.iter()));
    let traced = |branch: &str| {
        let (trace, outputs) = Trace::of(&graph, &beside, opset, all, branch)?;
        Built::of(trace, outputs)
    };
    let has_branches = graph.node.iter().any(|node| node.op_type == "If");
    let built = match traced("then_branch") {
        Ok(built) if built.problem.is_none() || !has_branches => built,
        first if has_branches => match traced("else_branch") {
            Ok(second) if second.problem.is_none() || first.is_err() => second,
            _ => first?,
        },
        first => first?,
    };
    if built.file.tensors.is_empty() {
        return Err(without_layers(&model, &graph, &built));
    }
    let producer = match model.producer_name.as_str() {
        "" => String::new(),
        name => format!(" of {} {}", clipped(name), clipped(&model.producer_version)),
    };
    let kind = format!("an ONNX model{}, operators of version {opset}", producer.trim_end());
    let Built { file, own, options, problem, converted, left_out } = built;
    Ok(Read { kind, file, own, options, no_forecaster: problem, converted, left_out })
}

/// Why there is no LSTM in a graph.
fn without_layers(model: &Model, graph: &Graph, built: &Built) -> String {
    let all = nodes(graph);
    let count = |names: &[&str]| all.iter().filter(|n| names.contains(&&*n.op_type)).count();
    let own: HashSet<&str> = model.functions.iter().map(|f| f.name.as_str()).collect();
    let advice = "import the weights from a file of the framework itself, or export a model of its LSTM \
                  layer (of PyTorch nn.LSTM, not a loop over nn.LSTMCell; of Keras take the .keras file)";
    match () {
        () if count(&["LSTM", "DynamicQuantizeLSTM"]) > 0 => {
            let said = built.left_out.iter().map(String::as_str);
            format!("none of its LSTMs can be brought in: {}", some(said))
        }
        () if all.iter().any(|node| own.contains(node.op_type.as_str())) => {
            "its operators are functions of the file's own: put them in their places with \
             onnx.inliner.inline_local_functions"
                .to_owned()
        }
        () if count(&["GRU", "RNN"]) > 0 => {
            "it has no LSTM: its recurrent layers are GRUs or plain ones".to_owned()
        }
        () if count(&["Loop", "Scan"]) > 0
            && count(&["MatMul", "Gemm"]) > 1
            && count(&["Tanh"]) > 0 =>
        {
            format!("it has no LSTM operator: its exporter has written a cell in a loop; {advice}")
        }
        () if count(&["Sigmoid"]) >= 3 && count(&["Tanh"]) >= 2 => format!(
            "it has no LSTM operator: its exporter has written the timesteps one after the other, {} of them; \
             {advice}",
            count(&["Sigmoid"]) / 3
        ),
        () => {
            let mut kinds: Vec<&str> = all.iter().map(|node| node.op_type.as_str()).collect();
            kinds.sort_unstable();
            kinds.dedup();
            format!("it has no LSTM; its operators are {}", some(kinds.into_iter()))
        }
    }
}

/// What a graph has become.
struct Built {
    file: Checkpoint,
    /// What is said of each LSTM, by what its names begin with.
    own: Vec<(String, LoadOptions)>,
    options: LoadOptions,
    /// Why there is no forecaster.
    problem: Option<String>,
    converted: Vec<String>,
    left_out: Vec<String>,
}

impl Built {
    fn of(mut trace: Trace<'_>, outputs: Vec<(&str, Value)>) -> std::result::Result<Built, String> {
        let layers = std::mem::take(&mut trace.layers);
        let mut converted: Vec<String> = trace.notes.iter().cloned().collect();
        let mut left_out: Vec<String> = trace.left_out.iter().cloned().collect();
        if trace.rounds() {
            left_out.push("the rounding of inputs and activations to 8 bits".to_owned());
        }
        let chains = chains(&layers);
        let mut names = Taken::default();
        // The modules of each chain, as the first of their layers and how many there are.
        let mut modules: Vec<Vec<(String, std::ops::Range<usize>)>> = Vec::new();
        for chain in &chains {
            let mut own: Vec<(String, std::ops::Range<usize>)> = Vec::new();
            for (at, &layer) in chain.iter().enumerate() {
                let above = at.checked_sub(1).map(|below| &layers[chain[below]]);
                match (above, own.last_mut()) {
                    (Some(below), Some((_, range))) if of_one_module(below, &layers[layer]) => {
                        range.end += 1;
                    }
                    _ => {
                        let name = layers[layer].name.clone();
                        own.push((names.free(name.as_deref().unwrap_or("lstm")), at..at + 1));
                    }
                }
            }
            modules.push(own);
        }
        let found = head(&layers, &outputs);
        let mut file = Checkpoint::default();
        let mut own = Vec::new();
        let mut options = LoadOptions::new();
        let mut problem = found.as_ref().err().cloned();
        match found {
            Err(_) => {}
            Ok(Found { top, readout, modules: made }) => {
                let of_chain = chains.iter().position(|chain| chain.last() == Some(&top));
                match of_chain {
                    None => problem = Some("its head stands on a layer below others".to_owned()),
                    Some(number) => {
                        let (chain, own) = (&chains[number], &modules[number]);
                        let prefixes: Vec<&str> =
                            own.iter().map(|(name, _)| name.as_str()).collect();
                        let mut of_modules = ModuleNames::new();
                        of_modules = match *prefixes {
                            [only] => of_modules.lstm(only),
                            _ => of_modules.lstms(&prefixes),
                        };
                        problem = differing(&layers, chain, own.len());
                        match &layers[chain[0]].from {
                            From::Input { batch_first, .. } => to_say(*batch_first, &mut converted),
                            From::OneHot { batch_first, .. } => {
                                to_say(*batch_first, &mut converted);
                                options = options.one_hot();
                            }
                            From::Embedding { which, batch_first } => {
                                to_say(*batch_first, &mut converted);
                                let name = names.free(&which.name);
                                let shape = which.table.shape.clone();
                                let table = array(which.table.clone().floats(), &shape)?;
                                file.tensors.push((format!("{name}.weight"), table));
                                of_modules = of_modules.embedding(&name);
                            }
                            From::Layer(_) => {
                                problem = Some("it stands on another LSTM".to_owned())
                            }
                            From::Other(what) => {
                                problem = Some(format!("its LSTM stands on {what}"));
                            }
                        }
                        let (head, activation, linears) = of_head(made, &mut names)?;
                        let heads: Vec<&str> =
                            linears.iter().map(|(name, ..)| name.as_str()).collect();
                        of_modules = match *heads {
                            [] => of_modules,
                            [only] => of_modules.head(only),
                            _ => of_modules.heads(&heads),
                        };
                        for (name, weight, bias) in &linears {
                            file.tensors.push((format!("{name}.weight"), weight.clone()));
                            let bias = bias.clone().map(|bias| (format!("{name}.bias"), bias));
                            file.tensors.extend(bias);
                        }
                        let bottom = &layers[chain[0]];
                        options = options.modules(head).names(of_modules).readout(readout);
                        options = options.cell(bottom.cell);
                        options = if bottom.reverse { options.reverse() } else { options };
                        options = match activation {
                            Some(activation) => options.output_activation(activation),
                            None => options,
                        };
                        if chains.len() > 1 {
                            options = options.leave_others();
                        }
                    }
                }
            }
        }
        let count: usize = chains.iter().map(Vec::len).sum();
        if count > 0 {
            let (layers, order) = (if count == 1 { "layer" } else { "layers" }, "i, o, f, c");
            converted.push(format!("gates of {count} {layers}, from ONNX's order {order}"));
        }
        for (_, value) in &outputs {
            if let Value::Unknown(why) = value
                && !why.starts_with("the final cell state")
            {
                left_out.push(format!("an output that is made by {why}"));
            }
        }
        let mut layers: Vec<Option<Layer>> = layers.into_iter().map(Some).collect();
        for (chain, modules) in chains.into_iter().zip(modules) {
            for (name, range) in modules {
                let of_module: Vec<Layer> =
                    chain[range].iter().filter_map(|&layer| layers[layer].take()).collect();
                let mut said = LoadOptions::new().cell(of_module[0].cell);
                if of_module[0].reverse {
                    said = said.reverse();
                }
                own.push((format!("{name}."), said));
                let tensors = tensors(of_module)?;
                file.tensors.extend(
                    tensors.into_iter().map(|(own, array)| (format!("{name}.{own}"), array)),
                );
            }
        }
        Ok(Built { file, own, options, problem, converted, left_out })
    }
}

/// A forecaster takes rows first.
fn to_say(batch_first: bool, converted: &mut Vec<String>) {
    if !batch_first {
        converted.push("input [T, B, ..] of the file is [B, T, ..] for a forecaster".to_owned());
    }
}

/// Names that are taken.
#[derive(Default)]
struct Taken(HashSet<String>);

impl Taken {
    fn free(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 2;
        while !self.0.insert(name.clone()) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        name
    }
}

/// Layers that stand on each other, the lowest first, each in one of them.
fn chains(layers: &[Layer]) -> Vec<Vec<usize>> {
    let is_there = |n: usize| !layers[n].directions.is_empty();
    let below = |n: usize| match layers[n].from {
        From::Layer(below) if is_there(below) => Some(below),
        _ => None,
    };
    let mut above: HashMap<usize, Vec<usize>> = HashMap::new();
    for n in (0..layers.len()).filter(|&n| is_there(n)) {
        if let Some(below) = below(n) {
            above.entry(below).or_default().push(n);
        }
    }
    let only = |n: usize| match above.get(&n).map(Vec::as_slice) {
        Some(&[only]) => Some(only),
        _ => None,
    };
    let starts = (0..layers.len())
        .filter(|&n| is_there(n) && below(n).is_none_or(|below| only(below).is_none()));
    starts.map(|start| std::iter::successors(Some(start), |&n| only(n)).collect()).collect()
}

/// Whether a layer is one more of the module that the one below it is of.
fn of_one_module(below: &Layer, layer: &Layer) -> bool {
    let biased = |layer: &Layer| layer.directions[0].biases.is_some();
    let kind = |layer: &Layer| (layer.hidden, layer.directions.len(), layer.reverse, biased(layer));
    kind(below) == kind(layer)
        && below.cell == layer.cell
        && below.name == layer.name
        && layer.input == layer.hidden * layer.directions.len()
}

/// Why the layers of a chain, in so many modules, are no model of this crate's.
fn differing(layers: &[Layer], chain: &[usize], modules: usize) -> Option<String> {
    let kind = |n: usize| {
        let layer = &layers[n];
        (layer.directions.len(), layer.reverse, layer.directions[0].biases.is_some())
    };
    let first = chain[0];
    if chain.iter().any(|&n| kind(n) != kind(first) || layers[n].cell != layers[first].cell) {
        return Some(
            "its LSTMs stand on each other and differ in more than their size: bring them in one by one"
                .to_owned(),
        );
    }
    if let Some(why) = chain.iter().find_map(|&n| layers[n].begins_by.as_ref()) {
        return Some(format!("its LSTM begins with states that are made by {why}"));
    }
    let learned = chain.iter().any(|&n| layers[n].initial.is_some());
    (learned && modules > 1).then(|| {
        "its LSTMs stand on each other with initial states of their own: bring them in one by one".to_owned()
    })
}

/// What a graph's outputs say of the model.
struct Found<'a> {
    top: usize,
    readout: Readout,
    modules: &'a [Module],
}

/// The prediction among the outputs of a graph.
fn head<'a>(
    layers: &[Layer],
    outputs: &'a [(&str, Value)],
) -> std::result::Result<Found<'a>, String> {
    let made: Vec<(&str, &Seen)> = outputs
        .iter()
        .filter_map(|(name, value)| match value {
            Value::Seen(seen) if seen.head().is_some() && seen.is_of_features() => {
                Some((*name, seen))
            }
            _ => None,
        })
        .collect();
    fn modules(seen: &Seen) -> &[Module] {
        match &seen.what {
            seen::What::Head(_, modules) => modules,
            _ => &[],
        }
    }
    let unknown = outputs.iter().find_map(|(_, value)| match value {
        Value::Unknown(why) if !why.starts_with("the final cell state") => Some(why),
        _ => None,
    });
    let with_head: Vec<_> = made.iter().filter(|(_, seen)| !modules(seen).is_empty()).collect();
    let (_, seen) = match (&*with_head, &*made, unknown) {
        ([only], ..) => *only,
        ([_, _, ..], ..) => {
            let names = with_head.iter().map(|(name, _)| *name);
            return Err(format!("it has several predictions, {}", some(names)));
        }
        ([], _, Some(why)) => return Err(format!("its prediction is made by {why}")),
        ([], [first, ..], _) => first,
        ([], [], None) => return Err("none of its outputs is a prediction".to_owned()),
    };
    let Some((read, _)) = seen.head() else { return Err("it has no prediction".to_owned()) };
    let (top, readout) = match read {
        ReadOf::Of(layer, readout) => (layer, readout),
        ReadOf::States(parts) => {
            let layer = parts.first().map_or(0, |part| part.0);
            let all = (0..layers[layer].directions.len()).map(|d| (layer, d));
            if !parts.iter().copied().eq(all) {
                let said: Vec<String> = parts
                    .iter()
                    .take(8)
                    .map(|(l, d)| format!("layer {l}, direction {d}"))
                    .collect();
                return Err(format!("its head reads the final states of {}", said.join("; ")));
            }
            (layer, Readout::FinalStates)
        }
    };
    Ok(Found { top, readout, modules: modules(seen) })
}

/// Linear layers by name, with their weights and biases.
type Linears = Vec<(String, Array, Option<Array>)>;

/// The modules of a head, what inference makes of its outputs, and its linear layers.
fn of_head(
    modules: &[Module],
    names: &mut Taken,
) -> std::result::Result<(Head, Option<Activation>, Linears), String> {
    let (made, activation) = match modules {
        [made @ .., Module::Softmax] => (made, Some(Activation::Softmax)),
        [made @ .., Module::Nonlinearity(Nonlinearity::Sigmoid)] => {
            (made, Some(Activation::Sigmoid))
        }
        made => (made, None),
    };
    let (mut head, mut linears) = (Head::new(), Vec::new());
    for module in made {
        head = head.then(match module {
            Module::Linear(linear) if linear.unscaled => {
                return Err("a linear layer of 8 bits has no scale".to_owned());
            }
            Module::Linear(linear) => {
                let wanted = if linear.name.is_empty() { "fc" } else { &linear.name };
                let name = names.free(wanted);
                let (outputs, bias) = (linear.outputs, linear.bias.clone());
                let weight = array(linear.weight.clone(), &[outputs, linear.features])?;
                let bias = bias.map(|bias| array(bias, &[outputs])).transpose()?;
                let module = HeadModule::Linear { outputs, bias: bias.is_some() };
                linears.push((name, weight, bias));
                module
            }
            Module::Nonlinearity(function) => HeadModule::Nonlinearity(*function),
            Module::Dropout(p) => HeadModule::Dropout(Probability(*p)),
            Module::Softmax => return Err("a softmax stands within its head".to_owned()),
        });
    }
    Ok((head, activation, linears))
}

fn array(values: Vec<f32>, shape: &[usize]) -> std::result::Result<Array, String> {
    Array::new(values, shape).map_err(|error| error.to_string())
}

/// The layers of a module under PyTorch's names.
fn tensors(layers: Vec<Layer>) -> std::result::Result<StateDict, String> {
    let mut tensors = StateDict::new();
    let (hidden, directions) = (layers[0].hidden, layers[0].directions.len());
    if layers.iter().any(|layer| layer.initial.is_some()) {
        let states = layers.len() * directions;
        for (which, name) in ["h_0", "c_0"].into_iter().enumerate() {
            let zeros = vec![0.0; directions * hidden];
            let all: Vec<f32> = layers
                .iter()
                .flat_map(|layer| layer.initial.as_ref().map_or(&zeros, |both| &both[which]))
                .copied()
                .collect();
            tensors.push((name.to_owned(), array(all, &[states, 1, hidden])?));
        }
    }
    for (l, layer) in layers.into_iter().enumerate() {
        let (input, rows) = (layer.input, 4 * hidden);
        for (d, direction) in layer.directions.into_iter().enumerate() {
            let suffix = format!("l{l}{}", if d == 1 { "_reverse" } else { "" });
            let mut push = |kind: &str, values: Vec<f32>, shape: &[usize]| {
                tensors.push((format!("{kind}_{suffix}"), array(values, shape)?));
                Ok::<(), String>(())
            };
            push("weight_ih", direction.weight_ih, &[rows, input])?;
            push("weight_hh", direction.weight_hh, &[rows, hidden])?;
            if let Some([ih, hh]) = direction.biases {
                push("bias_ih", ih, &[rows])?;
                push("bias_hh", hh, &[rows])?;
            }
            if let Some(peepholes) = direction.peepholes {
                push("weight_peephole", peepholes, &[3 * hidden])?;
            }
        }
    }
    Ok(tensors)
}
