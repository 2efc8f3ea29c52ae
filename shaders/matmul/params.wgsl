// The block of constants of matmul's variants, see tiled.wgsl.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    lda: u32,
    ldb: u32,
    ldc: u32,
    a_start: u32,
    b_start: u32,
    c_start: u32,
    bias_1_start: u32,
    bias_2_start: u32,
    biases: u32,
    accumulate: u32,
    a_second: u32,
    b_second: u32,
    c_second: u32,
    sums: u32,
    sum_1_start: u32,
    sum_2_start: u32,
    slice: u32,
    slice_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
