//! Twin of `copy_sequence`.

use super::{Lengths, Real};

/// Where the elements of a `[T, B, K]` lie: element `(t, b, k)` at `t * step + b * row + k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// Elements from one timestep to the next.
    pub step: usize,
    /// Elements from one row of the batch to the next.
    pub row: usize,
}

impl Strides {
    /// `[T, B, K]`, every element right after the one before it.
    pub fn time_major(batch: usize, width: usize) -> Strides {
        Strides { step: batch * width, row: width }
    }

    /// `[B, T, K]`, likewise.
    pub fn batch_first(steps: usize, width: usize) -> Strides {
        Strides { step: width, row: steps * width }
    }
}

/// Copies `[T, B, K]` from one layout to another. A row that has ended is zero in the copy, or,
/// where it is added, left alone: whatever stands in its padding, NaN too, stays behind.
///
/// `lengths` count from the first of the `steps` timesteps on.
pub fn copy_sequence<R: Real>(
    (steps, batch, width): (usize, usize, usize),
    (from, input): (Strides, &[R]),
    (to, out): (Strides, &mut [R]),
    lengths: Option<Lengths<'_, R>>,
    accumulate: bool,
) {
    for t in 0..steps {
        for b in 0..batch {
            let ended = lengths.is_some_and(|lengths| lengths.after(t).ended(b));
            for k in 0..width {
                let value = if ended { R::zero() } else { input[t * from.step + b * from.row + k] };
                let out = &mut out[t * to.step + b * to.row + k];
                *out = if accumulate { *out + value } else { value };
            }
        }
    }
}
