//! The functions that a cell may have for its gates, its candidate and its output.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::{Real, sigmoid};

/// A function of a cell's gates, of its candidate or of its output: those of
/// [ONNX's LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html), with its `alpha` and `beta`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellActivation {
    /// `1 / (1 + exp(-x))`, what gates have.
    Sigmoid,
    /// `tanh(x)`, what the candidate and the output have.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `alpha * x + beta`; with 1 and 0, Keras' `linear`.
    Affine {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// `x`, and `alpha * x` below 0.
    LeakyRelu {
        /// The slope below 0.
        alpha: f32,
    },
    /// `x` above `alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// `alpha * tanh(beta * x)`.
    ScaledTanh {
        /// What the result is multiplied by.
        alpha: f32,
        /// What the argument is multiplied by.
        beta: f32,
    },
    /// `alpha * x + beta` within 0 and 1.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// `x`, and `alpha * (exp(x) - 1)` below 0.
    Elu {
        /// The value far below 0, negated.
        alpha: f32,
    },
    /// `x / (1 + |x|)`.
    Softsign,
    /// `ln(1 + exp(x))`.
    Softplus,
}

/// How near a value is to what the bound of a clip gives, at which its argument counts as clipped: what
/// roundings and the approximations of drivers come to.
const AT_CLIP: f64 = 1.0 / (1 << 20) as f64;

impl CellActivation {
    /// The hard sigmoid of ONNX, Keras 2 and TensorFlow.js: `0.2 x + 0.5` within 0 and 1.
    pub const HARD_SIGMOID: CellActivation = CellActivation::HardSigmoid { alpha: 0.2, beta: 0.5 };

    /// The hard sigmoid of Keras 3, and `torch.nn.Hardsigmoid`: `x / 6 + 0.5` within 0 and 1.
    pub const HARD_SIGMOID_KERAS_3: CellActivation =
        CellActivation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };

    /// How shaders count it, and its numbers, zero where it hasn't any.
    pub(crate) fn code(self) -> (u8, f32, f32) {
        match self {
            CellActivation::Sigmoid => (0, 0.0, 0.0),
            CellActivation::Tanh => (1, 0.0, 0.0),
            CellActivation::Relu => (2, 0.0, 0.0),
            CellActivation::Affine { alpha, beta } => (3, alpha, beta),
            CellActivation::LeakyRelu { alpha } => (4, alpha, 0.0),
            CellActivation::ThresholdedRelu { alpha } => (5, alpha, 0.0),
            CellActivation::ScaledTanh { alpha, beta } => (6, alpha, beta),
            CellActivation::HardSigmoid { alpha, beta } => (7, alpha, beta),
            CellActivation::Elu { alpha } => (8, alpha, 0.0),
            CellActivation::Softsign => (9, 0.0, 0.0),
            CellActivation::Softplus => (10, 0.0, 0.0),
        }
    }

    /// The one of such a code.
    pub(crate) fn of_code((code, alpha, beta): (u8, f32, f32)) -> Option<CellActivation> {
        Some(match code {
            0 => CellActivation::Sigmoid,
            1 => CellActivation::Tanh,
            2 => CellActivation::Relu,
            3 => CellActivation::Affine { alpha, beta },
            4 => CellActivation::LeakyRelu { alpha },
            5 => CellActivation::ThresholdedRelu { alpha },
            6 => CellActivation::ScaledTanh { alpha, beta },
            7 => CellActivation::HardSigmoid { alpha, beta },
            8 => CellActivation::Elu { alpha },
            9 => CellActivation::Softsign,
            10 => CellActivation::Softplus,
            _ => return None,
        })
    }

    /// Its names in ONNX, in the order of the codes, and how many numbers each has.
    const NAMES: [(&'static str, usize); 11] = [
        ("Sigmoid", 0),
        ("Tanh", 0),
        ("Relu", 0),
        ("Affine", 2),
        ("LeakyRelu", 1),
        ("ThresholdedRelu", 1),
        ("ScaledTanh", 2),
        ("HardSigmoid", 2),
        ("Elu", 1),
        ("Softsign", 0),
        ("Softplus", 0),
    ];

    /// Its name in ONNX.
    #[cfg(feature = "import-onnx")]
    pub(crate) fn name(self) -> &'static str {
        CellActivation::NAMES[usize::from(self.code().0)].0
    }

    /// How many of alpha and beta it has.
    #[cfg(feature = "import-onnx")]
    pub(crate) fn numbers(self) -> usize {
        CellActivation::NAMES[usize::from(self.code().0)].1
    }

    /// The one that [`Display`](fmt::Display) has written, such as `HardSigmoid 0.2 0.5`.
    pub(crate) fn named(text: &str) -> Option<CellActivation> {
        let mut words = text.split(' ');
        let name = words.next()?;
        let at = CellActivation::NAMES.iter().position(|(own, _)| *own == name)?;
        let numbers: Option<Vec<f32>> = words.take(3).map(|word| word.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| numbers.len() == CellActivation::NAMES[at].1)?;
        let number = |i: usize| numbers.get(i).copied().unwrap_or(0.0);
        CellActivation::of_code((at as u8, number(0), number(1)))
    }

    /// Its value at `x`.
    #[inline(always)]
    pub fn value<R: Real>(self, x: R) -> R {
        let (zero, one) = (R::zero(), R::one());
        match self {
            CellActivation::Sigmoid => sigmoid(x),
            CellActivation::Tanh => x.tanh(),
            CellActivation::Relu if x < zero => zero,
            CellActivation::Relu => x,
            CellActivation::Affine { alpha, beta } => R::of(alpha) * x + R::of(beta),
            CellActivation::LeakyRelu { alpha } if x < zero => R::of(alpha) * x,
            CellActivation::LeakyRelu { .. } => x,
            CellActivation::ThresholdedRelu { alpha } if x <= R::of(alpha) => zero,
            CellActivation::ThresholdedRelu { .. } => x,
            CellActivation::ScaledTanh { alpha, beta } => R::of(alpha) * (R::of(beta) * x).tanh(),
            CellActivation::HardSigmoid { alpha, beta } => match R::of(alpha) * x + R::of(beta) {
                low if low < zero => zero,
                high if high > one => one,
                inside => inside,
            },
            CellActivation::Elu { alpha } if x < zero => R::of(alpha) * x.exp_m1(),
            CellActivation::Elu { .. } => x,
            CellActivation::Softsign => x / (one + x.abs()),
            // Where the exponential is nothing beside x.
            CellActivation::Softplus if x > zero => x + (-x).exp().ln_1p(),
            CellActivation::Softplus => x.exp().ln_1p(),
        }
    }

    /// The gradient of its argument, from the gradient `d` of its value `y`. Of a function that turns back, such
    /// as `LeakyRelu` with an alpha below 0, by the slope at one of several places.
    #[inline(always)]
    pub fn back<R: Real>(self, d: R, y: R) -> R {
        let (zero, one) = (R::zero(), R::one());
        let unless = |flat: bool| if flat { zero } else { d };
        match self {
            CellActivation::Sigmoid => d * y * (one - y),
            CellActivation::Tanh => d * (one - y * y),
            CellActivation::Relu => unless(y <= zero),
            CellActivation::Affine { alpha, .. } => d * R::of(alpha),
            CellActivation::LeakyRelu { alpha } if y <= zero => d * R::of(alpha),
            CellActivation::LeakyRelu { .. } => d,
            CellActivation::ThresholdedRelu { .. } => unless(y == zero),
            CellActivation::ScaledTanh { alpha: 0.0, .. } => zero,
            CellActivation::ScaledTanh { alpha, beta } => {
                let alpha = R::of(alpha);
                d * R::of(beta) * (alpha - y * y / alpha)
            }
            CellActivation::HardSigmoid { alpha, .. } => {
                unless(y <= zero || y >= one) * R::of(alpha)
            }
            // What is rounded to 0 is below it, but for 0 itself.
            CellActivation::Elu { alpha } if y <= zero => d * (y + R::of(alpha)),
            CellActivation::Elu { .. } => d,
            CellActivation::Softsign => d * (one - y.abs()) * (one - y.abs()),
            CellActivation::Softplus => d * -(-y).exp_m1(),
        }
    }

    /// Between which two values its argument was within `+-bound`, of a function that never turns back.
    pub(crate) fn unclipped<R: Real>(self, bound: R) -> (R, R) {
        let (a, b) = (self.value(-bound), self.value(bound));
        let (low, high) = (a.min(b), a.max(b));
        let near = |end: R| R::of_f64(AT_CLIP) * end.abs().max(R::one());
        (low + near(low), high - near(high))
    }

    /// Whether the argument that became `y` was clipped to `+-bound`.
    pub(super) fn is_clipped<R: Real>(self, bound: f32, y: R) -> bool {
        let (low, high) = self.unclipped(R::of(bound));
        y <= low || y >= high
    }

    /// Whether its value tells its slope; with a clip, also whether the argument was clipped.
    pub(super) fn is_told_by_value(self, clipped: bool) -> bool {
        match self {
            CellActivation::LeakyRelu { alpha } | CellActivation::Elu { alpha } => alpha >= 0.0,
            CellActivation::ThresholdedRelu { alpha } => alpha >= 0.0 || !clipped,
            _ => true,
        }
    }
}

impl Eq for CellActivation {}

impl Hash for CellActivation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (code, alpha, beta) = self.code();
        (code, bits(alpha), bits(beta)).hash(state);
    }
}

/// ONNX's name, and its numbers.
impl fmt::Display for CellActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, alpha, beta) = self.code();
        let (name, numbers) = CellActivation::NAMES[usize::from(code)];
        f.write_str(name)?;
        [alpha, beta].iter().take(numbers).try_for_each(|number| write!(f, " {number}"))
    }
}

/// The bits of a number, those of 0 for -0, which equals it.
pub(super) fn bits(x: f32) -> u32 {
    (x + 0.0).to_bits()
}
