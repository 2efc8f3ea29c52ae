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

// h of the timestep before and of this one, in quads.
const QUADS = UNITS / 4u;

var<workgroup> h_tile: array<vec4<f32>, 2u * ROWS * QUADS>;  // [2, ROWS, QUADS]

var<workgroup> z_tile: array<f32, ROWS * UNITS>;             // [ROWS, UNITS], where PROJECTION

alias Column = array<vec4<f32>, UNITS>;
alias Sums = array<vec4<f32>, ROWS>;

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

// The share of four terms of all rows; `four`: of invocation i those of row i.
fn all_rows(
    first: u32,
    four: vec4<f32>,
    column: ptr<function, Column>,
    sums: ptr<function, Sums>,
) {
    let weights = quad_of(first, column);
    sums[0] += weights * subgroupBroadcast(four, 0u);
    sums[1 % ROWS] += weights * subgroupBroadcast(four, 1u);
    sums[2 % ROWS] += weights * subgroupBroadcast(four, 2u);
    sums[3 % ROWS] += weights * subgroupBroadcast(four, 3u);
    sums[4 % ROWS] += weights * subgroupBroadcast(four, 4u);
    sums[5 % ROWS] += weights * subgroupBroadcast(four, 5u);
    sums[6 % ROWS] += weights * subgroupBroadcast(four, 6u);
    sums[7 % ROWS] += weights * subgroupBroadcast(four, 7u);
}

// Sixteen terms of all rows, where they are.
fn sixteen_terms(
    first: u32,
    at: u32,
    column: ptr<function, Column>,
    sums: ptr<function, Sums>,
) {
    if first < UNITS {
        all_rows(first, h_tile[at], column, sums);
        all_rows(first + 4u, h_tile[at + 1u], column, sums);
        all_rows(first + 8u, h_tile[at + 2u], column, sums);
        all_rows(first + 12u, h_tile[at + 3u], column, sums);
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
    var cells: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let row = min(first_row + r, params.batch - 1u);
        cells[r] = c[now.c_prev + row * params.hidden + last_unit];
        put(r, unit, h[now.h_prev + row * params.h_row + min(unit, params.features - 1u)]);
        put(ROWS + r, unit, 0.0);
    }
    workgroupBarrier();
    var read_from = 0u;
    for (var n = 0u; n < params.steps; n++) {
        var sums: Sums;
        if ROWS == 1u {
            let at = read_from + place % 8u;
            sums[0] = one_row(0u, h_tile[at], &column);
            if UNITS > 32u {
                sums[0] += one_row(32u, h_tile[at + 8u], &column);
            }
            if UNITS > 64u {
                sums[0] += one_row(64u, h_tile[at + 16u], &column);
                sums[0] += one_row(96u, h_tile[at + 24u], &column);
            }
        } else {
            let at = read_from + place % 8u * QUADS;
            sixteen_terms(0u, at, &column, &sums);
            sixteen_terms(16u, at + 4u, &column, &sums);
            sixteen_terms(32u, at + 8u, &column, &sums);
            sixteen_terms(48u, at + 12u, &column, &sums);
            sixteen_terms(64u, at + 16u, &column, &sums);
            sixteen_terms(80u, at + 20u, &column, &sums);
            sixteen_terms(96u, at + 24u, &column, &sums);
            sixteen_terms(112u, at + 28u, &column, &sums);
        }
        read_from = ROWS * QUADS - read_from;
        for (var r = 0u; r < ROWS; r++) {
            if unit < params.hidden && first_row + r < params.batch {
                let result = finish(now, first_row + r, unit, sums[r], cells[r]);
                cells[r] = result.cell;
                if PROJECTION {
                    z_tile[r * UNITS + unit] = result.h;
                } else {
                    put(read_from / QUADS + r, unit, result.h);
                }
            }
        }
        workgroupBarrier();
        if PROJECTION {
            var features: array<f32, ROWS>;
            for (var k = 0u; k < params.hidden; k++) {
                let weight = w[projection_row(reverse, k) + min(unit, params.features - 1u)];
                for (var r = 0u; r < ROWS; r++) {
                    features[r] += z_tile[r * UNITS + k] * weight;
                }
            }
            for (var r = 0u; r < ROWS; r++) {
                if unit < params.features && first_row + r < params.batch {
                    let feature = project(now, first_row + r, unit, features[r]);
                    put(read_from / QUADS + r, unit, feature);
                }
            }
            workgroupBarrier();
        }
        now = next_slots(now, reverse);
    }
}

// Puts a feature of h into the tile; those beyond the last are zero.
fn put(tile_row: u32, unit: u32, value: f32) {
    h_tile[tile_row * QUADS + unit / 4u][unit % 4u] = select(0.0, value, unit < params.features);
}
