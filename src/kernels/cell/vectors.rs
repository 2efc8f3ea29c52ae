//! The CPU form of the cell, in vectors of units; its equations: [`cell_forward`](reference::cell_forward).

use pulp::Simd;

use crate::cpu::simd::{by_field, counting, exp_minus_1, load, philox, select, sigmoid, tanh};
use crate::reference::{Cell, CellActivation, Draws, Dropout, OF_STEP, masks, recurrent_mask};

/// Which cell, and what some units of some rows have beside their states.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Options<'a> {
    /// Whether it is PyTorch's cell, which has code of its own.
    pub(in crate::kernels) plain: bool,
    pub(in crate::kernels) cell: &'a Cell,
    /// `[units]` of (i, f, 0, o), where the cell has some.
    pub(in crate::kernels) peepholes: &'a [f32],
    /// What training draws, where it does.
    pub(in crate::kernels) draws: Option<Draws>,
    /// What is drawn once a sequence.
    pub(in crate::kernels) masks: &'a SequenceMasks,
    /// Between which values of gates and of candidates sums weren't clipped, in a cell that clips them.
    unclipped: Option<[(f32, f32); 2]>,
    /// The first row and the first unit.
    row: usize,
    unit: usize,
}

/// What is drawn once a sequence for some rows, `[rows, H]` each, or empty.
#[derive(Default)]
pub(in crate::kernels) struct SequenceMasks {
    hidden: usize,
    /// What candidates are multiplied with.
    candidate: Vec<f32>,
    /// What hidden states are multiplied with on their way to the next timestep.
    recurrent: Vec<f32>,
}

impl SequenceMasks {
    pub(in crate::kernels) fn new(
        cell: &Cell,
        draws: Option<Draws>,
        (rows, hidden): (usize, usize),
    ) -> SequenceMasks {
        let Some(draws) = draws else { return SequenceMasks::default() };
        let all = |is: bool, of: &dyn Fn((usize, usize)) -> f32| -> Vec<f32> {
            let rows = if is { rows } else { 0 };
            (0..rows * hidden).map(|at| of((at / hidden, at % hidden))).collect()
        };
        // Without a zoneout, which is drawn at every timestep.
        let alone = Cell { zoneout: None, ..*cell };
        let candidate = |at| masks::<f32>(&alone, Some(draws), at).candidate;
        let recurrent = |at| recurrent_mask::<f32>(cell.recurrent_dropout, draws, at);
        SequenceMasks {
            hidden,
            candidate: all(cell.candidate_dropout > 0.0, &candidate),
            recurrent: all(cell.recurrent_dropout > 0.0, &recurrent),
        }
    }

    /// The recurrent mask of a row, where there is one.
    pub(in crate::kernels) fn recurrent(&self, row: usize) -> Option<&[f32]> {
        let start = row * self.hidden;
        self.recurrent.get(start..start + self.hidden).filter(|own| !own.is_empty())
    }
}

impl<'a> Options<'a> {
    pub(in crate::kernels) fn new(
        (cell, peepholes): (&'a Cell, &'a [f32]),
        draws: Option<Draws>,
        masks: &'a SequenceMasks,
    ) -> Options<'a> {
        let plain = cell.is_plain();
        let bounds = |bound: f32| [cell.gate, cell.candidate].map(|f| f.unclipped(bound));
        let unclipped = cell.clip.map(bounds);
        Options { plain, cell, peepholes, draws, masks, unclipped, row: 0, unit: 0 }
    }

    /// Whether its functions are PyTorch's, whatever else it has.
    pub(in crate::kernels) fn has_usual_functions(&self) -> bool {
        let (own, usual) = (self.cell, Cell::new());
        own.gate == usual.gate && own.candidate == usual.candidate && own.output == usual.output
    }

    /// The same at another timestep.
    pub(in crate::kernels) fn at(self, draws: Option<Draws>) -> Options<'a> {
        Options { draws, ..self }
    }

    /// The same for some units of a row.
    pub(in crate::kernels) fn of_units(
        self,
        row: usize,
        first: usize,
        count: usize,
    ) -> Options<'a> {
        let own = self.peepholes.get(4 * first..4 * (first + count));
        Options { peepholes: own.unwrap_or_default(), row, unit: first, ..self }
    }

    /// The peepholes from `unit` on, by gate.
    #[inline(always)]
    fn by_gate<S: Simd>(self, simd: S, unit: usize) -> [S::f32s; 4] {
        let own = self.peepholes;
        let mut quads = [simd.splat_f32s(0.0); 4];
        for (v, quads) in quads.iter_mut().enumerate() {
            *quads = load(simd, &own[(4 * unit + v * S::F32_LANES).min(own.len())..]);
        }
        by_field(simd, quads)
    }

    /// What candidates from `unit` on are multiplied with, where they are.
    #[inline(always)]
    fn candidate<S: Simd>(self, simd: S, unit: usize) -> Option<S::f32s> {
        if self.masks.candidate.is_empty() {
            return None;
        }
        let start = self.row * self.masks.hidden;
        let own = &self.masks.candidate[start + self.unit + unit..start + self.masks.hidden];
        Some(load(simd, own))
    }

    /// The shares of the old hidden and the old cell states in the new ones, from `unit` on.
    #[inline(always)]
    fn zones<S: Simd>(self, simd: S, unit: usize) -> Option<[S::f32s; 2]> {
        let zoneout = self.cell.zoneout?;
        let Some(draws) = self.draws else {
            let (h, c) = (zoneout.h as f32, zoneout.c as f32);
            return Some([simd.splat_f32s(h), simd.splat_f32s(c)]);
        };
        let row = simd.splat_u32s(draws.row + self.row as u32);
        let units = counting(simd, (self.unit + unit) as u32);
        let (t, place) = (simd.splat_u32s(draws.t), simd.splat_u32s(OF_STEP + draws.place));
        let [of_h, of_c, ..] = philox(simd, [units, row, t, place], draws.key);
        Some([zone(simd, of_h, zoneout.h), zone(simd, of_c, zoneout.c)])
    }
}

/// 1 where a word is below a probability, and 0 elsewhere.
#[inline(always)]
fn zone<S: Simd>(simd: S, words: S::u32s, rate: f64) -> S::f32s {
    let below = simd.less_than_u32s(words, simd.splat_u32s(Dropout::new(rate).threshold));
    select(simd, below, simd.splat_f32s(1.0), simd.splat_f32s(0.0))
}

/// What some units have after a timestep: the activated gates (i, f, g, o), the cell and the hidden states.
pub(in crate::kernels) struct Cells<V> {
    pub(in crate::kernels) gates: [V; 4],
    pub(in crate::kernels) c: V,
    pub(in crate::kernels) h: V,
}

/// As [`reference::cell_forward`](crate::reference::cell_forward) of PyTorch's cell.
#[inline(always)]
pub(in crate::kernels) fn cell_forward<S: Simd>(
    simd: S,
    sums: [S::f32s; 4],
    c_prev: S::f32s,
) -> Cells<S::f32s> {
    let [i, f, g, o] = sums;
    let (i, f) = (sigmoid(simd, i), sigmoid(simd, f));
    let (g, o) = (tanh(simd, g), sigmoid(simd, o));
    let c = simd.mul_add_f32s(f, c_prev, simd.mul_f32s(i, g));
    Cells { gates: [i, f, g, o], c, h: simd.mul_f32s(o, tanh(simd, c)) }
}

/// `x` times a mask, where there is one.
#[inline(always)]
fn masked<S: Simd>(simd: S, mask: Option<S::f32s>, x: S::f32s) -> S::f32s {
    match mask {
        Some(mask) => simd.mul_f32s(x, mask),
        None => x,
    }
}

/// The new cell states.
#[inline(always)]
fn memory<S: Simd>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    [i, f, g]: [S::f32s; 3],
    c_prev: S::f32s,
) -> S::f32s {
    let kept = masked(simd, options.candidate(simd, unit), g);
    let c = simd.mul_add_f32s(f, c_prev, simd.mul_f32s(i, kept));
    bounded(simd, c, options.cell.cell_clip)
}

/// Shares of the old states, and the rest of the new ones.
#[inline(always)]
fn mix<S: Simd>(simd: S, share: S::f32s, old: S::f32s, new: S::f32s) -> S::f32s {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    let rest = simd.mul_f32s(simd.sub_f32s(one, share), new);
    let mixed = simd.mul_add_f32s(share, old, rest);
    let mixed = select(simd, simd.equal_f32s(share, one), old, mixed);
    select(simd, simd.equal_f32s(share, zero), new, mixed)
}

/// Functions of gates, of the candidate and of the output, which are known when this is compiled where they are
/// PyTorch's.
#[inline(always)]
fn functions<const USUAL: bool>(cell: &Cell) -> [CellActivation; 3] {
    match USUAL {
        true => [CellActivation::Sigmoid, CellActivation::Tanh, CellActivation::Tanh],
        false => [cell.gate, cell.candidate, cell.output],
    }
}

/// The same of any cell, for the units from `unit` on. No closures: those would be functions of their own, compiled
/// without the vectors' instructions.
#[inline(always)]
pub(in crate::kernels) fn any_forward<S: Simd, const USUAL: bool>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    [mut i, mut f, g, mut o]: [S::f32s; 4],
    (h_prev, c_prev): (S::f32s, S::f32s),
) -> Cells<S::f32s> {
    let cell = options.cell;
    let [gate, candidate, output] = functions::<USUAL>(cell);
    let p = if cell.peepholes { options.by_gate(simd, unit) } else { [c_prev; 4] };
    if cell.peepholes {
        i = simd.mul_add_f32s(p[0], c_prev, i);
        f = simd.mul_add_f32s(p[1], c_prev, f);
    }
    let i = activated(simd, gate, bounded(simd, i, cell.clip));
    let f = match cell.coupled {
        true => simd.sub_f32s(simd.splat_f32s(1.0), i),
        false => activated(simd, gate, bounded(simd, f, cell.clip)),
    };
    let g = activated(simd, candidate, bounded(simd, g, cell.clip));
    let c = memory(simd, options, unit, [i, f, g], c_prev);
    if cell.peepholes {
        o = simd.mul_add_f32s(p[3], c, o);
    }
    let o = activated(simd, gate, bounded(simd, o, cell.clip));
    let (h, gates) = (simd.mul_f32s(o, activated(simd, output, c)), [i, f, g, o]);
    match options.zones(simd, unit) {
        None => Cells { gates, c, h },
        Some([of_h, of_c]) => {
            Cells { gates, c: mix(simd, of_c, c_prev, c), h: mix(simd, of_h, h_prev, h) }
        }
    }
}

/// What comes back from a timestep: the gradients of the four sums, and of the cell states before it.
pub(in crate::kernels) struct CellGradients<V> {
    pub(in crate::kernels) sums: [V; 4],
    pub(in crate::kernels) c_prev: V,
    /// That of the hidden states before it, of what a zoneout keeps.
    pub(in crate::kernels) h_prev: V,
}

/// As [`reference::cell_backward`](crate::reference::cell_backward) of PyTorch's cell.
#[inline(always)]
pub(in crate::kernels) fn cell_backward<S: Simd>(
    simd: S,
    gates: [S::f32s; 4],
    (c_prev, c): (S::f32s, S::f32s),
    (dh, dc): (S::f32s, S::f32s),
) -> CellGradients<S::f32s> {
    let ([i, f, g, o], one) = (gates, simd.splat_f32s(1.0));
    let tanh_c = tanh(simd, c);
    // The slope of tanh is 1 - x^2, that of sigmoid x - x^2.
    let slope = simd.negate_mul_add_f32s(tanh_c, tanh_c, one);
    let d_cell = simd.mul_add_f32s(simd.mul_f32s(dh, o), slope, dc);
    let slope = simd.negate_mul_add_f32s(i, i, i);
    let d_i = simd.mul_f32s(simd.mul_f32s(d_cell, g), slope);
    let slope = simd.negate_mul_add_f32s(f, f, f);
    let d_f = simd.mul_f32s(simd.mul_f32s(d_cell, c_prev), slope);
    let slope = simd.negate_mul_add_f32s(g, g, one);
    let d_g = simd.mul_f32s(simd.mul_f32s(d_cell, i), slope);
    let slope = simd.negate_mul_add_f32s(o, o, o);
    let d_o = simd.mul_f32s(simd.mul_f32s(dh, tanh_c), slope);
    let zero = simd.splat_f32s(0.0);
    CellGradients { sums: [d_i, d_f, d_g, d_o], c_prev: simd.mul_f32s(d_cell, f), h_prev: zero }
}

/// The same of any cell, for the units from `unit` on.
#[inline(always)]
pub(in crate::kernels) fn any_backward<S: Simd, const USUAL: bool>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    gates: [S::f32s; 4],
    (c_prev, c): (S::f32s, S::f32s),
    (dh, dc): (S::f32s, S::f32s),
) -> CellGradients<S::f32s> {
    let Some([of_h, of_c]) = options.zones(simd, unit) else {
        return new_backward::<S, USUAL>(simd, options, unit, gates, (c_prev, c), (dh, dc));
    };
    let new = memory(simd, options, unit, [gates[0], gates[1], gates[2]], c_prev);
    let one = simd.splat_f32s(1.0);
    let dh_new = simd.mul_f32s(simd.sub_f32s(one, of_h), dh);
    let dc_new = simd.mul_f32s(simd.sub_f32s(one, of_c), dc);
    let of_new = (dh_new, dc_new);
    let gradients = new_backward::<S, USUAL>(simd, options, unit, gates, (c_prev, new), of_new);
    CellGradients {
        c_prev: simd.mul_add_f32s(of_c, dc, gradients.c_prev),
        h_prev: simd.mul_f32s(of_h, dh),
        ..gradients
    }
}

/// Of new states, before a zoneout.
#[inline(always)]
fn new_backward<S: Simd, const USUAL: bool>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    [i, f, g, o]: [S::f32s; 4],
    (c_prev, c): (S::f32s, S::f32s),
    (dh, dc): (S::f32s, S::f32s),
) -> CellGradients<S::f32s> {
    let (cell, zero) = (options.cell, simd.splat_f32s(0.0));
    let [gate, candidate, output] = functions::<USUAL>(cell);
    let (of_gates, of_candidates) = match options.unclipped {
        Some([of_gates, of_candidates]) => (Some(of_gates), Some(of_candidates)),
        None => (None, None),
    };
    let out = activated(simd, output, c);
    let d_o = back_through_clip(simd, (gate, of_gates), simd.mul_f32s(dh, out), o);
    let d_out = back_through(simd, output, simd.mul_f32s(dh, o), out);
    let mut d_cell = simd.add_f32s(dc, d_out);
    let p = if cell.peepholes { options.by_gate(simd, unit) } else { [zero; 4] };
    if cell.peepholes {
        d_cell = simd.mul_add_f32s(d_o, p[3], d_cell);
    }
    if let Some(bound) = cell.cell_clip {
        let at = simd.greater_than_or_equal_f32s(simd.abs_f32s(c), simd.splat_f32s(bound));
        d_cell = select(simd, at, zero, d_cell);
    }
    let mask = options.candidate(simd, unit);
    let mut of_i = masked(simd, mask, g);
    if cell.coupled {
        of_i = simd.sub_f32s(of_i, c_prev);
    }
    let d_i = back_through_clip(simd, (gate, of_gates), simd.mul_f32s(d_cell, of_i), i);
    let d_f = match cell.coupled {
        true => zero,
        false => back_through_clip(simd, (gate, of_gates), simd.mul_f32s(d_cell, c_prev), f),
    };
    let of_g = masked(simd, mask, simd.mul_f32s(d_cell, i));
    let d_g = back_through_clip(simd, (candidate, of_candidates), of_g, g);
    let mut d_prev = simd.mul_f32s(d_cell, f);
    if cell.peepholes {
        d_prev = simd.mul_add_f32s(d_i, p[0], d_prev);
        d_prev = simd.mul_add_f32s(d_f, p[1], d_prev);
    }
    CellGradients { sums: [d_i, d_f, d_g, d_o], c_prev: d_prev, h_prev: zero }
}

/// As [`back_through`]; zero where the argument was clipped, which is outside of two values.
#[inline(always)]
fn back_through_clip<S: Simd>(
    simd: S,
    (f, unclipped): (CellActivation, Option<(f32, f32)>),
    d: S::f32s,
    y: S::f32s,
) -> S::f32s {
    let (gradient, zero) = (back_through(simd, f, d, y), simd.splat_f32s(0.0));
    let Some((low, high)) = unclipped else { return gradient };
    // Comparisons with NaN are false, and its gradient stays.
    let below = simd.less_than_or_equal_f32s(y, simd.splat_f32s(low));
    let above = simd.greater_than_or_equal_f32s(y, simd.splat_f32s(high));
    let gradient = select(simd, below, zero, gradient);
    select(simd, above, zero, gradient)
}

/// Numbers within `+-bound`, where there is one; NaN stays.
#[inline(always)]
fn bounded<S: Simd>(simd: S, x: S::f32s, bound: Option<f32>) -> S::f32s {
    let Some(bound) = bound else { return x };
    let (low, high) = (simd.splat_f32s(-bound), simd.splat_f32s(bound));
    let x = select(simd, simd.less_than_f32s(x, low), low, x);
    select(simd, simd.greater_than_f32s(x, high), high, x)
}

/// `then` where `x` is below a bound, else another.
#[inline(always)]
fn below<S: Simd>(simd: S, x: S::f32s, bound: f32, then: S::f32s, other: S::f32s) -> S::f32s {
    select(simd, simd.less_than_f32s(x, simd.splat_f32s(bound)), then, other)
}

/// `then` where `x` is at most a bound, else another.
#[inline(always)]
fn at_most<S: Simd>(simd: S, x: S::f32s, bound: f32, then: S::f32s, other: S::f32s) -> S::f32s {
    select(simd, simd.less_than_or_equal_f32s(x, simd.splat_f32s(bound)), then, other)
}

/// As [`CellActivation::value`].
#[inline(always)]
fn activated<S: Simd>(simd: S, f: CellActivation, x: S::f32s) -> S::f32s {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    match f {
        CellActivation::Sigmoid => sigmoid(simd, x),
        CellActivation::Tanh => tanh(simd, x),
        CellActivation::Relu => below(simd, x, 0.0, zero, x),
        CellActivation::Affine { alpha, beta } => {
            simd.mul_add_f32s(simd.splat_f32s(alpha), x, simd.splat_f32s(beta))
        }
        CellActivation::LeakyRelu { alpha } => {
            below(simd, x, 0.0, simd.mul_f32s(simd.splat_f32s(alpha), x), x)
        }
        CellActivation::ThresholdedRelu { alpha } => at_most(simd, x, alpha, zero, x),
        CellActivation::ScaledTanh { alpha, beta } => {
            let inner = simd.mul_f32s(simd.splat_f32s(beta), x);
            simd.mul_f32s(simd.splat_f32s(alpha), tanh(simd, inner))
        }
        CellActivation::HardSigmoid { alpha, beta } => {
            let y = simd.mul_add_f32s(simd.splat_f32s(alpha), x, simd.splat_f32s(beta));
            let y = below(simd, y, 0.0, zero, y);
            select(simd, simd.greater_than_f32s(y, one), one, y)
        }
        CellActivation::Elu { alpha } => {
            let low = simd.mul_f32s(simd.splat_f32s(alpha), exp_minus_1(simd, x));
            below(simd, x, 0.0, low, x)
        }
        CellActivation::Softsign => simd.div_f32s(x, simd.add_f32s(one, simd.abs_f32s(x))),
        // Its logarithm isn't one of those that vectors have here.
        CellActivation::Softplus => each::<S>(x, |x| f.value(x)),
    }
}

/// As [`CellActivation::back`].
#[inline(always)]
fn back_through<S: Simd>(simd: S, f: CellActivation, d: S::f32s, y: S::f32s) -> S::f32s {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    match f {
        CellActivation::Sigmoid => simd.mul_f32s(d, simd.negate_mul_add_f32s(y, y, y)),
        CellActivation::Tanh => simd.mul_f32s(d, simd.negate_mul_add_f32s(y, y, one)),
        CellActivation::Relu => at_most(simd, y, 0.0, zero, d),
        CellActivation::Affine { alpha, .. } => simd.mul_f32s(d, simd.splat_f32s(alpha)),
        CellActivation::LeakyRelu { alpha } => {
            at_most(simd, y, 0.0, simd.mul_f32s(d, simd.splat_f32s(alpha)), d)
        }
        CellActivation::ThresholdedRelu { .. } => select(simd, simd.equal_f32s(y, zero), zero, d),
        CellActivation::ScaledTanh { alpha: 0.0, .. } => zero,
        CellActivation::ScaledTanh { alpha, beta } => {
            let share = simd.mul_f32s(simd.mul_f32s(y, y), simd.splat_f32s(1.0 / alpha));
            let slope = simd.sub_f32s(simd.splat_f32s(alpha), share);
            simd.mul_f32s(d, simd.mul_f32s(simd.splat_f32s(beta), slope))
        }
        CellActivation::HardSigmoid { alpha, .. } => {
            let sloped = simd.mul_f32s(d, simd.splat_f32s(alpha));
            let inside = at_most(simd, y, 0.0, zero, sloped);
            select(simd, simd.greater_than_or_equal_f32s(y, one), zero, inside)
        }
        CellActivation::Elu { alpha } => {
            let sloped = simd.mul_f32s(d, simd.add_f32s(y, simd.splat_f32s(alpha)));
            at_most(simd, y, 0.0, sloped, d)
        }
        CellActivation::Softsign => {
            let share = simd.sub_f32s(one, simd.abs_f32s(y));
            simd.mul_f32s(d, simd.mul_f32s(share, share))
        }
        CellActivation::Softplus => {
            simd.mul_f32s(d, simd.neg_f32s(exp_minus_1(simd, simd.neg_f32s(y))))
        }
    }
}

/// A function of one number at a time.
#[inline(always)]
fn each<S: Simd>(mut x: S::f32s, f: impl Fn(f32) -> f32) -> S::f32s {
    for x in bytemuck::cast_slice_mut::<S::f32s, f32>(std::slice::from_mut(&mut x)) {
        *x = f(*x);
    }
    x
}
