//! Twin of `lstm_wavefront_backward`.

use super::{
    Lengths, Product, Real, StackWeights, StepBackward, apart, lstm_step_backward, matmul,
};

/// The step back of some layers of a stack: of the first of them at a timestep, and above it each layer's
/// one earlier than that of the layer below.
#[derive(Clone, Copy, Debug)]
pub struct WavefrontBackward<'a, R> {
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// Timesteps `T`.
    pub steps: usize,
    /// Layers `L` of the stack.
    pub stack: usize,
    /// The first of the layers.
    pub layer: usize,
    /// How many they are.
    pub layers: usize,
    /// The timestep of the first.
    pub t: usize,
    /// The parameters; biases don't count.
    pub weights: StackWeights,
    /// The gradient of the top layer's outputs, `[T, B, H]`.
    pub dy: &'a [R],
    /// The lengths of the rows; `None` where all are as long. The timestep doesn't count.
    pub lengths: Option<Lengths<'a, R>>,
    /// Elements from a layer's gates to the next layer's.
    pub gates_layer: usize,
    /// Elements from a layer's cell states to the next layer's.
    pub c_layer: usize,
}

impl<R: Real> WavefrontBackward<'_, R> {
    /// What reaches a layer's outputs at a timestep from outside: from the layer above, or of the top layer
    /// from its outputs.
    pub(crate) fn outer(&self, (layer, t): (usize, usize), params: &[R], gates: &[R]) -> Vec<R> {
        let (batch, hidden) = (self.batch, self.hidden);
        let slot = batch * hidden;
        if layer + 1 == self.stack {
            return self.dy[t * slot..][..slot].to_vec();
        }
        let mut dy = vec![R::zero(); slot];
        let shape = Product::dense(batch, hidden, 4 * hidden, false, true);
        let above = &gates[(layer + 1) * self.gates_layer + 4 * t * slot..];
        matmul(&shape, above, &params[self.weights.w(layer + 1)..], &[], &mut dy);
        dy
    }
}

/// The layers one after the other, each by [`matmul`] with the gate gradients of the layer above and
/// [`lstm_step_backward`](super::lstm_step_backward) with those of the step that ran after.
///
/// # Shapes
/// `params [N]`, `gates [L, T, B, H, 4]` (at each layer's timestep the activated gates on entry, their
/// gradient on return), `c [L, T+1, B, H]`, `dc [L, B, H]` (in place).
pub fn lstm_wavefront_backward<R: Real>(
    wave: &WavefrontBackward<'_, R>,
    params: &[R],
    gates: &mut [R],
    c: &[R],
    dc: &mut [R],
) {
    let hidden = wave.hidden;
    let slot = wave.batch * hidden;
    for n in 0..wave.layers {
        let (layer, t) = (wave.layer + n, wave.t - n);
        let dy = wave.outer((layer, t), params, gates);
        let own = (layer * wave.gates_layer + 4 * t * slot, 4 * slot);
        let (incoming, gates) = match t + 1 < wave.steps {
            true => {
                let (after, own) = apart(gates, (own.0 + 4 * slot, 4 * slot), own);
                (Some(after), own)
            }
            false => (None, &mut gates[own.0..][..own.1]),
        };
        let step = StepBackward {
            hidden,
            incoming,
            terms: hidden,
            dy: Some((&dy, hidden)),
            lengths: wave.lengths.map(|lengths| lengths.at(t)),
        };
        let c = &c[layer * wave.c_layer + t * slot..];
        let dc = &mut dc[layer * slot..][..slot];
        lstm_step_backward(&step, &params[wave.weights.u(layer)..], gates, c, &c[slot..], dc);
    }
}
