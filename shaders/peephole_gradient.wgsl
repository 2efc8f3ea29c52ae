// peephole_gradient: the gradient of a cell's peepholes over chunks of rows, timesteps of rows of a batch; a
// launch of column_sum over the chunks is the last stage.
//
//   out[p][h] = (out[p][h] +) sum of (d i * c_prev, d f * c_prev, 0, d o * c) over the rows of chunk p
//                                                                             (added where ACCUMULATE)
//
// | binding | name    | shape                                     | access     | may alias |
// |---------|---------|-------------------------------------------|------------|-----------|
// | 0       | params  | Params                                    | uniform    |           |
// | 1       | d_gates | [M, H] of (i, f, g, o)                    | read       | nothing   |
// | 2       | c       | [T+1, B, H]; before the timesteps and     | read       | nothing   |
// |         |         | after them [M, H] each                    |            |           |
// | 3       | out     | [ceil(M / chunk), H] of (i, f, 0, o)      | read_write | nothing   |
//
// A gradient of zero, such as that of a row that has ended, adds nothing, whatever the state.
// Grid: ceil(H / 64) x chunks. Workgroup: 64 invocations, no memory. Twin: reference::peephole_gradient.
//
// Version 1: an invocation owns a unit of a chunk.

override ACCUMULATE: bool = false;

struct Params {
    rows: u32,
    hidden: u32,
    chunk: u32,
    d_start: u32,
    c_prev_start: u32,
    c_start: u32,
    out_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_gates: array<vec4<f32>>;     // [M, H]
@group(0) @binding(2) var<storage, read> c: array<f32>;                 // [T+1, B, H]
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;   // [ceil(M / chunk), H]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(global_invocation_id) id: vec3<u32>) {
    let unit = id.x;
    if unit >= params.hidden {
        return;
    }
    let first = group.y * params.chunk;
    let end = min(first + params.chunk, params.rows);
    var sum = vec4(0.0);
    for (var row = first; row < end; row++) {
        let at = row * params.hidden + unit;
        let d = d_gates[params.d_start + at];
        let before = c[params.c_prev_start + at];
        let terms = d * vec4(before, before, 0.0, c[params.c_start + at]);
        let counts = (d != vec4(0.0)) & vec4(true, true, false, true);
        sum += select(vec4(0.0), terms, counts);
    }
    let at = params.out_start + group.y * params.hidden + unit;
    if ACCUMULATE {
        out[at] += sum;
    } else {
        out[at] = sum;
    }
}
