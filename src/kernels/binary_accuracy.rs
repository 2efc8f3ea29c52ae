//! Host side of `binary_accuracy`.

use super::{
    BINARY_ACCURACY, Padding, View, flag, input, linear_grid, output, read, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Lengths, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Elements `N` of the launch.
        pub len: u32,
        /// The first of them in `[T, B, O]`.
        pub first: u32,
        /// Rows `B`.
        pub batch: u32,
        /// Outputs `O` of a row.
        pub width: u32,
        /// Where the logits start in their binding.
        pub logits_start: u32,
        /// Where the targets start in their binding.
        pub targets_start: u32,
        /// Where the lengths start in their binding.
        pub lengths_start: u32,
        /// Where the weights start in their binding.
        pub weights_start: u32,
        /// Where the result starts in its binding.
        pub correct_start: u32,
    }
}

/// What a launch works on, each from the launch's first element on.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Logits.
    pub logits: View,
    /// Targets.
    pub targets: View,
    /// The lengths of the rows, all of them.
    pub padding: Padding,
    /// How much each row of `[T, B]` counts, from that of the launch's first element on, where they differ.
    pub weights: Option<View>,
    /// The result.
    pub correct: View,
}

/// 1, or the weight of its row, where a logit is above 0 and its target above 1/2 or neither is, else 0,
/// also where the row has ended, over `len` elements of a `[T, batch, width]`, from `first` on.
pub fn dispatch(
    (first, len): (usize, usize),
    (batch, width): (usize, usize),
    at: &Operands,
) -> Dispatch {
    let params = Params {
        len: len as u32,
        first: first as u32,
        batch: batch as u32,
        width: width as u32,
        logits_start: at.logits.start(),
        targets_start: at.targets.start(),
        lengths_start: at.padding.start(),
        weights_start: at.weights.map_or(0, |view| view.start()),
        correct_start: at.correct.start(),
    };
    let (logits, targets) = (at.logits.range, at.targets.range);
    let weights = at.weights.map_or(targets, |view| view.range);
    Dispatch {
        kernel: BINARY_ACCURACY,
        variant: 0,
        constants: vec![("LENGTHS", at.padding.flag()), ("WEIGHTS", flag(at.weights.is_some()))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![logits, targets, at.padding.range(targets), weights, at.correct.range],
        grid: linear_grid(len),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let is = |name| call.dispatch.constant(name) != flag(false);
    let (padded, weighted) = (is("LENGTHS"), is("WEIGHTS"));
    let [logits, targets, lengths, weights, correct] = call.args else {
        unreachable!("five bindings")
    };
    let lengths = Lengths { lengths: input(lengths, p.lengths_start), t: 0 };
    reference::binary_accuracy(
        (p.first as usize, p.batch as usize, p.width as usize),
        input(logits, p.logits_start),
        input(targets, p.targets_start),
        padded.then_some(lengths),
        weighted.then(|| input(weights, p.weights_start)),
        &mut output(correct, p.correct_start)[..p.len as usize],
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "binary_accuracy",
        bindings: const {
            &[
                read("logits", "[T, B, O]"),
                read("targets", "[T, B, O]"),
                read("lengths", "[B]"),
                read("weights", "[T, B]"),
                write("correct", "[T, B, O]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            concat!(
                include_str!("../../shaders/common/finite.wgsl"),
                include_str!("../../shaders/common/lengths.wgsl"),
                include_str!("../../shaders/binary_accuracy.wgsl")
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
