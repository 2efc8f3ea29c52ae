//! Twin of `lstm_step_forward`.

use super::{Real, sigmoid};

/// One timestep of `torch.nn.LSTM` for `B` rows and `H` units:
///
/// ```text
/// (i, f, g, o) = P + h_prev . U          P holds the input's share and both biases
/// i, f, o      = sigmoid;  g = tanh
/// c            = f * c_prev + i * g
/// h            = o * tanh(c)
/// ```
///
/// # Shapes
/// `u [H, H, 4]`, `gates [B, H, 4]` (P on entry, the activated gates on return), `h_prev`,
/// `c_prev`, `h`, `c` `[B, H]`.
pub fn lstm_step_forward<R: Real>(
    hidden: usize,
    u: &[R],
    gates: &mut [R],
    h_prev: &[R],
    c_prev: &[R],
    h: &mut [R],
    c: &mut [R],
) {
    for (b, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
        let row = b * hidden..(b + 1) * hidden;
        for (h_k, u_k) in h_prev[row.clone()].iter().zip(u.chunks_exact(4 * hidden)) {
            for (gate, &weight) in gates.iter_mut().zip(u_k) {
                *gate += *h_k * weight;
            }
        }
        for (unit, gate) in row.zip(gates.chunks_exact_mut(4)) {
            let (i, f, g, o) =
                (sigmoid(gate[0]), sigmoid(gate[1]), gate[2].tanh(), sigmoid(gate[3]));
            gate.copy_from_slice(&[i, f, g, o]);
            c[unit] = f * c_prev[unit] + i * g;
            h[unit] = o * c[unit].tanh();
        }
    }
}
