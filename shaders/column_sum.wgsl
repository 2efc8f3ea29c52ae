// column_sum: sums the rows of a matrix in chunks, the first stage of a bias's gradient; a second
// launch over the partial sums is the last.
//
//   out[p][n] = (out[p][n] +) sum of a[m][n] over the rows m of chunk p     (added where ACCUMULATE)
//
// | binding | name   | shape                 | access     | may alias |
// |---------|--------|-----------------------|------------|-----------|
// | 0       | params | Params                | uniform    |           |
// | 1       | a      | [M, N]                | read       | nothing   |
// | 2       | out    | [ceil(M / chunk), N]  | read_write | nothing   |
//
// Grid: ceil(N / 64) x chunks. Workgroup: 64 invocations, no memory.
// Twin: reference::column_sum.
//
// Version 1: an invocation owns a column of a chunk; neighbours read neighbouring columns.

override ACCUMULATE: bool = false;

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    a_start: u32,
    out_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;               // [M, N]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;       // [ceil(M / chunk), N]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    if column >= params.columns {
        return;
    }
    let first = group.y * params.chunk;
    let end = min(first + params.chunk, params.rows);
    var sum = 0.0;
    for (var row = first; row < end; row++) {
        sum += a[params.a_start + row * params.columns + column];
    }
    let at = params.out_start + group.y * params.columns + column;
    if ACCUMULATE {
        out[at] += sum;
    } else {
        out[at] = sum;
    }
}
