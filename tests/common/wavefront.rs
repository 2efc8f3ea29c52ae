//! Stacks whose layers run one timestep behind one another: the kernels, and whole plans.

use gatefold::Device;
use gatefold::command::{Executor, Limits, Range};
use gatefold::kernels::{lstm_step_backward, lstm_step_forward};
use gatefold::lockstep::lockstep;
use gatefold::plan::{
    Bias, Head, ParameterTable, Plan, Readout, Sequences, StackShape, Tier, TrainingOptions,
};
use gatefold::reference::{Cell, Tolerance};

use super::kernels::{Launch, check_tiles, lengths, sizes};
use super::lstm::{Case, equals_the_reference, planned};
use super::models::count;
use super::random::{POISON, Random, gates, normal};
use super::{assert_close, wide};

/// Timesteps and layers of the stack that the kernels are checked with.
const STEPS: usize = 6;
const LAYERS: usize = 4;

/// The layers of a launch, and the timestep of the first.
#[derive(Clone, Copy, Debug)]
struct Front {
    layer: usize,
    layers: usize,
    t: usize,
}

impl Front {
    /// The `n`th launch of a forward pass over that stack.
    fn nth(n: usize) -> Front {
        let (layer, last) = (n.saturating_sub(STEPS - 1), n.min(LAYERS - 1));
        Front { layer, layers: last + 1 - layer, t: n - layer }
    }

    /// The layers and their timesteps.
    fn steps(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.layers).map(move |n| (self.layer + n, self.t - n))
    }
}

/// Where the recurrent weights, the input's weights and the biases of a layer are.
#[derive(Clone, Copy, Debug)]
struct Weights {
    u: usize,
    w: usize,
    biases: [Option<usize>; 2],
    p: usize,
}

/// The cell of a launch: every fourth has peepholes.
fn cell(flags: usize) -> Cell {
    Cell::new().peepholes(flags % 4 == 3)
}

/// Parameters of the stack with something between them: the first layer's recurrent weights, and those above.
fn weights(launch: &mut Launch, hidden: usize, biases: usize) -> (Range, Vec<Weights>) {
    let square = 4 * hidden * hidden;
    let std = 2.0 / (2.0 * hidden as f32).sqrt();
    let mut all = vec![POISON; 4];
    let mut put = |len: usize, seed: u64| {
        let start = all.len();
        all.extend(normal(len, std, seed));
        all.extend([POISON; 8]);
        start
    };
    let [u, p] = [(square, 1), (4 * hidden, 2)].map(|(len, seed)| put(len, seed));
    let mut layers = vec![Weights { u, w: 0, biases: [None; 2], p }];
    for l in 0..LAYERS as u64 - 1 {
        let [w, u] = [10, 11].map(|seed| put(square, 10 * l + seed));
        let [one, other] = [12, 13].map(|seed| put(4 * hidden, 10 * l + seed));
        let biases = [(biases > 0).then_some(one), (biases > 1).then_some(other)];
        let p = put(4 * hidden, 10 * l + 14);
        layers.push(Weights { u, w, biases, p });
    }
    (launch.buffer(all, 0).range, layers)
}

/// A buffer whose contents start behind something else.
fn behind(launch: &mut Launch, before: usize, contents: Vec<f32>) -> Range {
    launch.buffer([vec![POISON; before], contents].concat(), 0).range
}

/// Shapes, and of each some flags and a launch of the pass.
fn cases() -> impl Iterator<Item = (usize, usize, usize, Front)> {
    let all = |i: usize| {
        let (batch, hidden, _) = sizes(i);
        let some = (0..12).filter(move |flags| (flags + i) % 3 != 1);
        some.map(move |flags| {
            (batch, hidden, flags, Front::nth((i + 2 * flags) % (STEPS + LAYERS - 1)))
        })
    };
    (0..12).flat_map(all)
}

pub fn forward(device: &Device) {
    for (batch, hidden, flags, front) in cases() {
        let (padded, keep, biases) = (flags & 1 == 1 && batch > 1, flags & 2 == 2, flags / 4);
        let slot = batch * hidden;
        let mut launch = Launch::new();
        let (range, weights) = weights(&mut launch, hidden, biases);
        let layers = if keep { LAYERS } else { 1 };
        let gates = behind(&mut launch, 4, normal(4 * layers * STEPS * slot, 2.0, 61));
        let states = LAYERS * (STEPS + 1) * slot;
        let h = behind(&mut launch, 3, normal(states, 0.7, 62));
        let c = behind(&mut launch, 5, normal(states, 1.5, 63));
        let padding = lengths(&mut launch, batch, padded);
        let z = launch.poisoned(1).range;
        let at = |(l, t): (usize, usize)| {
            let state = (l * (STEPS + 1) + t) * slot;
            let Weights { u, w, biases, p } = weights[l];
            let x = (3 + state + slot).wrapping_sub((STEPS + 1) * slot);
            lstm_step_forward::At {
                t,
                u,
                gates: 4 + 4 * (l * STEPS + t) * slot,
                h_prev: 3 + state,
                h: 3 + state + slot,
                c_prev: 5 + state,
                c: 5 + state + slot,
                z: None,
                input: (l > 0).then_some(lstm_step_forward::InputAt { x, w, biases }),
                p,
                place: 0,
            }
        };
        let at: Vec<_> = front.steps().map(at).collect();
        let (cell, terms) = (cell(flags), hidden);
        let shape = lstm_step_forward::Shape {
            cell,
            key: None,
            batch,
            hidden,
            terms,
            h_row: hidden,
            masked: 0,
        };
        let bound = lstm_step_forward::Bindings { u: range, gates, h, c, z, p: None };
        let dispatch = lstm_step_forward::dispatch(&shape, &bound, &at, keep, padding);
        let what = format!("B = {batch}, H = {hidden}, flags {flags}, {front:?}");
        check_tiles(device, launch, dispatch, lstm_step_forward::with_tile, what);
    }
}

pub fn backward(device: &Device) {
    for (batch, hidden, flags, front) in cases() {
        let padded = flags & 1 == 1;
        let slot = batch * hidden;
        let mut launch = Launch::new();
        let (range, weights) = weights(&mut launch, hidden, 0);
        // Activated gates at the layers' timesteps, gradients elsewhere.
        let mut all = normal(4 * LAYERS * STEPS * slot, 0.5, 61);
        for n in 0..front.layers {
            let start = 4 * ((front.layer + n) * STEPS + front.t - n) * slot;
            all[start..][..4 * slot].copy_from_slice(&gates(4 * slot, 70 + n as u64));
        }
        let gates = behind(&mut launch, 4, all);
        let c = behind(&mut launch, 5, normal(LAYERS * (STEPS + 1) * slot, 1.0, 62));
        let dy = behind(&mut launch, 1, normal(STEPS * slot, 1.0, 63));
        let dc = behind(&mut launch, 2, normal(LAYERS * slot, 1.0, 64));
        let padding = lengths(&mut launch, batch, padded);
        let at = |(l, t): (usize, usize)| {
            let own = 4 + 4 * (l * STEPS + t) * slot;
            let state = 5 + (l * (STEPS + 1) + t) * slot;
            lstm_step_backward::At {
                t,
                w: weights[l].u,
                gates: own,
                incoming: (t + 1 < STEPS).then_some(own + 4 * slot),
                c_prev: state,
                c: state + slot,
                dy: (l + 1 == LAYERS).then_some(1 + t * slot),
                dc: 2 + l * slot,
                above: (weights.get(l + 1)).map(|above| lstm_step_backward::AboveAt {
                    gates: own + 4 * STEPS * slot,
                    w: above.w,
                }),
                p: weights[l].p,
                place: 0,
            }
        };
        let at: Vec<_> = front.steps().map(at).collect();
        let (cell, terms, dy) = (cell(flags), hidden, Some(dy));
        let shape = lstm_step_backward::Shape {
            cell,
            key: None,
            batch,
            hidden,
            dy_row: hidden,
            terms,
            zoned: 0,
        };
        let bound = lstm_step_backward::Bindings { w: range, c, dy, dh: None, gates, dc, p: None };
        let dispatch = lstm_step_backward::dispatch(&shape, &bound, &at, padding);
        let what = format!("B = {batch}, H = {hidden}, flags {flags}, {front:?}");
        check_tiles(device, launch, dispatch, lstm_step_backward::with_tile, what);
    }
}

/// The `i`th of a random series of stacks that can be a wavefront.
fn stack(i: u64) -> Case {
    let case = Case::random(300 + i);
    let mut r = Random::new(300 + i);
    let (steps, batch) = (r.below(7) + 1, r.below(9) + 1);
    let lengths = (0..batch).map(|_| r.below(steps + 1)).collect();
    Case {
        layers: 2 + r.below(3),
        hidden: 5 + r.below(36),
        proj_size: 0,
        bidirectional: false,
        dropout: 0.0,
        steps,
        batch,
        lengths: r.coin().then_some(lengths),
        ..case
    }
}

fn limits(device: &Device, tier: Tier) -> Limits {
    Limits { tier: Some(tier), ..device.limits() }
}

/// Whether the device has wavefronts; the CPU refuses them.
fn has_wavefronts(device: &Device) -> bool {
    let shape = StackShape { layers: 2, ..StackShape::lstm(3, 5) };
    let limits = limits(device, Tier::Wavefront);
    let gpu = limits.executor == Executor::Gpu;
    assert_eq!(Plan::forward(&shape, &Sequences::new(2, 2), &limits).is_ok(), gpu);
    gpu
}

type Inputs = Vec<(&'static str, Vec<f32>)>;

/// A training step without an update, and what it is fed with.
fn training(case: &Case, (head, readout): (Head, Readout), limits: &Limits) -> (Plan, Inputs) {
    let shape = StackShape {
        layers: case.layers,
        bias: case.bias,
        learned_state: case.learned_state,
        head,
        readout,
        ..StackShape::lstm(case.input, case.hidden)
    };
    let (steps, batch) = (case.steps, case.batch);
    let sequences = Sequences {
        lengths: case.lengths.is_some(),
        batch_first: case.batch_first,
        state: case.state,
        ..Sequences::new(steps, batch)
    };
    let options = TrainingOptions { input_gradient: true, ..Default::default() };
    let plan = Plan::training(&shape, &sequences, &options, limits).unwrap();
    let table = ParameterTable::new(&shape);
    let mut params = vec![0.0; table.len];
    for (i, entry) in table.entries.iter().enumerate() {
        let std = 2.0 / (entry.shape.last().copied().unwrap_or(1) as f32).sqrt();
        let values = entry.from_pytorch(&normal(entry.numel(), std, i as u64));
        params[entry.start..][..entry.len].copy_from_slice(&values);
    }
    let mut feed = normal(steps * batch * case.input, 2.0, 50);
    feed.extend(case.lengths.iter().flatten().map(|&length| length as f32));
    feed.extend(normal(shape.predictions(steps) * batch * shape.outputs(), 1.0, 51));
    feed.push(1.0 / batch as f32);
    let mut inputs = vec![("params", params), ("feed", feed)];
    if case.state {
        let state = case.layers * batch * case.hidden;
        inputs.extend([("h_0", normal(state, 0.7, 52)), ("c_0", normal(state, 1.0, 53))]);
    }
    (plan, inputs)
}

/// What a plan's buffers hold after a run, and its outputs.
fn results(device: &Device, plan: &Plan, inputs: &Inputs, names: &[&str]) -> Vec<Vec<f32>> {
    let session = device.session(&plan.program).unwrap();
    for (name, values) in inputs {
        session.write(name, values).unwrap();
    }
    session.run().unwrap();
    let mut all: Vec<Vec<f32>> = names.iter().map(|name| session.read(name).unwrap()).collect();
    let buffer = &plan.program.spec(plan.output.buffer).name;
    all.push(session.read(buffer).unwrap()[plan.output.start..][..plan.output.len].to_vec());
    all
}

/// Each command of a wavefront beside its twin, and its results beside those of layers one after the other.
fn agrees(
    device: &Device,
    case: &Case,
    names: &[&str],
    planned: impl Fn(&Limits) -> (Plan, Inputs),
) -> Plan {
    let (plan, inputs) = planned(&limits(device, Tier::Wavefront));
    assert_eq!(plan.tier, Tier::Wavefront);
    assert_eq!(count(&plan, "lstm_step_forward"), case.steps + case.layers - 1);
    let slices: Vec<(&str, &[f32])> =
        inputs.iter().map(|(name, values)| (*name, values.as_slice())).collect();
    let checks = lockstep(device, &plan.program, &slices)
        .unwrap_or_else(|e| panic!("{case:?}: {e}\n{plan}"));
    assert_eq!(checks.len(), plan.program.commands.len());

    let (steps, same) = planned(&limits(device, Tier::Step));
    assert_eq!((steps.tier, &same), (Tier::Step, &inputs));
    let (got, want) =
        (results(device, &plan, &inputs, names), results(device, &steps, &same, names));
    for ((got, want), name) in got.iter().zip(&want).zip(names.iter().chain(&["outputs"])) {
        let want = wide(want);
        let tolerance = match *name {
            "h_n" | "c_n" | "outputs" => Tolerance::OUTPUT,
            "loss" => Tolerance::LOSS,
            _ => Tolerance::gradient(&want),
        };
        assert_close(&format!("{name} of {case:?}"), got, &want, tolerance);
    }
    plan
}

/// Training steps of random stacks under every head.
pub fn training_steps(device: &Device) {
    if !has_wavefronts(device) {
        return;
    }
    for i in 0..24 {
        let case = stack(i);
        let heads = [Head::Linear(3), Head::Linear(2), Head::Identity];
        let head = (heads[i as usize % 3].clone(), Readout::ALL[i as usize % 5]);
        let names = ["grads", "dx_0", "dh_0", "dc_0", "loss"];
        let plan = agrees(device, &case, &names, |limits| training(&case, head.clone(), limits));
        assert_eq!(count(&plan, "lstm_step_backward"), case.steps + case.layers - 1);
    }
}

/// Stacks without a head, whose backward pass is by steps: beside those that are all by steps, and beside
/// the reference.
pub fn stacks_equal_the_reference(device: &Device) {
    if !has_wavefronts(device) {
        return;
    }
    let wavefront = device.clone().with_tier(Tier::Wavefront);
    for i in 0..12 {
        let case = stack(100 + i);
        let names = ["grads", "dx_0", "dh_0", "dc_0", "h_n", "c_n"];
        let plan = agrees(device, &case, &names, |limits| planned(&case, limits));
        assert_eq!(count(&plan, "lstm_step_backward"), case.layers * case.steps);
        equals_the_reference(&wavefront, case);
    }
    // Of inference no gates are kept: its plan has those of the first layer alone.
    let shape = StackShape { layers: 3, bias: Bias::Single, ..StackShape::lstm(4, 18) };
    let sequences = Sequences::new(5, 7).with_lengths();
    let plan = Plan::forward(&shape, &sequences, &limits(device, Tier::Wavefront)).unwrap();
    let gates = plan.program.buffer("gates").unwrap();
    assert_eq!(plan.program.spec(gates).len, 5 * 7 * 18 * 4);
    let params = normal(ParameterTable::new(&shape).len, 0.3, 1);
    let (x, lengths) = (normal(5 * 7 * 4, 1.0, 2), [5.0, 0.0, 3.0, 5.0, 1.0, 2.0, 4.0]);
    let inputs: [(&str, &[f32]); 3] = [("params", &params), ("x", &x), ("lengths", &lengths)];
    lockstep(device, &plan.program, &inputs).unwrap_or_else(|e| panic!("{e}\n{plan}"));
}
