// Operands of broadcast.wgsl that lie anyhow.

@group(0) @binding(1) var<storage, read> a: array<f32>;           // [M, K]
@group(0) @binding(2) var<storage, read> b: array<f32>;           // [K, N]
@group(0) @binding(3) var<storage, read> bias_1: array<f32>;      // [N]
@group(0) @binding(4) var<storage, read> bias_2: array<f32>;      // [N]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;     // [M, N]

// Rows and columns beyond the last repeat it: what they give isn't written.

fn a_at(start: u32, m: u32, k: u32) -> f32 {
    let last_k = min(k, params.k - 1u);
    let at = select(m * params.lda + last_k, last_k * params.lda + m, TRANSPOSE_A);
    return select(0.0, a[start + at], k < params.k);
}

fn b_at(start: u32, k: u32, n: u32) -> f32 {
    let last_k = min(k, params.k - 1u);
    let last_n = min(n, params.n - 1u);
    let at = select(last_k * params.ldb + last_n, last_n * params.ldb + last_k, TRANSPOSE_B);
    return select(0.0, b[start + at], k < params.k);
}

fn b_along_n(start: u32, k: u32, n: u32) -> vec4<f32> {
    return vec4(
        b_at(start, k, n),
        b_at(start, k, n + 1u),
        b_at(start, k, n + 2u),
        b_at(start, k, n + 3u),
    );
}

fn b_along_k(start: u32, k: u32, n: u32) -> vec4<f32> {
    return vec4(
        b_at(start, k, n),
        b_at(start, k + 1u, n),
        b_at(start, k + 2u, n),
        b_at(start, k + 3u, n),
    );
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
    let m = min(row + in_row, params.m - 1u);
    let terms = vec4(
        a_at(start, m, k),
        a_at(start, m, k + 1u),
        a_at(start, m, k + 2u),
        a_at(start, m, k + 3u),
    );
    eight_rows(terms, left, right, sums);
}

fn put_one(row_start: u32, n: u32, sum: f32) {
    if n >= params.n {
        return;
    }
    var result = sum;
    if params.biases >= 1u {
        result += bias_1[params.bias_1_start + n];
    }
    if params.biases >= 2u {
        result += bias_2[params.bias_2_start + n];
    }
    if params.accumulate == 1u {
        result += c[row_start + n];
    }
    c[row_start + n] = result;
}

fn put(row_start: u32, n: u32, sum: vec4<f32>) {
    put_one(row_start, n, sum.x);
    put_one(row_start, n + 1u, sum.y);
    put_one(row_start, n + 2u, sum.z);
    put_one(row_start, n + 3u, sum.w);
}

fn put_column_sum(start: u32, n: u32, sum: f32) {
    if n < params.n {
        c[start + n] = select(sum, sum + c[start + n], params.accumulate == 1u);
    }
}

fn put_column_sums(start: u32, n: u32, sum: vec4<f32>) {
    put_column_sum(start, n, sum.x);
    put_column_sum(start, n + 1u, sum.y);
    put_column_sum(start, n + 2u, sum.z);
    put_column_sum(start, n + 3u, sum.w);
}
