// Operands that come in fours: all starts and row lengths are multiples of four, and so are N, K where
// something is stored along it, and M where A is transposed.

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;           // [M, K]
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;           // [K, N]
@group(0) @binding(3) var<storage, read> bias_1: array<vec4<f32>>;      // [N]
@group(0) @binding(4) var<storage, read> bias_2: array<vec4<f32>>;      // [N]
@group(0) @binding(5) var<storage, read_write> c: array<vec4<f32>>;     // [M, N]

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

// Sums of columns or rows from `at` on, of so many.
fn put_sums(start: u32, at: u32, count: u32, sums: vec4<f32>) {
    if at >= count {
        return;
    }
    let place = (start + at) / 4u;
    if params.accumulate == 1u {
        c[place] += sums;
    } else {
        c[place] = sums;
    }
}
