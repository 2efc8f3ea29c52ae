//! The CPU form of the cell, in vectors of units; its equations: [`cell_forward`](reference::cell_forward).

use pulp::Simd;

use crate::cpu::simd::{by_field, exp_minus_1, load, sigmoid, tanh};
use crate::reference::{Cell, CellActivation};

/// Which cell, and the peepholes of some units.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Options<'a> {
    pub(in crate::kernels) cell: Cell,
    /// `[units]` of (i, f, 0, o), where the cell has some.
    pub(in crate::kernels) peepholes: &'a [f32],
}

impl<'a> Options<'a> {
    /// The same for some of the units.
    pub(in crate::kernels) fn of_units(self, first: usize, count: usize) -> Options<'a> {
        let own = self.peepholes.get(4 * first..4 * (first + count));
        Options { peepholes: own.unwrap_or_default(), ..self }
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

/// As [`reference::cell_forward`](crate::reference::cell_forward), for the units from `unit` on.
#[inline(always)]
pub(in crate::kernels) fn cell_forward<S: Simd>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    sums: [S::f32s; 4],
    c_prev: S::f32s,
) -> Cells<S::f32s> {
    if options.cell.is_plain() {
        let [i, f, g, o] = sums;
        let (i, f) = (sigmoid(simd, i), sigmoid(simd, f));
        let (g, o) = (tanh(simd, g), sigmoid(simd, o));
        let c = simd.mul_add_f32s(f, c_prev, simd.mul_f32s(i, g));
        return Cells { gates: [i, f, g, o], c, h: simd.mul_f32s(o, tanh(simd, c)) };
    }
    any_forward(simd, options, unit, sums, c_prev)
}

/// The same of a cell that isn't PyTorch's. A function of its own, so that a plain one stays small.
#[inline(always)]
fn any_forward<S: Simd>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    [mut i, mut f, g, mut o]: [S::f32s; 4],
    c_prev: S::f32s,
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
    let c = simd.mul_add_f32s(f, c_prev, simd.mul_f32s(i, g));
    let c = bounded(simd, c, cell.cell_clip);
    if cell.peepholes {
        o = simd.mul_add_f32s(p[3], c, o);
    }
    let o = gate(o);
    Cells { gates: [i, f, g, o], c, h: simd.mul_f32s(o, activated(simd, cell.output, c)) }
}

/// What comes back from a timestep: the gradients of the four sums, and of the cell states before it.
pub(in crate::kernels) struct CellGradients<V> {
    pub(in crate::kernels) sums: [V; 4],
    pub(in crate::kernels) c_prev: V,
}

/// As [`reference::cell_backward`](crate::reference::cell_backward), for the units from `unit` on.
#[inline(always)]
pub(in crate::kernels) fn cell_backward<S: Simd>(
    simd: S,
    options: Options<'_>,
    unit: usize,
    gates: [S::f32s; 4],
    (c_prev, c): (S::f32s, S::f32s),
    (dh, dc): (S::f32s, S::f32s),
) -> CellGradients<S::f32s> {
    if !options.cell.is_plain() {
        return any_backward(simd, options, unit, gates, (c_prev, c), (dh, dc));
    }
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
    CellGradients { sums: [d_i, d_f, d_g, d_o], c_prev: simd.mul_f32s(d_cell, f) }
}

/// The same of a cell that isn't PyTorch's.
#[inline(always)]
fn any_backward<S: Simd>(
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
    let of_i = if cell.coupled { simd.sub_f32s(g, c_prev) } else { g };
    let d_i = back(cell.gate, simd.mul_f32s(d_cell, of_i), i);
    let d_f = match cell.coupled {
        true => zero,
        false => back(cell.gate, simd.mul_f32s(d_cell, c_prev), f),
    };
    let d_g = back(cell.candidate, simd.mul_f32s(d_cell, i), g);
    let mut d_prev = simd.mul_f32s(d_cell, f);
    if cell.peepholes {
        d_prev = simd.mul_add_f32s(d_i, p[0], d_prev);
        d_prev = simd.mul_add_f32s(d_f, p[1], d_prev);
    }
    CellGradients { sums: [d_i, d_f, d_g, d_o], c_prev: d_prev }
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
