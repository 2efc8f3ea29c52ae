//! Twin of `pool_over_time_backward`.

use super::{Pool, Pooled, Real};

/// The gradient of some timesteps of a sequence, by that of what
/// [`pool_over_time`](super::pool_over_time) made of all of them: of a mean, each of a row's timesteps has
/// its share; of the largest, the timestep that it was at has all.
///
/// # Shapes
/// `d_pooled [B, K]`; `pooled [2, B, K]` as `pool_over_time` left it, read for the largest alone;
/// `dh [T, B, K]` from the first timestep of `size.some` on, all of which is written.
pub fn pool_over_time_backward<R: Real>(
    pool: Pool,
    size: Pooled<'_, R>,
    (d_pooled, pooled): (&[R], &[R]),
    dh: &mut [R],
) {
    let Pooled { some: (first, steps), batch, width, .. } = size;
    for t in first..first + steps {
        for b in 0..batch {
            let count = size.count(b);
            for at in b * width..(b + 1) * width {
                dh[(t - first) * batch * width + at] = match pool {
                    _ if t >= count => R::zero(),
                    Pool::Mean => d_pooled[at] / R::of_f64(count as f64),
                    Pool::Max if pooled[batch * width + at] == R::of_f64(t as f64) => d_pooled[at],
                    Pool::Max => R::zero(),
                };
            }
        }
    }
}
