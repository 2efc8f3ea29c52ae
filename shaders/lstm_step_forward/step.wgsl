// lstm_step_forward: one timestep of an LSTM layer, in one direction or in both: the recurrent
// product, the four gates and both states fused.
//
//   (i, f, g, o) = P + h_prev . U       P: the input's share and the biases, from matmul
//   i, f, o      = sigmoid;  g = tanh
//   c            = f * c_prev + i * g
//   h            = o * tanh(c)          with a projection it goes to z, and matmul makes h of it
//
// | binding | name    | shape                                    | access     | may alias |
// |---------|---------|------------------------------------------|------------|-----------|
// | 0       | params  | Params                                   | uniform    |           |
// | 1       | u       | [K, H] of (i, f, g, o), a direction each | read       | lengths   |
// | 2       | lengths | [B], where LENGTHS                       | read       | u         |
// | 3       | gates   | [D, T, B, H] of (i, f, g, o); P on       | read_write | nothing   |
// |         |         | entry, the activated gates afterwards    |            |           |
// | 4       | h       | [T+D, B, D, K]; the slot of the step     | read_write | nothing   |
// |         |         | before is read, the step's own written   |            |           |
// | 5       | c       | [D, T+1, B, H], likewise                 | read_write | nothing   |
// | 6       | z       | [D, T, B, H], written where PROJECTION   | read_write | nothing   |
//
// K is P with a projection, else H. Starts are in elements of the bound range; gates and u count
// vec4; those of the second direction are named `_reverse`. A row that has ended is left alone.
// A binding that isn't used may be any of its kind.
// Twin: reference::lstm_step_forward. This file has what its variants share.

override LENGTHS: bool = false;
override PROJECTION: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    terms: u32,
    h_row: u32,
    lengths_start: u32,
    t: u32,
    t_reverse: u32,
    u_start: u32,
    u_reverse: u32,
    gates_start: u32,
    gates_reverse: u32,
    h_prev_start: u32,
    h_prev_reverse: u32,
    h_start: u32,
    h_reverse: u32,
    c_prev_start: u32,
    c_prev_reverse: u32,
    c_start: u32,
    c_reverse: u32,
    z_start: u32,
    z_reverse: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<vec4<f32>>;              // [K, H]
@group(0) @binding(2) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(3) var<storage, read_write> gates: array<vec4<f32>>;    // [D, T, B, H]
@group(0) @binding(4) var<storage, read_write> h: array<f32>;              // [T+D, B, D, K]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;              // [D, T+1, B, H]
@group(0) @binding(6) var<storage, read_write> z: array<f32>;              // [D, T, B, H]

fn finish(reverse: bool, row: u32, unit: u32, sum: vec4<f32>) {
    if row >= params.batch || unit >= params.hidden {
        return;
    }
    if LENGTHS {
        let t = select(params.t, params.t_reverse, reverse);
        if has_ended(lengths[params.lengths_start + row], t) {
            return;
        }
    }
    let at = row * params.hidden + unit;
    let gates_at = select(params.gates_start, params.gates_reverse, reverse) + at;
    let c_prev_at = select(params.c_prev_start, params.c_prev_reverse, reverse) + at;
    let sums = sum + gates[gates_at];
    let s = sigmoid(sums);
    let gate = vec4(s.x, s.y, hyperbolic_tangent(sums).z, s.w);
    let cell = gate.y * c[c_prev_at] + gate.x * gate.z;
    let result = gate.w * hyperbolic_tangent(vec4(cell)).x;
    gates[gates_at] = gate;
    c[select(params.c_start, params.c_reverse, reverse) + at] = cell;
    if PROJECTION {
        z[select(params.z_start, params.z_reverse, reverse) + at] = result;
    } else {
        h[select(params.h_start, params.h_reverse, reverse) + row * params.h_row + unit] = result;
    }
}
