//! Twin of `one_hot`.

use super::{Real, index_in};

/// Rows of `classes`, 1 at the token and 0 elsewhere; NaN where a token is none of the classes.
///
/// # Shapes
/// `tokens [R]`, `out [R, C]`.
pub fn one_hot<R: Real>(classes: usize, tokens: &[R], out: &mut [R]) {
    for (&token, out) in tokens.iter().zip(out.chunks_exact_mut(classes)) {
        match index_in(token, classes) {
            Some(token) => {
                out.fill(R::zero());
                out[token] = R::one();
            }
            None => out.fill(R::nan()),
        }
    }
}
