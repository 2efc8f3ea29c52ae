//! What a model learns from: tables in files, scaling, windows over time, batches.

mod batch;
mod batches;
mod csv;
mod dataset;
mod scaler;
mod windows;

pub use batch::Batch;
pub use batches::Batches;
pub use csv::{Date, Table};
pub use dataset::Dataset;
pub use scaler::Scaler;
pub use windows::{Windows, split_by_time};
