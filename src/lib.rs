#![doc = include_str!("../docs/rustdoc/README.md")]
#![doc = include_str!("../README.md")]
//!
//! # What is here
//!
//! | to build a model and to run it | |
//! |---|---|
//! | [`Device`] | a GPU or the CPU, which everything else lives on |
//! | [`LstmConfig`] | the sizes and options of an LSTM |
//! | [`Forecaster`] | an LSTM with a linear head: predictions, classes, probabilities |
//! | [`Lstm`] | `nn.LSTM`: whole sequences, lengths, steps, gradients |
//! | [`Cell`], [`CellActivation`] | which cell: peepholes, clips, coupled gates, and the functions in it |
//! | [`LstmState`] | `h_n` and `c_n` |
//! | [`LstmCell`] | `nn.LSTMCell` |
//! | [`Linear`], [`LinearConfig`] | `nn.Linear`, and its options |
//! | [`Head`], [`Nonlinearity`] | a head of several layers, and what stands between them |
//! | [`StreamPool`], [`Stream`] | thousands of sequences that come a step at a time; one of them |
//! | [`Array`], [`Tensor`] | numbers with a shape, on the host and on a device |
//! | [`Init`], [`Bias`], [`Readout`], [`Activation`] | how weights begin, how many biases a gate has, what a head reads, and what its outputs mean |
//!
//! | to train it | |
//! |---|---|
//! | [`Dataset`] | sequences and what they are compared with |
//! | [`train::Trainer`] | the loop: batches, epochs, checkpoints |
//! | [`train::Loss`] | mean squared error, cross-entropy and so on |
//! | [`train::Adam`], [`train::AdamW`], [`train::Sgd`], [`train::RmsProp`] | optimizers |
//! | [`train::Schedule`], [`train::ParameterGroup`] | rates that change, and parameters with a rate of their own |
//! | [`train::Progress`], [`train::Report`] | what is known on the way and at the end |
//! | [`data::Table`], [`data::Scaler`], [`data::Windows`] | CSV files, scaling, windows over time |
//! | [`TrainingPass`], [`LstmGradients`] | forward and backward by hand, for an autodiff of your own |
//!
//! | files | |
//! |---|---|
//! | [`checkpoint`] | weights in safetensors files, and weights of other frameworks |
//! | [`import`], `export` | files of other libraries |
//! | [`LoadOptions`], [`ModuleNames`] | what a file of PyTorch's doesn't say, and how its modules are called |
//!
//! | underneath | |
//! |---|---|
//! | [`Error`], [`Result`] | what goes wrong, and what to do about it |
#![cfg_attr(
    feature = "gpu",
    doc = "| [`LstmBindings`] | buffers of your own, for [`Lstm::record`] |"
)]
#![cfg_attr(
    feature = "gpu",
    doc = "| [`gpu`], [`wgpu`] | a GPU through wgpu, and the wgpu that it is |"
)]
//! | [`plan::Plan`], [`Session`], [`Counts`] | the schedule of a model, a run of it, what a device has done |
//! | [`verify()`], [`lockstep`] | whether a device computes what it should, and the first command that doesn't |
//! | [`kernels`], [`mod@reference`] | the table of kernels, and their twins |
//! | [`DEVICE_VARIABLE`], [`TIER_VARIABLE`] | variables that choose |
//! | [`guide`] | the pages |
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
#[cfg(feature = "import-onnx")]
pub mod export;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod guide;
pub mod import;
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
pub use plan::{Activation, Bias, Cell, CellActivation, Head, Nonlinearity, Readout};
pub use tensor::{Array, Tensor};
pub use verify::verify;
#[cfg(feature = "gpu")]
pub use wgpu;
