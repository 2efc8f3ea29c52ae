//! Twin of `embedding_backward`, and the sorting that it needs.

use super::Real;

/// The rows of a gradient, sorted by their tokens.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a, R> {
    /// Numbers of rows.
    pub order: &'a [R],
    /// Where the rows of each token begin in `order`, and where the last one's end.
    pub offsets: &'a [R],
    /// The part of `order` that counts: its first position, and the one after its last.
    pub positions: (usize, usize),
}

/// Sorts positions by their tokens, those of one token in the order given: those of token `v` are
/// `order[offsets[v]..offsets[v + 1]]`. A position without a token of the vocabulary is left out;
/// zeros fill `order` up to as many as there are positions.
///
/// ```
/// use gatefold::reference::sort_tokens;
/// let tokens = [2, 0, 2, 9, 2].map(Some).into_iter().chain([None]);
/// let (order, offsets) = sort_tokens(tokens, 3);
/// assert_eq!(order, [1.0, 0.0, 2.0, 4.0, 0.0, 0.0]);
/// assert_eq!(offsets, [0.0, 1.0, 1.0, 4.0]);
/// ```
pub fn sort_tokens(
    tokens: impl Iterator<Item = Option<usize>>,
    vocab: usize,
) -> (Vec<f32>, Vec<f32>) {
    let tokens: Vec<Option<usize>> = tokens.map(|token| token.filter(|&v| v < vocab)).collect();
    let mut ends = vec![0usize; vocab + 1];
    for &token in tokens.iter().flatten() {
        ends[token + 1] += 1;
    }
    for v in 0..vocab {
        ends[v + 1] += ends[v];
    }
    let offsets = ends.iter().map(|&end| end as f32).collect();
    // From here on, where the next position of each token goes.
    let mut order = vec![0.0; tokens.len()];
    for (position, token) in tokens.into_iter().enumerate() {
        if let Some(token) = token {
            order[ends[token]] = position as f32;
            ends[token] += 1;
        }
    }
    (order, offsets)
}

/// The gradient of the rows of an embedding's weight from `first_token` on: each the sum of the rows
/// of `dy` that are its token's, written or added.
///
/// # Shapes
/// `dy [R, K]`, `dweight [tokens, K]`.
pub fn embedding_backward<R: Real>(
    width: usize,
    first_token: usize,
    segments: Segments<'_, R>,
    accumulate: bool,
    dy: &[R],
    dweight: &mut [R],
) {
    let whole = |value: R| value.to_usize().unwrap_or(0);
    let (first, end) = segments.positions;
    for (v, dweight) in (first_token..).zip(dweight.chunks_exact_mut(width)) {
        if !accumulate {
            dweight.fill(R::zero());
        }
        let mine = whole(segments.offsets[v]).max(first)..whole(segments.offsets[v + 1]).min(end);
        for k in 0..width {
            let terms = mine.clone().map(|s| dy[whole(segments.order[s]) * width + k]);
            dweight[k] += terms.fold(R::zero(), |sum, term| sum + term);
        }
    }
}
