//! Twin of `shaders/common/cell_masks.wgsl`: what training draws for the units of a timestep.

use super::{Cell, Dropout, Lengths, Real, philox};

/// What is added to the place of a layer's direction in the generator's counter, of what is drawn at every
/// timestep, and of what is drawn once a sequence: far from the places of other dropout.
pub(crate) const OF_STEP: u32 = 0x8000_0000;
const OF_SEQUENCE: u32 = 0xC000_0000;

/// Which word of what is drawn once a sequence is for what.
pub(crate) const RECURRENT: usize = 0;
const CANDIDATE: usize = 1;
pub(crate) const INPUT: usize = 2;

/// Where something is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// The key of the optimizer step, see [`Dropout::key`].
    pub key: [u32; 2],
    /// Twice the layer, and 1 more in the reverse direction.
    pub place: u32,
    /// The timestep.
    pub t: u32,
    /// The first row of the batch.
    pub row: u32,
}

/// What is done to a unit at a timestep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Masks<R> {
    /// The shares of the old hidden and the old cell state in the new ones.
    pub zone: [R; 2],
    /// What the candidate is multiplied with.
    pub candidate: R,
}

impl<R: Real> Masks<R> {
    /// Nothing.
    pub fn none() -> Masks<R> {
        Masks { zone: [R::zero(); 2], candidate: R::one() }
    }
}

/// What is done to unit `k` of row `b`: what training draws, or without that what is expected.
///
/// ```text
/// words     = philox((k, b, t, 2^31 + place), key):            0 and 1 for h and c of a zoneout
/// words     = philox((k, b, 0, 2^31 + 2^30 + place), key):     0 for the hidden state, 1 for the candidate,
///                                                              2 for the input, of place 2 l
/// ```
#[inline(always)]
pub fn masks<R: Real>(cell: &Cell, draws: Option<Draws>, (b, k): (usize, usize)) -> Masks<R> {
    let mut masks = Masks::none();
    if let Some(zoneout) = cell.zoneout {
        masks.zone = match draws {
            None => [zoneout.h, zoneout.c].map(R::of_f64),
            Some(d) => {
                let words = philox([k as u32, d.row + b as u32, d.t, OF_STEP + d.place], d.key);
                let kept = |word: u32, p: f64| {
                    if word < Dropout::new(p).threshold { R::one() } else { R::zero() }
                };
                [kept(words[0], zoneout.h), kept(words[1], zoneout.c)]
            }
        };
    }
    if let Some(draws) = draws.filter(|_| cell.candidate_dropout > 0.0) {
        let word = of_sequence(draws, (b, k))[CANDIDATE];
        masks.candidate = kept_or_dropped(word, cell.candidate_dropout);
    }
    masks
}

/// What feature `k` of the hidden state of row `b` is multiplied with on its way to the next timestep.
#[inline(always)]
pub fn recurrent_mask<R: Real>(p: f64, draws: Draws, (b, k): (usize, usize)) -> R {
    kept_or_dropped(of_sequence(draws, (b, k))[RECURRENT], p)
}

/// What the next timestep's products take of hidden states, of rows that haven't ended.
#[derive(Clone, Copy, Debug)]
pub struct MaskedRows<'a, R> {
    /// The probability of a drop.
    pub p: f64,
    /// Where it is drawn.
    pub draws: Draws,
    /// Which rows have ended.
    pub lengths: Option<Lengths<'a, R>>,
}

impl<R: Real> MaskedRows<'_, R> {
    /// Writes it, `masked` behind each hidden state, of a slot that starts at `start`: so many rows `row` apart of
    /// so many features.
    pub fn write(
        &self,
        h: &mut [R],
        (start, masked): (usize, usize),
        (batch, row, features): (usize, usize, usize),
    ) {
        let goes_on = |b: &usize| !self.lengths.is_some_and(|lengths| lengths.ended(*b));
        for b in (0..batch).filter(goes_on) {
            for k in 0..features {
                let at = start + b * row + k;
                h[at + masked] = h[at] * recurrent_mask(self.p, self.draws, (b, k));
            }
        }
    }
}

/// The words of what is drawn once a sequence.
#[inline(always)]
pub(super) fn of_sequence(draws: Draws, (b, k): (usize, usize)) -> [u32; 4] {
    let counter = [k as u32, draws.row + b as u32, 0, OF_SEQUENCE + draws.place];
    philox(counter, draws.key)
}

/// What feature `k` of the input of row `b` is multiplied with; of a layer, whichever the direction.
pub(super) fn input_mask<R: Real>(p: f64, draws: Draws, (b, k): (usize, usize)) -> R {
    kept_or_dropped(of_sequence(draws, (b, k))[INPUT], p)
}

fn kept_or_dropped<R: Real>(word: u32, p: f64) -> R {
    let drop = Dropout::new(p);
    if word < drop.threshold { R::zero() } else { R::of(drop.scale) }
}
