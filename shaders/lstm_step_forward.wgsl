// lstm_step_forward: one timestep of an LSTM layer, in one direction or in both: the recurrent
// product, the four gates and both states fused.
//
//   (i, f, g, o) = P + h_prev . U       P: the input's share and the biases, from matmul
//   i, f, o      = sigmoid;  g = tanh
//   c            = f * c_prev + i * g
//   h            = o * tanh(c)          with a projection it goes to z, and matmul makes h of it
//
// | binding | name    | shape                                    | access     | may alias |
// |---------|---------|------------------------------------------|------------|-----------|
// | 0       | params  | Params                                   | uniform    |           |
// | 1       | u       | [K, H] of (i, f, g, o), a direction each | read       | lengths   |
// | 2       | lengths | [B], where LENGTHS                       | read       | u         |
// | 3       | gates   | [D, T, B, H] of (i, f, g, o); P on       | read_write | nothing   |
// |         |         | entry, the activated gates afterwards    |            |           |
// | 4       | h       | [T+D, B, D, K]; the slot of the step     | read_write | nothing   |
// |         |         | before is read, the step's own written   |            |           |
// | 5       | c       | [D, T+1, B, H], likewise                 | read_write | nothing   |
// | 6       | z       | [D, T, B, H], written where PROJECTION   | read_write | nothing   |
//
// K is P with a projection, else H. Starts are in elements of the bound range; gates and u count
// vec4; those of the second direction are named `_reverse`. A row that has ended is left alone.
// A binding that isn't used may be any of its kind.
// Grid: ceil(H / 16) x ceil(B / 16) x directions. Workgroup: 16 units x 4 groups of four rows,
// 1 KiB. Twin: reference::lstm_step_forward.
//
// Version 1: an invocation owns one unit of four rows, so that a weight quad loaded once serves
// four rows and gates are never exchanged; h passes through workgroup memory, K by 16.
// Version 2: both directions in one dispatch; lengths; a projection.

override LENGTHS: bool = false;
override PROJECTION: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    terms: u32,
    h_row: u32,
    lengths_start: u32,
    t: u32,
    t_reverse: u32,
    u_start: u32,
    u_reverse: u32,
    gates_start: u32,
    gates_reverse: u32,
    h_prev_start: u32,
    h_prev_reverse: u32,
    h_start: u32,
    h_reverse: u32,
    c_prev_start: u32,
    c_prev_reverse: u32,
    c_start: u32,
    c_reverse: u32,
    z_start: u32,
    z_reverse: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<vec4<f32>>;              // [K, H]
@group(0) @binding(2) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(3) var<storage, read_write> gates: array<vec4<f32>>;    // [D, T, B, H]
@group(0) @binding(4) var<storage, read_write> h: array<f32>;              // [T+D, B, D, K]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;              // [D, T+1, B, H]
@group(0) @binding(6) var<storage, read_write> z: array<f32>;              // [D, T, B, H]

const UNITS = 16u;
const ROWS = 16u;
const TILE_K = 16u;

var<workgroup> h_tile: array<vec4<f32>, 64>;  // [TILE_K, ROWS / 4], four rows each

fn h_at(start: u32, row: u32, k: u32) -> f32 {
    if row >= params.batch || k >= params.terms {
        return 0.0;
    }
    return h[start + row * params.h_row + k];
}

fn finish(reverse: bool, row: u32, unit: u32, sum: vec4<f32>) {
    if row >= params.batch || unit >= params.hidden {
        return;
    }
    if LENGTHS {
        let t = select(params.t, params.t_reverse, reverse);
        if has_ended(lengths[params.lengths_start + row], t) {
            return;
        }
    }
    let at = row * params.hidden + unit;
    let gates_at = select(params.gates_start, params.gates_reverse, reverse) + at;
    let c_prev_at = select(params.c_prev_start, params.c_prev_reverse, reverse) + at;
    let sums = sum + gates[gates_at];
    let s = sigmoid(sums);
    let gate = vec4(s.x, s.y, hyperbolic_tangent(sums).z, s.w);
    let cell = gate.y * c[c_prev_at] + gate.x * gate.z;
    let result = gate.w * hyperbolic_tangent(vec4(cell)).x;
    gates[gates_at] = gate;
    c[select(params.c_start, params.c_reverse, reverse) + at] = cell;
    if PROJECTION {
        z[select(params.z_start, params.z_reverse, reverse) + at] = result;
    } else {
        h[select(params.h_start, params.h_reverse, reverse) + row * params.h_row + unit] = result;
    }
}

@compute @workgroup_size(16, 4)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let reverse = group.z == 1u;
    let u_start = select(params.u_start, params.u_reverse, reverse);
    let h_start = select(params.h_prev_start, params.h_prev_reverse, reverse);
    let unit = group.x * UNITS + local.x;
    let row = group.y * ROWS + 4u * local.y;
    // Units beyond H read the last one's weights, so that no lane leaves before a barrier.
    let weight_unit = min(unit, params.hidden - 1u);
    let tile_k = lane % TILE_K;
    let tile_row = group.y * ROWS + 4u * (lane / TILE_K);

    var sum_0 = vec4(0.0);
    var sum_1 = vec4(0.0);
    var sum_2 = vec4(0.0);
    var sum_3 = vec4(0.0);
    for (var k = 0u; k < params.terms; k += TILE_K) {
        h_tile[tile_k * (ROWS / 4u) + lane / TILE_K] = vec4(
            h_at(h_start, tile_row, k + tile_k),
            h_at(h_start, tile_row + 1u, k + tile_k),
            h_at(h_start, tile_row + 2u, k + tile_k),
            h_at(h_start, tile_row + 3u, k + tile_k),
        );
        workgroupBarrier();
        let depth = min(TILE_K, params.terms - k);
        for (var i = 0u; i < depth; i++) {
            let weight = u[u_start + (k + i) * params.hidden + weight_unit];
            let rows = h_tile[i * (ROWS / 4u) + local.y];
            sum_0 += rows.x * weight;
            sum_1 += rows.y * weight;
            sum_2 += rows.z * weight;
            sum_3 += rows.w * weight;
        }
        workgroupBarrier();
    }

    finish(reverse, row, unit, sum_0);
    finish(reverse, row + 1u, unit, sum_1);
    finish(reverse, row + 2u, unit, sum_2);
    finish(reverse, row + 3u, unit, sum_3);
}
