//! Host side of `nonlinearity_backward`.

use super::nonlinearity::{number, of};
use super::{NONLINEARITY_BACKWARD, View, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Nonlinearity, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Elements `N`.
        pub len: u32,
        /// Where what the function was applied to starts in its binding.
        pub x_start: u32,
        /// Where the gradients start in their binding.
        pub d_start: u32,
    }
}

/// `d [N] *= f'(x [N])`, in place.
pub fn dispatch(len: usize, f: Nonlinearity, x: View, d: View) -> Dispatch {
    let params = Params { len: len as u32, x_start: x.start(), d_start: d.start() };
    Dispatch {
        kernel: NONLINEARITY_BACKWARD,
        variant: 0,
        constants: vec![("NONLINEARITY", number(Some(f)))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![x.range, d.range],
        grid: linear_grid(len),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let f = of(call.dispatch);
    let [x, d] = call.args else { unreachable!("two bindings") };
    let x = &input(x, p.x_start)[..p.len as usize];
    reference::nonlinearity_backward(f, x, output(d, p.d_start));
}

/// The largest gradient that comes in.
fn incoming(call: Call<'_, '_, f64>) -> f64 {
    let p: Params = call.params();
    let [_, d] = call.args else { unreachable!("two bindings") };
    let d = &output(d, p.d_start)[..p.len as usize];
    d.iter().fold(0.0, |most, d| most.max(d.abs()))
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "nonlinearity_backward",
        bindings: const { &[read("x", "[N]"), write("d", "[N]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            concat!(
                include_str!("../../shaders/common/activations.wgsl"),
                include_str!("../../shaders/common/finite.wgsl"),
                include_str!("../../shaders/common/nonlinearities.wgsl"),
                include_str!("../../shaders/nonlinearity_backward.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: Some(incoming),
        tolerance: |_| Tolerance::NONLINEARITY,
    }
}
