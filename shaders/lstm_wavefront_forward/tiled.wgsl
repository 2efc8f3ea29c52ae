// lstm_wavefront_forward through workgroup memory: runs everywhere. After wavefront.wgsl.
//
// Grid: ceil(H / 16) x ceil(B / 16) x layers. Workgroup: 16 units x 4 groups of four rows, 1 KiB.
//
// Version 1: as lstm_step_forward: an invocation owns one unit of four rows, and what both products
// take their rows from passes through workgroup memory, K by 16.

const UNITS = 16u;
const ROWS = 16u;
const TILE_K = 16u;

var<workgroup> tile: array<vec4<f32>, 64>;  // [TILE_K, ROWS / 4], four rows each

fn state_at(start: u32, row: u32, k: u32) -> f32 {
    if row >= params.batch || k >= params.hidden {
        return 0.0;
    }
    return h[start + row * params.hidden + k];
}

@compute @workgroup_size(16, 4)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let step = step_of(group.z);
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
    for (var product = 0u; product < step.products; product++) {
        let rows_start = select(step.x, step.h_prev, product == 0u);
        let weights_start = select(step.w, step.u, product == 0u) + weight_unit;
        for (var k = 0u; k < params.hidden; k += TILE_K) {
            tile[tile_k * (ROWS / 4u) + lane / TILE_K] = vec4(
                state_at(rows_start, tile_row, k + tile_k),
                state_at(rows_start, tile_row + 1u, k + tile_k),
                state_at(rows_start, tile_row + 2u, k + tile_k),
                state_at(rows_start, tile_row + 3u, k + tile_k),
            );
            workgroupBarrier();
            let depth = min(TILE_K, params.hidden - k);
            for (var i = 0u; i < depth; i++) {
                let weight = weights[weights_start + (k + i) * params.hidden];
                let rows = tile[i * (ROWS / 4u) + local.y];
                sum_0 += rows.x * weight;
                sum_1 += rows.y * weight;
                sum_2 += rows.z * weight;
                sum_3 += rows.w * weight;
            }
            workgroupBarrier();
        }
    }

    finish(step.layer, step.t, row, unit, sum_0);
    finish(step.layer, step.t, row + 1u, unit, sum_1);
    finish(step.layer, step.t, row + 2u, unit, sum_2);
    finish(step.layer, step.t, row + 3u, unit, sum_3);
}
