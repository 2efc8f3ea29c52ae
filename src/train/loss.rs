//! What is minimised.

use crate::error::{Error, Result};
use crate::plan::{Activation, Objective};
use crate::reference::{CrossEntropy, Pointwise};

/// How the losses of single predictions become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, in a cross-entropy with class weights the weighted one, as PyTorch's.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// What is minimised: by PyTorch's names and formulas, computed with its gradient on the device.
///
/// What lies behind a sequence's end counts nothing, and neither does what has the
/// [weight](crate::Dataset::with_weights) 0. Where nothing counts at all, a mean is NaN, as in PyTorch, and a sum
/// is 0; gradients are 0, and not NaN as in PyTorch.
///
/// ```
/// use gatefold::train::Loss;
/// let regression = Loss::huber(0.5);
/// let classes = Loss::cross_entropy().label_smoothing(0.1).class_weights(vec![1.0, 3.0]);
/// let total = Loss::mse().sum();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    kind: Kind,
    reduction: Reduction,
    /// Settings that were given, which only a cross-entropy has.
    of_classes: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Pointwise(Pointwise),
    CrossEntropy { settings: CrossEntropy, weights: Option<Vec<f32>> },
}

/// The ignored class, where none is given: PyTorch's.
const IGNORED: i64 = -100;

impl Loss {
    fn pointwise(kind: Pointwise) -> Loss {
        Loss { kind: Kind::Pointwise(kind), reduction: Reduction::Mean, of_classes: Vec::new() }
    }

    /// `(y - target)^2`, as `torch.nn.MSELoss`.
    #[doc(alias("MSELoss", "nn.MSELoss"))]
    pub fn mse() -> Loss {
        Loss::pointwise(Pointwise::Squared)
    }

    /// `|y - target|`, as `torch.nn.L1Loss`.
    #[doc(alias("L1Loss", "nn.L1Loss"))]
    pub fn l1() -> Loss {
        Loss::pointwise(Pointwise::Absolute)
    }

    /// `d^2 / 2` for a distance `d` up to `delta`, then `delta (d - delta / 2)`, as
    /// `torch.nn.HuberLoss`. `delta` is above 0.
    #[doc(alias("HuberLoss", "nn.HuberLoss"))]
    pub fn huber(delta: f32) -> Loss {
        Loss::pointwise(Pointwise::Huber { delta })
    }

    /// `d^2 / (2 beta)` for a distance `d` below `beta`, then `d - beta / 2`, as
    /// `torch.nn.SmoothL1Loss`. `beta` is at least 0.
    #[doc(alias("SmoothL1Loss", "nn.SmoothL1Loss"))]
    pub fn smooth_l1(beta: f32) -> Loss {
        Loss::pointwise(Pointwise::SmoothAbsolute { beta })
    }

    /// Binary cross-entropy of `sigmoid(y)` and targets in `[0, 1]`, as
    /// `torch.nn.BCEWithLogitsLoss`.
    #[doc(alias("BCEWithLogitsLoss", "nn.BCEWithLogitsLoss"))]
    pub fn bce_with_logits() -> Loss {
        Loss::pointwise(Pointwise::BinaryLogits)
    }

    /// Cross-entropy of `softmax(y)` and targets that are classes, numbered from 0, as
    /// `torch.nn.CrossEntropyLoss`. Targets of class -100 are ignored.
    #[doc(alias("CrossEntropyLoss", "nn.CrossEntropyLoss"))]
    pub fn cross_entropy() -> Loss {
        let settings = CrossEntropy { ignore_index: IGNORED as f32, label_smoothing: 0.0 };
        Loss {
            kind: Kind::CrossEntropy { settings, weights: None },
            reduction: Reduction::Mean,
            of_classes: Vec::new(),
        }
    }

    /// Its name, as the function's that makes it.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Pointwise(Pointwise::Squared) => "mse",
            Kind::Pointwise(Pointwise::Absolute) => "l1",
            Kind::Pointwise(Pointwise::Huber { .. }) => "huber",
            Kind::Pointwise(Pointwise::SmoothAbsolute { .. }) => "smooth_l1",
            Kind::Pointwise(Pointwise::BinaryLogits) => "bce_with_logits",
            Kind::CrossEntropy { .. } => "cross_entropy",
        }
    }

    /// The sum instead of the mean.
    pub fn sum(self) -> Self {
        Loss { reduction: Reduction::Sum, ..self }
    }

    /// The reduction.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// In a cross-entropy, the class whose targets count nothing instead of -100.
    pub fn ignore_index(mut self, class: i64) -> Self {
        self.of_classes.push("ignore_index");
        if let Kind::CrossEntropy { settings, .. } = &mut self.kind {
            settings.ignore_index = class as f32;
        }
        self
    }

    /// In a cross-entropy, the share of a target that goes to all classes alike, in `[0, 1]`
    /// (Szegedy et al., 2016). Default 0.
    pub fn label_smoothing(mut self, share: f32) -> Self {
        self.of_classes.push("label_smoothing");
        if let Kind::CrossEntropy { settings, .. } = &mut self.kind {
            settings.label_smoothing = share;
        }
        self
    }

    /// In a cross-entropy, a weight for each class. Default 1.
    pub fn class_weights(mut self, given: Vec<f32>) -> Self {
        self.of_classes.push("class_weights");
        if let Kind::CrossEntropy { weights, .. } = &mut self.kind {
            *weights = Some(given);
        }
        self
    }

    /// Whether targets answer by yes or no.
    pub(crate) fn is_binary(&self) -> bool {
        self.kind == Kind::Pointwise(Pointwise::BinaryLogits)
    }

    /// What turns outputs into probabilities, where the loss says so.
    pub(crate) fn activation(&self) -> Option<Activation> {
        match self.is_of_classes() {
            true => Some(Activation::Softmax),
            false => self.is_binary().then_some(Activation::Sigmoid),
        }
    }

    /// Whether targets are classes.
    pub fn is_of_classes(&self) -> bool {
        matches!(self.kind, Kind::CrossEntropy { .. })
    }

    /// What a plan has to know.
    pub(crate) fn objective(&self) -> Objective {
        match &self.kind {
            Kind::Pointwise(kind) => Objective::Pointwise(*kind),
            Kind::CrossEntropy { settings, weights } => {
                Objective::CrossEntropy { settings: *settings, weighted: weights.is_some() }
            }
        }
    }

    /// The weights of the classes, where they have any.
    pub(crate) fn weights(&self) -> Option<&[f32]> {
        match &self.kind {
            Kind::CrossEntropy { weights, .. } => weights.as_deref(),
            Kind::Pointwise(_) => None,
        }
    }

    /// The class that counts nothing.
    pub(crate) fn ignored(&self) -> Option<f32> {
        match &self.kind {
            Kind::CrossEntropy { settings, .. } => Some(settings.ignore_index),
            Kind::Pointwise(_) => None,
        }
    }

    /// How much a target counts in the mean.
    pub(crate) fn counts(&self, target: f32) -> f64 {
        match (self.ignored(), self.weights()) {
            (Some(ignored), _) if target == ignored => 0.0,
            (_, Some(weights)) => weights.get(target as usize).copied().unwrap_or(0.0).into(),
            _ => 1.0,
        }
    }

    /// What the sum over targets that count so much together is multiplied by.
    pub(crate) fn scale(&self, counted: f64) -> f32 {
        match self.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean if counted > 0.0 => (1.0 / counted) as f32,
            Reduction::Mean => 0.0,
        }
    }

    /// What a sum over targets that count so much together comes to.
    pub(crate) fn reduced(&self, sum: f64, counted: f64) -> f64 {
        match self.reduction {
            Reduction::Sum => sum,
            Reduction::Mean if counted > 0.0 => sum / counted,
            Reduction::Mean => f64::NAN,
        }
    }

    /// What a device's loss over targets that count so much together is to a caller.
    pub(crate) fn told(&self, loss: f32, counted: f64) -> f32 {
        match self.reduction {
            Reduction::Mean if counted == 0.0 => f32::NAN,
            _ => loss,
        }
    }

    /// How much a batch counts in the mean over batches: sums count alike.
    pub(crate) fn share(&self, counted: f64) -> f32 {
        match self.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => counted as f32,
        }
    }

    pub(crate) fn check(&self, operation: &'static str, outputs: usize) -> Result<()> {
        let refused = |name: &str, expected: String, got: String| {
            Err(Error::Value { operation, name: name.to_owned(), expected, got })
        };
        match &self.kind {
            Kind::Pointwise(kind) => {
                if let Some(setting) = self.of_classes.first() {
                    let expected = "given to a cross-entropy alone".to_owned();
                    return refused(setting, expected, self.name().to_owned());
                }
                let (name, valid, value, least) = match *kind {
                    Pointwise::Huber { delta } => ("delta", delta > 0.0, delta, "above"),
                    Pointwise::SmoothAbsolute { beta } => ("beta", beta >= 0.0, beta, "at least"),
                    _ => return Ok(()),
                };
                match valid && value.is_finite() {
                    true => Ok(()),
                    false => refused(name, format!("finite, {least} 0"), value.to_string()),
                }
            }
            Kind::CrossEntropy { settings, weights } => {
                let share = settings.label_smoothing;
                if !(0.0..=1.0).contains(&share) {
                    return refused("label_smoothing", "in [0, 1]".to_owned(), share.to_string());
                }
                let valid = |w: &f32| w.is_finite() && *w >= 0.0;
                let expected = format!("{outputs} finite numbers, none negative");
                if let Some(weights) = weights {
                    if weights.len() != outputs {
                        return refused("class_weights", expected, weights.len().to_string());
                    }
                    if let Some(at) = weights.iter().position(|w| !valid(w)) {
                        let got = format!("{} for class {at}", weights[at]);
                        return refused("class_weights", expected, got);
                    }
                }
                if outputs < 2 {
                    let expected = "at least 2 for a cross-entropy, since of one class every prediction \
                                    is right; for yes or no there is bce_with_logits";
                    return refused(
                        "the model's outputs",
                        expected.to_owned(),
                        outputs.to_string(),
                    );
                }
                Ok(())
            }
        }
    }
}
