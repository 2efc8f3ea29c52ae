//! Whole models against the f64 reference, and what the executors promise.

use gatefold::command::{Arg, Call, Limits, Operation};
use gatefold::lockstep::lockstep;
use gatefold::plan::{
    Bias, Head, ParameterTable, Plan, Sequences, StackShape, Tier, TrainingOptions, Update,
};
use gatefold::reference::Tolerance;
use gatefold::reference::sequence::{self, Batch, Gradients, LayerGradients, LayerWeights};
use gatefold::train::{Adam, Loss, Optimizer, Trainer, gradients};
use gatefold::{
    Array, Cell, Dataset, Device, Error, Forecaster, Init, Linear, Lstm, LstmConfig, LstmState,
    Readout, Tensor,
};

use super::random::normal;
use super::{assert_close, wide};

/// The layers of a state dict in the reference's form: as many, and in as many directions, as there
/// are tensors for.
pub fn stack(dict: &[(String, Array)], prefix: &str, cell: Cell) -> Vec<Vec<LayerWeights<f64>>> {
    let direction = |l: usize, suffix: &str| {
        let find = |kind: &str| {
            let name = format!("{prefix}{kind}_l{l}{suffix}");
            dict.iter().find(|(n, _)| *n == name).map(|(_, array)| array)
        };
        let weight_ih = find("weight_ih")?;
        let [rows, input] = *weight_ih.shape() else { panic!("weight_ih [4H, I]") };
        let bias = |kind: &str| find(kind).map_or(vec![0.0; rows], |array| wide(array.data()));
        Some(LayerWeights {
            input,
            hidden: rows / 4,
            weight_ih: wide(weight_ih.data()),
            weight_hh: wide(find("weight_hh").unwrap().data()),
            bias: bias("bias_ih").iter().zip(&bias("bias_hh")).map(|(a, b)| a + b).collect(),
            weight_hr: find("weight_hr").map_or(Vec::new(), |array| wide(array.data())),
            weight_peephole: find("weight_peephole").map_or(Vec::new(), |a| wide(a.data())),
            cell,
        })
    };
    let layer = |l| -> Vec<LayerWeights<f64>> {
        ["", "_reverse"].iter().filter_map(|suffix| direction(l, suffix)).collect()
    };
    (0..).map(layer).take_while(|directions| !directions.is_empty()).collect()
}

/// The gradient of a parameter of that name in the reference's.
pub fn gradient_of<'a>(
    layers: &'a [Vec<LayerGradients<f64>>],
    prefix: &str,
    name: &str,
) -> &'a [f64] {
    let name = name.strip_prefix(prefix).unwrap();
    let (name, direction) = match name.strip_suffix("_reverse") {
        Some(name) => (name, 1),
        None => (name, 0),
    };
    let (kind, layer) = name.rsplit_once("_l").unwrap();
    let gradients = &layers[layer.parse::<usize>().unwrap()][direction];
    match kind {
        "weight_ih" => &gradients.weight_ih,
        "weight_hh" => &gradients.weight_hh,
        "weight_hr" => &gradients.weight_hr,
        "weight_peephole" => &gradients.weight_peephole,
        "bias_ih" | "bias_hh" => &gradients.bias,
        other => panic!("{other} has no gradient in the reference"),
    }
}

/// T, B, I, H, L: all different, at and beyond the tiles.
const STACKS: [(usize, usize, usize, usize, usize); 6] = [
    (1, 1, 1, 1, 1),
    (4, 2, 3, 5, 1),
    (9, 17, 2, 33, 2),
    (3, 65, 7, 16, 1),
    (5, 1, 65, 66, 3),
    (12, 3, 1, 50, 2),
];

fn config(input: usize, hidden: usize, layers: usize, bias: Bias) -> LstmConfig {
    let spread = 2.0 / ((input + hidden) as f32).sqrt();
    let config = LstmConfig::new(input, hidden).layers(layers).bias(bias).seed(3);
    config.init("lstm", Init::Normal { mean: 0.0, std: spread })
}

/// Outputs and final states, from given initial states.
pub fn stacks_equal_the_reference(device: &Device) {
    for (i, (steps, batch, input, hidden, count)) in STACKS.into_iter().enumerate() {
        let bias = [Bias::Double, Bias::Single, Bias::None][i % 3];
        let init = Init::Normal { mean: 0.0, std: 2.0 / ((input + hidden) as f32).sqrt() };
        let config = LstmConfig::new(input, hidden).layers(count).bias(bias).init("weight", init);
        let lstm = Lstm::new(device, config).unwrap();
        let (x, h_0, c_0) = (
            normal(steps * batch * input, 2.0, 1),
            normal(count * batch * hidden, 0.7, 2),
            normal(count * batch * hidden, 1.0, 3),
        );
        let tensor =
            |data: &[f32], shape: &[usize]| Tensor::from_slice(device, data, shape).unwrap();
        let state = [count, batch, hidden];
        let state = LstmState { h: tensor(&h_0, &state), c: tensor(&c_0, &state) };
        let (y, last) = lstm.forward(&tensor(&x, &[steps, batch, input]), Some(&state)).unwrap();
        // Twice, so that a session's second run starts from its own initial states.
        let (again, _) = lstm.forward(&tensor(&x, &[steps, batch, input]), Some(&state)).unwrap();
        assert_eq!(y.to_vec().unwrap(), again.to_vec().unwrap());

        let weights = stack(&lstm.state_dict().unwrap(), "", Cell::new());
        let rows = Batch::of(batch);
        let trace = sequence::forward(&weights, &rows, &wide(&x), &wide(&h_0), &wide(&c_0));
        assert_close("y", &y.to_vec().unwrap(), &trace.y, Tolerance::OUTPUT);
        assert_close("h_n", &last.h.to_vec().unwrap(), &trace.h_n, Tolerance::OUTPUT);
        assert_close("c_n", &last.c.to_vec().unwrap(), &trace.c_n, Tolerance::OUTPUT);
    }
}

/// The loss of a forecaster with a linear head, and every gradient, by the reference.
struct Expected {
    loss: f64,
    weight: Vec<f64>,
    bias: Vec<f64>,
    lstm: Gradients<f64>,
}

/// `x` is `[B, T, I]`, `target` `[B, O]`.
fn expected(
    dict: &[(String, Array)],
    (steps, batch, input): (usize, usize, usize),
    x: &[f32],
    target: &[f32],
    masks: &[Vec<f64>],
) -> Expected {
    let weights = stack(dict, "lstm.", Cell::new());
    let tensor =
        |name: &str| dict.iter().find(|(n, _)| n == name).map(|(_, array)| wide(array.data()));
    let (w, b) = (tensor("fc.weight").unwrap(), tensor("fc.bias").unwrap());
    let (outputs, features) = (b.len(), w.len() / b.len());
    let row = |t: usize, b: usize| wide(&x[(b * steps + t) * input..][..input]);
    let time_major: Vec<f64> =
        (0..steps).flat_map(|t| (0..batch).flat_map(move |b| row(t, b))).collect();
    let all = || weights.iter().flatten();
    let initial = |name: &str, width: &dyn Fn(&LayerWeights<f64>) -> usize| -> Vec<f64> {
        let zeros = vec![0.0; all().map(width).sum()];
        let learned = tensor(name).unwrap_or(zeros);
        learned.chunks(width(&weights[0][0])).flat_map(|state| state.repeat(batch)).collect()
    };
    let h_0 = initial("lstm.h_0", &|w| w.output());
    let c_0 = initial("lstm.c_0", &|w| w.hidden);
    let rows = Batch { masks, ..Batch::of(batch) };
    let trace = sequence::forward(&weights, &rows, &time_major, &h_0, &c_0);

    let read = Readout::FinalStates.read(&trace, &rows);
    let mut d_read = vec![0.0; read.len()];
    let (mut loss, mut weight, mut bias) = (0.0, vec![0.0; w.len()], vec![0.0; outputs]);
    for row in 0..batch {
        let at = row * features;
        for o in 0..outputs {
            let sum: f64 = (0..features).map(|k| read[at + k] * w[o * features + k]).sum();
            let error = b[o] + sum - f64::from(target[row * outputs + o]);
            loss += error * error / (batch * outputs) as f64;
            let d = 2.0 * error / (batch * outputs) as f64;
            bias[o] += d;
            for k in 0..features {
                weight[o * features + k] += d * read[at + k];
                d_read[at + k] += d * w[o * features + k];
            }
        }
    }
    let (dy, dh_n) = Readout::FinalStates.backward(&trace, &rows, &d_read);
    let dc_n = vec![0.0; c_0.len()];
    let lstm = sequence::backward(&weights, &rows, &trace, &dy, &dh_n, &dc_n);
    Expected { loss, weight, bias, lstm }
}

/// Every gradient of a stack with a linear head and the mean squared error.
pub fn gradients_equal_the_reference(device: &Device) {
    for (i, (steps, batch, input, hidden, count)) in STACKS.into_iter().enumerate() {
        let bias = [Bias::None, Bias::Double, Bias::Single][i % 3];
        let outputs = 2 + i % 2;
        // Both directions, a projection, learned states: by turns.
        let config = config(input, hidden, count, bias)
            .bidirectional(i % 2 == 1)
            .proj_size(if i % 3 == 2 { hidden / 3 } else { 0 })
            .dropout(0.5); // not where gradients are asked for
        let learned = i == 4;
        let config = match learned {
            true => config.learned_state(true).init("_0", Init::Uniform { bound: 0.5 }),
            false => config,
        };
        let model = Forecaster::new(device, config, outputs).unwrap();
        let (x, target) = (normal(batch * steps * input, 2.0, 1), normal(batch * outputs, 1.0, 2));
        let data = Dataset::new(
            Array::new(x.clone(), &[batch, steps, input]).unwrap(),
            Array::new(target.clone(), &[batch, outputs]).unwrap(),
        );
        let got = gradients(&model, &data.unwrap(), &Loss::mse()).unwrap();
        let dict = model.state_dict().unwrap();
        let want = expected(&dict, (steps, batch, input), &x, &target, &[]);

        assert_close("loss", &[got.loss], &[want.loss], Tolerance::LOSS);
        let over_rows = |all: &[f64]| -> Vec<f64> {
            let width = all.len() / count / batch;
            let sum = |at: usize| {
                let (layer, k) = (at / width, at % width);
                (0..batch).map(|b| all[(layer * batch + b) * width + k]).sum()
            };
            (0..count * width).map(sum).collect()
        };
        for (name, array) in &got.parameters {
            let want = match name.as_str() {
                "fc.weight" => want.weight.clone(),
                "fc.bias" => want.bias.clone(),
                "lstm.h_0" => over_rows(&want.lstm.h_0),
                "lstm.c_0" => over_rows(&want.lstm.c_0),
                _ => gradient_of(&want.lstm.layers, "lstm.", name).to_vec(),
            };
            assert_close(name, array.data(), &want, Tolerance::gradient(&want));
        }
        assert_eq!(got.parameters.len(), dict.len());
        let results = [
            ("x", got.x, &want.lstm.x),
            ("h_0", got.h_0, &want.lstm.h_0),
            ("c_0", got.c_0, &want.lstm.c_0),
        ];
        for (what, got, want) in results {
            assert_close(what, got.unwrap().data(), want, Tolerance::gradient(want));
        }
    }
}

/// The same prediction from the host, and from the device in either layout.
pub fn forecasters_take_either_layout(device: &Device) {
    let (batch, steps, input) = (3, 5, 2);
    let x = normal(batch * steps * input, 1.0, 1);
    let array = Array::new(x.clone(), &[batch, steps, input]).unwrap();
    let tensor = Tensor::from_slice(device, &x, &[batch, steps, input]).unwrap();
    let row = |t: usize, b: usize| &x[(b * steps + t) * input..][..input];
    let swapped: Vec<f32> =
        (0..steps).flat_map(|t| (0..batch).flat_map(move |b| row(t, b))).copied().collect();
    let swapped = Tensor::from_slice(device, &swapped, &[steps, batch, input]).unwrap();
    for (batch_first, x) in [(true, tensor), (false, swapped)] {
        let config = LstmConfig::new(input, 4).bidirectional(true).batch_first(batch_first);
        let model = Forecaster::new(device, config, 2).unwrap();
        let (host, device) = (model.predict(&array).unwrap(), model.forward(&x).unwrap());
        assert_eq!(host.data(), device.to_vec().unwrap(), "batch first: {batch_first}");
    }
}

/// A trainer drops elements, others in every step, and a prediction none.
pub fn training_drops_elements(device: &Device) {
    let (steps, batch, input, outputs, probability) = (5, 6, 3, 2, 0.4);
    let config = LstmConfig::new(input, 9).layers(3).bidirectional(true).seed(11);
    let (x, target) = (normal(batch * steps * input, 1.0, 1), normal(batch * outputs, 1.0, 2));
    let data = Dataset::new(
        Array::new(x.clone(), &[batch, steps, input]).unwrap(),
        Array::new(target.clone(), &[batch, outputs]).unwrap(),
    )
    .unwrap();
    let model = Forecaster::new(device, config.dropout(probability), outputs).unwrap();
    let dict = model.state_dict().unwrap();
    // A rate of zero: the model stays, so every step shows its own masks.
    let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.0)).batch_size(batch).epochs(4);
    let report = trainer.fit(&data, None, |_| ()).unwrap();
    for (loss, step) in report.step_losses.iter().zip(1..) {
        let masks = super::lstm::masks(probability, 11, step, (steps, batch, 2 * 9), 3);
        let want = expected(&dict, (steps, batch, input), &x, &target, &masks);
        assert_close(&format!("step {step}"), &[*loss], &[want.loss], Tolerance::LOSS);
    }
    assert!(report.step_losses.windows(2).all(|pair| pair[0] != pair[1]));
    let want = expected(&dict, (steps, batch, input), &x, &target, &[]);
    let all = trainer.evaluate(&data).unwrap();
    assert_close("without dropout", &[all], &[want.loss], Tolerance::LOSS);
}

pub fn linear_equals_its_equation(device: &Device) {
    let (batch, inputs, outputs) = (5, 33, 7);
    let linear = Linear::new(device, inputs, outputs, 1).unwrap();
    let x = normal(batch * inputs, 1.0, 1);
    let y = linear.forward(&Tensor::from_slice(device, &x, &[batch, inputs]).unwrap()).unwrap();
    let dict = linear.state_dict().unwrap();
    let [(_, w), (_, b)] = dict.as_slice() else { panic!("weight and bias") };
    let mut want = Vec::new();
    for row in x.chunks(inputs) {
        for o in 0..outputs {
            let w = &w.data()[o * inputs..][..inputs];
            let sum: f64 = row.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            want.push(sum + f64::from(b.data()[o]));
        }
    }
    assert_close("y", &y.to_vec().unwrap(), &want, Tolerance::OUTPUT);
}

/// A training step's plan and inputs that let every kernel do something.
fn training(
    limits: &Limits,
    dims: (usize, usize, usize, usize, usize),
) -> (Plan, Vec<(&'static str, Vec<f32>)>) {
    let (steps, batch, input, hidden, layers) = dims;
    let shape = StackShape { layers, head: Head::Linear(3), ..StackShape::lstm(input, hidden) };
    let adam = Optimizer::from(Adam::new(0.01));
    let update = Some(Update { norm: true, ..adam.update() });
    let options = TrainingOptions { update, input_gradient: true, ..Default::default() };
    let sequences = Sequences::new(steps, batch).with_state();
    let plan = Plan::training(&shape, &sequences, &options, limits).unwrap();
    let table = ParameterTable::new(&shape);
    let mut params = vec![0.0; table.len];
    for (i, entry) in table.entries.iter().enumerate() {
        let std = 2.0 / (entry.shape.last().copied().unwrap_or(1) as f32).sqrt();
        params[entry.start..][..entry.len].copy_from_slice(&normal(entry.len, std, i as u64));
    }
    let mut feed = normal(steps * batch * input, 1.0, 50);
    feed.extend(normal(batch * 3, 1.0, 51));
    feed.push(1.0 / (batch * 3) as f32);
    feed.extend(adam.step_values(1));
    let state = layers * batch * hidden;
    let (h, c) = (normal(state, 0.5, 52), normal(state, 1.0, 53));
    (plan, vec![("params", params), ("feed", feed), ("h_0", h), ("c_0", c)])
}

fn slices<'a>(inputs: &'a [(&'static str, Vec<f32>)]) -> Vec<(&'a str, &'a [f32])> {
    inputs.iter().map(|(name, values)| (*name, values.as_slice())).collect()
}

/// A whole training step, every command compared with its twin.
pub fn training_in_lockstep(device: &Device) {
    for dims in [(6, 5, 3, 17, 2), (3, 70, 4, 9, 1), (130, 3, 2, 4, 1)] {
        let (plan, inputs) = training(&device.limits(), dims);
        let checks =
            lockstep(device, &plan.program, &slices(&inputs)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(checks.len(), plan.program.commands.len());
    }
}

/// A sign in one kernel: the lockstep names that kernel.
pub fn lockstep_finds_a_broken_kernel(device: &Device) {
    let (plan, inputs) = training(&device.limits(), (4, 5, 3, 7, 1));
    let mut table = device.table().clone();
    let steps = plan.tier == Tier::Step;
    let (name, label) = match steps {
        true => ("lstm_step_backward", "layer 0, backward, t = 3"),
        false => ("lstm_sequence_backward", "layer 0, backward, t = 3 to 0"),
    };
    let row = table.0.iter_mut().find(|kernel| kernel.name == name).unwrap();
    let right = "let d_candidate = vec4(d_cell * gates.x * masks.candidate);";
    for variant in &mut row.variants {
        assert!(variant.source().contains(right), "{}", variant.name);
        let wrong = right.replace("vec4(", "vec4(-");
        let wrong = variant.source().replace(right, &wrong);
        *variant = variant.clone().with_source(wrong);
    }
    // On the CPU: the twin, and then a sign.
    row.fast = Some(|call: Call<'_, '_, f32>| {
        let row = &gatefold::kernels::table()[call.dispatch.kernel];
        (row.twin)(Call { dispatch: call.dispatch, args: &mut *call.args });
        let dc = row.bindings.iter().position(|binding| binding.name == "dc").unwrap();
        if let Arg::Write(dc) = &mut call.args[dc] {
            dc[0] = -dc[0];
        }
    });
    let broken = device.clone().with_table(table);
    match lockstep(&broken, &plan.program, &slices(&inputs)) {
        Err(Error::Diverged { kernel, label: found, .. }) => {
            assert_eq!((kernel, found.as_str()), (name, label));
        }
        other => panic!("the broken kernel was not found: {other:?}"),
    }
}

/// Windows, pieces of products and chunks of flat buffers give the same training step.
pub fn small_limits_change_nothing(device: &Device) {
    let dims = (37, 11, 5, 12, 2);
    let run = |limits: &Limits| {
        let (plan, inputs) = training(limits, dims);
        let session = device.session(&plan.program).unwrap();
        for (name, values) in &inputs {
            session.write(name, values).unwrap();
        }
        session.run().unwrap();
        let names = ["loss", "grads", "params", "dx_0", "dh_0", "dc_0", "h_l1"];
        let read = |name: &&str| session.read(name).unwrap();
        (plan.program.commands.len(), names.iter().map(read).collect::<Vec<_>>())
    };
    let (commands, want) = run(&device.limits());
    // Barely more than a timestep, and than the largest weight.
    let small =
        Limits { max_binding: 1300, max_workgroups: 8, loop_budget: Some(200), ..device.limits() };
    let small = Limits { alignment: small.alignment.max(64), ..small };
    let (more_commands, got) = run(&small);
    assert!(more_commands > commands + 20, "the limits cut {commands} commands to {more_commands}");
    for (got, want) in got.iter().zip(&want) {
        let want = wide(want);
        // The pieces are summed in another order.
        let tolerance = match Tolerance::gradient(&want) {
            Tolerance::Mixed { absolute, relative } => {
                Tolerance::Mixed { absolute: absolute / 10.0, relative }
            }
            other => other,
        };
        assert_close("small limits", got, &want, tolerance);
    }
}

fn trained(device: &Device) -> Vec<f32> {
    let config = LstmConfig::new(3, 40).layers(2).bidirectional(true).dropout(0.2).seed(5);
    let model = Forecaster::new(device, config, 2).unwrap();
    let data = Dataset::new(
        Array::new(normal(70 * 6 * 3, 1.0, 1), &[70, 6, 3]).unwrap(),
        Array::new(normal(70 * 2, 1.0, 2), &[70, 2]).unwrap(),
    );
    let trainer =
        Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(32).epochs(3).shuffle(9);
    let mut trainer = trainer;
    let report = trainer.fit(&data.unwrap(), None, |_| ()).unwrap();
    let mut all = report.step_losses;
    for (_, array) in trainer.model().state_dict().unwrap() {
        all.extend_from_slice(array.data());
    }
    all
}

pub fn two_runs_are_bit_equal(device: &Device) {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
    assert_eq!(bits(trained(device)), bits(trained(device)));
}

/// After the first step nothing is created, and the device is hardly ever waited for.
pub fn a_hundred_steps_stay_on_the_device(device: &Device) {
    let model = Forecaster::new(device, LstmConfig::new(2, 6), 1).unwrap();
    let data = Dataset::new(
        Array::new(normal(4 * 2, 1.0, 1), &[1, 4, 2]).unwrap(),
        Array::new(normal(1, 1.0, 2), &[1, 1]).unwrap(),
    );
    // An epoch is a step; reports come after steps 1 and 101.
    let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(1).epochs(101);
    let mut counts = Vec::new();
    let report =
        trainer.report_every(100).fit(&data.unwrap(), None, |_| counts.push(device.counts()));
    assert_eq!(report.unwrap().step_losses.len(), 101);
    let [first, last] = counts[..] else { panic!("two reports") };
    let spent = last - first;
    assert_eq!((spent.buffers, spent.pipelines, spent.bind_groups), (0, 0, 0));
    assert!(spent.readbacks <= 1 && spent.submits <= 10, "{spent:?}");
    // The launches of a hundred plans.
    let shape = StackShape { head: Head::Linear(1), ..StackShape::lstm(2, 6) };
    let update = Some(Update { norm: true, ..Optimizer::from(Adam::new(0.01)).update() });
    let options = TrainingOptions { update, ..Default::default() };
    let plan = Plan::training(&shape, &Sequences::new(4, 1), &options, &device.limits()).unwrap();
    let planned = 100 * plan.program.dispatches().count() as u64;
    assert!(planned >= 100 && spent.dispatches == planned, "{spent:?}, {planned} planned");
    if device.as_gpu().is_some() {
        assert!(spent.readbacks == 1 && spent.submits >= 2, "{spent:?}");
        assert!(first.pipelines > 0 && first.bind_groups > 0 && first.buffers > 0, "{first:?}");
    }
}

fn small(n: usize) -> Dataset {
    let x = Array::new(normal(n * 5 * 2, 1.0, 1), &[n, 5, 2]).unwrap();
    Dataset::new(x, Array::new(normal(n, 1.0, 2), &[n, 1]).unwrap()).unwrap()
}

/// More rows than are run at a time, and the same rows one by one.
pub fn many_rows_are_predicted_in_pieces(device: &Device) {
    let model = Forecaster::new(device, LstmConfig::new(2, 3), 1).unwrap();
    let data = small(1100);
    let y = model.predict(data.x()).unwrap();
    assert_eq!(y.shape(), [1100, 1]);
    for row in [0, 1, 1023, 1024, 1099] {
        let x = Array::new(data.x().data()[row * 10..][..10].to_vec(), &[1, 5, 2]).unwrap();
        assert_eq!(model.predict(&x).unwrap().data(), &y.data()[row..row + 1]);
    }
}

/// Three epochs and then four are seven, over batches of two sizes, and beyond the losses that stay
/// on the device.
pub fn two_fits_are_one(device: &Device) {
    let trainer = |epochs| {
        let config = LstmConfig::new(2, 3).layers(2).dropout(0.3).seed(1);
        let model = Forecaster::new(device, config, 1).unwrap();
        let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(2).shuffle(3);
        trainer.epochs(epochs)
    };
    let data = small(301); // 151 steps an epoch, 1,057 of seven
    let mut whole = trainer(7).report_every(7);
    let report = whole.fit(&data, None, |_| ()).unwrap();
    // A run and another one, which its settings make a run of its own; and more epochs of that.
    let mut parts = trainer(3);
    let mut losses = Vec::new();
    for epochs in [3, 3, 4] {
        parts = parts.epochs(epochs);
        losses.extend(parts.fit(&data, None, |_| ()).unwrap().step_losses);
    }
    assert_eq!(losses.len(), 7 * 151);
    assert_eq!(report.step_losses, losses);
    assert_eq!(whole.model().state_dict().unwrap(), parts.model().state_dict().unwrap());
    // Each loss is another step's.
    assert!(losses.windows(2).all(|pair| pair[0] != pair[1]));
}

/// The model that is left has the best validation loss of all epochs.
pub fn early_stopping_keeps_the_best(device: &Device) {
    let model = Forecaster::new(device, LstmConfig::new(2, 16), 1).unwrap();
    let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.05)).batch_size(8).epochs(60);
    let mut trainer = trainer.early_stopping(3);
    let (train, validation) = (small(24), {
        let x = Array::new(normal(16 * 5 * 2, 1.0, 7), &[16, 5, 2]).unwrap();
        Dataset::new(x, Array::new(normal(16, 1.0, 8), &[16, 1]).unwrap()).unwrap()
    });
    let mut seen = Vec::new();
    let report =
        trainer.fit(&train, Some(&validation), |p| seen.push(p.validation.unwrap())).unwrap();
    // Noise can't be learnt: it stops early.
    assert!(seen.len() < 60, "{} epochs", seen.len());
    let best = report.best.unwrap();
    let least = seen.iter().copied().fold(f32::INFINITY, f32::min);
    assert_eq!((best.validation, best.epoch + 3), (least, seen.len()));
    assert_eq!(trainer.evaluate(&validation).unwrap(), least);
    assert_eq!(report.validation, Some(least));
    assert!(trainer.fit(&train, None, |_| ()).is_err());
}

/// One model asked from many threads at once, which are the CPU executor's own.
pub fn predictions_in_parallel(device: &Device) {
    use rayon::prelude::*;

    // Products and steps large enough to be split over threads.
    let model = Forecaster::new(device, LstmConfig::new(2, 64), 1).unwrap();
    let x = Array::new(normal(40 * 5 * 2, 1.0, 1), &[40, 5, 2]).unwrap();
    let want = model.predict(&x).unwrap();
    let same = (0..24).into_par_iter().all(|_| model.predict(&x).unwrap() == want);
    assert!(same);
}

pub fn saved_and_loaded(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for bias in [Bias::None, Bias::Single, Bias::Double] {
        let config = LstmConfig::new(3, 7).layers(2).bias(bias).seed(11);
        let model = Forecaster::new(device, config, 2).unwrap();
        model.save(&path).unwrap();
        let loaded = Forecaster::load(device, &path).unwrap();
        assert_eq!(model.state_dict().unwrap(), loaded.state_dict().unwrap());
        let x = Array::new(normal(4 * 5 * 3, 1.0, 1), &[4, 5, 3]).unwrap();
        assert_eq!(model.predict(&x).unwrap(), loaded.predict(&x).unwrap());

        let config = LstmConfig::new(3, 7).bias(bias).seed(12);
        let lstm = Lstm::new(device, config.clone()).unwrap();
        lstm.save(&path).unwrap();
        let loaded = Lstm::load(device, &path).unwrap();
        assert_eq!(lstm.state_dict().unwrap(), loaded.state_dict().unwrap());
        let model = Forecaster::without_head(device, config).unwrap();
        model.save(&path).unwrap();
        let loaded = Forecaster::load(device, &path).unwrap();
        assert_eq!(model.predict(&x).unwrap(), loaded.predict(&x).unwrap());
    }
    let linear = Linear::new(device, 4, 3, 1).unwrap();
    linear.save(&path).unwrap();
    let loaded = Linear::load(device, &path).unwrap();
    assert_eq!(linear.state_dict().unwrap(), loaded.state_dict().unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o400, 0o400);
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let usual = std::fs::metadata(&plain).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, usual & 0o777, "a file like any other");
    }
}

pub fn async_reads(device: &Device) {
    let tensor = Tensor::from_slice(device, &[1.0, 2.0, 3.0], &[3]).unwrap();
    assert_eq!(pollster::block_on(tensor.to_vec_async()).unwrap(), [1.0, 2.0, 3.0]);
}

/// The dispatches of a plan with this kernel.
pub fn count(plan: &Plan, kernel: &str) -> usize {
    let table = gatefold::kernels::table();
    let named = |operation: &Operation| matches!(operation, Operation::Dispatch(d) if table[d.kernel].name == kernel);
    plan.program.commands.iter().filter(|c| named(&c.operation)).count()
}
