//! Steps that aren't finite, and input that can't be used.

use std::path::Path;

use gatefold::data::Batch;
use gatefold::train::{
    Adam, AdamW, Loss, NonFinite, Optimizer, ParameterGroup, Report, RmsProp, Schedule, Sgd,
    Trainer,
};
use gatefold::{Array, Dataset, Device, Error, Forecaster, Init, LstmConfig, Result, checkpoint};

use super::random::normal;
use super::trained_bits;

/// What is wrong with a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Poison {
    /// A target whose square is infinite.
    Loss,
    /// A feature that no unit reads, but with which an incoming gradient is multiplied.
    Gradient,
}

/// 12 sequences of three steps, two features, a target; of them, row 7 is bad.
fn poisoned(poison: Option<Poison>) -> Dataset {
    let mut x = normal(12 * 3 * 2, 1.0, 1);
    x.iter_mut().skip(1).step_by(2).for_each(|unread| *unread = 0.0);
    let mut y = normal(12, 1.0, 2);
    match poison {
        Some(Poison::Loss) => y[7] = 1e30,
        Some(Poison::Gradient) => x[(7 * 3 + 2) * 2 + 1] = 1e30,
        None => {}
    }
    Dataset::new(Array::new(x, &[12, 3, 2]).unwrap(), Array::new(y, &[12, 1]).unwrap()).unwrap()
}

/// A model that doesn't read the second feature, and whose head has weights of 1e15 where gradients
/// are to overflow.
fn model(device: &Device, poison: Poison) -> Forecaster {
    let large = if poison == Poison::Gradient { 1e15 } else { 0.5 };
    let config = LstmConfig::new(2, 5).init("fc.weight", Init::Constant(large));
    let mut model = Forecaster::new(device, config, 1).unwrap();
    let mut dict = model.state_dict().unwrap();
    for (name, array) in &mut dict {
        if name == "lstm.weight_ih_l0" {
            let read = |(i, &v): (usize, &f32)| if i % 2 == 1 { 0.0 } else { v };
            let values = array.data().iter().enumerate().map(read).collect();
            *array = Array::new(values, array.shape()).unwrap();
        }
    }
    model.load_state_dict(&dict).unwrap();
    model
}

fn loss(poison: Poison) -> Loss {
    if poison == Poison::Loss { Loss::mse() } else { Loss::l1() }
}

fn non_finite(result: Result<Report>) -> (String, u64) {
    match result {
        Err(Error::NonFinite { operation: "Trainer::fit", tensor, step }) => (tensor, step),
        other => panic!("not an error of a step: {other:?}"),
    }
}

fn optimizers() -> [Optimizer; 3] {
    let rmsprop = RmsProp::new(0.01).momentum(0.5).centered();
    [Adam::new(0.01).into(), Sgd::new(0.01).momentum(0.9).into(), rmsprop.into()]
}

/// Nothing is done from the bad step on, however late that is noticed.
pub fn a_bad_step_is_an_error(device: &Device) {
    for (poison, what) in
        [(Poison::Loss, "the loss"), (Poison::Gradient, "the gradient of lstm.weight_ih_l0")]
    {
        for (i, optimizer) in optimizers().into_iter().enumerate() {
            // Row 7 is in the fourth batch of two.
            for (accumulate, bad) in [(1, 4), (2, 2)] {
                let start = || {
                    let trainer = Trainer::new(model(device, poison), loss(poison), optimizer);
                    let trainer = trainer.batch_size(2).epochs(2).accumulate(accumulate);
                    if i == 1 { trainer.clip_norm(1.0) } else { trainer }
                };
                let data = poisoned(Some(poison));
                let mut before = start().max_steps(bad - 1);
                before.fit(&data, None, |_| ()).unwrap();
                let want = trained_bits(&before);
                // Noticed at once, and at the end of the epoch.
                for trainer in [start().report_every_steps(1), start()] {
                    let mut trainer = trainer;
                    let got = non_finite(trainer.fit(&data, None, |_| ()));
                    assert_eq!(got, (what.to_owned(), bad), "{poison:?}, {optimizer:?}");
                    assert_eq!(trainer.steps(), bad - 1);
                    assert!(
                        trained_bits(&trainer) == want,
                        "{poison:?}, {optimizer:?}: something moved"
                    );
                    assert!(trainer.model().predict(data.x()).is_ok());
                    // With data that are right it goes on.
                    let report = trainer.fit(&poisoned(None), None, |_| ()).unwrap();
                    assert!(report.step_losses.iter().all(|loss| loss.is_finite()));
                    assert!(trained_bits(&trainer) != want);
                }
            }
        }
        // What isn't trained may have any gradient.
        if poison == Poison::Gradient {
            let trainer = Trainer::new(model(device, poison), loss(poison), Adam::new(0.01));
            let frozen = ParameterGroup::of("weight_ih").frozen();
            let mut trainer = trainer.batch_size(2).epochs(1).group(frozen);
            trainer.fit(&poisoned(Some(poison)), None, |_| ()).unwrap();
        }
    }
}

/// The bad step is left out and counted, and the others are as if it weren't there.
pub fn a_bad_step_is_skipped(device: &Device) {
    for poison in [Poison::Loss, Poison::Gradient] {
        for (accumulate, bad) in [(1usize, 3usize), (2, 1)] {
            // Without a bias correction, which goes by the step.
            let start = |policy| {
                let sgd = Sgd::new(0.01).momentum(0.9);
                let trainer = Trainer::new(model(device, poison), loss(poison), sgd).epochs(1);
                let trainer = trainer.batch_size(2).accumulate(accumulate).non_finite(policy);
                // Steps along gradients of 1e14 would shut every gate.
                if poison == Poison::Gradient { trainer.clip_norm(1.0) } else { trainer }
            };
            let data = poisoned(Some(poison));
            let mut trainer = start(NonFinite::Skip);
            let mut told = Vec::new();
            let report = trainer.fit(&data, None, |p| told.push((p.skipped, p.loss))).unwrap();
            let steps = 6 / accumulate;
            assert_eq!((report.skipped, report.step_losses.len()), (1, steps));
            let bad_loss = report.step_losses[bad];
            assert_eq!(bad_loss.is_finite(), poison == Poison::Gradient);
            // The mean is that of the losses that are some.
            let finite = report.step_losses.iter().filter(|loss| loss.is_finite());
            let all: Vec<f64> = finite.map(|&loss| loss.into()).collect();
            let mean = (all.iter().sum::<f64>() / all.len() as f64) as f32;
            assert_eq!(report.losses, [mean]);
            assert_eq!(told, [(1, mean)]);

            let without = |epoch: usize| {
                assert_eq!(epoch, 0);
                let kept = (0..6).filter(move |batch| batch / accumulate != bad);
                kept.map(|batch| Ok(Batch::from(rows(&poisoned(None), 2 * batch, 2))))
            };
            let mut other = start(NonFinite::Error);
            let report = other.fit_batches(without, None, |_| ()).unwrap();
            assert_eq!(report.step_losses.len(), steps - 1);
            assert!(
                trained_bits(&trainer) == trained_bits(&other),
                "{poison:?}: the bad step did something"
            );

            let mut trainer = start(NonFinite::Pass);
            let report = trainer.fit(&data, None, |_| ()).unwrap();
            assert_eq!((report.skipped, report.step_losses.len()), (0, steps));
            let spoilt = |(_, bits): &(String, Vec<u32>)| {
                bits.iter().any(|&v| !f32::from_bits(v).is_finite())
            };
            assert!(trained_bits(&trainer).iter().any(spoilt), "{poison:?}: a step that passes");
        }
    }
}

/// Some rows of a data set.
fn rows(data: &Dataset, first: usize, count: usize) -> Dataset {
    let part = |array: &Array| {
        let row = array.data().len() / data.len();
        let mut shape = array.shape().to_vec();
        shape[0] = count;
        Array::new(array.data()[first * row..][..count * row].to_vec(), &shape).unwrap()
    };
    Dataset::new(part(data.x()), part(data.y())).unwrap()
}

/// An error of the caller's iterator: what was done before it counts, and what wasn't doesn't.
pub fn an_iterator_fails(device: &Device) {
    let start = || {
        let trainer = Trainer::new(model(device, Poison::Loss), Loss::mse(), Adam::new(0.01));
        trainer.epochs(2)
    };
    let failing = |data: Dataset, at: usize| {
        move |epoch: usize| -> Vec<Result<Batch>> {
            let batch = |i: usize| match epoch == 1 && i == at {
                true => {
                    Err(Error::Io { path: "nowhere".into(), source: std::io::Error::other("") })
                }
                false => Ok(Batch::from(rows(&data, 2 * i, 2))),
            };
            (0..6).map(batch).collect()
        }
    };
    let mut whole = start();
    let want = whole.fit_batches(failing(poisoned(None), 99), None, |_| ()).unwrap();
    let mut parts = start();
    let result = parts.fit_batches(failing(poisoned(None), 4), None, |_| ());
    assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
    assert_eq!(parts.steps(), 6 + 4);
    let report = parts.fit_batches(failing(poisoned(None), 99), None, |_| ()).unwrap();
    assert_eq!(report.step_losses, want.step_losses[10..]);
    assert_eq!(report.losses, want.losses[1..], "the mean is that of the whole epoch");
    assert!(trained_bits(&parts) == trained_bits(&whole));

    // A bad step before it comes first.
    let bad = |epoch: usize| -> Vec<Result<Batch>> {
        let poison = (epoch == 1).then_some(Poison::Loss);
        failing(poisoned(poison), 5)(epoch)
    };
    let mut trainer = start();
    let got = non_finite(trainer.fit_batches(bad, None, |_| ()));
    assert_eq!(got, ("the loss".to_owned(), 6 + 4));
    assert_eq!(trainer.steps(), 6 + 3);

    // No batch at all.
    let mut trainer = start();
    let before = trained_bits(&trainer);
    let result = trainer.fit_batches(|_| Vec::new(), None, |_| ());
    assert!(refused(result).contains("at least one in every epoch"));
    assert!(trained_bits(&trainer) == before && trainer.steps() == 0);
}

fn refused<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(error @ (Error::Value { .. } | Error::Shape { .. } | Error::Checkpoint { .. })) => {
            error.to_string()
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// Data that don't fit name what and where; nothing has changed then.
pub fn bad_data_are_named(device: &Device) {
    let config = LstmConfig::new(3, 4).embedding(5);
    let model = Forecaster::every_step(device, config, 3).unwrap();
    let mut trainer = Trainer::new(model, Loss::cross_entropy(), Adam::new(0.1)).epochs(1);
    let before = trained_bits(&trainer);
    let data = |at: usize, token: f32, class: f32| {
        let (mut x, mut y) = (vec![4.0; 8], vec![2.0; 8]);
        (x[at], y[at]) = (token, class);
        let [x, y] = [x, y].map(|values| Array::new(values, &[2, 4]).unwrap());
        Dataset::new(x, y).unwrap()
    };
    for (token, class, part) in [
        (5.0, 0.0, "x"),
        (-1.0, 0.0, "x"),
        (0.5, 0.0, "x"),
        (f32::NAN, 0.0, "x"),
        (f32::INFINITY, 0.0, "x"),
        (0.0, 3.0, "y"),
        (0.0, -1.0, "y"),
        (0.0, 1.5, "y"),
        (0.0, f32::NAN, "y"),
    ] {
        let place = format!("{part} of the training set, sequence 1, timestep 2");
        let wrong = data(6, token, class);
        let said = refused(trainer.fit(&wrong, None, |_| ()));
        assert!(said.contains(&place), "{said}");
        let good = data(6, 0.0, 0.0);
        let said = refused(trainer.fit(&good, Some(&wrong), |_| ()));
        assert!(said.contains(&place.replace("training", "validation")), "{said}");
        assert!(refused(trainer.evaluate(&wrong)).contains("sequence 1, timestep 2"));
        assert!(refused(trainer.accuracy(&wrong)).contains("sequence 1, timestep 2"));
        let said = refused(trainer.fit_batches(|_| [Ok(Batch::from(wrong.clone()))], None, |_| ()));
        assert!(said.contains("of batch 1, sequence 1, timestep 2"), "{said}");
        // Behind the sequence's end it counts nothing.
        trainer.evaluate(&wrong.with_lengths(&[4, 2]).unwrap()).unwrap();
    }
    assert!(trained_bits(&trainer) == before && trainer.steps() == 0);
    // Of the ignored class there may be any number.
    assert!(trainer.evaluate(&data(6, 0.0, -100.0)).is_ok());
    trainer.fit(&data(6, 0.0, -100.0), None, |_| ()).unwrap();
}

/// Settings that can't be: an error that names them, and nothing has changed.
pub fn bad_settings_are_named(device: &Device) {
    type Change = fn(Trainer) -> Trainer;
    let data = poisoned(None);
    let start = |optimizer: Optimizer, loss: Loss| {
        let model = Forecaster::new(device, LstmConfig::new(2, 3), 1).unwrap();
        Trainer::new(model, loss, optimizer).epochs(1)
    };
    let check = |mut trainer: Trainer, name: &str| {
        let before = trained_bits(&trainer);
        let said = refused(trainer.fit(&data, None, |_| ()));
        assert!(said.contains(name), "{name}: {said}");
        assert!(trained_bits(&trainer) == before && trainer.steps() == 0, "{name}");
    };
    for bad in [f64::NAN, -0.1, f64::INFINITY, 1e39] {
        for optimizer in [Adam::new(bad).into(), AdamW::new(bad).into(), Sgd::new(bad).into()] {
            check(start(optimizer, Loss::mse()), "lr");
        }
        let optimizers: [Optimizer; 2] =
            [RmsProp::new(0.1).weight_decay(bad).into(), AdamW::new(0.1).weight_decay(bad).into()];
        for optimizer in optimizers {
            check(start(optimizer, Loss::mse()), "weight_decay");
        }
        check(start(Sgd::new(0.1).into(), Loss::mse()).clip_norm(bad), "clip_norm");
        check(start(Sgd::new(0.1).into(), Loss::mse()).clip_value(bad), "clip_value");
        let group = ParameterGroup::of("bias");
        let sgd = || start(Sgd::new(0.1).into(), Loss::mse());
        check(sgd().group(group.clone().lr(bad)), "lr of \"bias\"");
        check(sgd().group(group.weight_decay(bad)), "weight_decay of \"bias\"");
    }
    let optimizers: [(Optimizer, &str); 9] = [
        (Adam::new(0.1).betas(1.0, 0.9).into(), "beta1"),
        (Adam::new(0.1).betas(0.9, f64::NAN).into(), "beta2"),
        (Adam::new(0.1).eps(0.0).into(), "eps"),
        (Sgd::new(0.1).momentum(1.0).into(), "momentum"),
        (Sgd::new(0.1).momentum(0.5).dampening(1.5).into(), "dampening"),
        (Sgd::new(0.1).nesterov().into(), "momentum"),
        (Sgd::new(0.1).momentum(0.5).dampening(0.5).nesterov().into(), "momentum"),
        (RmsProp::new(0.1).alpha(1.0).into(), "alpha"),
        (RmsProp::new(0.1).eps(1e-50).into(), "eps"),
    ];
    for (optimizer, name) in optimizers {
        check(start(optimizer, Loss::mse()), name);
    }
    let changes: [(Change, &str); 12] = [
        (|t| t.clip_norm(0.0), "clip_norm"),
        (|t| t.clip_value(0.0), "clip_value"),
        (|t| t.batch_size(0), "batch_size"),
        (|t| t.accumulate(0), "accumulate"),
        (|t| t.truncate(0), "truncate"),
        (|t| t.truncate(2), "truncate"), // one prediction a sequence
        (|t| t.epochs(0), "epochs"),
        (|t| t.report_every_steps(0), "report_every"),
        (|t| t.keep_best(), "validation"),
        (|t| t.group(ParameterGroup::of("nobody")), "nobody"),
        (|t| t.schedule(Schedule::Cosine { warmup: 3, total: 3, min_factor: 0.0 }), "total"),
        (|t| t.schedule(Schedule::Step { step_size: 1, gamma: f64::NAN }), "gamma"),
    ];
    for (change, name) in changes {
        check(change(start(Sgd::new(0.1).into(), Loss::mse())), name);
    }
    for (loss, name) in [
        (Loss::huber(0.0), "delta"),
        (Loss::smooth_l1(-1.0), "beta"),
        (Loss::mse().ignore_index(3), "ignore_index"),
        (Loss::cross_entropy().label_smoothing(1.5), "label_smoothing"),
        (Loss::cross_entropy().class_weights(vec![1.0, 2.0]), "class_weights"),
        (Loss::cross_entropy().class_weights(vec![f32::NAN]), "class_weights"),
    ] {
        check(start(Sgd::new(0.1).into(), loss), name);
    }
    assert!(refused(start(Sgd::new(0.1).into(), Loss::mse()).accuracy(&data)).contains("loss"));
}

/// Files that hold another run, or not all of one: an error, and the trainer is what it was.
pub fn bad_files_are_refused(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = poisoned(None);
    let trainer = |hidden: usize, seed: u64, dropout: f64| {
        let config = LstmConfig::new(2, hidden).layers(2).dropout(dropout).seed(seed);
        let model = Forecaster::new(device, config, 1).unwrap();
        Trainer::new(model, Loss::mse(), Adam::new(0.1)).batch_size(2).shuffle(1)
    };
    let mut saved = trainer(3, 0, 0.1).keep_best().validate_every_steps(1).max_steps(4);
    saved.fit(&data, Some(&data), |_| ()).unwrap();
    saved.save(folder).unwrap();
    let path = folder.join("trainer.safetensors");
    let whole = std::fs::read(&path).unwrap();

    let check = |mut other: Trainer, folder: &Path, names: &str| {
        other = other.max_steps(1);
        other.fit(&data, None, |_| ()).unwrap();
        let before = trained_bits(&other);
        let said = refused(other.resume(folder));
        assert!(said.contains(names), "{names}: {said}");
        assert!(trained_bits(&other) == before && other.steps() == 1, "{names}: something changed");
        assert_eq!(other.fit(&data, None, |_| ()).unwrap().step_losses.len(), 1);
    };
    check(trainer(4, 0, 0.1), folder, "hidden_size");
    check(trainer(3, 0, 0.2), folder, "dropout");
    check(trainer(3, 9, 0.1), folder, "seed");
    let model = saved.into_model();
    let other = Trainer::new(model, Loss::mse(), Sgd::new(0.1).momentum(0.9));
    check(other.batch_size(2), folder, "optimizer");
    for len in [0, 7, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..len]).unwrap();
        check(trainer(3, 0, 0.1), folder, "cut short");
    }
    std::fs::write(&path, &whole).unwrap();
    let file = checkpoint::read(&path).unwrap();
    for (name, _) in &file.tensors {
        // Losses may be missing where an epoch has just begun.
        if ["losses", "untold"].contains(&name.as_str()) {
            continue;
        }
        let rest: Vec<_> = file.tensors.iter().filter(|(n, _)| n != name).cloned().collect();
        checkpoint::write(&path, &rest, &file.metadata).unwrap();
        let (kind, rest) = name.split_once('.').unwrap_or((name, ""));
        check(trainer(3, 0, 0.1), folder, if rest.is_empty() { kind } else { rest });
    }
    for key in file.metadata.keys().filter(|key| key.starts_with("gatefold.trainer.")) {
        for value in [None, Some("?".to_owned())] {
            let mut metadata = file.metadata.clone();
            match value {
                None => metadata.remove(key),
                Some(value) => metadata.insert(key.clone(), value),
            };
            checkpoint::write(&path, &file.tensors, &metadata).unwrap();
            check(trainer(3, 0, 0.1), folder, key.rsplit('.').next().unwrap());
        }
    }
    let missing = trainer(3, 0, 0.1).resume(folder.join("nowhere"));
    assert!(matches!(missing, Err(Error::Io { .. })));

    // What was resumed goes on over its own data only.
    std::fs::write(&path, &whole).unwrap();
    let mut right = trainer(3, 0, 0.1).max_steps(1);
    right.resume(folder).unwrap();
    assert_eq!(right.steps(), 4);
    let said = refused(right.fit(&rows(&data, 0, 10), None, |_| ()));
    assert!(said.contains("12 sequences"), "{said}");
    right.fit(&data, None, |_| ()).unwrap();
    assert_eq!(right.steps(), 5);
}
