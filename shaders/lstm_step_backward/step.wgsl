// lstm_step_backward: the mirror of lstm_step_forward, one dispatch a timestep, in one direction
// or in both: the product with what comes back from the step that ran after this one, then the
// pointwise part.
//
//   dh  = dy + incoming . w^T
//   dc += dh * o * (1 - tanh(c)^2)
//   dG  = (dc * g * i(1-i), dc * c_prev * f(1-f), dc * i * (1-g^2), dh * tanh(c) * o(1-o))
//   dc  = dc * f                                     what the step before gets
//
// Without a projection, `incoming` is dG of the step that ran after, and w the recurrent weights.
// With one, it is dh, the gradient of the projection's result, with dy in it, and w the
// projection's weights.
//
// | binding | name    | shape                                     | access     | may alias   |
// |---------|---------|-------------------------------------------|------------|-------------|
// | 0       | params  | Params                                    | uniform    |             |
// | 1       | w       | [H, K] quads, a direction each            | read       | other reads |
// | 2       | c       | [D, T+1, B, H]; the slots before and      | read       | other reads |
// |         |         | after the step                            |            |             |
// | 3       | dy      | [T, B, D, H], where `has_dy`              | read       | other reads |
// | 4       | dh      | [D, T, B, K] quads, where PROJECTION      | read       | other reads |
// | 5       | lengths | [B], where LENGTHS                        | read       | other reads |
// | 6       | gates   | [D, T, B, H] of (i, f, g, o); the step    | read_write | nothing     |
// |         |         | after holds dG, this one the gates, then  |            |             |
// |         |         | its dG                                    |            |             |
// | 7       | dc      | [D, B, H], in place                       | read_write | nothing     |
//
// K is H without a projection, else P / 4, rounded up. Where nothing ran after the step, the
// product has no terms (`terms` = 0, otherwise K): no branch on t. Starts are in elements; gates,
// w and dh count vec4; those of the second direction are named `_reverse`. A row that has ended
// has no gradient, and its dc stays. A range that isn't used may be any readable one.
// Twin: reference::lstm_step_backward. This file has what its variants share.

override LENGTHS: bool = false;
override PROJECTION: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    terms: u32,
    w_row: u32,
    has_dy: u32,
    dy_row: u32,
    lengths_start: u32,
    t: u32,
    t_reverse: u32,
    w_start: u32,
    w_reverse: u32,
    gates_start: u32,
    gates_reverse: u32,
    incoming_start: u32,
    incoming_reverse: u32,
    c_prev_start: u32,
    c_prev_reverse: u32,
    c_start: u32,
    c_reverse: u32,
    dy_start: u32,
    dy_reverse: u32,
    dc_start: u32,
    dc_reverse: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;              // [H, K]
@group(0) @binding(2) var<storage, read> c: array<f32>;                    // [D, T+1, B, H]
@group(0) @binding(3) var<storage, read> dy: array<f32>;                   // [T, B, D, H]
@group(0) @binding(4) var<storage, read> dh: array<vec4<f32>>;             // [D, T, B, K]
@group(0) @binding(5) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(6) var<storage, read_write> gates: array<vec4<f32>>;    // [D, T, B, H]
@group(0) @binding(7) var<storage, read_write> dc: array<f32>;             // [D, B, H]

fn finish(reverse: bool, row: u32, unit: u32, product: f32) {
    if row >= params.batch || unit >= params.hidden {
        return;
    }
    let at = row * params.hidden + unit;
    let gates_at = select(params.gates_start, params.gates_reverse, reverse) + at;
    if LENGTHS {
        let t = select(params.t, params.t_reverse, reverse);
        if has_ended(lengths[params.lengths_start + row], t) {
            gates[gates_at] = vec4(0.0);
            return;
        }
    }
    var dh_sum = product;
    if params.has_dy == 1u {
        dh_sum += dy[select(params.dy_start, params.dy_reverse, reverse) + row * params.dy_row + unit];
    }
    let gate = gates[gates_at];
    let c_prev = c[select(params.c_prev_start, params.c_prev_reverse, reverse) + at];
    let dc_at = select(params.dc_start, params.dc_reverse, reverse) + at;
    let c_after = c[select(params.c_start, params.c_reverse, reverse) + at];
    let tanh_c = hyperbolic_tangent(vec4(c_after)).x;
    let d_cell = dc[dc_at] + dh_sum * gate.w * (1.0 - tanh_c * tanh_c);
    gates[gates_at] = vec4(
        d_cell * gate.z * gate.x * (1.0 - gate.x),
        d_cell * c_prev * gate.y * (1.0 - gate.y),
        d_cell * gate.x * (1.0 - gate.z * gate.z),
        dh_sum * tanh_c * gate.w * (1.0 - gate.w),
    );
    dc[dc_at] = d_cell * gate.y;
}
