// lstm_step_backward for few rows, which alone wouldn't fill a GPU: invocations share the terms of a
// sum. After step.wgsl.
//
// Grid: ceil(H / 8) x ceil(B / 4) x count. Workgroup: 32 parts x 8 units, 4 KiB.
//
// Version 1: a part takes every 32nd quad of terms for one unit of four rows; neighbours read
// neighbouring quads of w. Parts are joined by a tree, in a fixed order.

const PARTS = 32u;
const UNITS = 8u;
const ROWS = 4u;

var<workgroup> sums: array<vec4<f32>, 256>;  // [UNITS, PARTS], of four rows

// Adds a part of a product to one unit of four rows: rows that start at `rows`, weights at `weights`.
fn add_product(
    rows: u32,
    weights: u32,
    terms: u32,
    row: u32,
    unit: u32,
    part: u32,
    sum: ptr<function, vec4<f32>>,
) {
    // Units and rows beyond the last repeat it: what they give isn't written.
    let w_row = weights + min(unit, params.hidden - 1u) * params.w_row;
    let last_row = params.batch - 1u;
    let d_0 = rows + min(row, last_row) * params.w_row;
    let d_1 = rows + min(row + 1u, last_row) * params.w_row;
    let d_2 = rows + min(row + 2u, last_row) * params.w_row;
    let d_3 = rows + min(row + 3u, last_row) * params.w_row;
    for (var k = part; k < terms; k += PARTS) {
        let weight = w[w_row + k];
        *sum += vec4(
            dot(rows_at(d_0 + k), weight),
            dot(rows_at(d_1 + k), weight),
            dot(rows_at(d_2 + k), weight),
            dot(rows_at(d_3 + k), weight),
        );
    }
}

@compute @workgroup_size(32, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let n = group.z;
    let part = local.x;
    let unit = group.x * UNITS + local.y;
    let row = group.y * ROWS;
    var sum = vec4(0.0);
    add_product(incoming_of(n), w_of(n), terms_of(n), row, unit, part, &sum);
    if has_above(n) {
        add_product(above_of(n), above_w_of(n), params.w_row, row, unit, part, &sum);
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
    // A part makes the gradients of the row of its number.
    if part < ROWS {
        finish(n, row + part, unit, sums[local.y * PARTS][part]);
    }
}
