// lstm_sequence_forward for drivers that compute on a CPU, for few units. After sequence.wgsl and
// `const UNITS`, `const ROWS`: the most units, 32, 64 or 128, and the rows of a workgroup, 1 or 8.
//
// Grid: ceil(B / ROWS) x 1 x directions. Workgroup: UNITS invocations, 12 ROWS UNITS bytes; a
// subgroup of 8 or more. Weights are not in panels, and there is no INPUT. A projection takes a barrier
// more.
//
// Version 1: an invocation owns a unit, whose column of U it keeps in a private array, of all rows.
// Places in it are written out, so that the driver keeps it on the stack as single vectors: with
// places that change, it is gathered number by number. h lies in workgroup memory, twice, so that one
// barrier a timestep is enough, and is broadcast in subgroups as in eight_rows.wgsl. On llvmpipe
// 100 x 1 x 1 x 50 takes 4 us a timestep, where lstm_step_forward takes 51.

// h of the timestep before and of this one; of one row in numbers, of eight in quads of rows, which the
// invocation of a unit writes whole: a write to a component may write all of a vector.
const QUADS = ROWS / 4u;
var<workgroup> h_tile: array<f32, select(1u, 2u * UNITS, ROWS == 1u)>;                   // [2, UNITS]
var<workgroup> quad_tile: array<vec4<f32>, select(2u * UNITS * QUADS, 1u, ROWS == 1u)>;  // [2, UNITS, QUADS]

var<workgroup> z_tile: array<f32, ROWS * UNITS>;  // [ROWS, UNITS], where PROJECTION

alias Column = array<vec4<f32>, UNITS>;
alias Rows = array<f32, ROWS>;
alias Sums = array<vec4<f32>, ROWS>;

// Four terms of the one row.
fn four_terms(at: u32) -> vec4<f32> {
    return vec4(h_tile[at], h_tile[at + 1u], h_tile[at + 2u], h_tile[at + 3u]);
}

// The share of 32 terms of one row; `four`: of invocation i the terms from 4 i on.
fn one_row(first: u32, four: vec4<f32>, column: ptr<function, Column>) -> vec4<f32> {
    let even = quad_of(first, column) * subgroupBroadcast(four, 0u)
        + quad_of(first + 8u, column) * subgroupBroadcast(four, 2u)
        + quad_of(first + 16u, column) * subgroupBroadcast(four, 4u)
        + quad_of(first + 24u, column) * subgroupBroadcast(four, 6u);
    let odd = quad_of(first + 4u, column) * subgroupBroadcast(four, 1u)
        + quad_of(first + 12u, column) * subgroupBroadcast(four, 3u)
        + quad_of(first + 20u, column) * subgroupBroadcast(four, 5u)
        + quad_of(first + 28u, column) * subgroupBroadcast(four, 7u);
    return even + odd;
}

// The weights of four terms.
fn quad_of(first: u32, column: ptr<function, Column>) -> mat4x4<f32> {
    return mat4x4(column[first], column[first + 1u], column[first + 2u], column[first + 3u]);
}

// A term of four rows from each of four invocations: of each row four terms.
fn four_rows(quad: vec4<f32>, odd: bool) -> mat4x4<f32> {
    if odd {
        return transpose(mat4x4(
            subgroupBroadcast(quad, 4u),
            subgroupBroadcast(quad, 5u),
            subgroupBroadcast(quad, 6u),
            subgroupBroadcast(quad, 7u),
        ));
    }
    return transpose(mat4x4(
        subgroupBroadcast(quad, 0u),
        subgroupBroadcast(quad, 1u),
        subgroupBroadcast(quad, 2u),
        subgroupBroadcast(quad, 3u),
    ));
}

// The share of four terms of all rows.
fn all_rows(
    weights: mat4x4<f32>,
    upper: mat4x4<f32>,
    lower: mat4x4<f32>,
    sums: ptr<function, Sums>,
) {
    sums[0] += weights * upper[0];
    sums[1 % ROWS] += weights * upper[1];
    sums[2 % ROWS] += weights * upper[2];
    sums[3 % ROWS] += weights * upper[3];
    sums[4 % ROWS] += weights * lower[0];
    sums[5 % ROWS] += weights * lower[1];
    sums[6 % ROWS] += weights * lower[2];
    sums[7 % ROWS] += weights * lower[3];
}

// Eight terms of all rows, where they are: of invocation i those of unit first + i are at `at`.
fn eight_terms(
    first: u32,
    at: u32,
    column: ptr<function, Column>,
    sums: ptr<function, Sums>,
) {
    if first < UNITS {
        let upper = quad_tile[at];
        let lower = quad_tile[at + 1u];
        all_rows(quad_of(first, column), four_rows(upper, false), four_rows(lower, false), sums);
        all_rows(quad_of(first + 4u, column), four_rows(upper, true), four_rows(lower, true), sums);
    }
}

// Reads 32 rows of a column of U, where they are.
fn load_column(first: u32, start: u32, column: ptr<function, Column>) {
    if first < UNITS {
        for (var k = 0u; k < 32u; k++) {
            let row = first + k;
            let at = start + min(row, params.features - 1u) * params.hidden;
            column[row] = select(vec4(0.0), u[at], row < params.features);
        }
    }
}

@compute @workgroup_size(UNITS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) unit: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    let reverse = group.z == 1u;
    let u_start = select(params.u_start, params.u_reverse, reverse);
    let first_row = group.x * ROWS;
    // Units and rows beyond the last read its operands, and write nothing.
    let last_unit = min(unit, params.hidden - 1u);

    var column: Column;
    load_column(0u, u_start + last_unit, &column);
    load_column(32u, u_start + last_unit, &column);
    load_column(64u, u_start + last_unit, &column);
    load_column(96u, u_start + last_unit, &column);

    var now = first_slots(reverse);
    var cells: Rows;
    var before: Rows;
    for (var r = 0u; r < ROWS; r++) {
        let row = min(first_row + r, params.batch - 1u);
        cells[r] = c[now.c_prev + row * params.hidden + last_unit];
        before[r] = h[now.h_prev + row * params.h_row + min(unit, params.features - 1u)];
    }
    put(0u, unit, &before);
    workgroupBarrier();
    // Which of the two is read.
    var half = 0u;
    for (var n = 0u; n < params.steps; n++) {
        var sums = Sums();
        if ROWS == 1u {
            let at = half * UNITS + place % 8u * 4u;
            sums[0] = one_row(0u, four_terms(at), &column);
            if UNITS > 32u {
                sums[0] += one_row(32u, four_terms(at + 32u), &column);
            }
            if UNITS > 64u {
                sums[0] += one_row(64u, four_terms(at + 64u), &column);
                sums[0] += one_row(96u, four_terms(at + 96u), &column);
            }
        } else {
            let at = (half * UNITS + place % 8u) * QUADS;
            eight_terms(0u, at, &column, &sums);
            eight_terms(8u, at + 8u * QUADS, &column, &sums);
            eight_terms(16u, at + 16u * QUADS, &column, &sums);
            eight_terms(24u, at + 24u * QUADS, &column, &sums);
            eight_terms(32u, at + 32u * QUADS, &column, &sums);
            eight_terms(40u, at + 40u * QUADS, &column, &sums);
            eight_terms(48u, at + 48u * QUADS, &column, &sums);
            eight_terms(56u, at + 56u * QUADS, &column, &sums);
            eight_terms(64u, at + 64u * QUADS, &column, &sums);
            eight_terms(72u, at + 72u * QUADS, &column, &sums);
            eight_terms(80u, at + 80u * QUADS, &column, &sums);
            eight_terms(88u, at + 88u * QUADS, &column, &sums);
            eight_terms(96u, at + 96u * QUADS, &column, &sums);
            eight_terms(104u, at + 104u * QUADS, &column, &sums);
            eight_terms(112u, at + 112u * QUADS, &column, &sums);
            eight_terms(120u, at + 120u * QUADS, &column, &sums);
        }
        half = 1u - half;
        var after = Rows();
        for (var r = 0u; r < ROWS; r++) {
            if unit < params.hidden && first_row + r < params.batch {
                let result = finish(now, first_row + r, unit, sums[r], cells[r]);
                cells[r] = result.c;
                after[r] = result.h;
                if PROJECTION {
                    z_tile[r * UNITS + unit] = result.h;
                }
            }
        }
        if !PROJECTION {
            put(half, unit, &after);
        }
        workgroupBarrier();
        if PROJECTION {
            var features = Rows();
            for (var k = 0u; k < params.hidden; k++) {
                let weight = w[projection_row(reverse, k) + min(unit, params.features - 1u)];
                for (var r = 0u; r < ROWS; r++) {
                    features[r] += z_tile[r * UNITS + k] * weight;
                }
            }
            for (var r = 0u; r < ROWS; r++) {
                if unit < params.features && first_row + r < params.batch {
                    features[r] = project(now, first_row + r, unit, features[r]);
                }
            }
            put(half, unit, &features);
            workgroupBarrier();
        }
        now = next_slots(now, reverse);
    }
}

// Puts a feature of h of all rows into one half; those beyond the last are zero.
fn put(half: u32, unit: u32, rows: ptr<function, Rows>) {
    let inside = unit < params.features;
    if ROWS == 1u {
        h_tile[half * UNITS + unit] = select(0.0, rows[0], inside);
    } else {
        let at = (half * UNITS + unit) * QUADS;
        let upper = vec4(rows[0], rows[1 % ROWS], rows[2 % ROWS], rows[3 % ROWS]);
        let lower = vec4(rows[4 % ROWS], rows[5 % ROWS], rows[6 % ROWS], rows[7 % ROWS]);
        quad_tile[at] = select(vec4(0.0), upper, inside);
        quad_tile[at + 1u] = select(vec4(0.0), lower, inside);
    }
}
