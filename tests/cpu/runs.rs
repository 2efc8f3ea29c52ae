//! Files of runs that nobody has saved so, and what a run does at its edges.

use std::collections::HashMap;
use std::path::Path;

use gatefold::checkpoint::{self, Checkpoint};
use gatefold::train::{Adam, Loss, NonFinite, Schedule, Scheduler, Trainer};
use gatefold::{Array, Dataset, Device, Error, Forecaster, LstmConfig};

use crate::common::random::normal;

const FILE: &str = "trainer.safetensors";

fn data(rows: usize, steps: usize) -> Dataset {
    let x = Array::new(normal(rows * steps * 2, 1.0, 1), &[rows, steps, 2]).unwrap();
    let y = Array::new(normal(rows * steps, 1.0, 2), &[rows, steps, 1]).unwrap();
    Dataset::new(x, y).unwrap()
}

fn trainer() -> Trainer {
    let model = Forecaster::every_step(&Device::cpu(), LstmConfig::new(2, 3), 1).unwrap();
    let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(2).truncate(2);
    trainer.epochs(3).shuffle(5)
}

/// A run that was stopped in its second epoch.
fn saved(folder: &Path) -> Checkpoint {
    let mut trainer = trainer().max_steps(10);
    assert!(trainer.fit(&data(5, 4), None, |_| ()).unwrap().stopped);
    trainer.save(folder).unwrap();
    checkpoint::read(folder.join(FILE)).unwrap()
}

/// What becomes of a file after a change.
fn resumed(folder: &Path, change: impl FnOnce(&mut Checkpoint)) -> Result<Trainer, Error> {
    let mut file = saved(folder);
    change(&mut file);
    checkpoint::write(folder.join(FILE), &file.tensors, &file.metadata).unwrap();
    let mut trainer = trainer();
    let before = trainer.model().state_dict().unwrap();
    let resumed = trainer.resume(folder);
    if resumed.is_err() {
        assert_eq!(trainer.model().state_dict().unwrap(), before);
        assert_eq!(trainer.steps(), 0);
    }
    resumed.map(|()| trainer)
}

fn say(file: &mut Checkpoint, key: &str, value: &str) {
    let known = file.metadata.insert(format!("gatefold.trainer.{key}"), value.to_owned());
    assert!(known.is_some(), "{key}");
}

fn order(file: &mut Checkpoint, values: &[f32], shape: &[usize]) {
    let order = file.tensors.iter_mut().find(|(name, _)| name == "order").unwrap();
    order.1 = Array::new(values.to_vec(), shape).unwrap();
}

#[test]
fn numbers_that_no_run_has_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let huge = u64::MAX.to_string();
    for key in [
        "step",
        "step.first",
        "step.reported",
        "step.validated",
        "epoch",
        "position",
        "carried",
        "best.reports_since",
        "plateau.lowered",
        "plateau.bad",
        "plateau.cooldown",
        "batches.sequences",
        "batches.size",
    ] {
        for value in [huge.as_str(), "-1", "NaN", "many", ""] {
            let outcome = resumed(folder, |file| say(file, key, value));
            let refused = matches!(outcome, Err(Error::Checkpoint { .. }));
            // As many rows in a batch as there can be is a batch of all.
            let all = key == "batches.size" && value == huge;
            assert!(refused || all, "{key} = {value:?}");
        }
    }
    for key in ["begun", "finished", "optimizer", "batches.generator"] {
        assert!(resumed(folder, |file| say(file, key, "perhaps")).is_err(), "{key}");
    }
    let parts = [0., 0., 1., 0., 2., 0., 3., 0., 4., 0.];
    assert!(resumed(folder, |file| order(file, &parts, &[5, 2])).is_ok());
    for (at, value) in [(0, 4.), (0, 5.), (0, -1.), (0, 0.5), (1, 1e30), (1, f32::NAN), (1, 1.)] {
        let mut parts = parts;
        parts[at] = value;
        assert!(resumed(folder, |file| order(file, &parts, &[5, 2])).is_err(), "{at}: {value}");
    }
    assert!(resumed(folder, |file| order(file, &parts, &[10, 1])).is_err());
    assert!(resumed(folder, |file| order(file, &parts[..8], &[4, 2])).is_err());
    for name in ["params.fc.bias", "moment_1.fc.bias", "h", "order"] {
        let gone = |file: &mut Checkpoint| file.tensors.retain(|(n, _)| n != name);
        assert!(resumed(folder, gone).is_err(), "{name}");
    }
    let nan = |file: &mut Checkpoint| {
        let bias = file.tensors.iter_mut().find(|(name, _)| name == "params.fc.bias").unwrap();
        bias.1 = Array::new(vec![f32::NAN], &[1]).unwrap();
    };
    assert!(resumed(folder, nan).is_err());
}

#[test]
fn a_place_beyond_the_epoch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let beyond = |file: &mut Checkpoint| say(file, "position", "9007199254740992");
    let mut trainer = resumed(folder.path(), beyond).unwrap();
    let outcome = trainer.fit(&data(5, 4), None, |_| ());
    assert!(outcome.unwrap_err().to_string().contains("pieces"));
}

/// A run goes on over what it was begun with.
#[test]
fn other_batches_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = |change: fn(Trainer) -> Trainer, rows: usize| {
        let mut trainer = change(resumed(folder.path(), |_| ()).unwrap());
        trainer.fit(&data(rows, 4), None, |_| ()).map(|report| report.stopped)
    };
    assert!(!outcome(|trainer| trainer, 5).unwrap());
    for (change, rows) in [
        ((|trainer| trainer.truncate(3)) as fn(Trainer) -> Trainer, 5),
        (|trainer| trainer.batch_size(3), 5),
        (|trainer| trainer.shuffle(6), 5),
        (|trainer| trainer, 6),
    ] {
        assert!(matches!(outcome(change, rows), Err(Error::Value { .. })));
    }
}

/// The parts of a step drop elements of their own.
#[test]
fn parts_of_a_step_have_masks_of_their_own() {
    // Two equal sequences, a batch each.
    let x: Vec<f32> = normal(6 * 2, 1.0, 1).repeat(2);
    let data = Dataset::new(
        Array::new(x, &[2, 6, 2]).unwrap(),
        Array::new(vec![0.3; 2], &[2, 1]).unwrap(),
    );
    let data = data.unwrap();
    let loss = |dropout: f64, accumulate: usize| {
        let config = LstmConfig::new(2, 8).layers(2).dropout(dropout);
        let model = Forecaster::new(&Device::cpu(), config, 1).unwrap();
        let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(1).epochs(1);
        let mut trainer = trainer.accumulate(accumulate);
        trainer.fit(&data, None, |_| ()).unwrap().step_losses[0]
    };
    // The mean of two equal losses is either of them, up to a rounding.
    assert!((loss(0.0, 2) - loss(0.0, 1)).abs() < 1e-6);
    assert!((loss(0.5, 2) - loss(0.5, 1)).abs() > 1e-4);
}

/// Where an epoch ends in pieces that nobody has timesteps in, there is no report of nothing.
#[test]
fn pieces_without_timesteps_are_not_reported() {
    let data = data(2, 6).with_lengths(&[3, 2]).unwrap();
    let mut told = Vec::new();
    let mut trainer = trainer().epochs(2).report_every_steps(1);
    let report = trainer.fit(&data, None, |p| told.push((p.step, p.loss))).unwrap();
    assert_eq!(report.step_losses.len(), 4);
    let steps: Vec<u64> = told.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    assert!(told.iter().all(|(_, loss)| loss.is_finite()));
}

/// A second run begins its schedule anew.
#[test]
fn a_second_run_begins_its_schedule() {
    let schedule = Schedule::Cosine { warmup: 2, total: 6, min_factor: 0.0 };
    let mut trainer = trainer().epochs(1).schedule(schedule).report_every_steps(1);
    let mut rates = || {
        let mut rates = Vec::new();
        trainer.fit(&data(5, 4), None, |p| rates.push(p.lr)).unwrap();
        rates
    };
    let first = rates();
    let scheduler = Scheduler::new(schedule);
    let want: Vec<f64> = (0..6).map(|step| scheduler.rate(0.01, step, 0)).collect();
    assert_eq!(first, want);
    assert_eq!(rates(), want);
}

/// Settings that divide by nothing are met where they are used.
#[test]
fn odd_settings_dont_panic() {
    let scheduler = Scheduler::new(Schedule::Step { step_size: 0, gamma: 0.5 });
    assert!(scheduler.rate(0.1, 3, 2).is_finite());
    let scheduler = Scheduler::new(Schedule::Cosine { warmup: 4, total: 3, min_factor: 0.0 });
    assert!(scheduler.rate(0.1, 9, 0).is_finite());
    let trainer = trainer().truncate(0);
    assert!(trainer.evaluate(&data(2, 4)).unwrap_err().to_string().contains("truncate"));
    let model = Forecaster::new(&Device::cpu(), LstmConfig::new(2, 3), 1).unwrap();
    let once = Trainer::new(model, Loss::mse(), Adam::new(0.01)).truncate(2);
    let data = Dataset::new(
        Array::new(vec![0.0; 8], &[1, 4, 2]).unwrap(),
        Array::new(vec![0.0], &[1, 1]).unwrap(),
    );
    assert!(once.evaluate(&data.unwrap()).is_err());
}

/// A step that isn't finite, before an error of the caller's batches: the step is what is told, and the
/// folder has the run as it was before it.
#[test]
fn what_ends_a_run_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let good = |value: f32| {
        let x = Array::new(vec![0.5; 4], &[1, 2, 2]).unwrap();
        Ok(Dataset::new(x, Array::new(vec![value; 2], &[1, 2, 1]).unwrap()).unwrap().into())
    };
    let mut trainer = trainer().non_finite(NonFinite::Error).checkpoint(folder.path());
    let broken = || {
        Err(Error::Value {
            operation: "the caller",
            name: "file".to_owned(),
            expected: "there".to_owned(),
            got: "gone".to_owned(),
        })
    };
    let batches = |_| [good(0.1), good(0.2), good(3e38), good(0.1), broken()];
    let outcome = trainer.fit_batches(batches, None, |_| ());
    assert!(matches!(outcome, Err(Error::NonFinite { step: 3, .. })), "{outcome:?}");
    assert_eq!(trainer.steps(), 2);
    let saved = checkpoint::read(folder.path().join(FILE)).unwrap();
    assert_eq!(saved.metadata["gatefold.trainer.step"], "2");
    let params = checkpoint::with_prefix(&saved.tensors, "params.");
    let now: HashMap<String, Array> = trainer.model().state_dict().unwrap().into_iter().collect();
    assert_eq!(params.into_iter().collect::<HashMap<_, _>>(), now);
}
