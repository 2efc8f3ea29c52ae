//! What to learn and how: losses, optimizers, the training loop.

mod gradients;
mod loss;
mod optimizer;
mod trainer;

pub use gradients::{Gradients, gradients, gradients_async};
pub use loss::Loss;
pub use optimizer::Adam;
#[cfg(feature = "gpu")]
pub use trainer::TrainingBindings;
pub use trainer::{Best, Progress, Report, Trainer};
