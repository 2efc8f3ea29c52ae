// How broadcast.wgsl reads operands that lie anyhow. After elements.wgsl.

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

// Four terms from k on of eight rows; returns what this invocation has read of them.
fn rows_with(
    start: u32,
    row: u32,
    k: u32,
    in_row: u32,
    left: mat4x4<f32>,
    right: mat4x4<f32>,
    sums: ptr<function, EightRows>,
) -> vec4<f32> {
    let m = min(row + in_row, params.m - 1u);
    let terms = vec4(
        a_at(start, m, k),
        a_at(start, m, k + 1u),
        a_at(start, m, k + 2u),
        a_at(start, m, k + 3u),
    );
    eight_rows(terms, left, right, sums);
    return terms;
}

// The sums of eight rows, from those of what each invocation has read.
fn put_row_sums(start: u32, row: u32, in_row: u32, read: vec4<f32>) {
    put_sum(start, row + in_row, params.m, dot(read, vec4(1.0)));
}
