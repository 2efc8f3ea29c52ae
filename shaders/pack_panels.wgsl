// pack_panels: B [K, N], or the transpose of a stored [N, K], in panels of 64 columns, one after
// the other and filled up with zeros: what products with the same B read again and again lies in
// the order in which they read it.
//
//   out[p][first + k][i] = B[k][64 p + i], zero where 64 p + i >= N
//
// | binding | name   | shape                        | access     | may alias |
// |---------|--------|------------------------------|------------|-----------|
// | 0       | params | Params                       | uniform    |           |
// | 1       | b      | [K, N], or [N, K] transposed | read       |           |
// | 2       | out    | [ceil(N / 64), rows, 64]     | read_write | nothing   |
//
// A panel may have more rows, for several matrices one below the other. With ACCUMULATE, B is added.
// Grid: an invocation an element, in two dimensions where there are many. Workgroup: 256
// invocations. Twin: reference::pack_panels.

override TRANSPOSE: bool = false;
override ACCUMULATE: bool = false;

struct Params {
    k: u32,
    n: u32,
    ldb: u32,
    b_start: u32,
    out_start: u32,
    len: u32,
    rows: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> b: array<f32>;            // [K, N]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;    // [ceil(N / 64), rows, 64]

const PANEL = 64u;

@compute @workgroup_size(256)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let at = id.y * groups.x * 256u + id.x;
    if at >= params.len {
        return;
    }
    let row = at / PANEL;
    let k = row % params.k;
    let n = row / params.k * PANEL + at % PANEL;
    var value = 0.0;
    if n < params.n {
        value = b[params.b_start + select(k * params.ldb + n, n * params.ldb + k, TRANSPOSE)];
    }
    let to = params.out_start
        + (row / params.k * params.rows + params.first + k) * PANEL + at % PANEL;
    if ACCUMULATE {
        value += out[to];
    }
    out[to] = value;
}
