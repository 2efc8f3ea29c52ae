//! Host side of `lstm_step_forward`.

use super::{LSTM_STEP_FORWARD, View, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Tolerance};

params! {
    /// The block of constants; starts of `u` and `gates` count quads.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Where the recurrent weights start.
        pub u_start: u32,
        /// Where the gates of step t start.
        pub gates_start: u32,
        /// Where slot t of the hidden states starts.
        pub h_prev_start: u32,
        /// Where slot t+1 of the hidden states starts.
        pub h_start: u32,
        /// Where slot t of the cell states starts.
        pub c_prev_start: u32,
        /// Where slot t+1 of the cell states starts.
        pub c_start: u32,
    }
}

/// Units and rows that a workgroup computes.
pub const TILE: usize = 16;

/// One timestep: `gates` is the view of step t, `h` and `c` those of slot t; slot t+1 follows.
pub fn dispatch(batch: usize, hidden: usize, u: View, gates: View, h: View, c: View) -> Dispatch {
    let slot = (batch * hidden) as u32;
    let params = Params {
        batch: batch as u32,
        hidden: hidden as u32,
        u_start: u.start_quads(),
        gates_start: gates.start_quads(),
        h_prev_start: h.start(),
        h_start: h.start() + slot,
        c_prev_start: c.start(),
        c_start: c.start() + slot,
    };
    Dispatch {
        kernel: LSTM_STEP_FORWARD,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![u.range, gates.range, h.range, c.range],
        grid: [groups(hidden, TILE), groups(batch, TILE), 1],
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let slot = (p.batch * p.hidden) as usize;
    let [u, gates, h, c] = call.args else { unreachable!("four bindings") };
    // Slot t+1 follows slot t.
    let (h_prev, h) = output(h, p.h_prev_start).split_at_mut(slot);
    let (c_prev, c) = output(c, p.c_prev_start).split_at_mut(slot);
    reference::lstm_step_forward(
        p.hidden as usize,
        input(u, 4 * p.u_start),
        &mut output(gates, 4 * p.gates_start)[..4 * slot],
        h_prev,
        c_prev,
        &mut h[..slot],
        &mut c[..slot],
    );
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
    let [u, gates, h, c] = call.args else { unreachable!("four bindings") };
    let u = input(u, 4 * p.u_start);
    let (h_prev, h) = output(h, p.h_prev_start).split_at_mut(slot);
    let (c_prev, c) = output(c, p.c_prev_start).split_at_mut(slot);
    let block = super::BLOCK * hidden;
    output(gates, 4 * p.gates_start)[..4 * slot]
        .par_chunks_mut(4 * block)
        .zip(h_prev.par_chunks(block))
        .zip(c_prev.par_chunks(block))
        .zip(h[..slot].par_chunks_mut(block))
        .zip(c[..slot].par_chunks_mut(block))
        .for_each(|((((gates, h_prev), c_prev), h), c)| {
            reference::lstm_step_forward(hidden, u, gates, h_prev, c_prev, h, c);
        });
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "lstm_step_forward",
        bindings: const {
            &[
                read("u", "[H, H] of (i, f, g, o)"),
                write("gates", "[T, B, H] of (i, f, g, o)"),
                write("h", "[T+1, B, H]"),
                write("c", "[T+1, B, H]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "tiled",
            concat!(
                include_str!("../../shaders/common/activations.wgsl"),
                include_str!("../../shaders/lstm_step_forward.wgsl")
            ),
            [16, 4, 1],
        )],
        twin,
        twin_f64: twin,
        #[cfg(feature = "cpu")]
        fast: Some(fast),
        #[cfg(not(feature = "cpu"))]
        fast: None,
        scale: None,
        tolerance: |_| Tolerance::STEP,
    }
}
