//! What Keras says of a model: its layers, one on the other.

use std::collections::HashMap;

use serde_json::Value;

use crate::import::clipped;
use crate::plan::{Activation, Cell, CellActivation, HeadModule, Nonlinearity, Probability};

/// A layer of a model that is a chain.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Layer {
    Lstm(Lstm),
    Embedding {
        name: String,
        masks: bool,
    },
    Dense {
        name: String,
    },
    Module(HeadModule),
    Output(Activation),
    /// The mean over time, or the maximum.
    Pool {
        mean: bool,
    },
    /// Something that this crate hasn't.
    Other(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lstm {
    pub(super) name: String,
    pub(super) cell: Result<Cell, String>,
    pub(super) sequences: bool,
    pub(super) backwards: bool,
    pub(super) both: bool,
    pub(super) drops: bool,
    pub(super) stateful: bool,
}

/// Models in models, at most.
const DEPTH: usize = 16;

/// The layers of a model by its description, and why these aren't all that it is, if they aren't.
pub(super) fn layers(text: &str, version: &str) -> Result<(Vec<Layer>, Option<String>), String> {
    let config: Value = serde_json::from_str(text)
        .map_err(|error| format!("its description is broken: {error}"))?;
    let (mut found, mut problem) = (Vec::new(), None);
    let keras_3 = !version.starts_with(['0', '1', '2']);
    gather(&config, "", keras_3, DEPTH, &mut found, &mut problem);
    Ok((found, problem))
}

fn gather(
    model: &Value,
    prefix: &str,
    keras_3: bool,
    depth: usize,
    found: &mut Vec<Layer>,
    problem: &mut Option<String>,
) {
    // Of the oldest models it is a list.
    let config = &model["config"];
    let listed = config.as_array().or_else(|| config["layers"].as_array());
    let (Some(listed), Some(depth)) = (listed, depth.checked_sub(1)) else {
        problem.get_or_insert("the file doesn't say how its layers stand on each other".to_owned());
        return;
    };
    let mut below = None::<&str>;
    for layer in listed {
        let class = layer["class_name"].as_str().unwrap_or_default();
        let config = &layer["config"];
        let own = layer["name"].as_str().or(config["name"].as_str()).unwrap_or_default();
        let inbound = &layer["inbound_nodes"];
        if inbound.as_array().is_some_and(|nodes| !nodes.is_empty()) {
            let mut given = Vec::new();
            histories(inbound, &mut given);
            // The first of what the layer below gives, and nothing else: not its states, nor states to begin with.
            if given.len() != 1 || given[0].1 != 0 || Some(given[0].0) != below {
                problem.get_or_insert_with(|| {
                    format!("its layers aren't a chain: {} stands on others", clipped(own))
                });
            }
        } else if class != "InputLayer" && below.is_some() && layer.get("inbound_nodes").is_some() {
            problem.get_or_insert("its layers aren't a chain".to_owned());
        }
        let name = match prefix {
            "" => own.replace(['/', '.'], "_"),
            _ => format!("{prefix}.{}", own.replace(['/', '.'], "_")),
        };
        match class {
            "Sequential" | "Functional" | "Model" => {
                gather(layer, &name, keras_3, depth, found, problem);
            }
            _ => of_class(class, config, &name, keras_3, found),
        }
        below = Some(own);
    }
    if let Some(outputs) = config.get("output_layers") {
        let mut given = Vec::new();
        tensors_of(outputs, &mut given);
        if given.len() != 1 || given[0].1 != 0 || Some(given[0].0) != below {
            problem.get_or_insert("its outputs aren't those of its last layer".to_owned());
        }
    }
}

/// The tensors of layers that a list names.
fn tensors_of<'a>(value: &'a Value, found: &mut Vec<(&'a str, u64)>) {
    match value.as_array().map(Vec::as_slice) {
        Some([Value::String(name), Value::Number(_), Value::Number(tensor), ..]) => {
            found.push((name, tensor.as_u64().unwrap_or(u64::MAX)));
        }
        Some(all) => all.iter().for_each(|value| tensors_of(value, found)),
        None => {}
    }
}

/// The names of layers by the paths of their groups, which are numbered by class: `layers/lstm_1` is the second LSTM
/// of a model, whatever it is called.
pub(super) fn names(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    if let Ok(config) = serde_json::from_str::<Value>(text) {
        name_groups(&config, "", DEPTH, &mut found);
    }
    found
}

fn name_groups(model: &Value, path: &str, depth: usize, found: &mut HashMap<String, String>) {
    let config = &model["config"];
    let listed = config.as_array().or_else(|| config["layers"].as_array());
    let (Some(listed), Some(depth)) = (listed, depth.checked_sub(1)) else { return };
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for layer in listed {
        let class = snake(layer["class_name"].as_str().unwrap_or_default());
        let number = numbers.entry(class.clone()).or_default();
        let group = match *number {
            0 => format!("{path}layers/{class}"),
            number => format!("{path}layers/{class}_{number}"),
        };
        *number += 1;
        let own = layer["name"].as_str().or(layer["config"]["name"].as_str());
        name_groups(layer, &format!("{group}/"), depth, found);
        found.extend(own.map(|own| (group, own.to_owned())));
    }
}

/// A class as Keras writes it in a group's name.
fn snake(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut name = String::new();
    for (i, letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| letters[i].is_lowercase());
        let behind = letters.get(i + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && before.is_some_and(|lower| lower || behind) {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The layers that a node says it stands on, and which of their tensors.
fn histories<'a>(value: &'a Value, found: &mut Vec<(&'a str, u64)>) {
    match value {
        Value::Object(fields) => match fields.get("keras_history") {
            Some(history) => tensors_of(history, found),
            None => fields.values().for_each(|value| histories(value, found)),
        },
        Value::Array(all) => match &**all {
            // Keras 2: a name, two numbers and what else a call was given.
            [Value::String(_), Value::Number(_), Value::Number(_), rest @ ..] => {
                tensors_of(value, found);
                rest.iter().for_each(|value| histories(value, found));
            }
            all => all.iter().for_each(|value| histories(value, found)),
        },
        _ => {}
    }
}

fn of_class(class: &str, config: &Value, name: &str, keras_3: bool, found: &mut Vec<Layer>) {
    let is = |key: &str| config[key].as_bool().unwrap_or(false);
    let nonlinearity = |function| Layer::Module(HeadModule::Nonlinearity(function));
    match class {
        // In inference these leave everything as it is.
        "InputLayer" | "ActivityRegularization" | "GaussianNoise" | "SpatialDropout1D" => {}
        "Masking" => found.push(Layer::Other("Masking".to_owned())),
        "Dropout" => {
            let rate = config["rate"].as_f64().unwrap_or(0.0);
            let module = HeadModule::Dropout(Probability(rate));
            found.extend((0.0..1.0).contains(&rate).then_some(Layer::Module(module)));
        }
        "LSTM" if is("time_major") => {
            found.push(Layer::Other("an LSTM with time_major".to_owned()))
        }
        "LSTM" | "CuDNNLSTM" => found.push(Layer::Lstm(lstm(config, name, keras_3))),
        "Bidirectional" => {
            let inner = &config["layer"];
            let merged = config["merge_mode"].as_str().unwrap_or("none");
            match inner["class_name"].as_str() {
                Some("LSTM" | "CuDNNLSTM") if merged == "concat" => {
                    let own = lstm(&inner["config"], name, keras_3);
                    let other = &config["backward_layer"]["config"];
                    let back = lstm(
                        if other.is_object() { other } else { &inner["config"] },
                        name,
                        keras_3,
                    );
                    let alike = back.cell == own.cell
                        && (!other.is_object()
                            || back.backwards && other["units"] == inner["config"]["units"]);
                    found.push(match own.backwards || !alike {
                        true => Layer::Other(
                            "Bidirectional with a backward layer of its own".to_owned(),
                        ),
                        false => Layer::Lstm(Lstm { both: true, ..own }),
                    });
                }
                Some("LSTM" | "CuDNNLSTM") => found.push(Layer::Other(format!(
                    "Bidirectional with merge_mode {}",
                    clipped(merged)
                ))),
                other => {
                    let other = clipped(other.unwrap_or("something"));
                    found.push(Layer::Other(format!("Bidirectional of {other}")));
                }
            }
        }
        "Embedding" => {
            found.push(Layer::Embedding { name: name.to_owned(), masks: is("mask_zero") });
        }
        "TimeDistributed" => match config["layer"]["class_name"].as_str() {
            Some("Dense") => of_class("Dense", &config["layer"]["config"], name, keras_3, found),
            other => {
                let other = clipped(other.unwrap_or("something"));
                found.push(Layer::Other(format!("TimeDistributed of {other}")));
            }
        },
        "Dense" => {
            found.push(Layer::Dense { name: name.to_owned() });
            function(&config["activation"], found);
        }
        "Activation" => function(&config["activation"], found),
        "ReLU"
            if config["max_value"].is_null()
                && config["negative_slope"].as_f64().unwrap_or(0.0) == 0.0
                && config["threshold"].as_f64().unwrap_or(0.0) == 0.0 =>
        {
            found.push(nonlinearity(Nonlinearity::Relu));
        }
        "ELU" if config["alpha"].as_f64().unwrap_or(1.0) == 1.0 => {
            found.push(nonlinearity(Nonlinearity::Elu));
        }
        "Softmax" if config["axis"].as_i64().unwrap_or(-1) == -1 && !config["axis"].is_array() => {
            found.push(Layer::Output(Activation::Softmax))
        }
        "GlobalAveragePooling1D" | "GlobalMaxPooling1D"
            if config["data_format"].as_str().unwrap_or("channels_last") == "channels_last"
                && !is("keepdims") =>
        {
            found.push(Layer::Pool { mean: class == "GlobalAveragePooling1D" });
        }
        other => found.push(Layer::Other(clipped(other))),
    }
}

/// The function behind a layer.
fn function(said: &Value, found: &mut Vec<Layer>) {
    let nonlinearity = |function| Layer::Module(HeadModule::Nonlinearity(function));
    found.push(match said.as_str().or(said["config"].as_str()) {
        None if said.is_null() => return,
        Some("linear") => return,
        Some("relu") => nonlinearity(Nonlinearity::Relu),
        Some("tanh") => nonlinearity(Nonlinearity::Tanh),
        Some("elu") => nonlinearity(Nonlinearity::Elu),
        Some("silu" | "swish") => nonlinearity(Nonlinearity::Silu),
        Some("sigmoid") => Layer::Output(Activation::Sigmoid),
        Some("softmax") => Layer::Output(Activation::Softmax),
        other => Layer::Other(format!("the activation {}", clipped(other.unwrap_or("of its own")))),
    });
}

fn lstm(config: &Value, name: &str, keras_3: bool) -> Lstm {
    let is = |key: &str| config[key].as_bool().unwrap_or(false);
    let rate = |key: &str| config[key].as_f64().unwrap_or(0.0) > 0.0;
    let of = |key: &str, usual: &str| {
        let said = config[key].as_str().or(config[key]["config"].as_str());
        // CuDNNLSTM says none: it has the usual ones.
        let said = if config[key].is_null() { Some(usual) } else { said };
        Ok(match said {
            Some("sigmoid") => CellActivation::Sigmoid,
            Some("tanh") => CellActivation::Tanh,
            Some("relu") => CellActivation::Relu,
            Some("linear") => CellActivation::Affine { alpha: 1.0, beta: 0.0 },
            Some("elu") => CellActivation::Elu { alpha: 1.0 },
            Some("softsign") => CellActivation::Softsign,
            Some("softplus") => CellActivation::Softplus,
            Some("hard_sigmoid") if keras_3 => CellActivation::HARD_SIGMOID_KERAS_3,
            Some("hard_sigmoid") => CellActivation::HARD_SIGMOID,
            other => return Err(clipped(other.unwrap_or("one of its own"))),
        })
    };
    let cell = || {
        let function = of("activation", "tanh")?;
        let cell = Cell::new().gate_activation(of("recurrent_activation", "sigmoid")?);
        Ok(cell.candidate_activation(function).output_activation(function))
    };
    Lstm {
        name: name.to_owned(),
        cell: cell(),
        sequences: is("return_sequences"),
        backwards: is("go_backwards"),
        both: false,
        drops: rate("dropout") || rate("recurrent_dropout"),
        stateful: is("stateful"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_as_keras_writes_them() {
        for (class, name) in [
            ("LSTM", "lstm"),
            ("InputLayer", "input_layer"),
            ("GlobalAveragePooling1D", "global_average_pooling1d"),
            ("CuDNNLSTM", "cu_dnnlstm"),
        ] {
            assert_eq!(snake(class), name);
        }
    }
}
