//! What a call of `fit` tells, measures and saves, and when.

use gatefold::train::{Adam, Loss, Trainer, Validation};
use gatefold::{Array, Dataset, Device, Error, Forecaster, LstmConfig, Result};

use super::random::normal;
use super::trained_bits;

/// Six sequences of two classes; in batches of two, three steps an epoch.
fn data(seed: u64) -> Dataset {
    let x = Array::new(normal(6 * 4 * 2, 1.0, seed), &[6, 4, 2]).unwrap();
    Dataset::new(x, [0, 1, 1, 0, 1, 0]).unwrap()
}

fn trainer(device: &Device) -> Trainer {
    let model = Forecaster::new(device, LstmConfig::new(2, 4), 2).unwrap();
    Trainer::new(model, Loss::cross_entropy(), Adam::new(0.05)).batch_size(2).epochs(2)
}

/// Where something was told: epoch, step, whether the validation set was measured.
type Told = Vec<(usize, u64, bool)>;

fn told(mut trainer: Trainer, validation: Option<&Dataset>) -> (Told, Vec<Validation>, Trainer) {
    let mut told = Vec::new();
    let report = trainer.fit(&data(1), validation, |p| {
        assert_eq!(p.steps, Some(6));
        assert_eq!(p.validation.is_some(), p.validation_accuracy.is_some());
        told.push((p.epoch, p.step, p.validation.is_some()));
    });
    (told, report.unwrap().validations, trainer)
}

/// Telling, measuring and saving have settings of their own.
pub fn each_has_its_own_time(device: &Device) {
    let validation = data(2);
    let with = |trainer| told(trainer, Some(&validation));
    let (seen, curve, plain) = with(trainer(device));
    assert_eq!(seen, [(1, 3, true), (2, 6, true)]);
    let places: Vec<(usize, u64)> = curve.iter().map(|v| (v.epoch, v.step)).collect();
    assert_eq!(places, [(1, 3), (2, 6)]);
    assert_eq!(curve[1].loss, plain.evaluate(&validation).unwrap());
    assert_eq!(curve[1].accuracy, Some(plain.accuracy(&validation).unwrap()));
    assert_ne!(curve[0].loss, curve[1].loss);

    // Each step is told, and the validation set measured after each epoch.
    let (seen, steps, often) = with(trainer(device).report_every_steps(1));
    let want = [(1, 1), (1, 2), (1, 3), (1, 3), (2, 4), (2, 5), (2, 6), (2, 6)];
    let measured = |at: usize| at == 3 || at == 7;
    let want: Told =
        want.iter().enumerate().map(|(i, &(epoch, step))| (epoch, step, measured(i))).collect();
    assert_eq!((seen, &steps), (want, &curve));
    assert!(trained_bits(&often) == trained_bits(&plain), "telling changes nothing");

    let (seen, curve, _) = with(trainer(device).validate_every_steps(2));
    let want = [(1, 2, true), (1, 3, false), (2, 4, true), (2, 6, true)];
    // The epoch has its report, of the same measurement.
    assert_eq!(seen, [&want[..], &[(2, 6, true)]].concat());
    assert_eq!(curve.iter().map(|v| v.step).collect::<Vec<_>>(), [2, 4, 6]);
    let (seen, curve, _) = with(trainer(device).epochs(2).validate_every(5));
    assert_eq!(seen, [(1, 3, true), (2, 6, false)]);
    assert_eq!(curve.len(), 1, "it was asked for after epochs 1, 6 and so on");
    let (seen, curve, _) = told(trainer(device).report_every_steps(4), None);
    assert_eq!((seen, curve.len()), (vec![(2, 4, false), (2, 6, false)], 0));
}

/// Files are written with the measurements, or when it was asked for.
pub fn saves_have_their_time(device: &Device) {
    let saved = |change: fn(Trainer) -> Trainer| -> Vec<u64> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trainer.safetensors");
        let mut trainer = change(trainer(device).report_every_steps(1).checkpoint(&folder));
        let mut found = Vec::new();
        trainer
            .fit(&data(1), Some(&data(2)), |p| {
                if std::fs::remove_file(&file).is_ok() {
                    found.push(p.step);
                }
            })
            .unwrap();
        assert!(file.exists(), "it is saved when the call returns");
        found
    };
    // Found at the next report.
    assert_eq!(saved(|t| t), [4]);
    assert_eq!(saved(|t| t.checkpoint_every(2)), [4]);
    assert_eq!(saved(|t| t.checkpoint_every_steps(2)), [3, 5, 6]);
    assert_eq!(saved(|t| t.validate_every_steps(2)), [3, 5]);
}

/// What `progress` returns is in the report, the model in hand is the step's, and an error ends the call.
pub fn progress_has_the_model(device: &Device) {
    let (train, other) = (data(1), data(2));
    let mut whole = trainer(device);
    let mut dicts = Vec::new();
    let report = whole.fit(&train, None, |p| -> Result<f64> {
        dicts.push(p.model().state_dict()?);
        assert!(p.evaluate(&other)?.is_finite());
        p.accuracy(&train)
    });
    let report = report.unwrap();
    assert_eq!(report.values.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [3, 6]);
    assert_eq!(report.values[1].1, whole.accuracy(&train).unwrap());
    assert_ne!(dicts[0], dicts[1]);
    assert_eq!(dicts[1], whole.model().state_dict().unwrap());

    let mut failing = trainer(device);
    let result = failing.fit(&train, None, |p| match p.epoch {
        1 => Err(Error::Io { path: "nowhere".into(), source: std::io::Error::other("") }),
        _ => Ok(()),
    });
    assert!(matches!(result, Err(Error::Io { .. })) && failing.steps() == 3);
    let report = failing.fit(&train, None, |p| assert_eq!(p.epoch, 2)).unwrap();
    assert_eq!((failing.steps(), report.values), (6, vec![]));
    assert!(trained_bits(&failing) == trained_bits(&whole), "it goes on where it was");
}

/// When a call goes on with the run before it, and when it begins another one.
pub fn runs_go_on_or_begin(device: &Device) {
    let (train, validation) = (data(1), data(2));
    let epochs = |trainer: &mut Trainer, train: &Dataset| {
        let mut told = Vec::new();
        trainer.fit(train, Some(&validation), |p| told.push((p.epoch, p.epochs))).unwrap();
        told
    };
    let mut first = trainer(device);
    assert_eq!(epochs(&mut first, &train), [(1, 2), (2, 2)]);
    // The same again is another run, and so is one of fewer; of more, the difference.
    assert_eq!(epochs(&mut first, &train), [(1, 2), (2, 2)]);
    first = first.epochs(1);
    assert_eq!(epochs(&mut first, &train), [(1, 1)]);
    first = first.epochs(3);
    assert_eq!(epochs(&mut first, &train), [(2, 3), (3, 3)]);
    assert_eq!(first.steps(), 3 * 7);
    // Other sequences.
    first = first.epochs(4);
    let fewer = train.subset(&[0, 1, 2, 3]).unwrap();
    assert_eq!(epochs(&mut first, &fewer), [(1, 4), (2, 4), (3, 4), (4, 4)]);
    // What stopped early is over, whatever there is to be.
    let mut early = trainer(device).epochs(40).early_stopping(1);
    let done = epochs(&mut early, &train).len();
    assert!(done < 40);
    early = early.epochs(41);
    assert_eq!(epochs(&mut early, &train)[0], (1, 41));

    // A run without end, so many steps of it at a time.
    let mut endless = trainer(device).epochs(usize::MAX).report_every(usize::MAX).max_steps(4);
    for steps in [4, 8] {
        let mut told = Vec::new();
        let report = endless.fit(&train, None, |p| told.push((p.step, p.steps.is_some())));
        assert!(report.unwrap().stopped && endless.steps() == steps);
        let first: &[(u64, bool)] = if steps == 4 { &[(3, false)] } else { &[] };
        assert_eq!(told, first);
    }

    // The best model is left, and the run goes on with the last one; as in another process.
    let folder = tempfile::tempdir().unwrap();
    let start = || trainer(device).keep_best().shuffle(3);
    let mut whole = start().epochs(9);
    epochs(&mut whole, &train);
    let mut parts = start().epochs(7);
    epochs(&mut parts, &train);
    parts.save(&folder).unwrap();
    let mut other = start().epochs(9);
    other.resume(&folder).unwrap();
    let refused = other.fit(&fewer, Some(&validation), |_| ()).unwrap_err().to_string();
    assert!(refused.contains("6 sequences"), "{refused}");
    parts = parts.epochs(9);
    for trainer in [&mut parts, &mut other] {
        assert_eq!(epochs(trainer, &train), [(8, 9), (9, 9)]);
        assert!(trained_bits(trainer) == trained_bits(&whole));
        let dict = trainer.model().state_dict().unwrap();
        assert_eq!(dict, whole.model().state_dict().unwrap());
    }
}
