//! Host side of `lstm_wavefront_forward`.

use super::{
    LSTM_WAVEFRONT_FORWARD, Padding, SUBGROUP, Tile, flag, groups, in_parts, in_subgroups, input,
    output, read, split, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{self, Lengths, Real, StackWeights, Tolerance, WavefrontForward};

params! {
    /// The block of constants; starts and strides of `weights` and `gates` count quads.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// The first of the layers.
        pub layer: u32,
        /// Its timestep.
        pub t: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// Biases that a layer has, 0 to 2.
        pub biases: u32,
        /// Where the recurrent weights of the first layer start.
        pub u_first: u32,
        /// Where those of the second layer start.
        pub u_above: u32,
        /// Where the input's weights of the second layer start.
        pub w_above: u32,
        /// Where the bias of the second layer starts.
        pub bias_above: u32,
        /// Where its other bias starts.
        pub other_bias_above: u32,
        /// From the parameters of a layer above the first to the next layer's.
        pub weights_layer: u32,
        /// Where the gates start.
        pub gates_start: u32,
        /// From a layer's gates to the next layer's.
        pub gates_layer: u32,
        /// Where the hidden states start.
        pub h_start: u32,
        /// From a layer's hidden states to the next layer's.
        pub h_layer: u32,
        /// Where the cell states start.
        pub c_start: u32,
        /// From a layer's cell states to the next layer's.
        pub c_layer: u32,
    }
}

/// Units of a workgroup of [`Tile::Broadcast`].
const BROADCAST_UNITS: usize = 16;

/// The sizes and strides that all launches of a pass share.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// Where parameters start in what is bound.
    pub weights: StackWeights,
    /// Whether the activated gates are kept; else gates are those of the first layer.
    pub keep: bool,
    /// Where gates start in what is bound.
    pub gates: usize,
    /// Elements from a layer's gates to the next layer's.
    pub gates_layer: usize,
    /// Where hidden states start.
    pub h: usize,
    /// Elements from a layer's hidden states to the next layer's.
    pub h_layer: usize,
    /// Where cell states start.
    pub c: usize,
    /// Elements from a layer's cell states to the next layer's.
    pub c_layer: usize,
}

/// What is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bindings {
    /// The parameters of all layers.
    pub weights: Range,
    /// Gates.
    pub gates: Range,
    /// Hidden states.
    pub h: Range,
    /// Cell states.
    pub c: Range,
}

/// The layers of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// The first of them.
    pub layer: usize,
    /// How many.
    pub layers: usize,
    /// The timestep of the first; each of the others has the one before that of the layer below.
    pub t: usize,
}

/// The most loop iterations of an invocation, whichever the tile, the tests that end loops included.
pub fn iterations(hidden: usize) -> usize {
    // Two products of at most three iterations for two terms; then writing 24 rows.
    3 * hidden + 256
}

/// A timestep of some layers.
pub fn dispatch(shape: &Shape, bound: &Bindings, front: Front, padding: Padding) -> Dispatch {
    let (element, quad) = (|v: usize| v as u32, |v: usize| (v / 4) as u32);
    let bias = |i: usize| quad(shape.weights.biases[i].unwrap_or(0));
    let params = Params {
        batch: element(shape.batch),
        hidden: element(shape.hidden),
        layer: element(front.layer),
        t: element(front.t),
        lengths_start: padding.start(),
        biases: element(shape.weights.biases.iter().flatten().count()),
        u_first: quad(shape.weights.u_first),
        u_above: quad(shape.weights.u_above),
        w_above: quad(shape.weights.w_above),
        bias_above: bias(0),
        other_bias_above: bias(1),
        weights_layer: quad(shape.weights.layer),
        gates_start: quad(shape.gates),
        gates_layer: quad(shape.gates_layer),
        h_start: element(shape.h),
        h_layer: element(shape.h_layer),
        c_start: element(shape.c),
        c_layer: element(shape.c_layer),
    };
    Dispatch {
        kernel: LSTM_WAVEFRONT_FORWARD,
        variant: 0,
        constants: vec![("LENGTHS", padding.flag()), ("KEEP", flag(shape.keep))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![bound.weights, padding.range(bound.weights), bound.gates, bound.h, bound.c],
        grid: [groups(shape.hidden, 16), groups(shape.batch, 16), element(front.layers)],
    }
}

/// The same launch cut in another way.
pub fn with_tile(dispatch: Dispatch, tile: Tile) -> Dispatch {
    let p: Params = bytemuck::pod_read_unaligned(&dispatch.params);
    match tile {
        Tile::Workgroup | Tile::Quads64 | Tile::Quads128 => dispatch,
        Tile::Broadcast => in_parts(dispatch, (p.hidden, BROADCAST_UNITS), p.batch),
        Tile::Split => split(dispatch, p.hidden, p.batch),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let [weights, lengths, gates, h, c] = call.args else { unreachable!("five bindings") };
    let is = |constant| call.dispatch.constant(constant) != 0.0;
    let (element, quad) = (|v: u32| v as usize, |v: u32| 4 * v as usize);
    let lengths = Lengths { lengths: input(lengths, p.lengths_start), t: 0 };
    let wave = WavefrontForward {
        batch: element(p.batch),
        hidden: element(p.hidden),
        layer: element(p.layer),
        layers: element(call.dispatch.grid[2]),
        t: element(p.t),
        weights: StackWeights {
            u_first: quad(p.u_first),
            u_above: quad(p.u_above),
            w_above: quad(p.w_above),
            biases: [
                (p.biases > 0).then(|| quad(p.bias_above)),
                (p.biases > 1).then(|| quad(p.other_bias_above)),
            ],
            layer: quad(p.weights_layer),
        },
        keep: is("KEEP"),
        lengths: is("LENGTHS").then_some(lengths),
        gates_layer: quad(p.gates_layer),
        h_layer: element(p.h_layer),
        c_layer: element(p.c_layer),
    };
    let (gates, h, c) =
        (output(gates, 4 * p.gates_start), output(h, p.h_start), output(c, p.c_start));
    reference::lstm_wavefront_forward(&wave, input(weights, 0), gates, h, c);
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "lstm_wavefront_forward",
        bindings: const {
            &[
                read("weights", "[N / 4] quads"),
                read("lengths", "[B]"),
                write("gates", "[L, T, B, H] of (i, f, g, o)"),
                write("h", "[L, T+1, B, H]"),
                write("c", "[L, T+1, B, H]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![
            variant(
                "tiled",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_forward/wavefront.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_forward/tiled.wgsl")
                ),
                [16, 4, 1],
            ),
            in_subgroups(variant(
                "broadcast",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/common/eight_rows.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_forward/wavefront.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_forward/broadcast.wgsl")
                ),
                [SUBGROUP, 1, 1],
            )),
            variant(
                "split",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_forward/wavefront.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_forward/split.wgsl")
                ),
                [8, 32, 1],
            ),
        ],
        work: Some(|d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            let products = 2 * u64::from(d.grid[2]) - u64::from(p.layer == 0);
            4 * products * u64::from(p.batch) * u64::from(p.hidden) * u64::from(p.hidden)
        }),
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |_| Tolerance::STEP,
    }
}
