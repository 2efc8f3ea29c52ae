// binary_accuracy: which logits of yes or no are on the side of their targets.
//
//   correct[n] = (logits[n] > 0) == (targets[n] > 1/2) ? w : 0
//
// | binding | name    | shape                 | access     | may alias |
// |---------|---------|-----------------------|------------|-----------|
// | 0       | params  | Params                | uniform    |           |
// | 1       | logits  | [T, B, O]             | read       | read ones |
// | 2       | targets | [T, B, O]             | read       | read ones |
// | 3       | lengths | [B], where LENGTHS    | read       | read ones |
// | 4       | weights | [T, B], where WEIGHTS | read       | read ones |
// | 5       | correct | [T, B, O]             | read_write | nothing   |
//
// w is the weight of the element's row, 1 unless WEIGHTS. Rows that have ended are 0, and so are those of
// weight 0, whatever stands there. A NaN is on no side.
// N = T B O elements, from the `first` on in one launch; weights from that element's row on. Grid:
// ceil(N / 256) over x and y. Workgroup: 256 invocations.
// Twin: reference::binary_accuracy.

override LENGTHS: bool = false;
override WEIGHTS: bool = false;

struct Params {
    len: u32,
    first: u32,
    batch: u32,
    width: u32,
    logits_start: u32,
    targets_start: u32,
    lengths_start: u32,
    weights_start: u32,
    correct_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // [T, B, O]
@group(0) @binding(2) var<storage, read> targets: array<f32>;        // [T, B, O]
@group(0) @binding(3) var<storage, read> lengths: array<f32>;        // [B]
@group(0) @binding(4) var<storage, read> weights: array<f32>;        // [T, B]
@group(0) @binding(5) var<storage, read_write> correct: array<f32>;  // [T, B, O]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = (group.y * groups.x + group.x) * 256u + lane;
    if n >= params.len {
        return;
    }
    let logit = logits[params.logits_start + n];
    let goal = targets[params.targets_start + n];
    var right = (logit > 0.0) == (goal > 0.5) && !is_nan(logit) && !is_nan(goal);
    if LENGTHS {
        let row = (params.first + n) / params.width;
        let length = lengths[params.lengths_start + row % params.batch];
        right = right && !has_ended(length, row / params.batch);
    }
    var weight = 1.0;
    if WEIGHTS {
        weight = weights[params.weights_start + (params.first % params.width + n) / params.width];
    }
    correct[params.correct_start + n] = select(0.0, weight, right);
}
