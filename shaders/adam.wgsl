// adam: one optimizer step over flat buffers.
//
//   g = g + weight_decay * p
//   m = m + (1 - beta1) * (g - m)
//   v = beta2 * v + (1 - beta2) * g^2
//   p = p - step_size * m / (sqrt(v) / root_correction + eps)
//
// | binding | name    | shape                            | access     | may alias |
// |---------|---------|----------------------------------|------------|-----------|
// | 0       | params  | Params                           | uniform    |           |
// | 1       | scalars | [2]: step_size, root_correction  | read       | g         |
// | 2       | g       | [N]                              | read       | scalars   |
// | 3       | p       | [N]                              | read_write | nothing   |
// | 4       | m       | [N]                              | read_write | nothing   |
// | 5       | v       | [N]                              | read_write | nothing   |
//
// Grid: ceil(N / 256). Workgroup: 256 invocations, no memory.
// Twin: reference::adam.
//
// Version 1: an element an invocation; the scalars of the step come from a buffer, so that one
// recorded launch serves every step.

struct Params {
    len: u32,
    start: u32,
    scalars_start: u32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    eps: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scalars: array<f32>;          // [2]
@group(0) @binding(2) var<storage, read> g: array<f32>;                // [N]
@group(0) @binding(3) var<storage, read_write> p: array<f32>;          // [N]
@group(0) @binding(4) var<storage, read_write> m: array<f32>;          // [N]
@group(0) @binding(5) var<storage, read_write> v: array<f32>;          // [N]

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.len {
        return;
    }
    let at = params.start + id.x;
    let step_size = scalars[params.scalars_start];
    let root_correction = scalars[params.scalars_start + 1u];
    let gradient = g[at] + params.weight_decay * p[at];
    let first = m[at] + params.one_minus_beta1 * (gradient - m[at]);
    let second = params.beta2 * v[at] + params.one_minus_beta2 * gradient * gradient;
    m[at] = first;
    v[at] = second;
    p[at] -= step_size * first / (sqrt(second) / root_correction + params.eps);
}
