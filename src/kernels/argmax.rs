//! Host side of `argmax`.

use super::{ARGMAX, View, input, output, read, row_grid, row_lanes, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `R`.
        pub rows: u32,
        /// Elements of a row `C`.
        pub classes: u32,
        /// Where the logits start in their binding.
        pub logits_start: u32,
        /// Where the result starts in its binding.
        pub out_start: u32,
    }
}

/// `out [R]` = the first position of the largest of each row of `logits [R, C]`, NaN being the largest.
pub fn dispatch((rows, classes): (usize, usize), logits: View, out: View) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        classes: classes as u32,
        logits_start: logits.start(),
        out_start: out.start(),
    };
    Dispatch {
        kernel: ARGMAX,
        variant: 0,
        constants: vec![("LANES", row_lanes(classes) as f64)],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![logits.range, out.range],
        grid: row_grid(rows, classes),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let (classes, len) = (p.classes as usize, p.rows as usize * p.classes as usize);
    let [logits, out] = call.args else { unreachable!("two bindings") };
    let logits = &input(logits, p.logits_start)[..len];
    reference::argmax(classes, logits, output(out, p.out_start));
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "argmax",
        bindings: const { &[read("logits", "[R, C]"), write("out", "[R]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "rows",
            concat!(
                include_str!("../../shaders/common/rank.wgsl"),
                include_str!("../../shaders/common/rows.wgsl"),
                include_str!("../../shaders/common/argmax.wgsl"),
                include_str!("../../shaders/argmax.wgsl")
            ),
            [64, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |_| Tolerance::EXACT,
    }
}
