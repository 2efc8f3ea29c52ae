// Rows of classes [R, C]: a workgroup of 64 works on 64 / LANES of them, LANES invocations share
// one and join what they have by a tree in workgroup memory, in a fixed order.
//
// A kernel
//   - has @workgroup_size(64) and the grid of kernels::row_grid, with LANES from kernels::row_lanes;
//   - has rank.wgsl before it;
//   - takes its place from row_lane(...), and the classes lane_in_row, + LANES, ... below C;
//   - calls rows_max, rows_sum or rows_argmax from every invocation, and never in a branch that
//     isn't the same for all: one whose row is beyond the last reads nothing, calls all the same,
//     and writes nothing. What they return is valid in every invocation of the row.

override LANES: u32 = 1u;  // a power of two, at most 64

const ROW_INVOCATIONS = 64u;
const LOWEST = -3.4028234663852886e38;  // where a maximum starts; WGSL has no -inf

struct RowLane {
    row: u32,
    lane_in_row: u32,
    slot: u32,  // in workgroup memory
}

var<workgroup> row_values: array<f32, ROW_INVOCATIONS>;

fn row_lane(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> RowLane {
    let first = (group.y * groups.x + group.x) * (ROW_INVOCATIONS / LANES);
    return RowLane(first + lane / LANES, lane % LANES, lane);
}

// The larger number; a NaN is larger than any.
fn larger(a: f32, b: f32) -> f32 {
    return select(a, b, rank(b) > rank(a));
}

// The largest value of the row's invocations, NaN where one has NaN.
fn rows_max(lane_in_row: u32, slot: u32, value: f32) -> f32 {
    if LANES == 1u {
        return value;
    }
    row_values[slot] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane_in_row < half {
            row_values[slot] = larger(row_values[slot], row_values[slot + half]);
        }
    }
    workgroupBarrier();
    let largest = row_values[slot - lane_in_row];
    workgroupBarrier();  // the next call writes
    return largest;
}

// The sum of the values of the row's invocations.
fn rows_sum(lane_in_row: u32, slot: u32, value: f32) -> f32 {
    if LANES == 1u {
        return value;
    }
    row_values[slot] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane_in_row < half {
            row_values[slot] += row_values[slot + half];
        }
    }
    workgroupBarrier();
    let sum = row_values[slot - lane_in_row];
    workgroupBarrier();  // the next call writes
    return sum;
}

// exp of what is at most 0, zero where the result isn't a normal number: some drivers are wrong
// further out, and it can't be told whether they keep what is smaller.
fn exp_below(x: f32) -> f32 {
    return select(exp(max(x, -87.0)), 0.0, x < -87.0);
}
