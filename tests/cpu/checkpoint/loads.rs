//! What a load takes, and everything that it names where it doesn't.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use gatefold::checkpoint::{Checkpoint, StateDict, prefixed, read, with_prefix, write};
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{
    Array, Bias, Dataset, Device, Error, Forecaster, Linear, LoadOptions, Lstm, LstmCell,
    LstmConfig, Readout, Result, verify,
};
use safetensors::tensor::{Dtype, TensorView};

use super::{counted, get};

/// What is wrong, said by a refused call.
fn said<T>(result: Result<T>) -> String {
    match result {
        Err(Error::StateDict { problem } | Error::Checkpoint { problem, .. }) => problem,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was taken"),
    }
}

/// The problems of a refused call, sorted.
fn problems<T>(result: Result<T>) -> Vec<String> {
    let mut problems: Vec<String> = said(result).split("; ").map(str::to_owned).collect();
    problems.sort();
    problems
}

fn cpu() -> Device {
    Device::cpu()
}

fn without(tensors: &StateDict, name: &str) -> StateDict {
    get(tensors, name);
    tensors.iter().filter(|(n, _)| n != name).cloned().collect()
}

fn from_dict(tensors: &[(String, Array)]) -> Result<Forecaster> {
    Forecaster::from_state_dict(&cpu(), tensors, "lstm.", "fc.")
}

fn predict(model: &Forecaster, x: &Array) -> Vec<f32> {
    model.predict(x).unwrap().into_data()
}

/// 2 rows of 3 timesteps.
fn values(input: usize) -> Array {
    let wave = (0..6 * input).map(|i| (i as f32 * 0.7).sin()).collect();
    Array::new(wave, &[2, 3, input]).unwrap()
}

/// LSTMs of every kind that a state dict tells apart.
fn configs() -> Vec<LstmConfig> {
    let mut configs = Vec::new();
    for layers in 1..=3 {
        for bidirectional in [false, true] {
            for proj in [0, 2] {
                for bias in [Bias::None, Bias::Single, Bias::Double] {
                    for learned in [false, true] {
                        let config = LstmConfig::new(3, 4).layers(layers).proj_size(proj);
                        let config = config.bidirectional(bidirectional).bias(bias);
                        configs.push(config.learned_state(learned));
                    }
                }
            }
        }
    }
    configs
}

/// Without any one of its tensors a model is no other one: the one that is missing is named.
#[test]
fn whatever_is_missing_is_named() {
    let (mut loads, mut free) = (0, 0);
    for config in configs() {
        let dict = Lstm::new(&cpu(), config.clone()).unwrap().state_dict().unwrap();
        let whole = Lstm::from_state_dict(&cpu(), &dict).unwrap();
        assert_eq!(whole.state_dict().unwrap(), dict);
        let count = |kind: &str| dict.iter().filter(|(name, _)| name.contains(kind)).count();
        for (name, array) in &dict {
            let part = without(&dict, name);
            let missing = format!("{name} {:?} is missing", array.shape());
            // Without its only second bias a layer has one a gate, without its only one none.
            let alone = name.contains("bias") && count(&name[..7]) == 1;
            let alone = alone && (name.contains("hh") || count("bias_hh") == 0);
            if alone {
                assert!(Lstm::from_state_dict(&cpu(), &part).is_ok());
                free += 1;
                continue;
            }
            let found = problems(Lstm::from_state_dict(&cpu(), &part));
            let sizes_unknown = format!("{name} [16, I] is missing");
            assert!(found == [missing] || found == [sizes_unknown], "{config}: {found:?}");
            loads += 1;
        }
        // The same with a head, which has a bias or none.
        let readout = Readout::MeanOverTime;
        let model = Forecaster::new(&cpu(), config.clone().readout(readout), 5).unwrap();
        let dict = model.state_dict().unwrap();
        let options = LoadOptions::new().readout(readout);
        for name in ["fc.weight", "fc.bias"] {
            let file = Checkpoint::from(without(&dict, name));
            let loaded = Forecaster::from_checkpoint(&cpu(), &file, &options);
            if name == "fc.bias" {
                assert_eq!(loaded.unwrap().state_dict().unwrap(), without(&dict, name));
                continue;
            }
            let found = problems(loaded);
            let shape = get(&dict, name).shape();
            assert_eq!(found, [format!("{name} {shape:?} is missing")], "{config}");
        }
    }
    assert!(loads > 700 && free == 8, "{loads}, {free}");
}

/// With a description nothing is free: every tensor of a file is named where it isn't there.
#[test]
fn whatever_a_file_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    type Load = fn(&Path) -> Result<()>;
    let loads: [(&str, Load); 4] = [
        ("Lstm", |path| Lstm::load(&cpu(), path).map(drop)),
        ("LstmCell", |path| LstmCell::load(&cpu(), path).map(drop)),
        ("Linear", |path| Linear::load(&cpu(), path).map(drop)),
        ("Forecaster", |path| Forecaster::load(&cpu(), path).map(drop)),
    ];
    let config = || LstmConfig::new(3, 4).layers(2).bidirectional(true);
    for (kind, load) in loads {
        match kind {
            "Lstm" => Lstm::new(&cpu(), config().proj_size(2)).unwrap().save(&path).unwrap(),
            "LstmCell" => {
                LstmCell::new(&cpu(), LstmConfig::new(3, 4)).unwrap().save(&path).unwrap()
            }
            "Linear" => Linear::new(&cpu(), 3, 4, 0).unwrap().save(&path).unwrap(),
            _ => {
                let config = config().embedding(7).learned_state(true);
                Forecaster::new(&cpu(), config, 2).unwrap().save(&path).unwrap();
            }
        }
        load(&path).unwrap();
        let file = read(&path).unwrap();
        for (name, array) in &file.tensors {
            write(&path, &without(&file.tensors, name), &file.metadata).unwrap();
            let missing = format!("{name} {:?} is missing", array.shape());
            assert_eq!(problems(load(&path)), [missing], "{kind}");
        }
        // Most of it at once.
        let named: Vec<String> = file.tensors[1..]
            .iter()
            .map(|(name, array)| format!("{name} {:?} is missing", array.shape()))
            .collect();
        write(&path, &file.tensors[..1], &file.metadata).unwrap();
        assert_eq!(problems(load(&path)), named, "{kind}");
    }
}

/// What only some layers or directions have is missing from the others.
#[test]
fn a_mixture_is_no_other_model() {
    let config = LstmConfig::new(3, 4).layers(2).bidirectional(true);
    let dict = Lstm::new(&cpu(), config.clone().proj_size(2)).unwrap().state_dict().unwrap();
    let mut part = without(&dict, "bias_hh_l0");
    for name in ["weight_hr_l1", "weight_ih_l1_reverse", "bias_ih_l0_reverse"] {
        part = without(&part, name);
    }
    part.push(("h_0".to_owned(), counted(0, &[4, 1, 2])));
    assert_eq!(
        problems(Lstm::from_state_dict(&cpu(), &part)),
        [
            "bias_hh_l0 [16] is missing",
            "bias_ih_l0_reverse [16] is missing",
            "c_0 [4, 1, 4] is missing",
            "weight_hr_l1 [2, 4] is missing",
            "weight_ih_l1_reverse [16, 4] is missing",
        ]
    );
    // A gap in the layers, and a layer that nothing else is of.
    let dict = Lstm::new(&cpu(), LstmConfig::new(3, 4).layers(3)).unwrap().state_dict().unwrap();
    let gap: StateDict = dict.iter().filter(|(name, _)| !name.contains("_l1")).cloned().collect();
    let layer = |l: usize| {
        [format!("bias_hh_l{l} [16]"), format!("bias_ih_l{l} [16]")]
            .into_iter()
            .chain([format!("weight_hh_l{l} [16, 4]"), format!("weight_ih_l{l} [16, 4]")])
            .map(|name| format!("{name} is missing"))
            .collect::<Vec<_>>()
    };
    assert_eq!(problems(Lstm::from_state_dict(&cpu(), &gap)), layer(1));
    let mut far = dict.clone();
    far.push(("bias_hh_l1000000000000".to_owned(), counted(0, &[16])));
    assert_eq!(
        said(Lstm::from_state_dict(&cpu(), &far)),
        "bias_hh_l1000000000000 is there, and nothing of layer 3"
    );
    // What is missing, misshapen and unexpected, at once, whatever the first tensor's shape says.
    let mut wrong = without(&dict, "weight_hh_l2");
    wrong[0].1 = counted(0, &[8, 3]);
    wrong.extend(
        ["weight_ih_l00", "weight_ih_l+1", "bias_ih_l1_reversed", "bias"]
            .map(|name| (name.to_owned(), counted(0, &[16]))),
    );
    wrong.push(dict[1].clone());
    assert_eq!(
        problems(Lstm::from_state_dict(&cpu(), &wrong)),
        [
            "bias is unexpected",
            "bias_ih_l1_reversed is unexpected",
            "weight_hh_l0 stands twice",
            "weight_hh_l2 [16, 4] is missing",
            "weight_ih_l+1 is unexpected",
            "weight_ih_l0 has shape [8, 3] instead of [16, 3]",
            "weight_ih_l00 is unexpected",
        ]
    );
    // Sizes that nothing tells have their letters.
    let none: StateDict = Vec::new();
    let empty = ["weight_hh_l0 [4H, H] is missing", "weight_ih_l0 [4H, I] is missing"];
    assert_eq!(problems(Lstm::from_state_dict(&cpu(), &none)), empty);
    let cell = ["weight_hh [4H, H] is missing", "weight_ih [4H, I] is missing"];
    assert_eq!(problems(LstmCell::from_state_dict(&cpu(), &none)), cell);
    let linear = ["bias [O] is missing", "weight [O, I] is missing"];
    assert_eq!(problems(Linear::from_state_dict(&cpu(), &none)), linear);
    let bias = vec![("bias".to_owned(), counted(0, &[5]))];
    assert_eq!(problems(Linear::from_state_dict(&cpu(), &bias)), ["weight [5, I] is missing"]);
    let odd = vec![("weight_ih_l0".to_owned(), counted(0, &[7, 3]))];
    assert_eq!(
        problems(Lstm::from_state_dict(&cpu(), &odd)),
        ["weight_hh_l0 [4H, H] is missing", "weight_ih_l0 has shape [7, 3] instead of [4H, 3]"]
    );
}

/// Another prefix than the one that was said: what there is instead.
#[test]
fn another_prefix_is_found() {
    let lstm = Lstm::new(&cpu(), LstmConfig::new(3, 4)).unwrap().state_dict().unwrap();
    let names = said(from_dict(&prefixed(&lstm, "_orig_mod.encoder.lstm.")));
    for part in [
        "lstm.weight_ih_l0 [4H, I] is missing",
        "_orig_mod.encoder.lstm.bias_hh_l0 is unexpected",
        "an LSTM is there under `_orig_mod.encoder.lstm.`",
    ] {
        assert!(names.contains(part), "{names}");
    }
    assert!(said(from_dict(&lstm)).ends_with("an LSTM is there without a prefix"));
    // A head that is called something else isn't left out silently.
    let model = Forecaster::new(&cpu(), LstmConfig::new(3, 4), 2).unwrap();
    let mut dict = model.state_dict().unwrap();
    for (name, _) in &mut dict {
        *name = name.replace("fc.", "classifier.");
    }
    let unexpected = ["classifier.bias is unexpected", "classifier.weight is unexpected"];
    assert_eq!(problems(from_dict(&dict)), unexpected);
    // Leaving the rest alone has to be asked for.
    let options = LoadOptions::new().leave_others();
    let file = Checkpoint::from(dict.clone());
    assert_eq!(Forecaster::from_checkpoint(&cpu(), &file, &options).unwrap().outputs(), 4);
    let options = LoadOptions::new().head("classifier");
    assert_eq!(Forecaster::from_checkpoint(&cpu(), &file, &options).unwrap().outputs(), 2);
}

/// With the dot or without: `rnn` and `rnn.`, also where another name begins so.
#[test]
fn prefixes_need_no_dot() {
    let model = Forecaster::new(&cpu(), LstmConfig::new(3, 4).seed(3), 2).unwrap();
    let dict = model.state_dict().unwrap();
    let lstm = with_prefix(&dict, "lstm.");
    let both =
        [prefixed(&lstm, "rnn."), prefixed(&with_prefix(&dict, "fc"), "out.linear")].concat();
    let file = Checkpoint::from([both.clone(), vec![("rnn2.x".into(), counted(0, &[1]))]].concat());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path, &both, &HashMap::new()).unwrap();
    for (rnn, linear) in [("rnn", "out.linear"), ("rnn.", "out.linear."), ("rnn", "out.linear.")] {
        let same = Forecaster::from_state_dict(&cpu(), &both, rnn, linear).unwrap();
        assert_eq!(predict(&same, &values(3)), predict(&model, &values(3)));
        let options = LoadOptions::new().lstm(rnn).head(linear);
        assert!(Forecaster::load_as(&cpu(), &path, &options).is_ok());
        let found = problems(Forecaster::from_checkpoint(&cpu(), &file, &options));
        assert_eq!(found, ["rnn2.x is unexpected"]);
        let options = options.leave_others();
        assert!(Forecaster::from_checkpoint(&cpu(), &file, &options).is_ok());
        assert!(verify::Model::load_named(&cpu(), &path, (rnn, linear), 3, 2).is_ok());
    }
}

/// The bytes of a file of PyTorch's, of tensors of any type.
fn typed(tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()
}

fn of_f32(dict: &StateDict) -> Vec<(String, Dtype, Vec<usize>, Vec<u8>)> {
    let tensor = |(name, array): &(String, Array)| {
        let bytes = array.data().iter().flat_map(|v| v.to_le_bytes()).collect();
        (name.clone(), Dtype::F32, array.shape().to_vec(), bytes)
    };
    dict.iter().map(tensor).collect()
}

/// What stands beside a model and is no weight doesn't matter; what should be one does, with its type.
#[test]
fn other_types_are_left_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let load = || Forecaster::load(&cpu(), &path);
    let model = Forecaster::new(&cpu(), LstmConfig::new(3, 4), 2).unwrap();
    let mut tensors = of_f32(&model.state_dict().unwrap());
    let others = [
        ("bn.num_batches_tracked", Dtype::I64, vec![], vec![1; 8]),
        ("mask", Dtype::BOOL, vec![2, 2], vec![1; 4]),
        ("scaler.mean", Dtype::F64, vec![1], 1e300f64.to_le_bytes().to_vec()),
        ("scaler.std", Dtype::F64, vec![2], [2.5f64.to_le_bytes(); 2].concat()),
        ("empty", Dtype::F32, vec![0], vec![]),
        ("lstm.steps", Dtype::U8, vec![1], vec![1]),
        ("packed", Dtype::F4, vec![6], vec![1; 3]),
    ];
    tensors
        .extend(others.map(|(name, dtype, shape, bytes)| (name.to_owned(), dtype, shape, bytes)));
    fs::write(&path, typed(&tensors)).unwrap();
    assert_eq!(predict(&load().unwrap(), &values(3)), predict(&model, &values(3)));
    assert_eq!(verify::Model::load(&cpu(), &path, 3, 2).unwrap().ignored().len(), 7);

    // Numbers that might be weights are another matter.
    let at = tensors.iter().position(|(name, ..)| name == "mask").unwrap();
    tensors[at].1 = Dtype::F32;
    tensors[at].2 = vec![1];
    fs::write(&path, typed(&tensors)).unwrap();
    assert_eq!(problems(load()), ["mask is unexpected"]);
    assert!(Forecaster::load_as(&cpu(), &path, &LoadOptions::new().leave_others()).is_ok());
    tensors.remove(at);

    // Weights of a type that is none.
    let whole = tensors.clone();
    for (name, dtype, shape, bytes) in &mut tensors {
        match name.as_str() {
            "lstm.weight_hh_l0" => (*dtype, *bytes) = (Dtype::I8, vec![0; 64]),
            "fc.bias" => (*shape, *bytes) = (vec![0], vec![]),
            "lstm.bias_hh_l0" => {
                (*dtype, *bytes) = (Dtype::F64, [1e39f64.to_le_bytes(); 16].concat())
            }
            _ => {}
        }
    }
    fs::write(&path, typed(&tensors)).unwrap();
    let wrong = [
        "fc.bias [0] has no elements",
        "lstm.bias_hh_l0 [16] has 1e39 at element 0, too large for f32",
        "lstm.weight_hh_l0 [16, 4] is I8, and weights are F32, F16, BF16 or F64",
    ];
    assert_eq!(problems(load()), wrong);
    let part = read(&path).unwrap().with_prefix("lstm");
    let found = said(Lstm::from_checkpoint(&cpu(), &part));
    assert!(found.contains("weight_hh_l0 [16, 4] is I8"), "{found}");
    let verified = said(verify::Model::load(&cpu(), &path, 3, 2).map(drop));
    assert!(verified.contains("lstm.weight_hh_l0 [16, 4] is I8"), "{verified}");

    // A model in f64 is rounded, and everything beside it is looked at.
    let mut wide = whole;
    wide.retain(|(_, dtype, ..)| *dtype == Dtype::F32);
    for (_, dtype, _, bytes) in &mut wide {
        let (fours, _) = bytes.as_chunks::<4>();
        let wider =
            |four: &[u8; 4]| (f64::from(f32::from_le_bytes(*four)) * (1.0 + 1e-12)).to_le_bytes();
        (*dtype, *bytes) = (Dtype::F64, fours.iter().flat_map(wider).collect());
    }
    wide.retain(|(name, ..)| name != "empty");
    fs::write(&path, typed(&wide)).unwrap();
    assert_eq!(predict(&load().unwrap(), &values(3)), predict(&model, &values(3)));
    wide.push(("scale".to_owned(), Dtype::F64, vec![1], 1f64.to_le_bytes().to_vec()));
    fs::write(&path, typed(&wide)).unwrap();
    assert_eq!(problems(load()), ["scale is unexpected"]);
}

/// Whatever was saved loads, whole: under any names, and of a run's folder too.
#[test]
fn custom_names_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = LstmConfig::new(3, 4).layers(2).learned_state(true).seed(5);
    for (lstm, head) in [("rnn.", "classifier.out."), ("", "head."), ("a.b.lstm.", "")] {
        let own = Forecaster::new(&cpu(), config.clone(), 2).unwrap().state_dict().unwrap();
        let dict = [
            prefixed(&with_prefix(&own, "lstm."), lstm),
            prefixed(&with_prefix(&own, "fc."), head),
        ];
        let model = Forecaster::from_state_dict(&cpu(), &dict.concat(), lstm, head).unwrap();
        let expected = predict(&model, &values(3));
        model.save(&path).unwrap();
        let mut again = Forecaster::load(&cpu(), &path).unwrap();
        assert_eq!(predict(&again, &values(3)), expected);
        again.load_state_dict(&dict.concat()).unwrap();
        assert_eq!(verify::Model::load(&cpu(), &path, 3, 2).unwrap().ignored().len(), 0);
        again.save(&path).unwrap();
        let (again, saved) = Forecaster::load_with(&cpu(), &path).unwrap();
        assert_eq!(predict(&again, &values(3)), expected);
        assert_eq!(saved["gatefold.prefix.lstm"], lstm);

        // A file from before names were in it.
        let mut file = read(&path).unwrap();
        file.metadata.retain(|key, _| !key.contains("prefix"));
        write(&path, &file.tensors, &file.metadata).unwrap();
        assert_eq!(predict(&Forecaster::load(&cpu(), &path).unwrap(), &values(3)), expected);
        let options = LoadOptions::new().lstm(lstm).head(head);
        let named = Forecaster::load_as(&cpu(), &path, &options).unwrap();
        assert_eq!(predict(&named, &values(3)), expected);

        // A run.
        let run = folder.path().join("run");
        let data = Dataset::new(values(3), counted(0, &[2, 2])).unwrap();
        let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).epochs(2);
        trainer.fit(&data, None, |_| ()).unwrap();
        trainer.save(&run).unwrap();
        let saved = Forecaster::load(&cpu(), run.join("model.safetensors")).unwrap();
        assert_eq!(predict(&saved, &values(3)), predict(trainer.model(), &values(3)));
        let mut resumed = Trainer::new(again, Loss::mse(), Adam::new(0.01)).epochs(2);
        resumed.resume(&run).unwrap();
        assert_eq!(predict(resumed.model(), &values(3)), predict(trainer.model(), &values(3)));
    }
    // An embedding of another name.
    let model = Forecaster::new(&cpu(), config.embedding(7), 2).unwrap();
    let mut dict = model.state_dict().unwrap();
    for (name, _) in &mut dict {
        *name = name.replace("embedding.", "encoder.emb.");
    }
    let options = LoadOptions::new().embedding("encoder.emb");
    let file = Checkpoint::from(dict);
    let named = Forecaster::from_checkpoint(&cpu(), &file, &options).unwrap();
    named.save(&path).unwrap();
    let again = Forecaster::load(&cpu(), &path).unwrap();
    let tokens = Array::new(vec![0.0, 6.0, 3.0], &[1, 3]).unwrap();
    assert_eq!(predict(&again, &tokens), predict(&model, &tokens));
}

/// What is read of a sequence comes from the file; where the file doesn't say it, from the caller; and
/// of two directions it has to be said.
#[test]
fn readouts_are_kept_or_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let plain = folder.path().join("plain.safetensors");
    let x = values(3);
    for bidirectional in [false, true] {
        let config = LstmConfig::new(3, 4).bidirectional(bidirectional).seed(2);
        for readout in Readout::ALL {
            let model = Forecaster::new(&cpu(), config.clone().readout(readout), 2).unwrap();
            let expected = predict(&model, &x);
            model.save(&path).unwrap();
            let file = read(&path).unwrap();
            let options = LoadOptions::new();
            let kept = Forecaster::from_checkpoint(&cpu(), &file, &options).unwrap();
            assert_eq!((kept.readout(), predict(&kept, &x)), (readout, expected.clone()));
            // As a file of PyTorch's.
            write(&plain, &file.tensors, &HashMap::new()).unwrap();
            let asked = options.readout(readout);
            let said = Forecaster::load_as(&cpu(), &plain, &asked).unwrap();
            assert_eq!((said.readout(), predict(&said, &x)), (readout, expected.clone()));
            let tensors = Checkpoint::from(file.tensors.clone());
            let said = Forecaster::from_checkpoint(&cpu(), &tensors, &asked).unwrap();
            assert_eq!(predict(&said, &x), expected);
            // Said by the caller over what the file says.
            let over = LoadOptions::new().readout(Readout::MaxOverTime);
            let over = Forecaster::load_as(&cpu(), &path, &over).unwrap();
            assert_eq!(over.readout(), Readout::MaxOverTime);
        }
        let tensors = read(&path).unwrap().tensors;
        let results = [Forecaster::load(&cpu(), &plain), from_dict(&tensors)];
        for result in results {
            if bidirectional {
                let problem = said(result);
                for word in ["Readout::FinalStates", "Readout::LastOutput", "LoadOptions"] {
                    assert!(problem.contains(word), "{problem}");
                }
            } else {
                assert_eq!(result.unwrap().readout(), Readout::FinalStates);
            }
        }
        // What is wrong with the tensors comes first.
        let part = without(&tensors, "lstm.bias_hh_l0");
        let part: StateDict = part.into_iter().filter(|(name, _)| name != "fc.weight").collect();
        let weight = format!("fc.weight [2, {}] is missing", if bidirectional { 8 } else { 4 });
        let mut missing = vec![weight.as_str()];
        missing.extend(bidirectional.then_some("lstm.bias_hh_l0 [16] is missing"));
        assert_eq!(problems(from_dict(&part)), missing);
    }
}

/// One model is one file, and so is a run.
#[test]
fn a_model_is_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = LstmConfig::new(3, 4).layers(2).bidirectional(true);
    let model = Forecaster::new(&cpu(), config, 2).unwrap();
    let data = Dataset::new(values(3), counted(0, &[2, 2])).unwrap();
    let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).epochs(2).shuffle(1);
    trainer.fit(&data, None, |_| ()).unwrap();
    let mut first = None;
    for turn in 0..6 {
        let run = folder.path().join(turn.to_string());
        let entries = (0..9).map(|i| (format!("scaler.{i}"), i.to_string())).collect();
        trainer.save_with(&run, &entries).unwrap();
        let bytes = ["model", "trainer"]
            .map(|name| fs::read(run.join(format!("{name}.safetensors"))).unwrap());
        assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "save {turn}");
    }
}

/// A run's file names everything that is wrong with its tensors, too.
#[test]
fn a_run_names_everything() {
    let folder = tempfile::tempdir().unwrap();
    let trainer = || {
        let model = Forecaster::new(&cpu(), LstmConfig::new(3, 4), 2).unwrap();
        Trainer::new(model, Loss::mse(), Adam::new(0.01)).epochs(2)
    };
    let data = Dataset::new(values(3), counted(0, &[2, 2])).unwrap();
    let mut first = trainer();
    first.fit(&data, None, |_| ()).unwrap();
    first.save(folder.path()).unwrap();
    let path = folder.path().join("trainer.safetensors");
    let file = read(&path).unwrap();
    let mut wrong = file.tensors.clone();
    for (name, array) in &mut wrong {
        match name.as_str() {
            "params.fc.bias" => *name = "params.fc.bias2".to_owned(),
            "moment_0.lstm.bias_hh_l0" => *array = counted(0, &[4]),
            "moment_1.fc.weight" => *array = Array::new(vec![f32::NAN; 8], &[2, 4]).unwrap(),
            _ => {}
        }
    }
    wrong.push(("surprise".to_owned(), counted(0, &[1])));
    write(&path, &wrong, &file.metadata).unwrap();
    let mut resumed = trainer();
    assert_eq!(
        problems(resumed.resume(folder.path())),
        [
            "moment_0.lstm.bias_hh_l0 has shape [4] instead of [16]",
            "moment_1.fc.weight has NaN at element 0",
            "params.fc.bias [2] is missing",
            "params.fc.bias2 is unexpected",
            "surprise is unexpected",
        ]
    );
    // Files from before have other words for the optimizer, and none for what is newer.
    let mut old = file.metadata.clone();
    old.retain(|key, _| !key.contains("prefix") && !key.contains("readout"));
    write(&path, &file.tensors, &old).unwrap();
    resumed.resume(folder.path()).unwrap();
    for (text, words) in [("Sgd { momentum: true }", "SGD with momentum"), ("Adam", "")] {
        old.insert("gatefold.trainer.optimizer".to_owned(), text.to_owned());
        write(&path, &file.tensors, &old).unwrap();
        match trainer().resume(folder.path()) {
            Ok(()) => assert_eq!(words, ""),
            Err(error) => assert!(error.to_string().contains(words), "{error}"),
        }
    }
}

/// A file that holds another kind of model says which.
#[test]
fn another_kind_of_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = || LstmConfig::new(3, 4).layers(2);
    Lstm::new(&cpu(), config()).unwrap().save(&path).unwrap();
    assert!(said(Forecaster::load(&cpu(), &path)).contains("an `Lstm`, not a `Forecaster`"));
    assert!(said(LstmCell::load(&cpu(), &path)).contains("an `Lstm`, not an `LstmCell`"));
    assert!(said(Linear::load(&cpu(), &path)).contains("an `Lstm`, not a `Linear`"));
    Forecaster::new(&cpu(), config(), 2).unwrap().save(&path).unwrap();
    assert!(said(Lstm::load(&cpu(), &path)).contains("a `Forecaster`, not an `Lstm`"));
    let part = read(&path).unwrap().with_prefix("lstm");
    let mut dict = Lstm::from_checkpoint(&cpu(), &part).unwrap().state_dict().unwrap();
    dict.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(dict, part.tensors);
    Linear::new(&cpu(), 3, 4, 0).unwrap().save(&path).unwrap();
    assert!(said(Forecaster::load(&cpu(), &path)).contains("a `Linear`, not a `Forecaster`"));
    let linear = Linear::from_checkpoint(&cpu(), &read(&path).unwrap()).unwrap();
    assert_eq!(linear.state_dict().unwrap().len(), 2);
}
