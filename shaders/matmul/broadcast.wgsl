// matmul, for drivers that compute on a CPU: as tiled.wgsl beside this file, with the same bindings,
// but for B in panels. The bindings are declared in quads.wgsl, where all operands come in fours, or
// in elements.wgsl, where they lie anyhow.
//
// Grid: ceil(N / 64) x ceil(M / (8 PARTS)) x 1, or x 2 for a pair. Workgroup: 8 invocations, no
// memory, a subgroup of 8 or more. Twin: reference::matmul. Sums run over k in order.
//
// Version 1: 24 rows and 64 columns a workgroup, K by 4, sums in registers and on the stack, see
// eight_rows.wgsl. On llvmpipe, 2304 x 1024 x 256, two cores: 51 GFLOP/s, tiled.wgsl 5.8.

override PARTS: u32 = 3u;  // of eight rows, 1 to 3
override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override COLUMN_SUMS: bool = false;
override ROW_SUMS: bool = false;

// The weights of four terms from k on for four columns, a column of the matrix each term. Terms
// beyond K are zero on both sides, so that nothing infinite is multiplied with a zero.
fn four_terms(start: u32, k: u32, n: u32) -> mat4x4<f32> {
    if TRANSPOSE_B {
        return transpose(mat4x4(
            b_along_k(start, k, n),
            b_along_k(start, k, n + 1u),
            b_along_k(start, k, n + 2u),
            b_along_k(start, k, n + 3u),
        ));
    }
    return mat4x4(
        b_along_n(start, k, n),
        b_along_n(start, k + 1u, n),
        b_along_n(start, k + 2u, n),
        b_along_n(start, k + 3u, n),
    );
}

fn put_row(start: u32, m: u32, n: u32, left: vec4<f32>, right: vec4<f32>) {
    if m < params.m {
        put(start + m * params.ldc, n, left);
        put(start + m * params.ldc, n + 32u, right);
    }
}

fn put_rows(start: u32, m: u32, n: u32, sums: ptr<function, EightRows>) {
    put_row(start, m, n, sums[0], sums[1]);
    put_row(start, m + 1u, n, sums[2], sums[3]);
    put_row(start, m + 2u, n, sums[4], sums[5]);
    put_row(start, m + 3u, n, sums[6], sums[7]);
    put_row(start, m + 4u, n, sums[8], sums[9]);
    put_row(start, m + 5u, n, sums[10], sums[11]);
    put_row(start, m + 6u, n, sums[12], sums[13]);
    put_row(start, m + 7u, n, sums[14], sums[15]);
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    let row = group.y * 8u * PARTS;
    // The first of the left quad; the right one is 32 columns further.
    let column = group.x * 64u + 4u * lane;
    let second = group.z == 1u;
    let a_start = select(params.a_start, params.a_second, second);
    let b_start = select(params.b_start, params.b_second, second);
    let c_start = select(params.c_start, params.c_second, second);
    let in_row = place % 8u;

    var sums_0 = EightRows();
    var sums_1 = EightRows();
    var sums_2 = EightRows();
    var left_columns = vec4(0.0);
    var right_columns = vec4(0.0);
    var read_0 = vec4(0.0);
    var read_1 = vec4(0.0);
    var read_2 = vec4(0.0);
    for (var k = 0u; k < params.k; k += 4u) {
        let left = four_terms(b_start, k, column);
        let right = four_terms(b_start, k, column + 32u);
        read_0 += rows_with(a_start, row, k, in_row, left, right, &sums_0);
        if PARTS > 1u {
            read_1 += rows_with(a_start, row + 8u, k, in_row, left, right, &sums_1);
        }
        if PARTS > 2u {
            read_2 += rows_with(a_start, row + 16u, k, in_row, left, right, &sums_2);
        }
        if COLUMN_SUMS {
            left_columns += left[0] + left[1] + left[2] + left[3];
            right_columns += right[0] + right[1] + right[2] + right[3];
        }
    }
    put_rows(c_start, row, column, &sums_0);
    if PARTS > 1u {
        put_rows(c_start, row + 8u, column, &sums_1);
    }
    if PARTS > 2u {
        put_rows(c_start, row + 16u, column, &sums_2);
    }
    if COLUMN_SUMS && group.y == 0u {
        put_sums(params.sum_1_start, column, params.n, left_columns);
        put_sums(params.sum_1_start, column + 32u, params.n, right_columns);
        if params.sums == 2u {
            put_sums(params.sum_2_start, column, params.n, left_columns);
            put_sums(params.sum_2_start, column + 32u, params.n, right_columns);
        }
    }
    if ROW_SUMS {
        put_all_row_sums(params.sum_1_start, row, in_row, group.x, read_0, read_1, read_2);
        if params.sums == 2u {
            put_all_row_sums(params.sum_2_start, row, in_row, group.x, read_0, read_1, read_2);
        }
    }
}

// The first column of workgroups puts the sums of A's rows.
fn put_all_row_sums(
    start: u32,
    row: u32,
    in_row: u32,
    group: u32,
    read_0: vec4<f32>,
    read_1: vec4<f32>,
    read_2: vec4<f32>,
) {
    // Others have none: rows beyond the last aren't put.
    let first = select(params.m, row, group == 0u);
    put_row_sums(start, first, in_row, read_0);
    if PARTS > 1u {
        put_row_sums(start, first + 8u, in_row, read_1);
    }
    if PARTS > 2u {
        put_row_sums(start, first + 16u, in_row, read_2);
    }
}
