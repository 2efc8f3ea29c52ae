// lstm_wavefront_backward for drivers that compute on a CPU. After wavefront.wgsl and eight_rows.wgsl.
//
// Grid: ceil(H / 64) x ceil(B / (8 PARTS)) x layers. Workgroup: 8 invocations, no memory, a subgroup
// of 8 or more.
//
// Version 1: as lstm_step_backward: an invocation owns twice four neighbouring units, 32 apart, of up
// to 24 rows; the four terms of a product are those of the four gates of a unit.

override PARTS: u32 = 3u;  // of eight rows, 1 to 3

const UNITS = 64u;

// The weights of one unit's gates for four units from `unit` on. Units beyond the last repeat it.
fn weights_at(start: u32, k: u32, unit: u32) -> mat4x4<f32> {
    let last = params.hidden - 1u;
    return transpose(mat4x4(
        weights[start + min(unit, last) * params.hidden + k],
        weights[start + min(unit + 1u, last) * params.hidden + k],
        weights[start + min(unit + 2u, last) * params.hidden + k],
        weights[start + min(unit + 3u, last) * params.hidden + k],
    ));
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    let step = step_of(group.z);
    let row = group.y * 8u * PARTS;
    let unit = group.x * UNITS + 4u * lane;
    // Rows beyond the last repeat it: what they give isn't written.
    let last_row = params.batch - 1u;
    let row_0 = min(row + place % 8u, last_row) * params.hidden;
    let row_1 = min(row + 8u + place % 8u, last_row) * params.hidden;
    let row_2 = min(row + 16u + place % 8u, last_row) * params.hidden;

    var sums_0 = EightRows();
    var sums_1 = EightRows();
    var sums_2 = EightRows();
    for (var product = step.first; product < step.end; product++) {
        let incoming = select(step.higher, step.after, product == 0u);
        let weights_start = select(step.w, step.u, product == 0u);
        for (var k = 0u; k < params.hidden; k++) {
            let left = weights_at(weights_start, k, unit);
            let right = weights_at(weights_start, k, unit + 32u);
            eight_rows(gates[incoming + row_0 + k], left, right, &sums_0);
            if PARTS > 1u {
                eight_rows(gates[incoming + row_1 + k], left, right, &sums_1);
            }
            if PARTS > 2u {
                eight_rows(gates[incoming + row_2 + k], left, right, &sums_2);
            }
        }
    }
    // A copy, since the places in it change.
    var sums = array(sums_0, sums_1, sums_2);
    for (var i = 0u; i < 8u * PARTS; i++) {
        let left = sums[i / 8u][2u * (i % 8u)];
        let right = sums[i / 8u][2u * (i % 8u) + 1u];
        for (var j = 0u; j < 4u; j++) {
            finish(step.layer, step.t, row + i, unit + j, left[j]);
            finish(step.layer, step.t, row + i, unit + 32u + j, right[j]);
        }
    }
}
