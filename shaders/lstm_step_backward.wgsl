// lstm_step_backward: the mirror of lstm_step_forward, one dispatch a timestep: the recurrent
// product with the gate gradients of step t+1, then the pointwise part of step t.
//
//   dh  = dy + dh_n + dG[t+1] . U^T
//   dc += dh * o * (1 - tanh(c)^2)
//   dG  = (dc * g * i(1-i), dc * c_prev * f(1-f), dc * i * (1-g^2), dh * tanh(c) * o(1-o))
//   dc  = dc * f                                     what step t-1 gets
//
// | binding | name   | shape                                     | access     | may alias   |
// |---------|--------|-------------------------------------------|------------|-------------|
// | 0       | params | Params                                    | uniform    |             |
// | 1       | u      | [H, H] of (i, f, g, o)                    | read       | dy, dh_n    |
// | 2       | c      | [T+1, B, H]; slots t and t+1 are read     | read       | dy, dh_n    |
// | 3       | dy     | [T, B, H]                                 | read       | u, c, dh_n  |
// | 4       | dh_n   | [B, H]                                    | read       | u, c, dy    |
// | 5       | gates  | [T, B, H] of (i, f, g, o); step t+1 holds | read_write | nothing     |
// |         |        | dG, step t the gates, then its dG         |            |             |
// | 6       | dc     | [B, H], in place                          | read_write | nothing     |
//
// At the last step the product has no terms (`terms` = 0, otherwise H): no branch on t.
// dy and dh_n count where their flag is 1; a range that isn't used may be any readable one.
// Grid: ceil(H / 16) x ceil(B / 16). Workgroup: 16 units x 4 groups of four rows, 8 KiB.
// Twin: reference::lstm_step_backward.
//
// Version 1: an invocation owns one unit of four rows; dG and a block of U pass through
// workgroup memory, both read along k, the direction in which they are stored.

struct Params {
    batch: u32,
    hidden: u32,
    terms: u32,
    has_dy: u32,
    has_dh_n: u32,
    u_start: u32,
    gates_start: u32,
    next_gates_start: u32,
    c_prev_start: u32,
    c_start: u32,
    dy_start: u32,
    dh_n_start: u32,
    dc_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<vec4<f32>>;              // [H, H]
@group(0) @binding(2) var<storage, read> c: array<f32>;                    // [T+1, B, H]
@group(0) @binding(3) var<storage, read> dy: array<f32>;                   // [T, B, H]
@group(0) @binding(4) var<storage, read> dh_n: array<f32>;                 // [B, H]
@group(0) @binding(5) var<storage, read_write> gates: array<vec4<f32>>;    // [T, B, H]
@group(0) @binding(6) var<storage, read_write> dc: array<f32>;             // [B, H]

const UNITS = 16u;
const ROWS = 16u;
const TILE_K = 16u;
// A row of a tile is one quad longer than it has to be, so that a column of it lies in many
// memory banks.
const STRIDE = TILE_K + 1u;

var<workgroup> u_tile: array<vec4<f32>, 272>;   // [UNITS, STRIDE]
var<workgroup> dg_tile: array<vec4<f32>, 272>;  // [ROWS, STRIDE]

fn finish(row: u32, unit: u32, product: f32) {
    if row >= params.batch || unit >= params.hidden {
        return;
    }
    let at = row * params.hidden + unit;
    var dh = product;
    if params.has_dy == 1u {
        dh += dy[params.dy_start + at];
    }
    if params.has_dh_n == 1u {
        dh += dh_n[params.dh_n_start + at];
    }
    let gate = gates[params.gates_start + at];
    let tanh_c = hyperbolic_tangent(vec4(c[params.c_start + at])).x;
    let d_cell = dc[params.dc_start + at] + dh * gate.w * (1.0 - tanh_c * tanh_c);
    gates[params.gates_start + at] = vec4(
        d_cell * gate.z * gate.x * (1.0 - gate.x),
        d_cell * c[params.c_prev_start + at] * gate.y * (1.0 - gate.y),
        d_cell * gate.x * (1.0 - gate.z * gate.z),
        dh * tanh_c * gate.w * (1.0 - gate.w),
    );
    dc[params.dc_start + at] = d_cell * gate.y;
}

@compute @workgroup_size(16, 4)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = group.x * UNITS + local.x;
    let row = group.y * ROWS + 4u * local.y;
    let tile_k = lane % TILE_K;
    let tile_row = lane / TILE_K;

    var sums = vec4(0.0);  // of the four rows
    for (var k = 0u; k < params.terms; k += TILE_K) {
        // Reads beyond an edge repeat its last element: a result that uses it isn't written.
        let column = min(k + tile_k, params.hidden - 1u);
        for (var i = tile_row; i < ROWS; i += 4u) {
            let from_unit = min(group.x * UNITS + i, params.hidden - 1u);
            let from_row = min(group.y * ROWS + i, params.batch - 1u);
            u_tile[i * STRIDE + tile_k] = u[params.u_start + from_unit * params.hidden + column];
            dg_tile[i * STRIDE + tile_k] =
                gates[params.next_gates_start + from_row * params.hidden + column];
        }
        workgroupBarrier();
        let depth = min(TILE_K, params.terms - k);
        for (var i = 0u; i < depth; i++) {
            let weight = u_tile[local.x * STRIDE + i];
            let first = 4u * local.y * STRIDE + i;
            sums += vec4(
                dot(dg_tile[first], weight),
                dot(dg_tile[first + STRIDE], weight),
                dot(dg_tile[first + 2u * STRIDE], weight),
                dot(dg_tile[first + 3u * STRIDE], weight),
            );
        }
        workgroupBarrier();
    }

    finish(row, unit, sums.x);
    finish(row + 1u, unit, sums.y);
    finish(row + 2u, unit, sums.z);
    finish(row + 3u, unit, sums.w);
}
