//! A whole stacked LSTM and its backpropagation through time, from the equations.
//!
//! Written apart from everything that runs on a device: PyTorch's layout (`weight_ih [4H, I]`,
//! gates in the order i, f, g, o), one gate at a time, one row at a time, every step's values
//! kept. It is slow and it is the yardstick: its gradients are checked against central
//! differences, and both executors against it.
//!
//! Equations: the page of [`torch.nn.LSTM`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html);
//! backpropagation through time: Werbos, 1990, *Proceedings of the IEEE* 78(10).

use super::{Real, sigmoid};

/// The weights of one layer, in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights<R> {
    /// Input features `I`.
    pub input: usize,
    /// Units `H`.
    pub hidden: usize,
    /// `[4H, I]`.
    pub weight_ih: Vec<R>,
    /// `[4H, H]`.
    pub weight_hh: Vec<R>,
    /// `[4H]`, the sum of the biases that the layer has; zeros where it has none.
    pub bias: Vec<R>,
}

/// Every value of one layer's forward pass.
#[derive(Clone, Debug)]
pub struct LayerTrace<R> {
    /// The input, `[T, B, I]`.
    pub x: Vec<R>,
    /// The activated gates, `[T, B, 4, H]`.
    pub gates: Vec<R>,
    /// Hidden states, `[T+1, B, H]`; slot 0 is the initial one.
    pub h: Vec<R>,
    /// Cell states, `[T+1, B, H]`; slot 0 is the initial one.
    pub c: Vec<R>,
}

/// The gradients of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGradients<R> {
    /// `[4H, I]`.
    pub weight_ih: Vec<R>,
    /// `[4H, H]`.
    pub weight_hh: Vec<R>,
    /// `[4H]`, the same for each bias.
    pub bias: Vec<R>,
    /// `[T, B, I]`.
    pub x: Vec<R>,
    /// Of the initial hidden state, `[B, H]`.
    pub h0: Vec<R>,
    /// Of the initial cell state, `[B, H]`.
    pub c0: Vec<R>,
}

/// Runs one layer over `x [T, B, I]` from the states `h0`, `c0` `[B, H]`.
pub fn layer_forward<R: Real>(
    w: &LayerWeights<R>,
    batch: usize,
    x: &[R],
    h0: &[R],
    c0: &[R],
) -> LayerTrace<R> {
    let (hidden, input) = (w.hidden, w.input);
    let steps = x.len() / (batch * input);
    let mut trace = LayerTrace { x: x.to_vec(), gates: Vec::new(), h: h0.to_vec(), c: c0.to_vec() };
    for t in 0..steps {
        for b in 0..batch {
            let x_t = &x[(t * batch + b) * input..][..input];
            let state = (t * batch + b) * hidden;
            let mut gate = vec![R::zero(); 4 * hidden];
            for (row, gate) in gate.iter_mut().enumerate() {
                let mut sum = w.bias[row];
                for (k, &x_k) in x_t.iter().enumerate() {
                    sum += w.weight_ih[row * input + k] * x_k;
                }
                for k in 0..hidden {
                    sum += w.weight_hh[row * hidden + k] * trace.h[state + k];
                }
                *gate = if row / hidden == 2 { sum.tanh() } else { sigmoid(sum) };
            }
            for unit in 0..hidden {
                let [i, f, g, o] = [0, 1, 2, 3].map(|q| gate[q * hidden + unit]);
                let c = f * trace.c[state + unit] + i * g;
                trace.c.push(c);
                trace.h.push(o * c.tanh());
            }
            trace.gates.extend(gate);
        }
    }
    trace
}

/// Propagates `dy [T, B, H]` (of the outputs), `dh_n` and `dc_n` `[B, H]` (of the final states)
/// back through one layer.
pub fn layer_backward<R: Real>(
    w: &LayerWeights<R>,
    batch: usize,
    trace: &LayerTrace<R>,
    dy: &[R],
    dh_n: &[R],
    dc_n: &[R],
) -> LayerGradients<R> {
    let (hidden, input, one) = (w.hidden, w.input, R::one());
    let steps = dy.len() / (batch * hidden);
    let mut out = LayerGradients {
        weight_ih: vec![R::zero(); w.weight_ih.len()],
        weight_hh: vec![R::zero(); w.weight_hh.len()],
        bias: vec![R::zero(); w.bias.len()],
        x: vec![R::zero(); trace.x.len()],
        h0: dh_n.to_vec(),
        c0: dc_n.to_vec(),
    };
    for t in (0..steps).rev() {
        for b in 0..batch {
            let before = (t * batch + b) * hidden;
            let after = before + batch * hidden;
            let x_at = (t * batch + b) * input;
            let mut d_gate = vec![R::zero(); 4 * hidden];
            for unit in 0..hidden {
                let [i, f, g, o] =
                    [0, 1, 2, 3].map(|q| trace.gates[4 * before + q * hidden + unit]);
                let tanh_c = trace.c[after + unit].tanh();
                let dh = dy[before + unit] + out.h0[b * hidden + unit];
                let dc = out.c0[b * hidden + unit] + dh * o * (one - tanh_c * tanh_c);
                d_gate[unit] = dc * g * i * (one - i);
                d_gate[hidden + unit] = dc * trace.c[before + unit] * f * (one - f);
                d_gate[2 * hidden + unit] = dc * i * (one - g * g);
                d_gate[3 * hidden + unit] = dh * tanh_c * o * (one - o);
                out.c0[b * hidden + unit] = dc * f;
            }
            out.h0[b * hidden..][..hidden].fill(R::zero());
            for (row, &d) in d_gate.iter().enumerate() {
                out.bias[row] += d;
                for k in 0..input {
                    out.weight_ih[row * input + k] += d * trace.x[x_at + k];
                    out.x[x_at + k] += d * w.weight_ih[row * input + k];
                }
                for k in 0..hidden {
                    out.weight_hh[row * hidden + k] += d * trace.h[before + k];
                    out.h0[b * hidden + k] += d * w.weight_hh[row * hidden + k];
                }
            }
        }
    }
    out
}

/// Runs a stack of layers; `h0` and `c0` are `[L, B, H]`. The last trace's `h` from slot 1 on is
/// the output.
pub fn forward<R: Real>(
    layers: &[LayerWeights<R>],
    batch: usize,
    x: &[R],
    h0: &[R],
    c0: &[R],
) -> Vec<LayerTrace<R>> {
    let mut traces: Vec<LayerTrace<R>> = Vec::new();
    for (l, w) in layers.iter().enumerate() {
        let size = batch * w.hidden;
        let input = traces.last().map_or(x, |below| &below.h[size..]).to_vec();
        traces.push(layer_forward(
            w,
            batch,
            &input,
            &h0[l * size..][..size],
            &c0[l * size..][..size],
        ));
    }
    traces
}

/// Propagates back through a stack; `dy` is `[T, B, H]` of the top layer, `dh_n` and `dc_n` are
/// `[L, B, H]`.
pub fn backward<R: Real>(
    layers: &[LayerWeights<R>],
    batch: usize,
    traces: &[LayerTrace<R>],
    dy: &[R],
    dh_n: &[R],
    dc_n: &[R],
) -> Vec<LayerGradients<R>> {
    let mut gradients: Vec<LayerGradients<R>> = Vec::new();
    for (l, w) in layers.iter().enumerate().rev() {
        let state = l * batch * w.hidden..(l + 1) * batch * w.hidden;
        let dy = gradients.last().map_or(dy, |above| &above.x).to_vec();
        gradients.push(layer_backward(
            w,
            batch,
            &traces[l],
            &dy,
            &dh_n[state.clone()],
            &dc_n[state],
        ));
    }
    gradients.reverse();
    gradients
}
