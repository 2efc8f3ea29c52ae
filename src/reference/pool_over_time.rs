//! Twin of `pool_over_time`.

use super::{Real, Strides};

/// What is made of a feature's values at all timesteps of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Their mean: the sum, from the first timestep on, by their number.
    Mean,
    /// The largest and where it is, the first where several are; a NaN is larger than any number.
    Max,
}

/// Which timesteps of which rows are pooled.
#[derive(Clone, Copy, Debug)]
pub struct Pooled<'a, R> {
    /// The first timestep, and how many from there on.
    pub some: (usize, usize),
    /// Timesteps `T` of all.
    pub total: usize,
    /// Rows `B`.
    pub batch: usize,
    /// Features `K`.
    pub width: usize,
    /// Timesteps of each row, `[B]`; what stands behind the point doesn't count. `None` where all have all.
    pub lengths: Option<&'a [R]>,
}

impl<R: Real> Pooled<'_, R> {
    /// How many timesteps of row `b` are pooled.
    pub fn count(&self, b: usize) -> usize {
        let length = self.lengths.and_then(|lengths| lengths[b].to_usize());
        length.unwrap_or(if self.lengths.is_some() { 0 } else { self.total }).min(self.total)
    }
}

/// Pools some timesteps of a sequence: it starts with the first of all, goes on from what `out` has, and
/// ends with the last of all. A row without timesteps becomes zero.
///
/// # Shapes
/// `h [T, B, K]` as strided, from the first timestep of `size.some` on. `out [B, K]`, for the largest
/// `[2, B, K]`, whose second half has their timesteps: -1 in a row without any.
pub fn pool_over_time<R: Real>(
    pool: Pool,
    size: Pooled<'_, R>,
    (strides, h): (Strides, &[R]),
    out: &mut [R],
) {
    let Pooled { some: (first, steps), total, batch, width, .. } = size;
    let (values, places) = out.split_at_mut(batch * width);
    for b in 0..batch {
        let row = b * width..(b + 1) * width;
        if first == 0 {
            values[row.clone()].fill(R::zero());
            if pool == Pool::Max {
                places[row.clone()].fill(-R::one());
            }
        }
        for t in first..size.count(b).min(first + steps) {
            let h = &h[(t - first) * strides.step + b * strides.row..][..width];
            let values = &mut values[row.clone()];
            match pool {
                Pool::Mean => values.iter_mut().zip(h).for_each(|(sum, &h)| *sum += h),
                Pool::Max => {
                    for ((best, place), &h) in
                        values.iter_mut().zip(&mut places[row.clone()]).zip(h)
                    {
                        if t == 0 || (!best.is_nan() && (h.is_nan() || h > *best)) {
                            (*best, *place) = (h, R::of_f64(t as f64));
                        }
                    }
                }
            }
        }
        if pool == Pool::Mean && first + steps == total && size.count(b) > 0 {
            let count = R::of_f64(size.count(b) as f64);
            values[row].iter_mut().for_each(|sum| *sum = *sum / count);
        }
    }
}
