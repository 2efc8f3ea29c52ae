//! Twin of `lstm_step_backward`.

use super::Real;

/// The gradients that reach one timestep.
#[derive(Clone, Copy, Debug)]
pub struct StepGradients<'a, R> {
    /// Of the gates of step t+1, `[B, H, 4]`; `None` at the last step.
    pub next_gates: Option<&'a [R]>,
    /// Of this step's output, from the layer above or the loss, `[B, H]`.
    pub dy: Option<&'a [R]>,
    /// Of the final hidden state, at the last step, `[B, H]`.
    pub dh_n: Option<&'a [R]>,
}

/// The mirror of [`lstm_step_forward`](super::lstm_step_forward):
///
/// ```text
/// dh  = dy + dh_n + dG[t+1] . U^T
/// dc += dh * o * (1 - tanh(c)^2)
/// dG  = (dc * g * i(1-i), dc * c_prev * f(1-f), dc * i * (1-g^2), dh * tanh(c) * o(1-o))
/// dc  = dc * f                            what step t-1 gets
/// ```
///
/// # Shapes
/// `u [H, H, 4]`, `gates [B, H, 4]` (the activated gates on entry, their gradient on return),
/// `c_prev`, `c` `[B, H]`, `dc [B, H]` (the cell state's gradient, in place).
pub fn lstm_step_backward<R: Real>(
    hidden: usize,
    u: &[R],
    gates: &mut [R],
    c_prev: &[R],
    c: &[R],
    dc: &mut [R],
    gradients: StepGradients<'_, R>,
) {
    let one = R::one();
    for (b, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
        for (unit, gate) in gates.chunks_exact_mut(4).enumerate() {
            let at = b * hidden + unit;
            let mut sum = [R::zero(); 4];
            if let Some(next) = gradients.next_gates {
                let next = next[b * 4 * hidden..][..4 * hidden].chunks_exact(4);
                for (dg, w) in next.zip(u[unit * 4 * hidden..].chunks_exact(4)) {
                    for lane in 0..4 {
                        sum[lane] += dg[lane] * w[lane];
                    }
                }
            }
            let mut dh = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            for source in [gradients.dy, gradients.dh_n].into_iter().flatten() {
                dh += source[at];
            }
            let (i, f, g, o) = (gate[0], gate[1], gate[2], gate[3]);
            let tanh_c = c[at].tanh();
            let dc_t = dc[at] + dh * o * (one - tanh_c * tanh_c);
            gate.copy_from_slice(&[
                dc_t * g * i * (one - i),
                dc_t * c_prev[at] * f * (one - f),
                dc_t * i * (one - g * g),
                dh * tanh_c * o * (one - o),
            ]);
            dc[at] = dc_t * f;
        }
    }
}
