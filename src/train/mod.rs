#![doc = include_str!("../../docs/rustdoc/training.md")]
#![doc = include_str!("../../docs/training.md")]

mod gradients;
mod groups;
mod loss;
mod micro;
mod optimizer;
mod schedule;
mod trainer;

pub use gradients::{Gradients, gradients, gradients_async};
pub use groups::ParameterGroup;
pub use loss::{Loss, Reduction};
pub use optimizer::{Adam, AdamW, GroupStep, Optimizer, RmsProp, Sgd};
#[doc(alias = "lr_scheduler")]
pub use schedule::Schedule;
pub use schedule::Scheduler;
#[cfg(feature = "gpu")]
pub use trainer::TrainingBindings;
pub use trainer::{Best, NonFinite, Progress, Report, Returned, StopHandle, Trainer, Validation};
