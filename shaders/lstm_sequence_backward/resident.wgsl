// lstm_sequence_backward with the weights in registers, for few units. After sequence.wgsl and
// `const UNITS`, `const ROWS`: the most units, a power of two, and the rows of a workgroup, 1 or 4.
//
// Grid: ceil(B / ROWS) x 1 x directions. Workgroup: 4 UNITS invocations, 32 ROWS UNITS bytes.
// Weights are not in panels. A projection takes a barrier more.
//
// Version 1: four invocations share a unit and take every fourth term of its product, whose weights
// they keep in a private array, of which every place is known when the loops are unrolled. Their
// parts meet in workgroup memory, where the n-th of them adds up those of row n, its own from a
// register. Two barriers a timestep. What invocations share are numbers, or vectors that one of them writes
// whole: a write to a component may write all of the vector.

const PARTS = 4u;
const TERMS = UNITS / PARTS;

var<workgroup> d_tile: array<vec4<f32>, ROWS * UNITS>;  // [ROWS, UNITS], the gates' gradients
var<workgroup> p_tile: array<f32, ROWS * UNITS>;        // [ROWS, UNITS], where PROJECTION

// [ROWS, PARTS - 1, UNITS]: of each row the sums of the parts that aren't its own.
var<workgroup> sum_tile: array<f32, (PARTS - 1u) * ROWS * UNITS>;

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
    let w_start = select(params.w_start, params.w_reverse, reverse);
    let unit = lane / PARTS;
    let part = lane % PARTS;
    // The row whose gradients this invocation makes, where it makes any.
    let row = group.x * ROWS + part;
    let owns = part < ROWS && row < params.batch && unit < params.hidden;

    var weights: array<vec4<f32>, TERMS>;
    for (var i = 0u; i < TERMS; i++) {
        let k = PARTS * i + part;
        // With a projection, a feature has a product in a unit's place.
        let inside = k < params.hidden && unit < params.features;
        let at = w_start + select(0u, unit * params.hidden + k, inside);
        weights[i] = select(vec4(0.0), w[at], inside);
    }
    var now = first_slots(reverse);
    var d_cell = 0.0;
    if part < ROWS {
        var incoming = vec4(0.0);
        if owns {
            d_cell = dc[now.dc + row * params.hidden + unit];
            if params.incoming == 1u {
                incoming = gates[slot_after(now, reverse) + row * params.hidden + unit];
            }
        }
        d_tile[part * UNITS + unit] = incoming;
    }
    workgroupBarrier();
    for (var n = 0u; n < params.steps; n++) {
        var sums = array<vec4<f32>, ROWS>();
        for (var i = 0u; i < TERMS; i++) {
            for (var r = 0u; r < ROWS; r++) {
                sums[r] += d_tile[r * UNITS + PARTS * i + part] * weights[i];
            }
        }
        var own = 0.0;
        for (var r = 0u; r < ROWS; r++) {
            let sum = dot(sums[r], vec4(1.0));
            if r == part {
                own = sum;
            } else {
                sum_tile[sum_at(r, part, unit)] = sum;
            }
        }
        workgroupBarrier();
        var product = 0.0;
        if owns {
            // In one order, whichever row it is.
            for (var p = 0u; p < PARTS; p++) {
                if p == part {
                    product += own;
                } else {
                    product += sum_tile[sum_at(part, p, unit)];
                }
            }
        }
        if PROJECTION {
            if owns && unit < params.features {
                p_tile[part * UNITS + unit] = project(now, row, unit, product);
            }
            workgroupBarrier();
            product = 0.0;
            if owns {
                for (var p = 0u; p < params.features; p++) {
                    product += p_tile[part * UNITS + p] * projection[projection_row(reverse, unit) + p];
                }
            }
        }
        if owns {
            let result = finish(now, row, unit, product, d_cell);
            d_cell = result.c_prev;
            d_tile[part * UNITS + unit] = result.sums;
        }
        workgroupBarrier();
        now = next_slots(now, reverse);
    }
    if owns {
        dc[now.dc + row * params.hidden + unit] = d_cell;
    }
}
