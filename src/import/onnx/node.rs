//! What an operator of a graph says of itself.

use super::constant::{Beside, Constant};
use super::proto::{Attribute, Graph, Node};
use crate::import::clipped;

impl Node {
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name).map(|attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name).map(|attribute| attribute.f)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| &*attribute.ints)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok())
    }

    pub(super) fn graph(&self, name: &str) -> Option<&Graph> {
        self.attribute(name).and_then(|attribute| attribute.g.as_deref())
    }

    /// Its operator, with its domain where that isn't ONNX's.
    pub(super) fn operator(&self) -> String {
        match self.domain.as_str() {
            "" | "ai.onnx" => clipped(&self.op_type),
            domain => format!("{}.{}", clipped(domain), clipped(&self.op_type)),
        }
    }

    /// Its operator and its name, for a message.
    pub(super) fn said(&self) -> String {
        match self.name.is_empty() {
            true => self.operator(),
            false => format!("{} ({})", self.operator(), clipped(&self.name)),
        }
    }

    /// The value of a node `Constant`.
    pub(super) fn constant(&self, beside: &Beside) -> Result<Constant, String> {
        for attribute in &self.attribute {
            return match attribute.name.as_str() {
                "value" => {
                    let tensor = attribute.t.as_ref().ok_or("a Constant has no value")?;
                    Constant::of(tensor, beside)
                }
                "value_float" => Ok(Constant::of_floats(vec![attribute.f], Vec::new())),
                "value_floats" => {
                    let len = attribute.floats.len();
                    Ok(Constant::of_floats(attribute.floats.clone(), vec![len]))
                }
                "value_int" => Ok(Constant::of_ints(vec![attribute.i], Vec::new())),
                "value_ints" => {
                    let len = attribute.ints.len();
                    Ok(Constant::of_ints(attribute.ints.clone(), vec![len]))
                }
                _ => continue,
            };
        }
        Err(format!("{} has no value that is read here", self.said()))
    }
}

/// The operators of a graph and of all graphs in it, for a message.
pub(super) fn nodes(graph: &Graph) -> Vec<&Node> {
    let mut found: Vec<&Node> = Vec::new();
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        found.extend(&graph.node);
        let inner = graph.node.iter().flat_map(|node| &node.attribute);
        graphs.extend(inner.filter_map(|attribute| attribute.g.as_deref()));
    }
    found
}
