// lstm_wavefront_forward for drivers that compute on a CPU. After wavefront.wgsl and eight_rows.wgsl.
//
// Grid: ceil(H / 16) x ceil(B / (8 PARTS)) x layers. Workgroup: 8 invocations, no memory, a subgroup
// of 8 or more.
//
// Version 1: as lstm_step_forward: an invocation owns two units, eight apart, of up to 24 rows; the
// four gates of a unit are a quad of columns.

override PARTS: u32 = 3u;  // of eight rows, 1 to 3

const UNITS = 16u;

// Terms beyond the last are zero on both sides, so that nothing infinite is multiplied with a zero.
fn weight_at(start: u32, k: u32, unit: u32) -> vec4<f32> {
    let at = start + min(k, params.hidden - 1u) * params.hidden + unit;
    return select(vec4(0.0), weights[at], k < params.hidden);
}

fn state_at(row_start: u32, k: u32) -> f32 {
    return select(0.0, h[row_start + min(k, params.hidden - 1u)], k < params.hidden);
}

fn terms_of(row_start: u32, k: u32) -> vec4<f32> {
    return vec4(
        state_at(row_start, k),
        state_at(row_start, k + 1u),
        state_at(row_start, k + 2u),
        state_at(row_start, k + 3u),
    );
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    let step = step_of(group.z);
    let row = group.y * 8u * PARTS;
    let unit = group.x * UNITS + lane;
    // Rows and units beyond the last repeat it: what they give isn't written.
    let left_unit = min(unit, params.hidden - 1u);
    let right_unit = min(unit + 8u, params.hidden - 1u);
    let last_row = params.batch - 1u;
    let row_0 = min(row + place % 8u, last_row) * params.hidden;
    let row_1 = min(row + 8u + place % 8u, last_row) * params.hidden;
    let row_2 = min(row + 16u + place % 8u, last_row) * params.hidden;

    var sums_0 = EightRows();
    var sums_1 = EightRows();
    var sums_2 = EightRows();
    for (var product = 0u; product < step.products; product++) {
        let rows_start = select(step.x, step.h_prev, product == 0u);
        let weights_start = select(step.w, step.u, product == 0u);
        for (var k = 0u; k < params.hidden; k += 4u) {
            let left = mat4x4(
                weight_at(weights_start, k, left_unit),
                weight_at(weights_start, k + 1u, left_unit),
                weight_at(weights_start, k + 2u, left_unit),
                weight_at(weights_start, k + 3u, left_unit),
            );
            let right = mat4x4(
                weight_at(weights_start, k, right_unit),
                weight_at(weights_start, k + 1u, right_unit),
                weight_at(weights_start, k + 2u, right_unit),
                weight_at(weights_start, k + 3u, right_unit),
            );
            eight_rows(terms_of(rows_start + row_0, k), left, right, &sums_0);
            if PARTS > 1u {
                eight_rows(terms_of(rows_start + row_1, k), left, right, &sums_1);
            }
            if PARTS > 2u {
                eight_rows(terms_of(rows_start + row_2, k), left, right, &sums_2);
            }
        }
    }
    // A copy, since the places in it change.
    var sums = array(sums_0, sums_1, sums_2);
    for (var i = 0u; i < 8u * PARTS; i++) {
        finish(step.layer, step.t, row + i, unit, sums[i / 8u][2u * (i % 8u)]);
        finish(step.layer, step.t, row + i, unit + 8u, sums[i / 8u][2u * (i % 8u) + 1u]);
    }
}
