// softmax: logits to probabilities, a row each, as torch.softmax over the last dimension.
//
//   probabilities[r][c] = exp(logits[r][c] - m) / sum_i exp(logits[r][i] - m)     m = max_i logits[r][i]
//
// | binding | name          | shape   | access     | may alias |
// |---------|---------------|---------|------------|-----------|
// | 0       | params        | Params  | uniform    |           |
// | 1       | logits        | [R, C]  | read       | nothing   |
// | 2       | probabilities | [R, C]  | read_write | nothing   |
//
// A logit of -inf gives zero. A row with NaN or +inf, or with nothing but -inf, becomes NaN.
// Grid: ceil(R / (64 / LANES)) over x and y. Workgroup: 64 invocations, 256 B.
// Twin: reference::softmax.
//
// Version 1: three passes over the logits: maximum, sum, quotients.

struct Params {
    rows: u32,
    classes: u32,
    logits_start: u32,
    probabilities_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;               // [R, C]
@group(0) @binding(2) var<storage, read_write> probabilities: array<f32>;  // [R, C]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_lane(group, groups, lane);
    let classes = select(0u, params.classes, at.row < params.rows);
    let start = params.logits_start + at.row * params.classes;
    let largest = rows_largest(at, start, classes);
    let sum = rows_exp_sum(at, start, classes, largest);
    let none = has_none(largest, sum);
    let to = params.probabilities_start + at.row * params.classes;
    for (var c = at.lane_in_row; c < classes; c += LANES) {
        let share = exp_below(logits[start + c] - largest) / sum;
        probabilities[to + c] = select(share, nan_of(bitcast<u32>(largest)), none);
    }
}
