//! Twin of `lstm_sequence_backward`.

use super::{
    Cell, Draws, Lengths, Product, Projection, Real, StepBackward, Walk, apart, lstm_step_backward,
    matmul, unpacked_transpose,
};

/// The sizes of some timesteps of one direction, back through time, and where its operands start.
#[derive(Clone, Copy, Debug)]
pub struct SequenceBackward<'a, R> {
    /// Which cell.
    pub cell: Cell,
    /// What training draws, where it does, at the first timestep.
    pub draws: Option<Draws>,
    /// Its peepholes `[H]` of (i, f, 0, o), where it has some.
    pub peepholes: &'a [R],
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// How many timesteps, and which way.
    pub walk: Walk,
    /// What made the hidden states of what the cells gave, where they were not that themselves.
    pub projection: Option<Projection<'a, R>>,
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

/// What a walk back writes.
#[derive(Debug)]
pub struct SequenceGradients<'a, R> {
    /// The gates, afterwards the gradients of their sums.
    pub gates: &'a mut [R],
    /// The cell state's gradient.
    pub dc: &'a mut [R],
    /// What a zoneout keeps of the hidden state's gradient; empty without one.
    pub zoned: &'a mut [R],
    /// The gradients of projected states; empty without a projection.
    pub dp: &'a mut [R],
}

/// [`lstm_step_backward`] at several timesteps, one after the other. Each finds its operands a slot
/// further than the one before it did: gates and cell states are `[.., B, H]`, `dy` is
/// `[.., B, dy_row]`.
///
/// # Shapes
/// `w [H, H, 4]`, or the [panels](super::pack_panels) of its transpose `[4H, H]`;
/// `c [steps + 1, B, H]`; `dy [steps, B, dy_row]`; `gates [steps, B, H, 4]`, with `incoming` one slot
/// more before them; `dc [B, H]`. With a projection `w` is `[P, H, 4]`, there is no `dy`, and
/// `dp [steps, B, P]`, rows filled up to whole quads, holds the gradient of the outputs and gets what
/// comes back from the step that ran after.
pub fn lstm_sequence_backward<R: Real>(
    sequence: &SequenceBackward<'_, R>,
    w: &[R],
    c: &[R],
    dy: &[R],
    written: SequenceGradients<'_, R>,
) {
    let (s, SequenceGradients { gates, dc, zoned, dp }) = (sequence, written);
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
        let ended = |b: usize| s.lengths.is_some_and(|lengths| s.walk.lengths(lengths, n).ended(b));
        let mut terms = hidden;
        let mut incoming = incoming;
        let mut weight = w;
        if let Some(projection) = s.projection {
            let row = projection.row();
            let dp = &mut dp[at(projection.start, s.batch * row, n)..][..s.batch * row];
            if let Some(after) = incoming {
                let one = Product {
                    accumulate: true,
                    ..Product::dense(1, projection.features, 4 * hidden, false, true)
                };
                let rows = after.chunks_exact(4 * hidden).zip(dp.chunks_exact_mut(row));
                for (_, (after, dp)) in rows.enumerate().filter(|(b, _)| !ended(*b)) {
                    matmul(&one, after, w, &[], dp);
                }
            }
            (incoming, terms, weight) = (Some(&*dp), row / 4, projection.weight);
        }
        let step = StepBackward {
            cell: s.cell,
            draws: s.draws.map(|draws| s.walk.draws(draws, n)),
            peepholes: s.peepholes,
            hidden,
            incoming,
            terms,
            dy: s.dy.map(|(start, row)| (&dy[at(start, s.batch * row, n)..], row)),
            lengths: s.lengths.map(|lengths| s.walk.lengths(lengths, n)),
        };
        let (c_prev, c) = (&c[at(s.c, slot, n + 1)..], &c[at(s.c, slot, n)..]);
        lstm_step_backward(&step, weight, gates, c_prev, c, (dc, zoned));
    }
}
