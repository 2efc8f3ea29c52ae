//! Twin of `lstm_sequence_forward`.

use super::{
    Lengths, Product, Real, StepForward, Walk, apart, lstm_step_forward, matmul, unpacked,
};

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
    /// The input features `I`, and where those of the first timestep start, where the input's share of
    /// the gates is still to be made; `u` is in panels then, below the bias and the input's weights.
    pub x: Option<(usize, usize)>,
    /// Whether the activated gates are kept; else gates are left as they are.
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
/// `u [H, H, 4]`, or its [panels](super::pack_panels), or those of `[1 + I + H, H, 4]`: the bias, the
/// input's weights, and `u`; `x [steps, B, I]`; `gates [steps, B, H, 4]`;
/// `h [steps + 1, B, h_row]`; `c [steps + 1, B, H]`.
pub fn lstm_sequence_forward<R: Real>(
    sequence: &SequenceForward<'_, R>,
    u: &[R],
    x: &[R],
    gates: &mut [R],
    h: &mut [R],
    c: &mut [R],
) {
    let s = sequence;
    let (slot, h_slot, hidden) = (s.batch * s.hidden, s.batch * s.h_row, s.hidden);
    // The rows above those of the hidden state.
    let above = s.x.map_or(0, |(input, _)| input + 1);
    let shape = (above + hidden, 4 * hidden);
    let turned = s.packed.then(|| unpacked(above..shape.0, shape, u));
    let of_x = s.x.map(|(input, start)| {
        (input, start, unpacked(1..above, shape, u), unpacked(0..1, shape, u))
    });
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
        let mut own = vec![R::zero(); 4 * slot];
        if let Some((input, start, weights, bias)) = &of_x {
            let shape = Product::dense(s.batch, 4 * hidden, *input, false, false);
            let x = &x[at(*start, s.batch * input, n)..];
            matmul(&shape, x, weights, &[bias], &mut own);
        } else {
            own.copy_from_slice(&gates[at(s.gates, 4 * slot, n)..][..4 * slot]);
        }
        let ended = |b: usize| step.lengths.is_some_and(|lengths| lengths.ended(b));
        lstm_step_forward(&step, u, &mut own, h_prev, c_prev, h, c);
        if s.keep {
            let gates = &mut gates[at(s.gates, 4 * slot, n)..][..4 * slot];
            let rows = gates.chunks_exact_mut(4 * hidden).zip(own.chunks_exact(4 * hidden));
            for (_, (gates, own)) in rows.enumerate().filter(|(b, _)| !ended(*b)) {
                gates.copy_from_slice(own);
            }
        }
    }
}
