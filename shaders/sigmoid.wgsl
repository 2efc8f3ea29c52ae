// sigmoid: logits of yes or no, each to its probability or to the more probable one.
//
//   out[n] = 1 / (1 + exp(-logits[n]))        unless DECIDE
//   out[n] = logits[n] > 0 ? 1 : 0            where DECIDE
//
// | binding | name   | shape  | access     | may alias |
// |---------|--------|--------|------------|-----------|
// | 0       | params | Params | uniform    |           |
// | 1       | logits | [N]    | read       | nothing   |
// | 2       | out    | [N]    | read_write | nothing   |
//
// A NaN stays one, and is no yes.
// Grid: ceil(N / 256) over x and y. Workgroup: 256 invocations.
// Twin: reference::sigmoids.

override DECIDE: bool = false;

struct Params {
    len: u32,
    logits_start: u32,
    out_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;     // [N]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [N]

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
    if DECIDE {
        out[params.out_start + n] = select(0.0, 1.0, logit > 0.0 && !is_nan(logit));
    } else {
        out[params.out_start + n] = sigmoid(vec4(logit)).x;
    }
}
