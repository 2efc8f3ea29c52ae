//! Host side of `cross_entropy_loss`.

use super::{
    CROSS_ENTROPY_LOSS, Padding, View, flag, input, loss_scale, output, read, row_grid, row_lanes,
    variant, write,
};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, CrossEntropy, Lengths, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `R` of the launch.
        pub rows: u32,
        /// The first of them in `[T, B]`.
        pub first: u32,
        /// Rows `B` of a timestep.
        pub batch: u32,
        /// Classes `C`.
        pub classes: u32,
        /// Where they start in their binding.
        pub logits_start: u32,
        /// Where the targets start in their binding.
        pub target_start: u32,
        /// Where the lengths start in their binding.
        pub lengths_start: u32,
        /// Where the weights start in their binding.
        pub weights_start: u32,
        /// Where the rows' weights start in their binding.
        pub row_weights_start: u32,
        /// Where the scale is in its binding.
        pub scale_start: u32,
        /// Where the gradient starts in its binding.
        pub dy_start: u32,
        /// Where the losses start in their binding.
        pub loss_start: u32,
        /// The class that counts nothing.
        pub ignore_index: f32,
        /// The share of a target that goes to all classes.
        pub label_smoothing: f32,
    }
}

/// Times that the kernel passes a row.
pub const PASSES: usize = 4;

/// What a launch works on, each from the launch's first row on.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Logits.
    pub logits: View,
    /// Classes.
    pub target: View,
    /// The lengths of the rows, all of them.
    pub padding: Padding,
    /// The weights of the classes, where they have any.
    pub weights: Option<View>,
    /// How much each row counts, from the launch's first on, where they differ.
    pub row_weights: Option<View>,
    /// What loss and gradient are multiplied by, `[1]`.
    pub scale: View,
    /// The gradient of the logits.
    pub dy: View,
    /// The loss of each row.
    pub losses: View,
}

/// The loss and its gradient over `rows` rows of a `[T, batch, classes]`, from row `first` on.
pub fn dispatch(
    loss: CrossEntropy,
    (first, rows): (usize, usize),
    (batch, classes): (usize, usize),
    at: &Operands,
) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        first: first as u32,
        batch: batch as u32,
        classes: classes as u32,
        logits_start: at.logits.start(),
        target_start: at.target.start(),
        lengths_start: at.padding.start(),
        weights_start: at.weights.map_or(0, |view| view.start()),
        row_weights_start: at.row_weights.map_or(0, |view| view.start()),
        scale_start: at.scale.start(),
        dy_start: at.dy.start(),
        loss_start: at.losses.start(),
        ignore_index: loss.ignore_index,
        label_smoothing: loss.label_smoothing,
    };
    let (logits, target, scale) = (at.logits.range, at.target.range, at.scale.range);
    let (lengths, weights) = (at.padding.range(target), at.weights.map_or(scale, |v| v.range));
    let row_weights = at.row_weights.map_or(target, |view| view.range);
    let (dy, losses) = (at.dy.range, at.losses.range);
    Dispatch {
        kernel: CROSS_ENTROPY_LOSS,
        variant: 0,
        constants: vec![
            ("LANES", row_lanes(classes) as f64),
            ("LENGTHS", at.padding.flag()),
            ("WEIGHTS", flag(at.weights.is_some())),
            ("ROW_WEIGHTS", flag(at.row_weights.is_some())),
        ],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![logits, target, lengths, weights, row_weights, scale, dy, losses],
        grid: row_grid(rows, classes),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let is = |name| call.dispatch.constant(name) != flag(false);
    let (padded, weighted, rows_weighted) = (is("LENGTHS"), is("WEIGHTS"), is("ROW_WEIGHTS"));
    let (rows, classes) = (p.rows as usize, p.classes as usize);
    let [logits, target, lengths, weights, row_weights, scale, dy, losses] = call.args else {
        unreachable!("eight bindings")
    };
    let lengths = Lengths { lengths: input(lengths, p.lengths_start), t: 0 };
    let settings =
        CrossEntropy { ignore_index: p.ignore_index, label_smoothing: p.label_smoothing };
    reference::cross_entropy_loss(
        settings,
        (p.first as usize, p.batch as usize, classes),
        input(scale, p.scale_start)[0],
        weighted.then(|| &input(weights, p.weights_start)[..classes]),
        padded.then_some(lengths),
        rows_weighted.then(|| &input(row_weights, p.row_weights_start)[..rows]),
        (&input(logits, p.logits_start)[..rows * classes], &input(target, p.target_start)[..rows]),
        (output(dy, p.dy_start), &mut output(losses, p.loss_start)[..rows]),
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "cross_entropy_loss",
        bindings: const {
            &[
                read("logits", "[T, B, C]"),
                read("targets", "[T, B]"),
                read("lengths", "[B]"),
                read("weights", "[C]"),
                read("row_weights", "[T, B]"),
                read("scale", "[1]"),
                write("dy", "[T, B, C]"),
                write("losses", "[T, B]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "rows",
            concat!(
                include_str!("../../shaders/common/finite.wgsl"),
                include_str!("../../shaders/common/indices.wgsl"),
                include_str!("../../shaders/common/lengths.wgsl"),
                include_str!("../../shaders/common/nan.wgsl"),
                include_str!("../../shaders/common/rank.wgsl"),
                include_str!("../../shaders/common/rows.wgsl"),
                include_str!("../../shaders/common/logits.wgsl"),
                include_str!("../../shaders/cross_entropy_loss.wgsl")
            ),
            [64, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: Some(|call| {
            let p: Params = call.params();
            let weighted = call.dispatch.constant("ROW_WEIGHTS") != flag(false);
            let rows = p.rows as usize;
            let weights = weighted.then(|| &input(&call.args[4], p.row_weights_start)[..rows]);
            loss_scale(input(&call.args[5], p.scale_start)[0], weights)
        }),
        // A probability is an exponential over a sum of them; log sum exp and a logit, rounded to
        // their own size, are subtracted.
        tolerance: |_| Tolerance::Mixed { absolute: 4e-6, relative: 4e-6 },
    }
}
