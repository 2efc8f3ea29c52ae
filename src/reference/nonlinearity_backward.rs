//! Twin of `nonlinearity_backward`.

use super::{Nonlinearity, Real};

/// `d *= f'(x)` of each number: the gradient of `f`'s result becomes that of `x`.
///
/// # Shapes
/// `x`, `d` `[N]`.
pub fn nonlinearity_backward<R: Real>(f: Nonlinearity, x: &[R], d: &mut [R]) {
    for (&x, d) in x.iter().zip(d) {
        *d = *d * f.slope(x);
    }
}
