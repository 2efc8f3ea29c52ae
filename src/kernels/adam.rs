//! Host side of `adam`.

use super::{ADAM, View, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, AdamConstants, AdamScalars, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Elements to update.
        pub len: u32,
        /// The first of them in the four bindings.
        pub start: u32,
        /// Where the two scalars of the step start in their binding.
        pub scalars_start: u32,
        /// Decay of the second moment.
        pub beta2: f32,
        /// `1 - beta1`.
        pub one_minus_beta1: f32,
        /// `1 - beta2`.
        pub one_minus_beta2: f32,
        /// Added to the root of the second moment.
        pub eps: f32,
        /// L2 penalty.
        pub weight_decay: f32,
    }
}

/// Invocations of a workgroup, an element each.
pub const TILE: usize = 256;

/// The buffers of one update; `g`, `p`, `m` and `v` start alike.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `step_size` and `root_correction`.
    pub scalars: View,
    /// Gradients.
    pub g: View,
    /// Parameters.
    pub p: View,
    /// First moments.
    pub m: View,
    /// Second moments.
    pub v: View,
}

/// One step over `len` elements.
pub fn dispatch(len: usize, constants: &AdamConstants, at: &Operands) -> Dispatch {
    debug_assert!([at.p, at.m, at.v].iter().all(|view| view.start == at.g.start));
    let params = Params {
        len: len as u32,
        start: at.g.start(),
        scalars_start: at.scalars.start(),
        beta2: constants.beta2,
        one_minus_beta1: constants.one_minus_beta1,
        one_minus_beta2: constants.one_minus_beta2,
        eps: constants.eps,
        weight_decay: constants.weight_decay,
    };
    Dispatch {
        kernel: ADAM,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![at.scalars.range, at.g.range, at.p.range, at.m.range, at.v.range],
        grid: [groups(len, TILE), 1, 1],
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let len = p.len as usize;
    let [scalars, g, param, m, v] = call.args else { unreachable!("five bindings") };
    let scalar = |i: usize| input(scalars, p.scalars_start)[i].to_f32().unwrap_or(f32::NAN);
    let scalars = AdamScalars { step_size: scalar(0), root_correction: scalar(1) };
    let constants = AdamConstants {
        beta2: p.beta2,
        one_minus_beta1: p.one_minus_beta1,
        one_minus_beta2: p.one_minus_beta2,
        eps: p.eps,
        weight_decay: p.weight_decay,
    };
    reference::adam(
        &constants,
        &scalars,
        &input(g, p.start)[..len],
        &mut output(param, p.start)[..len],
        &mut output(m, p.start)[..len],
        &mut output(v, p.start)[..len],
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "adam",
        bindings: const {
            &[
                read("scalars", "[2]"),
                read("g", "[N]"),
                write("p", "[N]"),
                write("m", "[N]"),
                write("v", "[N]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant("flat", include_str!("../../shaders/adam.wgsl"), [256, 1, 1])],
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |_| Tolerance::OPTIMIZER,
    }
}
