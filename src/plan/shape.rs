//! What a plan has to know of a model and of a call.

use std::fmt;

use crate::command::Limits;
use crate::error::{Error, Result, elements};
use crate::reference::Readout;

/// Whole numbers up to this one are exact in f32.
const MAX_WHOLE: usize = 1 << 24;

/// How many bias vectors a layer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bias {
    /// None, as `torch.nn.LSTM(bias=False)`.
    None,
    /// One a gate, as in models written by hand.
    Single,
    /// `bias_ih` and `bias_hh`, as `torch.nn.LSTM`. They are added, so one would give the same
    /// outputs; under Adam two take two steps.
    #[default]
    Double,
}

impl fmt::Display for Bias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bias::None => "no biases",
            Bias::Single => "one bias a gate",
            Bias::Double => "two biases a gate",
        })
    }
}

/// What stands on the top layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Head {
    /// Nothing: the outputs of all timesteps are the result.
    #[default]
    Sequence,
    /// Nothing, as `torch.nn.Identity`: what is read of the top layer is the prediction.
    Identity,
    /// A linear layer with so many outputs on what is read.
    Linear(usize),
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Head::Sequence => f.write_str("no head"),
            Head::Identity => f.write_str("an identity as head"),
            Head::Linear(outputs) => write!(f, "a linear head of {outputs} outputs"),
        }
    }
}

/// What the input is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Features, `[.., I]`.
    #[default]
    Values,
    /// Tokens in `0..I`, each of which becomes a one among zeros.
    OneHot,
    /// Tokens below so many, each of which becomes a row of a learned `[V, I]`.
    Embedding(usize),
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoding::Values => f.write_str("values"),
            Encoding::OneHot => f.write_str("one-hot tokens"),
            Encoding::Embedding(vocabulary) => write!(f, "an embedding of {vocabulary} tokens"),
        }
    }
}

impl Encoding {
    /// How many tokens there are, where the input is made of tokens; `input` features reach the
    /// first layer.
    pub fn tokens(&self, input: usize) -> Option<usize> {
        match *self {
            Encoding::Values => None,
            Encoding::OneHot => Some(input),
            Encoding::Embedding(vocabulary) => Some(vocabulary),
        }
    }
}

/// All that a plan has to know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackShape {
    /// Features `I` that reach the first layer.
    pub input: usize,
    /// What they are made of.
    pub encoding: Encoding,
    /// Units `H` of every layer.
    pub hidden: usize,
    /// LSTM layers `L`; without any, the head stands on the input of a single timestep.
    pub layers: usize,
    /// Biases of the LSTM layers.
    pub bias: Bias,
    /// What stands on them.
    pub head: Head,
    /// What the head reads; the default where there is none.
    pub readout: Readout,
    /// Whether every layer also runs from the end to the beginning.
    pub bidirectional: bool,
    /// Features `P` that hidden states are projected to, where they are.
    pub projection: Option<usize>,
    /// Whether the initial states are parameters.
    pub learned_state: bool,
}

impl StackShape {
    /// One layer with PyTorch's two biases and no head.
    pub fn lstm(input: usize, hidden: usize) -> StackShape {
        StackShape {
            input,
            encoding: Encoding::Values,
            hidden,
            layers: 1,
            bias: Bias::Double,
            head: Head::Sequence,
            readout: Readout::default(),
            bidirectional: false,
            projection: None,
            learned_state: false,
        }
    }

    /// Directions `D` of a layer.
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Features of a direction's hidden state: `P` with a projection, else `H`.
    pub fn state(&self) -> usize {
        self.projection.unwrap_or(self.hidden)
    }

    /// Features that reach the head.
    pub fn features(&self) -> usize {
        if self.layers == 0 { self.input } else { self.directions().saturating_mul(self.state()) }
    }

    /// Features that reach layer `l`.
    pub fn layer_input(&self, l: usize) -> usize {
        if l == 0 { self.input } else { self.features() }
    }

    /// Numbers in a prediction of one row, or of one of its timesteps; zero where the result is a
    /// sequence of hidden states.
    pub fn outputs(&self) -> usize {
        match self.head {
            Head::Sequence => 0,
            Head::Identity => self.features(),
            Head::Linear(outputs) => outputs,
        }
    }

    /// Whether there is a prediction at every timestep.
    pub fn every_step(&self) -> bool {
        self.readout == Readout::EveryStep
    }

    /// Predictions that so many timesteps of a row lead to.
    pub fn predictions(&self, steps: usize) -> usize {
        if self.every_step() { steps } else { 1 }
    }

    /// Numbers that the caller gives for a timestep of a row.
    pub fn given(&self) -> usize {
        if self.encoding == Encoding::Values { self.input } else { 1 }
    }

    /// Elements of all parameters, a little more than there are for the padding between them;
    /// `None` where they can't be counted.
    fn parameters(&self) -> Option<usize> {
        let rows = self.hidden.checked_mul(4)?;
        let terms = |l: usize| self.layer_input(l).checked_add(self.state())?.checked_add(2);
        let projection = self.projection.unwrap_or(0).checked_add(4)?.checked_mul(self.hidden)?;
        // With what a learned state has for it.
        let others = projection.checked_add(self.state())?.checked_add(self.hidden)?;
        let layer = |l: usize| {
            let direction = rows.checked_mul(terms(l)?)?.checked_add(others)?;
            direction.checked_add(7 * 64)?.checked_mul(self.directions())
        };
        let first = if self.layers > 0 { layer(0)? } else { 0 };
        let above = layer(1)?.checked_mul(self.layers.saturating_sub(1))?;
        let head =
            self.features().checked_add(1)?.checked_mul(self.outputs())?.checked_add(2 * 64)?;
        let embedding = match self.encoding {
            Encoding::Embedding(vocabulary) => vocabulary.checked_mul(self.input)?,
            _ => 0,
        };
        first.checked_add(above)?.checked_add(head)?.checked_add(embedding)?.checked_add(64)
    }

    /// Checks that a device can hold the largest buffers, before anything of their size is made.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn fits(
        &self,
        operation: &'static str,
        steps: usize,
        batch: usize,
        limits: &Limits,
    ) -> Result<()> {
        let rows = steps.saturating_mul(batch);
        const LARGEST: &str = "largest buffer (f32 elements)";
        let parameters = self.parameters().unwrap_or(usize::MAX);
        let units = if self.layers == 0 { 0 } else { self.directions() * 4 };
        let gates = rows.saturating_mul(units).saturating_mul(self.hidden);
        let needs = [
            ("the parameters", parameters, LARGEST, limits.max_buffer),
            ("the input", rows.saturating_mul(self.input), LARGEST, limits.max_buffer),
            ("the gates of all timesteps", gates, LARGEST, limits.max_buffer),
            (
                "the predictions",
                self.predictions(steps).saturating_mul(batch * self.outputs()),
                LARGEST,
                limits.max_buffer,
            ),
            // Lengths are whole numbers in f32.
            ("a sequence", steps, "most timesteps of a plan", MAX_WHOLE),
        ];
        match needs.into_iter().find(|(_, needed, _, available)| needed > available) {
            None => Ok(()),
            Some((what, needed, limit, available)) => Err(Error::Limit {
                operation,
                what: what.to_owned(),
                needed: needed as u64,
                limit,
                available: available as u64,
            }),
        }
    }

    /// Checks the sizes, alone and with `steps` and `batch`.
    ///
    /// # Errors
    /// [`Error::Value`] for a zero, [`Error::Overflow`] for a product that no machine can hold.
    pub fn check(&self, operation: &'static str, steps: usize, batch: usize) -> Result<()> {
        let features = self.features();
        elements(operation, "[timesteps, batch, input]", &[steps, batch, self.input])?;
        elements(operation, "[input, 4 x hidden]", &[self.input, 4, self.hidden])?;
        elements(operation, "[hidden, 4 x hidden]", &[self.hidden, 4, self.hidden])?;
        // Two more slots than timesteps, in both directions.
        elements(
            operation,
            "[timesteps + 2, batch, 8 x hidden]",
            &[steps.saturating_add(2), batch, 8, self.hidden],
        )?;
        if let Some(projection) = self.projection.filter(|&p| p == 0 || p >= self.hidden) {
            return Err(Error::Value {
                operation,
                name: "proj_size".to_owned(),
                expected: format!("at least 1 and below the hidden size {}", self.hidden),
                got: projection.to_string(),
            });
        }
        if self.head == Head::Sequence && self.readout != Readout::default() {
            return Err(Error::Value {
                operation,
                name: "readout".to_owned(),
                expected: "none, in a model without predictions".to_owned(),
                got: self.readout.name().to_owned(),
            });
        }
        if let Head::Linear(outputs) = self.head {
            elements(operation, "[outputs, hidden]", &[outputs, features])?;
            let rows = self.predictions(steps);
            elements(operation, "[timesteps, batch, outputs]", &[rows, batch, outputs])?;
        }
        if let Some(tokens) = self.encoding.tokens(self.input) {
            if self.outputs() == 0 {
                return Err(Error::Value {
                    operation,
                    name: "input".to_owned(),
                    expected: "values, in a model without predictions".to_owned(),
                    got: self.encoding.to_string(),
                });
            }
            elements(operation, "[tokens, input]", &[tokens, self.input])?;
            // Tokens and their positions are whole numbers in f32.
            if tokens.max(steps.saturating_mul(batch)) > MAX_WHOLE {
                return Err(Error::Value {
                    operation,
                    name: "tokens".to_owned(),
                    expected: format!("at most {MAX_WHOLE}, of a kind and in a batch"),
                    got: format!("{tokens}, and {steps} x {batch}"),
                });
            }
        }
        if self.parameters().is_none() {
            let what = "the number of parameters".to_owned();
            return Err(Error::Overflow { operation, what });
        }
        let of_layers = self.bidirectional || self.projection.is_some() || self.learned_state;
        let plain =
            self.encoding == Encoding::Values && self.readout == Readout::default() && !of_layers;
        let linear = matches!(self.head, Head::Linear(_)) && steps == 1 && plain;
        if self.layers == 0 && !linear {
            return Err(Error::Value {
                operation,
                name: "layers".to_owned(),
                expected: "at least 1, but for a linear layer alone".to_owned(),
                got: "0".to_owned(),
            });
        }
        Ok(())
    }
}

/// The sizes of one call, and what comes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequences {
    /// Timesteps `T`.
    pub steps: usize,
    /// Rows `B`.
    pub batch: usize,
    /// Whether rows have lengths of their own.
    pub lengths: bool,
    /// Whether `x` and `y` are `[B, T, ..]` instead of `[T, B, ..]`.
    pub batch_first: bool,
    /// Whether initial states are given; else they are learned ones or zero.
    pub state: bool,
    /// Whether single rows may begin anew in spite of the given states.
    pub resets: bool,
    /// Whether predictions have weights of their own in the loss.
    pub weights: bool,
}

impl Sequences {
    /// `steps` timesteps of `batch` rows, time-major, from the model's own initial states.
    pub fn new(steps: usize, batch: usize) -> Sequences {
        Sequences {
            steps,
            batch,
            lengths: false,
            batch_first: false,
            state: false,
            resets: false,
            weights: false,
        }
    }

    /// With a length for every row.
    pub fn with_lengths(self) -> Self {
        Sequences { lengths: true, ..self }
    }

    /// With `x` and `y` as `[B, T, ..]`.
    pub fn batch_first(self) -> Self {
        Sequences { batch_first: true, ..self }
    }

    /// With given initial states.
    pub fn with_state(self) -> Self {
        Sequences { state: true, ..self }
    }

    /// With a weight for every prediction.
    pub fn with_weights(self) -> Self {
        Sequences { weights: true, ..self }
    }
}
