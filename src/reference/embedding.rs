//! Twin of `embedding`.

use super::{Real, index_in};

/// `out[r] = weight[tokens[r]]`, rows of `width`; a token that the weight has no row for gives NaN.
///
/// # Shapes
/// `tokens [R]`, `weight [V, K]`, `out [R, K]`.
pub fn embedding<R: Real>(width: usize, tokens: &[R], weight: &[R], out: &mut [R]) {
    let vocab = weight.len() / width;
    for (&token, out) in tokens.iter().zip(out.chunks_exact_mut(width)) {
        match index_in(token, vocab) {
            Some(token) => out.copy_from_slice(&weight[token * width..][..width]),
            None => out.fill(R::nan()),
        }
    }
}
