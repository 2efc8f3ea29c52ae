//! Host side of `sgd`.

use super::{SGD, Update, UpdateShare, View, flag, input, output, read, update, variant, write};
use crate::command::{Call, Dispatch, Kernel};
use crate::reference::{self, Real, SgdSettings, Tolerance};

/// The block of constants, that of every optimizer.
pub use super::UpdateParams as Params;

/// The buffers of one update; `g`, `p` and a momentum start alike.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[G, 16]`: a row of settings a group, see [`reference::SgdSettings::row`].
    pub settings: View,
    /// `[ceil(len / 64)]`: the group of each block.
    pub groups: View,
    /// `[16]`: what `clip_scale` says of the step, see [`reference::status`].
    pub status: View,
    /// Gradients.
    pub g: View,
    /// Parameters.
    pub p: View,
    /// Momentum; without one, some other buffer, which isn't touched.
    pub momentum: View,
}

/// One step over `len` elements, the first of which starts a block; with a momentum or without.
pub fn dispatch(len: usize, momentum: bool, at: &Operands) -> Dispatch {
    debug_assert!(at.p.start == at.g.start && (!momentum || at.momentum.start == at.g.start));
    let read = [at.settings, at.groups, at.status, at.g];
    let written = [at.p, at.momentum];
    update(SGD, len, vec![("MOMENTUM", flag(momentum))], read, &written)
}

fn with<R: Real>(call: Call<'_, '_, R>, form: impl Fn(UpdateShare<'_, R, 2>)) {
    let p: Params = call.params();
    let has_momentum = call.dispatch.constant("MOMENTUM") != 0.0;
    let [settings, groups, status, g, param, momentum] = call.args else {
        unreachable!("six bindings")
    };
    let all = p.len as usize;
    let momentum = if has_momentum { &mut output(momentum, p.start)[..all] } else { &mut [] };
    let written = [&mut output(param, p.start)[..all], momentum];
    form((p.step(settings, groups, status), &input(g, p.start)[..all], written));
}

struct Sgd;

impl Update<2> for Sgd {
    #[inline(always)]
    fn step<R: Real>((step, g, [p, momentum]): UpdateShare<'_, R, 2>) {
        reference::sgd(&step, g, p, Some(momentum).filter(|all| !all.is_empty()));
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, Sgd::step);
}

#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    with(call, super::update_shares::<Sgd, 2>);
}

/// The largest term of a gradient or a momentum.
fn scale(call: Call<'_, '_, f64>) -> f64 {
    let p: Params = call.params();
    let len = p.len as usize;
    let has_momentum = call.dispatch.constant("MOMENTUM") != 0.0;
    let [settings, groups, status, g, param, momentum] = call.args else {
        unreachable!("six bindings")
    };
    let step = p.step(settings, groups, status);
    let (g, param) = (&input(g, p.start)[..len], input(param, p.start));
    let mut largest = 0.0f64;
    for (at, row) in step.updated(len) {
        let c = SgdSettings::from_row(row);
        for i in at {
            let kept = f64::from(c.common.keep) * param[i].abs();
            largest = largest.max(c.common.gradient(step.scale().abs(), g[i].abs(), kept));
            if has_momentum {
                largest = largest.max(input(momentum, p.start)[i].abs());
            }
        }
    }
    largest
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "sgd",
        bindings: const {
            &[
                read("settings", "[G, 16]"),
                read("groups", "[ceil(N / 64)]"),
                read("status", "[16]"),
                read("g", "[N]"),
                write("p", "[N]"),
                write("momentum", "[N]"),
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
                include_str!("../../shaders/sgd.wgsl")
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
        scale: Some(scale),
        // Gradients and momentum may cancel; what is left has the error of its terms, of which
        // there are four, a few roundings each.
        tolerance: |_| Tolerance::Mixed { absolute: 5e-7, relative: 1e-6 },
    }
}
