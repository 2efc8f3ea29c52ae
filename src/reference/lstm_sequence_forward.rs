//! Twin of `lstm_sequence_forward`.

use super::{
    Cell, Draws, Lengths, MaskedRows, Product, Real, StepForward, Walk, apart, lstm_step_forward,
    matmul, unpacked,
};

/// A projection of the hidden state.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a, R> {
    /// Features `P` of a hidden state.
    pub features: usize,
    /// The weights `[H, P]`, rows filled up to whole quads.
    pub weight: &'a [R],
    /// Where what is projected at the first timestep, or its gradient, starts.
    pub start: usize,
}

impl<R> Projection<'_, R> {
    /// Elements of a row of the weights.
    pub fn row(&self) -> usize {
        self.features.next_multiple_of(4)
    }
}

/// The sizes of some timesteps of one direction, and where its operands start.
#[derive(Clone, Copy, Debug)]
pub struct SequenceForward<'a, R> {
    /// Which cell.
    pub cell: Cell,
    /// What training draws, where it does, at the first timestep.
    pub draws: Option<Draws>,
    /// Elements from a hidden state to its masked one, which products take, where training drops some of it; else
    /// 0.
    pub masked: usize,
    /// Its peepholes `[H]` of (i, f, 0, o), where it has some.
    pub peepholes: &'a [R],
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// How many timesteps, and which way.
    pub walk: Walk,
    /// Elements from one row of `h` to the next.
    pub h_row: usize,
    /// What makes a hidden state of what a cell gives, where it is not that itself.
    pub projection: Option<Projection<'a, R>>,
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
/// `h [steps + 1, B, h_row]`; `c [steps + 1, B, H]`; `z [steps, B, H]`. With a projection `u` is
/// `[P, H, 4]`, `z` gets what the cells give and `h` what is made of it.
pub fn lstm_sequence_forward<R: Real>(
    sequence: &SequenceForward<'_, R>,
    u: &[R],
    x: &[R],
    gates: &mut [R],
    (h, c, z): (&mut [R], &mut [R], &mut [R]),
) {
    let s = sequence;
    let terms = s.projection.map_or(s.hidden, |projection| projection.features);
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
    let h_len = h_slot - s.h_row + terms;
    for n in 0..s.walk.steps {
        let draws = s.draws.map(|draws| s.walk.draws(draws, n));
        let own_h = s.walk.at(s.h_prev, h_slot, n);
        // Copies, where a step reads hidden states in two ways.
        let copied =
            |from: usize, is: bool| if is { h[from..][..h_len].to_vec() } else { Vec::new() };
        let zoned = copied(own_h, s.cell.zoneout.is_some() && s.projection.is_none());
        let product = copied(own_h + s.masked, s.masked > 0);
        let step = StepForward {
            cell: s.cell,
            draws,
            zoned: &zoned,
            peepholes: s.peepholes,
            hidden,
            terms,
            h_prev_row: s.h_row,
            h_row: if s.projection.is_some() { hidden } else { s.h_row },
            lengths: s.lengths.map(|lengths| s.walk.lengths(lengths, n)),
        };
        let at = |start: usize, slot: usize, n: usize| s.walk.at(start, slot, n);
        let after = at(s.h_prev, h_slot, n + 1);
        let (h_prev, h_after) = apart(h, (own_h, h_len), (after, h_len));
        let h_prev = if s.masked > 0 { &product } else { h_prev };
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
        match s.projection {
            None => lstm_step_forward(&step, u, &mut own, h_prev, c_prev, h_after, c),
            Some(projection) => {
                let z = &mut z[at(projection.start, slot, n)..][..slot];
                lstm_step_forward(&step, u, &mut own, h_prev, c_prev, z, c);
                let one = Product {
                    ldb: projection.row(),
                    ..Product::dense(1, terms, hidden, false, false)
                };
                let rows = z.chunks_exact(hidden).zip(h_after.chunks_mut(s.h_row)).enumerate();
                for (_, (z, h)) in rows.filter(|(b, _)| !ended(*b)) {
                    matmul(&one, z, projection.weight, &[], h);
                }
            }
        }
        if let Some(draws) = draws.filter(|_| s.masked > 0) {
            let rows = MaskedRows { p: s.cell.recurrent_dropout, draws, lengths: step.lengths };
            rows.write(h, (after, s.masked), (s.batch, s.h_row, terms));
        }
        if s.keep {
            let gates = &mut gates[at(s.gates, 4 * slot, n)..][..4 * slot];
            let rows = gates.chunks_exact_mut(4 * hidden).zip(own.chunks_exact(4 * hidden));
            for (_, (gates, own)) in rows.enumerate().filter(|(b, _)| !ended(*b)) {
                gates.copy_from_slice(own);
            }
        }
    }
}
