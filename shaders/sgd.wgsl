// sgd: one step of gradient descent over flat buffers, for all parameter groups.
//
//   g = clip(scale * g, clip_value)
//   p = keep * p
//   g = g + weight_decay * p
//   with MOMENTUM:
//     momentum = mu * momentum + gradient_share * g
//     g = nesterov ? g + mu * momentum : momentum
//   p = p - rate * g
//
// | binding | name     | shape                              | access     | may alias       |
// |---------|----------|------------------------------------|------------|-----------------|
// | 0       | params   | Params                             | uniform    |                 |
// | 1       | settings | [G, 16], a row a group             | read       | what is read    |
// | 2       | groups   | [ceil(N / 64)], a group a block    | read       | what is read    |
// | 3       | status   | [16], see common/status.wgsl       | read       | what is read    |
// | 4       | g        | [N]                                | read       | what is read    |
// | 5       | p        | [N]                                | read_write | nothing         |
// | 6       | momentum | [N], without MOMENTUM whatever     | read_write | nothing         |
//
// Where the status says not to apply, or a group isn't active, nothing changes. gradient_share is
// 1 - dampening, and 1 in the first step.
// Grid: ceil(N / 256). Workgroup: 256 invocations, no memory.
// Twin: reference::sgd.
//
// Version 1: an element an invocation.

override MOMENTUM: bool = false;

const MU = 5u;
const GRADIENT_SHARE = 6u;
const NESTEROV = 7u;

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
@group(0) @binding(6) var<storage, read_write> momentum: array<f32>;   // [N]

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
    let kept = settings[row + KEEP] * p[at];
    let gradient = gradient_of(row, g[at], kept);
    var direction = gradient;
    if MOMENTUM {
        let mu = settings[row + MU];
        let moved = mu * momentum[at] + settings[row + GRADIENT_SHARE] * gradient;
        momentum[at] = moved;
        direction = moved;
        if settings[row + NESTEROV] != 0.0 {
            direction = gradient + mu * moved;
        }
    }
    p[at] = kept - settings[row + RATE] * direction;
}
