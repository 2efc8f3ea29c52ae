// reduce_sum: sums a vector in chunks; one chunk gives the whole sum.
//
//   out[p] = (out[p] +) scale * sum of a[n] over chunk p         (added where ACCUMULATE)
//
// | binding | name   | shape              | access     | may alias |
// |---------|--------|--------------------|------------|-----------|
// | 0       | params | Params             | uniform    |           |
// | 1       | a      | [N]                | read       | nothing   |
// | 2       | out    | [ceil(N / chunk)]  | read_write | nothing   |
//
// Grid: one workgroup a chunk. Workgroup: 256 invocations, 1 KiB.
// Twin: reference::reduce_sum.
//
// Version 1: an invocation sums every 256th element of its chunk, a tree joins them.

override ACCUMULATE: bool = false;

const SUM_LANES = 256u;

struct Params {
    len: u32,
    chunk: u32,
    a_start: u32,
    out_start: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;               // [N]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;       // [ceil(N / chunk)]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = group.x * params.chunk;
    let end = min(first + params.chunk, params.len);
    var sum = 0.0;
    for (var n = first + lane; n < end; n += SUM_LANES) {
        sum += a[params.a_start + n];
    }
    let total = workgroup_sum(lane, sum);
    if lane == 0u {
        let at = params.out_start + group.x;
        if ACCUMULATE {
            out[at] += params.scale * total;
        } else {
            out[at] = params.scale * total;
        }
    }
}
