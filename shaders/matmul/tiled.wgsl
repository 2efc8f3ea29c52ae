// matmul, through workgroup memory: C [M, N] = (C +) op(A) [M, K] . op(B) [K, N] (+ one or two
// biases on each row); on request also the sums of B's columns or those of op(A)'s rows, the gradient
// of a bias where the product is that of a weight.
//
//   c[m][n] = (c[m][n] +) sum_k a[m][k] * b[k][n] + bias_1[n] + bias_2[n]
//   s[n]    = (s[n] +) sum_k b[k][n]                                   where COLUMN_SUMS
//   s[m]    = (s[m] +) sum_k a[m][k]                                   where ROW_SUMS
//
// | binding | name   | shape                      | access     | may alias |
// |---------|--------|----------------------------|------------|-----------|
// | 0       | params | Params                     | uniform    |           |
// | 1       | a      | [M, K], or [K, M] transposed | read     | b, biases |
// | 2       | b      | [K, N], or [N, K] transposed, | read    | a, biases |
// |         |        | or panels of ldb rows      |            |           |
// | 3       | bias_1 | [N]                        | read       | a, b      |
// | 4       | bias_2 | [N]                        | read       | a, b      |
// | 5       | c      | [M, N]; and `sums` times   | read_write | nothing   |
// |         |        | [N] or [M] at `sum_start`  |            |           |
//
// Grid: ceil(N / 64) x ceil(M / 64) x 1, or x 2 for a pair of products of one shape, whose second
// operands start at `_second` in the same bindings, or, where `slice` isn't 0, x slices of so many
// terms each, whose results stand `slice_stride` apart and whose other sums N or M. Workgroup: 16 x 16
// invocations, 8 KiB of memory. Twin: reference::matmul. Sums run over k in order, so the result
// depends on shapes alone.
//
// Version 1: a tile of 64 x 64 through workgroup memory, K by 16, 4 x 4 results an invocation
// held in registers; both tiles are stored as vec4 along the direction that a thread reads, so
// that 16 multiply-adds cost two loads.

override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override PACKED_B: bool = false;
override COLUMN_SUMS: bool = false;
override ROW_SUMS: bool = false;

@group(0) @binding(1) var<storage, read> a: array<f32>;           // [M, K]
@group(0) @binding(2) var<storage, read> b: array<f32>;           // [K, N]
@group(0) @binding(3) var<storage, read> bias_1: array<f32>;      // [N]
@group(0) @binding(4) var<storage, read> bias_2: array<f32>;      // [N]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;     // [M, N]

const TILE = 64u;
const TILE_K = 16u;
const QUADS = TILE / 4u;

var<workgroup> a_tile: array<vec4<f32>, 256>;  // [TILE_K, QUADS], four rows of A each
var<workgroup> b_tile: array<vec4<f32>, 256>;  // [TILE_K, QUADS], four columns of B each

fn a_at(start: u32, m: u32, k: u32) -> f32 {
    if m >= params.m || k >= params.k {
        return 0.0;
    }
    return a[start + select(m * params.lda + k, k * params.lda + m, TRANSPOSE_A)];
}

fn b_at(start: u32, k: u32, n: u32) -> f32 {
    if k >= params.k || n >= params.n {
        return 0.0;
    }
    if PACKED_B {
        return b[start + 4u * quad_in_panels(k, n / 4u, params.ldb) + n % 4u];
    }
    return b[start + select(k * params.ldb + n, n * params.ldb + k, TRANSPOSE_B)];
}

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * TILE;
    let column = group.x * TILE;
    let second = params.slice == 0u && group.z == 1u;
    let a_start = select(params.a_start, params.a_second, second);
    let b_start = select(params.b_start, params.b_second, second);
    let first_k = group.z * params.slice;
    let end_k = select(min(first_k + params.slice, params.k), params.k, params.slice == 0u);
    let c_start = select(params.c_start, params.c_second, second) + group.z * params.slice_stride;

    // Which vec4 of each tile this invocation fills: neighbours read neighbouring addresses.
    let a_k = select(lane % TILE_K, lane / QUADS, TRANSPOSE_A);
    let a_quad = select(lane / TILE_K, lane % QUADS, TRANSPOSE_A);
    let b_k = select(lane / QUADS, lane % TILE_K, TRANSPOSE_B);
    let b_quad = select(lane % QUADS, lane / TILE_K, TRANSPOSE_B);
    let a_row = row + 4u * a_quad;
    let b_column = column + 4u * b_quad;

    var sum_0 = vec4(0.0);
    var sum_1 = vec4(0.0);
    var sum_2 = vec4(0.0);
    var sum_3 = vec4(0.0);
    // The first row of workgroups adds up B's columns, those of a quad in an invocation; the first
    // column A's rows.
    let adds_columns = COLUMN_SUMS && group.y == 0u && local.y == 0u;
    let adds_rows = ROW_SUMS && group.x == 0u && local.x == 0u;
    var other_sums = vec4(0.0);
    // Slices are multiples of TILE_K, so that no tile has terms of two.
    for (var k = first_k; k < end_k; k += TILE_K) {
        a_tile[a_k * QUADS + a_quad] = vec4(
            a_at(a_start, a_row, k + a_k),
            a_at(a_start, a_row + 1u, k + a_k),
            a_at(a_start, a_row + 2u, k + a_k),
            a_at(a_start, a_row + 3u, k + a_k),
        );
        b_tile[b_k * QUADS + b_quad] = vec4(
            b_at(b_start, k + b_k, b_column),
            b_at(b_start, k + b_k, b_column + 1u),
            b_at(b_start, k + b_k, b_column + 2u),
            b_at(b_start, k + b_k, b_column + 3u),
        );
        workgroupBarrier();
        for (var i = 0u; i < TILE_K; i++) {
            let a_quad_i = a_tile[i * QUADS + local.y];
            let b_quad_i = b_tile[i * QUADS + local.x];
            sum_0 += a_quad_i.x * b_quad_i;
            sum_1 += a_quad_i.y * b_quad_i;
            sum_2 += a_quad_i.z * b_quad_i;
            sum_3 += a_quad_i.w * b_quad_i;
        }
        if adds_columns {
            for (var i = 0u; i < TILE_K; i++) {
                other_sums += b_tile[i * QUADS + local.x];
            }
        }
        if adds_rows {
            for (var i = 0u; i < TILE_K; i++) {
                other_sums += a_tile[i * QUADS + local.y];
            }
        }
        workgroupBarrier();
    }

    let sums = array(sum_0, sum_1, sum_2, sum_3);
    for (var i = 0u; i < 4u; i++) {
        let m = row + 4u * local.y + i;
        for (var j = 0u; j < 4u; j++) {
            let n = column + 4u * local.x + j;
            if m < params.m && n < params.n {
                var sum = sums[i][j];
                if params.biases >= 1u {
                    sum += bias_1[params.bias_1_start + n];
                }
                if params.biases >= 2u {
                    sum += bias_2[params.bias_2_start + n];
                }
                let at = c_start + m * params.ldc + n;
                if params.accumulate == 1u {
                    sum += c[at];
                }
                c[at] = sum;
            }
        }
    }
    if adds_columns || adds_rows {
        let first = select(row + 4u * local.y, column + 4u * local.x, adds_columns);
        let count = select(params.m, params.n, adds_columns);
        for (var j = 0u; j < 4u; j++) {
            if first + j < count {
                put_sum(params.sum_1_start + group.z * count + first + j, other_sums[j]);
                if params.sums == 2u {
                    put_sum(params.sum_2_start + group.z * count + first + j, other_sums[j]);
                }
            }
        }
    }
}

fn put_sum(at: u32, sum: f32) {
    c[at] = select(sum, sum + c[at], params.accumulate == 1u);
}
