// adam: one step of Adam or AdamW over flat buffers, for all parameter groups.
//
//   g = clip(scale * g, clip_value)
//   p = keep * p
//   g = g + weight_decay * p
//   m = m + (1 - beta1) * (g - m)
//   v = beta2 * v + (1 - beta2) * g^2
//   p = p - rate * m / (sqrt(v) / root_correction + eps)
//
// | binding | name     | shape                              | access     | may alias       |
// |---------|----------|------------------------------------|------------|-----------------|
// | 0       | params   | Params                             | uniform    |                 |
// | 1       | settings | [G, 16], a row a group             | read       | what is read    |
// | 2       | groups   | [ceil(N / 64)], a group a block    | read       | what is read    |
// | 3       | status   | [16], see common/status.wgsl       | read       | what is read    |
// | 4       | g        | [N]                                | read       | what is read    |
// | 5       | p        | [N]                                | read_write | nothing         |
// | 6       | m        | [N]                                | read_write | nothing         |
// | 7       | v        | [N]                                | read_write | nothing         |
//
// Where the status says not to apply, or a group isn't active, nothing changes. rate is
// lr / (1 - beta1^step), root_correction sqrt(1 - beta2^step).
// Grid: ceil(N / 256). Workgroup: 256 invocations, no memory.
// Twin: reference::adam.
//
// Version 2: an element an invocation; what changes from step to step comes from buffers, so that
// one recorded launch serves every step and all groups.

struct Params {
    len: u32,
    start: u32,
    settings_start: u32,
    groups_start: u32,
    status_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> settings: array<f32>;         // [G, 16]
@group(0) @binding(2) var<storage, read> groups: array<f32>;           // [ceil(N / 64)]
@group(0) @binding(3) var<storage, read> status: array<f32>;           // [16]
@group(0) @binding(4) var<storage, read> g: array<f32>;                // [N]
@group(0) @binding(5) var<storage, read_write> p: array<f32>;          // [N]
@group(0) @binding(6) var<storage, read_write> m: array<f32>;          // [N]
@group(0) @binding(7) var<storage, read_write> v: array<f32>;          // [N]

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.len {
        return;
    }
    let row = row_of(id.x);
    if !is_updated(row) {
        return;
    }
    let at = params.start + id.x;
    var own: AdamSettings;
    own.rate = settings[row + RATE];
    own.weight_decay = settings[row + WEIGHT_DECAY];
    own.keep = settings[row + KEEP];
    own.clip_value = settings[row + CLIP_VALUE];
    own.one_minus_beta1 = settings[row + ONE_MINUS_BETA1];
    own.beta2 = settings[row + BETA2];
    own.one_minus_beta2 = settings[row + ONE_MINUS_BETA2];
    own.eps = settings[row + EPS];
    own.root_correction = settings[row + ROOT_CORRECTION];
    own.scale = status[params.status_start + STATUS_SCALE];
    let after = adam_step(own, g[at], AdamElement(p[at], m[at], v[at]));
    p[at] = after.p;
    m[at] = after.m;
    v[at] = after.v;
}
