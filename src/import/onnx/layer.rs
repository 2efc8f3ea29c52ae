//! A node `LSTM` as a layer: its weights in PyTorch's order of gates, and its cell.

use super::constant::Constant;
use super::proto::Node;
use crate::plan::{Cell, CellActivation};

/// A layer of a graph.
#[derive(Debug)]
pub(super) struct Layer {
    /// What its tensors or its node are called, if that says something.
    pub(super) name: Option<String>,
    pub(super) input: usize,
    pub(super) hidden: usize,
    /// Whether the only direction is from the end to the beginning.
    pub(super) reverse: bool,
    pub(super) directions: Vec<Direction>,
    pub(super) cell: Cell,
    /// Initial states `[D H]`, where they aren't zero.
    pub(super) initial: Option<[Vec<f32>; 2]>,
    /// What makes its initial states, where that is neither known nor given by the caller.
    pub(super) begins_by: Option<String>,
    /// What goes in.
    pub(super) from: From,
}

/// What goes into a layer.
#[derive(Clone, Debug)]
pub(super) enum From {
    /// An input of the graph, and whether its rows stand before its timesteps.
    Input {
        name: String,
        batch_first: bool,
    },
    /// Tokens, an input of the graph, each as a one among zeros.
    OneHot {
        name: String,
        batch_first: bool,
    },
    Embedding {
        which: std::rc::Rc<super::seen::Embedding>,
        batch_first: bool,
    },
    Layer(usize),
    /// Something else, in words.
    Other(String),
}

/// The weights of a direction, in PyTorch's layouts.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) weight_ih: Vec<f32>,
    pub(super) weight_hh: Vec<f32>,
    /// That of the input, and that of the hidden state.
    pub(super) biases: Option<[Vec<f32>; 2]>,
    pub(super) peepholes: Option<Vec<f32>>,
}

/// The constants that a node has for weights.
pub(super) struct Weights {
    /// `[D, 4H, I]`.
    pub(super) w: Constant,
    /// `[D, 4H, H]`.
    pub(super) r: Constant,
    /// `[D, 8H]`.
    pub(super) b: Option<Constant>,
    /// `[D, 3H]`.
    pub(super) p: Option<Constant>,
}

impl Layer {
    /// Of a node and its weights.
    pub(super) fn of(node: &Node, weights: Weights, opset: i64) -> Result<Layer, String> {
        let Weights { w, r, b, p } = weights;
        let (&[d, rows, input], &[dr, rr, hidden]) = (&*w.shape, &*r.shape) else {
            return Err(format!(
                "has W {:?} and R {:?}, not [D, 4H, I] and [D, 4H, H]",
                w.shape, r.shape
            ));
        };
        if rows % 4 != 0 || [rr, dr] != [rows, d] || 4 * hidden != rows || !(1..=2).contains(&d) {
            let hint = match rows > 0 && hidden < rows / 4 {
                true => ": if it was exported with a projection, the exporter has left that out",
                false => "",
            };
            return Err(format!(
                "has W {:?} and R {:?}, not [D, 4H, I] and [D, 4H, H]{hint}",
                w.shape, r.shape
            ));
        }
        let mut cell = self::cell(node, d, opset)?;
        let direction = node.text("direction").unwrap_or("forward");
        let expected = match direction {
            "bidirectional" => 2,
            "forward" | "reverse" => 1,
            other => return Err(format!("has direction {other:?}")),
        };
        if expected != d {
            return Err(format!("is {direction}, and its weights are of {d} directions"));
        }
        if let Some(size) = node.int("hidden_size").filter(|&size| size != hidden as i64) {
            return Err(format!("has hidden_size {size}, and its weights are of {hidden} units"));
        }
        let fits = |name: &str, c: &Option<Constant>, size: usize| match c {
            Some(c) if c.shape != [d, size] => {
                Err(format!("has {name} {:?}, not {:?}", c.shape, [d, size]))
            }
            _ => Ok(()),
        };
        fits("B", &b, 8 * hidden)?;
        fits("P", &p, 3 * hidden)?;
        if [input, hidden].contains(&0) {
            return Err("has no inputs or no units".to_owned());
        }
        // Gates i, o, f, c: the last three of four blocks turn, in place.
        let ordered = |mut all: Vec<f32>| {
            let block = all.len() / 4;
            all[block..].rotate_left(block);
            all
        };
        let halves = |all: Constant| {
            let mut first = all.floats();
            let second = if d == 2 { first.split_off(first.len() / 2) } else { Vec::new() };
            [first, second].into_iter()
        };
        let [mut w, mut r] = [w, r].map(halves);
        let mut b = b.map(halves);
        let mut p = p.map(halves);
        let mut directions = Vec::new();
        for _ in 0..d {
            let biases = b.as_mut().and_then(Iterator::next).map(|mut both| {
                let second = both.split_off(4 * hidden);
                [ordered(both), ordered(second)]
            });
            // i, o, f.
            let peepholes = p.as_mut().and_then(Iterator::next).map(|mut all| {
                all[hidden..].rotate_left(hidden);
                all
            });
            let both = (w.next().map(ordered), r.next().map(ordered));
            let (Some(weight_ih), Some(weight_hh)) = both else { continue };
            directions.push(Direction { weight_ih, weight_hh, biases, peepholes });
        }
        cell = cell.peepholes(directions.iter().any(|direction| direction.peepholes.is_some()));
        Ok(Layer {
            name: None,
            input,
            hidden,
            reverse: direction == "reverse",
            directions,
            cell,
            initial: None,
            begins_by: None,
            from: From::Other("nothing".to_owned()),
        })
    }
}

/// The cell that the attributes say. Where they are silent of `alpha` and `beta`, it is as ONNX Runtime computes
/// it: of some functions its numbers aren't those that the operator's text gives.
fn cell(node: &Node, directions: usize, opset: i64) -> Result<Cell, String> {
    if opset < 7 {
        return Err(format!("is of operators' version {opset}; 7 or later is read here"));
    }
    let mut cell = Cell::new();
    if let Some(attribute) = node.attribute("activations") {
        let names: Option<Vec<&str>> =
            attribute.strings.iter().map(|name| std::str::from_utf8(name).ok()).collect();
        let names = names.filter(|names| names.len() == 3 * directions);
        let names = names.ok_or_else(|| format!("hasn't {} activations", 3 * directions))?;
        let numbers = |name: &str| {
            node.attribute(name).map_or(&[][..], |attribute| &*attribute.floats).iter().copied()
        };
        // Two queues, of which each function takes what it has.
        let (mut alphas, mut betas) = (numbers("activation_alpha"), numbers("activation_beta"));
        let mut functions = Vec::new();
        for name in names {
            let lower = name.to_ascii_lowercase();
            let mut alpha = |default: f32| alphas.next().unwrap_or(default);
            functions.push(match lower.as_str() {
                "sigmoid" => CellActivation::Sigmoid,
                "tanh" => CellActivation::Tanh,
                "relu" => CellActivation::Relu,
                "softsign" => CellActivation::Softsign,
                "softplus" => CellActivation::Softplus,
                "leakyrelu" => CellActivation::LeakyRelu { alpha: alpha(0.01) },
                "thresholdedrelu" => CellActivation::ThresholdedRelu { alpha: alpha(0.0) },
                "elu" => CellActivation::Elu { alpha: alpha(1.0) },
                "hardsigmoid" => CellActivation::HardSigmoid {
                    alpha: alpha(0.2),
                    beta: betas.next().unwrap_or(0.5),
                },
                "affine" => {
                    CellActivation::Affine { alpha: alpha(0.0), beta: betas.next().unwrap_or(0.0) }
                }
                "scaledtanh" => CellActivation::ScaledTanh {
                    alpha: alpha(0.0),
                    beta: betas.next().unwrap_or(0.0),
                },
                _ => {
                    return Err(format!("has the activation {:?}", crate::import::clipped(name)));
                }
            });
        }
        if functions[..3] != functions[functions.len() - 3..] {
            return Err("has other activations in one direction than in the other".to_owned());
        }
        cell = cell
            .gate_activation(functions[0])
            .candidate_activation(functions[1])
            .output_activation(functions[2]);
    }
    if let Some(clip) = node.float("clip") {
        match clip {
            clip if clip.is_finite() && clip > 0.0 => cell = cell.clip(clip),
            clip => return Err(format!("has clip {clip}; it has to be above 0")),
        }
    }
    Ok(cell.coupled(node.int("input_forget").is_some_and(|coupled| coupled != 0)))
}
