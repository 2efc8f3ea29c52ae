// argmax: the first class of those with the largest logit, a row each, as torch.argmax.
//
//   out[r] = the first c for which no logits[r][i] is larger than logits[r][c]
//
// | binding | name   | shape   | access     | may alias |
// |---------|--------|---------|------------|-----------|
// | 0       | params | Params  | uniform    |           |
// | 1       | logits | [R, C]  | read       | nothing   |
// | 2       | out    | [R]     | read_write | nothing   |
//
// A NaN is larger than any number.
// Grid: ceil(R / (64 / LANES)) over x and y. Workgroup: 64 invocations, 512 B.
// Twin: reference::argmax.

struct Params {
    rows: u32,
    classes: u32,
    logits_start: u32,
    out_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;     // [R, C]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [R]

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
        out[params.out_start + at.row] = f32(best);
    }
}
