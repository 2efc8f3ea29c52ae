// nonlinearity_backward: gradients back through the function of a head's layer, in place.
//
//   d[n] = d[n] * f'(x[n])
//
// | binding | name   | shape  | access     | may alias |
// |---------|--------|--------|------------|-----------|
// | 0       | params | Params | uniform    |           |
// | 1       | x      | [N]    | read       | nothing   |
// | 2       | d      | [N]    | read_write | nothing   |
//
// x is what the function was applied to. Where that is 0, the slope is the one from below, as in PyTorch.
// A NaN in x makes the gradient NaN. Which f: NONLINEARITY.
// Grid: ceil(N / 256) over x and y. Workgroup: 256 invocations.
// Twin: reference::nonlinearity_backward.

struct Params {
    len: u32,
    x_start: u32,
    d_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // [N]
@group(0) @binding(2) var<storage, read_write> d: array<f32>;  // [N]

fn slope_at(v: f32) -> f32 {
    switch NONLINEARITY {
        case RELU: {
            return select(0.0, 1.0, v > 0.0);
        }
        case LEAKY_RELU: {
            return select(LEAK, 1.0, v > 0.0);
        }
        case ELU: {
            return select(exp(clamp(v, -80.0, 0.0)), 1.0, v > 0.0);
        }
        case SILU: {
            let s = sigmoid(vec4(v)).x;
            return select(s * (1.0 + v * (1.0 - s)), 0.0, v < -80.0);
        }
        case TANH: {
            let h = hyperbolic_tangent(vec4(v)).x;
            return 1.0 - h * h;
        }
        default: {
            let s = sigmoid(vec4(v)).x;
            return s * (1.0 - s);
        }
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = (group.y * groups.x + group.x) * 256u + lane;
    if n >= params.len {
        return;
    }
    let v = x[params.x_start + n];
    let slope = select(slope_at(v), v, is_nan(v));
    d[params.d_start + n] *= slope;
}
