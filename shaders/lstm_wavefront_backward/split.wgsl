// lstm_wavefront_backward for few rows, which alone wouldn't fill a GPU: invocations share the terms of
// a sum. After wavefront.wgsl.
//
// Grid: ceil(H / 8) x ceil(B / 4) x layers. Workgroup: 32 parts x 8 units, 4 KiB.
//
// Version 1: as lstm_step_backward: a part takes every 32nd quad of terms for one unit of four rows.
// Parts are joined by a tree, in a fixed order.

const PARTS = 32u;
const UNITS = 8u;
const ROWS = 4u;

var<workgroup> sums: array<vec4<f32>, 256>;  // [UNITS, PARTS], of four rows

@compute @workgroup_size(32, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let step = step_of(group.z);
    let part = local.x;
    let unit = group.x * UNITS + local.y;
    let row = group.y * ROWS;
    // Units and rows beyond the last repeat it: what they give isn't written.
    let weights_row = min(unit, params.hidden - 1u) * params.hidden;
    let last_row = params.batch - 1u;
    let row_0 = min(row, last_row) * params.hidden;
    let row_1 = min(row + 1u, last_row) * params.hidden;
    let row_2 = min(row + 2u, last_row) * params.hidden;
    let row_3 = min(row + 3u, last_row) * params.hidden;

    var sum = vec4(0.0);
    for (var product = step.first; product < step.end; product++) {
        let incoming = select(step.higher, step.after, product == 0u);
        let weights_start = select(step.w, step.u, product == 0u) + weights_row;
        for (var k = part; k < params.hidden; k += PARTS) {
            let weight = weights[weights_start + k];
            sum += vec4(
                dot(gates[incoming + row_0 + k], weight),
                dot(gates[incoming + row_1 + k], weight),
                dot(gates[incoming + row_2 + k], weight),
                dot(gates[incoming + row_3 + k], weight),
            );
        }
    }
    let own = local.y * PARTS + part;
    sums[own] = sum;
    for (var half = PARTS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if part < half {
            sums[own] += sums[own + half];
        }
    }
    workgroupBarrier();
    // Part n makes the gradients of row n.
    if part < ROWS {
        finish(step.layer, step.t, row + part, unit, sums[local.y * PARTS][part]);
    }
}
