#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
#![deny(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod checkpoint;
pub mod command;
mod counters;
#[cfg(feature = "cpu")]
pub mod cpu;
pub mod data;
mod device;
mod error;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod kernels;
pub mod lockstep;
pub mod model;
pub mod plan;
#[cfg(feature = "gpu")]
mod record;
pub mod reference;
mod tensor;
pub mod train;
pub mod verify;

/// How to use the crate inside a program that has a wgpu device already.
#[cfg(feature = "gpu")]
#[doc = include_str!("../docs/embedding.md")]
pub mod embedding {}

pub use counters::Counts;
pub use data::Dataset;
pub use device::{DEVICE_VARIABLE, Device, Session, TIER_VARIABLE};
pub use error::{Error, Result};
#[cfg(feature = "gpu")]
pub use model::LstmBindings;
pub use model::{
    Forecaster, Init, Linear, LinearConfig, LoadOptions, Lstm, LstmCell, LstmConfig, LstmGradients,
    LstmState, ModuleNames, Stream, StreamPool, TrainingPass,
};
pub use plan::{Activation, Bias, Head, Nonlinearity, Readout};
pub use tensor::{Array, Tensor};
pub use verify::verify;
#[cfg(feature = "gpu")]
pub use wgpu;
