// lstm_wavefront_forward: a timestep of several layers of a stack, each one timestep behind the one
// below, so that none waits for another: both products of a layer, the gates and the states fused.
//
//   (i, f, g, o) = P + h_prev . U                  of the first layer; P from matmul
//   (i, f, g, o) = b + x . W + h_prev . U          of those above; x: h of the layer below
//   i, f, o      = sigmoid;  g = tanh
//   c            = f * c_prev + i * g
//   h            = o * tanh(c)
//
// | binding | name    | shape                                 | access     | may alias |
// |---------|---------|---------------------------------------|------------|-----------|
// | 0       | params  | Params                                | uniform    |           |
// | 1       | weights | [N / 4] quads; of each layer          | read       | lengths   |
// |         |         | U, W [H, H] and b [H] of (i, f, g, o) |            |           |
// | 2       | lengths | [B], where LENGTHS                    | read       | weights   |
// | 3       | gates   | [L, T, B, H] of (i, f, g, o); of the  | read_write | nothing   |
// |         |         | first layer P on entry; the activated |            |           |
// |         |         | gates afterwards, where KEEP          |            |           |
// | 4       | h       | [L, T+1, B, H]; slot t is read, and   | read_write | nothing   |
// |         |         | t+1 of the layer below; t+1 written   |            |           |
// | 5       | c       | [L, T+1, B, H]; slot t is read, t+1   | read_write | nothing   |
// |         |         | written                               |            |           |
//
// Workgroups of z have layer `layer` + z at timestep `t` - z. Without KEEP, gates are those of the first
// layer alone, and stay. Starts and strides are in elements; those of gates and weights count vec4.
// A row that has ended is left alone. A binding that isn't used may be any of its kind.
// Twin: reference::lstm_wavefront_forward. This file has what its variants share.

override LENGTHS: bool = false;
override KEEP: bool = true;

struct Params {
    batch: u32,
    hidden: u32,
    layer: u32,
    t: u32,
    lengths_start: u32,
    biases: u32,
    u_first: u32,
    u_above: u32,
    w_above: u32,
    bias_above: u32,
    other_bias_above: u32,
    weights_layer: u32,
    gates_start: u32,
    gates_layer: u32,
    h_start: u32,
    h_layer: u32,
    c_start: u32,
    c_layer: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4<f32>>;        // [N / 4]
@group(0) @binding(2) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(3) var<storage, read_write> gates: array<vec4<f32>>;    // [L, T, B, H]
@group(0) @binding(4) var<storage, read_write> h: array<f32>;              // [L, T+1, B, H]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;              // [L, T+1, B, H]

// What a layer does at a timestep.
struct Step {
    layer: u32,
    t: u32,
    products: u32,   // the recurrent one, and above the first layer that with the input
    h_prev: u32,     // where the states start that a product takes its rows from
    x: u32,
    u: u32,          // and the weights
    w: u32,
}

// The layers from the second on are the same number of elements apart.
fn above(layer: u32) -> u32 {
    return (max(layer, 1u) - 1u) * params.weights_layer;
}

fn step_of(z: u32) -> Step {
    let layer = params.layer + z;
    let t = params.t - z;
    let slot = params.batch * params.hidden;
    let h_prev = params.h_start + layer * params.h_layer + t * slot;
    let weights = above(layer);
    return Step(
        layer,
        t,
        select(2u, 1u, layer == 0u),
        h_prev,
        h_prev + slot - params.h_layer,  // not read by the first layer
        select(params.u_above + weights, params.u_first, layer == 0u),
        params.w_above + weights,
    );
}

fn finish(layer: u32, t: u32, row: u32, unit: u32, sum: vec4<f32>) {
    if row >= params.batch || unit >= params.hidden {
        return;
    }
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], t) {
            return;
        }
    }
    let slot = params.batch * params.hidden;
    let at = t * slot + row * params.hidden + unit;
    let gates_at = params.gates_start + layer * params.gates_layer + at;
    let c_at = params.c_start + layer * params.c_layer + at;
    var sums = sum;
    if layer == 0u {
        sums += gates[gates_at];
    } else {
        let bias_at = above(layer) + unit;
        if params.biases > 0u {
            sums += weights[params.bias_above + bias_at];
        }
        if params.biases > 1u {
            sums += weights[params.other_bias_above + bias_at];
        }
    }
    let s = sigmoid(sums);
    let gate = vec4(s.x, s.y, hyperbolic_tangent(sums).z, s.w);
    let cell = gate.y * c[c_at] + gate.x * gate.z;
    if KEEP {
        gates[gates_at] = gate;
    }
    c[c_at + slot] = cell;
    h[params.h_start + layer * params.h_layer + at + slot] =
        gate.w * hyperbolic_tangent(vec4(cell)).x;
}
