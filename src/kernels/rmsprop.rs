//! Host side of `rmsprop`.

use super::{
    RMSPROP, Update, UpdateShare, View, flag, input, output, read, update, variant, write,
};
use crate::command::{Arg, Call, Dispatch, Kernel};
use crate::reference::{self, Real, RmsPropStates, Tolerance};

/// The block of constants, that of every optimizer.
pub use super::UpdateParams as Params;

/// The buffers of one update; `g`, `p` and the states start alike.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[G, 16]`: a row of settings a group, see [`reference::RmsPropSettings::row`].
    pub settings: View,
    /// `[ceil(len / 64)]`: the group of each block.
    pub groups: View,
    /// `[16]`: what `clip_scale` says of the step, see [`reference::status`].
    pub status: View,
    /// Gradients.
    pub g: View,
    /// Parameters.
    pub p: View,
    /// Averages of squares.
    pub square_avg: View,
    /// Momentum; without one, some other buffer, which isn't touched.
    pub momentum: View,
    /// Averages of gradients; where nothing is centered, some other buffer, which isn't touched.
    pub grad_avg: View,
}

/// What a step is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Whether it has a momentum.
    pub momentum: bool,
    /// Whether squares are centered with the average of gradients.
    pub centered: bool,
}

impl Flags {
    fn of(dispatch: &Dispatch) -> Flags {
        let is = |name| dispatch.constant(name) != 0.0;
        Flags { momentum: is("MOMENTUM"), centered: is("CENTERED") }
    }
}

/// One step over `len` elements, the first of which starts a block.
pub fn dispatch(len: usize, flags: Flags, at: &Operands) -> Dispatch {
    debug_assert!([at.p, at.square_avg].iter().all(|view| view.start == at.g.start));
    debug_assert!(!flags.momentum || at.momentum.start == at.g.start);
    debug_assert!(!flags.centered || at.grad_avg.start == at.g.start);
    let read = [at.settings, at.groups, at.status, at.g];
    let written = [at.p, at.square_avg, at.momentum, at.grad_avg];
    update(
        RMSPROP,
        len,
        vec![("MOMENTUM", flag(flags.momentum)), ("CENTERED", flag(flags.centered))],
        read,
        &written,
    )
}

fn with<R: Real>(call: Call<'_, '_, R>, form: impl Fn(UpdateShare<'_, R, 4>)) {
    let p: Params = call.params();
    let flags = Flags::of(call.dispatch);
    let [settings, groups, status, g, param, square_avg, momentum, grad_avg] = call.args else {
        unreachable!("eight bindings")
    };
    let all = p.len as usize;
    let given =
        [(param, true), (square_avg, true), (momentum, flags.momentum), (grad_avg, flags.centered)];
    let written =
        given.map(|(arg, is)| if is { &mut output(arg, p.start)[..all] } else { &mut [] });
    form((p.step(settings, groups, status), &input(g, p.start)[..all], written));
}

struct RmsProp;

impl Update<4> for RmsProp {
    #[inline(always)]
    fn step<R: Real>((step, g, written): UpdateShare<'_, R, 4>) {
        let [p, square_avg, momentum, grad_avg] = written;
        let momentum = Some(momentum).filter(|all| !all.is_empty());
        let grad_avg = Some(grad_avg).filter(|all| !all.is_empty());
        reference::rmsprop(&step, g, p, &mut RmsPropStates { square_avg, momentum, grad_avg });
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, RmsProp::step);
}

#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    with(call, super::update_shares::<RmsProp, 4>);
}

/// The largest term of a momentum, or change of a parameter or of an average of gradients.
fn scale(call: Call<'_, '_, f64>) -> f64 {
    let p: Params = call.params();
    let flags = Flags::of(call.dispatch);
    let mut after: Vec<Vec<f64>> = call.args.iter().map(|arg| input(arg, 0).to_vec()).collect();
    let (given, written) = after.split_at_mut(4);
    let given = given.iter().map(|values| Arg::Read(values.as_slice()));
    let written = written.iter_mut().map(|values| Arg::Write(values.as_mut_slice()));
    let mut args: Vec<Arg<'_, f64>> = given.chain(written).collect();
    twin(Call { dispatch: call.dispatch, args: &mut args });
    let largest = |binding: usize, of: fn(f64, f64) -> f64| {
        let before = input(&call.args[binding], p.start).iter();
        let after = &after[binding][p.start as usize..];
        before.zip(after).take(p.len as usize).fold(0.0f64, |most, (&b, &a)| most.max(of(b, a)))
    };
    let change = |before: f64, after: f64| (after - before).abs();
    let mut terms = vec![largest(4, change)];
    if flags.momentum {
        terms.push(largest(6, |before, after| before.abs().max(after.abs())));
    }
    if flags.centered {
        terms.push(largest(7, change));
    }
    terms.into_iter().fold(0.0, f64::max)
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "rmsprop",
        bindings: const {
            &[
                read("settings", "[G, 16]"),
                read("groups", "[ceil(N / 64)]"),
                read("status", "[16]"),
                read("g", "[N]"),
                write("p", "[N]"),
                write("square_avg", "[N]"),
                write("momentum", "[N]"),
                write("grad_avg", "[N]"),
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
                include_str!("../../shaders/rmsprop.wgsl")
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
        // As `OPTIMIZER`, but terms may cancel, and what is left has their error: the absolute
        // part is for a term of 1.
        tolerance: |_| Tolerance::Mixed { absolute: 2e-6, relative: 2e-6 },
    }
}
