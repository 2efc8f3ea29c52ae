//! Twin of `copy_at_length`.

use super::{Real, Strides};

/// Which slot of a sequence belongs to a row of a certain length: `clamp(length, 0, longest) + offset`,
/// counted from slot `first` on; rows whose slot isn't one of `slots` are left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotAtLength {
    /// What longer lengths count as.
    pub longest: usize,
    /// What is added to the length.
    pub offset: isize,
    /// The first slot that is there.
    pub first: usize,
    /// How many are.
    pub slots: usize,
}

impl SlotAtLength {
    fn of<R: Real>(&self, length: R) -> Option<usize> {
        let length = (length.to_f64()? as isize).clamp(0, self.longest as isize);
        let slot = length + self.offset - self.first as isize;
        usize::try_from(slot).ok().filter(|&slot| slot < self.slots)
    }
}

/// Copies a row `[B, K]` from the slot of a sequence `[slots, B, K]` that belongs to its length.
pub fn gather_at_length<R: Real>(
    (batch, width): (usize, usize),
    slot: SlotAtLength,
    lengths: &[R],
    (from, sequence): (Strides, &[R]),
    (out_row, out): (usize, &mut [R]),
    accumulate: bool,
) {
    for b in 0..batch {
        let Some(slot) = slot.of(lengths[b]) else { continue };
        for k in 0..width {
            let value = sequence[slot * from.step + b * from.row + k];
            let out = &mut out[b * out_row + k];
            *out = if accumulate { *out + value } else { value };
        }
    }
}

/// Copies a row `[B, K]` to the slot of a sequence `[slots, B, K]` that belongs to its length.
pub fn scatter_at_length<R: Real>(
    (batch, width): (usize, usize),
    slot: SlotAtLength,
    lengths: &[R],
    (in_row, input): (usize, &[R]),
    (to, sequence): (Strides, &mut [R]),
    accumulate: bool,
) {
    for b in 0..batch {
        let Some(slot) = slot.of(lengths[b]) else { continue };
        for k in 0..width {
            let value = input[b * in_row + k];
            let out = &mut sequence[slot * to.step + b * to.row + k];
            *out = if accumulate { *out + value } else { value };
        }
    }
}
