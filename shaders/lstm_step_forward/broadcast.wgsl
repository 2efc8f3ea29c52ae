// lstm_step_forward for drivers that compute on a CPU. After step.wgsl and eight_rows.wgsl.
//
// Grid: ceil(H / 16) x ceil(B / (8 PARTS)) x count. Workgroup: 8 invocations, no memory, a
// subgroup of 8 or more.
//
// Version 1: an invocation owns two units, eight apart, of up to 24 rows; the four gates of a unit
// are a quad of columns.

override PARTS: u32 = 3u;  // of eight rows, 1 to 3

const UNITS = 16u;

// Terms beyond the last are zero on both sides, so that nothing infinite is multiplied with a zero.
fn weight_at(start: u32, k: u32, unit: u32) -> vec4<f32> {
    let at = start + min(k, params.terms - 1u) * params.hidden + unit;
    return select(vec4(0.0), u[at], k < params.terms);
}

fn h_at(row_start: u32, k: u32) -> f32 {
    return select(0.0, h[row_start + min(k, params.terms - 1u)], k < params.terms);
}

fn terms_of(row_start: u32, k: u32) -> vec4<f32> {
    return vec4(
        h_at(row_start, k),
        h_at(row_start, k + 1u),
        h_at(row_start, k + 2u),
        h_at(row_start, k + 3u),
    );
}

// Adds a product: rows that start at `rows`, weights that start at `weights`.
fn add_product(
    rows: u32,
    weights: u32,
    row: u32,
    unit: u32,
    in_row: u32,
    sums_0: ptr<function, EightRows>,
    sums_1: ptr<function, EightRows>,
    sums_2: ptr<function, EightRows>,
) {
    // Rows and units beyond the last repeat it: what they give isn't written.
    let left_unit = min(unit, params.hidden - 1u);
    let right_unit = min(unit + 8u, params.hidden - 1u);
    let last_row = params.batch - 1u;
    let row_0 = rows + min(row + in_row, last_row) * params.h_row;
    let row_1 = rows + min(row + 8u + in_row, last_row) * params.h_row;
    let row_2 = rows + min(row + 16u + in_row, last_row) * params.h_row;
    for (var k = 0u; k < params.terms; k += 4u) {
        let left = mat4x4(
            weight_at(weights, k, left_unit),
            weight_at(weights, k + 1u, left_unit),
            weight_at(weights, k + 2u, left_unit),
            weight_at(weights, k + 3u, left_unit),
        );
        let right = mat4x4(
            weight_at(weights, k, right_unit),
            weight_at(weights, k + 1u, right_unit),
            weight_at(weights, k + 2u, right_unit),
            weight_at(weights, k + 3u, right_unit),
        );
        eight_rows(terms_of(row_0, k), left, right, sums_0);
        if PARTS > 1u {
            eight_rows(terms_of(row_1, k), left, right, sums_1);
        }
        if PARTS > 2u {
            eight_rows(terms_of(row_2, k), left, right, sums_2);
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
    let unit = group.x * UNITS + lane;
    let in_row = place % 8u;
    var sums_0 = EightRows();
    var sums_1 = EightRows();
    var sums_2 = EightRows();
    add_product(h_prev_of(n), u_of(n), row, unit, in_row, &sums_0, &sums_1, &sums_2);
    if has_input(n) {
        add_product(x_of(n), w_of(n), row, unit, in_row, &sums_0, &sums_1, &sums_2);
    }
    // A copy, since the places in it change.
    var sums = array(sums_0, sums_1, sums_2);
    for (var i = 0u; i < 8u * PARTS; i++) {
        finish(n, row + i, unit, sums[i / 8u][2u * (i % 8u)]);
        finish(n, row + i, unit + 8u, sums[i / 8u][2u * (i % 8u) + 1u]);
    }
}
