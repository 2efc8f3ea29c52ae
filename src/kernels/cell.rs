//! The CPU form of the cell, in vectors of units; its equations: [`cell_forward`](crate::reference::cell_forward).

use pulp::Simd;

use crate::cpu::simd::{sigmoid, tanh};

/// What some units have after a timestep: the activated gates (i, f, g, o), the cell and the hidden states.
pub(super) struct Cells<V> {
    pub(super) gates: [V; 4],
    pub(super) c: V,
    pub(super) h: V,
}

/// As [`reference::cell_forward`](crate::reference::cell_forward).
#[inline(always)]
pub(super) fn cell_forward<S: Simd>(
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

/// What comes back from a timestep: the gradients of the four sums, and of the cell states before it.
pub(super) struct CellGradients<V> {
    pub(super) sums: [V; 4],
    pub(super) c_prev: V,
}

/// As [`reference::cell_backward`](crate::reference::cell_backward).
#[inline(always)]
pub(super) fn cell_backward<S: Simd>(
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
    CellGradients { sums: [d_i, d_f, d_g, d_o], c_prev: simd.mul_f32s(d_cell, f) }
}
