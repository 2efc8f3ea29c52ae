//! Bad input is an error that says what to do, and changes nothing.

use std::fs;

use gatefold::command::Limits;
use gatefold::plan::{Plan, Sequences, StackShape, Tier};
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Dataset, Device, Error, Forecaster, Lstm, LstmConfig, LstmState, Tensor};

fn message<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

fn dataset(n: usize, steps: usize, input: usize, outputs: usize) -> Dataset {
    let x = Array::new(vec![0.5; n * steps * input], &[n, steps, input]).unwrap();
    Dataset::new(x, Array::new(vec![0.1; n * outputs], &[n, outputs]).unwrap()).unwrap()
}

#[test]
fn a_wrong_shape_names_both() {
    let device = Device::cpu();
    let lstm = Lstm::new(&device, LstmConfig::new(3, 4)).unwrap();
    let x = Tensor::zeros(&device, &[5, 2, 7]).unwrap();
    let text = message(lstm.forward(&x, None));
    assert!(text.contains("I = 3") && text.contains("[5, 2, 7]"), "{text}");

    let x = Tensor::zeros(&device, &[5, 2, 3]).unwrap();
    let wrong = Tensor::zeros(&device, &[1, 3, 4]).unwrap();
    let right = Tensor::zeros(&device, &[1, 2, 4]).unwrap();
    let state = LstmState { h: right, c: wrong };
    let text = message(lstm.forward(&x, Some(&state)));
    assert!(text.contains("c_0") && text.contains("B = 2"), "{text}");
    assert!(matches!(Tensor::from_slice(&device, &[1.0], &[2]), Err(Error::Shape { .. })));
}

#[test]
fn zero_sizes_are_refused() {
    let device = Device::cpu();
    let configs = [LstmConfig::new(0, 4), LstmConfig::new(3, 0), LstmConfig::new(3, 4).layers(0)];
    for config in configs {
        assert!(matches!(Lstm::new(&device, config), Err(Error::Value { .. })));
    }
    assert!(matches!(Forecaster::new(&device, LstmConfig::new(3, 4), 0), Err(Error::Value { .. })));
    assert!(matches!(Tensor::zeros(&device, &[3, 0]), Err(Error::Value { .. })));
    for (steps, batch) in [(0, 1), (1, 0)] {
        let plan =
            Plan::forward(&StackShape::lstm(1, 1), &Sequences::new(steps, batch), &Limits::CPU);
        assert!(matches!(plan, Err(Error::Value { .. })));
    }
}

#[test]
fn sizes_that_overflow_are_refused() {
    let huge = usize::MAX / 3;
    let device = Device::cpu();
    assert!(matches!(Lstm::new(&device, LstmConfig::new(huge, huge)), Err(Error::Overflow { .. })));
    for (steps, batch) in [(huge, huge), (usize::MAX, 1), (1 << 31, 1 << 31)] {
        let plan =
            Plan::forward(&StackShape::lstm(4, 64), &Sequences::new(steps, batch), &Limits::CPU);
        assert!(matches!(plan, Err(Error::Overflow { .. })));
    }
}

/// Sizes that can be counted and not be held: known before anything of their size is made.
#[test]
fn sizes_beyond_a_device_are_refused_at_once() {
    let device = Device::cpu();
    let limit = |result: Result<Lstm, Error>| matches!(result, Err(Error::Limit { .. }));
    assert!(limit(Lstm::new(&device, LstmConfig::new(1, 1 << 29))));
    assert!(limit(Lstm::new(&device, LstmConfig::new(1, 8).layers(1 << 40))));
    assert!(matches!(
        Lstm::new(&device, LstmConfig::new(1, 8).layers(usize::MAX)),
        Err(Error::Overflow { .. })
    ));
    let plan = |steps: usize, batch: usize, limits: &Limits| {
        Plan::forward(&StackShape::lstm(4, 64), &Sequences::new(steps, batch), limits)
    };
    for (steps, batch) in [(1 << 40, 1), (17_000_000, 1), (1, 1 << 40)] {
        let plan = plan(steps, batch, &Limits::CPU);
        assert!(matches!(plan, Err(Error::Limit { .. })), "{steps} x {batch}");
    }
    // A walk is one launch; a launch a timestep is too many.
    assert!(plan(10_000_000, 1, &Limits::CPU).is_ok());
    let steps = plan(10_000_000, 1, &Limits { tier: Some(Tier::Step), ..Limits::CPU });
    assert!(message(steps).contains("longest plan"));
    assert!(Forecaster::new(&device, LstmConfig::new(3, 4).layers(0), 2).is_err());
}

#[test]
fn what_a_device_cant_hold_names_the_limit() {
    // A recurrent weight of 268 MB, where a WebGPU device binds 134 MB.
    let plan = Plan::forward(&StackShape::lstm(4, 4096), &Sequences::new(1, 1), &Limits::WEBGPU);
    let text = message(plan);
    assert!(text.contains("largest buffer") && text.contains("67108864"), "{text}");
}

#[test]
fn an_unknown_device_lists_those_there_are() {
    let text = message(Device::named("no such adapter"));
    assert!(text.contains("no such adapter") && text.contains("`cpu`"), "{text}");
    for adapter in gatefold::gpu::Adapter::all() {
        assert!(text.contains(adapter.name()), "{text}");
    }
}

#[test]
fn a_trainer_checks_before_it_starts() {
    let trainer = |adam| {
        let config = LstmConfig::new(3, 4);
        Trainer::new(Forecaster::new(&Device::cpu(), config, 2).unwrap(), Loss::mse(), adam)
            .epochs(1)
    };
    let mut with_nan = dataset(4, 5, 3, 2).x().data().to_vec();
    with_nan[7] = f32::NAN;
    let with_nan = Dataset::new(
        Array::new(with_nan, &[4, 5, 3]).unwrap(),
        Array::new(vec![0.0; 8], &[4, 2]).unwrap(),
    );
    let good = Adam::new(0.1);
    let cases = [
        (trainer(good), dataset(4, 5, 2, 2), "I = 3"),
        (trainer(good), dataset(4, 5, 3, 1), "O = 2"),
        (trainer(good), with_nan.unwrap(), "the training set, sequence 0, timestep 2, element 1"),
        (trainer(good).batch_size(0), dataset(4, 5, 3, 2), "batch_size"),
        (trainer(good).epochs(0), dataset(4, 5, 3, 2), "epochs"),
        (trainer(good).report_every(0), dataset(4, 5, 3, 2), "report_every"),
        (trainer(Adam::new(-0.1)), dataset(4, 5, 3, 2), "lr"),
        (trainer(Adam::new(f64::NAN)), dataset(4, 5, 3, 2), "lr"),
        (trainer(good.betas(1.0, 0.9)), dataset(4, 5, 3, 2), "beta1"),
        (trainer(good.eps(0.0)), dataset(4, 5, 3, 2), "eps"),
        (trainer(good.eps(1e-50)), dataset(4, 5, 3, 2), "eps"),
        (trainer(Adam::new(1e39)), dataset(4, 5, 3, 2), "lr"),
        (trainer(good).early_stopping(2), dataset(4, 5, 3, 2), "validation"),
        (trainer(good.weight_decay(-1.0)), dataset(4, 5, 3, 2), "weight_decay"),
    ];
    for (mut trainer, data, expected) in cases {
        let before = trainer.model().state_dict().unwrap();
        let text = message(trainer.fit(&data, None, |_| ()));
        assert!(text.contains(expected), "{text}");
        assert_eq!(trainer.model().state_dict().unwrap(), before);
    }
    assert!(
        Dataset::new(
            Array::new(vec![0.0; 4], &[2, 2]).unwrap(),
            Array::new(vec![0.0; 3], &[3, 1]).unwrap()
        )
        .is_err()
    );
}

#[test]
fn a_state_dict_that_doesnt_fit_names_everything() {
    let device = Device::cpu();
    let mut lstm = Lstm::new(&device, LstmConfig::new(3, 4)).unwrap();
    let before = lstm.state_dict().unwrap();
    let mut wrong = before.clone();
    wrong[0].1 = Array::new(vec![0.0; 16], &[4, 4]).unwrap();
    wrong[1].0 = "weight_xx".to_owned();
    let text = message(lstm.load_state_dict(&wrong));
    for part in [
        "weight_ih_l0 has shape [4, 4]",
        "weight_hh_l0 [16, 4] is missing",
        "weight_xx is unexpected",
    ] {
        assert!(text.contains(part), "{text}");
    }
    wrong = before.clone();
    wrong.push(before[0].clone());
    assert!(message(lstm.load_state_dict(&wrong)).contains("stands twice"));
    assert_eq!(lstm.state_dict().unwrap(), before);
}

#[test]
fn a_file_that_is_no_checkpoint_is_refused() {
    let device = Device::cpu();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = Forecaster::new(&device, LstmConfig::new(3, 4), 2).unwrap();
    model.save(&path).unwrap();
    let whole = fs::read(&path).unwrap();

    assert!(matches!(Forecaster::load(&device, folder.path().join("none")), Err(Error::Io { .. })));
    for cut in [0, 1, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let text = message(Forecaster::load(&device, &path));
        assert!(text.contains("not a checkpoint"), "{text}");
    }
    fs::write(&path, "a text, not tensors").unwrap();
    assert!(message(Forecaster::load(&device, &path)).contains("not a checkpoint"));

    // Another kind of model.
    Lstm::new(&device, LstmConfig::new(3, 4)).unwrap().save(&path).unwrap();
    assert!(matches!(Forecaster::load(&device, &path), Err(Error::Checkpoint { .. })));
    // A description that promises more than the file holds.
    let lie = String::from_utf8_lossy(&whole).into_owned();
    assert!(lie.contains("\"gatefold.hidden_size\":\"4\""));
    let lie: Vec<u8> =
        replace(&whole, b"\"gatefold.hidden_size\":\"4\"", b"\"gatefold.hidden_size\":\"9\"");
    fs::write(&path, lie).unwrap();
    let text = message(Forecaster::load(&device, &path));
    assert!(text.contains("lstm.weight_ih_l0 has shape [16, 3] instead of [36, 3]"), "{text}");
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn saving_leaves_nothing_half_written() {
    let model = Forecaster::new(&Device::cpu(), LstmConfig::new(3, 4), 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("missing").join("model.safetensors");
    assert!(message(model.save(&nowhere)).contains("missing"));
    // A folder stands where the file should go: the temporary file is gone afterwards.
    fs::create_dir(folder.path().join("taken")).unwrap();
    assert!(matches!(model.save(folder.path().join("taken")), Err(Error::Io { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A refused call: its kind and what its message names.
fn refused<T>(result: gatefold::Result<T>, names: &[&str]) {
    match result {
        Ok(_) => panic!("accepted, though {names:?}"),
        Err(error) => {
            assert!(!matches!(error, Error::Gpu { .. }), "{error}");
            let text = error.to_string();
            assert!(names.iter().all(|name| text.contains(name)), "{text}: not {names:?}");
        }
    }
}

#[test]
fn settings_that_no_lstm_has_are_refused() {
    let device = Device::cpu();
    let config = || LstmConfig::new(3, 4);
    for proj_size in [4, 5, usize::MAX] {
        refused(Lstm::new(&device, config().proj_size(proj_size)), &["proj_size", "4"]);
    }
    for dropout in [-0.1, 1.0, 1.5, f64::NAN, f64::INFINITY] {
        let text = dropout.to_string();
        refused(Lstm::new(&device, config().dropout(dropout)), &["dropout", "[0, 1)", &text]);
        refused(Forecaster::new(&device, config().dropout(dropout), 1), &["dropout"]);
    }
    assert!(Lstm::new(&device, config().proj_size(3).dropout(0.999)).is_ok());
}

#[test]
fn lengths_that_dont_fit_the_batch_are_refused() {
    let device = Device::cpu();
    let lstm = Lstm::new(&device, LstmConfig::new(3, 4).bidirectional(true)).unwrap();
    let x = Tensor::zeros(&device, &[5, 2, 3]).unwrap();
    for (lengths, names) in [
        (&[5, 6][..], &["lengths", "5", "6 in row 1"][..]),
        (&[5], &["lengths", "2 rows", "1"]),
        (&[5, 4, 3], &["lengths", "2 rows", "3"]),
        (&[], &["lengths", "2 rows", "0"]),
        (&[usize::MAX, 1], &["lengths", "row 0"]),
    ] {
        refused(lstm.forward_padded(&x, Some(lengths), None), names);
        refused(lstm.forward_training(&x, Some(lengths), None, 1), names);
    }
    assert!(lstm.forward_padded(&x, Some(&[0, 5]), None).is_ok());
}

#[test]
fn states_of_another_shape_or_device_are_refused() {
    let (device, other) = (Device::cpu(), Device::cpu());
    let lstm = Lstm::new(&device, LstmConfig::new(3, 4).layers(2).proj_size(2)).unwrap();
    let x = Tensor::zeros(&device, &[5, 3, 3]).unwrap();
    let x_t = Tensor::zeros(&device, &[3, 3]).unwrap();
    let tensor = |device: &Device, shape: &[usize]| Tensor::zeros(device, shape).unwrap();
    let state = |device: &Device, h: &[usize], c: &[usize]| LstmState {
        h: tensor(device, h),
        c: tensor(device, c),
    };
    let (h, c) = ([2, 3, 2], [2, 3, 4]);
    let wrong = [
        (state(&device, &[2, 3, 4], &c), "h_0"),
        (state(&device, &[1, 3, 2], &c), "h_0"),
        (state(&device, &h, &[2, 2, 4]), "c_0"),
        (state(&device, &h, &[2, 12]), "c_0"),
    ];
    for (mut state, name) in wrong {
        refused(lstm.forward(&x, Some(&state)), &[name, "L D = 2"]);
        refused(lstm.forward_training(&x, None, Some(&state), 1), &[name]);
        refused(lstm.step(&x_t, &mut state), &[name]);
    }
    let mut foreign = state(&other, &h, &c);
    refused(lstm.forward(&x, Some(&foreign)), &["another device"]);
    refused(lstm.step(&x_t, &mut foreign), &["another device"]);
    refused(lstm.reset(&mut foreign, &[0]), &["another device"]);
    // Nothing has changed: a state that fits works, and rows beyond the batch don't.
    let mut right = state(&device, &h, &c);
    lstm.step(&x_t, &mut right).unwrap();
    let before = right.h.to_vec().unwrap();
    refused(lstm.reset(&mut right, &[0, 3]), &["rows", "3"]);
    assert_eq!(right.h.to_vec().unwrap(), before);

    // Gradients of another shape.
    let pass = || lstm.forward_training(&x, None, None, 1).unwrap();
    refused(pass().backward(Some(&tensor(&device, &[5, 3, 4])), None), &["dy", "2"]);
    refused(pass().backward(None, Some(&state(&device, &c, &c))), &["dh_n"]);
    refused(pass().backward(Some(&tensor(&other, &[5, 3, 2])), None), &["another device"]);
}

#[test]
fn a_stream_has_one_direction() {
    let device = Device::cpu();
    let lstm = Lstm::new(&device, LstmConfig::new(3, 4).bidirectional(true)).unwrap();
    let mut state = lstm.initial_state(2).unwrap();
    let x_t = Tensor::zeros(&device, &[2, 3]).unwrap();
    refused(lstm.step(&x_t, &mut state), &["bidirectional"]);
    assert!(lstm.initial_state(0).is_err());
}

/// Everything that is wrong with a state dict, at once; and the model is as it was.
#[test]
fn a_strict_load_lists_everything() {
    let device = Device::cpu();
    let mut lstm = Lstm::new(&device, LstmConfig::new(3, 4).bidirectional(true)).unwrap();
    let before = lstm.state_dict().unwrap();
    let mut dict = before.clone();
    dict.remove(0);
    dict[0].1 = Array::new(vec![0.0; 4], &[2, 2]).unwrap();
    dict.push(("surprise".to_owned(), Array::new(vec![0.0], &[1]).unwrap()));
    let names = ["weight_ih_l0 [16, 3] is missing", "weight_hh_l0 has shape [2, 2]", "surprise"];
    refused(lstm.load_state_dict(&dict), &names);
    for value in [f32::NAN, f32::INFINITY] {
        let mut dict = before.clone();
        for at in [1, 6] {
            let (_, array) = &mut dict[at];
            let mut data = array.data().to_vec();
            data[5] = value;
            *array = Array::new(data, array.shape()).unwrap();
        }
        let text = format!("{value} at element 5");
        let names = ["weight_hh_l0", "bias_ih_l0_reverse", &text];
        refused(lstm.load_state_dict(&dict), &names);
        refused(Lstm::from_state_dict(&device, &dict), &names);
    }
    assert_eq!(lstm.state_dict().unwrap(), before);
    // Of a model that keeps one bias, the second of a file counts as well.
    let mut single =
        Lstm::new(&device, LstmConfig::new(3, 4).bias(gatefold::Bias::Single)).unwrap();
    let mut pair = Lstm::new(&device, LstmConfig::new(3, 4)).unwrap().state_dict().unwrap();
    pair[3].1 = Array::new(vec![f32::NAN; 16], &[16]).unwrap();
    refused(single.load_state_dict(&pair), &["bias_hh_l0 has NaN at element 0"]);
}

/// A state whose tensors are one: writing `h` would overwrite `c`.
#[test]
fn a_state_needs_two_tensors() {
    let device = Device::cpu();
    let lstm = Lstm::new(&device, LstmConfig::new(3, 4)).unwrap();
    let zeros = Tensor::zeros(&device, &[1, 2, 4]).unwrap();
    let mut state = LstmState { h: zeros.clone(), c: zeros };
    let x_t = Tensor::zeros(&device, &[2, 3]).unwrap();
    refused(lstm.step(&x_t, &mut state), &["state", "clones of one"]);
    refused(lstm.reset(&mut state, &[0]), &["state"]);
    // To read from, one will do.
    let x = Tensor::zeros(&device, &[5, 2, 3]).unwrap();
    let (_, last) = lstm.forward(&x, Some(&state)).unwrap();
    let mut own = last.duplicate().unwrap();
    let shared = last.clone();
    assert!(shared.h.shares(&last.h) && !own.h.shares(&last.h));
    lstm.step(&x_t, &mut own).unwrap();
    assert_ne!(own.h.to_vec().unwrap(), last.h.to_vec().unwrap());
}

/// A file's description of a linear layer with what only layers have.
#[test]
fn a_file_that_describes_no_model_is_refused() {
    let device = Device::cpu();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for odd in ["learned_state", "bidirectional", "proj_size"] {
        let metadata = [
            ("input_size", "3"),
            ("hidden_size", "3"),
            ("num_layers", "0"),
            ("bias", "none"),
            ("head", "2"),
            (odd, if odd == "proj_size" { "1" } else { "true" }),
        ];
        let metadata =
            metadata.map(|(key, value)| (format!("gatefold.{key}"), value.to_owned())).into();
        let tensors = [
            ("weight".to_owned(), Array::new(vec![0.0; 60], &[20, 3]).unwrap()),
            ("bias".to_owned(), Array::new(vec![0.0; 20], &[20]).unwrap()),
        ];
        gatefold::checkpoint::write(&path, &tensors, &metadata).unwrap();
        refused(gatefold::Linear::load(&device, &path), &["layers"]);
        let names = ["another kind of model", "a `Linear`"];
        refused(Forecaster::load(&device, &path), &names);
        refused(Lstm::load(&device, &path), &names);
    }
}
