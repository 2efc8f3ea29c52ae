// The loss of one prediction and its derivative; pointwise_loss.wgsl has the equations. For kernels whose
// `params` have the `threshold`; needs activations.wgsl.

override KIND: u32 = 0u;

struct Term {
    value: f32,
    slope: f32,
}

// log(1 + e) for e in [0, 1], without the rounding of 1 + e where e is small.
fn log_one_plus(e: f32) -> f32 {
    let series = e * (1.0 - e * (0.5 - e * (1.0 / 3.0 - e * (0.25 - e * (0.2 - e / 6.0)))));
    return select(log(1.0 + e), series, e < 0.0625);
}

// -1, 0 or 1; NaN for NaN.
fn sign_of(d: f32) -> f32 {
    return select(select(d, -1.0, d < 0.0), 1.0, d > 0.0);
}

fn term(prediction: f32, goal: f32) -> Term {
    let d = prediction - goal;
    let distance = abs(d);
    let s = params.threshold;
    switch KIND {
        case 1u: {
            return Term(distance, sign_of(d));
        }
        case 2u: {
            if distance > s {
                return Term(s * (distance - 0.5 * s), s * sign_of(d));
            }
            return Term(0.5 * d * d, d);
        }
        case 3u: {
            if distance >= s {
                return Term(distance - 0.5 * s, sign_of(d));
            }
            return Term(0.5 * d * d / s, d / s);
        }
        case 4u: {
            // The exponential of what is far out is clamped: see activations.wgsl.
            let e = exp(-min(abs(prediction), 80.0));
            let part = max(prediction, 0.0) - prediction * goal;
            return Term(part + log_one_plus(e), sigmoid(vec4(prediction)).x - goal);
        }
        default: {
            return Term(d * d, 2.0 * d);
        }
    }
}
