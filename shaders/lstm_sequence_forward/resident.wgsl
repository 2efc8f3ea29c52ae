// lstm_sequence_forward with the weights in registers, for few units. After sequence.wgsl and
// `const UNITS`, `const ROWS`: the most units, a power of two, and the rows of a workgroup, 1 or 4.
//
// Grid: ceil(B / ROWS) x 1 x directions. Workgroup: 4 UNITS invocations, 56 ROWS UNITS bytes.
// Weights are not in panels, and there is no INPUT. A projection takes a barrier more.
//
// Version 2: four invocations share a unit and take every fourth term of its product, whose weights
// they keep in a private array, of which every place is known when the loops are unrolled; h lies in
// workgroup memory. Their parts meet there as well, where the n-th of them adds up those of row n, its own
// from registers, and makes the row's states. Two barriers a timestep. What invocations share are numbers, or
// vectors that one of them writes whole: a write to a component may write all of the vector.

const PARTS = 4u;
const TERMS = UNITS / PARTS;

var<workgroup> h_tile: array<f32, ROWS * UNITS>;  // [ROWS, UNITS]
var<workgroup> z_tile: array<f32, ROWS * UNITS>;  // [ROWS, UNITS], where PROJECTION

// [ROWS, PARTS - 1, UNITS] of (i, f, g, o): of each row the sums of the parts that aren't its own.
var<workgroup> sum_tile: array<vec4<f32>, (PARTS - 1u) * ROWS * UNITS>;

// Where the sum of a part is put for another row than its own, or found.
fn sum_at(row: u32, part: u32, unit: u32) -> u32 {
    return (row * (PARTS - 1u) + part - select(0u, 1u, part > row)) * UNITS + unit;
}

@compute @workgroup_size(PARTS * UNITS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let reverse = group.z == 1u;
    let u_start = select(params.u_start, params.u_reverse, reverse);
    let unit = lane / PARTS;
    let part = lane % PARTS;
    // The row whose states this invocation makes, where it makes any.
    let row = group.x * ROWS + part;
    let owns = part < ROWS && row < params.batch && unit < params.hidden;

    // Those of terms and units beyond the last are zero.
    var weights: array<vec4<f32>, TERMS>;
    for (var i = 0u; i < TERMS; i++) {
        let k = PARTS * i + part;
        let inside = k < params.features && unit < params.hidden;
        let at = u_start + select(0u, k * params.hidden + unit, inside);
        weights[i] = select(vec4(0.0), u[at], inside);
    }
    var now = first_slots(reverse);
    var cell = 0.0;
    if part < ROWS {
        var before = 0.0;
        if owns && unit < params.features {
            before = h[now.h_prev + row * params.h_row + unit];
        }
        if owns {
            cell = c[now.c_prev + row * params.hidden + unit];
        }
        h_tile[part * UNITS + unit] = before;
    }
    workgroupBarrier();
    for (var n = 0u; n < params.steps; n++) {
        var sums = array<vec4<f32>, ROWS>();
        for (var i = 0u; i < TERMS; i++) {
            for (var r = 0u; r < ROWS; r++) {
                sums[r] += h_tile[r * UNITS + PARTS * i + part] * weights[i];
            }
        }
        var own = vec4(0.0);
        for (var r = 0u; r < ROWS; r++) {
            if r == part {
                own = sums[r];
            } else {
                sum_tile[sum_at(r, part, unit)] = sums[r];
            }
        }
        workgroupBarrier();
        if owns {
            // In one order, whichever row it is.
            var sum = vec4(0.0);
            for (var p = 0u; p < PARTS; p++) {
                if p == part {
                    sum += own;
                } else {
                    sum += sum_tile[sum_at(part, p, unit)];
                }
            }
            let result = finish(now, row, unit, sum, cell);
            cell = result.c;
            if PROJECTION {
                z_tile[part * UNITS + unit] = result.h;
            } else {
                h_tile[part * UNITS + unit] = result.h;
            }
        }
        workgroupBarrier();
        if PROJECTION {
            if owns && unit < params.features {
                var feature = 0.0;
                for (var k = 0u; k < params.hidden; k++) {
                    feature += z_tile[part * UNITS + k] * w[projection_row(reverse, k) + unit];
                }
                feature = project(now, row, unit, feature);
                h_tile[part * UNITS + unit] = feature;
            }
            workgroupBarrier();
        }
        now = next_slots(now, reverse);
    }
}
