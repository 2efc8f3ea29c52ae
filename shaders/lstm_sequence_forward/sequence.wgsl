// lstm_sequence_forward: lstm_step_forward at several timesteps in one dispatch, in one direction or
// in both. A workgroup owns some rows of the batch and walks through their timesteps, since rows
// never meet.
//
//   sums        = P + h_prev . U        P: the input's share and the biases, from matmul, or where
//                                       INPUT x . W + bias
//   gates, c, h = cell_forward of sums, c_prev and peepholes, see common/cell.wgsl
//                                       where PROJECTION h goes to z, and h = z . w
//
// | binding | name    | shape                                    | access     | may alias |
// |---------|---------|------------------------------------------|------------|-----------|
// | 0       | params  | Params                                   | uniform    |           |
// | 1       | u       | [K, H] of (i, f, g, o), a direction      | read       | reads     |
// |         |         | each, or its panels where PACKED; where  |            |           |
// |         |         | INPUT those of [1 + I + H, H]: the bias, |            |           |
// |         |         | W, U                                     |            |           |
// | 2       | x       | [T, B, I], where INPUT                   | read       | reads     |
// | 3       | lengths | [B], where LENGTHS; the key of masks     | read       | reads     |
// |         |         | [4], where DRAWN                         |            |           |
// | 4       | gates   | [D, T, B, H] of (i, f, g, o); P on       | read_write | nothing   |
// |         |         | entry unless INPUT, where KEEP the       |            |           |
// |         |         | activated gates afterwards               |            |           |
// | 5       | h       | [T+D, B, D, K]; the slot before the      | read_write | nothing   |
// |         |         | first step is read, the steps' written;  |            |           |
// |         |         | where RECURRENT masked ones `masked`     |            |           |
// |         |         | further, which products take             |            |           |
// | 6       | c       | [D, T+1, B, H], likewise                 | read_write | nothing   |
// | 7       | w       | [H, P], rows filled up to quads, where   | read       | reads     |
// |         |         | PROJECTION; and [H] of (i, f, 0, o)      |            |           |
// |         |         | where PEEPHOLES                          |            |           |
// | 8       | z       | [D, T, B, H], written where PROJECTION   | read_write | nothing   |
//
// K is P with a projection, else H, and `features` in the block of constants. A projection isn't for
// weights in panels, nor for rows.wgsl.
//
// Starts are those of the first timestep, in elements of the bound range; gates and u count vec4;
// those of the second direction are named `_reverse`. Each step finds its operands a slot further
// than the one before it, or a slot nearer where `back`. A row that has ended is left alone.
// Twin: reference::lstm_sequence_forward. This file has what its variants share.

override LENGTHS: bool = false;
override PACKED: bool = false;
override KEEP: bool = true;
override INPUT: bool = false;
override PROJECTION: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    steps: u32,
    h_row: u32,
    lengths_start: u32,
    back: u32,
    back_reverse: u32,
    t: u32,
    t_reverse: u32,
    u_start: u32,
    u_reverse: u32,
    gates_start: u32,
    gates_reverse: u32,
    h_start: u32,
    h_reverse: u32,
    c_start: u32,
    c_reverse: u32,
    input: u32,
    x_start: u32,
    x_reverse: u32,
    features: u32,
    w_start: u32,
    w_reverse: u32,
    z_start: u32,
    z_reverse: u32,
    p_start: u32,
    p_reverse: u32,
    key_start: u32,
    place: u32,
    place_reverse: u32,
    masked: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<vec4<f32>>;              // [H, H]
@group(0) @binding(2) var<storage, read> x: array<f32>;                    // [T, B, I]
@group(0) @binding(3) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(4) var<storage, read_write> gates: array<vec4<f32>>;    // [D, T, B, H]
@group(0) @binding(5) var<storage, read_write> h: array<f32>;              // [T+D, B, D, H]
@group(0) @binding(6) var<storage, read_write> c: array<f32>;              // [D, T+1, B, H]
@group(0) @binding(7) var<storage, read> w: array<f32>;                    // [H, P]
@group(0) @binding(8) var<storage, read_write> z: array<f32>;              // [D, T, B, H]

// Where one step of one direction finds its operands; h as products take it.
struct Slots {
    t: u32,
    gates: u32,
    h_prev: u32,
    h: u32,
    c_prev: u32,
    c: u32,
    z: u32,
    p: u32,
    place: u32,
}

fn first_slots(reverse: bool) -> Slots {
    var slots: Slots;
    slots.t = select(params.t, params.t_reverse, reverse);
    slots.gates = select(params.gates_start, params.gates_reverse, reverse);
    slots.h_prev = select(params.h_start, params.h_reverse, reverse) + params.masked;
    slots.c_prev = select(params.c_start, params.c_reverse, reverse);
    slots.z = select(params.z_start, params.z_reverse, reverse);
    slots.p = select(params.p_start, params.p_reverse, reverse);
    slots.place = select(params.place, params.place_reverse, reverse);
    return with_ends(slots, reverse);
}

fn is_back(reverse: bool) -> bool {
    return select(params.back, params.back_reverse, reverse) == 1u;
}

// With the slots that the step writes.
fn with_ends(slots: Slots, reverse: bool) -> Slots {
    let slot = params.batch * params.hidden;
    let h_slot = params.batch * params.h_row;
    let back = is_back(reverse);
    var ends = slots;
    ends.h = select(slots.h_prev + h_slot, slots.h_prev - h_slot, back);
    ends.c = select(slots.c_prev + slot, slots.c_prev - slot, back);
    return ends;
}

fn next_slots(slots: Slots, reverse: bool) -> Slots {
    let slot = params.batch * params.hidden;
    let back = is_back(reverse);
    var next: Slots;
    next.t = select(slots.t + 1u, slots.t - 1u, back);
    next.gates = select(slots.gates + slot, slots.gates - slot, back);
    next.h_prev = slots.h;
    next.c_prev = slots.c;
    next.z = select(slots.z + slot, slots.z - slot, back);
    next.p = slots.p;
    next.place = slots.place;
    return with_ends(next, reverse);
}

// A unit's peepholes, which start at `at`.
fn peepholes_of(at: u32) -> vec4<f32> {
    if !PEEPHOLES {
        return vec4(0.0);
    }
    return vec4(w[at], w[at + 1u], 0.0, w[at + 3u]);
}

// Where a step draws its masks.
fn draws_of(at_step: Slots) -> Draws {
    var key = vec2(0u);
    if DRAWN {
        let at = params.key_start;
        key = key_of(vec4(lengths[at], lengths[at + 1u], lengths[at + 2u], lengths[at + 3u]));
    }
    return Draws(key, at_step.place, at_step.t);
}

// The states of a unit after a step, h as the next one's product takes it, from the sum of the recurrent product and
// the cell state before it; where PROJECTION, what is projected in the hidden state's place. A row that has ended
// keeps what stands in the step's slots.
fn finish(
    at_step: Slots,
    row: u32,
    unit: u32,
    sum: vec4<f32>,
    c_prev: f32,
) -> Cell {
    let at = row * params.hidden + unit;
    let h_at = at_step.h - params.masked + row * params.h_row + unit;
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], at_step.t) {
            if PROJECTION {
                return Cell(vec4(0.0), c[at_step.c + at], 0.0);
            }
            return Cell(vec4(0.0), c[at_step.c + at], h[h_at + params.masked]);
        }
    }
    var sums = sum;
    if !INPUT {
        sums += gates[at_step.gates + at];
    }
    let draws = draws_of(at_step);
    var h_prev = 0.0;
    if ZONEOUT && !PROJECTION {
        h_prev = h[at_step.h_prev - params.masked + row * params.h_row + unit];
    }
    let p = peepholes_of(at_step.p + 4u * unit);
    var cell = cell_forward(sums, c_prev, h_prev, p, masks_of(draws, row, unit));
    if KEEP {
        gates[at_step.gates + at] = cell.gates;
    }
    c[at_step.c + at] = cell.c;
    if PROJECTION {
        z[at_step.z + at] = cell.h;
    } else {
        h[h_at] = cell.h;
        if RECURRENT {
            cell.h *= recurrent_mask(draws, row, unit);
            h[h_at + params.masked] = cell.h;
        }
    }
    return cell;
}

// A feature of a hidden state after a step, from what the projection makes it.
fn project(at_step: Slots, row: u32, feature: u32, sum: f32) -> f32 {
    let at = at_step.h + row * params.h_row + feature;
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], at_step.t) {
            return h[at];
        }
    }
    h[at] = sum;
    return sum;
}

// Where the projection's weights of a unit start.
fn projection_row(reverse: bool, unit: u32) -> u32 {
    let row = (params.features + 3u) / 4u * 4u;
    return select(params.w_start, params.w_reverse, reverse) + unit * row;
}
