//! Twin of `projection_clip`.

use super::{Lengths, Real};

/// Bounds `x [B, P]`, projected hidden states, to `+-bound`; or, with the states `h [B, P]` that were bounded, drops
/// the gradients `x` of those at the bound. Rows are so many elements apart. NaN stays, and so
/// do rows that have ended.
pub fn projection_clip<R: Real>(
    bound: R,
    (batch, width): (usize, usize),
    lengths: Option<Lengths<'_, R>>,
    h: Option<(&[R], usize)>,
    (x, x_row): (&mut [R], usize),
) {
    for b in (0..batch).filter(|&b| !lengths.is_some_and(|lengths| lengths.ended(b))) {
        for (k, x) in x[b * x_row..][..width].iter_mut().enumerate() {
            *x = match h {
                Some((h, h_row)) if h[b * h_row + k].abs() >= bound => R::zero(),
                None if *x > bound => bound,
                None if *x < -bound => -bound,
                _ => *x,
            };
        }
    }
}
