//! The settings of a stack of LSTM layers.

use std::fmt;

use super::{Init, ModuleNames};
use crate::error::{Error, Result};
use crate::plan::{Activation, Bias, Encoding, Head, Parameter, ParameterTable, Role, StackShape};
use crate::reference::{Cell, Dropout, Readout};

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
    /// Units of each layer, where they were given so: each is a module of its own.
    pub(crate) sizes: Vec<usize>,
    pub(crate) layers: usize,
    pub(crate) bias: Bias,
    pub(crate) bidirectional: bool,
    reverse: bool,
    pub(crate) proj_size: usize,
    cell: Cell,
    pub(crate) batch_first: bool,
    /// Whether calls of an `Lstm` take lengths as those of rows that start late.
    pub(crate) right_aligned: bool,
    pub(crate) learned_state: bool,
    pub(crate) readout: Readout,
    pub(crate) dropout: f64,
    pub(crate) seed: u64,
    tied: bool,
    padding_idx: Option<usize>,
    output: Option<Activation>,
    pub(crate) names: Option<ModuleNames>,
    init: Vec<(String, Init)>,
    forget_bias: Option<f32>,
}

/// What of a model its tensors don't say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) leave_others: bool,
    pub(crate) one_hot: bool,
    pub(crate) readout: Option<Readout>,
    pub(crate) head: Option<Head>,
    pub(crate) tied: bool,
    pub(crate) padding_idx: Option<usize>,
    pub(crate) reverse: bool,
    pub(crate) output: Option<Activation>,
    pub(crate) cell: Option<Cell>,
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
            sizes: Vec::new(),
            layers: 1,
            bias: Bias::Double,
            bidirectional: false,
            reverse: false,
            proj_size: 0,
            cell: Cell::new(),
            batch_first: false,
            right_aligned: false,
            learned_state: false,
            readout: Readout::default(),
            dropout: 0.0,
            seed: 0,
            tied: false,
            padding_idx: None,
            output: None,
            names: None,
            init: Vec::new(),
            forget_bias: None,
        }
    }

    /// Layers of so many units each, the lowest first, as several PyTorch modules on each other: by default
    /// those of a `nn.ModuleList`, whose tensors are `lstm.0.weight_ih_l0`, `lstm.1.weight_ih_l0` and so on;
    /// [`names`](Self::names) may call them otherwise. For models that predict.
    ///
    /// ```
    /// use gatefold::{Array, Device, Forecaster, LstmConfig};
    /// let model = Forecaster::new(&Device::cpu(), LstmConfig::stack(4, &[64, 16]), 3)?;
    /// let x = Array::new(vec![0.5; 5 * 10 * 4], &[5, 10, 4])?;
    /// assert_eq!(model.predict(&x)?.shape(), [5, 3]);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    pub fn stack(input: usize, hidden_sizes: &[usize]) -> LstmConfig {
        LstmConfig {
            sizes: hidden_sizes.to_vec(),
            layers: hidden_sizes.len(),
            ..LstmConfig::new(input, hidden_sizes.iter().max().copied().unwrap_or(0))
        }
    }

    /// So many layers, each over the outputs of the one below. Default 1.
    #[doc(alias = "num_layers")]
    pub fn layers(self, layers: usize) -> Self {
        LstmConfig { layers, ..self }
    }

    /// The input is tokens below `vocabulary`, each of which becomes a row of a learned
    /// `embedding.weight [vocabulary, input]`, as of `torch.nn.Embedding`. For models that predict.
    #[doc(alias("nn.Embedding", "torch.nn.Embedding"))]
    pub fn embedding(self, vocabulary: usize) -> Self {
        LstmConfig { encoding: Encoding::Embedding(vocabulary), ..self }
    }

    /// The input is tokens below the number of input features, each of which becomes a one among
    /// zeros. For models that predict.
    pub fn one_hot(self) -> Self {
        LstmConfig { encoding: Encoding::OneHot, ..self }
    }

    /// The token that fills up short sequences: its row of the embedding is zeros at first, and what is read
    /// of it changes it in no way, as in `torch.nn.Embedding`.
    pub fn padding_idx(self, token: usize) -> Self {
        LstmConfig { padding_idx: Some(token), ..self }
    }

    /// The weight of the head's last linear layer is that of the embedding, `decoder.weight =
    /// encoder.weight` in PyTorch (Press and Wolf, 2017; Inan, Khosravi and Socher, 2017): the layer has as many
    /// outputs as there are tokens, over as many features as the embedding gives. Both names are in
    /// [`state_dict`](crate::Forecaster::state_dict) and in files; a
    /// [group of parameters](crate::train::ParameterGroup) knows it as the embedding's.
    ///
    /// ```
    /// use gatefold::{Device, Forecaster, LstmConfig};
    /// let config = LstmConfig::new(16, 16).embedding(100).tie_weights(true);
    /// let model = Forecaster::every_step(&Device::cpu(), config, 100)?;
    /// let tensors = model.state_dict()?;
    /// let find = |wanted: &str| tensors.iter().find(|(name, _)| name == wanted);
    /// assert_eq!(find("fc.weight").unwrap().1, find("embedding.weight").unwrap().1);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    pub fn tie_weights(self, tied: bool) -> Self {
        LstmConfig { tied, ..self }
    }

    /// What inference makes of the head's outputs: [`predict`](crate::Forecaster::predict),
    /// [`forward`](crate::Forecaster::forward), recorded calls and streams answer with it. Losses are of
    /// the outputs themselves. Default nothing.
    ///
    /// ```
    /// use gatefold::{Activation, Array, Device, Forecaster, LstmConfig};
    /// let config = LstmConfig::new(4, 16).output_activation(Activation::Softmax);
    /// let model = Forecaster::new(&Device::cpu(), config, 3)?;
    /// let y = model.predict(&Array::new(vec![0.5; 10 * 4], &[1, 10, 4])?)?;
    /// assert!((y.data().iter().sum::<f32>() - 1.0).abs() < 1e-6);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    pub fn output_activation(self, activation: Activation) -> Self {
        LstmConfig { output: Some(activation), ..self }
    }

    /// What the modules of a model that predicts are called, in its tensors' names and its files.
    pub fn names(self, names: ModuleNames) -> Self {
        LstmConfig { names: Some(names), ..self }
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

    /// Whether every layer runs over the sequence from its end alone, ONNX's `direction="reverse"`: the
    /// output at a timestep has seen those from there to the end, and the final state is the one at the
    /// first timestep. Of a row with a length the end is its own. Default no.
    #[doc(alias = "go_backwards")]
    pub fn reverse(self, reverse: bool) -> Self {
        LstmConfig { reverse, ..self }
    }

    /// Features `P` that every hidden state is projected to, below the hidden size (Sak, Senior and
    /// Beaufays, 2014); 0, the default, for none.
    pub fn proj_size(self, proj_size: usize) -> Self {
        LstmConfig { proj_size, ..self }
    }

    /// Which cell the layers have. Default that of `torch.nn.LSTM`.
    ///
    /// ```
    /// use gatefold::{Cell, CellActivation, LstmConfig};
    /// let keras_2 = Cell::new().gate_activation(CellActivation::HARD_SIGMOID);
    /// let config = LstmConfig::new(4, 64).cell(keras_2);
    /// assert_eq!(config.to_string(), "4 inputs, 1 layer of 64 units, cell: gate HardSigmoid 0.2 0.5");
    /// ```
    pub fn cell(self, cell: Cell) -> Self {
        LstmConfig { cell, ..self }
    }

    /// Whether inputs and outputs on the device are `[B, T, ..]` instead of `[T, B, ..]`. States are
    /// `[L D, B, ..]` either way. Default no.
    pub fn batch_first(self, batch_first: bool) -> Self {
        LstmConfig { batch_first, ..self }
    }

    /// Whether the initial states, where none are given, are parameters, zero at first, instead of
    /// zeros. They are named `h_0 [L D, 1, P]` and `c_0 [L D, 1, H]`, are every row's, and are not
    /// part of `torch.nn.LSTM`: there the module around it would hold them. Default no.
    #[doc(alias = "h_0")]
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

    /// Whether each layer is a module of its own.
    pub(crate) fn is_of_modules(&self) -> bool {
        self.sizes.len() > 1
    }

    pub(crate) fn shape(&self, head: Head) -> StackShape {
        // More or fewer than there are layers are an error of the shape's.
        let differ =
            self.sizes.len() != self.layers || self.sizes.iter().any(|&s| s != self.hidden);
        let listed = !self.sizes.is_empty() && differ;
        StackShape {
            input: self.input,
            encoding: self.encoding,
            hidden: self.hidden,
            sizes: if listed { self.sizes.clone() } else { Vec::new() },
            reverse: self.reverse,
            tied: self.tied,
            padding_idx: self.padding_idx,
            output: self.output,
            layers: self.layers,
            bias: self.bias,
            head,
            readout: self.readout,
            bidirectional: self.bidirectional,
            projection: Some(self.proj_size).filter(|&p| p > 0),
            cell: self.cell,
            learned_state: self.learned_state,
        }
    }

    /// Calls of an `Lstm` take lengths as those of rows that start late.
    pub(crate) fn right_aligned(self, right_aligned: bool) -> Self {
        LstmConfig { right_aligned, ..self }
    }

    /// Layers of so many units each.
    pub(crate) fn sizes(self, sizes: Vec<usize>) -> Self {
        LstmConfig { sizes, ..self }
    }

    /// What only some files say.
    pub(crate) fn with_said(self, said: &Said) -> Self {
        LstmConfig {
            readout: said.readout.unwrap_or(self.readout),
            tied: self.tied || said.tied,
            padding_idx: said.padding_idx.or(self.padding_idx),
            reverse: self.reverse || said.reverse,
            output: said.output.or(self.output),
            cell: said.cell.unwrap_or(self.cell),
            encoding: match self.encoding {
                Encoding::Values if said.one_hot => Encoding::OneHot,
                encoding => encoding,
            },
            ..self
        }
    }

    /// The settings that a shape shows.
    pub(crate) fn of(shape: &StackShape) -> LstmConfig {
        LstmConfig {
            layers: shape.layers,
            bias: shape.bias,
            bidirectional: shape.bidirectional,
            proj_size: shape.projection.unwrap_or(0),
            cell: shape.cell,
            learned_state: shape.learned_state,
            readout: shape.readout,
            encoding: shape.encoding,
            sizes: shape.sizes.clone(),
            reverse: shape.reverse,
            tied: shape.tied,
            padding_idx: shape.padding_idx,
            output: shape.output,
            ..LstmConfig::new(shape.input, shape.hidden)
        }
    }

    /// What training drops, if anything.
    pub(crate) fn drops(&self) -> Option<Dropout> {
        (self.dropout > 0.0 && self.layers > 1).then(|| Dropout::new(self.dropout))
    }

    /// Checks that what is to be an LSTM alone is one module, under its own names.
    pub(crate) fn expect_one_module(&self, operation: &'static str) -> Result<()> {
        let refused = |name: &str, expected: &str, got: String| {
            let expected = expected.to_owned();
            Err(Error::Value { operation, name: name.to_owned(), expected, got })
        };
        if self.is_of_modules() {
            let expected = "one: of several, make an `Lstm` each, or a `Forecaster`";
            return refused("hidden sizes", expected, format!("{} of them", self.sizes.len()));
        }
        match self.names {
            None => Ok(()),
            Some(_) => refused("names", "none, outside a `Forecaster`", "some".to_owned()),
        }
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
                let units = values.len() / 4;
                values[units..2 * units].fill(value);
            }
            if let (Role::Embedding, Some(token)) = (entry.role, shape.padding_idx) {
                values[token * shape.input..][..shape.input].fill(0.0);
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
        let units = match self.sizes.is_empty() {
            true => self.hidden.to_string(),
            false => self.sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
        };
        write!(f, "{} inputs, {} {layers} of {units} units", self.input, self.layers)?;
        let single = self.bias == Bias::Single;
        let said = [
            (self.encoding != Encoding::Values, self.encoding.to_string()),
            (self.tied, "decoder tied to it".to_owned()),
            (
                self.padding_idx.is_some(),
                format!("padding token {}", self.padding_idx.unwrap_or(0)),
            ),
            (self.bidirectional, "two directions".to_owned()),
            (self.reverse, "reverse".to_owned()),
            (self.proj_size > 0, format!("projection to {}", self.proj_size)),
            (!self.cell.is_plain(), format!("cell: {}", self.cell)),
            (single || self.bias == Bias::None, self.bias.to_string()),
            (self.learned_state, "learned initial states".to_owned()),
            (self.readout != Readout::default(), format!("readout {}", self.readout.name())),
            (self.output == Some(Activation::Softmax), "softmax of outputs".to_owned()),
            (self.output == Some(Activation::Sigmoid), "sigmoid of outputs".to_owned()),
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
        Role::HeadWeight(number) | Role::HeadBias(number) => {
            shape.head.linears(shape.features())[number].features
        }
        Role::InitialH | Role::InitialC => return Init::Zeros,
        Role::Embedding => return Init::Normal { mean: 0.0, std: 1.0 },
        Role::WeightIh(l, _)
        | Role::WeightHh(l, _)
        | Role::BiasIh(l, _)
        | Role::BiasHh(l, _)
        | Role::WeightHr(l, _)
        | Role::WeightPeephole(l, _) => shape.units(l),
    };
    Init::Uniform { bound: 1.0 / (size as f32).sqrt() }
}
