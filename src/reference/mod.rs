//! The meaning of every kernel: pure functions over slices, plain loops from the equations.
//!
//! Each kernel has its twin here under the same name, generic over `f32` and `f64`. A result of
//! a device is compared with the `f64` twin on the same `f32` inputs, by [`compare`].
//! [`sequence`] writes a whole stacked LSTM and its gradients from the equations once more,
//! independent of the plan and of the device's layout, so that a wrong schedule is not verified
//! by itself.
//!
//! Gates are interleaved as on the device: `W4[k][unit] = (i, f, g, o)`, so `[K, H]` of four.

mod accuracy;
mod adam;
mod align_sequence;
mod argmax;
mod binary_accuracy;
mod cell;
mod cell_activation;
mod cell_masks;
mod cell_options;
mod clip_scale;
mod column_sum;
mod compare;
mod copy_at_length;
mod copy_sequence;
mod cross_entropy_loss;
mod dropout;
mod embedding;
mod embedding_backward;
mod gradient_norm;
mod lstm_sequence_backward;
mod lstm_sequence_forward;
mod lstm_step_backward;
mod lstm_step_forward;
mod matmul;
mod nonlinearity;
mod nonlinearity_backward;
mod one_hot;
mod optimizer;
mod pack_panels;
mod peephole_gradient;
mod pointwise_loss;
mod pool_over_time;
mod pool_over_time_backward;
mod projection_clip;
mod readout;
mod reduce_sum;
mod rmsprop;
pub mod sequence;
mod sequence_dropout;
mod sgd;
mod softmax;
mod training_step;

pub use accuracy::accuracy;
pub use adam::{AdamSettings, adam};
pub use align_sequence::{Alignment, align_sequence};
pub use argmax::argmax;
pub use binary_accuracy::binary_accuracy;
pub use cell::{Unit, UnitGradient, cell_backward, cell_forward, peepholes_of};
pub use cell_activation::CellActivation;
#[cfg(feature = "cpu")]
pub(crate) use cell_masks::OF_STEP;
pub use cell_masks::{Draws, MaskedRows, Masks, masks, recurrent_mask};
pub(crate) use cell_masks::{INPUT, RECURRENT};
use cell_masks::{input_mask, of_sequence};
pub use cell_options::Cell;
pub(crate) use cell_options::Zoneout;
pub use clip_scale::{clip_scale, kind, policy, scalars, status};
pub use column_sum::column_sum;
pub(crate) use compare::compare_above;
pub use compare::{Mismatch, Tolerance, Worst, compare};
pub use copy_at_length::{SlotAtLength, gather_at_length, scatter_at_length};
pub use copy_sequence::{Strides, copy_sequence};
pub use cross_entropy_loss::{CrossEntropy, cross_entropy_loss};
pub use dropout::{Dropout, dropout, philox};
pub use embedding::embedding;
pub use embedding_backward::{Segments, embedding_backward, sort_tokens};
pub use gradient_norm::gradient_norm;
pub use lstm_sequence_backward::{SequenceBackward, SequenceGradients, lstm_sequence_backward};
pub use lstm_sequence_forward::{Projection, SequenceForward, lstm_sequence_forward};
pub use lstm_step_backward::{StepBackward, lstm_step_backward};
pub use lstm_step_forward::{StepForward, lstm_step_forward};
pub use matmul::{Product, column_sums, matmul, row_sums};
pub use nonlinearity::{Nonlinearity, nonlinearity};
pub use nonlinearity_backward::nonlinearity_backward;
pub use one_hot::one_hot;
pub use optimizer::{CommonSettings, GROUP_BLOCK, Groups, OptimizerStep, SETTINGS};
pub use pack_panels::{PANEL, Panels, pack_panels, panels};
use pack_panels::{in_panels, unpacked, unpacked_transpose};
pub use peephole_gradient::{PeepholeRows, peephole_gradient};
pub use pointwise_loss::{Pointwise, pointwise_loss};
pub use pool_over_time::{Pool, Pooled, pool_over_time};
pub use pool_over_time_backward::pool_over_time_backward;
pub use projection_clip::projection_clip;
pub use readout::Readout;
pub use reduce_sum::reduce_sum;
pub use rmsprop::{RmsPropSettings, RmsPropStates, rmsprop};
pub use sequence_dropout::{SequenceDropout, sequence_dropout};
pub use sgd::{SgdSettings, sgd};
pub use softmax::softmax;
pub use training_step::{TrainingBuffers, TrainingStep, training_step};

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

    /// The same at another timestep.
    pub fn at(self, t: usize) -> Self {
        Lengths { t, ..self }
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

/// Some timesteps one after the other, and the way through the slots of what they read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// How many.
    pub steps: usize,
    /// From later timesteps to earlier ones.
    pub back: bool,
}

impl Walk {
    /// Where the slot is that timestep `n` of the walk finds, if the first finds the one at `start`.
    pub fn at(&self, start: usize, slot: usize, n: usize) -> usize {
        if self.back { start - n * slot } else { start + n * slot }
    }

    /// Where the slot is that the timestep before that one finds, which may stand before the walk.
    pub fn before(&self, start: usize, slot: usize, n: usize) -> usize {
        if self.back { start + slot - n * slot } else { start + n * slot - slot }
    }

    /// Where timestep `n` draws, given where the first does.
    pub fn draws(&self, first: Draws, n: usize) -> Draws {
        Draws { t: self.at(first.t as usize, 1, n) as u32, ..first }
    }

    /// Which rows have ended at timestep `n`, given which have at the first.
    pub fn lengths<'a, R: Real>(&self, first: Lengths<'a, R>, n: usize) -> Lengths<'a, R> {
        first.at(self.at(first.t, 1, n))
    }
}

/// Two parts of a slice, each a start and a length: the first to read, the second to write.
///
/// # Panics
/// Where they overlap.
pub(crate) fn apart<R>(
    all: &mut [R],
    from: (usize, usize),
    to: (usize, usize),
) -> (&[R], &mut [R]) {
    if from.0 < to.0 {
        let (head, tail) = all.split_at_mut(to.0);
        (&head[from.0..][..from.1], &mut tail[..to.1])
    } else {
        let (head, tail) = all.split_at_mut(from.0);
        (&tail[..from.1], &mut head[to.0..][..to.1])
    }
}

/// The whole number of `0..count` that a token or a class in floating point is, where it is one.
pub fn index_in<R: Real>(value: R, count: usize) -> Option<usize> {
    let index = value.to_usize().filter(|&index| index < count)?;
    (value.fract() == R::zero()).then_some(index)
}

/// The logistic function, `1 / (1 + exp(-x))`.
pub fn sigmoid<R: Real>(x: R) -> R {
    R::one() / (R::one() + (-x).exp())
}
