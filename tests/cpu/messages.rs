//! What errors and listings say is meant for people: nothing in them is a program's own notation.

use std::collections::HashMap;

use gatefold::checkpoint::{self, GateNames};
use gatefold::command::{Dispatch, KernelId, Limits, Operation};
use gatefold::data::{Batch, Scaler, Table, split_by_time};
use gatefold::plan::{Encoding, Head, Plan, Readout, Sequences, StackShape, TrainingOptions};
use gatefold::train::{Adam, Loss, ParameterGroup, RmsProp, Sgd, Trainer};
use gatefold::{
    Array, Bias, Dataset, Device, Error, Forecaster, Init, Linear, Lstm, LstmCell, LstmConfig,
    Result, StreamPool, Tensor, verify,
};

/// A word that only a program would write, where there is one.
fn debug_text(text: &str) -> Option<String> {
    let marks = ["{ ", " }", "Some(", "None", "Ok(", "Err(", "::{", "\\\"", "[true", "[false"];
    if let Some(mark) = marks.iter().find(|mark| text.contains(**mark)) {
        return Some((*mark).to_owned());
    }
    // `Linear(9)`: a name in capitals with something in parentheses right behind it.
    for (at, _) in text.match_indices('(') {
        let word = text[..at].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        let camel = word.starts_with(|c: char| c.is_uppercase())
            && word.contains(|c: char| c.is_lowercase());
        if camel {
            return Some(format!("{word}("));
        }
    }
    None
}

#[test]
fn debug_text_is_found() {
    for text in ["Loss { kind: 1 }", "head Linear(9)", "got Some(3)", "None", "WeightIh(0, 1)"] {
        assert!(debug_text(text).is_some(), "{text}");
    }
    for text in ["must be [4, 8], got [3]", "layer 0 (of 2)", "torch.load(x)", "got \"x\""] {
        assert_eq!(debug_text(text), None, "{text}");
    }
}

/// The message of a refused call.
fn said<T>(result: Result<T>) -> Error {
    match result {
        Err(error) => error,
        Ok(_) => panic!("it was taken"),
    }
}

fn array(shape: &[usize]) -> Array {
    Array::new(vec![0.5; shape.iter().product()], shape).unwrap()
}

fn data(shape: &[usize], target: &[usize]) -> Dataset {
    Dataset::new(array(shape), array(target)).unwrap()
}

fn config() -> LstmConfig {
    LstmConfig::new(3, 4)
}

/// Errors about settings, each from a public call.
fn of_settings(device: &Device) -> Vec<Error> {
    let lstm = |config: LstmConfig| said(Lstm::new(device, config));
    let shape = StackShape::lstm(3, 4);
    let linear = StackShape { layers: 0, head: Head::Linear(2), bias: Bias::None, ..shape.clone() };
    let predicts = StackShape { head: Head::Linear(9), ..shape.clone() };
    let limits = Limits::CPU;
    let whole = Sequences::new(1, 1);
    let resets = Sequences { resets: true, ..whole };
    let mut errors = vec![
        lstm(config().proj_size(9)),
        lstm(config().dropout(2.0)),
        lstm(config().layers(0)),
        lstm(config().init("weight", Init::Uniform { bound: f32::NAN })),
        lstm(config().init("weight", Init::Normal { mean: 0.0, std: -1.0 })),
        lstm(config().init("weight", Init::Constant(f32::INFINITY))),
        lstm(config().init("nowhere", Init::Zeros)),
        lstm(config().forget_bias(f32::NAN)),
        lstm(config().one_hot()),
        lstm(config().embedding(7)),
        lstm(config().readout(Readout::MeanOverTime)),
        lstm(LstmConfig::new(0, 4)),
        lstm(LstmConfig::new(usize::MAX, usize::MAX)),
        lstm(LstmConfig::new(1, 1 << 29)),
        said(LstmCell::new(device, config().layers(2).bidirectional(true).proj_size(2))),
        said(Linear::new(device, 0, 4, 0)),
        said(Plan::gradient(&predicts, &whole, None, &limits)),
        said(Plan::training(&shape, &whole, &TrainingOptions::default(), &limits)),
        said(Plan::forward(&linear, &whole.with_lengths(), &limits)),
        said(Plan::forward(&linear, &whole.with_state(), &limits)),
        said(Plan::forward(&linear, &whole.with_lengths().with_state(), &limits)),
        said(Plan::forward(&shape, &resets, &limits)),
        said(Plan::forward(&shape, &Sequences::new(1 << 40, 1), &limits)),
        said(Plan::forward(
            &StackShape { encoding: Encoding::Embedding(9), ..shape.clone() },
            &whole,
            &limits,
        )),
        said(Device::named("no such adapter")),
        said("some".parse::<gatefold::plan::Tier>()),
        said(split_by_time(9, [0.5, f64::NAN])),
        said(Scaler::fit([[1.0, f64::NAN]])),
        said(Scaler::from_parts(vec![0.0; 1000], vec![0.0; 1000])),
        said(Array::new(vec![0.0; 3], &[2, 0])),
        said(Array::new(vec![0.0; 3], &[2, 2])),
        said(Tensor::zeros(device, &[usize::MAX, usize::MAX])),
        said(Batch::from(data(&[2, 3, 3], &[2, 1])).continues(&[true; 9])),
        said(data(&[2, 3, 3], &[2, 1]).with_lengths(&[1; 1000])),
        said(data(&[2, 3, 3], &[2, 1]).with_lengths(&[1, 9])),
    ];
    // A program that is changed by hand.
    let plan = Plan::forward(&shape, &whole, &limits).unwrap();
    let changed = |change: fn(&mut Dispatch)| {
        let mut program = (*plan.program).clone();
        for command in &mut program.commands {
            if let Operation::Dispatch(dispatch) = &mut command.operation {
                change(dispatch);
            }
        }
        said(device.session(&std::sync::Arc::new(program)))
    };
    errors.push(changed(|dispatch| dispatch.kernel = KernelId(9999)));
    errors.push(changed(|dispatch| dispatch.bindings[0].start = 1 << 50));
    let session = device.session(&plan.program).unwrap();
    errors.push(said(session.write("nothing", &[1.0])));
    errors.push(said(session.run_commands(5..9999)));
    errors
}

/// Errors of calls of models.
fn of_calls(device: &Device) -> Vec<Error> {
    let tensor = |shape: &[usize]| Tensor::zeros(device, shape).unwrap();
    let lstm = Lstm::new(device, config()).unwrap();
    let both = Lstm::new(device, config().bidirectional(true)).unwrap();
    let model = Forecaster::new(device, config(), 2).unwrap();
    let x = tensor(&[5, 2, 3]);
    let elsewhere = Tensor::zeros(&Device::cpu(), &[5, 2, 3]).unwrap();
    let shared = gatefold::LstmState { h: tensor(&[1, 2, 4]), c: tensor(&[1, 2, 4]) };
    let mut shared = gatefold::LstmState { c: shared.h.clone(), ..shared };
    let mut pool = StreamPool::new(&lstm, 2).unwrap();
    let mut other = StreamPool::new(&lstm, 2).unwrap();
    let (a, _b, c) = (pool.join().unwrap(), pool.join().unwrap(), other.join().unwrap());
    let full = said(pool.join());
    let text = full.to_string();
    assert!(text.contains("pool's capacity is 2"), "{text}");
    let twice = said(pool.feed(&[(a, &[0.0; 3]), (a, &[0.0; 3])]));
    pool.leave(a).unwrap();
    vec![
        full,
        twice,
        said(pool.feed(&[])),
        said(pool.leave(a)),
        said(pool.leave(c)),
        said(StreamPool::new(&both, 2)),
        said(StreamPool::new(&lstm, 0)),
        said(lstm.forward(&tensor(&[5, 2, 4]), None)),
        said(lstm.forward(&elsewhere, None)),
        said(lstm.forward_padded(&x, Some(&[1; 1000]), None)),
        said(lstm.forward_padded(&x, Some(&[1, 9]), None)),
        said(lstm.step(&tensor(&[2, 3]), &mut shared)),
        said(lstm.reset(&mut lstm.initial_state(2).unwrap(), &[7])),
        said(model.predict(&array(&[2, 5, 4]))),
        said(model.predict((&array(&[2, 5, 3]), &[1; 1000]))),
        said(model.predict((&array(&[2, 5, 3]), &[1, 9]))),
        said(verify::Model::load(device, "nowhere", 1, 1).map(drop)),
    ]
}

/// Errors of training.
fn of_training(device: &Device) -> Vec<Error> {
    let model = |config: LstmConfig| Forecaster::new(device, config, 2).unwrap();
    let set = |model, loss| Trainer::new(model, loss, Adam::new(0.1)).epochs(1);
    let trainer = |loss| set(model(config()), loss);
    let good = || data(&[4, 5, 3], &[4, 2]);
    let fit = |mut trainer: Trainer, data: Dataset| said(trainer.fit(&data, None, |_| ()));
    let group = ParameterGroup::of("nowhere");
    let mut errors = vec![
        fit(trainer(Loss::mse()).truncate(2), good()),
        fit(set(model(config().bidirectional(true)), Loss::mse()).truncate(2), good()),
        fit(trainer(Loss::mse().class_weights(vec![1.0])), good()),
        fit(trainer(Loss::huber(-1.0)), good()),
        fit(trainer(Loss::cross_entropy().class_weights(vec![1.0; 1000])), good()),
        fit(trainer(Loss::cross_entropy().class_weights(vec![1.0, f32::NAN])), good()),
        fit(trainer(Loss::cross_entropy().label_smoothing(9.0)), good()),
        fit(trainer(Loss::mse()).batch_size(0), good()),
        fit(trainer(Loss::mse()).group(group), good()),
        fit(trainer(Loss::mse()).early_stopping(1), good()),
        fit(trainer(Loss::mse()), data(&[4, 5, 3], &[4, 5])),
        said(trainer(Loss::huber(0.5)).accuracy(&good())),
        said(trainer(Loss::smooth_l1(0.5)).accuracy(&good())),
    ];
    let mut both = set(model(config().bidirectional(true)), Loss::mse());
    let batch = || Batch::from(good()).continues(&[true, false, true, false]);
    errors.push(said(both.fit_batches(|_| [batch()], None, |_| ())));
    let mut huge = trainer(Loss::mse());
    let y = Array::new(vec![3e38; 8], &[4, 2]).unwrap();
    errors.push(said(huge.fit(&Dataset::new(array(&[4, 5, 3]), y).unwrap(), None, |_| ())));
    // Runs of other trainers.
    let folder = tempfile::tempdir().unwrap();
    let mut run = trainer(Loss::mse());
    run.fit(&good(), None, |_| ()).unwrap();
    run.save(folder.path()).unwrap();
    let others = [
        Trainer::new(model(config()), Loss::mse(), Sgd::new(0.1).momentum(0.9)),
        Trainer::new(model(config()), Loss::mse(), RmsProp::new(0.1).centered()),
        set(model(config().bidirectional(true).bias(Bias::Single)), Loss::mse()),
        set(model(LstmConfig::new(3, 5)), Loss::mse()),
    ];
    errors.extend(others.map(|mut other| said(other.resume(folder.path()))));
    errors
}

/// Errors of files.
fn of_files(device: &Device) -> Vec<Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let load = || said(Forecaster::load(device, &path));
    let lstm = Lstm::new(device, config()).unwrap();
    let mut errors = vec![load(), said(Table::read(&path)), said(Table::parse("it", &b"a\n"[..]))];
    lstm.save(&path).unwrap();
    errors.push(load());
    let none = HashMap::new();
    checkpoint::write(&path, &lstm.state_dict().unwrap(), &none).unwrap();
    errors.push(load());
    std::fs::write(&path, b"PK\x03\x04 archive/data.pkl").unwrap();
    errors.push(load());
    std::fs::write(&path, b"some text").unwrap();
    errors.push(load());
    let one = ("a".to_owned(), array(&[1]));
    errors.push(said(checkpoint::write(&path, &[one.clone(), one.clone()], &none)));
    errors.push(said(Lstm::from_state_dict(device, std::slice::from_ref(&one))));
    errors.push(said(Linear::from_state_dict(device, std::slice::from_ref(&one))));
    errors.push(said(checkpoint::from_gates(
        std::slice::from_ref(&one),
        &GateNames::MATRICES_G,
        "l0",
    )));
    errors.push(said(checkpoint::from_keras(&one.1, &one.1, None, "l0")));
    errors.push(said(checkpoint::from_onnx(&one.1, &one.1, None, "l0")));
    errors.push(said(checkpoint::to_onnx(&[one], "l0")));
    let both = Forecaster::new(device, config().bidirectional(true), 2).unwrap();
    let dict = both.state_dict().unwrap();
    errors.push(said(Forecaster::from_state_dict(device, &dict, "lstm", "fc")));
    errors
}

#[test]
fn errors_are_for_people() {
    let device = Device::cpu();
    let all = [of_settings(&device), of_calls(&device), of_training(&device), of_files(&device)];
    let errors: Vec<Error> = all.into_iter().flatten().collect();
    let mut kinds: Vec<String> = Vec::new();
    for error in &errors {
        let text = error.to_string();
        assert_eq!(debug_text(&text), None, "{text}");
        // A list of a thousand is counted, not printed.
        assert!(text.len() < 700, "{text}");
        kinds.push(format!("{error:?}").split([' ', '(']).next().unwrap().to_owned());
    }
    kinds.sort();
    kinds.dedup();
    let expected = [
        "Checkpoint",
        "Data",
        "Io",
        "Limit",
        "NoDevice",
        "NonFinite",
        "OtherDevice",
        "Overflow",
        "Shape",
        "StateDict",
        "Value",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn listings_are_for_people() {
    let shape = StackShape::lstm(3, 4);
    for encoding in [Encoding::Values, Encoding::OneHot, Encoding::Embedding(9)] {
        for head in [Head::Identity, Head::Linear(9)] {
            for bias in [Bias::None, Bias::Single, Bias::Double] {
                for readout in Readout::ALL {
                    let head = head.clone();
                    let shape = StackShape { encoding, head, bias, readout, ..shape.clone() };
                    let sequences = Sequences::new(3, 2).with_lengths();
                    let plan = Plan::forward(&shape, &sequences, &Limits::CPU).unwrap();
                    let text = plan.to_string();
                    let headline = text.lines().take(3).collect::<Vec<_>>().join("\n");
                    assert_eq!(debug_text(&headline), None, "{headline}");
                }
            }
        }
    }
    let text = Plan::forward(&shape, &Sequences::new(3, 2), &Limits::CPU).unwrap().to_string();
    assert!(text.contains("two biases a gate, no head"), "{text}");
}

/// Dropout of one layer does nothing, of which PyTorch warns: here the settings say so.
#[test]
fn settings_are_for_people() {
    let one = config().dropout(0.5).to_string();
    assert_eq!(
        one,
        "3 inputs, 1 layer of 4 units, dropout 0.5 (note: dropout is between layers, and with one layer \
         nothing is dropped)"
    );
    assert!(!config().to_string().contains("note"));
    let all = config().layers(2).dropout(0.5).bidirectional(true).proj_size(2).bias(Bias::Single);
    let all = all.batch_first(true).learned_state(true).embedding(9).readout(Readout::LastOutput);
    assert_eq!(
        all.to_string(),
        "3 inputs, 2 layers of 4 units, an embedding of 9 tokens, two directions, projection to 2, \
         one bias a gate, learned initial states, readout last_output, batch first, dropout 0.5"
    );
    assert_eq!(debug_text(&all.to_string()), None);
}
