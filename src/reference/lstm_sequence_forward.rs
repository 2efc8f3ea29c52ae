//! Twin of `lstm_sequence_forward`.

use super::{Lengths, Real, StepForward, Walk, apart, lstm_step_forward, unpacked};

/// The sizes of some timesteps of one direction, and where its operands start.
#[derive(Clone, Copy, Debug)]
pub struct SequenceForward<'a, R> {
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// How many timesteps, and which way.
    pub walk: Walk,
    /// Elements from one row of `h` to the next.
    pub h_row: usize,
    /// Whether `u` is in panels.
    pub packed: bool,
    /// Whether the activated gates are kept; else the input's share is left as it is.
    pub keep: bool,
    /// Which rows have ended at the first timestep; `None` where all are as long.
    pub lengths: Option<Lengths<'a, R>>,
    /// Where the gates of the first timestep start.
    pub gates: usize,
    /// Where the hidden states before it start.
    pub h_prev: usize,
    /// Where the cell states before it start.
    pub c_prev: usize,
}

/// [`lstm_step_forward`] at several timesteps, one after the other. Each finds its operands a slot
/// further than the one before it did: gates and cell states are `[.., B, H]`, hidden states
/// `[.., B, h_row]`.
///
/// # Shapes
/// `u [H, H, 4]`, or its [panels](super::pack_panels); `gates [steps, B, H, 4]`;
/// `h [steps + 1, B, h_row]`; `c [steps + 1, B, H]`.
pub fn lstm_sequence_forward<R: Real>(
    sequence: &SequenceForward<'_, R>,
    u: &[R],
    gates: &mut [R],
    h: &mut [R],
    c: &mut [R],
) {
    let s = sequence;
    let (slot, h_slot, hidden) = (s.batch * s.hidden, s.batch * s.h_row, s.hidden);
    let turned = s.packed.then(|| unpacked((hidden, 4 * hidden), u));
    let u = turned.as_deref().unwrap_or(u);
    // The last row of a slot may end before the next slot's first.
    let h_len = h_slot - s.h_row + hidden;
    for n in 0..s.walk.steps {
        let step = StepForward {
            hidden,
            terms: hidden,
            h_prev_row: s.h_row,
            h_row: s.h_row,
            lengths: s.lengths.map(|lengths| s.walk.lengths(lengths, n)),
        };
        let at = |start: usize, slot: usize, n: usize| s.walk.at(start, slot, n);
        let (h_prev, h) =
            apart(h, (at(s.h_prev, h_slot, n), h_len), (at(s.h_prev, h_slot, n + 1), h_len));
        let (c_prev, c) =
            apart(c, (at(s.c_prev, slot, n), slot), (at(s.c_prev, slot, n + 1), slot));
        let gates = &mut gates[at(s.gates, 4 * slot, n)..][..4 * slot];
        if s.keep {
            lstm_step_forward(&step, u, gates, h_prev, c_prev, h, c);
        } else {
            lstm_step_forward(&step, u, &mut gates.to_vec(), h_prev, c_prev, h, c);
        }
    }
}
