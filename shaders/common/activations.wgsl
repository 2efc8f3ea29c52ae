// Activations that are right for every finite argument and pass NaN on.
//
// The argument is clamped first: beyond the bounds the results no longer change in f32, and
// some drivers overflow inside exp or tanh. WGSL lets a compiler assume that NaN doesn't occur
// and clamp may swallow one, so NaN is found by its bits and selected back in.

fn are_nan(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
}

fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    let inside = clamp(x, vec4(-80.0), vec4(80.0));
    return select(1.0 / (1.0 + exp(-inside)), x, are_nan(x));
}

fn hyperbolic_tangent(x: vec4<f32>) -> vec4<f32> {
    let inside = clamp(x, vec4(-15.0), vec4(15.0));
    return select(tanh(inside), x, are_nan(x));
}
