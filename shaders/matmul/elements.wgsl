// Operands that lie anyhow, for broadcast.wgsl.

@group(0) @binding(1) var<storage, read> a: array<f32>;           // [M, K]
@group(0) @binding(2) var<storage, read> b: array<f32>;           // [K, N]
@group(0) @binding(3) var<storage, read> bias_1: array<f32>;      // [N]
@group(0) @binding(4) var<storage, read> bias_2: array<f32>;      // [N]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;     // [M, N]

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

fn put_sum(start: u32, at: u32, count: u32, sum: f32) {
    if at < count {
        c[start + at] = select(sum, sum + c[start + at], params.accumulate == 1u);
    }
}

// Sums of columns or rows from `at` on, of so many.
fn put_sums(start: u32, at: u32, count: u32, sums: vec4<f32>) {
    put_sum(start, at, count, sums.x);
    put_sum(start, at + 1u, count, sums.y);
    put_sum(start, at + 2u, count, sums.z);
    put_sum(start, at + 3u, count, sums.w);
}
