//! Host side of `dropout`.

use super::{DROPOUT, View, cell, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Dropout, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Timesteps `T`.
        pub steps: u32,
        /// Rows `B`.
        pub batch: u32,
        /// Elements of a row.
        pub width: u32,
        /// What is added to the counter's first word.
        pub block: u32,
        /// What is added to the second.
        pub row: u32,
        /// What is added to the third.
        pub t: u32,
        /// The fourth.
        pub layer: u32,
        /// Elements whose word is below are dropped.
        pub threshold: u32,
        /// What the others are multiplied by.
        pub scale: f32,
        /// Where the key starts in its binding.
        pub key_start: u32,
        /// Where the elements start in their binding.
        pub x_start: u32,
    }
}

/// Drops elements of `x [T, B, K]` in place; `at` is added to the counter `(k / 4, b, t, layer)`.
pub fn dispatch(
    drop: Dropout,
    at: [u32; 4],
    (steps, batch, width): (usize, usize, usize),
    key: View,
    x: View,
) -> Dispatch {
    let params = Params {
        steps: steps as u32,
        batch: batch as u32,
        width: width as u32,
        block: at[0],
        row: at[1],
        t: at[2],
        layer: at[3],
        threshold: drop.threshold,
        scale: drop.scale,
        key_start: key.start(),
        x_start: x.start(),
    };
    Dispatch {
        kernel: DROPOUT,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![key.range, x.range],
        grid: linear_grid(steps * batch * width.div_ceil(4)),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let [key, x] = call.args else { unreachable!("two bindings") };
    reference::dropout(
        Dropout { threshold: p.threshold, scale: p.scale },
        cell::words(input(key, p.key_start)),
        [p.block, p.row, p.t, p.layer],
        (p.steps as usize, p.batch as usize, p.width as usize),
        output(x, p.x_start),
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "dropout",
        bindings: const { &[read("key", "[4]"), write("x", "[T, B, K]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "words",
            concat!(
                include_str!("../../shaders/common/blocks.wgsl"),
                include_str!("../../shaders/common/philox.wgsl"),
                include_str!("../../shaders/dropout.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        // One multiplication; a wrong mask is wrong by the whole value.
        tolerance: |_| Tolerance::Mixed { absolute: 0.0, relative: 1e-7 },
    }
}
