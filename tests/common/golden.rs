//! Against PyTorch, from the files that tests/golden/generate.py has written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use approx::assert_abs_diff_eq;
use gatefold::plan::{
    Bias, Head, ParameterTable, Plan, Role, Sequences, StackShape, TrainingOptions,
};
use gatefold::reference::{Dropout, Tolerance};
use gatefold::train::{Adam, Loss, Optimizer, Trainer, gradients};
use gatefold::{
    Array, Dataset, Device, Forecaster, Init, Lstm, LstmCell, LstmConfig, LstmState, Tensor,
};
use safetensors::SafeTensors;

use super::{assert_close, wide};

/// Where goldens lie: `GATEFOLD_GOLDEN` says it for tests that run on another machine than the one that built
/// them.
pub fn folder() -> PathBuf {
    std::env::var_os("GATEFOLD_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"), PathBuf::from)
}

/// A golden's file.
pub fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.safetensors"))
}

/// The tensors of a golden.
pub struct Golden(HashMap<String, Array>);

impl Golden {
    pub fn read(name: &str) -> Golden {
        let bytes = std::fs::read(file(name)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let array = |view: safetensors::tensor::TensorView<'_>| {
            let values =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            Array::new(values.collect(), view.shape()).unwrap()
        };
        Golden(file.iter().map(|(name, view)| (name.to_owned(), array(view))).collect())
    }

    pub fn get(&self, name: &str) -> &Array {
        self.0.get(name).unwrap_or_else(|| panic!("the golden has no {name}"))
    }

    pub fn wide(&self, name: &str) -> Vec<f64> {
        wide(self.get(name).data())
    }

    /// A golden of the tensors whose names start so, without that.
    pub fn part(&self, prefix: &str) -> Golden {
        Golden(self.named(prefix).into_iter().collect())
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The tensors whose names start so, without that.
    pub fn named(&self, prefix: &str) -> Vec<(String, Array)> {
        let strip = |(name, array): (&String, &Array)| {
            name.strip_prefix(prefix).map(|rest| (rest.to_owned(), array.clone()))
        };
        self.0.iter().filter_map(strip).collect()
    }

    pub fn tensor(&self, device: &Device, name: &str) -> Tensor {
        let array = self.get(name);
        Tensor::from_slice(device, array.data(), array.shape()).unwrap()
    }
}

/// `[T, B, I]` as `[B, T, I]`.
fn batch_first(x: &Array) -> Array {
    let &[steps, batch, input] = x.shape() else { panic!("three sizes") };
    let row = |b: usize, t: usize| &x.data()[(t * batch + b) * input..][..input];
    let data = (0..batch).flat_map(|b| (0..steps).flat_map(move |t| row(b, t))).copied().collect();
    Array::new(data, &[batch, steps, input]).unwrap()
}

/// The rows of an array in another order.
pub fn rows(array: &Array, order: &[f32]) -> Array {
    let row = array.data().len() / array.shape()[0];
    let data =
        order.iter().flat_map(|&i| &array.data()[i as usize * row..][..row]).copied().collect();
    let mut shape = array.shape().to_vec();
    shape[0] = order.len();
    Array::new(data, &shape).unwrap()
}

/// Outputs, final states, every gradient and ten Adam steps of a stack with a head.
pub fn stack(device: &Device, name: &str) {
    let golden = Golden::read(name);
    let &[_, _, input] = golden.get("x").shape() else { panic!("x [T, B, I]") };
    let &[layers, _, hidden] = golden.get("h_0").shape() else { panic!("h_0 [L, B, H]") };
    let outputs = golden.get("target").shape()[1];
    let bias = if name.ends_with("single") { Bias::Single } else { Bias::Double };
    let config = LstmConfig::new(input, hidden).layers(layers).bias(bias);

    let weights = golden.named("weights.");
    let lstm_weights: Vec<(String, Array)> = weights
        .iter()
        .filter_map(|(n, a)| Some((n.strip_prefix("lstm.")?.to_owned(), a.clone())))
        .collect();
    let mut lstm = Lstm::new(device, config.clone()).unwrap();
    lstm.load_state_dict(&lstm_weights).unwrap();
    let state = LstmState { h: golden.tensor(device, "h_0"), c: golden.tensor(device, "c_0") };
    let (y, last) = lstm.forward(&golden.tensor(device, "x"), Some(&state)).unwrap();
    for (what, tensor) in [("y", y), ("h_n", last.h), ("c_n", last.c)] {
        assert_eq!(tensor.shape(), golden.get(what).shape());
        assert_close(what, &tensor.to_vec().unwrap(), &golden.wide(what), Tolerance::OUTPUT);
    }

    let mut model = Forecaster::new(device, config, outputs).unwrap();
    model.load_state_dict(&weights).unwrap();
    let x = batch_first(golden.get("x"));
    let prediction = model.predict(&x).unwrap();
    assert_close("prediction", prediction.data(), &golden.wide("prediction"), Tolerance::OUTPUT);
    let batch = Dataset::new(x, golden.get("target").clone()).unwrap();
    let got = gradients(&model, &batch, &Loss::mse()).unwrap();
    assert_close("loss", &[got.loss], &golden.wide("loss"), Tolerance::LOSS);
    let mut found: Vec<(String, Array)> = got.parameters;
    found.push(("x".to_owned(), got.x.unwrap()));
    found.push(("h_0".to_owned(), got.h_0.unwrap()));
    found.push(("c_0".to_owned(), got.c_0.unwrap()));
    let wanted = golden.named("grad.");
    assert_eq!(found.len(), wanted.len(), "every gradient is compared");
    for (name, array) in found {
        let want = golden.wide(&format!("grad.{name}"));
        assert_close(&name, array.data(), &want, Tolerance::gradient(&want));
    }

    let order = golden.get("data.order").data().to_vec();
    let data = Dataset::new(rows(golden.get("data.x"), &order), rows(golden.get("data.y"), &order));
    let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(5).epochs(2);
    let report = trainer.fit(&data.unwrap(), None, |_| ()).unwrap();
    let losses = golden.wide("losses");
    assert_eq!(report.step_losses.len(), 20);
    assert_close("ten losses", &report.step_losses[..10], &losses[..10], Tolerance::LOSS);
    // Adam's first steps have the signs of gradients near zero, and the second epoch inherits them.
    let tolerance = Tolerance::Mixed { absolute: 0.0, relative: 1e-3 };
    assert_close("second epoch", &report.step_losses[10..], &losses[10..], tolerance);
    for (name, array) in trainer.model().state_dict().unwrap() {
        let want = golden.wide(&format!("trained.{name}"));
        // Where a gradient is near zero Adam's step has the sign of a rounding error: a hundredth
        // of what twenty steps of 0.01 can move.
        let tolerance = Tolerance::Mixed { absolute: 2e-3, relative: 0.0 };
        assert_close(&name, array.data(), &want, tolerance);
    }
}

/// A file that PyTorch has written, without our metadata: the shape is inferred.
pub fn plain_file(device: &Device) {
    let model = Forecaster::load(device, file("plain")).unwrap();
    let golden = Golden::read("plain_results");
    let y = model.predict(&batch_first(golden.get("x"))).unwrap();
    assert_close("prediction", y.data(), &golden.wide("prediction"), Tolerance::OUTPUT);
    // The same from a tensor that is on the device already.
    let y = model.forward(&golden.tensor(device, "x")).unwrap().to_vec().unwrap();
    assert_close("forward", &y, &golden.wide("prediction"), Tolerance::OUTPUT);
}

/// Ten Adam steps from stored gradients.
pub fn adam(device: &Device) {
    let golden = Golden::read("adam");
    for decay in [0.0f64, 0.1] {
        let optimizer = Adam::new(0.003).betas(0.8, 0.99).eps(1e-7).weight_decay(decay);
        let gradients = golden.get("gradients").data();
        let steps = optimizer_steps(device, &optimizer.into(), golden.get("p").data(), gradients);
        let want = golden.wide(&format!("after_decay_{decay:.1}"));
        // Ten updates of a parameter near zero: relative to the updates, of 0.003 each.
        let tolerance = Tolerance::Mixed { absolute: 10.0 * 0.003 * 2e-6, relative: 2e-6 };
        assert_close("parameters", steps.last().unwrap(), &want, tolerance);
    }
}

/// The parameters after each step of an optimizer's kernel from stored gradients.
pub fn optimizer_steps(
    device: &Device,
    optimizer: &Optimizer,
    p: &[f32],
    gradients: &[f32],
) -> Vec<Vec<f32>> {
    use gatefold::command::{Command, Operation};
    use gatefold::kernels::{self, View};
    use gatefold::plan::Rule;
    use gatefold::reference::{GROUP_BLOCK, SETTINGS};

    let len = p.len();
    let mut launch = super::kernels::Launch::new();
    let mut zeros = |len: usize| launch.buffer(vec![0.0; len], 0);
    let (settings, groups, status) = (zeros(SETTINGS), zeros(len.div_ceil(GROUP_BLOCK)), zeros(16));
    let (g, parameters) = (zeros(len), zeros(len));
    let [first, second, third]: [View; 3] = std::array::from_fn(|_| zeros(len));
    let dispatch = match optimizer.rule() {
        Rule::Adam => {
            let (p, m, v) = (parameters, first, second);
            let at = kernels::adam::Operands { settings, groups, status, g, p, m, v };
            kernels::adam::dispatch(len, &at)
        }
        Rule::Sgd { momentum } => {
            let (p, buffer) = (parameters, first);
            let at = kernels::sgd::Operands { settings, groups, status, g, p, momentum: buffer };
            kernels::sgd::dispatch(len, momentum, &at)
        }
        Rule::RmsProp { momentum, centered } => {
            let at = kernels::rmsprop::Operands {
                settings,
                groups,
                status,
                g,
                p: parameters,
                square_avg: first,
                momentum: second,
                grad_avg: third,
            };
            let flags = kernels::rmsprop::Flags { momentum, centered };
            kernels::rmsprop::dispatch(len, flags, &at)
        }
    };
    let operation = Operation::Dispatch(dispatch);
    launch.program.commands.push(Command { label: "step".to_owned(), operation });
    let session = device.session(&launch.program.into()).unwrap();
    session.write("buffer 2", &[1.0, 0.0, 1.0]).unwrap();
    session.write("buffer 4", p).unwrap();
    let steps = gradients.chunks(len).enumerate().map(|(step, gradient)| {
        let row = optimizer.row(step as u64 + 1, &optimizer.whole());
        session.write("buffer 0", &row).unwrap();
        session.write("buffer 3", gradient).unwrap();
        session.run().unwrap();
        session.read("buffer 4").unwrap()
    });
    steps.collect()
}

/// The toy of two companies: 1,000 losses of 500 epochs, from three initial states.
pub fn toy(device: &Device) {
    for seed in 0..3 {
        let golden = Golden::read(&format!("toy_{seed}"));
        let config = LstmConfig::new(1, 1).bias(Bias::Single).init("bias", Init::Zeros);
        let mut model = Forecaster::without_head(device, config).unwrap();
        let mut weights: Vec<(String, Array)> = ["weight_ih", "weight_hh"]
            .iter()
            .map(|name| (format!("lstm.{name}_l0"), golden.get(name).clone()))
            .collect();
        weights.push(("lstm.bias_ih_l0".to_owned(), Array::new(vec![0.0; 4], &[4]).unwrap()));
        model.load_state_dict(&weights).unwrap();
        let x = vec![0.0, 0.5, 0.25, 1.0, 1.0, 0.5, 0.25, 1.0];
        let x = Array::new(x, &[2, 4, 1]).unwrap();
        let data = Dataset::new(x, Array::new(vec![0.0, 1.0], &[2, 1]).unwrap()).unwrap();
        let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01));
        let mut trainer = trainer.batch_size(1).epochs(500).report_every(100);
        let report = trainer.fit(&data, None, |_| ()).unwrap();
        let want = golden.wide("losses");
        assert_close("first losses", &report.step_losses[..10], &want[..10], Tolerance::LOSS);
        // Over 1,000 steps rounding differences grow with the trajectory's own sensitivity.
        let tolerance = Tolerance::Mixed { absolute: 1e-4, relative: 0.0 };
        assert_close("all losses", &report.step_losses, &want, tolerance);
        let y = trainer.model().predict(data.x()).unwrap();
        let tolerance = Tolerance::Mixed { absolute: 1e-3, relative: 0.0 };
        assert_close("predictions", y.data(), &golden.wide("predictions"), tolerance);
    }
}

/// The worked cell: six stages, the loss, twelve gradients, twelve updated weights.
pub fn cell(device: &Device) {
    let golden = Golden::read("cell");
    let shape = StackShape { bias: Bias::Single, head: Head::Identity, ..StackShape::lstm(1, 1) };
    let adam = Optimizer::from(Adam::new(0.001));
    let options = TrainingOptions { update: Some(adam.update()), ..Default::default() };
    let limits = device.limits();
    let table = ParameterTable::new(&shape);
    let mut params = vec![0.0; table.len];
    let given = [
        (Role::WeightHh(0, 0), [2.0, 2.7, 1.41, 4.38]),
        (Role::WeightIh(0, 0), [1.65, 1.63, 0.94, -0.19]),
        (Role::BiasIh(0, 0), [0.62, 1.62, -0.32, 0.59]),
    ];
    for (role, values) in given {
        let entry = table.get(role).unwrap();
        params[entry.start..][..4].copy_from_slice(&entry.from_pytorch(&values));
    }

    let sequences = Sequences::new(1, 1).with_state();
    let layer = StackShape { head: Head::Sequence, ..shape.clone() };
    let gradient = Plan::gradient(&layer, &sequences, None, &limits).unwrap();
    let training = Plan::training(&shape, &sequences, &options, &limits).unwrap();
    let forward = device.session(&gradient.program).unwrap();
    let training = device.session(&training.program).unwrap();
    for session in [&forward, &training] {
        session.write("params", &params).unwrap();
        session.write("h_0", &[1.0]).unwrap();
        session.write("c_0", &[2.0]).unwrap();
    }
    forward.write("x", &[1.0]).unwrap();
    forward.run_commands(0..gradient.backward_from).unwrap();
    let gates = forward.read("gates_l0").unwrap();
    let (c, h) = (forward.read("c_l0").unwrap()[1], forward.read("h_l0").unwrap()[1]);
    let stages = [gates[1], gates[2], gates[0], c, gates[3], h];
    assert_close("stages", &stages, &golden.wide("stages"), Tolerance::OUTPUT);

    training.write("status", &[1.0, 0.0, 1.0]).unwrap();
    training.write("feed", &[vec![1.0, 0.5, 1.0], adam.step_values(1)].concat()).unwrap();
    training.run().unwrap();
    assert_close("loss", &training.read("loss").unwrap(), &golden.wide("loss"), Tolerance::LOSS);
    let (grads, after) = (training.read("grads").unwrap(), training.read("params").unwrap());
    for (column, (role, _)) in given.iter().enumerate() {
        let entry = table.get(*role).unwrap();
        let range = entry.start..entry.start + 4;
        let (got, updated) =
            (entry.to_pytorch(&grads[range.clone()]), entry.to_pytorch(&after[range]));
        for gate in 0..4 {
            let at = 3 * gate + column;
            let want = golden.get("grads").data()[at];
            assert_abs_diff_eq!(got[gate], want, epsilon = 1e-4 * want.abs());
            assert_abs_diff_eq!(updated[gate], golden.get("after").data()[at], epsilon = 1e-6);
        }
    }
}

/// The options in the name of a grid's case, such as `l3_bi_proj_bias_bf_len`.
fn grid_config(case: &str, golden: &Golden) -> LstmConfig {
    let has = |option: &str| case.split('_').any(|part| part == option);
    let input = *golden.get("x").shape().last().unwrap();
    let &[_, _, hidden] = golden.get("c_0").shape() else { panic!("c_0 [L D, B, H]") };
    LstmConfig::new(input, hidden)
        .layers(if has("l3") { 3 } else { 1 })
        .bidirectional(has("bi"))
        .proj_size(if has("proj") { golden.get("h_0").shape()[2] } else { 0 })
        .bias(if has("bias") { Bias::Double } else { Bias::None })
        .batch_first(has("bf"))
}

fn state(device: &Device, golden: &Golden, names: [&str; 2]) -> LstmState {
    let [h, c] = names.map(|name| golden.tensor(device, name));
    LstmState { h, c }
}

/// Every combination of nn.LSTM's options: outputs, states, all gradients.
pub fn grid(device: &Device) {
    let all = Golden::read("grid");
    let mut cases: Vec<&str> = all.0.keys().filter_map(|name| name.strip_suffix(".x")).collect();
    cases.retain(|case| !case.contains('.'));
    assert_eq!(cases.len(), 64);
    for case in cases {
        let golden = all.part(&format!("{case}."));
        let config = grid_config(case, &golden);
        let mut lstm = Lstm::new(device, config).unwrap();
        lstm.load_state_dict(&golden.named("weights.")).unwrap_or_else(|e| panic!("{case}: {e}"));
        // The same from the tensors' names and shapes alone.
        let same = Lstm::from_state_dict(device, &golden.named("weights.")).unwrap();
        assert_eq!(same.state_dict().unwrap(), lstm.state_dict().unwrap());
        let lengths: Option<Vec<usize>> = case
            .ends_with("len")
            .then(|| golden.get("lengths").data().iter().map(|&length| length as usize).collect());
        let (x, lengths) = (golden.tensor(device, "x"), lengths.as_deref());
        let given = state(device, &golden, ["h_0", "c_0"]);
        let check = |what: &str, tensor: &Tensor, tolerance: fn(&[f64]) -> Tolerance| {
            let (got, want) = (tensor.to_vec().unwrap(), golden.wide(what));
            assert_eq!(tensor.shape(), golden.get(what).shape(), "{case}: {what}");
            assert_close(&format!("{case}: {what}"), &got, &want, tolerance(&want));
        };
        let (y, last) = lstm.forward_padded(&x, lengths, Some(&given)).unwrap();
        let pass = lstm.forward_training(&x, lengths, Some(&given), 1).unwrap();
        for (y, state) in [(&y, &last), (pass.output(), pass.state())] {
            check("y", y, |_| Tolerance::OUTPUT);
            check("h_n", &state.h, |_| Tolerance::OUTPUT);
            check("c_n", &state.c, |_| Tolerance::OUTPUT);
        }
        let dstate = state(device, &golden, ["dh_n", "dc_n"]);
        let got = pass.backward(Some(&golden.tensor(device, "dy")), Some(&dstate)).unwrap();
        check("grad.x", &got.x, Tolerance::gradient);
        check("grad.h_0", &got.h_0, Tolerance::gradient);
        check("grad.c_0", &got.c_0, Tolerance::gradient);
        let parameters = got.parameters().unwrap();
        assert_eq!(parameters.len() + 3, golden.named("grad.").len(), "every gradient is compared");
        for (name, array) in parameters {
            let want = golden.wide(&format!("grad.{name}"));
            let what = format!("{case}: {name}");
            assert_close(&what, array.data(), &want, Tolerance::gradient(&want));
        }
    }
}

/// Dropout between layers with masks that another implementation of the generator drew.
pub fn dropout(device: &Device) {
    const SEED: u64 = 0x1234_5678_9abc_def0;
    const STEP: u64 = 5;
    let all = Golden::read("dropout");
    for (case, directions, proj_size) in [("uni", 1, 0), ("bi", 2, 3)] {
        let golden = all.part(&format!("{case}."));
        let config = LstmConfig::new(3, 5)
            .layers(3)
            .bidirectional(directions == 2)
            .proj_size(proj_size)
            .dropout(0.3)
            .seed(SEED);
        let mut lstm = Lstm::new(device, config).unwrap();
        lstm.load_state_dict(&golden.named("weights.")).unwrap();
        let x = golden.tensor(device, "x");
        let pass = lstm.forward_training(&x, None, None, STEP).unwrap();
        for (what, tensor) in
            [("y", pass.output()), ("h_n", &pass.state().h), ("c_n", &pass.state().c)]
        {
            let got = tensor.to_vec().unwrap();
            assert_close(&format!("{case}: {what}"), &got, &golden.wide(what), Tolerance::OUTPUT);
        }
        let got = pass.backward(Some(&golden.tensor(device, "dy")), None).unwrap();
        let dx = Array::new(got.x.to_vec().unwrap(), got.x.shape()).unwrap();
        let mut found = got.parameters().unwrap();
        found.push(("x".to_owned(), dx));
        assert_eq!(found.len(), golden.named("grad.").len());
        for (name, array) in found {
            let want = golden.wide(&format!("grad.{name}"));
            assert_close(&name, array.data(), &want, Tolerance::gradient(&want));
        }
        // Inference drops nothing, and another step something else.
        let (y, _) = lstm.forward(&x, None).unwrap();
        let other = lstm.forward_training(&x, None, None, STEP + 1).unwrap();
        let [y, trained, other] =
            [&y, &golden.tensor(device, "y"), other.output()].map(|t| t.to_vec().unwrap());
        assert!(y != trained && y != other && other != trained);
        // The masks themselves, element by element.
        let key = Dropout::key(SEED, STEP);
        for layer in 0..2 {
            let mask = golden.get(&format!("mask_l{layer}"));
            let &[steps, batch, width] = mask.shape() else { panic!("[T, B, D P]") };
            let mut launch = super::kernels::Launch::new();
            let key = launch.buffer(Dropout::halves(key).to_vec(), 0);
            let ones = launch.buffer(vec![1.0; steps * batch * width], 0);
            let drop = Dropout { scale: 1.0, ..Dropout::new(0.3) };
            let (at, size) = ([0, 0, 0, layer], (steps, batch, width));
            let dispatch = gatefold::kernels::dropout::dispatch(drop, at, size, key, ones);
            assert_eq!(launch.run(device, dispatch, 1), mask.data());
        }
    }
}

/// Files of half precision, as PyTorch writes them.
pub fn half(device: &Device) {
    let results = Golden::read("half_results");
    for kind in ["f16", "bf16"] {
        let lstm = Lstm::load(device, file(&format!("half_{kind}"))).unwrap();
        let (y, _) = lstm.forward(&results.tensor(device, "x"), None).unwrap();
        let want = results.wide(&format!("y_{kind}"));
        assert_close(kind, &y.to_vec().unwrap(), &want, Tolerance::OUTPUT);
    }
}

/// nn.LSTMCell, under its names.
pub fn lstm_cell(device: &Device) {
    let golden = Golden::read("lstm_cell");
    let weights = golden.named("weights.");
    let mut cell = LstmCell::new(device, LstmConfig::new(3, 5)).unwrap();
    cell.load_state_dict(&weights).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cell.safetensors");
    cell.save(&path).unwrap();
    let x = golden.tensor(device, "x");
    let given = state(device, &golden, ["h_0", "c_0"]);
    let cells = [
        cell,
        LstmCell::load(device, &path).unwrap(),
        LstmCell::from_state_dict(device, &weights).unwrap(),
    ];
    for cell in cells {
        let next = cell.forward(&x, Some(&given)).unwrap();
        for (what, tensor) in [("h_1", next.h), ("c_1", next.c)] {
            assert_eq!(tensor.shape(), golden.get(what).shape());
            assert_close(what, &tensor.to_vec().unwrap(), &golden.wide(what), Tolerance::OUTPUT);
        }
    }
    assert!(Lstm::from_state_dict(device, &weights).is_err());
}
