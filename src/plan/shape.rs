//! What a plan has to know of a model and of a call.

use std::fmt;

use super::{Activation, Head, HeadModule, MODULES, Probability};
use crate::command::Limits;
use crate::error::{Error, Result, elements};
use crate::reference::{Cell, Readout};

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StackShape {
    /// Features `I` that reach the first layer.
    pub input: usize,
    /// What they are made of.
    pub encoding: Encoding,
    /// Units `H` of every layer, or of the largest.
    pub hidden: usize,
    /// Units of each layer, where they differ; else empty.
    pub sizes: Vec<usize>,
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
    /// Whether every layer runs from the end to the beginning alone.
    pub reverse: bool,
    /// Features `P` that hidden states are projected to, where they are.
    pub projection: Option<usize>,
    /// Which cell.
    pub cell: Cell,
    /// Whether the initial states are parameters.
    pub learned_state: bool,
    /// Whether the weight of the head's last linear layer is the embedding's.
    pub tied: bool,
    /// The token whose row of the embedding isn't learned from being read.
    pub padding_idx: Option<usize>,
    /// What inference makes of the head's outputs; losses are of the outputs themselves.
    pub output: Option<Activation>,
}

impl StackShape {
    /// One layer with PyTorch's two biases and no head.
    pub fn lstm(input: usize, hidden: usize) -> StackShape {
        StackShape {
            input,
            encoding: Encoding::Values,
            hidden,
            sizes: Vec::new(),
            layers: 1,
            bias: Bias::Double,
            head: Head::Sequence,
            readout: Readout::default(),
            bidirectional: false,
            reverse: false,
            projection: None,
            cell: Cell::new(),
            learned_state: false,
            tied: false,
            padding_idx: None,
            output: None,
        }
    }

    /// Directions `D` of a layer.
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Units of layer `l`.
    pub fn units(&self, l: usize) -> usize {
        self.sizes.get(l).copied().unwrap_or(self.hidden)
    }

    /// Features of a direction's hidden state in layer `l`: `P` with a projection, else its units.
    pub fn state(&self, l: usize) -> usize {
        self.projection.unwrap_or(self.units(l))
    }

    /// Features of layer `l`'s outputs, those of all directions.
    pub fn layer_output(&self, l: usize) -> usize {
        self.directions().saturating_mul(self.state(l))
    }

    /// The most features that a layer's outputs have.
    pub fn widest_output(&self) -> usize {
        self.directions().saturating_mul(self.projection.unwrap_or(self.hidden))
    }

    /// Features that reach the head.
    pub fn features(&self) -> usize {
        match self.layers.checked_sub(1) {
            None => self.input,
            Some(top) => self.layer_output(top),
        }
    }

    /// Features that reach layer `l`.
    pub fn layer_input(&self, l: usize) -> usize {
        l.checked_sub(1).map_or(self.input, |below| self.layer_output(below))
    }

    /// Numbers of a row in a state of all layers below `l` and, in all directions of it, below `d`.
    pub(crate) fn states_below(&self, l: usize, d: usize, width: impl Fn(usize) -> usize) -> usize {
        let below: usize = match self.sizes.is_empty() {
            true => l.saturating_mul(width(0)),
            false => (0..l).map(&width).sum(),
        };
        self.directions() * below + d * if d > 0 { width(l) } else { 0 }
    }

    /// Numbers of a row in the hidden states and in the cell states of all layers.
    pub fn state_widths(&self) -> [usize; 2] {
        let all = |width: &dyn Fn(usize) -> usize| self.states_below(self.layers, 0, width);
        [all(&|l| self.state(l)), all(&|l| self.units(l))]
    }

    /// The sizes of the hidden and the cell states of so many rows, `[L D, B, ..]`; of layers of several sizes
    /// they stand one after the other.
    pub(crate) fn state_sizes(&self, rows: usize) -> [Vec<usize>; 2] {
        let states = self.layers * self.directions();
        self.state_widths().map(|width| match self.sizes.is_empty() {
            true => vec![states, rows, width / states.max(1)],
            false => vec![rows.saturating_mul(width)],
        })
    }

    /// Whether it can run timestep by timestep: forward alone.
    pub fn is_causal(&self) -> bool {
        !self.bidirectional && !self.reverse
    }

    /// Checks that it can run timestep by timestep.
    pub(crate) fn expect_causal(&self, operation: &'static str) -> Result<()> {
        let name = if self.bidirectional { "bidirectional" } else { "reverse" };
        match self.is_causal() {
            true => Ok(()),
            false => Err(Error::Value {
                operation,
                name: name.to_owned(),
                expected: "false, since the reverse direction needs the sequence's end".to_owned(),
                got: "true".to_owned(),
            }),
        }
    }

    /// Numbers in a prediction of one row, or of one of its timesteps; zero where the result is a
    /// sequence of hidden states.
    pub fn outputs(&self) -> usize {
        match self.head {
            Head::Sequence => 0,
            _ => self.head.width(self.features()),
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
        let layer = |l: usize| {
            let (units, state) = (self.units(l), self.state(l));
            let terms = self.layer_input(l).checked_add(state)?.checked_add(2)?;
            let projection = self.projection.unwrap_or(0).checked_add(4)?.checked_mul(units)?;
            // With what a learned state has for it.
            let peepholes = if self.cell.peepholes { units.checked_mul(4)? } else { 0 };
            let others = projection.checked_add(state)?.checked_add(units)?;
            let others = others.checked_add(peepholes)?;
            let direction = units.checked_mul(4)?.checked_mul(terms)?.checked_add(others)?;
            direction.checked_add(8 * 64)?.checked_mul(self.directions())
        };
        let layers = match (self.layers, self.sizes.is_empty()) {
            (0, _) => 0,
            (layers, true) => layer(1)?.checked_mul(layers - 1)?.checked_add(layer(0)?)?,
            (layers, false) => (0..layers).try_fold(0usize, |sum, l| sum.checked_add(layer(l)?))?,
        };
        let linears = self.head.linears(self.features());
        let tied = linears.len().checked_sub(1).filter(|_| self.tied);
        let head = linears.iter().enumerate().try_fold(0usize, |sum, (number, linear)| {
            // A weight that is the embedding's is counted there.
            let terms = if tied == Some(number) { 0 } else { linear.features };
            let weights = terms.checked_add(1)?.checked_mul(linear.outputs)?;
            sum.checked_add(weights.checked_add(2 * 64)?)
        })?;
        let embedding = match self.encoding {
            Encoding::Embedding(vocabulary) => vocabulary.checked_mul(self.input)?,
            _ => 0,
        };
        layers.checked_add(head)?.checked_add(embedding)?.checked_add(64)
    }

    /// The most numbers that a linear layer of the head gives or takes of one row.
    pub(crate) fn widest_of_head(&self) -> usize {
        let linears = self.head.linears(self.features());
        linears.iter().map(|linear| linear.outputs.max(linear.features)).max().unwrap_or(0)
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
                self.predictions(steps).saturating_mul(batch).saturating_mul(self.widest_of_head()),
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
        let refused = |name: &str, expected: String, got: String| {
            Err(Error::Value { operation, name: name.to_owned(), expected, got })
        };
        if !self.sizes.is_empty() {
            if self.sizes.len() > MODULES {
                let got = self.sizes.len().to_string();
                return refused("hidden sizes", format!("at most {MODULES}"), got);
            }
            let listed = format!("{:?}", self.sizes);
            let largest = self.sizes.iter().max().copied();
            if self.sizes.len() != self.layers || largest != Some(self.hidden) {
                let expected = format!("{}, of which {} is the largest", self.layers, self.hidden);
                return refused("hidden sizes", expected, listed);
            }
            if self.sizes.contains(&0) {
                return refused("hidden sizes", "at least 1 each".to_owned(), listed);
            }
            if self.learned_state {
                let expected = "one size, where initial states are learned".to_owned();
                return refused("hidden sizes", expected, listed);
            }
        }
        if self.bidirectional && self.reverse {
            let expected = "one direction alone, or both".to_owned();
            return refused("direction", expected, "both, and reverse alone".to_owned());
        }
        elements(operation, "[timesteps, batch, input]", &[steps, batch, self.input])?;
        elements(operation, "[input, 4 x hidden]", &[self.input, 4, self.hidden])?;
        elements(operation, "[hidden, 4 x hidden]", &[self.hidden, 4, self.hidden])?;
        // Two more slots than timesteps, in both directions.
        elements(
            operation,
            "[timesteps + 2, batch, 8 x hidden]",
            &[steps.saturating_add(2), batch, 8, self.hidden],
        )?;
        let smallest = self.sizes.iter().min().copied().unwrap_or(self.hidden);
        if let Some(projection) = self.projection.filter(|&p| p == 0 || p >= smallest) {
            let expected = format!("at least 1 and below the hidden size {smallest}");
            return refused("proj_size", expected, projection.to_string());
        }
        if let Some((name, expected, got)) = self.cell.problem() {
            return refused(name, expected.to_owned(), got);
        }
        if let (None, Some(bound)) = (self.projection, self.cell.projection_clip) {
            let expected = "none, without a projection".to_owned();
            return refused("projection_clip", expected, bound.to_string());
        }
        if self.projection.is_some() {
            let zoned = self.cell.zoneout.filter(|zoneout| zoneout.h > 0.0);
            for (name, p) in [
                ("zoneout of h", zoned.map_or(0.0, |zoneout| zoneout.h)),
                ("recurrent_dropout", self.cell.recurrent_dropout),
            ] {
                if p > 0.0 {
                    return refused(name, "0, with a projection".to_owned(), p.to_string());
                }
            }
        }
        if self.head == Head::Sequence && self.readout != Readout::default() {
            return Err(Error::Value {
                operation,
                name: "readout".to_owned(),
                expected: "none, in a model without predictions".to_owned(),
                got: self.readout.name().to_owned(),
            });
        }
        self.check_head(operation, steps, batch)?;
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
        let of_layers = !self.is_causal() || self.projection.is_some() || self.learned_state;
        let plain = self.encoding == Encoding::Values
            && self.readout == Readout::default()
            && self.output.is_none()
            && !of_layers;
        let linear = matches!(*self.head.modules(), [HeadModule::Linear { .. }]);
        if self.layers == 0 && !(linear && steps == 1 && plain) {
            return Err(Error::Value {
                operation,
                name: "layers".to_owned(),
                expected: "at least 1, but for a linear layer alone".to_owned(),
                got: "0".to_owned(),
            });
        }
        Ok(())
    }

    fn check_head(&self, operation: &'static str, steps: usize, batch: usize) -> Result<()> {
        let refused = |name: &str, expected: &str, got: String| {
            let expected = expected.to_owned();
            Err(Error::Value { operation, name: name.to_owned(), expected, got })
        };
        if self.head.modules().len() > MODULES {
            let got = self.head.modules().len().to_string();
            return refused("modules of the head", &format!("at most {MODULES}"), got);
        }
        let linears = self.head.linears(self.features());
        for linear in &linears {
            elements(operation, "[outputs, hidden]", &[linear.outputs, linear.features])?;
            let rows = self.predictions(steps);
            elements(operation, "[timesteps, batch, outputs]", &[rows, batch, linear.outputs])?;
        }
        for module in self.head.modules().iter() {
            if let HeadModule::Dropout(Probability(p)) = module
                && !(0.0..1.0).contains(p)
            {
                return refused("dropout of the head", "in [0, 1)", p.to_string());
            }
        }
        if self.output.is_some() && self.outputs() == 0 {
            return refused("output activation", "a model with predictions", self.head.to_string());
        }
        if self.output == Some(Activation::Softmax) && self.outputs() == 1 {
            let expected = "a sigmoid, or several outputs: of one, a softmax is always 1";
            return refused("output activation", expected, "a softmax of one output".to_owned());
        }
        let vocabulary = match self.encoding {
            Encoding::Embedding(vocabulary) => Some(vocabulary),
            _ => None,
        };
        if let Some(padding) = self.padding_idx.filter(|&p| vocabulary.is_none_or(|v| p >= v)) {
            let expected = match vocabulary {
                Some(vocabulary) => format!("a token from 0 to {}", vocabulary.saturating_sub(1)),
                None => "none, in a model without an embedding".to_owned(),
            };
            return refused("padding_idx", &expected, padding.to_string());
        }
        let tied = linears.last().map(|linear| [linear.outputs, linear.features]);
        let embedding = vocabulary.map(|vocabulary| [vocabulary, self.input]);
        if self.tied && (tied.is_none() || tied != embedding) {
            let said =
                |sizes: Option<[usize; 2]>| sizes.map_or("none".to_owned(), |s| format!("{s:?}"));
            let expected = "a last linear layer whose weight has the embedding's shape";
            let got = format!("{} and {}", said(tied), said(embedding));
            return refused("tied weights", expected, got);
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
    /// Whether rows with lengths start late, in `x` and `y`, instead of ending early; without
    /// predictions.
    pub right_aligned: bool,
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
            right_aligned: false,
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
