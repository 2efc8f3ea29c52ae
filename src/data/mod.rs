//! What a model learns from and is asked about: sequences and targets, tables in files, scaling, windows over
//! time, batches.

mod batch;
mod batches;
mod csv;
mod dataset;
mod inputs;
mod padding;
mod scaler;
mod values;
mod windows;

pub use batch::Batch;
// rustdoc takes a type's aliases from where it is exported.
#[doc(alias = "DataLoader")]
pub use batches::Batches;
pub use csv::{Date, Table};
#[doc(alias("DataLoader", "TensorDataset"))]
pub use dataset::Dataset;
pub use inputs::Inputs;
pub(crate) use inputs::{expect_lengths, time_major};
pub use scaler::Scaler;
pub use values::Values;
#[doc(alias = "sliding_window")]
pub use windows::Windows;
pub use windows::split_by_time;
