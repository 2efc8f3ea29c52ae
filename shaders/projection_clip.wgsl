// projection_clip: bounds projected hidden states of a timestep (TensorFlow's proj_clip), or drops the gradients
// of those that the bound has changed.
//
//   x[b][p] = x[b][p] within +-bound
//   x[b][p] = |h[b][p]| >= bound ? 0 : x[b][p]      where BACKWARD
//
// | binding | name    | shape                    | access     | may alias |
// |---------|---------|--------------------------|------------|-----------|
// | 0       | params  | Params                   | uniform    |           |
// | 1       | h       | [B, P], where BACKWARD   | read       | nothing   |
// | 2       | lengths | [B], where LENGTHS       | read       | h         |
// | 3       | x       | [B, P], rows apart       | read_write | nothing   |
//
// NaN stays, and so does a row that has ended. Grid: ceil(B P / 256) over x and y. Twin: reference::projection_clip.

override BACKWARD: bool = false;
override LENGTHS: bool = false;

struct Params {
    batch: u32,
    width: u32,
    bound: f32,
    h_start: u32,
    h_row: u32,
    x_start: u32,
    x_row: u32,
    lengths_start: u32,
    t: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h: array<f32>;         // [B, P]
@group(0) @binding(2) var<storage, read> lengths: array<f32>;  // [B]
@group(0) @binding(3) var<storage, read_write> x: array<f32>;   // [B, P]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = (group.y * groups.x + group.x) * 256u + lane;
    if n >= params.batch * params.width {
        return;
    }
    let row = n / params.width;
    let k = n % params.width;
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], params.t) {
            return;
        }
    }
    let at = params.x_start + row * params.x_row + k;
    if BACKWARD {
        let clipped = abs(h[params.h_start + row * params.h_row + k]) >= params.bound;
        x[at] = select(x[at], 0.0, clipped);
    } else {
        x[at] = select(clamp(x[at], -params.bound, params.bound), x[at], is_nan(x[at]));
    }
}
