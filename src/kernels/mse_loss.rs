//! Host side of `mse_loss`.

use super::{MSE_LOSS, View, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Elements `N`.
        pub len: u32,
        /// Where the predictions start in their binding.
        pub y_start: u32,
        /// Where the targets start in their binding.
        pub target_start: u32,
        /// Where the gradient starts in its binding.
        pub dy_start: u32,
        /// Where the partial sums start in their binding.
        pub partial_start: u32,
        /// `2 / N`.
        pub scale: f32,
    }
}

/// Elements whose squares one workgroup sums.
pub const CHUNK: usize = 1024;

/// The gradient of the mean of `(y - target)^2` over `len` elements, and `ceil(len / CHUNK)`
/// partial sums of the squares.
pub fn dispatch(len: usize, y: View, target: View, dy: View, partials: View) -> Dispatch {
    let params = Params {
        len: len as u32,
        y_start: y.start(),
        target_start: target.start(),
        dy_start: dy.start(),
        partial_start: partials.start(),
        scale: (2.0 / len as f64) as f32,
    };
    Dispatch {
        kernel: MSE_LOSS,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![y.range, target.range, dy.range, partials.range],
        grid: [groups(len, CHUNK), 1, 1],
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let len = p.len as usize;
    let [y, target, dy, partials] = call.args else { unreachable!("four bindings") };
    reference::mse_loss(
        CHUNK,
        &input(y, p.y_start)[..len],
        &input(target, p.target_start)[..len],
        output(dy, p.dy_start),
        &mut output(partials, p.partial_start)[..len.div_ceil(CHUNK)],
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "mse_loss",
        bindings: const {
            &[
                read("y", "[N]"),
                read("targets", "[N]"),
                write("dy", "[N]"),
                write("partials", "[ceil(N / 1024)]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "tree",
            concat!(
                include_str!("../../shaders/common/workgroup_sum.wgsl"),
                include_str!("../../shaders/mse_loss.wgsl")
            ),
            [256, 1, 1],
        )],
        twin,
        twin_f64: twin,
        fast: None,
        // The squares of rounded differences, summed; the gradient has two roundings.
        scale: None,
        tolerance: |_| Tolerance::Mixed { absolute: 1e-9, relative: 2e-6 },
    }
}
