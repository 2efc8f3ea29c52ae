//! What to learn and how: losses, optimizers, the training loop.

mod gradients;
mod loss;
mod optimizer;
mod trainer;

pub use gradients::{Gradients, gradients};
pub use loss::Loss;
pub use optimizer::Adam;
pub use trainer::{Best, Progress, Report, Trainer};
