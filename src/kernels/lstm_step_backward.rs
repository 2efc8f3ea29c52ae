//! Host side of `lstm_step_backward`.

use super::{LSTM_STEP_BACKWARD, View, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, StepGradients, Tolerance};

params! {
    /// The block of constants; starts of `u` and `gates` count quads.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Terms of the recurrent product: `H`, or 0 at the last step.
        pub terms: u32,
        /// 1 where `dy` counts.
        pub has_dy: u32,
        /// 1 where `dh_n` counts.
        pub has_dh_n: u32,
        /// Where the recurrent weights start.
        pub u_start: u32,
        /// Where the gates of step t start.
        pub gates_start: u32,
        /// Where the gate gradients of step t+1 start.
        pub next_gates_start: u32,
        /// Where slot t of the cell states starts.
        pub c_prev_start: u32,
        /// Where slot t+1 of the cell states starts.
        pub c_start: u32,
        /// Where the gradient of this step's output starts.
        pub dy_start: u32,
        /// Where the gradient of the final hidden state starts.
        pub dh_n_start: u32,
        /// Where the cell state's gradient starts.
        pub dc_start: u32,
    }
}

/// The operands of one timestep.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Recurrent weights.
    pub u: View,
    /// Cell states from slot t on; slot t+1 follows.
    pub c: View,
    /// The gradient of this step's output, where there is one.
    pub dy: Option<View>,
    /// The gradient of the final hidden state, at the last step where there is one.
    pub dh_n: Option<View>,
    /// Gates from step t on; at every step but the last, step t+1 follows.
    pub gates: View,
    /// The cell state's gradient.
    pub dc: View,
}

/// One timestep; `last` at t = T-1.
pub fn dispatch(batch: usize, hidden: usize, last: bool, at: &Operands) -> Dispatch {
    let slot = (batch * hidden) as u32;
    // What isn't there is bound to the weights, which are read-only as well, and never read.
    let dy = at.dy.unwrap_or(at.u);
    let dh_n = at.dh_n.unwrap_or(at.u);
    let params = Params {
        batch: batch as u32,
        hidden: hidden as u32,
        terms: if last { 0 } else { hidden as u32 },
        has_dy: at.dy.is_some().into(),
        has_dh_n: at.dh_n.is_some().into(),
        u_start: at.u.start_quads(),
        gates_start: at.gates.start_quads(),
        next_gates_start: at.gates.start_quads() + if last { 0 } else { slot },
        c_prev_start: at.c.start(),
        c_start: at.c.start() + slot,
        dy_start: dy.start(),
        dh_n_start: dh_n.start(),
        dc_start: at.dc.start(),
    };
    Dispatch {
        kernel: LSTM_STEP_BACKWARD,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![at.u.range, at.c.range, dy.range, dh_n.range, at.gates.range, at.dc.range],
        grid: [groups(hidden, 16), groups(batch, 16), 1],
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let slot = (p.batch * p.hidden) as usize;
    let [u, c, dy, dh_n, gates, dc] = call.args else { unreachable!("six bindings") };
    // Step t+1 follows step t.
    let (gates, next) = output(gates, 4 * p.gates_start).split_at_mut(4 * slot);
    reference::lstm_step_backward(
        p.hidden as usize,
        input(u, 4 * p.u_start),
        gates,
        input(c, p.c_prev_start),
        input(c, p.c_start),
        output(dc, p.dc_start),
        StepGradients {
            next_gates: (p.terms > 0).then_some(&*next),
            dy: (p.has_dy == 1).then(|| input(dy, p.dy_start)),
            dh_n: (p.has_dh_n == 1).then(|| input(dh_n, p.dh_n_start)),
        },
    );
}

/// The largest sum of absolute values of what makes up `dh` and `dc`: what the results scale with.
fn incoming(call: Call<'_, '_, f64>) -> f64 {
    let p: Params = call.params();
    let (hidden, slot) = (p.hidden as usize, (p.batch * p.hidden) as usize);
    let [u, _, dy, dh_n, gates, dc] = call.args else { unreachable!("six bindings") };
    let (u, next) = (input(u, 4 * p.u_start), input(gates, 4 * p.next_gates_start));
    let mut largest = 0.0f64;
    for at in 0..slot {
        let mut sum = input(dc, p.dc_start)[at].abs();
        if p.has_dy == 1 {
            sum += input(dy, p.dy_start)[at].abs();
        }
        if p.has_dh_n == 1 {
            sum += input(dh_n, p.dh_n_start)[at].abs();
        }
        let (row, unit) = (at / hidden, at % hidden);
        for k in 0..4 * p.terms as usize {
            sum += (next[4 * row * hidden + k] * u[4 * unit * hidden + k]).abs();
        }
        largest = largest.max(sum);
    }
    largest
}

/// The twin over blocks of rows on several threads; a row's sums stay in the twin's order.
#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    use rayon::prelude::*;

    let p: Params = call.params();
    let (hidden, slot) = (p.hidden as usize, (p.batch * p.hidden) as usize);
    if slot * hidden < super::PARALLEL_FROM {
        return twin(call);
    }
    let [u, c, dy, dh_n, gates, dc] = call.args else { unreachable!("six bindings") };
    let (u, c_prev, c) = (input(u, 4 * p.u_start), input(c, p.c_prev_start), input(c, p.c_start));
    let (dy, dh_n) = (input(dy, p.dy_start), input(dh_n, p.dh_n_start));
    let (gates, next) = output(gates, 4 * p.gates_start).split_at_mut(4 * slot);
    let next = &*next;
    let block = super::BLOCK * hidden;
    gates
        .par_chunks_mut(4 * block)
        .zip(output(dc, p.dc_start)[..slot].par_chunks_mut(block))
        .enumerate()
        .for_each(|(i, (gates, dc))| {
            let from = i * block;
            let gradients = StepGradients {
                next_gates: (p.terms > 0).then(|| &next[4 * from..]),
                dy: (p.has_dy == 1).then(|| &dy[from..]),
                dh_n: (p.has_dh_n == 1).then(|| &dh_n[from..]),
            };
            reference::lstm_step_backward(
                hidden,
                u,
                gates,
                &c_prev[from..],
                &c[from..],
                dc,
                gradients,
            );
        });
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "lstm_step_backward",
        bindings: const {
            &[
                read("u", "[H, H] of (i, f, g, o)"),
                read("c", "[T+1, B, H]"),
                read("dy", "[T, B, H]"),
                read("dh_n", "[B, H]"),
                write("gates", "[T, B, H] of (i, f, g, o)"),
                write("dc", "[B, H]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "tiled",
            concat!(
                include_str!("../../shaders/common/activations.wgsl"),
                include_str!("../../shaders/lstm_step_backward.wgsl")
            ),
            [16, 4, 1],
        )],
        twin,
        twin_f64: twin,
        #[cfg(feature = "cpu")]
        fast: Some(fast),
        #[cfg(not(feature = "cpu"))]
        fast: None,
        tolerance: |_| Tolerance::STEP_GRADIENT,
        scale: Some(incoming),
    }
}
