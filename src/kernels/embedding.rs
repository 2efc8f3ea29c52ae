//! Host side of `embedding`.

use super::{EMBEDDING, View, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `R`.
        pub rows: u32,
        /// Rows of the weight `V`.
        pub vocab: u32,
        /// Elements of a row.
        pub width: u32,
        /// Where the tokens start in their binding.
        pub tokens_start: u32,
        /// Where the weight starts in its binding.
        pub weight_start: u32,
        /// Where the result starts in its binding.
        pub out_start: u32,
    }
}

/// `out [R, K]` = the rows of `weight [V, K]` that `tokens [R]` name; NaN where there is none.
pub fn dispatch(
    (rows, vocab, width): (usize, usize, usize),
    tokens: View,
    weight: View,
    out: View,
) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        vocab: vocab as u32,
        width: width as u32,
        tokens_start: tokens.start(),
        weight_start: weight.start(),
        out_start: out.start(),
    };
    Dispatch {
        kernel: EMBEDDING,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![tokens.range, weight.range, out.range],
        grid: linear_grid(rows * width.div_ceil(4)),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let (rows, width) = (p.rows as usize, p.width as usize);
    let [tokens, weight, out] = call.args else { unreachable!("three bindings") };
    reference::embedding(
        width,
        &input(tokens, p.tokens_start)[..rows],
        &input(weight, p.weight_start)[..p.vocab as usize * width],
        output(out, p.out_start),
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "embedding",
        bindings: const { &[read("tokens", "[R]"), read("weight", "[V, K]"), write("out", "[R, K]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            concat!(
                include_str!("../../shaders/common/blocks.wgsl"),
                include_str!("../../shaders/common/indices.wgsl"),
                include_str!("../../shaders/common/nan.wgsl"),
                include_str!("../../shaders/embedding.wgsl")
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
