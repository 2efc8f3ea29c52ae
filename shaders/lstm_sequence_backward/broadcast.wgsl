// lstm_sequence_backward for drivers that compute on a CPU, for few units. After sequence.wgsl and
// `const UNITS`, `const ROWS`: the most units, 32 or 64, and the rows of a workgroup, 1 or 8.
//
// Grid: ceil(B / ROWS) x 1 x directions. Workgroup: UNITS invocations, 36 ROWS UNITS bytes; a
// subgroup of 8 or more. Weights are not in panels. A projection takes a barrier more.
//
// Version 1: an invocation owns a unit, whose row of w it keeps in a private array, of all rows of the
// batch; as lstm_sequence_forward/broadcast.wgsl, but that a term has four gradients, which are
// multiplied and added in fours, and joined at the end.

// The gates' gradients of the timestep after and of this one.
var<workgroup> d_tile: array<vec4<f32>, 2u * ROWS * UNITS>;  // [2, ROWS, UNITS]

var<workgroup> p_tile: array<f32, ROWS * UNITS>;             // [ROWS, UNITS], where PROJECTION

alias Weights = array<vec4<f32>, UNITS>;
alias Sums = array<vec4<f32>, ROWS>;

// The share of eight terms of one row; `d`: of invocation i that of term i.
fn one_row(first: u32, d: vec4<f32>, weights: ptr<function, Weights>) -> vec4<f32> {
    if first >= UNITS {
        return vec4(0.0);
    }
    let even = weights[first] * subgroupBroadcast(d, 0u)
        + weights[first + 2u] * subgroupBroadcast(d, 2u)
        + weights[first + 4u] * subgroupBroadcast(d, 4u)
        + weights[first + 6u] * subgroupBroadcast(d, 6u);
    let odd = weights[first + 1u] * subgroupBroadcast(d, 1u)
        + weights[first + 3u] * subgroupBroadcast(d, 3u)
        + weights[first + 5u] * subgroupBroadcast(d, 5u)
        + weights[first + 7u] * subgroupBroadcast(d, 7u);
    return even + odd;
}

// The share of a term of all rows; `d`: of invocation i that of row i.
fn all_rows(weight: vec4<f32>, d: vec4<f32>, sums: ptr<function, Sums>) {
    sums[0] += weight * subgroupBroadcast(d, 0u);
    sums[1 % ROWS] += weight * subgroupBroadcast(d, 1u);
    sums[2 % ROWS] += weight * subgroupBroadcast(d, 2u);
    sums[3 % ROWS] += weight * subgroupBroadcast(d, 3u);
    sums[4 % ROWS] += weight * subgroupBroadcast(d, 4u);
    sums[5 % ROWS] += weight * subgroupBroadcast(d, 5u);
    sums[6 % ROWS] += weight * subgroupBroadcast(d, 6u);
    sums[7 % ROWS] += weight * subgroupBroadcast(d, 7u);
}

// Eight terms of all rows, where they are.
fn eight_terms(first: u32, at: u32, weights: ptr<function, Weights>, sums: ptr<function, Sums>) {
    if first < UNITS {
        all_rows(weights[first + 0u], d_tile[at + 0u], sums);
        all_rows(weights[first + 1u], d_tile[at + 1u], sums);
        all_rows(weights[first + 2u], d_tile[at + 2u], sums);
        all_rows(weights[first + 3u], d_tile[at + 3u], sums);
        all_rows(weights[first + 4u], d_tile[at + 4u], sums);
        all_rows(weights[first + 5u], d_tile[at + 5u], sums);
        all_rows(weights[first + 6u], d_tile[at + 6u], sums);
        all_rows(weights[first + 7u], d_tile[at + 7u], sums);
    }
}

// Reads 32 quads of a row of w, where they are.
fn load_row(first: u32, start: u32, weights: ptr<function, Weights>) {
    if first < UNITS {
        for (var i = 0u; i < 32u; i++) {
            let k = first + i;
            let quad = w[start + min(k, params.hidden - 1u)];
            weights[k] = select(vec4(0.0), quad, k < params.hidden);
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
    let w_start = select(params.w_start, params.w_reverse, reverse);
    let first_row = group.x * ROWS;
    // Units and rows beyond the last read its operands, and write nothing.
    let last_unit = min(unit, params.hidden - 1u);

    var weights: Weights;
    // With a projection, a feature has a product in a unit's place.
    let own_row = w_start + min(unit, params.features - 1u) * params.hidden;
    load_row(0u, own_row, &weights);
    load_row(32u, own_row, &weights);

    var now = first_slots(reverse);
    var d_cells: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let at = min(first_row + r, params.batch - 1u) * params.hidden + last_unit;
        d_cells[r] = dc[now.dc + at];
        var incoming = vec4(0.0);
        if params.incoming == 1u && unit < params.hidden {
            incoming = gates[slot_after(now, reverse) + at];
        }
        d_tile[r * UNITS + unit] = incoming;
        d_tile[(ROWS + r) * UNITS + unit] = vec4(0.0);
    }
    workgroupBarrier();
    var read_from = 0u;
    for (var n = 0u; n < params.steps; n++) {
        var sums = Sums();
        if ROWS == 1u {
            let at = read_from + place % 8u;
            sums[0] = one_row(0u, d_tile[at], &weights)
                + one_row(8u, d_tile[at + 8u], &weights)
                + one_row(16u, d_tile[at + 16u], &weights)
                + one_row(24u, d_tile[at + 24u], &weights);
            if UNITS > 32u {
                sums[0] += one_row(32u, d_tile[at + 32u], &weights)
                    + one_row(40u, d_tile[at + 40u], &weights)
                    + one_row(48u, d_tile[at + 48u], &weights)
                    + one_row(56u, d_tile[at + 56u], &weights);
            }
        } else {
            let at = read_from + place % 8u * UNITS;
            eight_terms(0u, at + 0u, &weights, &sums);
            eight_terms(8u, at + 8u, &weights, &sums);
            eight_terms(16u, at + 16u, &weights, &sums);
            eight_terms(24u, at + 24u, &weights, &sums);
            eight_terms(32u, at + 32u, &weights, &sums);
            eight_terms(40u, at + 40u, &weights, &sums);
            eight_terms(48u, at + 48u, &weights, &sums);
            eight_terms(56u, at + 56u, &weights, &sums);
        }
        read_from = ROWS * UNITS - read_from;
        var products = array<f32, ROWS>();
        for (var r = 0u; r < ROWS; r++) {
            products[r] = dot(sums[r], vec4(1.0));
        }
        if PROJECTION {
            for (var r = 0u; r < ROWS; r++) {
                if unit < params.features && first_row + r < params.batch {
                    p_tile[r * UNITS + unit] = project(now, first_row + r, unit, products[r]);
                }
                products[r] = 0.0;
            }
            workgroupBarrier();
            for (var p = 0u; p < params.features; p++) {
                let weight = projection[projection_row(reverse, last_unit) + p];
                for (var r = 0u; r < ROWS; r++) {
                    products[r] += p_tile[r * UNITS + p] * weight;
                }
            }
        }
        for (var r = 0u; r < ROWS; r++) {
            let row = first_row + r;
            if unit < params.hidden && row < params.batch {
                let result = finish(now, row, unit, products[r], d_cells[r]);
                d_cells[r] = result.c_prev;
                d_tile[read_from + r * UNITS + unit] = result.sums;
            }
        }
        workgroupBarrier();
        now = next_slots(now, reverse);
    }
    for (var r = 0u; r < ROWS; r++) {
        let row = first_row + r;
        if unit < params.hidden && row < params.batch {
            dc[now.dc + row * params.hidden + unit] = d_cells[r];
        }
    }
}
