// Operands of broadcast.wgsl that come in fours: all starts and row lengths are multiples of four,
// and so are N, K where something is stored along it, and M where A is transposed.

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;           // [M, K]
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;           // [K, N]
@group(0) @binding(3) var<storage, read> bias_1: array<vec4<f32>>;      // [N]
@group(0) @binding(4) var<storage, read> bias_2: array<vec4<f32>>;      // [N]
@group(0) @binding(5) var<storage, read_write> c: array<vec4<f32>>;     // [M, N]

// Rows and columns beyond the last repeat it: what they give isn't written.

fn b_along_n(start: u32, k: u32, n: u32) -> vec4<f32> {
    let at = start + min(k, params.k - 1u) * params.ldb + min(n, params.n - 4u);
    return select(vec4(0.0), b[at / 4u], k < params.k);
}

fn b_along_k(start: u32, k: u32, n: u32) -> vec4<f32> {
    return b[(start + min(n, params.n - 1u) * params.ldb + k) / 4u];
}

// Four terms from k on of eight rows.
fn rows_with(
    start: u32,
    row: u32,
    k: u32,
    in_row: u32,
    left: mat4x4<f32>,
    right: mat4x4<f32>,
    sums: ptr<function, EightRows>,
) {
    if !TRANSPOSE_A {
        let at = start + min(row + in_row, params.m - 1u) * params.lda + k;
        eight_rows(a[at / 4u], left, right, sums);
        return;
    }
    // Two invocations a term, four rows each.
    let term = k + in_row / 2u;
    let m = min(row + 4u * (in_row % 2u), params.m - 4u);
    let at = start + min(term, params.k - 1u) * params.lda + m;
    let four = select(vec4(0.0), a[at / 4u], term < params.k);
    let upper = transpose(mat4x4(
        subgroupBroadcast(four, 0u),
        subgroupBroadcast(four, 2u),
        subgroupBroadcast(four, 4u),
        subgroupBroadcast(four, 6u),
    ));
    let lower = transpose(mat4x4(
        subgroupBroadcast(four, 1u),
        subgroupBroadcast(four, 3u),
        subgroupBroadcast(four, 5u),
        subgroupBroadcast(four, 7u),
    ));
    sums[0] += left * upper[0];
    sums[1] += right * upper[0];
    sums[2] += left * upper[1];
    sums[3] += right * upper[1];
    sums[4] += left * upper[2];
    sums[5] += right * upper[2];
    sums[6] += left * upper[3];
    sums[7] += right * upper[3];
    sums[8] += left * lower[0];
    sums[9] += right * lower[0];
    sums[10] += left * lower[1];
    sums[11] += right * lower[1];
    sums[12] += left * lower[2];
    sums[13] += right * lower[2];
    sums[14] += left * lower[3];
    sums[15] += right * lower[3];
}

fn put(row_start: u32, n: u32, sum: vec4<f32>) {
    if n >= params.n {
        return;
    }
    var result = sum;
    if params.biases >= 1u {
        result += bias_1[(params.bias_1_start + n) / 4u];
    }
    if params.biases >= 2u {
        result += bias_2[(params.bias_2_start + n) / 4u];
    }
    let at = (row_start + n) / 4u;
    if params.accumulate == 1u {
        result += c[at];
    }
    c[at] = result;
}

fn put_column_sums(start: u32, n: u32, sum: vec4<f32>) {
    if n >= params.n {
        return;
    }
    let at = (start + n) / 4u;
    if params.accumulate == 1u {
        c[at] += sum;
    } else {
        c[at] = sum;
    }
}
