//! Twin of `shaders/common/cell.wgsl`: the cell of an LSTM, from the equations of the page of
//! [`torch.nn.LSTM`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html) (Hochreiter and
//! Schmidhuber, 1997; the forget gate: Gers, Schmidhuber and Cummins, 2000), and what others have in its places.

use super::{Cell, CellActivation, Masks, Real};

/// What a unit has after a timestep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit<R> {
    /// The activated gates (i, f, g, o).
    pub gates: [R; 4],
    /// The cell state.
    pub c: R,
    /// The hidden state, or with a projection what it is applied to.
    pub h: R,
}

/// A timestep of a unit, from the four sums of its gates, its peepholes and the cell state before it:
///
/// ```text
/// sums.i += p.i * c_prev;  sums.f += p.f * c_prev      with peepholes
/// sums    = sums within +-clip                         with a clip
/// i, f, o = sigmoid of the sums;  g = tanh             or what the cell has there
/// f       = 1 - i                                      where they are coupled
/// c       = f * c_prev + i * g                         within +-cell_clip, with one
/// sums.o += p.o * c, before it is clipped              with peepholes
/// h       = o * tanh(c)
/// ```
///
/// and, of what the masks say:
///
/// ```text
/// g = g * candidate                                    where it is used
/// c = zone_c * c_prev + (1 - zone_c) * c               when h is made
/// h = zone_h * h_prev + (1 - zone_h) * h
/// ```
///
/// `p` are the unit's peepholes (i, f, unused, o), which only a cell with peepholes looks at; `h_prev` only one
/// with a zoneout.
#[inline(always)]
pub fn cell_forward<R: Real>(
    cell: &Cell,
    masks: &Masks<R>,
    p: [R; 4],
    sums: [R; 4],
    (h_prev, c_prev): (R, R),
) -> Unit<R> {
    let within = |x: R, bound: Option<f32>| bound.map_or(x, |bound| bounded(x, R::of(bound)));
    let gate = |sum: R| cell.gate.value(within(sum, cell.clip));
    let [mut i, mut f, g, mut o] = sums;
    if cell.peepholes {
        i += p[0] * c_prev;
        f += p[1] * c_prev;
    }
    let i = gate(i);
    let f = if cell.coupled { R::one() - i } else { gate(f) };
    let g = cell.candidate.value(within(g, cell.clip));
    let c = within(memory(masks, [i, f, g], c_prev), cell.cell_clip);
    if cell.peepholes {
        o += p[3] * c;
    }
    let o = gate(o);
    let h = o * cell.output.value(c);
    let [zone_h, zone_c] = masks.zone;
    match cell.zoneout {
        None => Unit { gates: [i, f, g, o], c, h },
        Some(_) => {
            Unit { gates: [i, f, g, o], c: mix(zone_c, c_prev, c), h: mix(zone_h, h_prev, h) }
        }
    }
}

/// The new cell state before it is clipped.
#[inline(always)]
fn memory<R: Real>(masks: &Masks<R>, [i, f, g]: [R; 3], c_prev: R) -> R {
    f * c_prev + i * (g * masks.candidate)
}

/// A share of the old state, and the rest of the new one.
#[inline(always)]
fn mix<R: Real>(share: R, old: R, new: R) -> R {
    if share == R::zero() {
        new
    } else if share == R::one() {
        old
    } else {
        share * old + (R::one() - share) * new
    }
}

/// The peepholes (i, f, 0, o) of a unit, zeros where there are none.
#[inline(always)]
pub fn peepholes_of<R: Real>(all: &[R], unit: usize) -> [R; 4] {
    let own = all.get(4 * unit..4 * unit + 4);
    own.map_or([R::zero(); 4], |own| [own[0], own[1], own[2], own[3]])
}

/// What comes back from a timestep to a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitGradient<R> {
    /// The gradients of the four sums.
    pub sums: [R; 4],
    /// That of the cell state before the timestep.
    pub c_prev: R,
    /// That of the hidden state before the timestep, of what a zoneout keeps of it.
    pub h_prev: R,
}

/// The derivative of [`cell_forward`], from what it made of `c_prev` and from the gradients `dh` and `dc` of
/// both states:
///
/// ```text
/// d sums.o = dh * tanh(c) * o(1-o)
/// dc      += dh * o * (1 - tanh(c)^2) + d sums.o * p.o
/// d sums   = (dc * g * i(1-i), dc * c_prev * f(1-f), dc * i * (1-g^2), d sums.o)
/// dc_prev  = dc * f + d sums.i * p.i + d sums.f * p.f
/// ```
///
/// What a clip has bounded has no slope; that a sum was clipped shows in the gate that it made. Of a zoneout, the
/// new cell state is made again, and each state's gradient goes to the old one and the new one by their shares.
#[inline(always)]
pub fn cell_backward<R: Real>(
    cell: &Cell,
    masks: &Masks<R>,
    p: [R; 4],
    gates: [R; 4],
    (c_prev, c): (R, R),
    (dh, dc): (R, R),
) -> UnitGradient<R> {
    if cell.zoneout.is_none() {
        return new_backward(cell, masks, p, gates, (c_prev, c), (dh, dc));
    }
    let [zone_h, zone_c] = masks.zone;
    let [i, f, g, _] = gates;
    let within = |x: R| cell.cell_clip.map_or(x, |bound| bounded(x, R::of(bound)));
    let new = within(memory(masks, [i, f, g], c_prev));
    let of_new = ((R::one() - zone_h) * dh, (R::one() - zone_c) * dc);
    let gradient = new_backward(cell, masks, p, gates, (c_prev, new), of_new);
    UnitGradient { c_prev: gradient.c_prev + zone_c * dc, h_prev: zone_h * dh, ..gradient }
}

/// The same of new states, before a zoneout.
#[inline(always)]
fn new_backward<R: Real>(
    cell: &Cell,
    masks: &Masks<R>,
    p: [R; 4],
    gates: [R; 4],
    (c_prev, c): (R, R),
    (dh, dc): (R, R),
) -> UnitGradient<R> {
    let (zero, [i, f, g, o]) = (R::zero(), gates);
    let back = |f: CellActivation, d: R, y: R| match cell.clip {
        Some(bound) if f.is_clipped(bound, y) => zero,
        _ => f.back(d, y),
    };
    let out = cell.output.value(c);
    let d_o = back(cell.gate, dh * out, o);
    let mut dc = dc + cell.output.back(dh * o, out);
    if cell.peepholes {
        dc += d_o * p[3];
    }
    if cell.cell_clip.is_some_and(|bound| c.abs() >= R::of(bound)) {
        dc = zero;
    }
    let kept = g * masks.candidate;
    let of_i = if cell.coupled { kept - c_prev } else { kept };
    let d_i = back(cell.gate, dc * of_i, i);
    let d_f = if cell.coupled { zero } else { back(cell.gate, dc * c_prev, f) };
    let d_g = back(cell.candidate, dc * i * masks.candidate, g);
    let mut d_prev = dc * f;
    if cell.peepholes {
        d_prev = d_prev + d_i * p[0] + d_f * p[1];
    }
    UnitGradient { sums: [d_i, d_f, d_g, d_o], c_prev: d_prev, h_prev: zero }
}

/// A number within `+-bound`; NaN stays.
fn bounded<R: Real>(x: R, bound: R) -> R {
    if x > bound {
        bound
    } else if x < -bound {
        -bound
    } else {
        x
    }
}
