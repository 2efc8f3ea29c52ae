// The cell of an LSTM (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers, 2000): what every
// kernel with a timestep makes of a unit's four sums, and the derivative of that. After activations.wgsl and
// cell_activation.wgsl.
//
//   sums.i += p.i * c_prev;  sums.f += p.f * c_prev    where PEEPHOLES
//   sums    = sums within +-CLIP                       where it is above 0
//   i, f, o = sigmoid of the sums;  g = tanh           or GATE and CANDIDATE
//   f       = 1 - i                                    where COUPLED
//   c       = f * c_prev + i * g                       within +-CELL_CLIP, where it is above 0
//   sums.o += p.o * c, before it is clipped            where PEEPHOLES
//   h       = o * tanh(c)                              or OUTPUT
//
// and of what the masks say:
//
//   g = g * candidate                                  where it is used
//   c = zone_c * c_prev + (1 - zone_c) * c             where ZONEOUT, when h is made
//   h = zone_h * h_prev + (1 - zone_h) * h
//
// Twin: reference/cell.rs.

override PEEPHOLES: bool = false;
override COUPLED: bool = false;
override CLIP: f32 = 0.0;
override CELL_CLIP: f32 = 0.0;
override ZONEOUT: bool = false;
override GATE: u32 = 0u;
override GATE_ALPHA: f32 = 0.0;
override GATE_BETA: f32 = 0.0;
override CANDIDATE: u32 = 1u;
override CANDIDATE_ALPHA: f32 = 0.0;
override CANDIDATE_BETA: f32 = 0.0;
override OUTPUT: u32 = 1u;
override OUTPUT_ALPHA: f32 = 0.0;
override OUTPUT_BETA: f32 = 0.0;

// What a unit has after a timestep.
struct Cell {
    gates: vec4<f32>,  // (i, f, g, o), activated
    c: f32,
    h: f32,
}

// What is done to a unit at a timestep: the shares of the old states in the new ones, and what the candidate
// is multiplied with.
struct Masks {
    zone_h: f32,
    zone_c: f32,
    candidate: f32,
}

const NO_MASKS = Masks(0.0, 0.0, 1.0);

// Numbers within +-bound; NaN stays.
fn bounded(x: vec4<f32>, bound: f32) -> vec4<f32> {
    return select(clamp(x, vec4(-bound), vec4(bound)), x, are_nan(x));
}

fn clipped_sums(sums: vec4<f32>) -> vec4<f32> {
    if CLIP > 0.0 {
        return bounded(sums, CLIP);
    }
    return sums;
}

fn gates_of(sums: vec4<f32>) -> vec4<f32> {
    return activated(GATE, GATE_ALPHA, GATE_BETA, sums);
}

fn output_of(c: f32) -> f32 {
    return activated(OUTPUT, OUTPUT_ALPHA, OUTPUT_BETA, vec4(c)).x;
}

// A share of the old state, and the rest of the new one.
fn mix_states(share: f32, old: f32, fresh: f32) -> f32 {
    let mixed = share * old + (1.0 - share) * fresh;
    return select(select(mixed, old, share == 1.0), fresh, share == 0.0);
}

// The new cell state.
fn memory(i: f32, f: f32, g: f32, c_prev: f32) -> f32 {
    let c = f * c_prev + i * g;
    if CELL_CLIP > 0.0 {
        return bounded(vec4(c), CELL_CLIP).x;
    }
    return c;
}

// `p`: the unit's peepholes (i, f, 0, o), where PEEPHOLES; `h_prev` counts where ZONEOUT.
fn cell_forward(
    sums: vec4<f32>,
    c_prev: f32,
    h_prev: f32,
    p: vec4<f32>,
    masks: Masks,
) -> Cell {
    var all = sums;
    if PEEPHOLES {
        all.x += p.x * c_prev;
        all.y += p.y * c_prev;
    }
    let inside = clipped_sums(all);
    let s = gates_of(inside);
    let g = activated(CANDIDATE, CANDIDATE_ALPHA, CANDIDATE_BETA, inside).z;
    let f = select(s.y, 1.0 - s.x, COUPLED);
    let c = memory(s.x, f, g * masks.candidate, c_prev);
    var o = s.w;
    if PEEPHOLES {
        o = gates_of(clipped_sums(vec4(all.w + p.w * c))).w;
    }
    let h = o * output_of(c);
    let gates = vec4(s.x, f, g, o);
    if ZONEOUT {
        return Cell(gates, mix_states(masks.zone_c, c_prev, c), mix_states(masks.zone_h, h_prev, h));
    }
    return Cell(gates, c, h);
}

// What comes back from a timestep to a unit.
struct CellGradient {
    sums: vec4<f32>,  // of (i, f, g, o), before they were activated
    c_prev: f32,
    h_prev: f32,      // of what a zoneout keeps
}

// How near a gate is to what a clipped sum makes of it, at which its sum counts as clipped.
const AT_CLIP: f32 = 9.5367431640625e-7;  // 2^-20

// Where the sums that became `y` were within the bounds of the clip.
fn are_within(kind: u32, alpha: f32, beta: f32, y: vec4<f32>) -> vec4<bool> {
    let a = activated(kind, alpha, beta, vec4(-CLIP)).x;
    let b = activated(kind, alpha, beta, vec4(CLIP)).x;
    let low = min(a, b) + AT_CLIP * max(1.0, abs(min(a, b)));
    let high = max(a, b) - AT_CLIP * max(1.0, abs(max(a, b)));
    return are_nan(y) | ((y > vec4(low)) & (y < vec4(high)));
}

// The same gradients, zero where an argument was clipped.
fn back_through_clip(kind: u32, alpha: f32, beta: f32, d: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    let gradients = back_through(kind, alpha, beta, d, y);
    if CLIP > 0.0 {
        return select(vec4(0.0), gradients, are_within(kind, alpha, beta, y));
    }
    return gradients;
}

fn back_through_gates(d: vec4<f32>, gates: vec4<f32>) -> vec4<f32> {
    return back_through_clip(GATE, GATE_ALPHA, GATE_BETA, d, gates);
}

// From the gates and cell states that it had, and from the gradients `dh` and `dc` of its states:
//
//   d sums.o = dh * tanh(c) * o(1-o)
//   dc      += dh * o * (1 - tanh(c)^2) + d sums.o * p.o
//   d sums   = (dc * g * i(1-i), dc * c_prev * f(1-f), dc * i * (1-g^2), d sums.o)
//   dc_prev  = dc * f + d sums.i * p.i + d sums.f * p.f
//
// Where ZONEOUT the new cell state is made again, and each state's gradient goes to the old one and the new one
// by their shares.
fn cell_backward(
    gates: vec4<f32>,
    c_prev: f32,
    c: f32,
    dh: f32,
    dc: f32,
    p: vec4<f32>,
    masks: Masks,
) -> CellGradient {
    if !ZONEOUT {
        return new_backward(gates, c_prev, c, dh, dc, p, masks);
    }
    let fresh = memory(gates.x, gates.y, gates.z * masks.candidate, c_prev);
    let dh_new = (1.0 - masks.zone_h) * dh;
    let dc_new = (1.0 - masks.zone_c) * dc;
    var gradient = new_backward(gates, c_prev, fresh, dh_new, dc_new, p, masks);
    gradient.c_prev += masks.zone_c * dc;
    gradient.h_prev = masks.zone_h * dh;
    return gradient;
}

// The same of new states, before a zoneout.
fn new_backward(
    gates: vec4<f32>,
    c_prev: f32,
    c: f32,
    dh: f32,
    dc: f32,
    p: vec4<f32>,
    masks: Masks,
) -> CellGradient {
    let out = output_of(c);
    let d_o = back_through_gates(vec4(dh * out), gates).w;
    let d_out = vec4(dh * gates.w);
    var d_cell = dc + back_through(OUTPUT, OUTPUT_ALPHA, OUTPUT_BETA, d_out, vec4(out)).x;
    if PEEPHOLES {
        d_cell += d_o * p.w;
    }
    if CELL_CLIP > 0.0 {
        d_cell = select(d_cell, 0.0, abs(c) >= CELL_CLIP);
    }
    let kept = gates.z * masks.candidate;
    let of_i = select(kept, kept - c_prev, COUPLED);
    let through = back_through_gates(vec4(d_cell * of_i, d_cell * c_prev, 0.0, 0.0), gates);
    let d = vec2(through.x, select(through.y, 0.0, COUPLED));
    let d_candidate = vec4(d_cell * gates.x * masks.candidate);
    let d_g = back_through_clip(CANDIDATE, CANDIDATE_ALPHA, CANDIDATE_BETA, d_candidate, gates).z;
    var d_prev = d_cell * gates.y;
    if PEEPHOLES {
        d_prev += d.x * p.x + d.y * p.y;
    }
    return CellGradient(vec4(d.x, d.y, d_g, d_o), d_prev, 0.0);
}
