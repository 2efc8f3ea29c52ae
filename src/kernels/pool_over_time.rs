//! Host side of `pool_over_time`.

use super::{
    POOL_OVER_TIME, Padding, View, flag, input, linear_grid, output, read, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Pool, Pooled, Real, Strides, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Timesteps of the launch.
        pub steps: u32,
        /// Rows `B`.
        pub batch: u32,
        /// Features `K`.
        pub width: u32,
        /// The first timestep of the launch.
        pub first: u32,
        /// Timesteps `T` of the sequence.
        pub total: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// Where the launch's first timestep starts.
        pub h_start: u32,
        /// Elements from one timestep to the next.
        pub h_step: u32,
        /// Elements from one row to the next.
        pub h_row: u32,
        /// Where the result starts.
        pub pooled_start: u32,
    }
}

/// Timesteps of a launch that one invocation passes within `budget` loop iterations.
pub fn steps_within(budget: usize) -> usize {
    budget.saturating_sub(8).max(1)
}

/// Pools `steps` timesteps of `h [T, B, K]`, from `first` on of `total`, into `pooled`: `[B, K]`, or for
/// the largest `[2, B, K]`. Launches take them in order.
pub fn dispatch(
    pool: Pool,
    (first, steps, total): (usize, usize, usize),
    (batch, width): (usize, usize),
    padding: Padding,
    (strides, h): (Strides, View),
    pooled: View,
) -> Dispatch {
    let params = Params {
        steps: steps as u32,
        batch: batch as u32,
        width: width as u32,
        first: first as u32,
        total: total as u32,
        lengths_start: padding.start(),
        h_start: h.start(),
        h_step: strides.step as u32,
        h_row: strides.row as u32,
        pooled_start: pooled.start(),
    };
    Dispatch {
        kernel: POOL_OVER_TIME,
        variant: 0,
        constants: vec![("MAX", flag(pool == Pool::Max)), ("LENGTHS", padding.flag())],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![h.range, padding.range(h.range), pooled.range],
        grid: linear_grid(batch * width),
    }
}

/// What a launch makes of each feature.
pub(super) fn pool_of<R>(call: &Call<'_, '_, R>) -> Pool {
    match call.dispatch.constant("MAX") != 0.0 {
        true => Pool::Max,
        false => Pool::Mean,
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let (pool, padded) = (pool_of(&call), call.dispatch.constant("LENGTHS") != 0.0);
    let [h, lengths, pooled] = call.args else { unreachable!("three bindings") };
    let size = Pooled {
        some: (p.first as usize, p.steps as usize),
        total: p.total as usize,
        batch: p.batch as usize,
        width: p.width as usize,
        lengths: padded.then(|| input(lengths, p.lengths_start)),
    };
    let strides = Strides { step: p.h_step as usize, row: p.h_row as usize };
    let h = (strides, input(h, p.h_start));
    reference::pool_over_time(pool, size, h, output(pooled, p.pooled_start));
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "pool_over_time",
        bindings: const {
            &[
                read("h", "[T, B, K]"),
                read("lengths", "[B]"),
                write("pooled", "[B, K] or [2, B, K]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "features",
            concat!(
                include_str!("../../shaders/common/lengths.wgsl"),
                include_str!("../../shaders/common/rank.wgsl"),
                include_str!("../../shaders/pool_over_time.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |d| match d.constant("MAX") != 0.0 {
            // Values as they are.
            true => Tolerance::Mixed { absolute: 0.0, relative: 1e-7 },
            false => {
                let p: Params = bytemuck::pod_read_unaligned(&d.params);
                Tolerance::Terms(p.steps as usize)
            }
        },
    }
}
