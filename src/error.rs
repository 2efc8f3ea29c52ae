//! The one error type: what was asked, what came, what to do.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in terms of the caller's input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has another shape than the operation needs.
    #[error("{operation}: {tensor} must have shape {expected}, got {got}")]
    Shape {
        /// The public call that refused.
        operation: &'static str,
        /// The tensor at fault.
        tensor: String,
        /// The shape it should have, with names for free dimensions.
        expected: String,
        /// The shape it has.
        got: String,
    },

    /// A setting is outside what it may be.
    #[error("{operation}: {name} must be {expected}, got {got}")]
    Value {
        /// The public call that refused.
        operation: &'static str,
        /// The setting.
        name: String,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },

    /// Sizes whose product no machine can hold.
    #[error("{operation}: {what} has more elements than this machine can address")]
    Overflow {
        /// The public call that refused.
        operation: &'static str,
        /// The product that overflows, such as `T x B x 4H`.
        what: String,
    },

    /// More than the device offers, where the work can't be cut into smaller pieces.
    #[error("{operation}: {what} needs {needed}, but {}{limit} is {available}", whose(.limit))]
    Limit {
        /// The public call that refused.
        operation: &'static str,
        /// What is too large.
        what: String,
        /// What it would take.
        needed: u64,
        /// The name of the limit, of the device where it doesn't say whose else it is.
        limit: &'static str,
        /// What the device has.
        available: u64,
    },

    /// No device answers to the name that was asked for.
    #[error(
        "no device matches {wanted:?}; use `cpu`, `gpu`, or a part of one of these adapters' names: {}",
        list(.adapters)
    )]
    NoDevice {
        /// The name asked for, often the value of `GATEFOLD_DEVICE`.
        wanted: String,
        /// The adapters that were found.
        adapters: Vec<String>,
    },

    /// Tensors of two devices in one operation.
    #[error(
        "{operation}: {tensor} lives on another device than the model; move it with `Tensor::to_vec` and `Tensor::from_slice`"
    )]
    OtherDevice {
        /// The public call that refused.
        operation: &'static str,
        /// The tensor at fault.
        tensor: String,
    },

    /// A training step came to NaN or infinity.
    #[error(
        "{operation}: {tensor} isn't finite in optimizer step {step}; parameters and moments are those before it. Lower the rate, clip gradients, or see `NonFinite` for other policies"
    )]
    NonFinite {
        /// The public call that stopped.
        operation: &'static str,
        /// The first tensor that isn't finite: the loss, or a gradient.
        tensor: String,
        /// The optimizer step, from 1.
        step: u64,
    },

    /// The graphics API refused a call.
    #[error("{operation} failed on {adapter}: {message}")]
    Gpu {
        /// What was being done, with the kernel's name where there is one.
        operation: String,
        /// The adapter that it was done on.
        adapter: String,
        /// The API's own words.
        message: String,
    },

    /// The device takes no more work: it was destroyed, unplugged, or its driver has given it up.
    ///
    /// wgpu panics where a wait finds the device lost. That panic is caught, and the process's panic hook
    /// has printed its message by then; with `panic = "abort"` nothing can be caught, and the wait ends
    /// the process.
    #[error(
        "{operation}: {adapter} is lost ({reason}), and so is what was on it; open another `Device` and go on from the last checkpoint"
    )]
    DeviceLost {
        /// What was being done.
        operation: String,
        /// The adapter.
        adapter: String,
        /// What the graphics API says of it.
        reason: String,
    },

    /// The device has no memory left for a buffer, or none within its
    /// [budget](crate::Device::set_memory_budget).
    #[error("{adapter} is out of memory, {operation}; use a smaller batch or a shorter sequence")]
    OutOfMemory {
        /// The adapter.
        adapter: String,
        /// What was being done.
        operation: String,
    },

    /// A device's result is not the reference's.
    #[error("command {index} ({label}): {kernel} leaves `{buffer}` wrong on {device}: {problem}")]
    Diverged {
        /// The command's position in its program.
        index: usize,
        /// The command's label.
        label: String,
        /// The kernel, or the kind of command.
        kernel: &'static str,
        /// The buffer that is wrong.
        buffer: String,
        /// The device.
        device: String,
        /// The first element that is too far away.
        problem: String,
    },

    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// Tensors that don't fit the model.
    #[error("the tensors don't fit the model: {problem}")]
    StateDict {
        /// Every missing, unexpected and misshapen tensor.
        problem: String,
    },

    /// A table holds what can't be used.
    #[error("{}{}{}: {problem}", .path.display(), place("row", .row), place("column", .column))]
    Data {
        /// The file.
        path: PathBuf,
        /// The line in it, from 1.
        row: Option<u64>,
        /// The column's name.
        column: Option<String>,
        /// What is wrong.
        problem: String,
    },

    /// A file of another library that can't be brought in.
    #[error("{path} can't be imported: {problem}")]
    Import {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or isn't known here.
        problem: String,
    },

    /// A file is not the checkpoint that was expected.
    #[error("{path} is not a checkpoint of this model: {problem}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        problem: String,
    },
}

/// Whose limit it is, where its name doesn't say so.
fn whose(limit: &str) -> &'static str {
    if limit.starts_with("the ") { "" } else { "this device's " }
}

fn list(adapters: &[String]) -> String {
    if adapters.is_empty() { "(none found)".to_owned() } else { adapters.join(", ") }
}

fn place<T: std::fmt::Display>(what: &str, at: &Option<T>) -> String {
    at.as_ref().map_or(String::new(), |at| format!(", {what} {at}"))
}

/// Checks that `shape` has no zero and that its product can be addressed; returns the product.
pub(crate) fn elements(operation: &'static str, what: &str, shape: &[usize]) -> Result<usize> {
    if shape.contains(&0) {
        return Err(Error::Value {
            operation,
            name: what.to_owned(),
            expected: "of sizes of at least 1".to_owned(),
            got: format!("{shape:?}"),
        });
    }
    // Four bytes an element, and offsets are computed in bytes as i64 by the graphics APIs.
    shape
        .iter()
        .try_fold(1usize, |product, &n| product.checked_mul(n))
        .filter(|&n| n <= (isize::MAX as usize) / 4)
        .ok_or_else(|| Error::Overflow { operation, what: format!("{what} {shape:?}") })
}

/// Opens a file to read it; also its bytes. Nothing else has a length that can be relied on, and to open a
/// pipe may be to wait for ever.
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    Ok((File::open(path).map_err(failed)?, about.len()))
}
