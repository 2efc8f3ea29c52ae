//! The training toolbox against PyTorch, from the files that tests/golden/training.py has written.

use gatefold::command::{Command, Operation};
use gatefold::kernels::{self, View};
use gatefold::reference::{
    CommonSettings, GROUP_BLOCK, SgdSettings, Tolerance, policy, scalars, sort_tokens, status,
};
use gatefold::train::{
    Adam, AdamW, Loss, Optimizer, ParameterGroup, RmsProp, Schedule, Scheduler, Sgd, Trainer,
    gradients,
};
use gatefold::{Array, Bias, Dataset, Device, Forecaster, Init, LstmConfig, Readout};

use super::golden::{Golden, optimizer_steps, rows};
use super::kernels::Launch;
use super::{assert_close, wide};

/// Of numbers that PyTorch has in f32 as we do: sums of at most 1,200 terms of a few roundings each.
const ROUNDED: f64 = 2e-6;

fn relative(relative: f64) -> Tolerance {
    Tolerance::Mixed { absolute: 0.0, relative }
}

fn absolute(absolute: f64) -> Tolerance {
    Tolerance::Mixed { absolute, relative: 0.0 }
}

/// As [`ROUNDED`], of the largest element: where terms cancel, as in `softmax - target`, the rounding
/// is that of the terms.
fn of_the_largest(want: &[f64]) -> Tolerance {
    absolute(ROUNDED * want.iter().fold(0.0f64, |most, v| most.max(v.abs())))
}

/// What a device makes of a gate that is closed by -200: as good as nothing.
const CLOSED: f64 = 1e-30;

/// A model that answers what it is told: token `r` with row `r` of `rows`, to the bit but for zeros.
///
/// The cells start at 20, forget nothing and learn nothing, and their tanh is 1; the token opens one
/// output gate, to the full, and closes all others. So the hidden state is one-hot, and the answers are
/// the columns of `fc.weight`.
fn answering(device: &Device, rows: &Array, every_step: bool) -> Forecaster {
    let outputs = *rows.shape().last().unwrap();
    let tokens = rows.data().len() / outputs;
    let config = LstmConfig::new(tokens, tokens).one_hot().bias(Bias::Single).learned_state(true);
    let config = config.init("", Init::Zeros);
    let mut model = match every_step {
        true => Forecaster::every_step(device, config, outputs),
        false => Forecaster::new(device, config, outputs),
    }
    .unwrap();
    let mut dict = model.state_dict().unwrap();
    for (name, array) in &mut dict {
        let mut values = array.data().to_vec();
        match name.as_str() {
            "lstm.weight_ih_l0" => {
                (0..tokens).for_each(|r| values[(3 * tokens + r) * tokens + r] = 250.0);
            }
            "lstm.bias_ih_l0" => {
                values[tokens..2 * tokens].fill(50.0);
                values[3 * tokens..].fill(-200.0);
            }
            "lstm.c_0" => values.fill(20.0),
            "fc.weight" => {
                for (at, v) in values.iter_mut().enumerate() {
                    *v = rows.data()[at % tokens * outputs + at / tokens];
                }
            }
            _ => {}
        }
        *array = Array::new(values, array.shape()).unwrap();
    }
    model.load_state_dict(&dict).unwrap();
    model
}

/// The tokens of [`answering`], as many in a sequence.
fn asked(count: usize, steps: usize) -> Array {
    Array::new((0..count).map(|token| token as f32).collect(), &[count / steps, steps]).unwrap()
}

/// The loss of a name in the golden.
fn loss_named(name: &str, golden: &Golden) -> Loss {
    let setting = || name.split('_').next_back().unwrap().parse().unwrap();
    let has = |option: &str| name.split('_').any(|part| part == option);
    match name.split('_').next().unwrap() {
        "mse" => Loss::mse(),
        "l1" => Loss::l1(),
        "huber" => Loss::huber(setting()),
        "smooth" => Loss::smooth_l1(setting()),
        "bce" => Loss::bce_with_logits(),
        "ce" => {
            let mut loss = Loss::cross_entropy();
            if has("weights") {
                loss = loss.class_weights(golden.get("class_weights").data().to_vec());
            }
            if has("smoothing") {
                loss = loss.label_smoothing(0.1);
            }
            if has("ignore") { loss.ignore_index(3) } else { loss }
        }
        other => panic!("{other} is no loss"),
    }
}

/// Every loss, as mean and as sum, and its gradient by the predictions.
pub fn losses(device: &Device) {
    let all = Golden::read("losses");
    // `huber_0.7.mean`: the case ends before the last dot.
    let mut cases: Vec<&str> =
        all.names().filter_map(|name| name.strip_suffix(".target")).collect();
    cases.sort_unstable();
    assert_eq!(cases.len(), 7 + 2 + 11 + 2, "{cases:?}");
    for case in cases {
        let golden = all.part(&format!("{case}."));
        let (prediction, target) = (golden.get("prediction"), golden.get("target"));
        let every_step = golden.has("lengths");
        let outputs = *prediction.shape().last().unwrap();
        let count = prediction.data().len() / outputs;
        let steps = if every_step { prediction.shape()[1] } else { 1 };
        let model = answering(device, prediction, every_step);
        let x = asked(count, steps);
        let answers = model.predict(&x).unwrap();
        assert_close(case, answers.data(), &wide(prediction.data()), absolute(CLOSED));
        let mut batch = Dataset::new(x, target.clone()).unwrap();
        if every_step {
            let lengths: Vec<usize> =
                golden.get("lengths").data().iter().map(|&length| length as usize).collect();
            batch = batch.with_lengths(&lengths).unwrap();
        }
        let loss = loss_named(case, &golden);
        for (reduction, loss) in [("mean", loss.clone()), ("sum", loss.sum())] {
            let what = format!("{case}, {reduction}");
            let got = gradients(&model, &batch, &loss).unwrap();
            assert_close(&what, &[got.loss], &golden.wide(reduction), relative(ROUNDED));
            let (_, dw) = got.parameters.iter().find(|(name, _)| name == "fc.weight").unwrap();
            let dy: Vec<f32> = (0..prediction.data().len())
                .map(|at| dw.data()[at % outputs * count + at / outputs])
                .collect();
            let want = golden.wide(&format!("grad_{reduction}"));
            assert_close(&what, &dy, &want, of_the_largest(&want));
            let zeros = |(&got, &want): (&f32, &f64)| want != 0.0 || f64::from(got.abs()) < CLOSED;
            assert!(dy.iter().zip(&want).all(zeros), "{what}: what doesn't count has a gradient");
        }
    }
}

/// Ten steps of each optimizer from stored gradients.
pub fn optimizers(device: &Device) {
    let golden = Golden::read("optimizers");
    let configs: [(&str, Optimizer); 8] = [
        ("sgd", Sgd::new(0.003).into()),
        ("sgd_momentum", Sgd::new(0.003).momentum(0.9).into()),
        ("sgd_dampening", Sgd::new(0.003).momentum(0.9).dampening(0.3).weight_decay(0.05).into()),
        ("sgd_nesterov", Sgd::new(0.003).momentum(0.9).nesterov().weight_decay(0.1).into()),
        ("adamw", AdamW::new(0.003).betas(0.8, 0.99).eps(1e-7).weight_decay(0.1).into()),
        ("rmsprop", RmsProp::new(0.003).into()),
        (
            "rmsprop_momentum",
            RmsProp::new(0.001).alpha(0.9).momentum(0.8).weight_decay(0.05).into(),
        ),
        ("rmsprop_centered", RmsProp::new(0.001).centered().momentum(0.8).into()),
    ];
    let of_golden = golden.names().filter(|name| name.ends_with(".after")).count();
    assert_eq!(of_golden, configs.len());
    for (name, optimizer) in configs {
        let (p, gradients) = (golden.get("p").data(), golden.get("gradients").data());
        let steps = optimizer_steps(device, &optimizer, p, gradients).concat();
        let want = golden.wide(&format!("{name}.after"));
        assert_close(name, &steps, &want, Tolerance::OPTIMIZER);
    }
}

/// Rates of every step, and after every metric. Both are computed in double precision; the golden is
/// rounded to single.
pub fn schedules(_: &Device) {
    let golden = Golden::read("schedules");
    let check = |name: &str, got: Vec<f64>| {
        let got: Vec<f32> = got.into_iter().map(|rate| rate as f32).collect();
        assert_close(name, &got, &golden.wide(name), relative(1e-6));
    };
    let step = Scheduler::new(Schedule::Step { step_size: 7, gamma: 0.3 });
    check("step", (0..60).map(|epoch| step.rate(0.1, 1000, epoch)).collect());
    for warmup in [0, 5] {
        let cosine = Scheduler::new(Schedule::Cosine { warmup, total: 40, min_factor: 0.01 });
        let rates = (0..40).map(|step| cosine.rate(0.1, step, 1000)).collect();
        check(&format!("warm_cosine_{warmup}"), rates);
    }
    let (factor, min_lr) = (0.5, 0.004);
    let mut plateau = Scheduler::new(Schedule::Plateau {
        factor,
        patience: 3,
        threshold: 1e-4,
        cooldown: 2,
        min_lr,
    });
    let metrics = golden.get("plateau.metrics").data();
    let rates = metrics.iter().map(|&metric| {
        plateau.observe(metric.into());
        plateau.rate(0.1, 1000, 1000)
    });
    check("plateau", rates.collect());
}

/// Gradients as a step takes them: a step of rate 1 from zero is their negative.
pub fn clipping(device: &Device) {
    let golden = Golden::read("clipping");
    let tensors = ["a", "b"];
    // Each tensor starts with a block.
    let len = GROUP_BLOCK * tensors.len();
    let flat = |prefix: &str| {
        let mut flat = vec![0.0; len];
        for (i, name) in tensors.into_iter().enumerate() {
            let data = golden.get(&format!("{prefix}.{name}")).data();
            flat[i * GROUP_BLOCK..][..data.len()].copy_from_slice(data);
        }
        flat
    };
    for (case, max_norm, clip_value) in
        [("norm_1", 1.0, f32::MAX), ("norm_100", 100.0, f32::MAX), ("value_0.1", f32::MAX, 0.1)]
    {
        let common = CommonSettings { clip_value, ..CommonSettings::new(1.0) };
        let row = SgdSettings { common, momentum: 0.0, gradient_share: 1.0, nesterov: false }.row();
        let mut said = [0.0; scalars::LEN];
        (said[scalars::MAX_NORM], said[scalars::POLICY]) = (max_norm, policy::ERROR);
        let mut launch = Launch::new();
        let settings = launch.buffer(row.to_vec(), 0);
        let groups = launch.buffer(vec![0.0; len / GROUP_BLOCK], 0);
        let g = launch.buffer(flat("grad"), 0);
        let p = launch.buffer(vec![0.0; len], 0);
        let status = launch.buffer(vec![0.0; status::LEN], 0);
        let partials = launch.poisoned(2);
        let (scalars, loss) = (launch.buffer(said.to_vec(), 0), launch.buffer(vec![1.0], 0));
        let momentum = launch.poisoned(1);
        let norm = kernels::gradient_norm::Operands { settings, groups, g, partials };
        let clip = kernels::clip_scale::Operands { scalars, loss, partials, status };
        let sgd = kernels::sgd::Operands { settings, groups, status, g, p, momentum };
        let dispatches = [
            kernels::gradient_norm::dispatch(len, (kernels::gradient_norm::CHUNK, 0), &norm),
            kernels::clip_scale::dispatch(1, &clip),
        ];
        for dispatch in dispatches {
            let (label, operation) = (case.to_owned(), Operation::Dispatch(dispatch));
            launch.program.commands.push(Command { label, operation });
        }
        let index = |view: View| view.range.buffer.0;
        let step = kernels::sgd::dispatch(len, false, &sgd);
        let again = Launch { program: launch.program.clone(), contents: launch.contents.clone() };
        let found = again.run(device, step.clone(), index(status));
        assert_close(case, &[found[self::status::NORM]], &golden.wide("norm"), relative(ROUNDED));
        let after = launch.run(device, step, index(p));
        let clipped: Vec<f32> = after.iter().map(|v| -v).collect();
        assert_close(case, &clipped, &wide(&flat(case)), relative(ROUNDED));
        let changed = clipped != flat("grad");
        assert_eq!(changed, case != "norm_100", "{case}");
    }
}

/// A whole run beside the golden's: the loss, the norm and the rate of every step where the golden has
/// them, and the weights that are left.
fn run(
    device: &Device,
    name: &str,
    model: impl Fn(&Device) -> Forecaster,
    trainer: impl Fn(Forecaster, &Golden) -> Trainer,
) {
    let golden = Golden::read("training_runs").part(&format!("{name}."));
    let data = |what: &str| {
        let array = golden.get(&format!("data.{what}"));
        match golden.has("data.order") {
            true => rows(array, golden.get("data.order").data()),
            false => array.clone(),
        }
    };
    let mut train = Dataset::new(data("x"), data("y")).unwrap();
    if golden.has("data.lengths") {
        let lengths: Vec<usize> = data("lengths").data().iter().map(|&v| v as usize).collect();
        train = train.with_lengths(&lengths).unwrap();
    }
    let start = || {
        let mut model = model(device);
        model.load_state_dict(&golden.named("weights.")).unwrap();
        trainer(model, &golden).epochs(2)
    };
    let mut told: Vec<(f64, Option<f32>, f64)> = Vec::new();
    let mut trainer = start().report_every_steps(1);
    let report = trainer
        .fit(&train, None, |p| told.push((p.samples_per_second, p.gradient_norm, p.lr)))
        .unwrap();

    assert_close("losses", &report.step_losses, &golden.wide("losses"), Tolerance::LOSS);
    assert_eq!(told.len(), report.step_losses.len());
    assert!(told.iter().all(|(speed, ..)| *speed > 0.0 && speed.is_finite()));
    if golden.has("norms") {
        let norms: Vec<f32> = told.iter().map(|(_, norm, _)| norm.unwrap()).collect();
        assert_close("norms", &norms, &golden.wide("norms"), relative(1e-4));
    }
    if golden.has("rates") {
        let rates: Vec<f32> = told.iter().map(|(.., lr)| *lr as f32).collect();
        assert_close("rates", &rates, &golden.wide("rates"), relative(1e-6));
    }
    let trained = trainer.model().state_dict().unwrap();
    assert_eq!(trained.len(), golden.named("trained.").len());
    for (weight, array) in &trained {
        // What is measured: noise of 1e-6 of the gradients moves weights by up to 4e-5, where Adam or
        // RMSprop divide one that is near zero by its own size.
        let (want, before) =
            (golden.wide(&format!("trained.{weight}")), format!("weights.{weight}"));
        assert_close(weight, array.data(), &want, absolute(1e-4));
        assert_eq!(
            array.data() == golden.get(&before).data(),
            golden.get(&format!("trained.{weight}")) == golden.get(&before),
            "whether {weight} has moved"
        );
    }
    // Reports change nothing.
    let mut quiet = start();
    assert_eq!(quiet.fit(&train, None, |_| ()).unwrap().step_losses, report.step_losses);
    assert_eq!(quiet.model().state_dict().unwrap(), trained);
}

fn weighted(golden: &Golden) -> Loss {
    let weights = golden.get("class_weights").data().to_vec();
    Loss::cross_entropy().class_weights(weights).label_smoothing(0.1)
}

pub fn classes_of_sequences(device: &Device) {
    let model = |device: &Device| Forecaster::new(device, LstmConfig::new(3, 7), 4).unwrap();
    run(device, "classes_last", model, |model, golden| {
        let sgd = Sgd::new(0.05).momentum(0.9).nesterov();
        Trainer::new(model, weighted(golden), sgd).batch_size(5)
    });
}

pub fn classes_of_every_step(device: &Device) {
    let model = |device: &Device| {
        let config = LstmConfig::new(4, 6).layers(2).embedding(11);
        Forecaster::every_step(device, config, 5).unwrap()
    };
    run(device, "classes_every_step", model, |model, _| {
        let adam = AdamW::new(0.01).weight_decay(0.1);
        let trainer = Trainer::new(model, Loss::cross_entropy(), adam).batch_size(5);
        trainer.group(ParameterGroup::of("bias").weight_decay(0.0)).clip_norm(0.25)
    });
}

pub fn values_of_every_step(device: &Device) {
    let model = |device: &Device| Forecaster::every_step(device, LstmConfig::new(3, 6), 2).unwrap();
    run(device, "values_every_step", model, |model, _| {
        let rmsprop = RmsProp::new(0.005).momentum(0.5);
        Trainer::new(model, Loss::huber(0.7), rmsprop)
            .batch_size(5)
            .group(ParameterGroup::of("lstm.weight_hh_l0").frozen())
            .clip_value(0.02)
            .schedule(Schedule::Cosine { warmup: 3, total: 10, min_factor: 0.01 })
    });
}

pub fn binary_with_lengths(device: &Device) {
    let model = |device: &Device| {
        // The script reads the output at a row's last timestep, of both directions.
        let config = LstmConfig::new(2, 6).bidirectional(true).readout(Readout::LastOutput);
        Forecaster::new(device, config, 1).unwrap()
    };
    run(device, "binary_last_lengths", model, |model, _| {
        Trainer::new(model, Loss::bce_with_logits(), Adam::new(0.01)).batch_size(5)
    });
}

pub fn truncated(device: &Device) {
    for name in ["tbptt", "tbptt_lengths"] {
        let model =
            |device: &Device| Forecaster::every_step(device, LstmConfig::new(3, 7), 2).unwrap();
        run(device, name, model, |model, _| {
            Trainer::new(model, Loss::mse(), Sgd::new(0.1)).batch_size(4).truncate(5)
        });
    }
}

pub fn accumulated(device: &Device) {
    let model = |device: &Device| Forecaster::new(device, LstmConfig::new(3, 7), 4).unwrap();
    run(device, "accumulate", model, |model, golden| {
        Trainer::new(model, weighted(golden), Adam::new(0.01)).batch_size(5).accumulate(3)
    });
}

/// Rows of a table, and their gradient where one is asked for never, once or often.
pub fn embedding(device: &Device) {
    let golden = Golden::read("embedding");
    let (weight, tokens) = (golden.get("weight"), golden.get("tokens").data());
    let &[vocab, width] = weight.shape() else { panic!("[V, K]") };
    let mut launch = Launch::new();
    let chosen = launch.buffer(tokens.to_vec(), 0);
    let table = launch.buffer(weight.data().to_vec(), 0);
    let out = launch.poisoned(tokens.len() * width);
    let size = (tokens.len(), vocab, width);
    let y = launch.run(device, kernels::embedding::dispatch(size, chosen, table, out), 2);
    assert_eq!(y, golden.get("y").data());

    let (order, offsets) = sort_tokens(tokens.iter().map(|&token| Some(token as usize)), vocab);
    let mut launch = Launch::new();
    let at = kernels::embedding_backward::Operands {
        dy: launch.buffer(golden.get("dy").data().to_vec(), 0),
        order: launch.buffer(order, 0),
        offsets: launch.buffer(offsets, 0),
        dweight: launch.poisoned(vocab * width),
    };
    let size = (vocab, width);
    let all = (0, tokens.len());
    let dispatch = kernels::embedding_backward::dispatch(size, 0, all, false, &at);
    let want = golden.wide("grad.weight");
    assert_close("gradient", &launch.run(device, dispatch, 3), &want, of_the_largest(&want));
    assert!(want[2 * width..][..width].iter().all(|v| *v == 0.0), "a token that isn't there");
}

/// Softmax, its logarithm in the loss, and the first of the largest.
pub fn probabilities_and_classes(device: &Device) {
    let golden = Golden::read("embedding");
    let logits = golden.get("logits");
    let &[count, classes] = logits.shape() else { panic!("[R, C]") };
    let model = answering(device, logits, false);
    let x = asked(count, 1);
    let probabilities = model.probabilities(&x).unwrap();
    assert_eq!(probabilities.shape(), [count, classes]);
    let (got, want) = (probabilities.data(), golden.wide("softmax"));
    assert_close("softmax", got, &want, Tolerance::PROBABILITY);
    let found = model.classes(&x).unwrap();
    assert_eq!(found.shape(), [count]);
    let found: Vec<f32> = found.data().iter().map(|&class| class as f32).collect();
    assert_eq!(found, golden.get("argmax").data());

    let want = golden.wide("log_softmax");
    for (at, want) in want.into_iter().enumerate() {
        let token = Array::new(vec![(at / classes) as f32], &[1, 1]).unwrap();
        let class = Array::new(vec![(at % classes) as f32], &[1]).unwrap();
        let batch = Dataset::new(token, class).unwrap();
        let got = gradients(&model, &batch, &Loss::cross_entropy()).unwrap();
        // `ln(1 + small)` has the rounding of the 1.
        let tolerance = Tolerance::Mixed { absolute: 2e-7, relative: ROUNDED };
        assert_close("log_softmax", &[-got.loss], &[want], tolerance);
    }
}
