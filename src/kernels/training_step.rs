//! Host side of `training_step`.

use super::cell::cell_shaders;
use super::gradient_norm::CHUNK;
use super::{TRAINING_STEP, flag, input, output, read, write};
use crate::command::{Call, Dispatch, Kernel, Range, Variant, params};
use crate::reference::{self, Pointwise, Real, Tolerance, TrainingStep};

params! {
    /// The block of constants; weights of the layer, states, predictions and their gradients start at
    /// quads.
    pub struct Params {
        /// Timesteps `T`.
        pub steps: u32,
        /// Rows `B`.
        pub batch: u32,
        /// Input features `I`.
        pub input: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Numbers `O` of a prediction.
        pub outputs: u32,
        /// 1 where there is a prediction at every timestep.
        pub every: u32,
        /// Elements of a flat buffer.
        pub len: u32,
        /// Elements from one timestep of the input to the next.
        pub x_step: u32,
        /// Elements from one row of the input to the next.
        pub x_row: u32,
        /// Where the targets start in what is fed.
        pub target_start: u32,
        /// Where the loss's scale is.
        pub scale_start: u32,
        /// Where the scalars start.
        pub scalars_start: u32,
        /// Where the settings start.
        pub settings_start: u32,
        /// Where the input's weights start.
        pub w: u32,
        /// Where the recurrent weights start.
        pub u: u32,
        /// Where the first bias starts.
        pub bias_ih: u32,
        /// Where the second bias starts.
        pub bias_hh: u32,
        /// Where the head's weight starts, in elements.
        pub head_weight: u32,
        /// Where the head's bias starts, in elements.
        pub head_bias: u32,
        /// Where the states start in the scratch buffer.
        pub states: u32,
        /// Where the predictions start in it.
        pub y: u32,
        /// Where their gradients start in it.
        pub dy: u32,
        /// Where the loss becomes straight.
        pub threshold: f32,
    }
}

/// Invocations of a workgroup, in the order of the variants.
pub const LANES: [usize; 3] = [8, 64, 256];

/// What a step is, and where its parts lie.
pub type Shape = TrainingStep;

/// The buffers of a step, each bound whole.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// What is fed, as [`Shape::fed_len`] says.
    pub fed: Range,
    /// Parameters.
    pub params: Range,
    /// Gradients.
    pub grads: Range,
    /// First moments.
    pub m: Range,
    /// Second moments.
    pub v: Range,
    /// `[16]`: what is said of the step, see [`reference::status`].
    pub status: Range,
    /// `[1]`.
    pub loss: Range,
    /// As [`Shape::scratch_len`] says.
    pub scratch: Range,
}

/// A step in one workgroup of `LANES[variant]` invocations.
pub fn dispatch(step: &Shape, variant: usize, at: &Operands) -> Dispatch {
    let (kind, threshold) = step.loss.code();
    let (element, quad) = (|v: usize| v as u32, |v: usize| (v / 4) as u32);
    let [target, scale, scalars, settings] = step.fed();
    let [states, y, dy, _] = step.scratch();
    let bias = |i: usize| quad(step.biases.get(i).copied().unwrap_or(0));
    let head = step.head.unwrap_or_default();
    let params = Params {
        steps: element(step.steps),
        batch: element(step.batch),
        input: element(step.input),
        hidden: element(step.hidden),
        outputs: element(step.outputs),
        every: step.every.into(),
        len: element(step.len),
        x_step: element(step.x.step),
        x_row: element(step.x.row),
        target_start: element(target),
        scale_start: element(scale),
        scalars_start: element(scalars),
        settings_start: element(settings),
        w: quad(step.w),
        u: quad(step.u),
        bias_ih: bias(0),
        bias_hh: bias(1),
        head_weight: element(head.0),
        head_bias: element(head.1),
        states: quad(states),
        y: quad(y),
        dy: quad(dy),
        threshold,
    };
    Dispatch {
        kernel: TRAINING_STEP,
        variant,
        constants: vec![
            ("KIND", kind.into()),
            ("LINEAR", flag(step.head.is_some())),
            ("NORM", flag(step.norm)),
            ("BIASES", step.biases.len() as f64),
        ],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![at.fed, at.params, at.grads, at.m, at.v, at.status, at.loss, at.scratch],
        grid: [1, 1, 1],
    }
}

/// About the most loop iterations of an invocation among so many, the tests that end loops included.
pub fn iterations(step: &Shape, lanes: usize) -> usize {
    let TrainingStep { steps, batch, input, hidden, outputs, .. } = *step;
    let each = |items: usize| items.div_ceil(lanes) + 1;
    let rows = step.predictions() / outputs;
    let head = if step.head.is_some() { hidden } else { 0 };
    let forward = each(batch * hidden) * (input + hidden + 3) + 1;
    let backward = each(batch * hidden) * (hidden + outputs + 3) + 1;
    let layer = each((input + hidden + 1) * hidden) * (steps * (batch + 2) + 2);
    let predictions = each(step.predictions().div_ceil(4)) * (4 * (head + 2) + 1);
    let of_head = match step.head {
        None => 0,
        Some(_) => {
            let quads = each((outputs * hidden).div_ceil(4)) + each(outputs.div_ceil(4));
            quads * (4 * (rows + 2) + 1)
        }
    };
    // The trees of two sums.
    let others = each(batch * hidden) + each(step.len / 4) + 32;
    steps * (forward + backward) + layer + predictions + of_head + others
}

/// The step of a block of constants.
fn step_of(d: &Dispatch) -> Shape {
    let p: Params = bytemuck::pod_read_unaligned(&d.params);
    let (element, quad) = (|v: u32| v as usize, |v: u32| 4 * v as usize);
    let biases = [quad(p.bias_ih), quad(p.bias_hh)];
    let linear = d.constant("LINEAR") != flag(false);
    TrainingStep {
        steps: element(p.steps),
        batch: element(p.batch),
        input: element(p.input),
        hidden: element(p.hidden),
        outputs: element(p.outputs),
        every: p.every == 1,
        len: element(p.len),
        x: reference::Strides { step: element(p.x_step), row: element(p.x_row) },
        w: quad(p.w),
        u: quad(p.u),
        biases: biases[..d.constant("BIASES") as usize].to_vec(),
        head: linear.then(|| (element(p.head_weight), element(p.head_bias))),
        loss: Pointwise::of_code(d.constant("KIND") as u8, p.threshold),
        norm: d.constant("NORM") != flag(false),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let step = step_of(call.dispatch);
    let [fed, p, g, m, v, status, loss, scratch] = call.args else {
        unreachable!("eight bindings")
    };
    let buffers = reference::TrainingBuffers {
        params: output(p, 0),
        grads: output(g, 0),
        m: output(m, 0),
        v: output(v, 0),
        status: output(status, 0),
        loss: output(loss, 0),
        scratch: output(scratch, 0),
    };
    reference::training_step(&step, CHUNK, input(fed, 0), buffers);
}

/// What the results scale with: states are of the order of 1, gradients of the sum of those that come
/// back from the predictions.
fn scale(call: Call<'_, '_, f64>) -> f64 {
    let step = step_of(call.dispatch);
    let [fed, p, g, m, v, status, loss, scratch] = call.args else {
        unreachable!("eight bindings")
    };
    let copy = |arg| input(arg, 0).to_vec();
    let [mut p, mut g, mut m, mut v] = [p, g, m, v].map(|arg| copy(arg));
    let (mut status, mut loss, mut scratch) = (copy(status), copy(loss), copy(scratch));
    let buffers = reference::TrainingBuffers {
        params: &mut p,
        grads: &mut g,
        m: &mut m,
        v: &mut v,
        status: &mut status,
        loss: &mut loss,
        scratch: &mut scratch,
    };
    reference::training_step(&step, CHUNK, input(fed, 0), buffers);
    let [_, _, dy, _] = step.scratch();
    let sum: f64 = scratch[dy..][..step.predictions()].iter().map(|d| d.abs()).sum();
    sum.max(1.0)
}

/// A variant for each of [`LANES`].
fn variants() -> Vec<Variant> {
    let common = concat!(
        include_str!("../../shaders/common/finite.wgsl"),
        include_str!("../../shaders/common/status.wgsl"),
        include_str!("../../shaders/common/settings.wgsl"),
        cell_shaders!(),
        include_str!("../../shaders/common/pointwise.wgsl"),
        include_str!("../../shaders/common/clipping.wgsl"),
        include_str!("../../shaders/common/adam_step.wgsl"),
        include_str!("../../shaders/common/decide.wgsl"),
        include_str!("../../shaders/common/workgroup_sum.wgsl"),
        include_str!("../../shaders/training_step.wgsl")
    );
    let sized = |lanes: usize| {
        let source = format!("const SUM_LANES = {lanes}u;\n{common}");
        Variant::own(format!("{lanes} invocations"), source, [lanes as u32, 1, 1])
    };
    LANES.into_iter().map(sized).collect()
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "training_step",
        bindings: const {
            &[
                read("fed", "[all that is fed]"),
                write("p", "[N]"),
                write("g", "[N]"),
                write("m", "[N]"),
                write("v", "[N]"),
                write("status", "[16]"),
                write("loss", "[1]"),
                write("scratch", "gates, states, y, dy"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: variants(),
        work: Some(|d| step_of(d).work()),
        twin,
        twin_f64: twin,
        fast: None,
        scale: Some(scale),
        // Gradients through all timesteps, and what follows from them.
        tolerance: |_| Tolerance::SEQUENCE_GRADIENT,
    }
}
