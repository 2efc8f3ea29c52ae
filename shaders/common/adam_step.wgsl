// One element's step of Adam or AdamW; adam.wgsl has the equations. Needs settings.wgsl and
// clipping.wgsl.

const ONE_MINUS_BETA1 = 5u;
const BETA2 = 6u;
const ONE_MINUS_BETA2 = 7u;
const EPS = 8u;
const ROOT_CORRECTION = 9u;

// A group's row, and what gradients are multiplied with.
struct AdamSettings {
    rate: f32,
    weight_decay: f32,
    keep: f32,
    clip_value: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    root_correction: f32,
    scale: f32,
}

// A parameter and its moments.
struct AdamElement {
    p: f32,
    m: f32,
    v: f32,
}

fn adam_step(own: AdamSettings, raw: f32, before: AdamElement) -> AdamElement {
    let kept = own.keep * before.p;
    let gradient = clipped(own.scale * raw, own.clip_value) + own.weight_decay * kept;
    let first = before.m + own.one_minus_beta1 * (gradient - before.m);
    let square = own.one_minus_beta2 * gradient * gradient;
    let second = own.beta2 * before.v + square;
    let denominator = sqrt(second) / own.root_correction + own.eps;
    return AdamElement(kept - own.rate * first / denominator, first, second);
}
