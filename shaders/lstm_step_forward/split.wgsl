// lstm_step_forward for few rows, which alone wouldn't fill a GPU: invocations share the terms of a
// sum. After step.wgsl.
//
// Grid: ceil(H / 8) x ceil(B / 4) x count. Workgroup: 8 units x 32 parts, 16 KiB.
//
// Version 1: a part takes every 32nd term for one unit of four rows; a row of u is read 128 bytes at
// a time. Parts are joined by a tree, in a fixed order.

const UNITS = 8u;
const PARTS = 32u;
const ROWS = 4u;

var<workgroup> sums: array<vec4<f32>, 1024>;  // [PARTS, ROWS, UNITS]

// Adds a part of a product to those of four rows: rows that start at `rows`, weights at `weights`.
fn add_product(
    rows: u32,
    weights: u32,
    row: u32,
    unit: u32,
    part: u32,
    sum: ptr<function, array<vec4<f32>, ROWS>>,
) {
    // Units and rows beyond the last repeat it: what they give isn't written.
    let column = weights + min(unit, params.hidden - 1u);
    let last_row = params.batch - 1u;
    let h_0 = rows + min(row, last_row) * params.h_row;
    let h_1 = rows + min(row + 1u, last_row) * params.h_row;
    let h_2 = rows + min(row + 2u, last_row) * params.h_row;
    let h_3 = rows + min(row + 3u, last_row) * params.h_row;
    for (var k = part; k < params.terms; k += PARTS) {
        let weight = u[column + k * params.hidden];
        sum[0] += h[h_0 + k] * weight;
        sum[1] += h[h_1 + k] * weight;
        sum[2] += h[h_2 + k] * weight;
        sum[3] += h[h_3 + k] * weight;
    }
}

@compute @workgroup_size(8, 32)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let n = group.z;
    let unit = group.x * UNITS + local.x;
    let part = local.y;
    let row = group.y * ROWS;
    var sum = array<vec4<f32>, ROWS>();
    add_product(h_prev_of(n), u_of(n), row, unit, part, &sum);
    if has_input(n) {
        add_product(x_of(n), w_of(n), row, unit, part, &sum);
    }
    let own = part * ROWS * UNITS + local.x;
    sums[own] = sum[0];
    sums[own + UNITS] = sum[1];
    sums[own + 2u * UNITS] = sum[2];
    sums[own + 3u * UNITS] = sum[3];
    for (var half = PARTS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if part < half {
            for (var r = 0u; r < ROWS; r++) {
                sums[own + r * UNITS] += sums[own + (half * ROWS + r) * UNITS];
            }
        }
    }
    workgroupBarrier();
    // A part makes the states of the row of its number.
    if part < ROWS {
        finish(n, row + part, unit, sums[part * UNITS + local.x]);
    }
}
