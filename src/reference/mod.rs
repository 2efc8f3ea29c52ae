//! The meaning of every kernel: pure functions over slices, plain loops from the equations.
//!
//! Each kernel has its twin here under the same name, generic over `f32` and `f64`. A result of
//! a device is compared with the `f64` twin on the same `f32` inputs, by [`compare`].
//! [`sequence`] writes a whole stacked LSTM and its gradients from the equations once more,
//! independent of the plan and of the device's layout, so that a wrong schedule is not verified
//! by itself.
//!
//! Gates are interleaved as on the device: `W4[k][unit] = (i, f, g, o)`, so `[K, H]` of four.

mod adam;
mod column_sum;
mod compare;
mod copy_at_length;
mod copy_sequence;
mod dropout;
mod lstm_step_backward;
mod lstm_step_forward;
mod matmul;
mod mse_loss;
mod reduce_sum;
pub mod sequence;

pub use adam::{AdamConstants, AdamScalars, adam};
pub use column_sum::column_sum;
pub use compare::{Mismatch, Tolerance, compare};
pub use copy_at_length::{SlotAtLength, gather_at_length, scatter_at_length};
pub use copy_sequence::{Strides, copy_sequence};
pub use dropout::{Dropout, dropout, philox};
pub use lstm_step_backward::{StepBackward, lstm_step_backward};
pub use lstm_step_forward::{StepForward, lstm_step_forward};
pub use matmul::{Product, matmul};
pub use mse_loss::mse_loss;
pub use reduce_sum::reduce_sum;

/// A precision that the twins run in: `f32` or `f64`.
pub trait Real:
    num_traits::Float + std::ops::AddAssign + std::fmt::Debug + Default + Send + Sync + 'static
{
    /// The value of an `f32`, exactly.
    fn of(value: f32) -> Self;
    /// The nearest value of this precision.
    fn of_f64(value: f64) -> Self;
}

impl Real for f32 {
    fn of(value: f32) -> Self {
        value
    }
    fn of_f64(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn of(value: f32) -> Self {
        value.into()
    }
    fn of_f64(value: f64) -> Self {
        value
    }
}

/// Which rows of a padded batch have ended at a timestep.
#[derive(Clone, Copy, Debug)]
pub struct Lengths<'a, R> {
    /// The timesteps of each row; what stands behind the point doesn't count.
    pub lengths: &'a [R],
    /// The timestep.
    pub t: usize,
}

impl<'a, R: Real> Lengths<'a, R> {
    /// Whether row `b` has ended.
    pub fn ended(&self, b: usize) -> bool {
        self.lengths[b].trunc() <= R::of(self.t as f32)
    }

    /// The same, so many timesteps later.
    pub fn after(self, steps: usize) -> Self {
        Lengths { t: self.t + steps, ..self }
    }

    /// The same, without the first `rows` rows.
    pub fn rows_from(self, rows: usize) -> Self {
        Lengths { lengths: &self.lengths[rows..], ..self }
    }
}

/// The logistic function, `1 / (1 + exp(-x))`.
pub fn sigmoid<R: Real>(x: R) -> R {
    R::one() / (R::one() + (-x).exp())
}
