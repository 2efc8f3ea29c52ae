//! Host side of `one_hot`.

use super::{ONE_HOT, View, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `R`.
        pub rows: u32,
        /// Elements of a row `C`.
        pub classes: u32,
        /// Where the tokens start in their binding.
        pub tokens_start: u32,
        /// Where the result starts in its binding.
        pub out_start: u32,
    }
}

/// `out [R, C]` = 1 at the class that `tokens [R]` name and 0 elsewhere; NaN where it is none.
pub fn dispatch((rows, classes): (usize, usize), tokens: View, out: View) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        classes: classes as u32,
        tokens_start: tokens.start(),
        out_start: out.start(),
    };
    Dispatch {
        kernel: ONE_HOT,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![tokens.range, out.range],
        grid: linear_grid(rows * classes.div_ceil(4)),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let [tokens, out] = call.args else { unreachable!("two bindings") };
    let tokens = &input(tokens, p.tokens_start)[..p.rows as usize];
    reference::one_hot(p.classes as usize, tokens, output(out, p.out_start));
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "one_hot",
        bindings: const { &[read("tokens", "[R]"), write("out", "[R, C]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            concat!(
                include_str!("../../shaders/common/blocks.wgsl"),
                include_str!("../../shaders/common/indices.wgsl"),
                include_str!("../../shaders/common/nan.wgsl"),
                include_str!("../../shaders/one_hot.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |_| Tolerance::EXACT,
    }
}
