// nonlinearity: each number through the function of a head's layer, or as the answer to a question.
//
//   out[n] = f(x[n])           unless DECIDE
//   out[n] = x[n] > 0 ? 1 : 0  where DECIDE
//
// | binding | name   | shape  | access     | may alias |
// |---------|--------|--------|------------|-----------|
// | 0       | params | Params | uniform    |           |
// | 1       | x      | [N]    | read       | nothing   |
// | 2       | out    | [N]    | read_write | nothing   |
//
// A NaN stays one, and is no yes. Which f: NONLINEARITY.
// Grid: ceil(N / 256) over x and y. Workgroup: 256 invocations.
// Twin: reference::nonlinearity.

override DECIDE: bool = false;

struct Params {
    len: u32,
    x_start: u32,
    out_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [N]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [N]

fn value_of(v: f32) -> f32 {
    switch NONLINEARITY {
        case RELU: {
            return max(v, 0.0);
        }
        case LEAKY_RELU: {
            return select(LEAK * v, v, v > 0.0);
        }
        case ELU: {
            return select(exp(clamp(v, -80.0, 0.0)) - 1.0, v, v > 0.0);
        }
        case SILU: {
            // Far below 0 the sigmoid is clamped where the product is no longer seen.
            return select(v * sigmoid(vec4(v)).x, 0.0, v < -80.0);
        }
        case TANH: {
            return hyperbolic_tangent(vec4(v)).x;
        }
        default: {
            return sigmoid(vec4(v)).x;
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
    if DECIDE {
        out[params.out_start + n] = select(0.0, 1.0, v > 0.0 && !is_nan(v));
    } else {
        out[params.out_start + n] = select(value_of(v), v, is_nan(v));
    }
}
