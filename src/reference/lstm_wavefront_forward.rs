//! Twin of `lstm_wavefront_forward`.

use super::{Lengths, Product, Real, StepForward, apart, lstm_step_forward, matmul};

/// Where the parameters of a stack of layers lie in one buffer. Those above the first are alike, so that
/// they are the same number of elements apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackWeights {
    /// Where the recurrent weights `[H, H, 4]` of the first layer start.
    pub u_first: usize,
    /// Where those of the second layer start.
    pub u_above: usize,
    /// Where the input's weights `[H, H, 4]` of the second layer start.
    pub w_above: usize,
    /// Where the biases `[H, 4]` of the second layer start.
    pub biases: [Option<usize>; 2],
    /// Elements from a layer above the first to the next.
    pub layer: usize,
}

impl StackWeights {
    /// The recurrent weights of a layer.
    pub fn u(&self, layer: usize) -> usize {
        match layer.checked_sub(1) {
            None => self.u_first,
            Some(above) => self.u_above + above * self.layer,
        }
    }

    /// The input's weights of a layer above the first.
    pub fn w(&self, layer: usize) -> usize {
        self.w_above + (layer - 1) * self.layer
    }
}

/// A timestep of some layers of a stack: that of the first of them, and above it each layer's one earlier
/// than that of the layer below.
#[derive(Clone, Copy, Debug)]
pub struct WavefrontForward<'a, R> {
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// The first of the layers.
    pub layer: usize,
    /// How many they are.
    pub layers: usize,
    /// The timestep of the first.
    pub t: usize,
    /// The parameters.
    pub weights: StackWeights,
    /// Whether the activated gates are kept.
    pub keep: bool,
    /// The lengths of the rows; `None` where all are as long. The timestep doesn't count.
    pub lengths: Option<Lengths<'a, R>>,
    /// Elements from a layer's gates to the next layer's.
    pub gates_layer: usize,
    /// Elements from a layer's hidden states to the next layer's.
    pub h_layer: usize,
    /// Elements from a layer's cell states to the next layer's.
    pub c_layer: usize,
}

/// The layers one after the other, each by [`matmul`] and
/// [`lstm_step_forward`](super::lstm_step_forward): the first has its input's share in `gates`, the others
/// make theirs from what the layer below has in slot `t+1`.
///
/// # Shapes
/// `params [N]`, `gates [L, T, B, H, 4]`, without `keep` those of the first layer; `h` and `c`
/// `[L, T+1, B, H]`, slot `t` read and slot `t+1` written.
pub fn lstm_wavefront_forward<R: Real>(
    wave: &WavefrontForward<'_, R>,
    params: &[R],
    gates: &mut [R],
    h: &mut [R],
    c: &mut [R],
) {
    let (batch, hidden) = (wave.batch, wave.hidden);
    let slot = batch * hidden;
    for n in 0..wave.layers {
        let (layer, t) = (wave.layer + n, wave.t - n);
        let gates_at = layer * wave.gates_layer + 4 * t * slot;
        let (h_at, c_at) = (layer * wave.h_layer + t * slot, layer * wave.c_layer + t * slot);
        let mut sums = vec![R::zero(); 4 * slot];
        if layer == 0 {
            sums.copy_from_slice(&gates[gates_at..][..4 * slot]);
        } else {
            let above = (layer - 1) * wave.weights.layer;
            let biases: Vec<&[R]> =
                wave.weights.biases.iter().flatten().map(|bias| &params[bias + above..]).collect();
            let shape = Product::dense(batch, 4 * hidden, hidden, false, false);
            let x = &h[h_at + slot - wave.h_layer..][..slot];
            matmul(&shape, x, &params[wave.weights.w(layer)..], &biases, &mut sums);
        }
        let lengths = wave.lengths.map(|lengths| lengths.at(t));
        let step =
            StepForward { hidden, terms: hidden, h_prev_row: hidden, h_row: hidden, lengths };
        let (h_prev, h) = apart(h, (h_at, slot), (h_at + slot, slot));
        let (c_prev, c) = apart(c, (c_at, slot), (c_at + slot, slot));
        lstm_step_forward(&step, &params[wave.weights.u(layer)..], &mut sums, h_prev, c_prev, h, c);
        for b in (0..batch).filter(|&b| wave.keep && !lengths.is_some_and(|all| all.ended(b))) {
            let row = 4 * hidden;
            gates[gates_at + b * row..][..row].copy_from_slice(&sums[b * row..][..row]);
        }
    }
}
