//! Host side of `pool_over_time_backward`.

use super::pool_over_time::pool_of;
use super::{
    POOL_OVER_TIME_BACKWARD, Padding, View, flag, input, linear_grid, output, read, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Pool, Pooled, Real, Tolerance};

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
        /// Where the gradient starts.
        pub d_start: u32,
        /// Where what was pooled starts.
        pub pooled_start: u32,
        /// Where the launch's first timestep starts.
        pub dh_start: u32,
    }
}

/// The gradient of `steps` timesteps, from `first` on of `total`, by `d_pooled [B, K]`; `pooled` is what
/// `pool_over_time` left.
pub fn dispatch(
    pool: Pool,
    (first, steps, total): (usize, usize, usize),
    (batch, width): (usize, usize),
    padding: Padding,
    (d_pooled, pooled): (View, View),
    dh: View,
) -> Dispatch {
    let params = Params {
        steps: steps as u32,
        batch: batch as u32,
        width: width as u32,
        first: first as u32,
        total: total as u32,
        lengths_start: padding.start(),
        d_start: d_pooled.start(),
        pooled_start: pooled.start(),
        dh_start: dh.start(),
    };
    Dispatch {
        kernel: POOL_OVER_TIME_BACKWARD,
        variant: 0,
        constants: vec![("MAX", flag(pool == Pool::Max)), ("LENGTHS", padding.flag())],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![d_pooled.range, pooled.range, padding.range(d_pooled.range), dh.range],
        grid: linear_grid(steps * batch * width.div_ceil(4)),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let (pool, padded) = (pool_of(&call), call.dispatch.constant("LENGTHS") != 0.0);
    let [d_pooled, pooled, lengths, dh] = call.args else { unreachable!("four bindings") };
    let size = Pooled {
        some: (p.first as usize, p.steps as usize),
        total: p.total as usize,
        batch: p.batch as usize,
        width: p.width as usize,
        lengths: padded.then(|| input(lengths, p.lengths_start)),
    };
    let read = (input(d_pooled, p.d_start), input(pooled, p.pooled_start));
    reference::pool_over_time_backward(pool, size, read, output(dh, p.dh_start));
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "pool_over_time_backward",
        bindings: const {
            &[
                read("d_pooled", "[B, K]"),
                read("pooled", "[2, B, K]"),
                read("lengths", "[B]"),
                write("dh", "[T, B, K]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "features",
            concat!(
                include_str!("../../shaders/common/blocks.wgsl"),
                include_str!("../../shaders/common/lengths.wgsl"),
                include_str!("../../shaders/pool_over_time_backward.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        // A division at most, which WGSL lets be wrong by 2.5 ulp.
        tolerance: |_| Tolerance::Mixed { absolute: 0.0, relative: 4e-7 },
    }
}
