// lstm_sequence_backward: lstm_step_backward at several timesteps in one dispatch, in one direction
// or in both. A workgroup owns some rows of the batch and walks back through their timesteps, since
// rows never meet.
//
//   dh  = dy + incoming . w^T                        incoming: dG of the step that ran after; where
//                                                    PROJECTION dp += incoming . w^T, and
//                                                    dh = dp . projection^T
//   dG, dc of the step before = cell_backward of dh and dc, see common/cell.wgsl
//
// | binding | name    | shape                                     | access     | may alias   |
// |---------|---------|-------------------------------------------|------------|-------------|
// | 0       | params  | Params                                    | uniform    |             |
// | 1       | w       | [K, H] quads, a direction each, or the    | read       | other reads |
// |         |         | panels of its transpose where PACKED      |            |             |
// | 2       | c       | [D, T+1, B, H]                            | read       | other reads |
// | 3       | dy      | [T, B, D, H], where `has_dy`              | read       | other reads |
// | 4       | lengths | [B], where LENGTHS; the key of masks [4], | read       | other reads |
// |         |         | where DRAWN                               |            |             |
// | 5       | gates   | [D, T, B, H] of (i, f, g, o), afterwards  | read_write | nothing     |
// |         |         | their dG; where `incoming`, a slot before |            |             |
// |         |         | the first is read                         |            |             |
// | 6       | dc      | [D, B, H], in place; where ZONEOUT what   | read_write | nothing     |
// |         |         | it keeps of dh `zoned` further            |            |             |
// | 7       | projec- | [H, P], rows filled up to quads, where    | read       | other reads |
// |         | tion    | PROJECTION; and [H] of (i, f, 0, o) where |            |             |
// |         |         | PEEPHOLES                                 |            |             |
// | 8       | dp      | [D, T, B, P], likewise: the gradient of   | read_write | nothing     |
// |         |         | the outputs, then of all that they reach  |            |             |
//
// Starts are those of the first timestep of the walk, in elements of the bound range; gates and w
// count vec4; those of the second direction are named `_reverse`. Each step finds its operands a
// slot further than the one before it, or a slot nearer where `back`; the cell states before a
// timestep stand a slot further in the walk. A row that has ended has no gradient, and its dc stays.
// K is P with a projection, else H, and `features` in the block of constants; there is no dy with one.
// A projection isn't for weights in panels, nor for rows.wgsl.
// Twin: reference::lstm_sequence_backward. This file has what its variants share.

override LENGTHS: bool = false;
override PACKED: bool = false;
override PROJECTION: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    steps: u32,
    has_dy: u32,
    dy_row: u32,
    incoming: u32,
    lengths_start: u32,
    back: u32,
    back_reverse: u32,
    t: u32,
    t_reverse: u32,
    w_start: u32,
    w_reverse: u32,
    gates_start: u32,
    gates_reverse: u32,
    c_start: u32,
    c_reverse: u32,
    dy_start: u32,
    dy_reverse: u32,
    dc_start: u32,
    dc_reverse: u32,
    features: u32,
    projection_start: u32,
    projection_reverse: u32,
    dp_start: u32,
    dp_reverse: u32,
    p_start: u32,
    p_reverse: u32,
    key_start: u32,
    place: u32,
    place_reverse: u32,
    zoned: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;              // [H, H]
@group(0) @binding(2) var<storage, read> c: array<f32>;                    // [D, T+1, B, H]
@group(0) @binding(3) var<storage, read> dy: array<f32>;                   // [T, B, D, H]
@group(0) @binding(4) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(5) var<storage, read_write> gates: array<vec4<f32>>;    // [D, T, B, H]
@group(0) @binding(6) var<storage, read_write> dc: array<f32>;             // [D, B, H]
@group(0) @binding(7) var<storage, read> projection: array<f32>;           // [H, P]
@group(0) @binding(8) var<storage, read_write> dp: array<f32>;             // [D, T, B, P]

// Where one step of one direction finds its operands.
struct Slots {
    t: u32,
    gates: u32,
    c_prev: u32,
    c: u32,
    dy: u32,
    dc: u32,
    dp: u32,
    p: u32,
    place: u32,
}

fn first_slots(reverse: bool) -> Slots {
    var slots: Slots;
    slots.t = select(params.t, params.t_reverse, reverse);
    slots.gates = select(params.gates_start, params.gates_reverse, reverse);
    slots.c = select(params.c_start, params.c_reverse, reverse);
    slots.dy = select(params.dy_start, params.dy_reverse, reverse);
    slots.dc = select(params.dc_start, params.dc_reverse, reverse);
    slots.dp = select(params.dp_start, params.dp_reverse, reverse);
    slots.p = select(params.p_start, params.p_reverse, reverse);
    slots.place = select(params.place, params.place_reverse, reverse);
    return with_end(slots, reverse);
}

fn is_back(reverse: bool) -> bool {
    return select(params.back, params.back_reverse, reverse) == 1u;
}

// With the slot of the cell states before the step.
fn with_end(slots: Slots, reverse: bool) -> Slots {
    let slot = params.batch * params.hidden;
    var ends = slots;
    ends.c_prev = select(slots.c + slot, slots.c - slot, is_back(reverse));
    return ends;
}

fn next_slots(slots: Slots, reverse: bool) -> Slots {
    let slot = params.batch * params.hidden;
    let dy_slot = params.batch * params.dy_row;
    let back = is_back(reverse);
    var next = slots;
    next.t = select(slots.t + 1u, slots.t - 1u, back);
    next.gates = select(slots.gates + slot, slots.gates - slot, back);
    next.dy = select(slots.dy + dy_slot, slots.dy - dy_slot, back);
    let dp_slot = params.batch * features_row();
    next.dp = select(slots.dp + dp_slot, slots.dp - dp_slot, back);
    next.c = slots.c_prev;
    return with_end(next, reverse);
}

// Where the gradients stand of the step that ran after.
fn slot_after(slots: Slots, reverse: bool) -> u32 {
    let slot = params.batch * params.hidden;
    return select(slots.gates - slot, slots.gates + slot, is_back(reverse));
}

// Elements of a row of features, filled up to quads.
fn features_row() -> u32 {
    return (params.features + 3u) / 4u * 4u;
}

// The gradient of a feature of a hidden state, from what comes back to it. That of a row that has ended
// stays.
fn project(at_step: Slots, row: u32, feature: u32, product: f32) -> f32 {
    let at = at_step.dp + row * features_row() + feature;
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], at_step.t) {
            return 0.0;
        }
    }
    let sum = dp[at] + product;
    dp[at] = sum;
    return sum;
}

// Where the projection's weights of a unit start.
fn projection_row(reverse: bool, unit: u32) -> u32 {
    let start = select(params.projection_start, params.projection_reverse, reverse);
    return start + unit * features_row();
}

// A unit's peepholes, which start at `at`.
fn peepholes_of(at: u32) -> vec4<f32> {
    if !PEEPHOLES {
        return vec4(0.0);
    }
    return vec4(projection[at], projection[at + 1u], 0.0, projection[at + 3u]);
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

// The gradients of a unit's gates, which are stored, and of its cell state, from the product with what
// came in and from the cell state's gradient after the step.
fn finish(at_step: Slots, row: u32, unit: u32, product: f32, d_after: f32) -> CellGradient {
    let at = row * params.hidden + unit;
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], at_step.t) {
            gates[at_step.gates + at] = vec4(0.0);
            return CellGradient(vec4(0.0), d_after, 0.0);
        }
    }
    let draws = draws_of(at_step);
    let zoned_at = at_step.dc + params.zoned + at;
    var dh = product;
    if RECURRENT {
        dh *= recurrent_mask(draws, row, unit);
    }
    if ZONEOUT {
        dh += dc[zoned_at];
    }
    if params.has_dy == 1u {
        dh += dy[at_step.dy + row * params.dy_row + unit];
    }
    let c_prev = c[at_step.c_prev + at];
    let p = peepholes_of(at_step.p + 4u * unit);
    let gates_at = at_step.gates + at;
    let c_after = c[at_step.c + at];
    let masks = masks_of(draws, row, unit);
    let gradient = cell_backward(gates[gates_at], c_prev, c_after, dh, d_after, p, masks);
    gates[gates_at] = gradient.sums;
    if ZONEOUT {
        dc[zoned_at] = gradient.h_prev;
    }
    return gradient;
}
