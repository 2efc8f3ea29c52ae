//! Host side of `pack_panels`.

use super::{PACK_PANELS, View, flag, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Panels, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `K`.
        pub k: u32,
        /// Columns `N`.
        pub n: u32,
        /// Elements from one stored row of B to the next.
        pub ldb: u32,
        /// Where B starts in its binding.
        pub b_start: u32,
        /// Where the panels start in their binding.
        pub out_start: u32,
        /// Elements to write.
        pub len: u32,
        /// Rows of a panel.
        pub rows: u32,
        /// The row of a panel where B begins.
        pub first: u32,
    }
}

/// `out` = the panels of `b`.
pub fn dispatch(panels: &Panels, b: View, out: View) -> Dispatch {
    let params = Params {
        k: panels.k as u32,
        n: panels.n as u32,
        ldb: panels.ldb as u32,
        b_start: b.start(),
        out_start: out.start(),
        len: reference::panels(panels.k, panels.n) as u32,
        rows: panels.rows as u32,
        first: panels.first as u32,
    };
    Dispatch {
        kernel: PACK_PANELS,
        variant: 0,
        constants: vec![
            ("TRANSPOSE", flag(panels.transpose)),
            ("ACCUMULATE", flag(panels.accumulate)),
        ],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![b.range, out.range],
        grid: linear_grid(params.len as usize),
    }
}

fn with<R: Real>(call: Call<'_, '_, R>, form: impl Fn(&Panels, &[R], &mut [R])) {
    let p: Params = call.params();
    let panels = Panels {
        k: p.k as usize,
        n: p.n as usize,
        transpose: call.dispatch.constant("TRANSPOSE") != 0.0,
        ldb: p.ldb as usize,
        rows: p.rows as usize,
        first: p.first as usize,
        accumulate: call.dispatch.constant("ACCUMULATE") != 0.0,
    };
    let [b, out] = call.args else { unreachable!("two bindings") };
    form(&panels, input(b, p.b_start), output(out, p.out_start));
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, reference::pack_panels);
}

#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    with(call, crate::cpu::pack);
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "pack_panels",
        bindings: const { &[read("b", "[K, N]"), write("out", "[ceil(N / 64), rows, 64]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            include_str!("../../shaders/pack_panels.wgsl"),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        #[cfg(feature = "cpu")]
        fast: Some(fast),
        #[cfg(not(feature = "cpu"))]
        fast: None,
        scale: None,
        tolerance: |d| match d.constant("ACCUMULATE") != 0.0 {
            true => Tolerance::Mixed { absolute: 0.0, relative: 1e-7 },
            false => Tolerance::EXACT,
        },
    }
}
