//! Twin of `nonlinearity`, and the functions that it knows.

use std::fmt;

use super::{Real, sigmoid};

/// What stands behind a linear layer of a head, element by element, with the defaults of PyTorch's
/// modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nonlinearity {
    /// `max(x, 0)`, [`nn.ReLU`](https://docs.pytorch.org/docs/stable/generated/torch.nn.ReLU.html).
    Relu,
    /// x, and 0.01 x below 0, `nn.LeakyReLU`.
    LeakyRelu,
    /// x, and `exp(x) - 1` below 0, `nn.ELU`.
    Elu,
    /// `x * sigmoid(x)`, `nn.SiLU`.
    Silu,
    /// `nn.Tanh`.
    Tanh,
    /// `nn.Sigmoid`.
    Sigmoid,
}

/// What `LeakyRelu` leaves of a number below 0.
const LEAK: f64 = 0.01;

impl Nonlinearity {
    /// All of them, in the order in which shaders count them.
    pub const ALL: [Nonlinearity; 6] = [
        Nonlinearity::Relu,
        Nonlinearity::LeakyRelu,
        Nonlinearity::Elu,
        Nonlinearity::Silu,
        Nonlinearity::Tanh,
        Nonlinearity::Sigmoid,
    ];

    /// Its name in files, that of PyTorch's function, such as `relu`.
    pub fn name(self) -> &'static str {
        match self {
            Nonlinearity::Relu => "relu",
            Nonlinearity::LeakyRelu => "leaky_relu",
            Nonlinearity::Elu => "elu",
            Nonlinearity::Silu => "silu",
            Nonlinearity::Tanh => "tanh",
            Nonlinearity::Sigmoid => "sigmoid",
        }
    }

    /// The one of that [name](Self::name).
    pub fn named(name: &str) -> Option<Nonlinearity> {
        Nonlinearity::ALL.into_iter().find(|f| f.name() == name)
    }

    /// Its value at `x`.
    pub fn value<R: Real>(self, x: R) -> R {
        let zero = R::zero();
        match self {
            Nonlinearity::Relu if x < zero => zero,
            Nonlinearity::LeakyRelu if x < zero => R::of_f64(LEAK) * x,
            Nonlinearity::Elu if x < zero => x.exp_m1(),
            // Where the sigmoid is 0, however far below.
            Nonlinearity::Silu if x < R::of_f64(-1e3) => zero,
            Nonlinearity::Silu => x * sigmoid(x),
            Nonlinearity::Tanh => x.tanh(),
            Nonlinearity::Sigmoid => sigmoid(x),
            _ => x,
        }
    }

    /// Its slope at `x`; at 0 the one from below, as PyTorch has it.
    pub fn slope<R: Real>(self, x: R) -> R {
        let (zero, one) = (R::zero(), R::one());
        if x.is_nan() {
            return x;
        }
        match self {
            Nonlinearity::Relu if x <= zero => zero,
            Nonlinearity::LeakyRelu if x <= zero => R::of_f64(LEAK),
            Nonlinearity::Elu if x <= zero => x.exp(),
            Nonlinearity::Relu | Nonlinearity::LeakyRelu | Nonlinearity::Elu => one,
            Nonlinearity::Silu if x < R::of_f64(-1e3) => zero,
            Nonlinearity::Silu => {
                let s = sigmoid(x);
                s * (one + x * (one - s))
            }
            Nonlinearity::Tanh => one - x.tanh() * x.tanh(),
            Nonlinearity::Sigmoid => sigmoid(x) * (one - sigmoid(x)),
        }
    }
}

impl fmt::Display for Nonlinearity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `f(x)` of each number or, without an `f`, the answer to a question of yes or no: 1 for numbers above 0,
/// whose probability is above 1/2, and 0 for the others. A NaN stays one, and is no yes.
///
/// # Shapes
/// `x`, `out` `[N]`.
pub fn nonlinearity<R: Real>(f: Option<Nonlinearity>, x: &[R], out: &mut [R]) {
    for (&x, out) in x.iter().zip(out) {
        *out = match f {
            Some(f) => f.value(x),
            None if x > R::zero() => R::one(),
            None => R::zero(),
        };
    }
}
