//! Host side of `accuracy`.

use super::{
    ACCURACY, Padding, View, flag, input, output, read, row_grid, row_lanes, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Lengths, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `R`.
        pub rows: u32,
        /// Rows of a timestep `B`.
        pub batch: u32,
        /// Elements of a row `C`.
        pub classes: u32,
        /// The first of them in `[T, B]`, where lengths count.
        pub first: u32,
        /// The target of rows that don't count.
        pub ignore_index: f32,
        /// Where the logits start in their binding.
        pub logits_start: u32,
        /// Where the targets start in their binding.
        pub targets_start: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// Where the weights start.
        pub weights_start: u32,
        /// Where the result starts in its binding.
        pub correct_start: u32,
    }
}

/// What a launch works on, each from the launch's first row on.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Logits, `[R, C]`.
    pub logits: View,
    /// Classes, `[R]`.
    pub targets: View,
    /// The lengths of the rows, all of them.
    pub padding: Padding,
    /// How much each row counts, `[R]`, where they differ.
    pub weights: Option<View>,
    /// The result, `[R]`.
    pub correct: View,
}

/// 1, or its weight, where the largest logit of a row is at its target, else 0, also where the target is
/// `ignore_index` or the row has ended, over `rows` rows of a `[T, batch]`, from row `first` on.
pub fn dispatch(
    (first, rows): (usize, usize),
    (batch, classes): (usize, usize),
    ignore_index: f32,
    at: &Operands,
) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        batch: batch as u32,
        classes: classes as u32,
        first: first as u32,
        ignore_index,
        logits_start: at.logits.start(),
        targets_start: at.targets.start(),
        lengths_start: at.padding.start(),
        weights_start: at.weights.map_or(0, |view| view.start()),
        correct_start: at.correct.start(),
    };
    Dispatch {
        kernel: ACCURACY,
        variant: 0,
        constants: vec![
            ("LANES", row_lanes(classes) as f64),
            ("LENGTHS", at.padding.flag()),
            ("WEIGHTS", flag(at.weights.is_some())),
        ],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![
            at.logits.range,
            at.targets.range,
            at.padding.range(at.targets.range),
            at.weights.map_or(at.targets.range, |view| view.range),
            at.correct.range,
        ],
        grid: row_grid(rows, classes),
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
    reference::accuracy(
        (p.first as usize, p.batch as usize, p.classes as usize),
        input(logits, p.logits_start),
        input(targets, p.targets_start),
        R::of(p.ignore_index),
        padded.then_some(lengths),
        weighted.then(|| input(weights, p.weights_start)),
        &mut output(correct, p.correct_start)[..p.rows as usize],
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "accuracy",
        bindings: const {
            &[
                read("logits", "[R, C]"),
                read("targets", "[R]"),
                read("lengths", "[B]"),
                read("weights", "[R]"),
                write("correct", "[R]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "rows",
            concat!(
                include_str!("../../shaders/common/indices.wgsl"),
                include_str!("../../shaders/common/lengths.wgsl"),
                include_str!("../../shaders/common/rank.wgsl"),
                include_str!("../../shaders/common/rows.wgsl"),
                include_str!("../../shaders/common/argmax.wgsl"),
                include_str!("../../shaders/accuracy.wgsl")
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
