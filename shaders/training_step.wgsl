// training_step: a whole training step of a small model of one layer in one dispatch, for where a
// launch costs more than what such a model computes.
//
//   for t = 0 .. T-1:                              as lstm_step_forward, without a projection
//     (i, f, g, o) = biases + x[t] . W + h[t-1] . U
//     c[t], h[t]   from them
//   y        = h . V^T + bias where LINEAR, else h at the predictions' timesteps: T-1, or `every`
//   loss, dy = as pointwise_loss
//   for t = T-1 .. 0:                              as lstm_step_backward
//     dG[t], dc  from dy . V and dG[t+1] . U^T
//   dW = x^T . dG;  dU = h[t-1]^T . dG;  d(biases) = sums of dG
//   dV = dy^T . h;  d(bias) = sums of dy
//   norm, status = as gradient_norm and clip_scale, where NORM
//   params, moments = as adam, all of one group
//
// | binding | name     | shape                                        | access     | may alias |
// |---------|----------|----------------------------------------------|------------|-----------|
// | 0       | params   | Params                                       | uniform    |           |
// | 1       | fed      | x [T, B, I] or [B, T, I], target [.., B, O], | read       | nothing   |
// |         |          | loss_scale [1], scalars [4], settings [16]   |            |           |
// | 2       | p        | [N] parameters, in quads                     | read_write | nothing   |
// | 3       | g        | [N] gradients, in quads                      | read_write | nothing   |
// | 4       | m        | [N] first moments, in quads                  | read_write | nothing   |
// | 5       | v        | [N] second moments, in quads                 | read_write | nothing   |
// | 6       | status   | [16], see common/status.wgsl                 | read_write | nothing   |
// | 7       | loss     | [1]                                          | read_write | nothing   |
// | 8       | scratch  | [T, B, H] of (i, f, g, o), then their dG;    | read_write | nothing   |
// |         |          | [T+1, B, H] of (h, c, 0, dc); y; dy;         |            |           |
// |         |          | in quads, each filled up with zeros          |            |           |
//
// Starts are in elements of `fed`; `w`, `u`, `bias_ih`, `bias_hh`, `states`, `y` and `dy` in quads,
// `head_weight` and `head_bias` in elements. The gradients' padding becomes zero where it shares a
// quad with a gradient; the other padding is left alone. The state before the first timestep is zero.
// N is at most the 16,384 elements of a chunk of gradient_norm.
// Grid: one workgroup. Workgroup: LANES invocations, 4 LANES + 4 bytes.
// Twin: reference::training_step.
//
// Version 1: one workgroup, whose invocations meet after every timestep; everything lies in buffers.
// A variant for each number of invocations: on a driver that computes on a CPU a barrier costs as much as
// there are subgroups, and 8 are one.

override LINEAR: bool = false;
override NORM: bool = false;
override BIASES: u32 = 0u;

const LANES = SUM_LANES;

struct Params {
    steps: u32,
    batch: u32,
    input: u32,
    hidden: u32,
    outputs: u32,
    every: u32,
    len: u32,
    x_step: u32,
    x_row: u32,
    target_start: u32,
    scale_start: u32,
    scalars_start: u32,
    settings_start: u32,
    w: u32,
    u: u32,
    bias_ih: u32,
    bias_hh: u32,
    head_weight: u32,
    head_bias: u32,
    states: u32,
    y: u32,
    dy: u32,
    threshold: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> fed: array<f32>;                  // x, target, ...
@group(0) @binding(2) var<storage, read_write> p: array<vec4<f32>>;        // [N / 4]
@group(0) @binding(3) var<storage, read_write> g: array<vec4<f32>>;        // [N / 4]
@group(0) @binding(4) var<storage, read_write> m: array<vec4<f32>>;        // [N / 4]
@group(0) @binding(5) var<storage, read_write> v: array<vec4<f32>>;        // [N / 4]
@group(0) @binding(6) var<storage, read_write> status: array<f32>;         // [16]
@group(0) @binding(7) var<storage, read_write> loss: array<f32>;           // [1]
@group(0) @binding(8) var<storage, read_write> scratch: array<vec4<f32>>;  // gates, states, y, dy

var<workgroup> first_bad: atomic<u32>;

// What a lane has seen of the gradients.
struct Seen {
    squares: f32,
    bad: u32,  // the first element that isn't finite, or CHUNK
}

// Every invocation waits for the others, and sees what they have written.
fn meet() {
    storageBarrier();
    workgroupBarrier();
}

fn forward(lane: u32, t: u32) {
    let slot = params.batch * params.hidden;
    let before = params.states + t * slot;
    for (var n = lane; n < slot; n += LANES) {
        let row = n / params.hidden;
        let unit = n % params.hidden;
        var sums = vec4(0.0);
        if BIASES > 0u {
            sums = p[params.bias_ih + unit];
        }
        if BIASES > 1u {
            sums += p[params.bias_hh + unit];
        }
        let x_at = t * params.x_step + row * params.x_row;
        for (var i = 0u; i < params.input; i++) {
            sums += fed[x_at + i] * p[params.w + i * params.hidden + unit];
        }
        let h_at = before + row * params.hidden;
        for (var k = 0u; k < params.hidden; k++) {
            sums += scratch[h_at + k].x * p[params.u + k * params.hidden + unit];
        }
        let cell = cell_forward(sums, scratch[before + n].y, 0.0, vec4(0.0), NO_MASKS);
        scratch[t * slot + n] = cell.gates;
        scratch[before + slot + n] = vec4(cell.h, cell.c, 0.0, 0.0);
    }
}

// Where the states of a prediction's row start.
fn states_of(row: u32) -> u32 {
    let slot = select(params.steps, 1u, params.every == 1u);
    return params.states + slot * params.batch * params.hidden + row * params.hidden;
}

fn head_weight(output: u32, unit: u32) -> f32 {
    let at = params.head_weight + output * params.hidden + unit;
    return p[at / 4u][at % 4u];
}

fn prediction(n: u32) -> f32 {
    let h_at = states_of(n / params.outputs);
    let output = n % params.outputs;
    if !LINEAR {
        return scratch[h_at + output].x;
    }
    let bias_at = params.head_bias + output;
    var sum = p[bias_at / 4u][bias_at % 4u];
    for (var k = 0u; k < params.hidden; k++) {
        sum += scratch[h_at + k].x * head_weight(output, k);
    }
    return sum;
}

// Predictions and their gradients, four at a time; returns the sum of the lane's losses.
fn predictions(lane: u32, count: u32) -> f32 {
    let by = fed[params.scale_start];
    var sum = 0.0;
    for (var quad = lane; 4u * quad < count; quad += LANES) {
        var y = vec4(0.0);
        var dy = vec4(0.0);
        for (var i = 0u; i < min(4u, count - 4u * quad); i++) {
            let n = 4u * quad + i;
            let value = prediction(n);
            let found = term(value, fed[params.target_start + n]);
            y[i] = value;
            dy[i] = by * found.slope;
            sum += found.value;
        }
        scratch[params.y + quad] = y;
        scratch[params.dy + quad] = dy;
    }
    return sum;
}

fn dy_at(n: u32) -> f32 {
    return scratch[params.dy + n / 4u][n % 4u];
}

// What comes back from the predictions of a row to a unit.
fn head_gradient(row: u32, unit: u32) -> f32 {
    if !LINEAR {
        return dy_at(row * params.outputs + unit);
    }
    var sum = 0.0;
    for (var output = 0u; output < params.outputs; output++) {
        sum += dy_at(row * params.outputs + output) * head_weight(output, unit);
    }
    return sum;
}

fn backward(lane: u32, t: u32) {
    let slot = params.batch * params.hidden;
    let last = t + 1u == params.steps;
    for (var n = lane; n < slot; n += LANES) {
        let row = n / params.hidden;
        let unit = n % params.hidden;
        var dh = 0.0;
        if !last {
            let incoming = (t + 1u) * slot + row * params.hidden;
            let weights = params.u + unit * params.hidden;
            for (var k = 0u; k < params.hidden; k++) {
                dh += dot(scratch[incoming + k], p[weights + k]);
            }
        }
        if params.every == 1u {
            dh += head_gradient(t * params.batch + row, unit);
        } else if last {
            dh += head_gradient(row, unit);
        }
        let state = params.states + t * slot + n;
        let before = scratch[state];
        let after = scratch[state + slot];
        let gates = scratch[t * slot + n];
        let gradient = cell_backward(gates, before.y, after.y, dh, after.w, vec4(0.0), NO_MASKS);
        scratch[t * slot + n] = gradient.sums;
        scratch[state] = vec4(before.x, before.y, 0.0, gradient.c_prev);
    }
}

// Keeps four gradients.
fn keep(seen: Seen, quad: u32, gradient: vec4<f32>) -> Seen {
    g[quad] = gradient;
    if !NORM {
        return seen;
    }
    var bad = seen.bad;
    let at = 4u * quad;
    bad = min(bad, select(at, CHUNK, is_finite(gradient.x)));
    bad = min(bad, select(at + 1u, CHUNK, is_finite(gradient.y)));
    bad = min(bad, select(at + 2u, CHUNK, is_finite(gradient.z)));
    bad = min(bad, select(at + 3u, CHUNK, is_finite(gradient.w)));
    return Seen(seen.squares + dot(gradient, gradient), bad);
}

// The gradients of the layer: a quad is a term of the input, or of the hidden state, or the biases',
// and a unit.
fn layer_gradients(lane: u32, before: Seen) -> Seen {
    let slot = params.batch * params.hidden;
    let recurrent = params.input + params.hidden;
    let terms = recurrent + select(0u, 1u, BIASES > 0u);
    var seen = before;
    for (var n = lane; n < terms * params.hidden; n += LANES) {
        let k = n / params.hidden;
        let unit = n % params.hidden;
        var sum = vec4(0.0);
        for (var t = 0u; t < params.steps; t++) {
            let states = params.states + t * slot + (k - params.input);
            let x_at = t * params.x_step + k;
            let gates = t * slot + unit;
            for (var row = 0u; row < params.batch; row++) {
                let at = row * params.hidden;
                var factor = 1.0;
                if k < params.input {
                    factor = fed[x_at + row * params.x_row];
                } else if k < recurrent {
                    factor = scratch[states + at].x;
                }
                sum += factor * scratch[gates + at];
            }
        }
        if k < params.input {
            seen = keep(seen, params.w + n, sum);
        } else if k < recurrent {
            seen = keep(seen, params.u + n - params.input * params.hidden, sum);
        } else {
            seen = keep(seen, params.bias_ih + unit, sum);
            if BIASES > 1u {
                seen = keep(seen, params.bias_hh + unit, sum);
            }
        }
    }
    return seen;
}

// The gradients of the head.
fn head_gradients(lane: u32, before: Seen) -> Seen {
    let rows = params.batch * select(1u, params.steps, params.every == 1u);
    let weights = params.outputs * params.hidden;
    var seen = before;
    for (var quad = lane; 4u * quad < weights; quad += LANES) {
        var sums = vec4(0.0);
        for (var i = 0u; i < min(4u, weights - 4u * quad); i++) {
            let output = (4u * quad + i) / params.hidden;
            let unit = (4u * quad + i) % params.hidden;
            var sum = 0.0;
            for (var row = 0u; row < rows; row++) {
                sum += dy_at(row * params.outputs + output) * scratch[states_of(row) + unit].x;
            }
            sums[i] = sum;
        }
        seen = keep(seen, params.head_weight / 4u + quad, sums);
    }
    for (var quad = lane; 4u * quad < params.outputs; quad += LANES) {
        var sums = vec4(0.0);
        for (var i = 0u; i < min(4u, params.outputs - 4u * quad); i++) {
            var sum = 0.0;
            for (var row = 0u; row < rows; row++) {
                sum += dy_at(row * params.outputs + 4u * quad + i);
            }
            sums[i] = sum;
        }
        seen = keep(seen, params.head_bias / 4u + quad, sums);
    }
    return seen;
}

// For invocation 0.
fn judge(squares: f32, bad_element: u32) {
    let trained = setting(ACTIVE) != 0.0;
    var bad = Bad(KIND_NONE, 0.0, 0.0);
    if trained && bad_element < CHUNK {
        bad = Bad(KIND_GRADIENT, 0.0, f32(bad_element));
    }
    if !is_finite(loss[0]) {
        bad = Bad(KIND_LOSS, 0.0, 0.0);
    }
    let max_norm = fed[params.scalars_start + MAX_NORM];
    let policy = fed[params.scalars_start + POLICY];
    decide(0u, select(0.0, sqrt(squares), trained), max_norm, policy, bad);
}

fn setting(column: u32) -> f32 {
    return fed[params.settings_start + column];
}

fn update(lane: u32) {
    if status[STATUS_APPLY] == 0.0 || setting(ACTIVE) == 0.0 {
        return;
    }
    var own: AdamSettings;
    own.rate = setting(RATE);
    own.weight_decay = setting(WEIGHT_DECAY);
    own.keep = setting(KEEP);
    own.clip_value = setting(CLIP_VALUE);
    own.one_minus_beta1 = setting(ONE_MINUS_BETA1);
    own.beta2 = setting(BETA2);
    own.one_minus_beta2 = setting(ONE_MINUS_BETA2);
    own.eps = setting(EPS);
    own.root_correction = setting(ROOT_CORRECTION);
    own.scale = status[STATUS_SCALE];
    for (var n = lane; n < params.len / 4u; n += LANES) {
        let raw = g[n];
        let p_n = p[n];
        let m_n = m[n];
        let v_n = v[n];
        let a = adam_step(own, raw.x, AdamElement(p_n.x, m_n.x, v_n.x));
        let b = adam_step(own, raw.y, AdamElement(p_n.y, m_n.y, v_n.y));
        let c = adam_step(own, raw.z, AdamElement(p_n.z, m_n.z, v_n.z));
        let d = adam_step(own, raw.w, AdamElement(p_n.w, m_n.w, v_n.w));
        p[n] = vec4(a.p, b.p, c.p, d.p);
        m[n] = vec4(a.m, b.m, c.m, d.m);
        v[n] = vec4(a.v, b.v, c.v, d.v);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    let slot = params.batch * params.hidden;
    for (var n = lane; n < slot; n += LANES) {
        scratch[params.states + n] = vec4(0.0);
    }
    if lane == 0u {
        atomicStore(&first_bad, CHUNK);
    }
    meet();
    for (var t = 0u; t < params.steps; t++) {
        forward(lane, t);
        meet();
    }
    let rows = params.batch * select(1u, params.steps, params.every == 1u);
    let value = predictions(lane, rows * params.outputs);
    let total = workgroup_sum(lane, value);
    if lane == 0u {
        loss[0] = fed[params.scale_start] * total;
    }
    meet();
    for (var t = params.steps; t > 0u; t--) {
        backward(lane, t - 1u);
        meet();
    }
    var seen = layer_gradients(lane, Seen(0.0, CHUNK));
    if LINEAR {
        seen = head_gradients(lane, seen);
    }
    if NORM {
        atomicMin(&first_bad, seen.bad);
        let squares = workgroup_sum(lane, seen.squares);
        if lane == 0u {
            judge(squares, atomicLoad(&first_bad));
        }
    }
    meet();
    update(lane);
}
