//! Twin of `projection_clip`.

use super::Real;

/// Bounds `x [B, P]`, projected hidden states, to `+-bound`; or, with the states `h [B, P]` that were bounded, drops
/// the gradients `x` of those at the bound. Rows are so many elements apart. NaN stays.
pub fn projection_clip<R: Real>(
    bound: R,
    (batch, width): (usize, usize),
    h: Option<(&[R], usize)>,
    (x, x_row): (&mut [R], usize),
) {
    for b in 0..batch {
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
