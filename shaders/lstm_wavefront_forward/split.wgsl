// lstm_wavefront_forward for few rows, which alone wouldn't fill a GPU: invocations share the terms of
// a sum. After wavefront.wgsl.
//
// Grid: ceil(H / 8) x ceil(B / 4) x layers. Workgroup: 8 units x 32 parts, 16 KiB.
//
// Version 1: as lstm_step_forward: a part takes every 32nd term for one unit of four rows. Parts are
// joined by a tree, in a fixed order.

const UNITS = 8u;
const PARTS = 32u;
const ROWS = 4u;

var<workgroup> sums: array<vec4<f32>, 1024>;  // [PARTS, ROWS, UNITS]

@compute @workgroup_size(8, 32)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let step = step_of(group.z);
    let unit = group.x * UNITS + local.x;
    let part = local.y;
    let row = group.y * ROWS;
    // Units and rows beyond the last repeat it: what they give isn't written.
    let weight_unit = min(unit, params.hidden - 1u);
    let last_row = params.batch - 1u;
    let row_0 = min(row, last_row) * params.hidden;
    let row_1 = min(row + 1u, last_row) * params.hidden;
    let row_2 = min(row + 2u, last_row) * params.hidden;
    let row_3 = min(row + 3u, last_row) * params.hidden;

    var sum_0 = vec4(0.0);
    var sum_1 = vec4(0.0);
    var sum_2 = vec4(0.0);
    var sum_3 = vec4(0.0);
    for (var product = 0u; product < step.products; product++) {
        let rows_start = select(step.x, step.h_prev, product == 0u);
        let weights_start = select(step.w, step.u, product == 0u) + weight_unit;
        for (var k = part; k < params.hidden; k += PARTS) {
            let weight = weights[weights_start + k * params.hidden];
            sum_0 += h[rows_start + row_0 + k] * weight;
            sum_1 += h[rows_start + row_1 + k] * weight;
            sum_2 += h[rows_start + row_2 + k] * weight;
            sum_3 += h[rows_start + row_3 + k] * weight;
        }
    }
    let own = part * ROWS * UNITS + local.x;
    sums[own] = sum_0;
    sums[own + UNITS] = sum_1;
    sums[own + 2u * UNITS] = sum_2;
    sums[own + 3u * UNITS] = sum_3;
    for (var half = PARTS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if part < half {
            for (var r = 0u; r < ROWS; r++) {
                sums[own + r * UNITS] += sums[own + (half * ROWS + r) * UNITS];
            }
        }
    }
    workgroupBarrier();
    // Part n makes the states of row n.
    if part < ROWS {
        finish(step.layer, step.t, row + part, unit, sums[part * UNITS + local.x]);
    }
}
