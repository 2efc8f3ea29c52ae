//! Twin of `align_sequence`.

use super::{Lengths, Real, Strides};

/// How the rows of a `[T, B, K]` are moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alignment {
    /// Whether rows end at the last timestep, and start late, where they are read.
    pub from_right: bool,
    /// The same where they are written.
    pub to_right: bool,
    /// Whether a row's timesteps change their order.
    pub reverse: bool,
}

impl Alignment {
    /// The way back.
    pub fn back(self) -> Alignment {
        Alignment { from_right: self.to_right, to_right: self.from_right, ..self }
    }
}

/// Copies timesteps `first` to `first + steps` of a `[T, B, K]` whose rows are aligned or ordered in another
/// way, from those of its timesteps that are `shown` (the first one, and how many); what isn't among them is
/// left alone, and what is no timestep of a row becomes zero.
///
/// Without `lengths` every row has all `longest` timesteps.
pub fn align_sequence<R: Real>(
    alignment: Alignment,
    (first, steps, longest): (usize, usize, usize),
    (batch, width): (usize, usize),
    (shown_first, shown): (usize, usize),
    lengths: Option<Lengths<'_, R>>,
    (from, input): (Strides, &[R]),
    (to, out): (Strides, &mut [R]),
) {
    for t in 0..steps {
        for b in 0..batch {
            let length = lengths.map_or(longest, |lengths| {
                let length = lengths.lengths[b].trunc().max(R::zero());
                length.to_usize().unwrap_or(0).min(longest)
            });
            let start = |right: bool| if right { longest - length } else { 0 };
            let out = &mut out[t * to.step + b * to.row..][..width];
            let place = (first + t).checked_sub(start(alignment.to_right));
            let Some(place) = place.filter(|&place| place < length) else {
                out.fill(R::zero());
                continue;
            };
            let visited = if alignment.reverse { length - 1 - place } else { place };
            let read = visited + start(alignment.from_right);
            if (shown_first..shown_first + shown).contains(&read) {
                let at = (read - shown_first) * from.step + b * from.row;
                out.copy_from_slice(&input[at..][..width]);
            }
        }
    }
}
