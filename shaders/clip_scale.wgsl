// clip_scale: what gradients are scaled with in a step, and whether the step is applied.
//
//   norm  = sqrt(sum of partials[c][0])
//   scale = max_norm is none ? 1 : min(1, max_norm / (norm + 1e-6))
//   bad   = loss isn't finite, or some partials[c][1] is below CHUNK
//   pass:  apply = 1
//   skip:  apply = 0 where bad, and skipped = skipped + 1
//   error: apply = 0 from the first bad step on, and since = since + 1
//
// | binding | name     | shape                                      | access     | may alias    |
// |---------|----------|--------------------------------------------|------------|--------------|
// | 0       | params   | Params                                     | uniform    |              |
// | 1       | scalars  | [4]: unused, max_norm,                     | read       | what is read |
// |         |          | policy (0 pass, 1 skip, 2 error), unused   |            |              |
// | 2       | loss     | [1]                                        | read       | what is read |
// | 3       | partials | [chunks, 2], as gradient_norm leaves them  | read       | what is read |
// | 4       | status   | [16], see common/status.wgsl               | read_write | nothing      |
//
// kind, chunk and offset are those of the latest step that was left out (skip), or of the first
// bad one (error). A norm that overflows while every gradient is finite isn't bad.
// Grid: one workgroup. Workgroup: 256 invocations, 1 KiB and 4 bytes.
// Twin: reference::clip_scale.
//
// Version 1: an invocation takes every 256th chunk, a tree joins the sums; invocation 0 decides.

const SUM_LANES = 256u;

struct Params {
    chunks: u32,
    scalars_start: u32,
    loss_start: u32,
    partials_start: u32,
    status_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scalars: array<f32>;          // [4]
@group(0) @binding(2) var<storage, read> loss: array<f32>;             // [1]
@group(0) @binding(3) var<storage, read> partials: array<f32>;         // [chunks, 2]
@group(0) @binding(4) var<storage, read_write> status: array<f32>;     // [16]

var<workgroup> first_bad: atomic<u32>;

fn found(bad_chunk: u32) -> Bad {
    if !is_finite(loss[params.loss_start]) {
        return Bad(KIND_LOSS, 0.0, 0.0);
    }
    if bad_chunk < params.chunks {
        let offset = partials[params.partials_start + 2u * bad_chunk + 1u];
        return Bad(KIND_GRADIENT, f32(bad_chunk), offset);
    }
    return Bad(KIND_NONE, 0.0, 0.0);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    if lane == 0u {
        atomicStore(&first_bad, params.chunks);
    }
    workgroupBarrier();
    var sum = 0.0;
    var bad = params.chunks;
    for (var c = lane; c < params.chunks; c += SUM_LANES) {
        let at = params.partials_start + 2u * c;
        sum += partials[at];
        if partials[at + 1u] < f32(CHUNK) {
            bad = min(bad, c);
        }
    }
    atomicMin(&first_bad, bad);
    let total = workgroup_sum(lane, sum);
    if lane == 0u {
        let max_norm = scalars[params.scalars_start + MAX_NORM];
        let policy = scalars[params.scalars_start + POLICY];
        decide(params.status_start, sqrt(total), max_norm, policy, found(atomicLoad(&first_bad)));
    }
}
