// rmsprop: one step of RMSprop over flat buffers, for all parameter groups.
//
//   g = clip(scale * g, clip_value)
//   p = keep * p
//   g = g + weight_decay * p
//   square_avg = alpha * square_avg + (1 - alpha) * g^2
//   with CENTERED:
//     grad_avg = grad_avg + (1 - alpha) * (g - grad_avg)
//   g = g / (sqrt(CENTERED ? square_avg - grad_avg^2 : square_avg) + eps)
//   with MOMENTUM:
//     momentum = mu * momentum + g
//     g = momentum
//   p = p - rate * g
//
// | binding | name       | shape                              | access     | may alias       |
// |---------|------------|------------------------------------|------------|-----------------|
// | 0       | params     | Params                             | uniform    |                 |
// | 1       | settings   | [G, 16], a row a group             | read       | what is read    |
// | 2       | groups     | [ceil(N / 64)], a group a block    | read       | what is read    |
// | 3       | status     | [16], see common/status.wgsl       | read       | what is read    |
// | 4       | g          | [N]                                | read       | what is read    |
// | 5       | p          | [N]                                | read_write | nothing         |
// | 6       | square_avg | [N]                                | read_write | nothing         |
// | 7       | momentum   | [N], without MOMENTUM whatever     | read_write | nothing         |
// | 8       | grad_avg   | [N], without CENTERED whatever     | read_write | nothing         |
//
// Where the status says not to apply, or a group isn't active, nothing changes.
// Grid: ceil(N / 256). Workgroup: 256 invocations, no memory.
// Twin: reference::rmsprop.
//
// Version 1: an element an invocation.

override MOMENTUM: bool = false;
override CENTERED: bool = false;

const ALPHA = 5u;
const ONE_MINUS_ALPHA = 6u;
const EPS = 7u;
const MU = 8u;

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
@group(0) @binding(6) var<storage, read_write> square_avg: array<f32>; // [N]
@group(0) @binding(7) var<storage, read_write> momentum: array<f32>;   // [N]
@group(0) @binding(8) var<storage, read_write> grad_avg: array<f32>;   // [N]

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
    let share = settings[row + ONE_MINUS_ALPHA];
    let square = settings[row + ALPHA] * square_avg[at] + share * gradient * gradient;
    square_avg[at] = square;
    var variance = square;
    if CENTERED {
        let mean = grad_avg[at] + share * (gradient - grad_avg[at]);
        grad_avg[at] = mean;
        // Rounding may take it below zero, where gradients stay the same.
        let difference = square - mean * mean;
        variance = select(difference, 0.0, difference < 0.0);
    }
    var direction = gradient / (sqrt(variance) + settings[row + EPS]);
    if MOMENTUM {
        direction += settings[row + MU] * momentum[at];
        momentum[at] = direction;
    }
    p[at] = kept - settings[row + RATE] * direction;
}
