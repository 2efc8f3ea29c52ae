//! Models of Keras, through the crates `hdf5-reader` and `zip`.
//!
//! Of the pure-Rust crates for HDF5 `hdf5-reader` is the one that reads alone, and whose own tests are of corrupt files
//! and of chunks that unpack to more than they should; it takes limits, and follows no link to another file unless it
//! is told how.

mod config;
mod weights;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::{Read, clipped, some, transposed};
use crate::checkpoint::{Checkpoint, Kind as FileKind, StateDict, from_keras};
use crate::error::{Error, Result};
use crate::model::{LoadOptions, ModuleNames};
use crate::plan::{Activation, Head, HeadModule, Nonlinearity, Readout};
use crate::tensor::Array;
use config::{Layer, Lstm};
use weights::{Kind, Tensors, Weights};

/// What is said of something, or why not.
type Said<T> = std::result::Result<T, String>;

/// Reads the LSTMs of a file of `len` bytes, and what stands on them.
pub(super) fn read(path: &Path, len: u64, kind: FileKind) -> Result<Read> {
    let refused = |problem: String| Error::Import { path: path.to_owned(), problem };
    let failed = |source| Error::Io { path: path.to_owned(), source };
    if kind != FileKind::Keras {
        let weights = Weights::of(fs::read(path).map_err(failed)?, &HashMap::new());
        let weights = weights.map_err(refused)?;
        let (config, version) = (weights.config.clone(), weights.version.clone());
        return of_weights(weights, config, version).map_err(refused);
    }
    let broken =
        |error: zip::result::ZipError| refused(format!("it isn't a whole archive: {error}"));
    let mut archive =
        zip::ZipArchive::new(fs::File::open(path).map_err(failed)?).map_err(broken)?;
    let most = len.saturating_mul(2).saturating_add(1 << 20);
    let mut entry = |name: &str| -> Result<Option<Vec<u8>>> {
        let entry = match archive.by_name(name) {
            Ok(entry) => entry,
            Err(zip::result::ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(broken(error)),
        };
        let room = usize::try_from(entry.size().min(most)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(room);
        let read = entry.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|error| refused(format!("{name} isn't whole: {error}")))?;
        match bytes.len() as u64 > most {
            true => Err(refused(format!("{name} unpacks to more than twice the file"))),
            false => Ok(Some(bytes)),
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let config = entry("config.json")?.and_then(text);
    let about = entry("metadata.json")?.and_then(text);
    let about: Option<serde_json::Value> = about.and_then(|text| serde_json::from_str(&text).ok());
    let version = about.and_then(|about| Some(about["keras_version"].as_str()?.to_owned()));
    let Some(bytes) = entry("model.weights.h5")? else {
        let problem = "model.weights.h5 isn't in it; of weights in several files, save them in one";
        return Err(refused(problem.to_owned()));
    };
    let names = config.as_deref().map(config::names).unwrap_or_default();
    let weights = Weights::of(bytes, &names).map_err(refused)?;
    of_weights(weights, config, version).map_err(refused)
}

fn of_weights(mut weights: Weights, config: Option<String>, version: Option<String>) -> Said<Read> {
    let version = clipped(version.as_deref().unwrap_or(""));
    let described = config.as_deref().map(|text| config::layers(text, &version)).transpose()?;
    let (chain, problem) = described.unwrap_or_else(|| {
        (
            Vec::new(),
            Some("a file of weights doesn't say how its layers stand on each other".to_owned()),
        )
    });
    let kind = match (&config, version.as_str()) {
        (None, _) => "weights of Keras".to_owned(),
        (_, "") => "a Keras model".to_owned(),
        (_, version) => format!("a model of Keras {version}"),
    };
    let file = Checkpoint { left_out: weights.left_out.clone(), ..Checkpoint::default() };
    let mut read = Read { kind, ..Read::of(file) };
    let of_chain = |name: &str| {
        chain.iter().find_map(|layer| match layer {
            Layer::Lstm(lstm) if lstm.name == name => Some(lstm),
            _ => None,
        })
    };

    // The LSTMs, each a module.
    let mut there = HashSet::new();
    for name in &weights.cells {
        // They aren't held twice.
        let directions = [0, 1].map(|d| weights.layers.remove(&(name.clone(), d)));
        let lstm = of_chain(name);
        if weights.twice.contains(name) {
            read.left_out.push(format!("{name}, a cell of several cells"));
            continue;
        }
        if let Some(Err(function)) = lstm.map(|lstm| &lstm.cell) {
            read.left_out.push(format!("{name}, whose activation is {function}"));
            continue;
        }
        let mut own = LoadOptions::new();
        if let Some(Ok(cell)) = lstm.map(|lstm| &lstm.cell) {
            own = own.cell(*cell);
        }
        if lstm.is_some_and(|lstm| lstm.backwards) {
            own = own.reverse();
        }
        let mut tensors = StateDict::new();
        for (direction, suffix) in directions.into_iter().zip(["l0", "l0_reverse"]) {
            if let Some(direction) = direction {
                tensors.extend(layer(&direction, suffix, name, &mut read.converted)?);
            }
        }
        if tensors.is_empty() {
            read.left_out.push(format!("{name}, a recurrent layer that is no LSTM"));
            continue;
        }
        let prefixed = |(own, array): (String, Array)| (format!("{name}.{own}"), array);
        read.file.tensors.extend(tensors.into_iter().map(prefixed));
        read.own.push((format!("{name}."), own));
        there.insert(name.clone());
        if let Some(lstm) = lstm {
            if lstm.drops {
                read.left_out.push(format!("{name}'s dropout, which plays no part in inference"));
            }
            if lstm.stateful {
                read.left_out
                    .push(format!("that {name} is stateful: a call gives and returns states"));
            }
        } else {
            read.left_out.push(format!(
                "{name}'s activations, of which the file says nothing: sigmoid and tanh are taken"
            ));
        }
    }
    if !there.is_empty() {
        read.converted.push("kernels transposed".to_owned());
    }
    match assembled(&chain, problem, &weights, &there, &mut read) {
        Ok(options) => read.options = options,
        Err(problem) => {
            read.no_forecaster = Some(problem);
            // Linear layers by their shapes, for whoever puts the model together.
            if config.is_none() {
                by_shapes(&weights, &there, &mut read)?;
                read.no_forecaster = None;
            }
        }
    }
    if weights.others > 0 {
        read.left_out.push(format!("{} tensors of optimizers and others", weights.others));
    }
    if there.is_empty() {
        let names = weights.layers.keys().map(|(name, _)| name.as_str());
        let names = names.chain(weights.cells.iter().map(String::as_str));
        let said: Vec<&str> = read.left_out.iter().map(String::as_str).collect();
        let more = if said.is_empty() {
            String::new()
        } else {
            format!("; left out: {}", some(said.into_iter()))
        };
        return Err(format!("no LSTM is among its layers: {}{more}", some(names)));
    }
    Ok(read)
}

/// A layer in one direction under PyTorch's names, or nothing for a cell that is no LSTM's.
fn layer(
    tensors: &Tensors,
    suffix: &str,
    name: &str,
    converted: &mut Vec<String>,
) -> Said<StateDict> {
    let (Some(kernel), Some(recurrent)) =
        (tensors.get(&Kind::Kernel), tensors.get(&Kind::Recurrent))
    else {
        return Ok(StateDict::new());
    };
    let (&[_, rows], &[hidden, columns]) = (kernel.shape(), recurrent.shape()) else {
        return Ok(StateDict::new());
    };
    if rows != columns || Some(rows) != hidden.checked_mul(4) {
        return Ok(StateDict::new());
    }
    let bias = tensors.get(&Kind::Bias);
    if let Some(bias) = bias.filter(|bias| bias.shape() == [2 * rows]) {
        converted.push(format!("{name}, a CuDNNLSTM: blocks of its own order, two biases"));
        return of_cudnn(kernel, recurrent, bias, suffix).map_err(|error| error.to_string());
    }
    from_keras(kernel, recurrent, bias, suffix).map_err(|error| format!("{name}: {error}"))
}

/// The weights of a CuDNNLSTM, whose shapes are a plain LSTM's: of each gate the kernel's block holds `[H, I]` row by
/// row, and the recurrent block is as PyTorch has it. Its bias is the input's and the hidden state's, `[8H]`.
fn of_cudnn(kernel: &Array, recurrent: &Array, bias: &Array, suffix: &str) -> Result<StateDict> {
    let (input, hidden) = (kernel.shape()[0], recurrent.shape()[0]);
    let rows = 4 * hidden;
    // A gate's block, row by row.
    let blocks = |array: &Array, height: usize| -> Vec<f32> {
        let of_gate = |gate: usize| {
            (0..height).flat_map(move |row| {
                let start = row * rows + gate * hidden;
                array.data()[start..start + hidden].iter().copied()
            })
        };
        (0..4).flat_map(of_gate).collect()
    };
    let (first, second) = bias.data().split_at(rows);
    Ok(vec![
        (format!("weight_ih_{suffix}"), Array::new(blocks(kernel, input), &[rows, input])?),
        (format!("weight_hh_{suffix}"), Array::new(blocks(recurrent, hidden), &[rows, hidden])?),
        (format!("bias_ih_{suffix}"), Array::new(first.to_vec(), &[rows])?),
        (format!("bias_hh_{suffix}"), Array::new(second.to_vec(), &[rows])?),
    ])
}

/// The first and the second tensor of a layer, a matrix and what is added.
fn linear(tensors: &Tensors) -> (Option<&Array>, Option<&Array>) {
    let first = tensors.get(&Kind::Kernel).or_else(|| tensors.get(&Kind::Variable(0)));
    let second = tensors.get(&Kind::Bias).or_else(|| tensors.get(&Kind::Variable(1)));
    (first, second)
}

/// The model that a chain of layers is: its options, and its head's and embedding's tensors among those read.
fn assembled(
    chain: &[Layer],
    problem: Option<String>,
    weights: &Weights,
    there: &HashSet<String>,
    read: &mut Read,
) -> Said<LoadOptions> {
    if let Some(problem) = problem {
        return Err(problem);
    }
    let of = |name: &str| {
        let tensors = weights.layers.get(&(name.to_owned(), 0));
        tensors.ok_or_else(|| format!("{name} has no weights in the file"))
    };
    let first = chain.iter().position(|layer| matches!(layer, Layer::Lstm(_)));
    let first = first.ok_or_else(|| match chain.first() {
        Some(layer) => format!("it has {}", called(layer)),
        None => "its description has no LSTM".to_owned(),
    })?;
    let (below, rest) = chain.split_at(first);
    let mut names = ModuleNames::new();
    let mut options = LoadOptions::new();
    let mut tensors = StateDict::new();
    match below {
        [] => {}
        // Dropout below the first LSTM, or behind the embedding, plays no part in inference.
        [Layer::Embedding { name, masks }, rest @ ..] if rest.iter().all(is_dropout) => {
            let (Some(table), _) = linear(of(name)?) else {
                return Err(format!("{name} has no weights in the file"));
            };
            tensors.push((format!("{name}.weight"), table.clone()));
            names = names.embedding(name);
            if *masks {
                read.left_out.push(format!("{name}'s mask: a call gives lengths"));
            }
        }
        layers if layers.iter().all(is_dropout) => {}
        [layer, ..] => return Err(format!("its LSTM stands on {}", called(layer))),
    }

    let mut lstms: Vec<&Lstm> = Vec::new();
    let mut rest = rest.iter();
    let mut next = rest.next();
    while let Some(layer) = next {
        match layer {
            Layer::Lstm(lstm) => lstms.push(lstm),
            Layer::Module(HeadModule::Dropout(_))
                if rest.clone().any(|l| matches!(l, Layer::Lstm(_))) => {}
            _ => break,
        }
        next = rest.next();
    }
    let head: Vec<&Layer> = next.into_iter().chain(rest).collect();
    let (Some(bottom), Some(top)) = (lstms.first(), lstms.last()) else {
        return Err("its description has no LSTM".to_owned());
    };
    for lstm in &lstms {
        if !there.contains(&lstm.name) {
            return Err(format!("{} has no weights in the file", lstm.name));
        }
        if lstm.cell != bottom.cell
            || lstm.both != bottom.both
            || lstm.backwards != bottom.backwards
        {
            return Err(
                "its LSTMs stand on each other and differ in more than their size".to_owned()
            );
        }
    }
    if let Some(lstm) = lstms[..lstms.len() - 1].iter().find(|lstm| !lstm.sequences) {
        return Err(format!("an LSTM stands on {}, which gives its last output alone", lstm.name));
    }
    if bottom.backwards && (lstms.len() > 1 || top.sequences) {
        return Err(format!("{} gives its outputs in reversed time", bottom.name));
    }
    let prefixes: Vec<&str> = lstms.iter().map(|lstm| lstm.name.as_str()).collect();
    names = match *prefixes {
        [only] => names.lstm(only),
        _ => names.lstms(&prefixes),
    };

    let mut readout = if top.sequences { Readout::EveryStep } else { Readout::FinalStates };
    let (mut made, mut linears) = (Head::new(), Vec::new());
    for (n, layer) in head.iter().enumerate() {
        made = match layer {
            Layer::Pool { mean } if n == 0 && top.sequences => {
                readout = if *mean { Readout::MeanOverTime } else { Readout::MaxOverTime };
                made
            }
            Layer::Dense { name } => {
                let (kernel, bias) = linear(of(name)?);
                let kernel = kernel.ok_or_else(|| format!("{name} has no kernel in the file"))?;
                let weight = transposed(kernel)?;
                let outputs = weight.shape()[0];
                tensors.push((format!("{name}.weight"), weight));
                tensors.extend(bias.map(|bias| (format!("{name}.bias"), bias.clone())));
                linears.push(name.as_str());
                made.then(HeadModule::Linear { outputs, bias: bias.is_some() })
            }
            Layer::Module(module) => made.then(*module),
            Layer::Output(activation) if n + 1 == head.len() => {
                options = options.output_activation(*activation);
                made
            }
            Layer::Output(Activation::Sigmoid) => made.nonlinearity(Nonlinearity::Sigmoid),
            other => return Err(format!("its head has {}", called(other))),
        };
    }
    names = match *linears {
        [] => names,
        [only] => names.head(only),
        _ => names.heads(&linears),
    };
    if let Ok(cell) = &bottom.cell {
        options = options.cell(*cell);
    }
    options = if bottom.backwards { options.reverse() } else { options };
    // Others of the file's LSTMs, and of those of several directions.
    if there.len() > lstms.len() {
        options = options.leave_others();
    }
    read.file.tensors.extend(tensors);
    Ok(options.names(names).modules(made).readout(readout))
}

fn is_dropout(layer: &Layer) -> bool {
    matches!(layer, Layer::Module(HeadModule::Dropout(_)))
}

/// A layer for a message.
fn called(layer: &Layer) -> String {
    match layer {
        Layer::Lstm(lstm) => format!("{}, an LSTM", lstm.name),
        Layer::Embedding { name, .. } => format!("{name}, an Embedding"),
        Layer::Dense { name } => format!("{name}, a Dense"),
        Layer::Module(module) => module.to_string(),
        Layer::Output(_) => "an activation in the middle".to_owned(),
        Layer::Pool { .. } => "a pooling that isn't over an LSTM's outputs".to_owned(),
        Layer::Other(what) => format!("{what}, which isn't read here"),
    }
}

/// Linear layers of a file that says nothing of its layers but their tensors.
fn by_shapes(weights: &Weights, there: &HashSet<String>, read: &mut Read) -> Said<()> {
    for ((name, direction), tensors) in &weights.layers {
        if there.contains(name) || *direction != 0 {
            continue;
        }
        match linear(tensors) {
            (Some(kernel), Some(bias))
                if tensors.len() == 2
                    && matches!(*kernel.shape(), [_, o] if *bias.shape() == [o]) =>
            {
                read.file.tensors.push((format!("{name}.weight"), transposed(kernel)?));
                read.file.tensors.push((format!("{name}.bias"), bias.clone()));
            }
            _ => read.left_out.push(format!("{name}, whose tensors are no linear layer's")),
        }
    }
    Ok(())
}
