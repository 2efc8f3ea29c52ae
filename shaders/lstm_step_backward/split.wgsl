// lstm_step_backward for few rows, which alone wouldn't fill a GPU: invocations share the terms of a
// sum. After step.wgsl.
//
// Grid: ceil(H / 8) x ceil(B / 4) x directions. Workgroup: 32 parts x 8 units, 4 KiB.
//
// Version 1: a part takes every 32nd quad of terms for one unit of four rows; neighbours read
// neighbouring quads of w. Parts are joined by a tree, in a fixed order.

const PARTS = 32u;
const UNITS = 8u;
const ROWS = 4u;

var<workgroup> sums: array<vec4<f32>, 256>;  // [UNITS, PARTS], of four rows

fn incoming_at(at: u32) -> vec4<f32> {
    if PROJECTION {
        return dh[at];
    }
    return gates[at];
}

@compute @workgroup_size(32, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let reverse = group.z == 1u;
    let w_start = select(params.w_start, params.w_reverse, reverse);
    let incoming = select(params.incoming_start, params.incoming_reverse, reverse);
    let part = local.x;
    let unit = group.x * UNITS + local.y;
    let row = group.y * ROWS;
    // Units and rows beyond the last repeat it: what they give isn't written.
    let w_row = w_start + min(unit, params.hidden - 1u) * params.w_row;
    let last_row = params.batch - 1u;
    let d_0 = incoming + min(row, last_row) * params.w_row;
    let d_1 = incoming + min(row + 1u, last_row) * params.w_row;
    let d_2 = incoming + min(row + 2u, last_row) * params.w_row;
    let d_3 = incoming + min(row + 3u, last_row) * params.w_row;

    var sum = vec4(0.0);
    for (var k = part; k < params.terms; k += PARTS) {
        let weight = w[w_row + k];
        sum += vec4(
            dot(incoming_at(d_0 + k), weight),
            dot(incoming_at(d_1 + k), weight),
            dot(incoming_at(d_2 + k), weight),
            dot(incoming_at(d_3 + k), weight),
        );
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
        finish(reverse, row + part, unit, sums[local.y * PARTS][part]);
    }
}
