//! Twin of `lstm_step_forward`.

use super::{Cell, Draws, Lengths, Real, cell_forward, masks, peepholes_of};

/// The sizes of one direction's timestep, and the strides of its operands.
#[derive(Clone, Copy, Debug)]
pub struct StepForward<'a, R> {
    /// Which cell.
    pub cell: Cell,
    /// Its peepholes `[H]` of (i, f, 0, o), where it has some.
    pub peepholes: &'a [R],
    /// What training draws, where it does.
    pub draws: Option<Draws>,
    /// The hidden states before the step as a zoneout keeps them, rows as far apart as those of `h_prev`; empty
    /// without one.
    pub zoned: &'a [R],
    /// Units `H`.
    pub hidden: usize,
    /// Terms of the recurrent product: `P` with a projection, else `H`.
    pub terms: usize,
    /// Elements from one row of `h_prev` to the next.
    pub h_prev_row: usize,
    /// Elements from one row of `h` to the next.
    pub h_row: usize,
    /// Which rows have ended; `None` where all are as long.
    pub lengths: Option<Lengths<'a, R>>,
}

/// One timestep of one direction of `torch.nn.LSTM` for `B` rows and `H` units:
///
/// ```text
/// sums = P + h_prev . U                  P holds the input's share and both biases
/// gates, c, h = cell_forward(sums, c_prev)
/// ```
///
/// See [`cell_forward`]. A row that has ended is left alone.
///
/// # Shapes
/// `u [K, H, 4]`, `gates [B, H, 4]` (P on entry, the activated gates on return), `h_prev [B, K]`,
/// `c_prev`, `c` `[B, H]`, `h [B, H]`.
pub fn lstm_step_forward<R: Real>(
    step: &StepForward<'_, R>,
    u: &[R],
    gates: &mut [R],
    h_prev: &[R],
    c_prev: &[R],
    h: &mut [R],
    c: &mut [R],
) {
    let hidden = step.hidden;
    for (b, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
        if step.lengths.is_some_and(|lengths| lengths.ended(b)) {
            continue;
        }
        let h_prev = &h_prev[b * step.h_prev_row..][..step.terms];
        for (h_k, u_k) in h_prev.iter().zip(u.chunks_exact(4 * hidden)) {
            for (gate, &weight) in gates.iter_mut().zip(u_k) {
                *gate += *h_k * weight;
            }
        }
        let h = &mut h[b * step.h_row..][..hidden];
        let states = c[b * hidden..].iter_mut().zip(&c_prev[b * hidden..]).zip(h);
        let units = states.zip(gates.chunks_exact_mut(4)).enumerate();
        for (unit, (((c, &c_prev), h), gate)) in units {
            let old = match step.zoned.is_empty() {
                true => R::zero(),
                false => step.zoned[b * step.h_prev_row + unit],
            };
            let masks = masks(&step.cell, step.draws, (b, unit));
            let (p, sums) =
                (peepholes_of(step.peepholes, unit), [gate[0], gate[1], gate[2], gate[3]]);
            let after = cell_forward(&step.cell, &masks, p, sums, (old, c_prev));
            gate.copy_from_slice(&after.gates);
            (*c, *h) = (after.c, after.h);
        }
    }
}
