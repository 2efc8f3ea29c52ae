// mse_loss: the mean squared error's gradient and its partial sums in one pass.
//
//   dy[n]      = scale * (y[n] - target[n])            scale = 2 / N
//   partials[p] = sum of (y[n] - target[n])^2 over the elements n of workgroup p
//
// | binding | name    | shape             | access     | may alias |
// |---------|---------|-------------------|------------|-----------|
// | 0       | params  | Params            | uniform    |           |
// | 1       | y       | [N]               | read       | targets   |
// | 2       | targets | [N]               | read       | y         |
// | 3       | dy      | [N]               | read_write | nothing   |
// | 4       | partials | [ceil(N / 1024)] | read_write | nothing   |
//
// Grid: ceil(N / 1024). Workgroup: 256 invocations, 1 KiB.
// Twin: reference::mse_loss.
//
// Version 1: four elements an invocation, a tree joins the squares.

struct Params {
    len: u32,
    y_start: u32,
    target_start: u32,
    dy_start: u32,
    partial_start: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;                 // [N]
@group(0) @binding(2) var<storage, read> targets: array<f32>;           // [N]
@group(0) @binding(3) var<storage, read_write> dy: array<f32>;          // [N]
@group(0) @binding(4) var<storage, read_write> partials: array<f32>;     // [ceil(N / 1024)]

const ELEMENTS = 1024u;  // of a workgroup

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = group.x * ELEMENTS;
    let end = min(first + ELEMENTS, params.len);
    var sum = 0.0;
    for (var n = first + lane; n < end; n += SUM_LANES) {
        let difference = y[params.y_start + n] - targets[params.target_start + n];
        dy[params.dy_start + n] = params.scale * difference;
        sum += difference * difference;
    }
    let total = workgroup_sum(lane, sum);
    if lane == 0u {
        partials[params.partial_start + group.x] = total;
    }
}
