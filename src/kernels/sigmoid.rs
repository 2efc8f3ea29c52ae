//! Host side of `sigmoid`.

use super::{SIGMOID, View, flag, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Elements `N`.
        pub len: u32,
        /// Where the logits start in their binding.
        pub logits_start: u32,
        /// Where the result starts in its binding.
        pub out_start: u32,
    }
}

/// `out [N]` = the probability of yes that each of `logits [N]` stands for or, where `decide`, 1 for those
/// above 0 and 0 for the others.
pub fn dispatch(len: usize, decide: bool, logits: View, out: View) -> Dispatch {
    let params = Params { len: len as u32, logits_start: logits.start(), out_start: out.start() };
    Dispatch {
        kernel: SIGMOID,
        variant: 0,
        constants: vec![("DECIDE", flag(decide))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![logits.range, out.range],
        grid: linear_grid(len),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let decide = call.dispatch.constant("DECIDE") != flag(false);
    let [logits, out] = call.args else { unreachable!("two bindings") };
    let logits = &input(logits, p.logits_start)[..p.len as usize];
    reference::sigmoids(decide, logits, output(out, p.out_start));
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "sigmoid",
        bindings: const { &[read("logits", "[N]"), write("out", "[N]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            concat!(
                include_str!("../../shaders/common/activations.wgsl"),
                include_str!("../../shaders/common/finite.wgsl"),
                include_str!("../../shaders/sigmoid.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |d| match d.constant("DECIDE") != flag(false) {
            true => Tolerance::EXACT,
            false => Tolerance::PROBABILITY,
        },
    }
}
