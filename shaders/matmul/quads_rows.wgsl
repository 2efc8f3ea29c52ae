// How broadcast.wgsl reads operands that come in fours. After quads.wgsl.

// Rows and columns beyond the last repeat it: what they give isn't written.

fn b_along_n(start: u32, k: u32, n: u32) -> vec4<f32> {
    let at = start + min(k, params.k - 1u) * params.ldb + min(n, params.n - 4u);
    return select(vec4(0.0), b[at / 4u], k < params.k);
}

fn b_along_k(start: u32, k: u32, n: u32) -> vec4<f32> {
    return b[(start + min(n, params.n - 1u) * params.ldb + k) / 4u];
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
    if !TRANSPOSE_A {
        let at = start + min(row + in_row, params.m - 1u) * params.lda + k;
        let terms = a[at / 4u];
        eight_rows(terms, left, right, sums);
        return terms;
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
    return four;
}

// The sums of eight rows, from those of what each invocation has read.
fn put_row_sums(start: u32, row: u32, in_row: u32, read: vec4<f32>) {
    var upper: vec4<f32>;
    var lower: vec4<f32>;
    if TRANSPOSE_A {
        upper = subgroupBroadcast(read, 0u) + subgroupBroadcast(read, 2u)
            + subgroupBroadcast(read, 4u) + subgroupBroadcast(read, 6u);
        lower = subgroupBroadcast(read, 1u) + subgroupBroadcast(read, 3u)
            + subgroupBroadcast(read, 5u) + subgroupBroadcast(read, 7u);
    } else {
        let sum = dot(read, vec4(1.0));
        upper = vec4(
            subgroupBroadcast(sum, 0u),
            subgroupBroadcast(sum, 1u),
            subgroupBroadcast(sum, 2u),
            subgroupBroadcast(sum, 3u),
        );
        lower = vec4(
            subgroupBroadcast(sum, 4u),
            subgroupBroadcast(sum, 5u),
            subgroupBroadcast(sum, 6u),
            subgroupBroadcast(sum, 7u),
        );
    }
    // Two invocations put four of them each: a quad is written whole.
    if in_row < 2u {
        put_sums(start, row + 4u * in_row, params.m, select(lower, upper, in_row == 0u));
    }
}
