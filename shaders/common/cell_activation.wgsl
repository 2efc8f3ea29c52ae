// The functions that a cell may have for its gates, its candidate and its output, by number, and their slopes
// from what they gave. The numbers are those of `reference::CellActivation`. After activations.wgsl.

const SIGMOID: u32 = 0u;
const TANH: u32 = 1u;
const RELU: u32 = 2u;
const AFFINE: u32 = 3u;
const LEAKY_RELU: u32 = 4u;
const THRESHOLDED_RELU: u32 = 5u;
const SCALED_TANH: u32 = 6u;
const HARD_SIGMOID: u32 = 7u;
const ELU: u32 = 8u;
const SOFTSIGN: u32 = 9u;
const SOFTPLUS: u32 = 10u;

fn activated(kind: u32, alpha: f32, beta: f32, x: vec4<f32>) -> vec4<f32> {
    if kind == SIGMOID {
        return sigmoid(x);
    }
    if kind == TANH {
        return hyperbolic_tangent(x);
    }
    var y = x;
    switch kind {
        case RELU: {
            y = max(x, vec4(0.0));
        }
        case AFFINE: {
            y = alpha * x + beta;
        }
        case LEAKY_RELU: {
            y = select(x, alpha * x, x < vec4(0.0));
        }
        case THRESHOLDED_RELU: {
            y = select(x, vec4(0.0), x <= vec4(alpha));
        }
        case SCALED_TANH: {
            y = alpha * hyperbolic_tangent(beta * x);
        }
        case HARD_SIGMOID: {
            y = clamp(alpha * x + beta, vec4(0.0), vec4(1.0));
        }
        case ELU: {
            y = select(x, alpha * (exp(clamp(x, vec4(-80.0), vec4(0.0))) - 1.0), x < vec4(0.0));
        }
        case SOFTSIGN: {
            y = x / (1.0 + abs(x));
        }
        default: {
            y = max(x, vec4(0.0)) + log(1.0 + exp(-min(abs(x), vec4(80.0))));
        }
    }
    return select(y, x, are_nan(x));
}

// The gradients of arguments, from the gradients `d` of the values `y`.
fn back_through(kind: u32, alpha: f32, beta: f32, d: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    switch kind {
        case SIGMOID: {
            return d * y * (1.0 - y);
        }
        case TANH: {
            return d * (1.0 - y * y);
        }
        case RELU: {
            return select(d, vec4(0.0), y <= vec4(0.0));
        }
        case AFFINE: {
            return d * alpha;
        }
        case LEAKY_RELU: {
            return select(d, d * alpha, y <= vec4(0.0));
        }
        case THRESHOLDED_RELU: {
            return select(d, vec4(0.0), y == vec4(0.0));
        }
        case SCALED_TANH: {
            return select(d * beta * (alpha - y * y / alpha), vec4(0.0), alpha == 0.0);
        }
        case HARD_SIGMOID: {
            return select(d * alpha, vec4(0.0), (y <= vec4(0.0)) | (y >= vec4(1.0)));
        }
        case ELU: {
            return select(d, d * (y + alpha), y <= vec4(0.0));
        }
        case SOFTSIGN: {
            return d * (1.0 - abs(y)) * (1.0 - abs(y));
        }
        default: {
            return d * (1.0 - exp(-y));
        }
    }
}
