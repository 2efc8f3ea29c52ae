//! Weights of other libraries in safetensors and `.npz`: what their models computed, ours compute
//! (tests/golden/import).

use std::path::PathBuf;

use gatefold::import::{self, Imported, Library};
use gatefold::reference::Tolerance;
use gatefold::{Array, Device, Error, LoadOptions, Readout, Tensor};
use gatefold_checks::golden::{self, Golden};
use gatefold_checks::{assert_close, wide};

/// A file of a folder, whichever of the two it is.
fn path(name: &str) -> PathBuf {
    let path = golden::folder().join(format!("import/{name}.npz"));
    if path.exists() { path } else { path.with_extension("safetensors") }
}

fn opened(name: &str) -> Imported {
    import::open(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// `[B, T, n]` as `[T, B, n]`, or back.
fn turned(array: &Array) -> Array {
    let &[first, second, width] = array.shape() else { panic!("three axes") };
    let at = |i: usize| {
        let (s, f, n) = (i / (first * width), i / width % first, i % width);
        array.data()[(f * second + s) * width + n]
    };
    Array::new((0..array.data().len()).map(at).collect(), &[second, first, width]).unwrap()
}

/// Whether an LSTM gives what the library's did; `key` is what its numbers are called.
fn computes(model: &Imported, lstm: &str, results: &Golden, key: &str) {
    let device = Device::cpu();
    let (x, y) = (results.get(&format!("{key}.x")), results.get(&format!("{key}.y")));
    let x = turned(x);
    let x = Tensor::from_slice(&device, x.data(), x.shape()).unwrap();
    let got = model.lstm(lstm).unwrap().build(&device).unwrap().forward(&x, None).unwrap().0;
    assert_close(key, &got.to_vec().unwrap(), &wide(turned(y).data()), Tolerance::OUTPUT);
}

/// Whether the model with its head does.
fn predicts(model: &Imported, options: &LoadOptions, results: &Golden, name: &str) {
    let net = model.forecaster_as(&Device::cpu(), options);
    let net = net.unwrap_or_else(|error| panic!("{name}: {error}"));
    let x = ["x", "tokens"].map(|kind| format!("{name}.{kind}")).into_iter();
    let x = x.filter(|key| results.has(key)).map(|key| results.get(&key)).next().unwrap();
    let got = net.predict(x).unwrap();
    let out = results.get(&format!("{name}.out"));
    assert_close(name, got.data(), &wide(out.data()), Tolerance::OUTPUT);
}

/// A file, its LSTM, and whether the model has a head of one linear layer.
fn one(file: &str, lstm: &str, head: bool) {
    let (folder, name) = file.split_once('/').unwrap();
    let results = Golden::read(&format!("import/{folder}"));
    let model = opened(file);
    assert_eq!(model.all().len(), 1, "{file}: {model}");
    if results.has(&format!("{name}.y")) && results.has(&format!("{name}.x")) {
        computes(&model, lstm, &results, name);
    }
    if head {
        predicts(&model, &LoadOptions::new(), &results, name);
    }
}

/// A file of several LSTMs, each by its numbers.
fn several(file: &str, lstms: &[(&str, &str)]) {
    let (folder, name) = file.split_once('/').unwrap();
    let results = Golden::read(&format!("import/{folder}"));
    let model = opened(file);
    assert_eq!(model.all().len(), lstms.len(), "{file}: {model}");
    for (lstm, key) in lstms {
        computes(&model, lstm, &results, &format!("{name}.{key}"));
    }
}

#[test]
fn flax_computes_what_it_computed() {
    one("jax/flax_cell", "lstm.cell", true);
    one("jax/flax_compact", "LSTMCell_0", true);
    one("jax/flax_optimized", "lstm.cell", true);
    one("jax/flax_bidirectional", "both", false);
    one("jax/nnx_cell", "lstm.cell", true);
    one("jax/nnx_optimized", "lstm.cell", true);
    // Made on one line, the outer one first.
    several(
        "jax/flax_inline",
        &[("params.LSTMCell_1", "LSTMCell_1"), ("params.LSTMCell_0", "LSTMCell_0")],
    );
}

#[test]
fn haiku_adds_one_to_the_forget_gate() {
    one("jax/haiku_lstm", "lstm", true);
    several("jax/haiku_deep", &[("lstm", "lstm"), ("lstm_1", "lstm_1")]);
}

#[test]
fn mlx_and_tinygrad_compute_what_they_computed() {
    one("mlx/mlx_lstm", "lstm", true);
    one("mlx/mlx_nobias", "lstm", true);
    several("mlx/mlx_stacked", &[("layers.0", "layers.0"), ("layers.1", "layers.1")]);
    one("tinygrad/tinygrad_cell", "rnn", true);
    several("tinygrad/tinygrad_stacked", &[("cells.0", "cells.0"), ("cells.1", "cells.1")]);
}

#[test]
fn paddle_computes_what_it_computed() {
    one("paddle/paddle_lstm", "lstm", true);
    // By the cells' names: with a projection the others stand over other tensors.
    one("paddle/paddle_projected", "lstm", false);
    one("paddle/paddle_stacked", "lstm", false);
    let (results, model) = (Golden::read("import/paddle"), opened("paddle/paddle_stacked"));
    let options = LoadOptions::new().readout(Readout::FinalStates);
    predicts(&model, &options, &results, "paddle_stacked");
}

#[test]
fn tensorflow_1_adds_one_to_the_forget_gate() {
    one("tf1/tf1_basic", "rnn.basic_lstm_cell", true);
    // What Adam keeps has the kernel's shape.
    one("tf1/tf1_checkpoint", "rnn.basic_lstm_cell", true);
    one("tf1/tf1_peepholes", "rnn.lstm_cell", false);
    one("tf1/tf1_projected", "rnn.lstm_cell", false);
    one("tf1/tf1_bidirectional", "bidirectional_rnn", false);
    // Of different sizes, so each alone.
    let cell = |n: u32| format!("rnn/multi_rnn_cell/cell_{n}/basic_lstm_cell");
    let lstms = [0, 1].map(|n| (cell(n).replace('/', "."), cell(n)));
    let lstms: Vec<(&str, &str)> = lstms.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    several("tf1/tf1_stacked", &lstms);
}

#[test]
fn what_may_mean_two_things_is_asked() {
    let results = Golden::read("import/jax");
    let refused = |name: &str, words: &str| {
        let error = import::open(path(name)).map(drop).unwrap_err();
        assert!(matches!(error, Error::Import { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    };
    let said = |name: &str, library: Library| {
        import::open_as(path(name), library).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    for name in ["equinox_cell", "equinox_keystr"] {
        let file = format!("jax/{name}");
        refused(&file, "Equinox (equinox) or coremltools (coreml)");
        let model = said(&file, Library::Equinox);
        computes(&model, "cell", &results, name);
        predicts(&model, &LoadOptions::new(), &results, name);
        // The other order of gates has the same names and shapes.
        let other = said(&file, Library::Coreml).lstm("cell").unwrap().state_dict();
        assert_ne!(other, model.lstm("cell").unwrap().state_dict());
    }
    refused("jax/haiku_named", "core; if they are, say so with import::open_as or `--as haiku`");
    let model = said("jax/haiku_named", Library::Haiku);
    computes(&model, "core", &results, "haiku_named");
    predicts(&model, &LoadOptions::new(), &results, "haiku_named");

    // A square weight of Paddle's under PyTorch's names.
    let results = Golden::read("import/paddle");
    let model = said("paddle/paddle_flat", Library::Paddle);
    computes(&model, "lstm", &results, "paddle_flat");
    predicts(&model, &LoadOptions::new(), &results, "paddle_flat");
}

#[test]
fn what_is_said_has_to_be_so() {
    let refused = |result: Result<Imported, Error>, words: &str| {
        let error = result.map(drop).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(import::open_as(path("jax/flax_cell"), Library::Haiku), "no LSTM is among its tensors");
    let file = golden::folder().join("import/pytorch/one_layer.pth");
    refused(import::open_as(file, Library::Flax), "says itself what it holds");
    assert!("chainer".parse::<Library>().unwrap_err().contains("no library that is known here"));
    for library in Library::ALL {
        assert_eq!(library.name().parse(), Ok(library));
    }
}

#[test]
fn arrays_of_every_type_and_order_are_read() {
    for name in ["f4", "f8", "f2", "big", "big_f8", "bf16", "fortran", "compressed"] {
        one(&format!("npz/{name}"), "rnn", false);
        let said = opened(&format!("npz/{name}")).to_string();
        assert!(said.contains("left out: steps [3] is <i8"), "{said}");
    }
}
