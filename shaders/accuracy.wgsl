// accuracy: which rows have their target as the class with the largest logit.
//
//   correct[r] = argmax(logits[r]) == targets[r] ? w[r] : 0        w[r] = 1 unless WEIGHTS
//
// | binding | name    | shape                | access     | may alias |
// |---------|---------|----------------------|------------|-----------|
// | 0       | params  | Params               | uniform    |           |
// | 1       | logits  | [R, C]               | read       | read ones |
// | 2       | targets | [R]                  | read       | read ones |
// | 3       | lengths | [B], where LENGTHS   | read       | read ones |
// | 4       | weights | [R], where WEIGHTS   | read       | read ones |
// | 5       | correct | [R]                  | read_write | nothing   |
//
// Rows are time-major: row r is timestep t + r / B of row r % B of the batch. One that has ended is
// 0, and so is one whose target is ignore_index or no class.
// Grid: ceil(R / (64 / LANES)) over x and y. Workgroup: 64 invocations, 512 B.
// Twin: reference::accuracy.

override LENGTHS: bool = false;
override WEIGHTS: bool = false;

struct Params {
    rows: u32,
    batch: u32,
    classes: u32,
    first: u32,
    ignore_index: f32,
    logits_start: u32,
    targets_start: u32,
    lengths_start: u32,
    weights_start: u32,
    correct_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // [R, C]
@group(0) @binding(2) var<storage, read> targets: array<f32>;        // [R]
@group(0) @binding(3) var<storage, read> lengths: array<f32>;        // [B]
@group(0) @binding(4) var<storage, read> weights: array<f32>;        // [R]
@group(0) @binding(5) var<storage, read_write> correct: array<f32>;  // [R]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_lane(group, groups, lane);
    let classes = select(0u, params.classes, at.row < params.rows);
    let best = rows_argmax(at, params.logits_start + at.row * params.classes, classes);
    if at.lane_in_row == 0u && at.row < params.rows {
        let target_class = targets[params.targets_start + at.row];
        var counts = target_class != params.ignore_index;
        if LENGTHS {
            let row = params.first + at.row;
            let length = lengths[params.lengths_start + row % params.batch];
            counts = counts && !has_ended(length, row / params.batch);
        }
        let right = index_in(target_class, params.classes) == best;
        var weight = 1.0;
        if WEIGHTS {
            weight = weights[params.weights_start + at.row];
        }
        correct[params.correct_start + at.row] = select(0.0, weight, counts && right);
    }
}
