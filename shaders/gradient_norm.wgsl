// gradient_norm: sums the squares of gradients in chunks, and finds what isn't finite.
//
//   partials[c][0] = sum of g[n]^2 over chunk c
//   partials[c][1] = offset in chunk c of the first NaN or infinity, CHUNK where there is none
//
// | binding | name     | shape                              | access     | may alias       |
// |---------|----------|------------------------------------|------------|-----------------|
// | 0       | params   | Params                             | uniform    |                 |
// | 1       | settings | [G, 16], a row a group             | read       | what is read    |
// | 2       | groups   | [ceil(N / 64)], a group a block    | read       | what is read    |
// | 3       | g        | [N]                                | read       | what is read    |
// | 4       | partials | [chunks, 2]                        | read_write | nothing         |
//
// Elements of groups that aren't active don't count. The launch writes from chunk first_chunk on.
// Grid: one workgroup a chunk, of at most 16,384 elements. Workgroup: 256 invocations, 1 KiB and 4 bytes.
// Twin: reference::gradient_norm.
//
// Version 1: an invocation takes every 256th element of its chunk, a tree joins the sums; the
// smallest of integers is the same in any order.

const SUM_LANES = 256u;

struct Params {
    len: u32,
    first_chunk: u32,
    chunk: u32,
    g_start: u32,
    settings_start: u32,
    groups_start: u32,
    partials_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> settings: array<f32>;         // [G, 16]
@group(0) @binding(2) var<storage, read> groups: array<f32>;           // [ceil(N / 64)]
@group(0) @binding(3) var<storage, read> g: array<f32>;                // [N]
@group(0) @binding(4) var<storage, read_write> partials: array<f32>;   // [chunks, 2]

var<workgroup> first_bad: atomic<u32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    if lane == 0u {
        atomicStore(&first_bad, CHUNK);
    }
    workgroupBarrier();
    let first = group.x * params.chunk;
    let end = min(first + params.chunk, params.len);
    var sum = 0.0;
    var bad = CHUNK;
    for (var n = first + lane; n < end; n += SUM_LANES) {
        if settings[row_of(n) + ACTIVE] != 0.0 {
            let value = g[params.g_start + n];
            sum += value * value;
            if !is_finite(value) {
                bad = min(bad, n - first);
            }
        }
    }
    atomicMin(&first_bad, bad);
    let total = workgroup_sum(lane, sum);
    if lane == 0u {
        let at = params.partials_start + 2u * (params.first_chunk + group.x);
        partials[at] = total;
        partials[at + 1u] = f32(atomicLoad(&first_bad));
    }
}
