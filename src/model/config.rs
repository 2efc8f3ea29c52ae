//! The settings of a stack of LSTM layers.

use std::fmt;

use super::Init;
use crate::error::{Error, Result};
use crate::plan::{Bias, Encoding, Head, Parameter, ParameterTable, Role, StackShape};
use crate::reference::{Dropout, Readout};

/// The settings of a stack of LSTM layers; the defaults are those of `torch.nn.LSTM`.
///
/// ```
/// use gatefold::{Bias, Init, LstmConfig};
/// let config = LstmConfig::new(4, 64)
///     .layers(2)
///     .bias(Bias::Single)
///     .bidirectional(true)
///     .proj_size(16)
///     .dropout(0.2)
///     .seed(7)
///     .init("weight_hh", Init::Orthogonal)
///     .forget_bias(1.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LstmConfig {
    pub(crate) input: usize,
    pub(crate) encoding: Encoding,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) bias: Bias,
    pub(crate) bidirectional: bool,
    pub(crate) proj_size: usize,
    pub(crate) batch_first: bool,
    pub(crate) learned_state: bool,
    pub(crate) readout: Readout,
    pub(crate) dropout: f64,
    pub(crate) seed: u64,
    init: Vec<(String, Init)>,
    forget_bias: Option<f32>,
}

impl LstmConfig {
    /// One layer of `hidden` units over `input` features.
    #[doc(alias = "input_size")]
    #[doc(alias = "hidden_size")]
    pub fn new(input: usize, hidden: usize) -> LstmConfig {
        LstmConfig {
            input,
            encoding: Encoding::Values,
            hidden,
            layers: 1,
            bias: Bias::Double,
            bidirectional: false,
            proj_size: 0,
            batch_first: false,
            learned_state: false,
            readout: Readout::default(),
            dropout: 0.0,
            seed: 0,
            init: Vec::new(),
            forget_bias: None,
        }
    }

    /// So many layers, each over the outputs of the one below. Default 1.
    #[doc(alias = "num_layers")]
    pub fn layers(self, layers: usize) -> Self {
        LstmConfig { layers, ..self }
    }

    /// The input is tokens below `vocabulary`, each of which becomes a row of a learned
    /// `embedding.weight [vocabulary, input]`, as of `torch.nn.Embedding`. For models that predict.
    pub fn embedding(self, vocabulary: usize) -> Self {
        LstmConfig { encoding: Encoding::Embedding(vocabulary), ..self }
    }

    /// The input is tokens below the number of input features, each of which becomes a one among
    /// zeros. For models that predict.
    pub fn one_hot(self) -> Self {
        LstmConfig { encoding: Encoding::OneHot, ..self }
    }

    /// How many biases a gate has. Default two, as in PyTorch.
    pub fn bias(self, bias: Bias) -> Self {
        LstmConfig { bias, ..self }
    }

    /// Whether every layer also runs over the sequence from its end; both directions' outputs stand
    /// side by side, `[.., 2 P]`. Default no.
    pub fn bidirectional(self, bidirectional: bool) -> Self {
        LstmConfig { bidirectional, ..self }
    }

    /// Features `P` that every hidden state is projected to, below the hidden size (Sak, Senior and
    /// Beaufays, 2014); 0, the default, for none.
    pub fn proj_size(self, proj_size: usize) -> Self {
        LstmConfig { proj_size, ..self }
    }

    /// Whether inputs and outputs on the device are `[B, T, ..]` instead of `[T, B, ..]`. States are
    /// `[L D, B, ..]` either way. Default no.
    pub fn batch_first(self, batch_first: bool) -> Self {
        LstmConfig { batch_first, ..self }
    }

    /// Whether the initial states, where none are given, are parameters, zero at first, instead of
    /// zeros. They are named `h_0 [L D, 1, P]` and `c_0 [L D, 1, H]`, are every row's, and are not
    /// part of `torch.nn.LSTM`: there the module around it would hold them. Default no.
    pub fn learned_state(self, learned_state: bool) -> Self {
        LstmConfig { learned_state, ..self }
    }

    /// What the head of a model that predicts reads. Default the final states of both directions.
    ///
    /// ```
    /// use gatefold::{Device, Forecaster, LstmConfig, Readout};
    /// let config = LstmConfig::new(1, 8).bidirectional(true).readout(Readout::MeanOverTime);
    /// let model = Forecaster::new(&Device::cpu(), config, 9)?;
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    pub fn readout(self, readout: Readout) -> Self {
        LstmConfig { readout, ..self }
    }

    /// The probability, in `[0, 1)`, with which training drops an element of the outputs of each
    /// layer but the last. Default 0. With one layer there is nothing to drop, of which PyTorch warns; here
    /// the settings say so where they are printed.
    pub fn dropout(self, dropout: f64) -> Self {
        LstmConfig { dropout, ..self }
    }

    /// The seed of the initial values and of dropout. Default 0.
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
            encoding: self.encoding,
            hidden: self.hidden,
            layers: self.layers,
            bias: self.bias,
            head,
            readout: self.readout,
            bidirectional: self.bidirectional,
            projection: Some(self.proj_size).filter(|&p| p > 0),
            learned_state: self.learned_state,
        }
    }

    /// The settings that a shape shows.
    pub(crate) fn of(shape: &StackShape) -> LstmConfig {
        LstmConfig {
            layers: shape.layers,
            bias: shape.bias,
            bidirectional: shape.bidirectional,
            proj_size: shape.projection.unwrap_or(0),
            learned_state: shape.learned_state,
            readout: shape.readout,
            encoding: shape.encoding,
            ..LstmConfig::new(shape.input, shape.hidden)
        }
    }

    /// What training drops, if anything.
    pub(crate) fn drops(&self) -> Option<Dropout> {
        (self.dropout > 0.0 && self.layers > 1).then(|| Dropout::new(self.dropout))
    }

    /// Checks what the shape doesn't show.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        match (0.0..1.0).contains(&self.dropout) {
            true => Ok(()),
            false => Err(Error::Value {
                operation,
                name: "dropout".to_owned(),
                expected: "in [0, 1)".to_owned(),
                got: self.dropout.to_string(),
            }),
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
                    init.to_string(),
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
                Role::BiasIh(..) => Some(value),
                Role::BiasHh(..) => Some(0.0),
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

/// One line for people.
impl fmt::Display for LstmConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = if self.layers == 1 { "layer" } else { "layers" };
        write!(f, "{} inputs, {} {layers} of {} units", self.input, self.layers, self.hidden)?;
        let single = self.bias == Bias::Single;
        let said = [
            (self.encoding != Encoding::Values, self.encoding.to_string()),
            (self.bidirectional, "two directions".to_owned()),
            (self.proj_size > 0, format!("projection to {}", self.proj_size)),
            (single || self.bias == Bias::None, self.bias.to_string()),
            (self.learned_state, "learned initial states".to_owned()),
            (self.readout != Readout::default(), format!("readout {}", self.readout.name())),
            (self.batch_first, "batch first".to_owned()),
            (self.dropout != 0.0, format!("dropout {}", self.dropout)),
        ];
        for (_, said) in said.iter().filter(|(is, _)| *is) {
            write!(f, ", {said}")?;
        }
        if self.dropout > 0.0 && self.layers == 1 {
            f.write_str(
                " (note: dropout is between layers, and with one layer nothing is dropped)",
            )?;
        }
        Ok(())
    }
}

/// PyTorch's: uniform in `+-1/sqrt(H)`, and in `+-1/sqrt(features)` for a linear layer; standard
/// normal for an embedding. Learned states start as zeros.
fn default_init(shape: &StackShape, entry: &Parameter) -> Init {
    let size = match entry.role {
        Role::HeadWeight | Role::HeadBias => shape.features(),
        Role::InitialH | Role::InitialC => return Init::Zeros,
        Role::Embedding => return Init::Normal { mean: 0.0, std: 1.0 },
        _ => shape.hidden,
    };
    Init::Uniform { bound: 1.0 / (size as f32).sqrt() }
}
