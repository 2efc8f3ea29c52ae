//! Host side of `pointwise_loss`.

use super::{
    POINTWISE_LOSS, Padding, View, flag, groups, input, loss_scale, output, read, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Lengths, Pointwise, Real, Tolerance};

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
        /// Where the predictions start in their binding.
        pub y_start: u32,
        /// Where the targets start in their binding.
        pub target_start: u32,
        /// Where the lengths start in their binding.
        pub lengths_start: u32,
        /// Where the weights start in their binding.
        pub weights_start: u32,
        /// Where the scale is in its binding.
        pub scale_start: u32,
        /// Where the gradient starts in its binding.
        pub dy_start: u32,
        /// Where the partial sums start in their binding.
        pub partial_start: u32,
        /// Where the loss becomes straight.
        pub threshold: f32,
    }
}

/// Elements whose losses one workgroup sums.
pub const CHUNK: usize = 1024;

/// What a launch works on, each from the launch's first element on.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Predictions.
    pub y: View,
    /// Targets.
    pub target: View,
    /// The lengths of the rows, all of them.
    pub padding: Padding,
    /// How much each row of `[T, B]` counts, from that of the launch's first element on, where they differ.
    pub weights: Option<View>,
    /// What loss and gradient are multiplied by, `[1]`.
    pub scale: View,
    /// The gradient of the predictions.
    pub dy: View,
    /// `ceil(len / CHUNK)` partial sums of the loss.
    pub partials: View,
}

/// The loss and its gradient over `len` elements of a `[T, batch, width]`, from `first` on.
pub fn dispatch(
    loss: Pointwise,
    (first, len): (usize, usize),
    (batch, width): (usize, usize),
    at: &Operands,
) -> Dispatch {
    let (kind, threshold) = loss.code();
    let params = Params {
        len: len as u32,
        first: first as u32,
        batch: batch as u32,
        width: width as u32,
        y_start: at.y.start(),
        target_start: at.target.start(),
        lengths_start: at.padding.start(),
        weights_start: at.weights.map_or(0, |view| view.start()),
        scale_start: at.scale.start(),
        dy_start: at.dy.start(),
        partial_start: at.partials.start(),
        threshold,
    };
    let (y, target, scale) = (at.y.range, at.target.range, at.scale.range);
    let (lengths, weights) = (at.padding.range(target), at.weights.map_or(target, |v| v.range));
    Dispatch {
        kernel: POINTWISE_LOSS,
        variant: 0,
        constants: vec![
            ("KIND", kind.into()),
            ("LENGTHS", at.padding.flag()),
            ("WEIGHTS", flag(at.weights.is_some())),
        ],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![y, target, lengths, weights, scale, at.dy.range, at.partials.range],
        grid: [groups(len, CHUNK), 1, 1],
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let (len, constant) = (p.len as usize, |name| call.dispatch.constant(name));
    let (kind, is) = (constant("KIND") as u8, |name| constant(name) != flag(false));
    let (padded, weighted) = (is("LENGTHS"), is("WEIGHTS"));
    let [y, target, lengths, weights, scale, dy, partials] = call.args else {
        unreachable!("seven bindings")
    };
    let lengths = Lengths { lengths: input(lengths, p.lengths_start), t: 0 };
    reference::pointwise_loss(
        Pointwise::of_code(kind, p.threshold),
        (p.first as usize, p.batch as usize, p.width as usize, CHUNK),
        input(scale, p.scale_start)[0],
        padded.then_some(lengths),
        weighted.then(|| input(weights, p.weights_start)),
        (&input(y, p.y_start)[..len], &input(target, p.target_start)[..len]),
        (
            &mut output(dy, p.dy_start)[..len],
            &mut output(partials, p.partial_start)[..len.div_ceil(CHUNK)],
        ),
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "pointwise_loss",
        bindings: const {
            &[
                read("y", "[T, B, O]"),
                read("targets", "[T, B, O]"),
                read("lengths", "[B]"),
                read("weights", "[T, B]"),
                read("scale", "[1]"),
                write("dy", "[T, B, O]"),
                write("partials", "[ceil(N / 1024)]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "tree",
            concat!(
                include_str!("../../shaders/common/activations.wgsl"),
                include_str!("../../shaders/common/workgroup_sum.wgsl"),
                include_str!("../../shaders/common/lengths.wgsl"),
                include_str!("../../shaders/common/pointwise.wgsl"),
                include_str!("../../shaders/pointwise_loss.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        // What results scale with.
        scale: Some(|call| {
            let p: Params = call.params();
            let weighted = call.dispatch.constant("WEIGHTS") != flag(false);
            let rows = (p.first % p.width + p.len).div_ceil(p.width) as usize;
            let weights = weighted.then(|| &input(&call.args[3], p.weights_start)[..rows]);
            loss_scale(input(&call.args[4], p.scale_start)[0], weights)
        }),
        // Sums of losses, each of a few roundings. A probability less its target has the absolute
        // error of the probability.
        tolerance: |d| match d.constant("KIND") as u8 {
            4 => Tolerance::Mixed { absolute: 1e-6, relative: 2e-6 },
            _ => Tolerance::Mixed { absolute: 1e-9, relative: 2e-6 },
        },
    }
}
