// matmul through workgroup memory where all operands come in fours, as broadcast.wgsl beside this file
// has them. After `const TILE`, rows and columns of a workgroup: 64, or 128 where a GPU is full
// with those.
//
// Grid: ceil(N / TILE) x ceil(M / TILE) x 1, or x 2 for a pair, or x slices of K. Workgroup: 16 x 16
// invocations, 9 KiB of memory at most. Twin: reference::matmul. Sums run over k in order.
//
// Version 1: as tiled.wgsl, with a load of four numbers where that has four of one. An invocation owns 4 x 4
// results, or, of 128 x 128, four times as many, 64 rows and columns apart: then 64 multiply-adds
// cost four reads of workgroup memory.

override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override COLUMN_SUMS: bool = false;
override ROW_SUMS: bool = false;

const QUADS = TILE / 4u;
const TILE_K = 1024u / TILE;  // each invocation reads one quad of either side
const EACH = TILE / 64u;      // quads of rows, and of columns, of an invocation
const ROW = QUADS + 1u;       // one is left out, so that neighbours write to different banks

// [TILE_K, ROW]: four rows of A, or columns of B, at each k; or, where the operand lies along k, in blocks of
// four k, for each row or column of a quad its four terms. So each invocation writes a quad as it has read
// it, whole.
var<workgroup> a_tile: array<vec4<f32>, TILE_K * ROW>;
var<workgroup> b_tile: array<vec4<f32>, TILE_K * ROW>;

alias Sums = array<vec4<f32>, 4u * EACH * EACH>;  // [EACH, 4 rows, EACH]

// Four rows of A, those of a quad, at each of four k.
fn a_block(k: u32, quad: u32) -> mat4x4<f32> {
    let at = k * ROW + quad;
    let block = mat4x4(a_tile[at], a_tile[at + ROW], a_tile[at + 2u * ROW], a_tile[at + 3u * ROW]);
    if TRANSPOSE_A {
        return block;
    }
    return transpose(block);
}

// Four columns of B in the same way.
fn b_block(k: u32, quad: u32) -> mat4x4<f32> {
    let at = k * ROW + quad;
    let block = mat4x4(b_tile[at], b_tile[at + ROW], b_tile[at + 2u * ROW], b_tile[at + 3u * ROW]);
    if TRANSPOSE_B {
        return transpose(block);
    }
    return block;
}

// A term of 4 x 4 results.
fn add_term(rows: vec4<f32>, columns: vec4<f32>, sums: ptr<function, array<vec4<f32>, 4>>) {
    sums[0] += rows.x * columns;
    sums[1] += rows.y * columns;
    sums[2] += rows.z * columns;
    sums[3] += rows.w * columns;
}

// Where a quad lies that is stored along rows or columns, `start` being the first of its matrix.
fn along_tile(start: u32, row: u32, ld: u32, first: u32, count: u32) -> u32 {
    return (start + row * ld + min(first, count - 4u)) / 4u;
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

    // Of a quad that lies along the tile, its k and its place; of one along k, its row and its k.
    let tile_k = lane / QUADS;
    let tile_quad = lane % QUADS;
    let side = lane / (TILE_K / 4u);
    let side_k = 4u * (lane % (TILE_K / 4u));

    var sums: Sums;
    let adds_columns = COLUMN_SUMS && group.y == 0u && local.y == 0u;
    let adds_rows = ROW_SUMS && group.x == 0u && local.x == 0u;
    var other_sums: array<vec4<f32>, EACH>;
    for (var k = first_k; k < end_k; k += TILE_K) {
        // What is beyond K is zero on both sides; rows and columns beyond the last repeat it, and what
        // they give isn't written.
        if TRANSPOSE_A {
            let inside = k + tile_k < end_k;
            let at = along_tile(a_start, min(k + tile_k, end_k - 1u), params.lda, row + 4u * tile_quad, params.m);
            a_tile[tile_k * ROW + tile_quad] = select(vec4(0.0), a[at], inside);
        } else {
            let inside = k + side_k < end_k;
            let stored = min(row + side, params.m - 1u);
            let at = a_start + stored * params.lda + select(0u, k + side_k, inside);
            a_tile[(side_k + side % 4u) * ROW + side / 4u] = select(vec4(0.0), a[at / 4u], inside);
        }
        if TRANSPOSE_B {
            let inside = k + side_k < end_k;
            let stored = min(column + side, params.n - 1u);
            let at = b_start + stored * params.ldb + select(0u, k + side_k, inside);
            b_tile[(side_k + side % 4u) * ROW + side / 4u] = select(vec4(0.0), b[at / 4u], inside);
        } else {
            let inside = k + tile_k < end_k;
            let at = along_tile(b_start, min(k + tile_k, end_k - 1u), params.ldb, column + 4u * tile_quad, params.n);
            b_tile[tile_k * ROW + tile_quad] = select(vec4(0.0), b[at], inside);
        }
        workgroupBarrier();
        for (var i = 0u; i < TILE_K; i += 4u) {
            for (var p = 0u; p < EACH; p++) {
                let rows = a_block(i, local.y + 16u * p);
                for (var q = 0u; q < EACH; q++) {
                    let columns = b_block(i, local.x + 16u * q);
                    let at = 4u * p * EACH + q;
                    var four = array(sums[at], sums[at + EACH], sums[at + 2u * EACH], sums[at + 3u * EACH]);
                    add_term(rows[0], columns[0], &four);
                    add_term(rows[1], columns[1], &four);
                    add_term(rows[2], columns[2], &four);
                    add_term(rows[3], columns[3], &four);
                    sums[at] = four[0];
                    sums[at + EACH] = four[1];
                    sums[at + 2u * EACH] = four[2];
                    sums[at + 3u * EACH] = four[3];
                }
            }
        }
        if adds_columns {
            for (var i = 0u; i < TILE_K; i += 4u) {
                for (var q = 0u; q < EACH; q++) {
                    let columns = b_block(i, local.x + 16u * q);
                    other_sums[q] = other_sums[q] + columns[0] + columns[1] + columns[2] + columns[3];
                }
            }
        }
        if adds_rows {
            for (var i = 0u; i < TILE_K; i += 4u) {
                for (var p = 0u; p < EACH; p++) {
                    let rows = a_block(i, local.y + 16u * p);
                    other_sums[p] = other_sums[p] + rows[0] + rows[1] + rows[2] + rows[3];
                }
            }
        }
        workgroupBarrier();
    }
    for (var p = 0u; p < EACH; p++) {
        for (var r = 0u; r < 4u; r++) {
            let m = row + 64u * p + 4u * local.y + r;
            for (var q = 0u; q < EACH; q++) {
                if m < params.m {
                    let n = column + 64u * q + 4u * local.x;
                    put(c_start + m * params.ldc, n, sums[(4u * p + r) * EACH + q]);
                }
            }
        }
    }
    if adds_columns || adds_rows {
        let count = select(params.m, params.n, adds_columns);
        let first = select(row + 4u * local.y, column + 4u * local.x, adds_columns);
        for (var i = 0u; i < EACH; i++) {
            put_sums(params.sum_1_start + group.z * count, first + 64u * i, count, other_sums[i]);
            if params.sums == 2u {
                put_sums(params.sum_2_start + group.z * count, first + 64u * i, count, other_sums[i]);
            }
        }
    }
}
