//! Host side of `column_sum`.

use super::{COLUMN_SUM, View, flag, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `M`.
        pub rows: u32,
        /// Columns `N`.
        pub columns: u32,
        /// Rows of a chunk.
        pub chunk: u32,
        /// Where A starts in its binding.
        pub a_start: u32,
        /// Where the result starts in its binding.
        pub out_start: u32,
    }
}

/// Rows that one invocation sums, unless the caller wants another number.
pub const CHUNK: usize = 256;

/// `out [ceil(rows / chunk), columns]` = the sums of `a [rows, columns]` over chunks of rows, or plus
/// them.
pub fn dispatch(
    (rows, columns): (usize, usize),
    chunk: usize,
    (a, out): (View, View),
    accumulate: bool,
) -> Dispatch {
    let params = Params {
        rows: rows as u32,
        columns: columns as u32,
        chunk: chunk as u32,
        a_start: a.start(),
        out_start: out.start(),
    };
    Dispatch {
        kernel: COLUMN_SUM,
        variant: 0,
        constants: vec![("ACCUMULATE", flag(accumulate))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![a.range, out.range],
        grid: [groups(columns, 64), groups(rows, chunk), 1],
    }
}

fn with<R: Real>(call: Call<'_, '_, R>, form: impl Fn(usize, usize, &[R], &mut [R], bool)) {
    let p: Params = call.params();
    let [a, out] = call.args else { unreachable!("two bindings") };
    let a = &input(a, p.a_start)[..(p.rows * p.columns) as usize];
    let out = &mut output(out, p.out_start)[..(p.rows.div_ceil(p.chunk) * p.columns) as usize];
    let accumulate = call.dispatch.constant("ACCUMULATE") != 0.0;
    form(p.columns as usize, p.chunk as usize, a, out, accumulate);
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, reference::column_sum);
}

/// A task a chunk of rows.
#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    use crate::cpu::threads::{for_chunks, worth};
    with(call, |columns, chunk, a, out, accumulate| {
        let arch = crate::cpu::simd::arch();
        for_chunks(out, columns, worth(a.len()), |i, out| {
            let a = &a[i * chunk * columns..];
            let a = &a[..a.len().min(chunk * columns)];
            arch.dispatch(OfChunk { a, out, accumulate });
        });
    });
}

/// The sums of one chunk, compiled for wide vectors.
#[cfg(feature = "cpu")]
struct OfChunk<'a> {
    a: &'a [f32],
    out: &'a mut [f32],
    accumulate: bool,
}

#[cfg(feature = "cpu")]
impl pulp::WithSimd for OfChunk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let (columns, rows) = (self.out.len(), self.a.len() / self.out.len());
        reference::column_sum(columns, rows, self.a, self.out, self.accumulate);
    }
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "column_sum",
        bindings: const { &[read("a", "[M, N]"), write("out", "[ceil(M / chunk), N]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "columns",
            include_str!("../../shaders/column_sum.wgsl"),
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
