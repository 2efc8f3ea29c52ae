//! What a plan does besides running a model forward.

use super::Update;
use crate::reference::{CrossEntropy, Dropout, Pointwise};

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// A loss of each number of a prediction and a target of its shape.
    Pointwise(Pointwise),
    /// A loss of each prediction, as logits, and a target that is a class.
    CrossEntropy {
        /// The settings.
        settings: CrossEntropy,
        /// Whether classes have weights.
        weighted: bool,
    },
}

impl Default for Objective {
    fn default() -> Self {
        Objective::Pointwise(Pointwise::Squared)
    }
}

/// What turns outputs into probabilities, and so what they are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// One of several classes: the probabilities of a prediction sum to 1.
    #[default]
    Softmax,
    /// Each output is a question of its own, answered by yes or no.
    Sigmoid,
}

/// What is made of a prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nothing.
    #[default]
    Outputs,
    /// The probabilities that the outputs stand for.
    Probabilities(Activation),
    /// The output with the largest value or, where each is a question of its own, 1 for those whose
    /// probability is above 1/2 and 0 for the others.
    Classes(Activation),
}

impl Answer {
    /// Numbers in an answer, for so many outputs.
    pub fn width(self, outputs: usize) -> usize {
        match self {
            Answer::Classes(Activation::Softmax) => 1,
            _ => outputs,
        }
    }
}

/// Which part of a batch a run is, where gradients are accumulated over several runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The first part, whose gradients replace those of the batch before.
    First,
    /// One that adds its gradients.
    Middle,
    /// One that adds its gradients, with the optimizer step after it.
    Last,
}

impl Part {
    /// Whether gradients and loss are added to what is there.
    pub fn adds(self) -> bool {
        matches!(self, Part::Middle | Part::Last)
    }

    /// Whether the batch is whole after it.
    pub fn ends(self) -> bool {
        matches!(self, Part::Whole | Part::Last)
    }
}

/// What a training plan does besides the parameters' gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingOptions {
    /// What is minimised.
    pub objective: Objective,
    /// The optimizer step that ends a batch, if any.
    pub update: Option<Update>,
    /// Which part of a batch a run is.
    pub part: Part,
    /// Whether the final states become the initial ones of the next run, where states are given.
    pub carry: bool,
    /// Also the gradient of the input, where it isn't tokens, and of the initial states.
    pub input_gradient: bool,
    /// What is dropped of the outputs of each layer but the last.
    pub dropout: Option<Dropout>,
}
