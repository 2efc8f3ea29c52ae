//! Twin of `lstm_step_backward`.

use super::{Cell, Draws, Lengths, Real, cell_backward, masks, peepholes_of, recurrent_mask};

/// The gradients that reach one direction's timestep.
#[derive(Clone, Copy, Debug)]
pub struct StepBackward<'a, R> {
    /// Which cell.
    pub cell: Cell,
    /// Its peepholes `[H]` of (i, f, 0, o), where it has some.
    pub peepholes: &'a [R],
    /// What training draws, where it does.
    pub draws: Option<Draws>,
    /// Units `H`.
    pub hidden: usize,
    /// What the product takes its rows from: the gate gradients of the step that ran after this
    /// one, `[B, H, 4]`, or with a projection the gradient of its result, `[B, P]` filled up to
    /// whole quads. `None` where nothing ran after.
    pub incoming: Option<&'a [R]>,
    /// Quads of four in a row of `incoming` and of `w`.
    pub terms: usize,
    /// The gradient of this step's output, `[B, H]`, and the elements from one row to the next.
    pub dy: Option<(&'a [R], usize)>,
    /// Which rows have ended; `None` where all are as long.
    pub lengths: Option<Lengths<'a, R>>,
}

/// The mirror of [`lstm_step_forward`](super::lstm_step_forward):
///
/// ```text
/// dh = dy + incoming . w^T
/// dG, dc = cell_backward(gates, c_prev, c, dh, dc)
/// ```
///
/// See [`cell_backward`]. The gates of a row that has ended have no gradient, and its `dc` stays.
///
/// # Shapes
/// `w [H, terms, 4]`, `gates [B, H, 4]` (the activated gates on entry, their gradient on return),
/// `c_prev`, `c` `[B, H]`, `dc [B, H]` (the cell state's gradient, in place).
pub fn lstm_step_backward<R: Real>(
    step: &StepBackward<'_, R>,
    w: &[R],
    gates: &mut [R],
    c_prev: &[R],
    c: &[R],
    (dc, zoned): (&mut [R], &mut [R]),
) {
    let (hidden, row) = (step.hidden, 4 * step.terms);
    for (b, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
        if step.lengths.is_some_and(|lengths| lengths.ended(b)) {
            gates.fill(R::zero());
            continue;
        }
        for (unit, gate) in gates.chunks_exact_mut(4).enumerate() {
            let at = b * hidden + unit;
            let mut sum = [R::zero(); 4];
            if let Some(incoming) = step.incoming {
                let incoming = incoming[b * row..][..row].chunks_exact(4);
                for (d, w) in incoming.zip(w[unit * row..].chunks_exact(4)) {
                    for lane in 0..4 {
                        sum[lane] += d[lane] * w[lane];
                    }
                }
            }
            let mut dh = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            if let Some(draws) = step.draws.filter(|_| step.cell.recurrent_dropout > 0.0) {
                dh = dh * recurrent_mask(step.cell.recurrent_dropout, draws, (b, unit));
            }
            if let Some(zoned) = zoned.get(at) {
                dh += *zoned;
            }
            if let Some((dy, dy_row)) = step.dy {
                dh += dy[b * dy_row + unit];
            }
            let (p, gates) =
                (peepholes_of(step.peepholes, unit), [gate[0], gate[1], gate[2], gate[3]]);
            let masks = masks(&step.cell, step.draws, (b, unit));
            let (states, above) = ((c_prev[at], c[at]), (dh, dc[at]));
            let gradient = cell_backward(&step.cell, &masks, p, gates, states, above);
            gate.copy_from_slice(&gradient.sums);
            dc[at] = gradient.c_prev;
            if let Some(zoned) = zoned.get_mut(at) {
                *zoned = gradient.h_prev;
            }
        }
    }
}
