//! Host side of `clip_scale`.

use super::gradient_norm::CHUNK;
use super::{CLIP_SCALE, View, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Chunks of gradients.
        pub chunks: u32,
        /// Where the scalars start in their binding.
        pub scalars_start: u32,
        /// Where the loss is in its binding.
        pub loss_start: u32,
        /// Where the chunks' partial results start in their binding.
        pub partials_start: u32,
        /// Where the status starts in its binding.
        pub status_start: u32,
    }
}

/// The buffers of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[4]`: what the host says to the step, see [`reference::scalars`].
    pub scalars: View,
    /// `[1]`.
    pub loss: View,
    /// `[chunks, 2]`, as `gradient_norm` leaves them.
    pub partials: View,
    /// `[16]`: what is said of the step, see [`reference::status`].
    pub status: View,
}

/// The status of a step from `chunks` chunks of gradients.
pub fn dispatch(chunks: usize, at: &Operands) -> Dispatch {
    let params = Params {
        chunks: chunks as u32,
        scalars_start: at.scalars.start(),
        loss_start: at.loss.start(),
        partials_start: at.partials.start(),
        status_start: at.status.start(),
    };
    Dispatch {
        kernel: CLIP_SCALE,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![at.scalars.range, at.loss.range, at.partials.range, at.status.range],
        grid: [1, 1, 1],
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let [scalars, loss, partials, status] = call.args else { unreachable!("four bindings") };
    reference::clip_scale(
        input(scalars, p.scalars_start),
        input(loss, p.loss_start)[0],
        &input(partials, p.partials_start)[..2 * p.chunks as usize],
        CHUNK,
        output(status, p.status_start),
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "clip_scale",
        bindings: const {
            &[
                read("scalars", "[4]"),
                read("loss", "[1]"),
                read("partials", "[chunks, 2]"),
                write("status", "[16]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "tree",
            concat!(
                include_str!("../../shaders/common/finite.wgsl"),
                include_str!("../../shaders/common/status.wgsl"),
                include_str!("../../shaders/common/decide.wgsl"),
                include_str!("../../shaders/common/workgroup_sum.wgsl"),
                include_str!("../../shaders/clip_scale.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        // A root and a division as in `OPTIMIZER`, over a sum of positive numbers, of whose error
        // the root halves the share. Nothing absolute: the rest are counts.
        tolerance: |d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            let sum = (4.0 + f64::from(p.chunks).sqrt()) * f64::from(f32::EPSILON) / 2.0;
            Tolerance::Mixed { absolute: 0.0, relative: 2e-6 + sum }
        },
    }
}
