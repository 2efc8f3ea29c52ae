//! Host side of `adam`.

use super::{ADAM, View, input, output, read, update, variant, write};
use crate::command::{Call, Dispatch, Kernel};
use crate::reference::{self, Real, Tolerance};

/// The block of constants, that of every optimizer.
pub use super::UpdateParams as Params;

/// The buffers of one update; `g`, `p`, `m` and `v` start alike.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[G, 16]`: a row of settings a group, see [`reference::AdamSettings::row`].
    pub settings: View,
    /// `[ceil(len / 64)]`: the group of each block.
    pub groups: View,
    /// `[16]`: what `clip_scale` says of the step, see [`reference::status`].
    pub status: View,
    /// Gradients.
    pub g: View,
    /// Parameters.
    pub p: View,
    /// First moments.
    pub m: View,
    /// Second moments.
    pub v: View,
}

/// One step over `len` elements, the first of which starts a block.
pub fn dispatch(len: usize, at: &Operands) -> Dispatch {
    debug_assert!([at.p, at.m, at.v].iter().all(|view| view.start == at.g.start));
    let read = [at.settings, at.groups, at.status, at.g];
    let written = [at.p, at.m, at.v];
    update(ADAM, len, Vec::new(), read, &written)
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let len = p.len as usize;
    let [settings, groups, status, g, param, m, v] = call.args else {
        unreachable!("seven bindings")
    };
    let step = p.step(settings, groups, status);
    reference::adam(
        &step,
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
                read("settings", "[G, 16]"),
                read("groups", "[ceil(N / 64)]"),
                read("status", "[16]"),
                read("g", "[N]"),
                write("p", "[N]"),
                write("m", "[N]"),
                write("v", "[N]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "flat",
            concat!(
                include_str!("../../shaders/common/finite.wgsl"),
                include_str!("../../shaders/common/groups.wgsl"),
                include_str!("../../shaders/common/status.wgsl"),
                include_str!("../../shaders/common/optimizer.wgsl"),
                include_str!("../../shaders/adam.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |_| Tolerance::OPTIMIZER,
    }
}
