// lstm_step_backward: the mirror of lstm_step_forward, a timestep of one layer or of several: the product with
// what comes back from the step that ran after this one, where HIGHER that with what comes from the layer
// above, then the pointwise part.
//
//   dh  = dy + incoming . w^T + dG of the layer above . W^T
//   dG, dc of the step before = cell_backward of dh and dc, see common/cell.wgsl
//
// Without a projection, `incoming` is dG of the step that ran after, and w the recurrent weights.
// With one, it is dh, the gradient of the projection's result, with dy in it, and w the
// projection's weights.
//
// | binding | name    | shape                                     | access     | may alias   |
// |---------|---------|-------------------------------------------|------------|-------------|
// | 0       | params  | Params                                    | uniform    |             |
// | 1       | w       | [H, K] quads, each; and where HIGHER the  | read       | other reads |
// |         |         | input's weights W [H, H] of the layers    |            |             |
// | 2       | c       | [.., B, H]; the slots before and after    | read       | other reads |
// |         |         | the step                                  |            |             |
// | 3       | dy      | [T, B, .., H], from `dy_from` on          | read       | other reads |
// | 4       | dh      | [.., B, K] quads, where PROJECTION        | read       | other reads |
// | 5       | lengths | [B], where LENGTHS; the key of masks [4], | read       | other reads |
// |         |         | where DRAWN                               |            |             |
// | 6       | gates   | [T, B, H] of (i, f, g, o), each; the step | read_write | nothing     |
// |         |         | after and the layer above hold dG, this   |            |             |
// |         |         | one the gates, then its dG                |            |             |
// | 7       | dc      | [B, H], each, in place; where ZONEOUT     | read_write | nothing     |
// |         |         | what it keeps of dh `zoned` further       |            |             |
// | 8       | p       | [H] of (i, f, 0, o), where PEEPHOLES      | read       | other reads |
//
// K is H without a projection, else P / 4, rounded up. After those before `incoming_from` nothing ran, and their
// product has no terms; those before `above_until` have a layer above. Starts are in elements; gates, w, W, dh and
// p count vec4. An operand of the n-th starts at `start` + n `next`, which may wrap around; w and p of the first at
// `w_first` and `p_first`. A row that has ended has no gradient, and its dc stays. A range that isn't used may be
// any readable one.
// Twin: reference::lstm_step_backward, and matmul where HIGHER. This file has what its variants share.

override LENGTHS: bool = false;
override PROJECTION: bool = false;
override HIGHER: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    w_row: u32,
    incoming_from: u32,
    above_until: u32,
    dy_from: u32,
    dy_row: u32,
    lengths_start: u32,
    t: u32,
    t_next: u32,
    w_first: u32,
    w_start: u32,
    w_next: u32,
    gates_start: u32,
    gates_next: u32,
    incoming_start: u32,
    incoming_next: u32,
    c_prev_start: u32,
    c_prev_next: u32,
    c_start: u32,
    c_next: u32,
    dy_start: u32,
    dy_next: u32,
    dc_start: u32,
    dc_next: u32,
    above_start: u32,
    above_next: u32,
    above_w_start: u32,
    above_w_next: u32,
    p_first: u32,
    p_start: u32,
    p_next: u32,
    key_start: u32,
    place: u32,
    place_next: u32,
    zoned: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;              // [H, K]
@group(0) @binding(2) var<storage, read> c: array<f32>;                    // [.., B, H]
@group(0) @binding(3) var<storage, read> dy: array<f32>;                   // [T, B, .., H]
@group(0) @binding(4) var<storage, read> dh: array<vec4<f32>>;             // [.., B, K]
@group(0) @binding(5) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(6) var<storage, read_write> gates: array<vec4<f32>>;    // [T, B, H]
@group(0) @binding(7) var<storage, read_write> dc: array<f32>;             // [B, H]
@group(0) @binding(8) var<storage, read> p: array<vec4<f32>>;              // [H]

// Where the weights start of the n-th.
fn w_of(n: u32) -> u32 {
    return select(params.w_start + n * params.w_next, params.w_first, n == 0u);
}

// Where what comes back to it starts.
fn incoming_of(n: u32) -> u32 {
    return params.incoming_start + n * params.incoming_next;
}

// The terms of its product.
fn terms_of(n: u32) -> u32 {
    return select(params.w_row, 0u, n < params.incoming_from);
}

// Whether there is a layer above it.
fn has_above(n: u32) -> bool {
    return HIGHER && n < params.above_until;
}

// Where the input's weights of the layer above start.
fn above_w_of(n: u32) -> u32 {
    return params.above_w_start + n * params.above_w_next;
}

// Where the gradients of its gates start.
fn above_of(n: u32) -> u32 {
    return params.above_start + n * params.above_next;
}

// A unit's peepholes.
fn peepholes_of(n: u32, unit: u32) -> vec4<f32> {
    if !PEEPHOLES {
        return vec4(0.0);
    }
    return p[select(params.p_start + n * params.p_next, params.p_first, n == 0u) + unit];
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

// What a product takes its rows from.
fn rows_at(at: u32) -> vec4<f32> {
    if PROJECTION {
        return dh[at];
    }
    return gates[at];
}

// Makes the gradients of a row's unit, from the sum of the products.
fn finish(n: u32, row: u32, unit: u32, product: f32) {
    if row >= params.batch || unit >= params.hidden {
        return;
    }
    let at = row * params.hidden + unit;
    let gates_at = params.gates_start + n * params.gates_next + at;
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], params.t + n * params.t_next) {
            gates[gates_at] = vec4(0.0);
            return;
        }
    }
    let draws = draws_of(n);
    let dc_at = params.dc_start + n * params.dc_next + at;
    var dh_sum = product;
    if RECURRENT {
        dh_sum *= recurrent_mask(draws, row, unit);
    }
    if ZONEOUT {
        dh_sum += dc[dc_at + params.zoned];
    }
    if n >= params.dy_from {
        dh_sum += dy[params.dy_start + n * params.dy_next + row * params.dy_row + unit];
    }
    let c_prev = c[params.c_prev_start + n * params.c_prev_next + at];
    let c_after = c[params.c_start + n * params.c_next + at];
    let own = peepholes_of(n, unit);
    let masks = masks_of(draws, row, unit);
    let gradient = cell_backward(gates[gates_at], c_prev, c_after, dh_sum, dc[dc_at], own, masks);
    gates[gates_at] = gradient.sums;
    dc[dc_at] = gradient.c_prev;
    if ZONEOUT {
        dc[dc_at + params.zoned] = gradient.h_prev;
    }
}
