//! What a walk through a graph knows.

use std::collections::{BTreeSet, HashMap};

use super::constant::{Beside, Budget, Constant};
use super::layer::Layer;
use super::proto::{Node, Tensor};
use super::seen::Value;
use crate::import::clipped;

/// A walk through a graph.
pub(super) struct Trace<'a> {
    pub(super) beside: &'a Beside,
    pub(super) budget: Budget,
    pub(super) opset: i64,
    pub(super) initializers: HashMap<&'a str, &'a Tensor>,
    /// The node that an output is of.
    pub(super) producers: HashMap<&'a str, &'a Node>,
    /// How often a value is still needed.
    pub(super) uses: HashMap<&'a str, usize>,
    pub(super) values: HashMap<&'a str, Value>,
    /// Of a sigmoid's output, what went in.
    pub(super) sigmoids: HashMap<&'a str, &'a str>,
    /// The sizes that inputs are declared with.
    pub(super) inputs: HashMap<&'a str, Vec<Option<i64>>>,
    /// The timesteps and the rows of the first layer's input, where they are declared.
    pub(super) known: [Option<i64>; 2],
    pub(super) layers: Vec<Layer>,
    /// What there is to say.
    pub(super) notes: BTreeSet<String>,
    pub(super) left_out: BTreeSet<String>,
    pub(super) quantized: bool,
}

impl<'a> Trace<'a> {
    /// A value for one of those that need it, the last of which has it alone.
    pub(super) fn take(&mut self, name: &str) -> Result<Value, String> {
        let last = match self.uses.get_mut(name) {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => true,
        };
        let found = if last { self.values.remove(name) } else { self.values.get(name).cloned() };
        if let Some(value) = found {
            return Ok(value);
        }
        match self.initializers.get(name) {
            Some(tensor) => {
                let constant = Constant::of(tensor, self.beside)?;
                // Read once where it lies in another file.
                if !last && tensor.data_location == 1 {
                    let own = self.initializers.get_key_value(name).map(|(own, _)| *own);
                    self.values.extend(own.map(|own| (own, Value::Constant(constant.clone()))));
                }
                Ok(Value::Constant(constant))
            }
            None => Ok(Value::unknown(&format!("{}, which nothing makes", clipped(name)))),
        }
    }

    /// What tensors or the node say of how the module is called.
    pub(super) fn module_of(&self, node: &Node) -> Option<String> {
        let weights = node.input.iter().skip(1).take(3);
        let of_tensor =
            weights.filter_map(|name| self.origin(name, &["weight_ih", "weight_hh", "bias_"]));
        of_tensor.map(|(before, _)| before).next().or_else(|| path(&node.name))
    }

    /// The initializer that a value is made of whose name has one of some parts, cut before and behind it.
    pub(super) fn origin(&self, name: &str, parts: &[&str]) -> Option<(String, String)> {
        let mut open = vec![name];
        for _ in 0..64 {
            let name = open.pop()?;
            let found = parts.iter().find_map(|part| name.rfind(part));
            if let Some(at) = found.filter(|_| self.initializers.contains_key(name)) {
                let module = sound(name[..at].trim_end_matches('.'))?;
                return Some((module, name[at..].to_owned()));
            }
            if let Some(node) = self.producers.get(name) {
                open.extend(node.input.iter().rev().map(String::as_str));
            }
        }
        None
    }

    pub(super) fn budget(&self, elements: usize) -> Result<(), String> {
        self.budget.take(elements)
    }

    /// Whether activations are rounded somewhere.
    pub(super) fn rounds(&self) -> bool {
        self.quantized
    }
}

/// What a path of PyTorch's exporter says of a module: `/encoder/lstm/LSTM` is `encoder.lstm`.
pub(super) fn path(name: &str) -> Option<String> {
    let (modules, _) = name.rsplit_once('/')?;
    sound(&modules.trim_matches('/').replace('/', "."))
}

/// A module's name, where it is one.
fn sound(name: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    (!name.is_empty() && name.len() <= 200 && name.chars().all(plain)).then(|| name.to_owned())
}
