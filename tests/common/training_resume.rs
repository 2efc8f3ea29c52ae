//! Runs that are stopped, saved and resumed end with the same bits as those that never were.

use std::collections::BTreeMap;
use std::path::Path;

use gatefold::data::Batch;
use gatefold::train::{
    Adam, Loss, ParameterGroup, Progress, Report, RmsProp, Schedule, Sgd, Trainer,
};
use gatefold::{Array, Dataset, Device, Forecaster, LstmConfig, checkpoint};

use super::random::{Random, normal};

/// Sequences of two features with targets that `y` makes of how many there are.
fn sequences(rows: usize, steps: usize, y: Array, seed: u64) -> Dataset {
    let x = Array::new(normal(rows * steps * 2, 1.0, seed), &[rows, steps, 2]).unwrap();
    Dataset::new(x, y).unwrap()
}

fn values(shape: &[usize], seed: u64) -> Array {
    Array::new(normal(shape.iter().product(), 1.0, seed), shape).unwrap()
}

fn classes(shape: &[usize], count: usize, seed: u64) -> Array {
    let mut random = Random::new(seed);
    let len = shape.iter().product();
    Array::new((0..len).map(|_| random.below(count) as f32).collect(), shape).unwrap()
}

/// Fits a trainer to some data.
type Fit = fn(&mut Trainer, &mut dyn FnMut(&Progress)) -> Report;

/// A kind of run: how its trainer is set up, and what it is fitted to.
struct Setup {
    name: &'static str,
    model: fn(&Device) -> Forecaster,
    trainer: fn(Forecaster) -> Trainer,
    fit: Fit,
}

/// Shuffled, with dropout, and stopped where the validation loss has risen.
const EARLY: Setup = Setup {
    name: "early stopping",
    model: |device| {
        let config = LstmConfig::new(2, 5).layers(2).dropout(0.3).seed(4);
        Forecaster::new(device, config, 1).unwrap()
    },
    trainer: |model| {
        let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.05)).batch_size(4).epochs(9);
        trainer.shuffle(7).early_stopping(2)
    },
    fit: |trainer, progress| {
        let train = sequences(13, 4, values(&[13, 1], 2), 1);
        let validation = sequences(6, 4, values(&[6, 1], 4), 3);
        trainer.fit(&train, Some(&validation), progress).unwrap()
    },
};

/// The best is kept to the end, over reports within epochs.
const BEST: Setup = Setup {
    name: "keep best",
    model: |device| Forecaster::new(device, LstmConfig::new(2, 5).seed(1), 1).unwrap(),
    trainer: |model| {
        let trainer = Trainer::new(model, Loss::l1(), Adam::new(0.1)).batch_size(3).epochs(3);
        trainer.shuffle(8).keep_best().validate_every_steps(2)
    },
    fit: EARLY.fit,
};

/// Pieces of sequences, with lengths, from the states before.
const TRUNCATED: Setup = Setup {
    name: "truncated",
    model: |device| Forecaster::every_step(device, LstmConfig::new(2, 4), 2).unwrap(),
    trainer: |model| {
        let trainer = Trainer::new(model, Loss::mse(), Sgd::new(0.1).momentum(0.9)).epochs(2);
        trainer.batch_size(2).truncate(3).shuffle(5)
    },
    fit: |trainer, progress| {
        let train =
            sequences(5, 8, values(&[5, 8, 2], 2), 1).with_lengths(&[8, 2, 8, 5, 1]).unwrap();
        trainer.fit(&train, None, progress).unwrap()
    },
};

/// As that, two pieces to a step.
const PIECES: Setup = Setup {
    name: "truncated, accumulated",
    trainer: |model| {
        (TRUNCATED.trainer)(model).accumulate(2).schedule(Schedule::Cosine {
            warmup: 2,
            total: 9,
            min_factor: 0.1,
        })
    },
    ..TRUNCATED
};

/// With gaps, pieces and batches in which nothing counts among them, and rows without timesteps.
const WEIGHTED: Setup = Setup {
    name: "weighted",
    fit: |trainer, progress| {
        let train =
            sequences(5, 8, values(&[5, 8, 2], 2), 1).with_lengths(&[8, 0, 8, 5, 1]).unwrap();
        let weight = |n: usize| if n / 8 == 2 { 0.0 } else { [0.3, 0.0, 1.7][n / 3 % 3] };
        let weights = Array::new((0..40).map(weight).collect(), &[5, 8]).unwrap();
        trainer.fit(&train.with_weights(weights).unwrap(), None, progress).unwrap()
    },
    ..TRUNCATED
};

const ACCUMULATED: Setup = Setup {
    name: "accumulated",
    model: |device| Forecaster::new(device, LstmConfig::new(2, 4), 3).unwrap(),
    trainer: |model| {
        let loss = Loss::cross_entropy().class_weights(vec![0.5, 1.0, 2.0]);
        let rmsprop = RmsProp::new(0.01).momentum(0.5).centered();
        let trainer = Trainer::new(model, loss, rmsprop).batch_size(2).accumulate(3).epochs(3);
        let step = Schedule::Step { step_size: 1, gamma: 0.5 };
        trainer.shuffle(2).clip_norm(0.3).report_every(2).schedule(step)
    },
    fit: |trainer, progress| {
        let train = sequences(13, 4, classes(&[13], 3, 2), 1);
        trainer.fit(&train, None, progress).unwrap()
    },
};

/// Two rows of endless sequences that begin anew now and then.
fn stream(epoch: usize) -> Vec<gatefold::Result<Batch>> {
    let goes_on = [[false, false], [true, false], [true, true], [false, true], [true, true]];
    let batches = goes_on.iter().enumerate().map(|(i, rows)| {
        let seed = (2 * (10 * epoch + i)) as u64;
        let data = sequences(2, 3, values(&[2, 3, 2], seed), seed + 1);
        Batch::from(data).continues(rows)
    });
    batches.collect()
}

const STREAM: Setup = Setup {
    name: "stream",
    model: TRUNCATED.model,
    trainer: |model| {
        let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.02)).epochs(2);
        trainer.group(ParameterGroup::of("bias").lr(0.1)).clip_value(0.1)
    },
    fit: |trainer, progress| trainer.fit_batches(stream, None, progress).unwrap(),
};

/// Rates that fall, by the validation loss after each epoch.
const PLATEAU: Setup = Setup {
    name: "plateau",
    model: BEST.model,
    trainer: |model| {
        let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.2)).batch_size(5).epochs(5);
        trainer.schedule(plateau(0, 1)).shuffle(3)
    },
    fit: EARLY.fit,
};

/// By the training loss between reports, which are never at an epoch's end.
const PLATEAU_OF_STEPS: Setup = Setup {
    name: "plateau of steps",
    trainer: |model| {
        let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.3)).batch_size(3).epochs(4);
        trainer.schedule(plateau(0, 0)).shuffle(3).report_every_steps(4)
    },
    fit: |trainer, progress| {
        let train = sequences(13, 4, values(&[13, 1], 2), 1);
        trainer.fit(&train, None, progress).unwrap()
    },
    ..PLATEAU
};

fn plateau(patience: usize, cooldown: usize) -> Schedule {
    Schedule::Plateau { factor: 0.5, patience, threshold: 0.01, cooldown, min_lr: 0.001 }
}

/// All that there is at the end of a run, to the bit.
#[derive(Debug, PartialEq)]
struct End {
    tensors: BTreeMap<String, (Vec<usize>, Vec<u32>)>,
    metadata: BTreeMap<String, String>,
    losses: Vec<u32>,
    step_losses: Vec<u32>,
    validation: Option<u32>,
    best: Option<(usize, u64, u32)>,
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// What a trainer holds after its calls.
fn end(trainer: &Trainer, reports: &[Report], folder: &Path) -> End {
    trainer.save(folder).unwrap();
    let mut tensors = BTreeMap::new();
    let file = checkpoint::read(folder.join("trainer.safetensors")).unwrap();
    let model = checkpoint::read(folder.join("model.safetensors")).unwrap();
    let dict = trainer.model().state_dict().unwrap();
    let best = folder.join("best.safetensors");
    let best = best.exists().then(|| checkpoint::read(best).unwrap().tensors);
    let best = best.unwrap_or_default();
    let all = [("file", file.tensors), ("model", model.tensors), ("dict", dict), ("best", best)];
    for (of, all) in all {
        for (name, array) in all {
            let held = (array.shape().to_vec(), bits(array.data()));
            tensors.insert(format!("{of}: {name}"), held);
        }
    }
    let concat = |each: &dyn Fn(&Report) -> Vec<f32>| -> Vec<u32> {
        reports.iter().flat_map(|report| bits(&each(report))).collect()
    };
    let last = reports.last().unwrap();
    End {
        tensors,
        metadata: file.metadata.into_iter().chain(model.metadata).collect(),
        losses: concat(&|report| report.losses.clone()),
        step_losses: concat(&|report| report.step_losses.clone()),
        validation: last.validation.map(f32::to_bits),
        best: last.best.map(|best| (best.epoch, best.step, best.validation.to_bits())),
    }
}

impl Setup {
    /// A trainer whose model has nothing to do with the run's, as in another process.
    fn another(&self, device: &Device) -> Trainer {
        let mut model = (self.model)(device);
        let mut dict = model.state_dict().unwrap();
        for (i, (_, array)) in dict.iter_mut().enumerate() {
            *array = values(array.shape(), 100 + i as u64);
        }
        model.load_state_dict(&dict).unwrap();
        (self.trainer)(model)
    }

    fn fresh(&self, device: &Device) -> Trainer {
        (self.trainer)((self.model)(device))
    }

    /// Resumes in another trainer what is in a folder, and runs it to its end.
    fn finish(&self, device: &Device, mut reports: Vec<Report>, folder: &Path) -> End {
        let mut other = self.another(device);
        other.resume(folder).unwrap();
        reports.push((self.fit)(&mut other, &mut |_| ()));
        assert!(!reports.last().unwrap().stopped);
        end(&other, &reports, folder)
    }

    fn check(&self, device: &Device) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut whole = self.fresh(device);
        let (mut rates, mut ends, mut all) = (Vec::new(), Vec::new(), 0);
        let report = (self.fit)(&mut whole, &mut |progress| {
            rates.push(progress.lr);
            ends.push(progress.steps);
            all = progress.epochs;
        });
        assert!(!report.stopped);
        let steps = report.step_losses.len() as u64;
        let want = end(&whole, std::slice::from_ref(&report), folder);
        assert!(steps > 7, "{}: {steps} steps", self.name);
        // Where the run ends is known from the first report on, but of streams and of pieces of ended sequences.
        let known =
            !["truncated", "weighted", "stream"].iter().any(|kind| self.name.contains(kind));
        let of_all = known.then(|| steps / report.losses.len() as u64 * all as u64);
        assert!(ends.iter().all(|end| *end == of_all), "{}: {ends:?}, {of_all:?}", self.name);
        if self.name.starts_with("plateau") {
            assert!(rates.last() < rates.first(), "{}: {rates:?}", self.name);
        }

        // Everywhere; a GPU at fewer places, as each takes a while.
        let stride = if device.as_gpu().is_some() { 3 } else { 1 };
        for n in (1..steps).step_by(stride) {
            let what = format!("{}, stopped after {n} steps", self.name);
            let mut first = self.fresh(device).max_steps(n);
            let report = (self.fit)(&mut first, &mut |_| ());
            assert_eq!((report.stopped, report.step_losses.len() as u64), (true, n), "{what}");
            first.save(folder).unwrap();
            same(&what, &self.finish(device, vec![report.clone()], folder), &want);
            // The same trainer, which goes on.
            let mut first = first.max_steps(u64::MAX);
            let reports = [report, (self.fit)(&mut first, &mut |_| ())];
            same(&format!("{what}, and gone on"), &end(&first, &reports, folder), &want);
        }

        // The last step is the end of the run.
        let mut first = self.fresh(device).max_steps(steps);
        let report = (self.fit)(&mut first, &mut |_| ());
        assert!(!report.stopped, "{}: as many steps as there are", self.name);
        let what = format!("{}, as many steps as there are", self.name);
        same(&what, &end(&first, &[report], folder), &want);

        // Fewer epochs, and then as many as there are: the difference, by the same trainer and by another.
        let epochs = want.losses.len();
        for n in 1..epochs {
            if self.name == "keep best" && n % 2 == 1 {
                // Its last step is measured, as an odd one isn't in a longer run.
                continue;
            }
            let what = format!("{}, {n} of {epochs} epochs first", self.name);
            let mut first = self.fresh(device).epochs(n);
            let report = (self.fit)(&mut first, &mut |_| ());
            assert_eq!((report.stopped, report.losses.len()), (false, n), "{what}");
            first.save(folder).unwrap();
            same(&what, &self.finish(device, vec![report.clone()], folder), &want);
            let mut first = first.epochs(all);
            let reports = [report, (self.fit)(&mut first, &mut |_| ())];
            same(&format!("{what}, and gone on"), &end(&first, &reports, folder), &want);
        }

        // From file to file, each of two steps.
        let mut reports = Vec::new();
        self.fresh(device).save(folder).unwrap();
        while reports.len() < 100 {
            let mut part = self.another(device).max_steps(2).checkpoint(folder);
            part.resume(folder).unwrap();
            let report = (self.fit)(&mut part, &mut |_| ());
            let stopped = report.stopped;
            reports.push(report);
            if !stopped {
                same(&format!("{} by twos", self.name), &end(&part, &reports, folder), &want);
                break;
            }
        }
        assert_eq!(reports.len() as u64, steps.div_ceil(2), "{}", self.name);

        // Asked to stop at the first report.
        let mut first = self.fresh(device);
        let handle = first.stop_handle();
        let report = (self.fit)(&mut first, &mut |_| handle.stop());
        assert!(report.stopped && (report.step_losses.len() as u64) < steps, "{}", self.name);
        first.save(folder).unwrap();
        same(
            &format!("{}, asked to stop", self.name),
            &self.finish(device, vec![report], folder),
            &want,
        );
    }
}

/// Says what differs, not all that there is.
fn same(what: &str, got: &End, want: &End) {
    assert_eq!(got.metadata, want.metadata, "{what}");
    assert_eq!(got.losses, want.losses, "{what}: losses of epochs");
    assert_eq!(got.step_losses, want.step_losses, "{what}: losses of steps");
    assert_eq!((got.validation, got.best), (want.validation, want.best), "{what}");
    let names = |end: &End| end.tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(got), names(want), "{what}");
    for (name, held) in &want.tensors {
        assert!(got.tensors[name] == *held, "{what}: {name} differs");
    }
}

pub fn resumed_with_early_stopping(device: &Device) {
    EARLY.check(device);
    let report = (EARLY.fit)(&mut EARLY.fresh(device), &mut |_| ());
    assert!(report.losses.len() < 9, "it stops early");
}

pub fn resumed_with_the_best_kept(device: &Device) {
    BEST.check(device);
    let report = (BEST.fit)(&mut BEST.fresh(device), &mut |_| ());
    assert!(report.best.unwrap().step < report.step_losses.len() as u64, "the best isn't the last");
}

pub fn resumed_truncated(device: &Device) {
    TRUNCATED.check(device);
    PIECES.check(device);
    WEIGHTED.check(device);
}

pub fn resumed_accumulated(device: &Device) {
    ACCUMULATED.check(device);
}

pub fn resumed_streams(device: &Device) {
    STREAM.check(device);
}

pub fn resumed_with_a_plateau(device: &Device) {
    PLATEAU.check(device);
    PLATEAU_OF_STEPS.check(device);
}
