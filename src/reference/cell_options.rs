//! What an LSTM's cell may have that PyTorch's hasn't.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::CellActivation;
use super::cell_activation::bits;

/// Which cell an LSTM has; by default `torch.nn.LSTM`'s.
///
/// ```
/// use gatefold::{Cell, CellActivation, Device, Lstm, LstmConfig};
/// let cell = Cell::new().peepholes(true).clip(3.0).gate_activation(CellActivation::HARD_SIGMOID);
/// let lstm = Lstm::new(&Device::cpu(), LstmConfig::new(4, 8).cell(cell))?;
/// assert_eq!(lstm.state_dict()?[4].0, "weight_peephole_l0");
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    pub(crate) peepholes: bool,
    pub(crate) coupled: bool,
    pub(crate) clip: Option<f32>,
    pub(crate) cell_clip: Option<f32>,
    pub(crate) gate: CellActivation,
    pub(crate) candidate: CellActivation,
    pub(crate) output: CellActivation,
}

impl Default for Cell {
    fn default() -> Cell {
        Cell::new()
    }
}

impl Cell {
    /// That of `torch.nn.LSTM`.
    pub const fn new() -> Cell {
        Cell {
            peepholes: false,
            coupled: false,
            clip: None,
            cell_clip: None,
            gate: CellActivation::Sigmoid,
            candidate: CellActivation::Tanh,
            output: CellActivation::Tanh,
        }
    }

    /// Whether the gates see the cell state (Gers, Schraudolph and Schmidhuber, 2002, *Learning precise timing
    /// with LSTM recurrent networks*; ONNX's input `P`, TensorFlow's `use_peepholes`): i and f that of before
    /// the timestep, o that of after it, each unit its own, by a parameter `weight_peephole_l0 [3H]` of
    /// (i, f, o). Default no.
    pub const fn peepholes(self, peepholes: bool) -> Cell {
        Cell { peepholes, ..self }
    }

    /// Whether a unit forgets as much as it takes in: f = 1 - i (ONNX's `input_forget`, TFLite's CIFG; Greff
    /// et al., 2017, *LSTM: a search space odyssey*). The parameters of f stay where they are and have no
    /// gradient. Default no.
    pub const fn coupled(self, coupled: bool) -> Cell {
        Cell { coupled, ..self }
    }

    /// Bounds what goes into each gate and into the candidate to `+-bound`, behind biases and peepholes: ONNX's
    /// `clip`. Default no bound.
    pub const fn clip(self, bound: f32) -> Cell {
        Cell { clip: Some(bound), ..self }
    }

    /// Bounds the cell state after each timestep to `+-bound`: TensorFlow's and ELMo's `cell_clip`. Default
    /// no bound.
    pub const fn cell_clip(self, bound: f32) -> Cell {
        Cell { cell_clip: Some(bound), ..self }
    }

    /// What makes i, f and o of their sums: ONNX's first activation, Keras' `recurrent_activation`. Default
    /// the sigmoid.
    pub const fn gate_activation(self, gate: CellActivation) -> Cell {
        Cell { gate, ..self }
    }

    /// What makes the candidate g: ONNX's second activation. Keras' `activation` is this one and
    /// [`output_activation`](Self::output_activation). Default tanh.
    pub const fn candidate_activation(self, candidate: CellActivation) -> Cell {
        Cell { candidate, ..self }
    }

    /// What the cell state goes through on its way to the hidden state: ONNX's third activation. Default tanh.
    pub const fn output_activation(self, output: CellActivation) -> Cell {
        Cell { output, ..self }
    }

    /// Whether it is that of `torch.nn.LSTM`.
    pub fn is_plain(&self) -> bool {
        *self == Cell::new()
    }

    /// What of it isn't as it has to be: the setting, what is expected, what there is.
    pub(crate) fn problem(&self) -> Option<(&'static str, &'static str, String)> {
        for (name, bound) in [("clip", self.clip), ("cell_clip", self.cell_clip)] {
            if let Some(bound) = bound.filter(|bound| !(bound.is_finite() && *bound > 0.0)) {
                return Some((name, "finite, above 0", bound.to_string()));
            }
        }
        let functions = [
            ("gate_activation", self.gate),
            ("candidate_activation", self.candidate),
            ("output_activation", self.output),
        ];
        let (name, function) = functions.into_iter().find(|(_, function)| {
            let (_, alpha, beta) = function.code();
            !(alpha.is_finite() && beta.is_finite())
        })?;
        Some((name, "of finite numbers", function.to_string()))
    }

    /// Why a backward pass can't be made: derivatives are made of what functions gave, which of some doesn't
    /// tell what they were given.
    pub(crate) fn not_trainable(&self) -> Option<(&'static str, &'static str, String)> {
        let functions = [
            ("gate_activation", self.gate),
            ("candidate_activation", self.candidate),
            ("output_activation", self.output),
        ];
        let clipped = |name: &str| self.clip.is_some() && name != "output_activation";
        let told = |name: &str, f: CellActivation| f.is_told_by_value(clipped(name));
        let (name, function) = functions.into_iter().find(|(name, f)| !told(name, *f))?;
        let expected = "alpha of at least 0, in training: below, two arguments have one value";
        Some((name, expected, function.to_string()))
    }
}

impl Eq for Cell {}

impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bounds = [self.clip, self.cell_clip].map(|bound| bound.map(bits));
        (self.peepholes, self.coupled, bounds, self.gate, self.candidate, self.output).hash(state);
    }
}

/// What differs from `torch.nn.LSTM`'s, as files and headlines say it.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Cell::new();
        let number = |bound: Option<f32>| bound.unwrap_or(0.0);
        let said = [
            (self.peepholes, "peepholes".to_owned()),
            (self.coupled, "coupled".to_owned()),
            (self.clip.is_some(), format!("clip {}", number(self.clip))),
            (self.cell_clip.is_some(), format!("cell_clip {}", number(self.cell_clip))),
            (self.gate != plain.gate, format!("gate {}", self.gate)),
            (self.candidate != plain.candidate, format!("candidate {}", self.candidate)),
            (self.output != plain.output, format!("output {}", self.output)),
        ];
        let said: Vec<String> =
            said.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
        f.write_str(if said.is_empty() { "plain" } else { "" })?;
        f.write_str(&said.join(", "))
    }
}

impl Cell {
    /// The one that [`Display`](fmt::Display) has written.
    pub(crate) fn named(text: &str) -> Option<Cell> {
        let mut cell = Cell::new();
        if text == "plain" {
            return Some(cell);
        }
        for part in text.split(", ") {
            let (word, rest) = part.split_once(' ').unwrap_or((part, ""));
            let number = || rest.parse::<f32>().ok();
            let function = || CellActivation::named(rest);
            cell = match (word, rest) {
                ("peepholes", "") => cell.peepholes(true),
                ("coupled", "") => cell.coupled(true),
                ("clip", _) => cell.clip(number()?),
                ("cell_clip", _) => cell.cell_clip(number()?),
                ("gate", _) => cell.gate_activation(function()?),
                ("candidate", _) => cell.candidate_activation(function()?),
                ("output", _) => cell.output_activation(function()?),
                _ => return None,
            };
        }
        Some(cell)
    }
}
