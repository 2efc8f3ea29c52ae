// lstm_step_backward for drivers that compute on a CPU. After step.wgsl and eight_rows.wgsl.
//
// Grid: ceil(H / 64) x ceil(B / (8 PARTS)) x count. Workgroup: 8 invocations, no memory, a
// subgroup of 8 or more.
//
// Version 1: an invocation owns twice four neighbouring units, 32 apart, of up to 24 rows; the four
// terms of a product are those of the four gates of a unit.

override PARTS: u32 = 3u;  // of eight rows, 1 to 3

const UNITS = 64u;

// The weights of one unit's gates for four units from `unit` on. Units beyond the last repeat it.
fn weights_at(start: u32, k: u32, unit: u32) -> mat4x4<f32> {
    let last = params.hidden - 1u;
    return transpose(mat4x4(
        w[start + min(unit, last) * params.w_row + k],
        w[start + min(unit + 1u, last) * params.w_row + k],
        w[start + min(unit + 2u, last) * params.w_row + k],
        w[start + min(unit + 3u, last) * params.w_row + k],
    ));
}

// Adds a product: rows that start at `rows`, weights that start at `weights`.
fn add_product(
    rows: u32,
    weights: u32,
    terms: u32,
    row: u32,
    unit: u32,
    in_row: u32,
    sums_0: ptr<function, EightRows>,
    sums_1: ptr<function, EightRows>,
    sums_2: ptr<function, EightRows>,
) {
    // Rows beyond the last repeat it: what they give isn't written.
    let last_row = params.batch - 1u;
    let row_0 = rows + min(row + in_row, last_row) * params.w_row;
    let row_1 = rows + min(row + 8u + in_row, last_row) * params.w_row;
    let row_2 = rows + min(row + 16u + in_row, last_row) * params.w_row;
    for (var k = 0u; k < terms; k++) {
        let left = weights_at(weights, k, unit);
        let right = weights_at(weights, k, unit + 32u);
        eight_rows(rows_at(row_0 + k), left, right, sums_0);
        if PARTS > 1u {
            eight_rows(rows_at(row_1 + k), left, right, sums_1);
        }
        if PARTS > 2u {
            eight_rows(rows_at(row_2 + k), left, right, sums_2);
        }
    }
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    let n = group.z;
    let row = group.y * 8u * PARTS;
    let unit = group.x * UNITS + 4u * lane;
    let in_row = place % 8u;
    var sums_0 = EightRows();
    var sums_1 = EightRows();
    var sums_2 = EightRows();
    add_product(incoming_of(n), w_of(n), terms_of(n), row, unit, in_row, &sums_0, &sums_1, &sums_2);
    if has_above(n) {
        add_product(above_of(n), above_w_of(n), params.w_row, row, unit, in_row, &sums_0, &sums_1, &sums_2);
    }
    // A copy, since the places in it change.
    var sums = array(sums_0, sums_1, sums_2);
    for (var i = 0u; i < 8u * PARTS; i++) {
        let left = sums[i / 8u][2u * (i % 8u)];
        let right = sums[i / 8u][2u * (i % 8u) + 1u];
        for (var j = 0u; j < 4u; j++) {
            finish(n, row + i, unit + j, left[j]);
            finish(n, row + i, unit + 32u + j, right[j]);
        }
    }
}
