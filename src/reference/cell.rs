//! Twin of `shaders/common/cell.wgsl`: the cell of an LSTM, from the equations of the page of
//! [`torch.nn.LSTM`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html) (Hochreiter and
//! Schmidhuber, 1997; the forget gate: Gers, Schmidhuber and Cummins, 2000).

use super::{Real, sigmoid};

/// What a unit has after a timestep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell<R> {
    /// The activated gates (i, f, g, o).
    pub gates: [R; 4],
    /// The cell state.
    pub c: R,
    /// The hidden state, or with a projection what it is applied to.
    pub h: R,
}

/// A timestep of a unit, from the four sums of its gates and the cell state before it:
///
/// ```text
/// i, f, o = sigmoid of the sums;  g = tanh
/// c       = f * c_prev + i * g
/// h       = o * tanh(c)
/// ```
pub fn cell_forward<R: Real>(sums: [R; 4], c_prev: R) -> Cell<R> {
    let [i, f, g, o] = sums;
    let (i, f, g, o) = (sigmoid(i), sigmoid(f), g.tanh(), sigmoid(o));
    let c = f * c_prev + i * g;
    Cell { gates: [i, f, g, o], c, h: o * c.tanh() }
}

/// What comes back from a timestep to a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellGradient<R> {
    /// The gradients of the four sums.
    pub sums: [R; 4],
    /// That of the cell state before the timestep.
    pub c_prev: R,
}

/// The derivative of [`cell_forward`], from what it made of `c_prev` and from the gradients `dh` and `dc` of
/// both states:
///
/// ```text
/// dc     += dh * o * (1 - tanh(c)^2)
/// d sums  = (dc * g * i(1-i), dc * c_prev * f(1-f), dc * i * (1-g^2), dh * tanh(c) * o(1-o))
/// dc_prev = dc * f
/// ```
pub fn cell_backward<R: Real>(gates: [R; 4], c_prev: R, c: R, dh: R, dc: R) -> CellGradient<R> {
    let (one, [i, f, g, o]) = (R::one(), gates);
    let tanh_c = c.tanh();
    let dc = dc + dh * o * (one - tanh_c * tanh_c);
    CellGradient {
        sums: [
            dc * g * i * (one - i),
            dc * c_prev * f * (one - f),
            dc * i * (one - g * g),
            dh * tanh_c * o * (one - o),
        ],
        c_prev: dc * f,
    }
}
