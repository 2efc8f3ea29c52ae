//! Twin of `lstm_sequence_backward`.

use super::{Lengths, Real, StepBackward, Walk, apart, lstm_step_backward, unpacked_transpose};

/// The sizes of some timesteps of one direction, back through time, and where its operands start.
#[derive(Clone, Copy, Debug)]
pub struct SequenceBackward<'a, R> {
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// How many timesteps, and which way.
    pub walk: Walk,
    /// Whether `w` is its transpose in panels.
    pub packed: bool,
    /// Whether something comes back to the first timestep from the one before it in this walk.
    pub incoming: bool,
    /// Which rows have ended at the first timestep; `None` where all are as long.
    pub lengths: Option<Lengths<'a, R>>,
    /// Where the gates of the first timestep start.
    pub gates: usize,
    /// Where the cell states after it start; those before it are a slot further.
    pub c: usize,
    /// Where the gradient of its output starts, where there is one, and the elements from one row to
    /// the next.
    pub dy: Option<(usize, usize)>,
}

/// [`lstm_step_backward`] at several timesteps, one after the other. Each finds its operands a slot
/// further than the one before it did: gates and cell states are `[.., B, H]`, `dy` is
/// `[.., B, dy_row]`.
///
/// # Shapes
/// `w [H, H, 4]`, or the [panels](super::pack_panels) of its transpose `[4H, H]`;
/// `c [steps + 1, B, H]`; `dy [steps, B, dy_row]`; `gates [steps, B, H, 4]`, with `incoming` one slot
/// more before them; `dc [B, H]`.
pub fn lstm_sequence_backward<R: Real>(
    sequence: &SequenceBackward<'_, R>,
    w: &[R],
    c: &[R],
    dy: &[R],
    gates: &mut [R],
    dc: &mut [R],
) {
    let s = sequence;
    let (slot, hidden) = (s.batch * s.hidden, s.hidden);
    let turned = s.packed.then(|| unpacked_transpose((4 * hidden, hidden), w));
    let w = turned.as_deref().unwrap_or(w);
    for n in 0..s.walk.steps {
        let at = |start: usize, slot: usize, n: usize| s.walk.at(start, slot, n);
        let own = (at(s.gates, 4 * slot, n), 4 * slot);
        let (incoming, gates) = if n > 0 || s.incoming {
            let (incoming, gates) = apart(gates, (s.walk.before(s.gates, 4 * slot, n), own.1), own);
            (Some(incoming), gates)
        } else {
            (None, &mut gates[own.0..][..own.1])
        };
        let step = StepBackward {
            hidden,
            incoming,
            terms: hidden,
            dy: s.dy.map(|(start, row)| (&dy[at(start, s.batch * row, n)..], row)),
            lengths: s.lengths.map(|lengths| s.walk.lengths(lengths, n)),
        };
        let (c_prev, c) = (&c[at(s.c, slot, n + 1)..], &c[at(s.c, slot, n)..]);
        lstm_step_backward(&step, w, gates, c_prev, c, dc);
    }
}
