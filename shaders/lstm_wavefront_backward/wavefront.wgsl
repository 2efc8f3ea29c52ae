// lstm_wavefront_backward: the mirror of lstm_wavefront_forward: a timestep of several layers of a
// stack, each one timestep ahead of the one above, with the products that bring gradients from the
// step that ran after and from the layer above.
//
//   dh  = dy + dG of the step that ran after . U^T + dG of the layer above . W^T
//   dc += dh * o * (1 - tanh(c)^2)
//   dG  = (dc * g * i(1-i), dc * c_prev * f(1-f), dc * i * (1-g^2), dh * tanh(c) * o(1-o))
//   dc  = dc * f                                     what the step before gets
//
// | binding | name    | shape                                  | access     | may alias   |
// |---------|---------|----------------------------------------|------------|-------------|
// | 0       | params  | Params                                 | uniform    |             |
// | 1       | weights | [N / 4] quads; of each layer U and W   | read       | other reads |
// |         |         | [H, H] of (i, f, g, o)                 |            |             |
// | 2       | c       | [L, T+1, B, H]; slots t and t+1        | read       | other reads |
// | 3       | dy      | [T, B, H], of the top layer            | read       | other reads |
// | 4       | lengths | [B], where LENGTHS                     | read       | other reads |
// | 5       | gates   | [L, T, B, H] of (i, f, g, o); at t+1   | read_write | nothing     |
// |         |         | and in the layer above dG; at t the    |            |             |
// |         |         | gates, then their dG                   |            |             |
// | 6       | dc      | [L, B, H], in place                    | read_write | nothing     |
//
// Workgroups of z have layer `layer` + z at timestep `t` - z. U is the layer's own, W that of the layer
// above; nothing ran after the last timestep, and nothing is above the top layer. Starts and strides
// are in elements; those of gates and weights count vec4. A row that has ended has no gradient, and its
// dc stays. A range that isn't used may be any readable one.
// Twin: reference::lstm_wavefront_backward. This file has what its variants share.

override LENGTHS: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    steps: u32,
    layers: u32,
    layer: u32,
    t: u32,
    lengths_start: u32,
    u_first: u32,
    u_above: u32,
    w_above: u32,
    weights_layer: u32,
    gates_start: u32,
    gates_layer: u32,
    c_start: u32,
    c_layer: u32,
    dy_start: u32,
    dc_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4<f32>>;        // [N / 4]
@group(0) @binding(2) var<storage, read> c: array<f32>;                    // [L, T+1, B, H]
@group(0) @binding(3) var<storage, read> dy: array<f32>;                   // [T, B, H]
@group(0) @binding(4) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(5) var<storage, read_write> gates: array<vec4<f32>>;    // [L, T, B, H]
@group(0) @binding(6) var<storage, read_write> dc: array<f32>;             // [L, B, H]

// What a layer does at a timestep.
struct Step {
    layer: u32,
    t: u32,
    first: u32,   // of two products: the recurrent one,
    end: u32,     // and that with the layer above
    after: u32,   // where the gradients start that a product takes its rows from
    higher: u32,
    u: u32,       // and the weights
    w: u32,
}

fn step_of(z: u32) -> Step {
    let layer = params.layer + z;
    let t = params.t - z;
    let slot = params.batch * params.hidden;
    let own = params.gates_start + layer * params.gates_layer + t * slot;
    // The layers from the second on are the same number of elements apart.
    let u = params.u_above + (max(layer, 1u) - 1u) * params.weights_layer;
    return Step(
        layer,
        t,
        select(1u, 0u, t + 1u < params.steps),
        select(1u, 2u, layer + 1u < params.layers),
        own + slot,
        own + params.gates_layer,
        select(u, params.u_first, layer == 0u),
        params.w_above + layer * params.weights_layer,
    );
}

fn finish(layer: u32, t: u32, row: u32, unit: u32, product: f32) {
    if row >= params.batch || unit >= params.hidden {
        return;
    }
    let slot = params.batch * params.hidden;
    let in_slot = row * params.hidden + unit;
    let at = t * slot + in_slot;
    let gates_at = params.gates_start + layer * params.gates_layer + at;
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], t) {
            gates[gates_at] = vec4(0.0);
            return;
        }
    }
    var dh = product;
    if layer + 1u == params.layers {
        dh += dy[params.dy_start + at];
    }
    let gate = gates[gates_at];
    let c_at = params.c_start + layer * params.c_layer + at;
    let c_prev = c[c_at];
    let dc_at = params.dc_start + layer * slot + in_slot;
    let tanh_c = hyperbolic_tangent(vec4(c[c_at + slot])).x;
    let d_cell = dc[dc_at] + dh * gate.w * (1.0 - tanh_c * tanh_c);
    gates[gates_at] = vec4(
        d_cell * gate.z * gate.x * (1.0 - gate.x),
        d_cell * c_prev * gate.y * (1.0 - gate.y),
        d_cell * gate.x * (1.0 - gate.z * gate.z),
        dh * tanh_c * gate.w * (1.0 - gate.w),
    );
    dc[dc_at] = d_cell * gate.y;
}
