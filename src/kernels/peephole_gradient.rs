//! Host side of `peephole_gradient`.

use super::{PEEPHOLE_GRADIENT, View, flag, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{self, PeepholeRows, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `M`: timesteps times rows of the batch.
        pub rows: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Rows of a chunk.
        pub chunk: u32,
        /// Where the gates' gradients start, in quads.
        pub d_start: u32,
        /// Where the cell states before the timesteps start.
        pub c_prev_start: u32,
        /// Where those after them start.
        pub c_start: u32,
        /// Where the result starts, in quads.
        pub out_start: u32,
    }
}

/// What a launch reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Gradients of the gates' sums, `[M, H]` of (i, f, g, o).
    pub d_gates: View,
    /// Cell states.
    pub c: Range,
    /// Where those before the timesteps start in it, `[M, H]`.
    pub c_prev_start: usize,
    /// Where those after them start in it.
    pub c_start: usize,
    /// The sums of each chunk, `[chunks, H]` of (i, f, 0, o).
    pub out: View,
}

/// The gradients of peepholes over chunks of the `rows`, or plus what is there.
pub fn dispatch(
    (rows, hidden): (usize, usize),
    chunk: usize,
    operands: &Operands,
    accumulate: bool,
) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        hidden: hidden as u32,
        chunk: chunk as u32,
        d_start: operands.d_gates.start() / 4,
        c_prev_start: operands.c_prev_start as u32,
        c_start: operands.c_start as u32,
        out_start: operands.out.start() / 4,
    };
    Dispatch {
        kernel: PEEPHOLE_GRADIENT,
        variant: 0,
        constants: vec![("ACCUMULATE", flag(accumulate))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![operands.d_gates.range, operands.c, operands.out.range],
        grid: [groups(hidden, 64), groups(rows, chunk), 1],
    }
}

/// Calls `each` with the operands of every chunk, and where its sums go.
fn with<R: Real>(call: Call<'_, '_, R>, each: impl Fn(Vec<(PeepholeRows<'_, R>, &mut [R])>)) {
    let p: Params = call.params();
    let (rows, hidden, chunk) = (p.rows as usize, p.hidden as usize, p.chunk as usize);
    let [d_gates, c, out] = call.args else { unreachable!("three bindings") };
    let d_gates = &input(d_gates, 4 * p.d_start)[..4 * rows * hidden];
    let states = |start: u32| &input(c, start)[..rows * hidden];
    let (c_prev, c) = (states(p.c_prev_start), states(p.c_start));
    let out = &mut output(out, 4 * p.out_start)[..rows.div_ceil(chunk) * 4 * hidden];
    if call.dispatch.constant("ACCUMULATE") == 0.0 {
        out.fill(R::zero());
    }
    let len = chunk * hidden;
    let parts = d_gates.chunks(4 * len).zip(c_prev.chunks(len).zip(c.chunks(len)));
    let parts = parts.map(|(d_gates, (c_prev, c))| PeepholeRows { d_gates, c_prev, c });
    each(parts.zip(out.chunks_exact_mut(4 * hidden)).collect());
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, |chunks| {
        chunks.into_iter().for_each(|(rows, out)| reference::peephole_gradient(&rows, out));
    });
}

/// A task a chunk of rows.
#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    use crate::cpu::threads::{for_all, worth};

    struct OfChunk<'a>(PeepholeRows<'a, f32>, &'a mut [f32]);

    impl pulp::WithSimd for OfChunk<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) {
            reference::peephole_gradient(&self.0, self.1);
        }
    }

    with(call, |chunks| {
        let arch = crate::cpu::simd::arch();
        let len: usize = chunks.iter().map(|(rows, _)| rows.d_gates.len()).sum();
        for_all(chunks, worth(len), |(rows, out)| arch.dispatch(OfChunk(rows, out)));
    });
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "peephole_gradient",
        bindings: const {
            &[
                read("d_gates", "[M, H] of (i, f, g, o)"),
                read("c", "[T+1, B, H]"),
                write("out", "[ceil(M / chunk), H] of (i, f, 0, o)"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "units",
            include_str!("../../shaders/peephole_gradient.wgsl"),
            [64, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        #[cfg(feature = "cpu")]
        fast: Some(fast),
        #[cfg(not(feature = "cpu"))]
        fast: None,
        scale: None,
        tolerance: |d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            Tolerance::Terms(p.chunk.min(p.rows) as usize)
        },
    }
}
