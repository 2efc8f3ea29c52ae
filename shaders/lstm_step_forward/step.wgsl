// lstm_step_forward: a timestep of one LSTM layer or of several: the recurrent product, where INPUT that with
// the input, the four gates and both states fused. What is done in one launch, each by workgroups of its own
// in z: the directions of a layer; or the layers of a stack, each a timestep behind the one below.
//
//   sums        = P + h_prev . U             P: the input's share and the biases, from matmul
//   sums        = b + x . W + h_prev . U     where INPUT, from `input_from` on; x: h of the layer below
//   gates, c, h = cell_forward of sums, c_prev and p, see common/cell.wgsl
//                                            with a projection h goes to z, and matmul makes h of it
//
// | binding | name    | shape                                    | access     | may alias |
// |---------|---------|------------------------------------------|------------|-----------|
// | 0       | params  | Params                                   | uniform    |           |
// | 1       | u       | [K, H] of (i, f, g, o), each; and where  | read       | lengths   |
// |         |         | INPUT W [K, H] and b [H] of them         |            |           |
// | 2       | lengths | [B], where LENGTHS; the key of masks     | read       | u         |
// |         |         | [4], where DRAWN                         |            |           |
// | 3       | gates   | [T, B, H] of (i, f, g, o), each; P on    | read_write | nothing   |
// |         |         | entry, where KEEP the activated gates    |            |           |
// |         |         | afterwards                               |            |           |
// | 4       | h       | [.., B, .., K]; the slot of the step     | read_write | nothing   |
// |         |         | before is read, and where INPUT that of  |            |           |
// |         |         | the layer below; the step's own written; |            |           |
// |         |         | where RECURRENT masked ones `masked`     |            |           |
// |         |         | further, which products take             |            |           |
// | 5       | c       | [.., B, H], likewise                     | read_write | nothing   |
// | 6       | z       | [.., B, H], written where PROJECTION     | read_write | nothing   |
// | 7       | p       | [H] of (i, f, 0, o), where PEEPHOLES     | read       | u         |
//
// K is P with a projection, else H. Starts are in elements of the bound range; gates, u, W, b and p count vec4.
// An operand of the n-th starts at `start` + n `next`, which may wrap around; where it makes its input's share,
// u, W, b and p at `others` + n `others_next`. A row that has ended is left alone. A binding that isn't used may be
// any of its kind.
// Twin: reference::lstm_step_forward, and matmul where INPUT. This file has what its variants share.

override LENGTHS: bool = false;
override PROJECTION: bool = false;
override KEEP: bool = true;
override INPUT: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    terms: u32,
    h_row: u32,
    lengths_start: u32,
    t: u32,
    t_next: u32,
    u_start: u32,
    u_next: u32,
    gates_start: u32,
    gates_next: u32,
    h_prev_start: u32,
    h_prev_next: u32,
    h_start: u32,
    h_next: u32,
    c_prev_start: u32,
    c_prev_next: u32,
    c_start: u32,
    c_next: u32,
    z_start: u32,
    z_next: u32,
    input_from: u32,
    x_start: u32,
    x_next: u32,
    biases: u32,
    others_next: u32,
    u_others: u32,
    w_others: u32,
    bias_1_others: u32,
    bias_2_others: u32,
    p_start: u32,
    p_next: u32,
    p_others: u32,
    key_start: u32,
    place: u32,
    place_next: u32,
    masked: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<vec4<f32>>;              // [K, H]
@group(0) @binding(2) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(3) var<storage, read_write> gates: array<vec4<f32>>;    // [T, B, H]
@group(0) @binding(4) var<storage, read_write> h: array<f32>;              // [.., B, .., K]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;              // [.., B, H]
@group(0) @binding(6) var<storage, read_write> z: array<f32>;              // [.., B, H]
@group(0) @binding(7) var<storage, read> p: array<vec4<f32>>;              // [H]

// Whether the n-th makes its input's share itself.
fn has_input(n: u32) -> bool {
    return INPUT && n >= params.input_from;
}

// Where its recurrent weights start.
fn u_of(n: u32) -> u32 {
    return select(
        params.u_start + n * params.u_next,
        params.u_others + n * params.others_next,
        has_input(n),
    );
}

// Where its h before the step starts, as products take it.
fn h_prev_of(n: u32) -> u32 {
    return params.h_prev_start + n * params.h_prev_next + params.masked;
}

// Where the input's weights start, where it makes its share.
fn w_of(n: u32) -> u32 {
    return params.w_others + n * params.others_next;
}

// Where the input starts.
fn x_of(n: u32) -> u32 {
    return params.x_start + n * params.x_next;
}

// A unit's peepholes.
fn peepholes_of(n: u32, unit: u32) -> vec4<f32> {
    if !PEEPHOLES {
        return vec4(0.0);
    }
    let start = params.p_start + n * params.p_next;
    let others = params.p_others + n * params.others_next;
    return p[select(start, others, has_input(n)) + unit];
}

// Where the n-th draws its masks.
fn draws_of(n: u32) -> Draws {
    var key = vec2(0u);
    if DRAWN {
        let at = params.key_start;
        key = key_of(vec4(lengths[at], lengths[at + 1u], lengths[at + 2u], lengths[at + 3u]));
    }
    return Draws(key, params.place + n * params.place_next, params.t + n * params.t_next);
}

// Makes the states of a row's unit, from the sum of the products.
fn finish(n: u32, row: u32, unit: u32, sum: vec4<f32>) {
    if row >= params.batch || unit >= params.hidden {
        return;
    }
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], params.t + n * params.t_next) {
            return;
        }
    }
    let at = row * params.hidden + unit;
    let gates_at = params.gates_start + n * params.gates_next + at;
    var sums = sum;
    if has_input(n) {
        let bias_at = n * params.others_next + unit;
        if params.biases > 0u {
            sums += u[params.bias_1_others + bias_at];
        }
        if params.biases > 1u {
            sums += u[params.bias_2_others + bias_at];
        }
    } else {
        sums += gates[gates_at];
    }
    let c_prev = c[params.c_prev_start + n * params.c_prev_next + at];
    let draws = draws_of(n);
    var h_prev = 0.0;
    if ZONEOUT && !PROJECTION {
        h_prev = h[h_prev_of(n) - params.masked + row * params.h_row + unit];
    }
    let masks = masks_of(draws, row, unit);
    let cell = cell_forward(sums, c_prev, h_prev, peepholes_of(n, unit), masks);
    if KEEP {
        gates[gates_at] = cell.gates;
    }
    c[params.c_start + n * params.c_next + at] = cell.c;
    if PROJECTION {
        z[params.z_start + n * params.z_next + at] = cell.h;
    } else {
        let h_at = params.h_start + n * params.h_next + row * params.h_row + unit;
        h[h_at] = cell.h;
        if RECURRENT {
            h[h_at + params.masked] = cell.h * recurrent_mask(draws, row, unit);
        }
    }
}
