// lstm_step_forward through workgroup memory: runs everywhere. After step.wgsl.
//
// Grid: ceil(H / 16) x ceil(B / 16) x count. Workgroup: 16 units x 4 groups of four rows,
// 1 KiB.
//
// Version 1: an invocation owns one unit of four rows, so that a weight quad loaded once serves
// four rows and gates are never exchanged; h passes through workgroup memory, K by 16.
// Version 2: several in one dispatch; lengths; a projection; the input.

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

// Adds a product to four rows of a unit: rows that start at `rows`, weights at `weights`.
fn add_product(
    rows: u32,
    weights: u32,
    group: vec3<u32>,
    lane: u32,
    sum: ptr<function, array<vec4<f32>, 4>>,
) {
    // Units beyond H read the last one's weights, so that no lane leaves before a barrier.
    let column = weights + min(group.x * UNITS + lane % UNITS, params.hidden - 1u);
    let quad = lane / UNITS;
    let tile_k = lane % TILE_K;
    let tile_row = group.y * ROWS + 4u * quad;
    for (var k = 0u; k < params.terms; k += TILE_K) {
        h_tile[tile_k * (ROWS / 4u) + quad] = vec4(
            h_at(rows, tile_row, k + tile_k),
            h_at(rows, tile_row + 1u, k + tile_k),
            h_at(rows, tile_row + 2u, k + tile_k),
            h_at(rows, tile_row + 3u, k + tile_k),
        );
        workgroupBarrier();
        let depth = min(TILE_K, params.terms - k);
        for (var i = 0u; i < depth; i++) {
            let weight = u[column + (k + i) * params.hidden];
            let four = h_tile[i * (ROWS / 4u) + quad];
            sum[0] += four.x * weight;
            sum[1] += four.y * weight;
            sum[2] += four.z * weight;
            sum[3] += four.w * weight;
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = group.z;
    let unit = group.x * UNITS + lane % UNITS;
    let row = group.y * ROWS + 4u * (lane / UNITS);
    var sum = array<vec4<f32>, 4>();
    add_product(h_prev_of(n), u_of(n), group, lane, &sum);
    if has_input(n) {
        add_product(x_of(n), w_of(n), group, lane, &sum);
    }
    finish(n, row, unit, sum[0]);
    finish(n, row + 1u, unit, sum[1]);
    finish(n, row + 2u, unit, sum[2]);
    finish(n, row + 3u, unit, sum[3]);
}
