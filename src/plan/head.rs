//! What stands on the top layer.

use std::borrow::Cow;
use std::fmt;

use crate::reference::{Dropout, Nonlinearity};

/// Modules of a head, and modules of layers of several sizes, at most: names and passes go through all of them.
pub(crate) const MODULES: usize = 1024;

/// A probability with which elements are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probability(pub f64);

/// As its bits, for the key of a cache.
impl Eq for Probability {}

impl std::hash::Hash for Probability {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// One of the modules of a head, as in `torch.nn.Sequential`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadModule {
    /// `nn.Linear` with so many outputs.
    Linear {
        /// Its outputs.
        outputs: usize,
        /// Whether it has a bias.
        bias: bool,
    },
    /// A function of each number.
    Nonlinearity(Nonlinearity),
    /// `nn.Dropout`, which does nothing in inference.
    Dropout(Probability),
}

impl HeadModule {
    /// Features that leave it, of so many that reach it.
    pub fn width(&self, features: usize) -> usize {
        match *self {
            HeadModule::Linear { outputs, .. } => outputs,
            _ => features,
        }
    }

    /// What it drops in training, if anything.
    pub fn drops(&self) -> Option<Dropout> {
        match *self {
            HeadModule::Dropout(Probability(p)) if p > 0.0 => Some(Dropout::new(p)),
            _ => None,
        }
    }
}

impl fmt::Display for HeadModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadModule::Linear { outputs, bias: true } => write!(f, "linear {outputs}"),
            HeadModule::Linear { outputs, bias: false } => {
                write!(f, "linear {outputs} without bias")
            }
            HeadModule::Nonlinearity(function) => write!(f, "{function}"),
            HeadModule::Dropout(Probability(p)) => write!(f, "dropout {p}"),
        }
    }
}

/// What stands on the top layer.
///
/// Several modules, one on the other, as `torch.nn.Sequential` has them:
///
/// ```
/// use gatefold::{Array, Device, Forecaster, Head, LstmConfig};
/// let head = Head::new().dropout(0.3).linear(32).relu().linear_without_bias(9);
/// let model = Forecaster::with_head(&Device::cpu(), LstmConfig::new(4, 16), head)?;
/// let x = Array::new(vec![0.5; 2 * 10 * 4], &[2, 10, 4])?;
/// assert_eq!(model.predict(&x)?.shape(), [2, 9]);
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Head {
    /// Nothing: the outputs of all timesteps are the result.
    #[default]
    Sequence,
    /// Nothing, as `torch.nn.Identity`: what is read of the top layer is the prediction.
    Identity,
    /// A linear layer with so many outputs, and a bias, on what is read.
    Linear(usize),
    /// Any modules.
    Modules(Vec<HeadModule>),
}

impl Head {
    /// Without a module: what is read is the prediction.
    #[allow(clippy::new_without_default, reason = "the default is a model without predictions")]
    pub fn new() -> Head {
        Head::Identity
    }

    /// And then a linear layer with so many outputs.
    #[doc(alias = "nn.Linear")]
    pub fn linear(self, outputs: usize) -> Head {
        self.then(HeadModule::Linear { outputs, bias: true })
    }

    /// And then a linear layer without a bias.
    pub fn linear_without_bias(self, outputs: usize) -> Head {
        self.then(HeadModule::Linear { outputs, bias: false })
    }

    /// And then `max(x, 0)`.
    #[doc(alias = "nn.ReLU")]
    pub fn relu(self) -> Head {
        self.nonlinearity(Nonlinearity::Relu)
    }

    /// And then the hyperbolic tangent.
    pub fn tanh(self) -> Head {
        self.nonlinearity(Nonlinearity::Tanh)
    }

    /// And then a function of each number.
    pub fn nonlinearity(self, function: Nonlinearity) -> Head {
        self.then(HeadModule::Nonlinearity(function))
    }

    /// And then dropout: in training an element is zero with this probability, in `[0, 1)`, and is
    /// multiplied by `1 / (1 - p)` otherwise.
    #[doc(alias = "nn.Dropout")]
    pub fn dropout(self, p: f64) -> Head {
        self.then(HeadModule::Dropout(Probability(p)))
    }

    /// And then a module.
    pub fn then(self, module: HeadModule) -> Head {
        let mut modules = match self {
            Head::Modules(modules) => modules,
            other => other.modules().into_owned(),
        };
        modules.push(module);
        Head::of(modules)
    }

    /// Of these modules.
    pub fn of(modules: Vec<HeadModule>) -> Head {
        match *modules {
            [] => Head::Identity,
            [HeadModule::Linear { outputs, bias: true }] => Head::Linear(outputs),
            _ => Head::Modules(modules),
        }
    }

    /// The same where it was put together by hand.
    pub(crate) fn normal(self) -> Head {
        match self {
            Head::Modules(modules) => Head::of(modules),
            other => other,
        }
    }

    /// The same without anything dropped; its modules keep their places.
    pub(crate) fn without_dropout(&self) -> Head {
        let kept = |module: &HeadModule| match module {
            HeadModule::Dropout(_) => HeadModule::Dropout(Probability(0.0)),
            other => *other,
        };
        match self {
            Head::Modules(modules) => Head::Modules(modules.iter().map(kept).collect()),
            other => other.clone(),
        }
    }

    /// Its modules.
    pub fn modules(&self) -> Cow<'_, [HeadModule]> {
        match self {
            Head::Sequence | Head::Identity => Cow::Borrowed(&[]),
            Head::Linear(outputs) => {
                Cow::Owned(vec![HeadModule::Linear { outputs: *outputs, bias: true }])
            }
            Head::Modules(modules) => Cow::Borrowed(modules),
        }
    }

    /// Its linear layers: of each the module that it is, the features that reach it, its outputs, and
    /// whether it has a bias.
    pub fn linears(&self, features: usize) -> Vec<HeadLinear> {
        let (mut width, mut found) = (features, Vec::new());
        for (module, kind) in self.modules().iter().enumerate() {
            if let HeadModule::Linear { outputs, bias } = *kind {
                found.push(HeadLinear { module, features: width, outputs, bias });
            }
            width = kind.width(width);
        }
        found
    }

    /// Features that leave it, of so many that reach it.
    pub fn width(&self, features: usize) -> usize {
        self.modules().iter().fold(features, |width, module| module.width(width))
    }

    /// Whether training drops anything in it.
    pub fn drops(&self) -> bool {
        self.modules().iter().any(|module| module.drops().is_some())
    }
}

/// A linear layer of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLinear {
    /// Which of the modules it is.
    pub module: usize,
    /// Features that reach it.
    pub features: usize,
    /// Its outputs.
    pub outputs: usize,
    /// Whether it has a bias.
    pub bias: bool,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Head::Sequence => f.write_str("no head"),
            Head::Identity => f.write_str("an identity as head"),
            Head::Linear(outputs) => write!(f, "a linear head of {outputs} outputs"),
            Head::Modules(modules) => {
                let said: Vec<String> = modules.iter().map(HeadModule::to_string).collect();
                write!(f, "a head of {}", said.join(", "))
            }
        }
    }
}
