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
    pub(crate) projection_clip: Option<f32>,
    pub(crate) gate: CellActivation,
    pub(crate) candidate: CellActivation,
    pub(crate) output: CellActivation,
    pub(crate) zoneout: Option<Zoneout>,
    pub(crate) recurrent_dropout: f64,
    pub(crate) candidate_dropout: f64,
    pub(crate) input_dropout: f64,
}

/// The probabilities with which states stay as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Zoneout {
    pub(crate) h: f64,
    pub(crate) c: f64,
    /// Whether training draws; else it takes what is expected, as inference.
    pub(crate) drawn: bool,
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
            projection_clip: None,
            gate: CellActivation::Sigmoid,
            candidate: CellActivation::Tanh,
            output: CellActivation::Tanh,
            zoneout: None,
            recurrent_dropout: 0.0,
            candidate_dropout: 0.0,
            input_dropout: 0.0,
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

    /// Bounds each projected hidden state to `+-bound`: TensorFlow's `proj_clip`, and ELMo's. For models with a
    /// [`proj_size`](crate::LstmConfig::proj_size). Default no bound.
    pub const fn projection_clip(self, bound: f32) -> Cell {
        Cell { projection_clip: Some(bound), ..self }
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

    /// Training leaves each unit's hidden state as it was with probability `h`, and its cell state with
    /// probability `c`, at every timestep anew (Krueger et al., 2017, *Zoneout: regularizing RNNs by randomly
    /// preserving hidden activations*). Inference takes what is expected, `h` of the old state and the rest of
    /// the new one. The hidden state is made from the new cell state, whether or not that is kept. Default 0.
    pub const fn zoneout(self, h: f64, c: f64) -> Cell {
        let none = h == 0.0 && c == 0.0;
        Cell { zoneout: if none { None } else { Some(Zoneout { h, c, drawn: true }) }, ..self }
    }

    /// The probability with which training drops a feature of the hidden state on its way to the next timestep,
    /// the same ones at all timesteps of a sequence, and scales the others by `1 / (1 - p)` (Gal and Ghahramani,
    /// 2016, *A theoretically grounded application of dropout in recurrent neural networks*). One mask for all
    /// four gates. What leaves the layer is whole. Default 0.
    pub const fn recurrent_dropout(self, p: f64) -> Cell {
        Cell { recurrent_dropout: p, ..self }
    }

    /// The probability with which training drops a unit's candidate g, the same ones at all timesteps of a
    /// sequence, and scales the others by `1 / (1 - p)`: no state is forgotten by it (Semeniuta, Severyn and
    /// Barth, 2016, *Recurrent dropout without memory loss*). Default 0.
    pub const fn candidate_dropout(self, p: f64) -> Cell {
        Cell { candidate_dropout: p, ..self }
    }

    /// The probability with which training drops a feature of the input of each layer, the same ones at all
    /// timesteps of a sequence, and scales the others by `1 / (1 - p)`: Keras' `dropout`, and the other half of
    /// Gal and Ghahramani's. Default 0.
    pub const fn input_dropout(self, p: f64) -> Cell {
        Cell { input_dropout: p, ..self }
    }

    /// Whether training draws anything in timesteps.
    pub(crate) fn draws(&self) -> bool {
        let zoned = self.zoneout.is_some_and(|zoneout| zoneout.drawn);
        zoned || self.recurrent_dropout > 0.0 || self.candidate_dropout > 0.0
    }

    /// Whether training draws anything.
    pub fn is_random(&self) -> bool {
        self.draws() || self.input_dropout > 0.0
    }

    /// The same without anything that is drawn: what inference computes.
    pub(crate) fn undrawn(self) -> Cell {
        let zoneout = self.zoneout.map(|zoneout| Zoneout { drawn: false, ..zoneout });
        Cell { zoneout, recurrent_dropout: 0.0, candidate_dropout: 0.0, input_dropout: 0.0, ..self }
    }

    /// Whether it is that of `torch.nn.LSTM`.
    pub fn is_plain(&self) -> bool {
        *self == Cell::new()
    }

    /// What of it isn't as it has to be: the setting, what is expected, what there is.
    pub(crate) fn problem(&self) -> Option<(&'static str, &'static str, String)> {
        for (name, bound) in [
            ("clip", self.clip),
            ("cell_clip", self.cell_clip),
            ("projection_clip", self.projection_clip),
        ] {
            if let Some(bound) = bound.filter(|bound| !(bound.is_finite() && *bound > 0.0)) {
                return Some((name, "finite, above 0", bound.to_string()));
            }
        }
        let zoneout = self.zoneout.unwrap_or(Zoneout { h: 0.0, c: 0.0, drawn: false });
        for (name, p) in [
            ("zoneout of h", zoneout.h),
            ("zoneout of c", zoneout.c),
            ("recurrent_dropout", self.recurrent_dropout),
            ("candidate_dropout", self.candidate_dropout),
            ("input_dropout", self.input_dropout),
        ] {
            if !(0.0..1.0).contains(&p) {
                return Some((name, "in [0, 1)", p.to_string()));
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
        if self.peepholes && self.zoneout.is_some_and(|zoneout| zoneout.c > 0.0) {
            let expected = "0 in training, with peepholes: o's sees a cell state that isn't kept";
            return Some(("zoneout of c", expected, self.to_string()));
        }
        let (name, function) = functions.into_iter().find(|(name, f)| !told(name, *f))?;
        let expected = match function {
            CellActivation::ThresholdedRelu { .. } => {
                "alpha of at least 0, in training with a clip, which its value doesn't tell below"
            }
            _ => "alpha of at least 0, in training: below, two arguments have one value",
        };
        Some((name, expected, function.to_string()))
    }
}

impl Eq for Cell {}

impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bounds = [self.clip, self.cell_clip, self.projection_clip].map(|bound| bound.map(bits));
        (self.peepholes, self.coupled, bounds, self.gate, self.candidate, self.output).hash(state);
        let zoneout = self.zoneout.map(|zoneout| [zoneout.h, zoneout.c]).unwrap_or([-1.0; 2]);
        let dropped = [self.recurrent_dropout, self.candidate_dropout, self.input_dropout];
        zoneout.into_iter().chain(dropped).for_each(|p| (p + 0.0).to_bits().hash(state));
    }
}

/// What differs from `torch.nn.LSTM`'s, as files and headlines say it.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Cell::new();
        let number = |bound: Option<f32>| bound.unwrap_or(0.0);
        let zoneout = self.zoneout.unwrap_or(Zoneout { h: 0.0, c: 0.0, drawn: false });
        let said = [
            (self.peepholes, "peepholes".to_owned()),
            (self.coupled, "coupled".to_owned()),
            (self.clip.is_some(), format!("clip {}", number(self.clip))),
            (self.cell_clip.is_some(), format!("cell_clip {}", number(self.cell_clip))),
            (
                self.projection_clip.is_some(),
                format!("projection_clip {}", number(self.projection_clip)),
            ),
            (self.gate != plain.gate, format!("gate {}", self.gate)),
            (self.candidate != plain.candidate, format!("candidate {}", self.candidate)),
            (self.output != plain.output, format!("output {}", self.output)),
            (self.zoneout.is_some(), format!("zoneout {} {}", zoneout.h, zoneout.c)),
            (self.recurrent_dropout > 0.0, format!("recurrent_dropout {}", self.recurrent_dropout)),
            (self.candidate_dropout > 0.0, format!("candidate_dropout {}", self.candidate_dropout)),
            (self.input_dropout > 0.0, format!("input_dropout {}", self.input_dropout)),
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
                ("projection_clip", _) => cell.projection_clip(number()?),
                ("gate", _) => cell.gate_activation(function()?),
                ("candidate", _) => cell.candidate_activation(function()?),
                ("output", _) => cell.output_activation(function()?),
                ("zoneout", _) => {
                    let (h, c) = rest.split_once(' ')?;
                    cell.zoneout(h.parse().ok()?, c.parse().ok()?)
                }
                ("recurrent_dropout", _) => cell.recurrent_dropout(rest.parse().ok()?),
                ("candidate_dropout", _) => cell.candidate_dropout(rest.parse().ok()?),
                ("input_dropout", _) => cell.input_dropout(rest.parse().ok()?),
                _ => return None,
            };
        }
        Some(cell)
    }
}
