//! What counts of targets: weights and gaps, batches in which nothing does; and answers by yes or no.

use gatefold::data::Batch;
use gatefold::reference::Tolerance;
use gatefold::train::{Adam, AdamW, Loss, Sgd, Trainer, gradients};
use gatefold::{
    Activation, Array, Dataset, Device, Error, Forecaster, Init, LstmConfig, Result, checkpoint,
};

use super::random::{Random, normal};
use super::{assert_close, trained_bits, wide};

const GAPS: [f32; 5] = [f32::NAN, f32::INFINITY, -3.0, 0.5, 1e9];

fn array(values: Vec<f32>, shape: &[usize]) -> Array {
    Array::new(values, shape).unwrap()
}

fn losses() -> [Loss; 7] {
    [
        Loss::mse(),
        Loss::l1(),
        Loss::huber(0.5),
        Loss::smooth_l1(0.5),
        Loss::bce_with_logits(),
        Loss::cross_entropy().label_smoothing(0.1),
        Loss::cross_entropy().class_weights(vec![0.5, 2.0, 1.0]),
    ]
}

/// Seven sequences of five timesteps and two features, with three outputs' targets at each timestep.
fn data(loss: &Loss, gap: Option<(&[f32], f32)>) -> Dataset {
    let mut random = Random::new(3);
    let x = array(normal(7 * 5 * 2, 1.0, 1), &[7, 5, 2]);
    let (shape, each): (&[usize], usize) =
        if loss.is_of_classes() { (&[7, 5], 1) } else { (&[7, 5, 3], 3) };
    let mut y: Vec<f32> = (0..35 * each).map(|_| random.below(3) as f32 / 2.0).collect();
    if loss.is_of_classes() {
        y.iter_mut().for_each(|y| *y *= 2.0);
    }
    if let Some((weights, value)) = gap {
        for (n, y) in y.iter_mut().enumerate().filter(|(n, _)| weights[n / each] == 0.0) {
            *y = if n % 2 == 0 { value } else { GAPS[n % 5] };
        }
    }
    Dataset::new(x, array(y, shape)).unwrap()
}

fn model(device: &Device) -> Forecaster {
    let config = LstmConfig::new(2, 6).init("fc", Init::Uniform { bound: 1.0 });
    Forecaster::every_step(device, config, 3).unwrap()
}

fn trainer(device: &Device, loss: &Loss) -> Trainer {
    Trainer::new(model(device), loss.clone(), AdamW::new(0.02)).batch_size(3).epochs(2)
}

/// Weights of 35 timesteps, gaps among them.
fn weights() -> Vec<f32> {
    (0..35).map(|n| [1.0, 0.0, 0.25, 2.0, 0.0, 1.0][n * n % 6]).collect()
}

/// Whatever stands in a gap, training, evaluation and shares come to the same bits.
pub fn gaps_reach_nothing(device: &Device) {
    let weights = weights();
    for loss in losses().into_iter().chain([Loss::mse().sum()]) {
        let fill = if loss.is_of_classes() { 0.0 } else { 0.25 };
        let mut seen = Vec::new();
        for value in [fill].into_iter().chain(GAPS) {
            let data = data(&loss, Some((&weights, value)));
            let data = data.with_weights(array(weights.clone(), &[7, 5])).unwrap();
            let mut trainer = trainer(device, &loss);
            let report = trainer.fit(&data, Some(&data), |_| ()).unwrap();
            assert!(report.step_losses.iter().all(|loss| loss.is_finite()), "{loss:?}");
            let share = trainer.accuracy(&data).map(f64::to_bits).ok();
            let step_losses: Vec<u32> = report.step_losses.iter().map(|v| v.to_bits()).collect();
            let validation = report.validation.unwrap().to_bits();
            seen.push((trained_bits(&trainer), step_losses, validation, share));
        }
        assert!(
            seen.windows(2).all(|pair| pair[0] == pair[1]),
            "{loss:?}: a gap reaches something"
        );
    }
}

/// Weights that are all 1 are as none, wherever they come in.
pub fn weights_of_one_are_none(device: &Device) {
    for loss in losses() {
        let plain = data(&loss, None);
        let of_steps = plain.clone().with_weights(array(vec![1.0; 35], &[7, 5])).unwrap();
        let of_rows = plain.clone().with_weights(array(vec![1.0; 7], &[7])).unwrap();
        let run = |data: &Dataset| {
            let mut trainer = trainer(device, &loss);
            let report = trainer.fit(data, Some(data), |_| ()).unwrap();
            let share = trainer.accuracy(data).ok();
            (trained_bits(&trainer), report.step_losses, report.losses, report.validation, share)
        };
        let want = run(&plain);
        assert!(run(&of_steps) == want && run(&of_rows) == want, "{loss:?}");
    }
}

/// Sequences of weight 0 are as if they weren't there, one of weight 2 is as if it were there twice.
pub fn weights_are_repetitions(device: &Device) {
    for loss in losses() {
        let all = data(&loss, None);
        let weighted =
            all.clone().with_weights(array(vec![1.0, 0.0, 2.0, 1.0, 0.0, 3.0, 1.0], &[7]));
        let rows = [0, 2, 2, 3, 5, 5, 5, 6];
        let part = |of: &Array| {
            let each = of.data().len() / 7;
            let values = rows.iter().flat_map(|row| &of.data()[row * each..][..each]).copied();
            let mut shape = of.shape().to_vec();
            shape[0] = rows.len();
            array(values.collect(), &shape)
        };
        let repeated = Dataset::new(part(all.x()), part(all.y())).unwrap();
        let model = model(device);
        let got = gradients(&model, &weighted.unwrap(), &loss).unwrap();
        let want = gradients(&model, &repeated, &loss).unwrap();
        let close = Tolerance::Mixed { absolute: 0.0, relative: 1e-5 };
        assert_close("loss", &[got.loss], &[want.loss.into()], close);
        for ((name, got), (_, want)) in got.parameters.iter().zip(&want.parameters) {
            let want = wide(want.data());
            let most = want.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            let close = Tolerance::Mixed { absolute: 1e-5 * most, relative: 0.0 };
            assert_close(&format!("{loss:?}: {name}"), got.data(), &want, close);
        }
    }
}

/// Batches of a program's own and futures take the same steps.
pub fn weights_come_by_every_way(device: &Device) {
    let (loss, weights) = (Loss::cross_entropy(), weights());
    let data = data(&loss, Some((&weights, f32::NAN)));
    let data = data.with_weights(array(weights, &[7, 5])).unwrap();
    let mut whole = trainer(device, &loss);
    let want = whole.fit(&data, None, |_| ()).unwrap();
    let part = |of: &Array, rows: std::ops::Range<usize>| {
        let each = of.data().len() / 7;
        let shape = [&[rows.len()], &of.shape()[1..]].concat();
        array(of.data()[rows.start * each..rows.end * each].to_vec(), &shape)
    };
    let batches = |_: usize| {
        let of = |rows: std::ops::Range<usize>| -> Result<Batch> {
            let weight = |row: usize| (0..5).map(move |t| (row, t));
            let weights = rows.clone().flat_map(weight).map(|(row, t)| data.weight(row, t));
            let weights = array(weights.collect(), &[rows.len(), 5]);
            let data = Dataset::new(part(data.x(), rows.clone()), part(data.y(), rows))?;
            Ok(data.with_weights(weights)?.into())
        };
        [0..3, 3..6, 6..7].map(of)
    };
    let mut given = trainer(device, &loss);
    assert_eq!(given.fit_batches(batches, None, |_| ()).unwrap().step_losses, want.step_losses);
    let mut later = trainer(device, &loss);
    let report = pollster::block_on(later.fit_async(&data, None, |_| ())).unwrap();
    assert_eq!(report, want);
    assert!(trained_bits(&given) == trained_bits(&whole));
    assert!(trained_bits(&later) == trained_bits(&whole));
}

fn refused<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(error @ (Error::Value { .. } | Error::Shape { .. })) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

/// Weights and targets that can't be: an error that says which and where.
pub fn bad_weights_and_targets_are_named(device: &Device) {
    let loss = Loss::mse();
    for bad in [-1.0, f32::NAN, f32::INFINITY] {
        let mut weights = vec![1.0; 35];
        weights[13] = bad;
        let said = refused(data(&loss, None).with_weights(array(weights, &[7, 5])));
        assert!(said.contains("sequence 2, timestep 3") && said.contains("at least 0"), "{said}");
        let said = refused(
            data(&loss, None).with_weights(array(vec![1.0, 1.0, bad, 1.0, 1.0, 1.0, 1.0], &[7])),
        );
        assert!(said.contains("weights, sequence 2:") || said.contains("sequence 2"), "{said}");
    }
    for shape in [&[5][..], &[7, 4], &[5, 7], &[7, 5, 3]] {
        let len = shape.iter().product();
        refused(data(&loss, None).with_weights(array(vec![2.0; len], shape)));
    }
    // A weight of each timestep, where a sequence has one target.
    let x = array(normal(4 * 3, 1.0, 1), &[2, 3, 2]);
    let once = Dataset::new(x, array(vec![0.5; 6], &[2, 3])).unwrap();
    let once = once.with_weights(array(vec![2.0; 6], &[2, 3])).unwrap();
    let model = Forecaster::new(device, LstmConfig::new(2, 4), 3).unwrap();
    let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.1));
    let said = refused(trainer.fit(&once, None, |_| ()));
    assert!(said.contains("weights of the training set"), "{said}");

    // Targets of a binary cross-entropy.
    let loss = Loss::bce_with_logits();
    let mut trainer = self::trainer(device, &loss);
    for bad in [-0.1, 1.1, 7.0, f32::NAN] {
        let good = data(&loss, None);
        let mut y = good.y().data().to_vec();
        y[(3 * 5 + 2) * 3 + 1] = bad;
        let wrong = Dataset::new(good.x().clone(), array(y, &[7, 5, 3])).unwrap();
        let said = refused(trainer.fit(&wrong, None, |_| ()));
        assert!(said.contains("sequence 3, timestep 2, element 1"), "{said}");
        assert!(said.contains("from 0 to 1"), "{said}");
        refused(trainer.evaluate(&wrong));
        refused(gradients(trainer.model(), &wrong, &loss));
        // Not behind the end, and not in a gap.
        trainer.evaluate(&wrong.clone().with_lengths(&[5, 5, 5, 2, 5, 5, 5]).unwrap()).unwrap();
        let mut weights = vec![1.0; 35];
        weights[3 * 5 + 2] = 0.0;
        trainer.evaluate(&wrong.with_weights(array(weights, &[7, 5])).unwrap()).unwrap();
    }
}

/// Two classes, told apart by the head's biases alone: what the losses are, is known.
fn known(device: &Device) -> Forecaster {
    let config = LstmConfig::new(1, 2).init("fc.weight", Init::Constant(0.0));
    let mut model = Forecaster::new(device, config, 2).unwrap();
    let mut dict = model.state_dict().unwrap();
    for (name, values) in &mut dict {
        if name == "fc.bias" {
            *values = array(vec![1.0, -0.5], &[2]);
        }
    }
    model.load_state_dict(&dict).unwrap();
    model
}

fn of_classes(y: &[f32]) -> Dataset {
    let x = array(normal(3 * y.len(), 1.0, 1), &[y.len(), 3, 1]);
    Dataset::new(x, array(y.to_vec(), &[y.len()])).unwrap()
}

/// Sets and batches in which nothing counts.
pub fn nothing_counts(device: &Device) {
    let ignored = -100.0;
    let trainer = || Trainer::new(known(device), Loss::cross_entropy(), Sgd::new(0.0)).epochs(1);
    // By the softmax of [1, -0.5].
    let loss = |class: usize| (1.0f64 + (-1.5f64).exp()).ln() + [0.0, 1.5][class];
    let close = Tolerance::LOSS;

    // A second batch that counts nothing, or less, is no half of the mean.
    let half = of_classes(&[1.0, 0.0, ignored, ignored]);
    let report = trainer().batch_size(2).fit(&half, None, |_| ()).unwrap();
    assert_close("epoch", &report.losses, &[(loss(0) + loss(1)) / 2.0], close);
    assert!(!report.step_losses[0].is_nan() && report.step_losses[1].is_nan());
    let third = of_classes(&[1.0, 0.0, 1.0, ignored, 0.0]);
    let mut told = Vec::new();
    let report = trainer().batch_size(2).fit(&third, None, |p| told.push(p.loss)).unwrap();
    assert_close("epoch", &report.losses, &[(2.0 * loss(0) + 2.0 * loss(1)) / 4.0], close);
    assert_eq!(told, report.losses);
    // By weights, and stopped in the middle of the epoch.
    let weighted =
        of_classes(&[1.0, 0.0, 1.0]).with_weights(array(vec![3.0, 1.0, 0.5], &[3])).unwrap();
    let mut first = trainer().batch_size(2).max_steps(1);
    assert!(first.fit(&weighted, None, |_| ()).unwrap().losses.is_empty());
    let report = first.fit(&weighted, None, |_| ()).unwrap();
    assert_close("epoch", &report.losses, &[(3.5 * loss(1) + loss(0)) / 4.5], close);
    // A sum is one, whatever counts.
    let sums = Trainer::new(known(device), Loss::cross_entropy().sum(), Sgd::new(0.0)).epochs(1);
    let report = sums.batch_size(2).fit(&half, None, |_| ()).unwrap();
    assert_close("sums", &report.step_losses, &[loss(0) + loss(1), 0.0], close);
    assert_close("mean of sums", &report.losses, &[(loss(0) + loss(1)) / 2.0], close);

    // Nothing at all.
    let none = of_classes(&[ignored; 4]);
    let gone = of_classes(&[1.0; 4]).with_weights(array(vec![0.0; 4], &[4])).unwrap();
    for none in [&none, &gone] {
        assert!(trainer().evaluate(none).unwrap().is_nan());
        assert!(trainer().accuracy(none).unwrap().is_nan());
        let all = gradients(&known(device), none, &Loss::cross_entropy()).unwrap();
        assert!(all.loss.is_nan());
        assert!(all.parameters.iter().all(|(_, of)| of.data().iter().all(|&v| v == 0.0)));
        let said = refused(trainer().fit(none, None, |_| ()));
        assert!(said.contains("the training set") && said.contains("counts"), "{said}");
        for kept in [trainer(), trainer().keep_best(), trainer().early_stopping(2)] {
            let said = refused({ kept }.fit(&half, Some(none), |_| ()));
            assert!(said.contains("the validation set") && said.contains("counts"), "{said}");
        }
        // A step of such a batch moves nothing by itself.
        let model = known(device);
        let before = model.state_dict().unwrap();
        let mut stepped = Trainer::new(model, Loss::cross_entropy(), Sgd::new(0.5)).epochs(1);
        let batch = |_: usize| [Ok(Batch::from(none.clone()))];
        let report = stepped.fit_batches(batch, None, |_| ()).unwrap();
        assert!(report.step_losses[0].is_nan() && report.losses[0].is_nan());
        assert_eq!(stepped.model().state_dict().unwrap(), before);
    }
}

/// A model whose logits are about 7.31 and -8.23 for two sequences.
fn two_logits(device: &Device, loss: Loss) -> (Trainer, Array) {
    let x = array(vec![2.0, -2.0], &[2, 1, 1]);
    let mut model = Forecaster::new(device, LstmConfig::new(1, 1).seed(2), 1).unwrap();
    let put = |model: &mut Forecaster, weight: f32, bias: f32| {
        let mut dict = model.state_dict().unwrap();
        for (name, values) in &mut dict {
            match name.as_str() {
                "fc.weight" => *values = array(vec![weight], &[1, 1]),
                "fc.bias" => *values = array(vec![bias], &[1]),
                _ => {}
            }
        }
        model.load_state_dict(&dict).unwrap();
    };
    put(&mut model, 1.0, 0.0);
    let h = model.predict(&x).unwrap();
    let weight = (7.31 + 8.23) / (h.data()[0] - h.data()[1]);
    put(&mut model, weight, 7.31 - weight * h.data()[0]);
    (Trainer::new(model, loss, Adam::new(0.1)), x)
}

/// One output is a question, whatever the loss.
pub fn one_logit(device: &Device) {
    for loss in [Loss::bce_with_logits(), Loss::mse()] {
        let (trainer, x) = two_logits(device, loss);
        let model = trainer.model();
        let logits = model.predict(&x).unwrap();
        let close = Tolerance::Mixed { absolute: 0.0, relative: 1e-4 };
        assert_close("logits", logits.data(), &[7.31, -8.23], close);
        let shares = model.probabilities(&x).unwrap();
        assert_eq!(shares.shape(), [2, 1]);
        let close = Tolerance::Mixed { absolute: 1e-5, relative: 0.0 };
        assert_close("shares", shares.data(), &[0.99933, 0.00027], close);
        assert_eq!(model.classes(&x).unwrap(), Array::integers(vec![1, 0], &[2]).unwrap());
        assert_eq!(model.activation(), Activation::Sigmoid);
    }
    let (trainer, x) = two_logits(device, Loss::bce_with_logits());
    let share = |y: [f32; 2]| {
        let data = Dataset::new(x.clone(), array(y.to_vec(), &[2, 1])).unwrap();
        trainer.accuracy(&data).unwrap()
    };
    assert_eq!([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]].map(share), [1.0, 0.5, 0.0]);
    // Where there is a prediction at every timestep, and with lengths.
    let model = Forecaster::every_step(device, LstmConfig::new(1, 3), 1).unwrap();
    let x = array(normal(2 * 4, 2.0, 1), &[2, 4, 1]);
    let logits = model.predict((&x, &[4, 2])).unwrap();
    let classes = model.classes((&x, &[4, 2])).unwrap();
    assert_eq!(classes.shape(), [2, 4]);
    for at in [0, 1, 2, 3, 4, 5] {
        assert_eq!(classes.data()[at] == 1, logits.data()[at] > 0.0);
    }
    let found = pollster::block_on(model.classes_async((&x, &[4, 2]))).unwrap();
    assert_eq!(found.data()[..6], classes.data()[..6]);

    // Of one class every prediction would be right.
    let model = Forecaster::new(device, LstmConfig::new(1, 3), 1).unwrap();
    let trainer = Trainer::new(model, Loss::cross_entropy(), Adam::new(0.1));
    let data = Dataset::new(array(vec![0.0; 4], &[2, 2, 1]), array(vec![0.0; 2], &[2])).unwrap();
    for said in [refused(trainer.accuracy(&data)), refused(trainer.evaluate(&data))] {
        assert!(said.contains("bce_with_logits"), "{said}");
    }
}

/// Several outputs are questions where a binary cross-entropy says so, and files keep it.
pub fn several_questions(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let fresh = || {
        let config = LstmConfig::new(2, 4).init("fc", Init::Uniform { bound: 2.0 });
        Forecaster::new(device, config, 3).unwrap()
    };
    let x = array(normal(5 * 4 * 2, 1.0, 1), &[5, 4, 2]);
    let answers =
        |model: &Forecaster| (model.probabilities(&x).unwrap(), model.classes(&x).unwrap());
    let check = |model: &Forecaster| {
        assert_eq!(model.activation(), Activation::Sigmoid);
        let (shares, classes) = answers(model);
        assert_eq!((shares.shape(), classes.shape()), (&[5, 3][..], &[5, 3][..]));
        let logits = model.predict(&x).unwrap();
        for (at, &logit) in logits.data().iter().enumerate() {
            let want = 1.0 / (1.0 + (-f64::from(logit)).exp());
            assert!((f64::from(shares.data()[at]) - want).abs() < 1e-6);
            assert_eq!(classes.data()[at], u32::from(logit > 0.0));
        }
        assert!(classes.data().contains(&0) && classes.data().contains(&1));
    };
    let plain = fresh();
    assert_eq!(plain.activation(), Activation::Softmax);
    assert_eq!(answers(&plain).1.shape(), [5]);
    let sums = answers(&plain).0;
    assert!(sums.data().chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    let trainer = Trainer::new(plain, Loss::bce_with_logits(), Adam::new(0.1));
    check(trainer.model());
    trainer.model().save(&path).unwrap();
    let loaded = Forecaster::load(device, &path).unwrap();
    check(&loaded);
    assert_eq!(answers(&loaded), answers(trainer.model()));
    trainer.save(folder.path()).unwrap();
    check(&Forecaster::load(device, &path).unwrap());
    let mut by_hand = fresh();
    by_hand.set_activation(Activation::Sigmoid);
    check(&by_hand);
    // Other losses leave it, and one over classes is the softmax's.
    let model = Trainer::new(by_hand, Loss::mse(), Adam::new(0.1)).into_model();
    check(&model);
    let model = Trainer::new(model, Loss::cross_entropy(), Adam::new(0.1)).into_model();
    assert_eq!(model.activation(), Activation::Softmax);
    assert_eq!(answers(&model).1.shape(), [5]);
    // Files: without a word it is the softmax; with another, they are refused.
    let file = checkpoint::read(&path).unwrap();
    let key = "gatefold.activation";
    let mut metadata = file.metadata.clone();
    assert_eq!(metadata.remove(key).as_deref(), Some("sigmoid"));
    checkpoint::write(&path, &file.tensors, &metadata).unwrap();
    let older = Forecaster::load(device, &path).unwrap();
    assert_eq!((older.activation(), answers(&older).1.shape()), (Activation::Softmax, &[5][..]));
    metadata.insert(key.to_owned(), "tanh".to_owned());
    checkpoint::write(&path, &file.tensors, &metadata).unwrap();
    match Forecaster::load(device, &path) {
        Err(Error::Checkpoint { problem, .. }) => assert!(problem.contains("tanh"), "{problem}"),
        other => panic!("not refused: {:?}", other.map(|_| ())),
    }
}
