//! What a call of `fit` leaves, however it ends.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use gatefold::data::Batch;
use gatefold::train::{Adam, Loss, NonFinite, Progress, Report, Sgd, StopHandle, Trainer};
use gatefold::{Array, Dataset, Device, Error, Forecaster, LstmConfig, Result, checkpoint};

use super::random::normal;

type Tensors = BTreeMap<String, Vec<u32>>;

fn noise(rows: usize, seed: u64) -> Dataset {
    let x = Array::new(normal(rows * 5 * 2, 1.0, seed), &[rows, 5, 2]).unwrap();
    Dataset::new(x, Array::new(normal(rows, 1.0, seed + 1), &[rows, 1]).unwrap()).unwrap()
}

fn validation() -> Dataset {
    noise(16, 7)
}

/// Noise can't be learnt: the validation loss is best after few epochs, of three steps each.
fn trainer(device: &Device, folder: &Path) -> Trainer {
    let model = Forecaster::new(device, LstmConfig::new(2, 16), 1).unwrap();
    let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.05)).batch_size(8).epochs(14);
    trainer.keep_best().checkpoint(folder)
}

fn tensors(all: Vec<(String, Array)>, prefix: &str) -> Tensors {
    let bits = |array: Array| array.data().iter().map(|v| v.to_bits()).collect();
    let named =
        |(name, array): (String, Array)| Some((name.strip_prefix(prefix)?.to_owned(), bits(array)));
    all.into_iter().filter_map(named).collect()
}

fn held(model: &Forecaster) -> Tensors {
    tensors(model.state_dict().unwrap(), "")
}

fn file(path: &Path) -> Tensors {
    tensors(checkpoint::read(path).unwrap().tensors, "")
}

/// That the trainer and its files have the best model of the run so far, and the last one apart; `fit` has
/// written them when it returned.
fn has_the_best(device: &Device, trainer: &Trainer, folder: &Path, what: &str) {
    if ["a panic", "a future that is dropped"].contains(&what) {
        trainer.save(folder).unwrap();
    }
    let run = checkpoint::read(folder.join("trainer.safetensors")).unwrap();
    let said = |key: &str| run.metadata[&format!("gatefold.trainer.{key}")].clone();
    let best: f32 = said("best.validation").parse().unwrap();
    assert_eq!(trainer.evaluate(&validation()).unwrap(), best, "{what}");
    let model = held(trainer.model());
    assert!(held(&trainer.best_model().unwrap().unwrap()) == model, "{what}");
    for name in ["model.safetensors", "best.safetensors"] {
        assert!(file(&folder.join(name)) == model, "{what}: {name}");
        let loaded = Forecaster::load(device, folder.join(name)).unwrap();
        assert!(held(&loaded) == model, "{what}: {name}");
    }
    assert!(tensors(run.tensors.clone(), "best.") == model, "{what}: what the run keeps");
    // Also of a run that has ended, which more epochs may go on with.
    let last = tensors(run.tensors.clone(), "params.");
    assert!(last != model, "{what}: what the run goes on with");
    // As in another process.
    let mut other = self::trainer(device, folder);
    other.resume(folder).unwrap();
    assert!(held(other.model()) == model, "{what}: resumed");
    assert!(held(&other.best_model().unwrap().unwrap()) == model, "{what}: resumed");
}

fn batches(data: Dataset, bad: Option<usize>) -> impl Fn(usize) -> Vec<Result<Batch>> {
    let (x, y) = (data.x().data().to_vec(), data.y().data().to_vec());
    move |epoch: usize| {
        let batch = |i: usize| {
            let (x, mut y) = (x[i * 80..][..80].to_vec(), y[i * 8..][..8].to_vec());
            if bad == Some(epoch) && i == 1 {
                y[3] = 1e30;
            }
            let data = Dataset::new(Array::new(x, &[8, 5, 2])?, Array::new(y, &[8, 1])?)?;
            Ok(data.into())
        };
        (0..3).map(batch).collect()
    }
}

/// Ends a call after ten of fourteen epochs, one way or another.
type Ending = fn(&mut Trainer, &mut dyn FnMut(&Progress)) -> Result<Report>;

const ENDINGS: [(&str, Ending); 7] = [
    ("the run's end", |trainer, progress| {
        trainer.fit(&noise(24, 1), Some(&validation()), progress)
    }),
    ("a handle", |trainer, progress| {
        let handle: StopHandle = trainer.stop_handle();
        trainer.fit(&noise(24, 1), Some(&validation()), |p| {
            progress(p);
            if p.epoch == 10 {
                handle.stop();
            }
        })
    }),
    ("a step that isn't finite", |trainer, progress| {
        let given = batches(noise(24, 1), Some(10));
        let result = trainer.fit_batches(given, Some(&validation()), progress);
        assert!(matches!(result, Err(Error::NonFinite { step: 32, .. })), "{result:?}");
        result
    }),
    ("an iterator's error", |trainer, progress| {
        let given = batches(noise(24, 1), None);
        let failing = |epoch: usize| {
            let mut all = given(epoch);
            if epoch == 10 {
                let source = std::io::Error::other("");
                all[2] = Err(Error::Io { path: "nowhere".into(), source });
            }
            all
        };
        let result = trainer.fit_batches(failing, Some(&validation()), progress);
        assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
        result
    }),
    ("a panic", |trainer, progress| {
        let fit = || {
            trainer.fit(&noise(24, 1), Some(&validation()), |p| {
                progress(p);
                if p.epoch == 10 {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
            })
        };
        assert!(std::panic::catch_unwind(AssertUnwindSafe(fit)).is_err());
        Ok(Report::default())
    }),
    ("a future that is dropped", |trainer, progress| {
        // Where it is never pending it comes to its end.
        let (train, validation) = (noise(24, 1), validation());
        let mut future = Box::pin(trainer.fit_async(&train, Some(&validation), progress));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..40 {
            if future.as_mut().poll(&mut context).is_ready() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        drop(future);
        Ok(Report::default())
    }),
    ("nothing", |trainer, _| {
        // An error before the first step.
        assert!(trainer.fit(&noise(24, 1), None, |_| ()).is_err());
        Ok(Report::default())
    }),
];

/// The best model, whatever ended the call, and a run that goes on as if nothing had.
pub fn the_best_is_left(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut whole = trainer(device, folder);
    let mut seen = Vec::new();
    let want = whole
        .fit(&noise(24, 1), Some(&validation()), |p| seen.push(p.validation.unwrap()))
        .unwrap();
    let least = seen.iter().copied().fold(f32::INFINITY, f32::min);
    let best = want.best.unwrap();
    assert!(best.validation == least && best.epoch < 10, "{best:?}");
    assert!(seen[13] > 1.2 * least, "{seen:?}");
    assert_eq!(want.validation, Some(least));
    has_the_best(device, &whole, folder, "a whole run");

    for (what, ending) in ENDINGS {
        let mut first = trainer(device, folder);
        let mut told = 0;
        let report = ending(&mut first, &mut |p| told = p.epoch);
        if what == "nothing" {
            assert!(first.best_model().unwrap().is_none());
            continue;
        }
        if told == 0 {
            // Dropped before the first report.
            assert!(first.best_model().unwrap().is_none(), "{what}");
            continue;
        }
        has_the_best(device, &first, folder, what);
        if let Ok(report) = report.as_ref().map(|r| r.clone())
            && report != Report::default()
        {
            assert_eq!((report.validation, report.best.is_some()), (Some(least), true), "{what}");
            assert_eq!(report.stopped, what == "a handle");
        }
        if ["a handle", "a panic"].contains(&what) {
            first.fit(&noise(24, 1), Some(&validation()), |_| ()).unwrap();
            assert!(held(first.model()) == held(whole.model()), "{what}, and gone on");
            has_the_best(device, &first, folder, what);
        }
    }
    // After so many steps, with one way of stopping and the other.
    for steps in [29, 30, 31] {
        let mut first = trainer(device, folder).max_steps(steps);
        let report = first.fit(&noise(24, 1), Some(&validation()), |_| ()).unwrap();
        assert_eq!((report.stopped, report.validation), (true, Some(least)), "{steps} steps");
        has_the_best(device, &first, folder, "so many steps");
        let mut early = trainer(device, folder).early_stopping(9);
        let report = early.fit(&noise(24, 1), Some(&validation()), |_| ()).unwrap();
        assert!(!report.stopped);
        has_the_best(device, &early, folder, "early stopping");
    }
}

/// Another run begins with the model that the one before has left, and its best is its own.
pub fn another_run_begins_with_what_is_left(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut first = trainer(device, folder).max_steps(30);
    first.fit(&noise(24, 1), Some(&validation()), |_| ()).unwrap();
    let left = held(first.model());
    // Other sequences, and steps that lead nowhere: what it begins with is what it ends with.
    let frozen = gatefold::train::ParameterGroup::of("").frozen();
    let mut first = first.group(frozen).epochs(1).max_steps(9);
    first.fit(&noise(16, 3), Some(&validation()), |_| ()).unwrap();
    assert!(held(first.model()) == left);
    has_the_best_of_one(&first, folder);

    // Without a best model there is no file of one, and none of an earlier run.
    let fresh = trainer(device, folder);
    fresh.save(folder).unwrap();
    assert!(!folder.join("best.safetensors").exists() && fresh.best_model().unwrap().is_none());
    let model = Forecaster::new(device, LstmConfig::new(2, 16), 1).unwrap();
    let mut plain = Trainer::new(model, Loss::mse(), Sgd::new(0.1)).epochs(2);
    plain.fit(&noise(24, 1), Some(&validation()), |_| ()).unwrap();
    assert!(plain.best_model().unwrap().is_none());
    std::fs::write(folder.join("best.safetensors"), "somebody's").unwrap();
    plain.save(folder).unwrap();
    assert_eq!(std::fs::read(folder.join("best.safetensors")).unwrap(), b"somebody's");
}

fn has_the_best_of_one(trainer: &Trainer, folder: &Path) {
    trainer.save(folder).unwrap();
    assert!(file(&folder.join("best.safetensors")) == held(trainer.model()));
}

/// NaN is never best.
pub fn nan_is_never_best(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    // After a target far out, steps lead to NaN.
    let start = || {
        let model = Forecaster::new(device, LstmConfig::new(2, 16), 1).unwrap();
        let trainer = Trainer::new(model, Loss::mse(), Sgd::new(0.01)).batch_size(8).epochs(6);
        trainer.keep_best().checkpoint(folder.path()).non_finite(NonFinite::Pass)
    };
    let mut first = start().early_stopping(2);
    let report = first.fit_batches(batches(noise(24, 1), Some(0)), Some(&validation()), |_| ());
    let report = report.unwrap();
    assert_eq!((report.best, report.losses.len()), (None, 2));
    assert!(report.validation.unwrap().is_nan() && first.best_model().unwrap().is_none());
    let mut later = start();
    let report = later.fit_batches(batches(noise(24, 1), Some(3)), Some(&validation()), |_| ());
    let best = report.unwrap().best.unwrap();
    assert!(best.epoch <= 3 && best.validation.is_finite());
    assert_eq!(later.evaluate(&validation()).unwrap(), best.validation);
}

/// As many steps as a run has are the run, and as many as an epoch has are the epoch, with its report.
pub fn the_last_step_is_the_end(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let start = || trainer(device, folder.path()).epochs(2);
    let train = noise(20, 1); // three steps an epoch
    let mut told = Vec::new();
    let want = start().fit(&train, Some(&validation()), |p| told.push((p.epoch, p.step))).unwrap();
    assert_eq!(told, [(1, 3), (2, 6)]);
    for steps in [3, 6] {
        let mut told = Vec::new();
        let mut first = start().max_steps(steps);
        let report =
            first.fit(&train, Some(&validation()), |p| told.push((p.epoch, p.step))).unwrap();
        let epochs = steps as usize / 3;
        assert_eq!(told, [(1, 3), (2, 6)][..epochs], "{steps} steps");
        assert_eq!((report.stopped, report.losses.len()), (steps < 6, epochs));
        assert!(report.validation.is_some());
        if steps == 6 {
            assert_eq!(report, want);
        }
    }
    // Asked to stop in the last batch, by an iterator that knows how many there are and by one that doesn't;
    // as many steps as there are, by either.
    let given = batches(noise(24, 1), None);
    for known in [true, false] {
        for by_handle in [true, false] {
            let mut first = if by_handle { start() } else { start().max_steps(6) };
            let handle = first.stop_handle();
            let mut told = 0;
            let all = |epoch: usize| -> Box<dyn Iterator<Item = Result<Batch>>> {
                let handle = handle.clone();
                let mut number = 3 * epoch;
                let stopping = given(epoch).into_iter().inspect(move |_| {
                    number += 1;
                    if by_handle && number == 6 {
                        handle.stop();
                    }
                });
                let mut stopping = stopping;
                if known {
                    Box::new(stopping)
                } else {
                    Box::new(std::iter::from_fn(move || stopping.next()))
                }
            };
            let report = first.fit_batches(all, Some(&validation()), |p| told = p.epoch).unwrap();
            let what = format!("known {known}, by a handle {by_handle}");
            assert_eq!(report.step_losses.len(), 6, "{what}");
            // Whoever asks to stop doesn't wait for a batch that may never come.
            let over = known || !by_handle;
            assert_eq!((report.stopped, told), (!over, if over { 2 } else { 1 }), "{what}");
            if !over {
                let report = first.fit_batches(&given, Some(&validation()), |p| told = p.epoch);
                assert_eq!((report.unwrap().stopped, told), (false, 2), "{what}");
            }
            assert_eq!(first.steps(), 6, "{what}");
        }
    }
}
