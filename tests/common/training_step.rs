//! The kernel that is a whole training step.

use gatefold::command::{Dispatch, Executor, Limits, Tier};
use gatefold::kernels::training_step::{LANES, Operands, Shape, dispatch, iterations};
use gatefold::lockstep::lockstep;
use gatefold::plan::{
    Bias, Head, Objective, ParameterTable, Plan, Readout, Sequences, StackShape, TrainingOptions,
    Update,
};
use gatefold::reference::{
    AdamSettings, CommonSettings, Pointwise, Strides, Tolerance, kind, policy, scalars, status,
};
use gatefold::train::{Adam, Optimizer};
use gatefold::{Device, Error};

use super::kernels::Launch;
use super::random::normal;
use super::{assert_close, wide};

const LOSSES: [Pointwise; 5] = [
    Pointwise::Squared,
    Pointwise::Absolute,
    Pointwise::Huber { delta: 0.7 },
    Pointwise::SmoothAbsolute { beta: 0.3 },
    Pointwise::BinaryLogits,
];

/// The positions of the buffers that [`Case::launch`] makes.
const P: u32 = 1;
const G: u32 = 2;
const M: u32 = 3;
const V: u32 = 4;
const STATUS: u32 = 5;
const LOSS: u32 = 6;

/// A step and what the host says to it.
struct Case {
    step: Shape,
    max_norm: f32,
    policy: f32,
    status: [f32; status::LEN],
}

impl Case {
    /// Tensors on multiples of 64, the head's bias right behind its weight.
    fn new(i: usize, [steps, batch, input, hidden]: [usize; 4]) -> Case {
        let mut len = 0;
        let mut place = |elements: usize| {
            let start = len;
            len = (len + elements).next_multiple_of(64);
            start
        };
        let (w, u) = (place(4 * input * hidden), place(4 * hidden * hidden));
        let biases = (0..i % 3).map(|_| place(4 * hidden)).collect();
        let outputs = if i.is_multiple_of(4) { hidden } else { 1 + i % 5 };
        let head = (!i.is_multiple_of(4)).then(|| (place(outputs * hidden), place(outputs)));
        let x = match i % 2 {
            0 => Strides::time_major(batch, input),
            _ => Strides::batch_first(steps, input),
        };
        let step = Shape {
            steps,
            batch,
            input,
            hidden,
            outputs,
            every: i % 5 > 2,
            len,
            x,
            w,
            u,
            biases,
            head,
            loss: LOSSES[i % LOSSES.len()],
            norm: !i.is_multiple_of(6),
        };
        let mut said = [0.0; status::LEN];
        (said[status::SCALE], said[status::APPLY]) = (0.5, 1.0);
        let max_norm = if i.is_multiple_of(2) { f32::MAX } else { 0.1 };
        let policy = [policy::ERROR, policy::SKIP, policy::PASS][i % 3];
        Case { step, max_norm, policy, status: said }
    }

    fn launch(&self, variant: usize) -> (Launch, Dispatch) {
        let step = &self.step;
        let mut fed = normal(step.fed_len(), 1.0, 1);
        let [target, scale, scalars, settings] = step.fed();
        if step.loss == Pointwise::BinaryLogits {
            fed[target..scale].iter_mut().for_each(|v| *v = (0.3 * *v + 0.5).clamp(0.0, 1.0));
        }
        fed[scale] = 1.0 / step.predictions() as f32;
        fed[scalars + scalars::MAX_NORM] = self.max_norm;
        fed[scalars + scalars::POLICY] = self.policy;
        let common = CommonSettings { weight_decay: 0.1, keep: 0.99, ..CommonSettings::new(0.02) };
        let adam = AdamSettings {
            common: CommonSettings { clip_value: 0.5, ..common },
            one_minus_beta1: 0.1,
            beta2: 0.99,
            one_minus_beta2: 0.01,
            eps: 1e-8,
            root_correction: 0.3,
        };
        fed[settings..].copy_from_slice(&adam.row());
        // Padding is zero.
        let mut real = vec![false; step.len];
        let (input, hidden, outputs) = (step.input, step.hidden, step.outputs);
        let mut tensors = vec![(step.w, 4 * input * hidden), (step.u, 4 * hidden * hidden)];
        tensors.extend(step.biases.iter().map(|&bias| (bias, 4 * hidden)));
        if let Some((weight, bias)) = step.head {
            tensors.extend([(weight, outputs * hidden), (bias, outputs)]);
        }
        tensors.into_iter().for_each(|(start, len)| real[start..][..len].fill(true));
        let flat = |std: f32, seed: u64| -> Vec<f32> {
            let values = normal(step.len, std, seed);
            values.iter().zip(&real).map(|(v, real)| if *real { *v } else { 0.0 }).collect()
        };
        let mut launch = Launch::new();
        let weights = 1.5 / ((input + hidden) as f32).sqrt();
        let second = flat(1.0, 5).into_iter().map(|v| if v == 0.0 { 0.0 } else { 0.2 + v.abs() });
        let operands = Operands {
            fed: launch.buffer(fed, 0).range,
            params: launch.buffer(flat(weights, 2), 0).range,
            grads: launch.buffer(flat(1e3, 3), 0).range,
            m: launch.buffer(flat(0.1, 4), 0).range,
            v: launch.buffer(second.collect(), 0).range,
            status: launch.buffer(self.status.to_vec(), 0).range,
            loss: launch.poisoned(1).range,
            scratch: launch.poisoned(step.scratch_len()).range,
        };
        let dispatch = dispatch(step, variant, &operands);
        (launch, dispatch)
    }
}

pub fn training_step(device: &Device) {
    // T, B, I, H: among them more items than invocations, for the smallest workgroups.
    let shapes = [
        [4, 1, 1, 1],
        [1, 1, 1, 1],
        [3, 5, 2, 7],
        [10, 16, 5, 8],
        [2, 33, 3, 9],
        [17, 2, 31, 3],
        [5, 3, 1, 33],
        [2, 1, 3, 50],
    ];
    // A module is compiled for nearly every case.
    for i in 0..20 {
        let case = Case::new(i, shapes[i * 3 % shapes.len()]);
        let variant = (i + i / 6) % LANES.len();
        let (launch, dispatch) = case.launch(variant);
        let what = format!("case {i}, {} invocations, {:?}", LANES[variant], case.step);
        launch.check(device, dispatch, what);
    }
    // As many loop iterations as llvmpipe lets an invocation run, nearly.
    let case = Case::new(3, [580, 1, 1, 8]);
    let counted = iterations(&case.step, LANES[0]);
    assert!((60_000..=65_535).contains(&counted), "{counted} iterations");
    let (launch, dispatch) = case.launch(0);
    launch.check(device, dispatch, "a long loop".to_owned());
    for variant in 0..LANES.len() {
        leaves_alone(device, variant);
        names_what_is_bad(device, variant);
    }
}

/// Under a status that says that the run has halted nothing changes but the count, gradients and the loss;
/// without the norm, neither does the status.
fn leaves_alone(device: &Device, variant: usize) {
    for norm in [false, true] {
        let mut case = Case::new(3, [3, 2, 2, 5]);
        case.step.norm = norm;
        case.policy = policy::ERROR;
        (case.status[status::APPLY], case.status[status::HALTED]) = (0.0, 1.0);
        case.status[status::SINCE] = 4.0;
        let run = |buffer: u32| {
            let (launch, dispatch) = case.launch(variant);
            (launch.contents[buffer as usize].clone(), launch.run(device, dispatch, buffer))
        };
        for buffer in [P, M, V] {
            let (before, after) = run(buffer);
            assert_eq!(before, after, "buffer {buffer}, norm {norm}");
        }
        for buffer in [G, LOSS] {
            let (before, after) = run(buffer);
            assert_ne!(before, after, "buffer {buffer}, norm {norm}");
        }
        let (_, said) = run(STATUS);
        assert_eq!(said[status::SINCE], if norm { 5.0 } else { 4.0 });
    }
}

/// A loss or a gradient that isn't finite is found, and the step is left out, or not.
fn names_what_is_bad(device: &Device, variant: usize) {
    // A gradient overflows under a finite loss; an input that is NaN reaches the loss.
    for (bad_loss, skip) in [(true, true), (false, true), (true, false), (false, false)] {
        let mut case = Case::new(1, [3, 2, 2, 5]);
        case.policy = if skip { policy::SKIP } else { policy::PASS };
        case.step.loss = Pointwise::Squared;
        let run = |buffer: u32| {
            let (mut launch, dispatch) = case.launch(variant);
            match bad_loss {
                true => launch.contents[0][0] = f32::NAN,
                // Gates are saturated, and their gradient isn't zero times this.
                false => launch.contents[0][0] = f32::INFINITY,
            }
            (launch.contents[buffer as usize].clone(), launch.run(device, dispatch, buffer))
        };
        let (_, said) = run(STATUS);
        let (before, after) = run(P);
        let (_, loss) = run(LOSS);
        assert_eq!(loss[0].is_nan(), bad_loss, "{loss:?}");
        if skip {
            let (_, grads) = run(G);
            let first = grads.iter().position(|g| !g.is_finite()).unwrap();
            let found = if bad_loss { (kind::LOSS, 0) } else { (kind::GRADIENT, first) };
            assert_eq!((said[status::KIND], said[status::OFFSET] as usize), found);
            assert_eq!((said[status::APPLY], said[status::SKIPPED]), (0.0, 1.0));
            assert_eq!(before, after);
        } else {
            assert_eq!(said[status::APPLY], 1.0);
            assert!(after.iter().any(|p| p.is_nan()));
        }
    }
}

/// A training step in one launch ends with what the usual launches end with, and each of its commands is
/// right; where plans are for the CPU, it is refused.
pub fn one_launch_equals_many(device: &Device) {
    let heads = [
        (Head::Identity, Readout::FinalStates),
        (Head::Linear(3), Readout::LastOutput),
        (Head::Linear(2), Readout::EveryStep),
    ];
    for (i, bias) in [Bias::None, Bias::Single, Bias::Double].into_iter().enumerate() {
        for (j, (head, readout)) in heads.clone().into_iter().enumerate() {
            let (steps, batch, hidden) = (2 + i, 1 + 2 * j, 5 - i);
            let shape = StackShape { bias, head, readout, ..StackShape::lstm(3, hidden) };
            let every = shape.every_step();
            let call = Sequences { batch_first: i == 1 && !every, ..Sequences::new(steps, batch) };
            let adam = Optimizer::from(Adam::new(0.01));
            let update = Update { norm: (i + j) % 3 > 0, ..adam.update() };
            let objective = Objective::Pointwise(LOSSES[(i + j) % LOSSES.len()]);
            let update = Some(update);
            let options = TrainingOptions { update, objective, ..Default::default() };
            let plan = |tier| {
                let limits = Limits { tier: Some(tier), ..device.limits() };
                Plan::training(&shape, &call, &options, &limits)
            };
            if device.limits().executor == Executor::Cpu {
                assert!(matches!(plan(Tier::Fused), Err(Error::Value { .. })));
                continue;
            }
            let (fused, step) = (plan(Tier::Fused).unwrap(), plan(Tier::Step).unwrap());
            assert_eq!(fused.program.dispatches().count(), 1);
            let table = ParameterTable::new(&shape);
            let mut params = vec![0.0; table.len];
            let mut second = params.clone();
            for entry in &table.entries {
                let range = entry.start..entry.start + entry.len;
                params[range.clone()].copy_from_slice(&normal(entry.len, 1.0, entry.start as u64));
                second[range].fill(0.1);
            }
            let predictions = shape.predictions(steps) * batch * shape.outputs();
            let mut feed = normal(steps * batch * 3, 1.0, 50);
            feed.extend(normal(predictions, 1.0, 51).iter().map(|v| v.abs().min(1.0)));
            feed.push(1.0 / predictions as f32);
            feed.extend(adam.step_values(4));
            let mut said = [0.0; status::LEN];
            (said[status::SCALE], said[status::APPLY]) = (1.0, 1.0);
            let inputs: [(&str, &[f32]); 4] =
                [("params", &params), ("moment_1", &second), ("feed", &feed), ("status", &said)];
            lockstep(device, &fused.program, &inputs).unwrap_or_else(|e| panic!("{e}"));
            let run = |plan: &Plan| {
                let session = device.session(&plan.program).unwrap();
                inputs.iter().for_each(|(name, values)| session.write(name, values).unwrap());
                session.run().unwrap();
                let names = ["loss", "losses", "grads", "params", "moment_0", "moment_1", "status"];
                let mut read: Vec<Vec<f32>> =
                    names.iter().map(|name| session.read(name).unwrap()).collect();
                let y = &session.read(&plan.program.spec(plan.output.buffer).name).unwrap();
                read.push(y[plan.output.start..][..plan.output.len].to_vec());
                read
            };
            for (got, want) in run(&fused).iter().zip(run(&step)) {
                let what = format!("{shape:?}, {call:?}");
                assert_close(&what, got, &wide(&want), Tolerance::OUTPUT);
            }
        }
    }
}
