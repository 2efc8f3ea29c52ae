//! Host side of `lstm_wavefront_backward`.

use super::lstm_wavefront_forward::Front;
use super::{
    LSTM_WAVEFRONT_BACKWARD, Padding, SUBGROUP, Tile, groups, in_parts, in_subgroups, input,
    output, read, split, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{self, Lengths, Real, StackWeights, Tolerance, WavefrontBackward};

params! {
    /// The block of constants; starts and strides of `weights` and `gates` count quads.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Timesteps `T`.
        pub steps: u32,
        /// Layers `L` of the stack.
        pub layers: u32,
        /// The first of those of the launch.
        pub layer: u32,
        /// Its timestep.
        pub t: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// Where the recurrent weights of the first layer start.
        pub u_first: u32,
        /// Where those of the second layer start.
        pub u_above: u32,
        /// Where the input's weights of the second layer start.
        pub w_above: u32,
        /// From the parameters of a layer above the first to the next layer's.
        pub weights_layer: u32,
        /// Where the gates start.
        pub gates_start: u32,
        /// From a layer's gates to the next layer's.
        pub gates_layer: u32,
        /// Where the cell states start.
        pub c_start: u32,
        /// From a layer's cell states to the next layer's.
        pub c_layer: u32,
        /// Where the gradient of the top layer's outputs starts.
        pub dy_start: u32,
        /// Where the cell states' gradients start.
        pub dc_start: u32,
    }
}

/// Units of a workgroup of [`Tile::Broadcast`].
const BROADCAST_UNITS: usize = 64;

/// The sizes and strides that all launches of a pass share.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// Timesteps `T`.
    pub steps: usize,
    /// Layers `L` of the stack.
    pub layers: usize,
    /// Where parameters start in what is bound; biases don't count.
    pub weights: StackWeights,
    /// Where gates start in what is bound.
    pub gates: usize,
    /// Elements from a layer's gates to the next layer's.
    pub gates_layer: usize,
    /// Where cell states start.
    pub c: usize,
    /// Elements from a layer's cell states to the next layer's.
    pub c_layer: usize,
    /// Where the gradient of the top layer's outputs starts.
    pub dy: usize,
    /// Where the cell states' gradients start.
    pub dc: usize,
}

/// What is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bindings {
    /// The parameters of all layers.
    pub weights: Range,
    /// Cell states.
    pub c: Range,
    /// The gradient of the top layer's outputs.
    pub dy: Range,
    /// Gates and their gradients.
    pub gates: Range,
    /// The cell states' gradients.
    pub dc: Range,
}

/// A step back of some layers.
pub fn dispatch(shape: &Shape, bound: &Bindings, front: Front, padding: Padding) -> Dispatch {
    let (element, quad) = (|v: usize| v as u32, |v: usize| (v / 4) as u32);
    let params = Params {
        batch: element(shape.batch),
        hidden: element(shape.hidden),
        steps: element(shape.steps),
        layers: element(shape.layers),
        layer: element(front.layer),
        t: element(front.t),
        lengths_start: padding.start(),
        u_first: quad(shape.weights.u_first),
        u_above: quad(shape.weights.u_above),
        w_above: quad(shape.weights.w_above),
        weights_layer: quad(shape.weights.layer),
        gates_start: quad(shape.gates),
        gates_layer: quad(shape.gates_layer),
        c_start: element(shape.c),
        c_layer: element(shape.c_layer),
        dy_start: element(shape.dy),
        dc_start: element(shape.dc),
    };
    Dispatch {
        kernel: LSTM_WAVEFRONT_BACKWARD,
        variant: 0,
        constants: vec![("LENGTHS", padding.flag())],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![
            bound.weights,
            bound.c,
            bound.dy,
            padding.range(bound.weights),
            bound.gates,
            bound.dc,
        ],
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

/// Calls `with` with the operands as the twin takes them: the launch, parameters, gates, cell states and
/// their gradients.
fn operands<R: Real, T>(
    call: Call<'_, '_, R>,
    with: impl FnOnce(&WavefrontBackward<'_, R>, &[R], &mut [R], &[R], &mut [R]) -> T,
) -> T {
    let p: Params = call.params();
    let [weights, c, dy, lengths, gates, dc] = call.args else { unreachable!("six bindings") };
    let (element, quad) = (|v: u32| v as usize, |v: u32| 4 * v as usize);
    let padded = call.dispatch.constant("LENGTHS") != 0.0;
    let lengths = Lengths { lengths: input(lengths, p.lengths_start), t: 0 };
    let wave = WavefrontBackward {
        batch: element(p.batch),
        hidden: element(p.hidden),
        steps: element(p.steps),
        stack: element(p.layers),
        layer: element(p.layer),
        layers: element(call.dispatch.grid[2]),
        t: element(p.t),
        weights: StackWeights {
            u_first: quad(p.u_first),
            u_above: quad(p.u_above),
            w_above: quad(p.w_above),
            biases: [None; 2],
            layer: quad(p.weights_layer),
        },
        dy: input(dy, p.dy_start),
        lengths: padded.then_some(lengths),
        gates_layer: quad(p.gates_layer),
        c_layer: element(p.c_layer),
    };
    let (gates, dc) = (output(gates, 4 * p.gates_start), output(dc, p.dc_start));
    with(&wave, input(weights, 0), gates, input(c, p.c_start), dc)
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    operands(call, reference::lstm_wavefront_backward);
}

/// The largest sum of absolute values of what makes up `dh` and `dc`: what the results scale with.
fn incoming(call: Call<'_, '_, f64>) -> f64 {
    operands(call, |wave, params, gates, _, dc| {
        let (hidden, slot) = (wave.hidden, wave.batch * wave.hidden);
        let absolute = |values: &[f64]| values.iter().map(|v| v.abs()).collect::<Vec<f64>>();
        let (params, gates, dy) = (absolute(params), absolute(gates), absolute(wave.dy));
        let wave = WavefrontBackward { dy: &dy, ..*wave };
        let mut largest = 0.0f64;
        for n in 0..wave.layers {
            let (layer, t) = (wave.layer + n, wave.t - n);
            let outer = wave.outer((layer, t), &params, &gates);
            let after = &gates[layer * wave.gates_layer + 4 * t * slot..];
            for at in 0..slot {
                let (b, unit) = (at / hidden, at % hidden);
                if wave.lengths.is_some_and(|lengths| lengths.at(t).ended(b)) {
                    continue;
                }
                let mut sum = dc[layer * slot + at].abs() + outer[at];
                if t + 1 < wave.steps {
                    let incoming = &after[4 * (slot + b * hidden)..][..4 * hidden];
                    let weights = &params[wave.weights.u(layer) + 4 * unit * hidden..];
                    sum += incoming.iter().zip(weights).map(|(d, w)| d * w).sum::<f64>();
                }
                largest = largest.max(sum);
            }
        }
        largest
    })
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "lstm_wavefront_backward",
        bindings: const {
            &[
                read("weights", "[N / 4] quads"),
                read("c", "[L, T+1, B, H]"),
                read("dy", "[T, B, H]"),
                read("lengths", "[B]"),
                write("gates", "[L, T, B, H] of (i, f, g, o)"),
                write("dc", "[L, B, H]"),
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
                    include_str!("../../shaders/lstm_wavefront_backward/wavefront.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_backward/tiled.wgsl")
                ),
                [16, 4, 1],
            ),
            in_subgroups(variant(
                "broadcast",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/common/eight_rows.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_backward/wavefront.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_backward/broadcast.wgsl")
                ),
                [SUBGROUP, 1, 1],
            )),
            variant(
                "split",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_backward/wavefront.wgsl"),
                    include_str!("../../shaders/lstm_wavefront_backward/split.wgsl")
                ),
                [32, 8, 1],
            ),
        ],
        work: Some(|d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            let layers = d.grid[2];
            // The first launch's layer has nothing after it, the top one nothing above.
            let products =
                |n: u32| u64::from(p.t - n + 1 < p.steps) + u64::from(p.layer + n + 1 < p.layers);
            let products: u64 = (0..layers).map(products).sum();
            4 * products * u64::from(p.batch) * u64::from(p.hidden) * u64::from(p.hidden)
        }),
        twin,
        twin_f64: twin,
        fast: None,
        tolerance: |_| Tolerance::STEP_GRADIENT,
        scale: Some(incoming),
    }
}
