// lstm_sequence_forward with the weights in registers, for few units. After sequence.wgsl and
// `const UNITS`, `const ROWS`: the most units, a power of two, and the rows of a workgroup, 1 or 4.
//
// Grid: ceil(B / ROWS) x 1 x directions. Workgroup: 4 UNITS invocations, 24 ROWS UNITS bytes.
// Weights are not in panels, and there is no INPUT. A projection takes a barrier more.
//
// Version 1: an invocation owns a column of U, one gate of one unit, in a private array that every
// place of is known when the loops are unrolled; h lies in workgroup memory and is read by all
// invocations at once. Gates meet in workgroup memory, where the invocation of gate n makes the
// states of row n. Two barriers a timestep.

const COLUMNS = 4u * UNITS;

var<workgroup> h_tile: array<vec4<f32>, ROWS * UNITS / 4u>;  // [ROWS, UNITS / 4]
var<workgroup> z_tile: array<f32, ROWS * UNITS>;             // [ROWS, UNITS], where PROJECTION
var<workgroup> sum_tile: array<vec4<f32>, ROWS * UNITS>;     // [ROWS, UNITS] of (i, f, g, o)

// A column's weight; of terms and units beyond the last it is zero.
fn weight_at(start: u32, k: u32, unit: u32, gate: u32) -> f32 {
    let inside = k < params.features && unit < params.hidden;
    let at = start + select(0u, k * params.hidden + unit, inside);
    return select(0.0, u[at][gate], inside);
}

@compute @workgroup_size(COLUMNS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let reverse = group.z == 1u;
    let u_start = select(params.u_start, params.u_reverse, reverse);
    let unit = lane / 4u;
    let gate = lane % 4u;
    // The row whose states this invocation makes, where it makes any.
    let row = group.x * ROWS + gate;
    let owns = gate < ROWS && row < params.batch && unit < params.hidden;

    var weights: array<vec4<f32>, UNITS / 4u>;
    for (var k = 0u; k < UNITS / 4u; k++) {
        weights[k] = vec4(
            weight_at(u_start, 4u * k, unit, gate),
            weight_at(u_start, 4u * k + 1u, unit, gate),
            weight_at(u_start, 4u * k + 2u, unit, gate),
            weight_at(u_start, 4u * k + 3u, unit, gate),
        );
    }
    var now = first_slots(reverse);
    var cell = 0.0;
    if gate < ROWS {
        var before = 0.0;
        if owns && unit < params.features {
            before = h[now.h_prev + row * params.h_row + unit];
        }
        if owns {
            cell = c[now.c_prev + row * params.hidden + unit];
        }
        h_tile[(gate * UNITS + unit) / 4u][unit % 4u] = before;
    }
    workgroupBarrier();
    for (var n = 0u; n < params.steps; n++) {
        var sums: array<f32, ROWS>;
        for (var k = 0u; k < UNITS / 4u; k++) {
            for (var r = 0u; r < ROWS; r++) {
                sums[r] += dot(h_tile[r * (UNITS / 4u) + k], weights[k]);
            }
        }
        for (var r = 0u; r < ROWS; r++) {
            sum_tile[r * UNITS + unit][gate] = sums[r];
        }
        workgroupBarrier();
        if owns {
            let result = finish(now, row, unit, sum_tile[gate * UNITS + unit], cell);
            cell = result.cell;
            if PROJECTION {
                z_tile[gate * UNITS + unit] = result.h;
            } else {
                h_tile[(gate * UNITS + unit) / 4u][unit % 4u] = result.h;
            }
        }
        workgroupBarrier();
        if PROJECTION {
            if owns && unit < params.features {
                var sum = 0.0;
                for (var k = 0u; k < params.hidden; k++) {
                    sum += z_tile[gate * UNITS + k] * w[projection_row(reverse, k) + unit];
                }
                let feature = project(now, row, unit, sum);
                h_tile[(gate * UNITS + unit) / 4u][unit % 4u] = feature;
            }
            workgroupBarrier();
        }
        now = next_slots(now, reverse);
    }
}
