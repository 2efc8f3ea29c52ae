//! Twin of `sequence_dropout`.

use super::{Draws, Dropout, Real, Strides, of_sequence};

/// Which features are dropped, and of what.
#[derive(Clone, Copy, Debug)]
pub struct SequenceDropout {
    /// The probability.
    pub drop: Dropout,
    /// Where the mask is drawn.
    pub draws: Draws,
    /// The word that is drawn.
    pub word: usize,
    /// Where what is read starts.
    pub from: usize,
    /// Where the results start.
    pub to: usize,
    /// How both lie.
    pub strides: Strides,
}

/// Drops features of `[T, B, K]`, the same ones at all timesteps of a row (Gal and Ghahramani, 2016), and scales
/// the others. Feature `k` of row `b` goes by a word of `philox((k, b, 0, 2^31 + 2^30 + place), key)`, as what
/// [a cell](super::masks) draws once a sequence.
pub fn sequence_dropout<R: Real>(
    s: &SequenceDropout,
    (steps, batch, width): (usize, usize, usize),
    x: &mut [R],
) {
    for b in 0..batch {
        for k in 0..width {
            let dropped = of_sequence(s.draws, (b, k))[s.word] < s.drop.threshold;
            for t in 0..steps {
                let at = t * s.strides.step + b * s.strides.row + k;
                let value = x[s.from + at];
                x[s.to + at] = if dropped { R::zero() } else { value * R::of(s.drop.scale) };
            }
        }
    }
}
