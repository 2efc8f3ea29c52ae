//! The CPU form of the cell, in vectors of units; its equations: [`cell_forward`](reference::cell_forward).

use pulp::Simd;

use crate::cpu::simd::{by_field, counting, exp_minus_1, load, philox, sigmoid, tanh};
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
        Options { plain: cell.is_plain(), cell, peepholes, draws, masks, row: 0, unit: 0 }
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

    /// What candidates from `unit` on are multiplied with, where they are.
    #[inline(always)]
    fn candidate<S: Simd>(self, simd: S, unit: usize) -> Option<S::f32s> {
        let (from, end) = (self.unit + unit, self.masks.hidden);
        let start = self.row * end;
        let own = self.masks.candidate.get(start + from..start + end);
        own.filter(|own| !own.is_empty()).map(|own| load(simd, own))
    }

    /// The shares of the old hidden and the old cell states in the new ones, from `unit` on.
    #[inline(always)]
    fn zones<S: Simd>(self, simd: S, unit: usize) -> Option<[S::f32s; 2]> {
        let zoneout = self.cell.zoneout?;
        let rates = [zoneout.h, zoneout.c];
        let Some(draws) = self.draws else {
            return Some(rates.map(|rate| simd.splat_f32s(rate as f32)));
        };
        let splat = |word: u32| simd.splat_u32s(word);
        let row = draws.row + self.row as u32;
        let units = counting(simd, (self.unit + unit) as u32);
        let counter = [units, splat(row), splat(draws.t), splat(OF_STEP + draws.place)];
        let [of_h, of_c, ..] = philox(simd, counter, draws.key);
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        let zone = |words: S::u32s, rate: f64| {
            let below = simd.less_than_u32s(words, splat(Dropout::new(rate).threshold));
            simd.select_f32s(below, one, zero)
        };
        Some([zone(of_h, rates[0]), zone(of_c, rates[1])])
    }

    /// The peepholes from `unit` on, by gate.
    #[inline(always)]
    fn by_gate<S: Simd>(self, simd: S, unit: usize) -> [S::f32s; 4] {
        let own = self.peepholes;
        let at = |v: usize| (4 * unit + v * S::F32_LANES).min(own.len());
        by_field(simd, [0, 1, 2, 3].map(|v| load(simd, &own[at(v)..])))
    }
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

/// The new cell states.
#[inline(always)]
fn memory<S: Simd>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    [i, f, g]: [S::f32s; 3],
    c_prev: S::f32s,
) -> S::f32s {
    let kept = options.candidate(simd, unit).map_or(g, |mask| simd.mul_f32s(g, mask));
    let c = simd.mul_add_f32s(f, c_prev, simd.mul_f32s(i, kept));
    bounded(simd, c, options.cell.cell_clip)
}

/// Shares of the old states, and the rest of the new ones.
#[inline(always)]
fn mix<S: Simd>(simd: S, share: S::f32s, old: S::f32s, new: S::f32s) -> S::f32s {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    let rest = simd.mul_f32s(simd.sub_f32s(one, share), new);
    let mixed = simd.mul_add_f32s(share, old, rest);
    let mixed = simd.select_f32s(simd.equal_f32s(share, one), old, mixed);
    simd.select_f32s(simd.equal_f32s(share, zero), new, mixed)
}

/// The same of any cell, for the units from `unit` on.
#[inline(always)]
pub(in crate::kernels) fn any_forward<S: Simd>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    [mut i, mut f, g, mut o]: [S::f32s; 4],
    (h_prev, c_prev): (S::f32s, S::f32s),
) -> Cells<S::f32s> {
    let cell = options.cell;
    let gate = |sum: S::f32s| activated(simd, cell.gate, bounded(simd, sum, cell.clip));
    let p = if cell.peepholes { options.by_gate(simd, unit) } else { [c_prev; 4] };
    if cell.peepholes {
        i = simd.mul_add_f32s(p[0], c_prev, i);
        f = simd.mul_add_f32s(p[1], c_prev, f);
    }
    let i = gate(i);
    let f = if cell.coupled { simd.sub_f32s(simd.splat_f32s(1.0), i) } else { gate(f) };
    let g = activated(simd, cell.candidate, bounded(simd, g, cell.clip));
    let c = memory(simd, options, unit, [i, f, g], c_prev);
    if cell.peepholes {
        o = simd.mul_add_f32s(p[3], c, o);
    }
    let o = gate(o);
    let (h, gates) = (simd.mul_f32s(o, activated(simd, cell.output, c)), [i, f, g, o]);
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
pub(in crate::kernels) fn any_backward<S: Simd>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    gates: [S::f32s; 4],
    (c_prev, c): (S::f32s, S::f32s),
    (dh, dc): (S::f32s, S::f32s),
) -> CellGradients<S::f32s> {
    let Some([of_h, of_c]) = options.zones(simd, unit) else {
        return new_backward(simd, options, unit, gates, (c_prev, c), (dh, dc));
    };
    let new = memory(simd, options, unit, [gates[0], gates[1], gates[2]], c_prev);
    let rest =
        |share: S::f32s, d: S::f32s| simd.mul_f32s(simd.sub_f32s(simd.splat_f32s(1.0), share), d);
    let of_new = (rest(of_h, dh), rest(of_c, dc));
    let gradients = new_backward(simd, options, unit, gates, (c_prev, new), of_new);
    CellGradients {
        c_prev: simd.mul_add_f32s(of_c, dc, gradients.c_prev),
        h_prev: simd.mul_f32s(of_h, dh),
        ..gradients
    }
}

/// Of new states, before a zoneout.
#[inline(always)]
fn new_backward<S: Simd>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    [i, f, g, o]: [S::f32s; 4],
    (c_prev, c): (S::f32s, S::f32s),
    (dh, dc): (S::f32s, S::f32s),
) -> CellGradients<S::f32s> {
    let (cell, zero) = (options.cell, simd.splat_f32s(0.0));
    let back = |f: CellActivation, d: S::f32s, y: S::f32s| {
        let gradient = back_through(simd, f, d, y);
        match cell.clip.map(|bound| f.unclipped(bound)) {
            None => gradient,
            Some((low, high)) => {
                // Comparisons with NaN are false, and its gradient stays.
                let below = simd.less_than_or_equal_f32s(y, simd.splat_f32s(low));
                let above = simd.greater_than_or_equal_f32s(y, simd.splat_f32s(high));
                let gradient = simd.select_f32s(below, zero, gradient);
                simd.select_f32s(above, zero, gradient)
            }
        }
    };
    let out = activated(simd, cell.output, c);
    let d_o = back(cell.gate, simd.mul_f32s(dh, out), o);
    let d_out = back_through(simd, cell.output, simd.mul_f32s(dh, o), out);
    let mut d_cell = simd.add_f32s(dc, d_out);
    let p = if cell.peepholes { options.by_gate(simd, unit) } else { [zero; 4] };
    if cell.peepholes {
        d_cell = simd.mul_add_f32s(d_o, p[3], d_cell);
    }
    if let Some(bound) = cell.cell_clip {
        let at = simd.greater_than_or_equal_f32s(simd.abs_f32s(c), simd.splat_f32s(bound));
        d_cell = simd.select_f32s(at, zero, d_cell);
    }
    let mask = options.candidate(simd, unit);
    let masked = |x: S::f32s| mask.map_or(x, |mask| simd.mul_f32s(x, mask));
    let of_i = if cell.coupled { simd.sub_f32s(masked(g), c_prev) } else { masked(g) };
    let d_i = back(cell.gate, simd.mul_f32s(d_cell, of_i), i);
    let d_f = match cell.coupled {
        true => zero,
        false => back(cell.gate, simd.mul_f32s(d_cell, c_prev), f),
    };
    let d_g = back(cell.candidate, masked(simd.mul_f32s(d_cell, i)), g);
    let mut d_prev = simd.mul_f32s(d_cell, f);
    if cell.peepholes {
        d_prev = simd.mul_add_f32s(d_i, p[0], d_prev);
        d_prev = simd.mul_add_f32s(d_f, p[1], d_prev);
    }
    CellGradients { sums: [d_i, d_f, d_g, d_o], c_prev: d_prev, h_prev: zero }
}

/// Numbers within `+-bound`, where there is one; NaN stays.
#[inline(always)]
fn bounded<S: Simd>(simd: S, x: S::f32s, bound: Option<f32>) -> S::f32s {
    let Some(bound) = bound else { return x };
    let (low, high) = (simd.splat_f32s(-bound), simd.splat_f32s(bound));
    let x = simd.select_f32s(simd.less_than_f32s(x, low), low, x);
    simd.select_f32s(simd.greater_than_f32s(x, high), high, x)
}

/// As [`CellActivation::value`].
#[inline(always)]
fn activated<S: Simd>(simd: S, f: CellActivation, x: S::f32s) -> S::f32s {
    let splat = |value: f32| simd.splat_f32s(value);
    let (zero, one) = (splat(0.0), splat(1.0));
    let below = |bound: S::f32s, then: S::f32s, x: S::f32s| {
        simd.select_f32s(simd.less_than_f32s(x, bound), then, x)
    };
    match f {
        CellActivation::Sigmoid => sigmoid(simd, x),
        CellActivation::Tanh => tanh(simd, x),
        CellActivation::Relu => below(zero, zero, x),
        CellActivation::Affine { alpha, beta } => simd.mul_add_f32s(splat(alpha), x, splat(beta)),
        CellActivation::LeakyRelu { alpha } => below(zero, simd.mul_f32s(splat(alpha), x), x),
        CellActivation::ThresholdedRelu { alpha } => {
            simd.select_f32s(simd.less_than_or_equal_f32s(x, splat(alpha)), zero, x)
        }
        CellActivation::ScaledTanh { alpha, beta } => {
            simd.mul_f32s(splat(alpha), tanh(simd, simd.mul_f32s(splat(beta), x)))
        }
        CellActivation::HardSigmoid { alpha, beta } => {
            let y = below(zero, zero, simd.mul_add_f32s(splat(alpha), x, splat(beta)));
            simd.select_f32s(simd.greater_than_f32s(y, one), one, y)
        }
        CellActivation::Elu { alpha } => {
            below(zero, simd.mul_f32s(splat(alpha), exp_minus_1(simd, x)), x)
        }
        CellActivation::Softsign => simd.div_f32s(x, simd.add_f32s(one, simd.abs_f32s(x))),
        // Its logarithm isn't one of those that vectors have here.
        CellActivation::Softplus => each::<S>(x, |x| f.value(x)),
    }
}

/// As [`CellActivation::back`].
#[inline(always)]
fn back_through<S: Simd>(simd: S, f: CellActivation, d: S::f32s, y: S::f32s) -> S::f32s {
    let splat = |value: f32| simd.splat_f32s(value);
    let (zero, one) = (splat(0.0), splat(1.0));
    let times = |slope: S::f32s| simd.mul_f32s(d, slope);
    let at_most = |bound: S::f32s, then: S::f32s, otherwise: S::f32s| {
        simd.select_f32s(simd.less_than_or_equal_f32s(y, bound), then, otherwise)
    };
    match f {
        CellActivation::Sigmoid => times(simd.negate_mul_add_f32s(y, y, y)),
        CellActivation::Tanh => times(simd.negate_mul_add_f32s(y, y, one)),
        CellActivation::Relu => at_most(zero, zero, d),
        CellActivation::Affine { alpha, .. } => times(splat(alpha)),
        CellActivation::LeakyRelu { alpha } => at_most(zero, times(splat(alpha)), d),
        CellActivation::ThresholdedRelu { .. } => {
            simd.select_f32s(simd.equal_f32s(y, zero), zero, d)
        }
        CellActivation::ScaledTanh { alpha: 0.0, .. } => zero,
        CellActivation::ScaledTanh { alpha, beta } => {
            let share = simd.mul_f32s(simd.mul_f32s(y, y), splat(1.0 / alpha));
            times(simd.mul_f32s(splat(beta), simd.sub_f32s(splat(alpha), share)))
        }
        CellActivation::HardSigmoid { alpha, .. } => {
            let inside = at_most(zero, zero, times(splat(alpha)));
            simd.select_f32s(simd.greater_than_or_equal_f32s(y, one), zero, inside)
        }
        CellActivation::Elu { alpha } => {
            let sloped = times(simd.add_f32s(y, splat(alpha)));
            simd.select_f32s(simd.less_than_f32s(y, zero), sloped, d)
        }
        CellActivation::Softsign => {
            let share = simd.sub_f32s(one, simd.abs_f32s(y));
            times(simd.mul_f32s(share, share))
        }
        CellActivation::Softplus => times(simd.neg_f32s(exp_minus_1(simd, simd.neg_f32s(y)))),
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
