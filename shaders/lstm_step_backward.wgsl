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
// Grid: ceil(H / 16) x ceil(B / 16) x directions. Workgroup: 16 units x 4 groups of four rows,
// 8.5 KiB. Twin: reference::lstm_step_backward.
//
// Version 1: an invocation owns one unit of four rows; dG and a block of w pass through
// workgroup memory, both read along k, the direction in which they are stored.
// Version 2: both directions in one dispatch; lengths; a projection.

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

const UNITS = 16u;
const ROWS = 16u;
const TILE_K = 16u;
// A row of a tile is one quad longer than it has to be, so that a column of it lies in many
// memory banks.
const STRIDE = TILE_K + 1u;

var<workgroup> w_tile: array<vec4<f32>, 272>;         // [UNITS, STRIDE]
var<workgroup> incoming_tile: array<vec4<f32>, 272>;  // [ROWS, STRIDE]

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

@compute @workgroup_size(16, 4)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let reverse = group.z == 1u;
    let w_start = select(params.w_start, params.w_reverse, reverse);
    let incoming_start = select(params.incoming_start, params.incoming_reverse, reverse);
    let unit = group.x * UNITS + local.x;
    let row = group.y * ROWS + 4u * local.y;
    let tile_k = lane % TILE_K;
    let tile_row = lane / TILE_K;

    var sums = vec4(0.0);  // of the four rows
    for (var k = 0u; k < params.terms; k += TILE_K) {
        // Reads beyond an edge repeat its last element: a result that uses it isn't written.
        let column = min(k + tile_k, params.w_row - 1u);
        for (var i = tile_row; i < ROWS; i += 4u) {
            let from_unit = min(group.x * UNITS + i, params.hidden - 1u);
            let from_row = min(group.y * ROWS + i, params.batch - 1u);
            let place = incoming_start + from_row * params.w_row + column;
            w_tile[i * STRIDE + tile_k] = w[w_start + from_unit * params.w_row + column];
            if PROJECTION {
                incoming_tile[i * STRIDE + tile_k] = dh[place];
            } else {
                incoming_tile[i * STRIDE + tile_k] = gates[place];
            }
        }
        workgroupBarrier();
        let depth = min(TILE_K, params.terms - k);
        for (var i = 0u; i < depth; i++) {
            let weight = w_tile[local.x * STRIDE + i];
            let first = 4u * local.y * STRIDE + i;
            sums += vec4(
                dot(incoming_tile[first], weight),
                dot(incoming_tile[first + STRIDE], weight),
                dot(incoming_tile[first + 2u * STRIDE], weight),
                dot(incoming_tile[first + 3u * STRIDE], weight),
            );
        }
        workgroupBarrier();
    }

    finish(reverse, row, unit, sums.x);
    finish(reverse, row + 1u, unit, sums.y);
    finish(reverse, row + 2u, unit, sums.z);
    finish(reverse, row + 3u, unit, sums.w);
}
