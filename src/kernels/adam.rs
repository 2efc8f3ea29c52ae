//! Host side of `adam`.

use super::{ADAM, Update, UpdateShare, View, input, output, read, update, variant, write};
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

fn with<R: Real>(call: Call<'_, '_, R>, form: impl Fn(UpdateShare<'_, R, 3>)) {
    let p: Params = call.params();
    let [settings, groups, status, g, param, m, v] = call.args else {
        unreachable!("seven bindings")
    };
    let written = [param, m, v].map(|arg| &mut output(arg, p.start)[..p.len as usize]);
    form((p.step(settings, groups, status), &input(g, p.start)[..p.len as usize], written));
}

struct Adam;

impl Update<3> for Adam {
    #[inline(always)]
    fn step<R: Real>((step, g, [p, m, v]): UpdateShare<'_, R, 3>) {
        reference::adam(&step, g, p, m, v);
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, Adam::step);
}

#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    with(call, super::update_shares::<Adam, 3>);
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
                include_str!("../../shaders/common/settings.wgsl"),
                include_str!("../../shaders/common/groups.wgsl"),
                include_str!("../../shaders/common/status.wgsl"),
                include_str!("../../shaders/common/clipping.wgsl"),
                include_str!("../../shaders/common/optimizer.wgsl"),
                include_str!("../../shaders/common/adam_step.wgsl"),
                include_str!("../../shaders/adam.wgsl")
            ),
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
        tolerance: |_| Tolerance::OPTIMIZER,
    }
}
