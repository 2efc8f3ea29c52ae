// lstm_step_forward through workgroup memory: runs everywhere. After step.wgsl.
//
// Grid: ceil(H / 16) x ceil(B / 16) x directions. Workgroup: 16 units x 4 groups of four rows,
// 1 KiB.
//
// Version 1: an invocation owns one unit of four rows, so that a weight quad loaded once serves
// four rows and gates are never exchanged; h passes through workgroup memory, K by 16.
// Version 2: both directions in one dispatch; lengths; a projection.

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
