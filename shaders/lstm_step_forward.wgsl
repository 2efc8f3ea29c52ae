// lstm_step_forward: one timestep of an LSTM layer, the recurrent product, the four gates and
// both states fused.
//
//   (i, f, g, o) = P + h_prev . U       P: the input's share and the biases, from matmul
//   i, f, o      = sigmoid;  g = tanh
//   c            = f * c_prev + i * g
//   h            = o * tanh(c)
//
// | binding | name   | shape                                    | access     | may alias |
// |---------|--------|------------------------------------------|------------|-----------|
// | 0       | params | Params                                   | uniform    |           |
// | 1       | u      | [H, H] of (i, f, g, o)                   | read       | nothing   |
// | 2       | gates  | [T, B, H] of (i, f, g, o); P on entry,   | read_write | nothing   |
// |         |        | the activated gates afterwards           |            |           |
// | 3       | h      | [T+1, B, H]; slot t is read, t+1 written | read_write | nothing   |
// | 4       | c      | [T+1, B, H]; slot t is read, t+1 written | read_write | nothing   |
//
// Starts are in elements of the bound range; gates and u count vec4.
// Grid: ceil(H / 16) x ceil(B / 16). Workgroup: 16 units x 4 groups of four rows, 1 KiB.
// Twin: reference::lstm_step_forward.
//
// Version 1: an invocation owns one unit of four rows, so that a weight quad loaded once serves
// four rows and gates are never exchanged; h passes through workgroup memory, K by 16.

struct Params {
    batch: u32,
    hidden: u32,
    u_start: u32,
    gates_start: u32,
    h_prev_start: u32,
    h_start: u32,
    c_prev_start: u32,
    c_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<vec4<f32>>;              // [H, H]
@group(0) @binding(2) var<storage, read_write> gates: array<vec4<f32>>;    // [T, B, H]
@group(0) @binding(3) var<storage, read_write> h: array<f32>;              // [T+1, B, H]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;              // [T+1, B, H]

const UNITS = 16u;
const ROWS = 16u;
const TILE_K = 16u;

var<workgroup> h_tile: array<vec4<f32>, 64>;  // [TILE_K, ROWS / 4], four rows each

fn h_at(row: u32, k: u32) -> f32 {
    if row >= params.batch || k >= params.hidden {
        return 0.0;
    }
    return h[params.h_prev_start + row * params.hidden + k];
}

fn finish(row: u32, unit: u32, sum: vec4<f32>) {
    if row >= params.batch || unit >= params.hidden {
        return;
    }
    let at = row * params.hidden + unit;
    let sums = sum + gates[params.gates_start + at];
    let s = sigmoid(sums);
    let gate = vec4(s.x, s.y, hyperbolic_tangent(sums).z, s.w);
    let cell = gate.y * c[params.c_prev_start + at] + gate.x * gate.z;
    gates[params.gates_start + at] = gate;
    c[params.c_start + at] = cell;
    h[params.h_start + at] = gate.w * hyperbolic_tangent(vec4(cell)).x;
}

@compute @workgroup_size(16, 4)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
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
    for (var k = 0u; k < params.hidden; k += TILE_K) {
        h_tile[tile_k * (ROWS / 4u) + lane / TILE_K] = vec4(
            h_at(tile_row, k + tile_k),
            h_at(tile_row + 1u, k + tile_k),
            h_at(tile_row + 2u, k + tile_k),
            h_at(tile_row + 3u, k + tile_k),
        );
        workgroupBarrier();
        let depth = min(TILE_K, params.hidden - k);
        for (var i = 0u; i < depth; i++) {
            let weight = u[params.u_start + (k + i) * params.hidden + weight_unit];
            let rows = h_tile[i * (ROWS / 4u) + local.y];
            sum_0 += rows.x * weight;
            sum_1 += rows.y * weight;
            sum_2 += rows.z * weight;
            sum_3 += rows.w * weight;
        }
        workgroupBarrier();
    }

    finish(row, unit, sum_0);
    finish(row + 1u, unit, sum_1);
    finish(row + 2u, unit, sum_2);
    finish(row + 3u, unit, sum_3);
}
