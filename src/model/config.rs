//! The settings of a stack of LSTM layers.

use super::Init;
use crate::error::{Error, Result};
use crate::plan::{Bias, Head, Parameter, ParameterTable, Role, StackShape};

/// The settings of a stack of LSTM layers; the defaults are those of `torch.nn.LSTM`.
///
/// ```
/// use gatefold::{Bias, Init, LstmConfig};
/// let config = LstmConfig::new(4, 64)
///     .layers(2)
///     .bias(Bias::Single)
///     .seed(7)
///     .init("weight_hh", Init::Orthogonal)
///     .forget_bias(1.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LstmConfig {
    pub(crate) input: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) bias: Bias,
    pub(crate) seed: u64,
    init: Vec<(String, Init)>,
    forget_bias: Option<f32>,
}

impl LstmConfig {
    /// One layer of `hidden` units over `input` features.
    pub fn new(input: usize, hidden: usize) -> LstmConfig {
        LstmConfig {
            input,
            hidden,
            layers: 1,
            bias: Bias::Double,
            seed: 0,
            init: Vec::new(),
            forget_bias: None,
        }
    }

    /// So many layers, each over the outputs of the one below. Default 1.
    pub fn layers(self, layers: usize) -> Self {
        LstmConfig { layers, ..self }
    }

    /// How many biases a gate has. Default two, as in PyTorch.
    pub fn bias(self, bias: Bias) -> Self {
        LstmConfig { bias, ..self }
    }

    /// The seed of the initial values. Default 0.
    pub fn seed(self, seed: u64) -> Self {
        LstmConfig { seed, ..self }
    }

    /// Initial values for every parameter whose name contains `pattern`, such as `weight_hh` or
    /// `weight_ih_l0`; a later call wins. By default all are uniform in `+-1/sqrt(H)`.
    pub fn init(mut self, pattern: &str, init: Init) -> Self {
        self.init.push((pattern.to_owned(), init));
        self
    }

    /// The initial bias of the forget gate, over what [`init`](Self::init) says; with two biases
    /// the second is zero there. Jozefowicz et al. (2015) recommend 1.
    pub fn forget_bias(self, value: f32) -> Self {
        LstmConfig { forget_bias: Some(value), ..self }
    }

    pub(crate) fn expect_layers(&self, operation: &'static str) -> Result<()> {
        match self.layers {
            0 => Err(Error::Value {
                operation,
                name: "layers".to_owned(),
                expected: "at least 1".to_owned(),
                got: "0".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn shape(&self, head: Head) -> StackShape {
        StackShape {
            input: self.input,
            hidden: self.hidden,
            layers: self.layers,
            bias: self.bias,
            head,
        }
    }

    /// The initial values of a whole flat buffer.
    pub(crate) fn initial(
        &self,
        shape: &StackShape,
        table: &ParameterTable,
        names: &[String],
    ) -> Result<Vec<f32>> {
        let refused = |name: String, expected: &str, got: String| {
            Err(Error::Value { operation: "LstmConfig", name, expected: expected.to_owned(), got })
        };
        for (pattern, init) in &self.init {
            if !init.is_valid() {
                return refused(
                    format!("init of {pattern:?}"),
                    "finite, not negative",
                    format!("{init:?}"),
                );
            }
            if !names.iter().any(|name| name.contains(pattern)) {
                return refused(
                    "init".to_owned(),
                    &format!("for one of {}", names.join(", ")),
                    format!("{pattern:?}"),
                );
            }
        }
        if let Some(value) = self.forget_bias.filter(|v| !v.is_finite() || self.bias == Bias::None)
        {
            return refused(
                "forget_bias".to_owned(),
                "finite, in a model with biases",
                value.to_string(),
            );
        }
        let mut flat = vec![0.0; table.len];
        for (index, (entry, name)) in table.entries.iter().zip(names).enumerate() {
            let rule = self.init.iter().rev().find(|(pattern, _)| name.contains(pattern));
            let init = rule.map_or_else(|| default_init(shape, entry), |(_, init)| *init);
            let mut values = init.draw(&entry.shape, self.seed, index as u64);
            let forget = self.forget_bias.and_then(|value| match entry.role {
                Role::BiasIh(_) => Some(value),
                Role::BiasHh(_) => Some(0.0),
                _ => None,
            });
            if let Some(value) = forget {
                values[shape.hidden..2 * shape.hidden].fill(value);
            }
            flat[entry.start..][..entry.len].copy_from_slice(&entry.from_pytorch(&values));
        }
        Ok(flat)
    }
}

/// PyTorch's: uniform in `+-1/sqrt(H)`, and in `+-1/sqrt(features)` for a linear layer.
fn default_init(shape: &StackShape, entry: &Parameter) -> Init {
    let size = match entry.role {
        Role::HeadWeight | Role::HeadBias => shape.features(),
        _ => shape.hidden,
    };
    Init::Uniform { bound: 1.0 / (size as f32).sqrt() }
}
