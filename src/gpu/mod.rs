//! The GPU executor: runs a [`Program`](crate::command::Program) through wgpu.
//!
//! It knows commands and a kernel table, nothing of what they compute.

mod context;
mod executor;
mod loops;
mod needs;
mod pipeline;
mod readback;
mod timing;

pub use context::{Adapter, Gpu};
pub use executor::{Buffer, Recorder, Session};
