//! Host side of `reduce_sum`.

use super::{REDUCE_SUM, View, flag, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Elements `N`.
        pub len: u32,
        /// Elements of a chunk.
        pub chunk: u32,
        /// Where the input starts in its binding.
        pub a_start: u32,
        /// Where the result starts in its binding.
        pub out_start: u32,
        /// What each sum is multiplied by.
        pub scale: f32,
    }
}

/// Elements that one workgroup sums, 256 an invocation.
pub const CHUNK: usize = 65_536;

/// `out [ceil(len / chunk)]` = `scale` times the sums of `a [len]` over chunks, or plus that.
pub fn dispatch(
    len: usize,
    chunk: usize,
    scale: f32,
    (a, out): (View, View),
    accumulate: bool,
) -> Dispatch {
    let params = Params {
        len: len as u32,
        chunk: chunk as u32,
        a_start: a.start(),
        out_start: out.start(),
        scale,
    };
    Dispatch {
        kernel: REDUCE_SUM,
        variant: 0,
        constants: vec![("ACCUMULATE", flag(accumulate))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![a.range, out.range],
        grid: [groups(len, chunk), 1, 1],
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let [a, out] = call.args else { unreachable!("two bindings") };
    let a = &input(a, p.a_start)[..p.len as usize];
    let accumulate = call.dispatch.constant("ACCUMULATE") != 0.0;
    let out = output(out, p.out_start);
    reference::reduce_sum(p.chunk as usize, R::of(p.scale), a, out, accumulate);
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "reduce_sum",
        bindings: const { &[read("a", "[N]"), write("out", "[ceil(N / chunk)]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "tree",
            concat!(
                include_str!("../../shaders/common/workgroup_sum.wgsl"),
                include_str!("../../shaders/reduce_sum.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            Tolerance::Terms(p.chunk.min(p.len) as usize)
        },
    }
}
