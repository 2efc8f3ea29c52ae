//! Host side of `softmax`.

use super::{SOFTMAX, View, input, output, read, row_grid, row_lanes, variant, write};
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
        /// Where the probabilities start in their binding.
        pub probabilities_start: u32,
    }
}

/// How often an invocation passes its row, for [`classes_within`](super::classes_within).
pub const PASSES: usize = 3;

/// `probabilities [R, C]` of `logits [R, C]`; NaN where a row holds NaN or +inf, or only -inf.
pub fn dispatch((rows, classes): (usize, usize), logits: View, probabilities: View) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        classes: classes as u32,
        logits_start: logits.start(),
        probabilities_start: probabilities.start(),
    };
    Dispatch {
        kernel: SOFTMAX,
        variant: 0,
        constants: vec![("LANES", row_lanes(classes) as f64)],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![logits.range, probabilities.range],
        grid: row_grid(rows, classes),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let (classes, len) = (p.classes as usize, p.rows as usize * p.classes as usize);
    let [logits, probabilities] = call.args else { unreachable!("two bindings") };
    let logits = &input(logits, p.logits_start)[..len];
    reference::softmax(classes, logits, output(probabilities, p.probabilities_start));
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "softmax",
        bindings: const { &[read("logits", "[R, C]"), write("probabilities", "[R, C]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "rows",
            concat!(
                include_str!("../../shaders/common/nan.wgsl"),
                include_str!("../../shaders/common/rank.wgsl"),
                include_str!("../../shaders/common/rows.wgsl"),
                include_str!("../../shaders/common/logits.wgsl"),
                include_str!("../../shaders/softmax.wgsl")
            ),
            [64, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |_| Tolerance::PROBABILITY,
    }
}
