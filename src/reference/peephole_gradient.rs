//! Twin of `peephole_gradient`.

use super::Real;

/// Some rows of what the gradient of peepholes is made of: timesteps of rows of a batch.
#[derive(Clone, Copy, Debug)]
pub struct PeepholeRows<'a, R> {
    /// The gradients of the gates' sums, `[M, H]` of (i, f, g, o).
    pub d_gates: &'a [R],
    /// The cell states before the timesteps, `[M, H]`.
    pub c_prev: &'a [R],
    /// Those after them, `[M, H]`.
    pub c: &'a [R],
}

/// Adds the gradients of the peepholes `out [H]` of (i, f, 0, o):
///
/// ```text
/// d p.i += d i * c_prev;  d p.f += d f * c_prev;  d p.o += d o * c     over the rows
/// ```
///
/// A gradient of zero, such as that of a row that has ended, adds nothing, whatever the state.
#[inline(always)]
pub fn peephole_gradient<R: Real>(rows: &PeepholeRows<'_, R>, out: &mut [R]) {
    let (hidden, zero) = (out.len() / 4, R::zero());
    let states = rows.c_prev.chunks_exact(hidden).zip(rows.c.chunks_exact(hidden));
    for (d_gates, (c_prev, c)) in rows.d_gates.chunks_exact(4 * hidden).zip(states) {
        let units = d_gates.chunks_exact(4).zip(c_prev.iter().zip(c));
        for (sum, (d, (&c_prev, &c))) in out.chunks_exact_mut(4).zip(units) {
            for (gate, state) in [(0, c_prev), (1, c_prev), (3, c)] {
                sum[gate] += if d[gate] == zero { zero } else { d[gate] * state };
            }
        }
    }
}
