//! Host side of `nonlinearity`.

use super::{NONLINEARITY, View, flag, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Nonlinearity, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Elements `N`.
        pub len: u32,
        /// Where what is given starts in its binding.
        pub x_start: u32,
        /// Where the result starts in its binding.
        pub out_start: u32,
    }
}

/// `out [N]` = `f(x [N])` or, without an `f`, 1 for numbers above 0 and 0 for the others.
pub fn dispatch(len: usize, f: Option<Nonlinearity>, x: View, out: View) -> Dispatch {
    let params = Params { len: len as u32, x_start: x.start(), out_start: out.start() };
    Dispatch {
        kernel: NONLINEARITY,
        variant: 0,
        constants: vec![("NONLINEARITY", number(f)), ("DECIDE", flag(f.is_none()))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![x.range, out.range],
        grid: linear_grid(len),
    }
}

/// How shaders count it.
pub(super) fn number(f: Option<Nonlinearity>) -> f64 {
    let place = f.and_then(|f| Nonlinearity::ALL.iter().position(|other| *other == f));
    place.unwrap_or(0) as f64
}

/// The one that a launch has.
pub(super) fn of(d: &Dispatch) -> Nonlinearity {
    Nonlinearity::ALL[d.constant("NONLINEARITY") as usize]
}

fn given(d: &Dispatch) -> Option<Nonlinearity> {
    (d.constant("DECIDE") == flag(false)).then(|| of(d))
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let f = given(call.dispatch);
    let [x, out] = call.args else { unreachable!("two bindings") };
    let x = &input(x, p.x_start)[..p.len as usize];
    reference::nonlinearity(f, x, output(out, p.out_start));
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "nonlinearity",
        bindings: const { &[read("x", "[N]"), write("out", "[N]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            concat!(
                include_str!("../../shaders/common/activations.wgsl"),
                include_str!("../../shaders/common/finite.wgsl"),
                include_str!("../../shaders/common/nonlinearities.wgsl"),
                include_str!("../../shaders/nonlinearity.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |d| match given(d) {
            None => Tolerance::EXACT,
            Some(Nonlinearity::Sigmoid) => Tolerance::PROBABILITY,
            Some(_) => Tolerance::NONLINEARITY,
        },
    }
}
