//! Files of other libraries: what their models computed, ours compute (tests/golden/import).

use gatefold::import::{self, Imported};
use gatefold::reference::Tolerance;
use gatefold::{Device, Error, LoadOptions, Readout, Tensor};
use gatefold_checks::golden::{self, Golden};
use gatefold_checks::{assert_close, wide};

/// A file of torch.save's.
fn opened(name: &str) -> Result<Imported, Error> {
    import::open(golden::folder().join(format!("import/pytorch/{name}.pth")))
}

/// Whether an LSTM of a file computes what PyTorch's module did.
fn computes(model: &Imported, lstm: &str, results: &Golden, name: &str) {
    let device = Device::cpu();
    let (x, y) = (results.get(&format!("{name}.x")), results.get(&format!("{name}.y")));
    let built = model.lstm(lstm).unwrap().build(&device).unwrap();
    let x = Tensor::from_slice(&device, x.data(), x.shape()).unwrap();
    let got = built.forward(&x, None).unwrap().0.to_vec().unwrap();
    assert_close(name, &got, &wide(y.data()), Tolerance::OUTPUT);
}

/// Whether the model does, with the linear layer on it.
fn predicts(model: &Imported, options: &LoadOptions, results: &Golden, name: &str) {
    let device = Device::cpu();
    let (x, out) = (results.get(&format!("{name}.x")), results.get(&format!("{name}.out")));
    let net = model.forecaster_as(&device, options).unwrap();
    // Batch first.
    let &[steps, batch, width] = x.shape() else { panic!("[T, B, I]") };
    let at = |i: usize| {
        let (b, t, n) = (i / (steps * width), i / width % steps, i % width);
        x.data()[(t * batch + b) * width + n]
    };
    let first: Vec<f32> = (0..x.data().len()).map(at).collect();
    let x = gatefold::Array::new(first, &[batch, steps, width]).unwrap();
    let got = net.predict(&x).unwrap();
    assert_close(name, got.data(), &wide(out.data()), Tolerance::OUTPUT);
}

#[test]
fn checkpoints_of_pytorch_compute_what_it_computed() {
    let results = Golden::read("import/pytorch");
    let plain = LoadOptions::new();
    let cases = [
        ("one_layer", "lstm", plain.clone()),
        ("stacked", "lstm", plain.clone().readout(Readout::FinalStates)),
        ("legacy", "lstm", plain.clone()),
        ("projected", "lstm", plain.clone()),
        ("lightning", "encoder.lstm", plain.clone()),
        ("compiled", "lstm", plain.clone()),
        ("averaged", "lstm", plain.clone()),
        ("two", "ema.lstm", plain.clone().lstm("ema.lstm").head("ema.fc").leave_others()),
        ("weight_norm_old", "lstm", plain.clone()),
        ("weight_norm", "lstm", plain.clone()),
        ("pruned", "lstm", plain.clone()),
        ("spectral_norm", "lstm", plain.clone()),
        ("awd", "rnns.0.module", plain.clone()),
        ("half", "lstm", plain.clone()),
        ("bfloat16", "lstm", plain.clone()),
        ("double", "lstm", plain.clone()),
        ("views", "lstm", plain.clone()),
        ("whole", "lstm", plain.clone()),
    ];
    for (name, lstm, options) in cases {
        let model = opened(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        computes(&model, lstm, &results, name);
        predicts(&model, &options, &results, name);
    }
    computes(&opened("cell").unwrap(), "rnn", &results, "cell");
}

#[test]
fn what_was_found_is_said() {
    for (name, said) in [
        (
            "one_layer",
            "a PyTorch checkpoint\n  lstm: 3 inputs, 1 layer of 5 units\n  fc.bias [2]\n  fc.weight [2, 5]",
        ),
        ("legacy", "of the old kind"),
        ("lightning", "converted: state_dict taken out of the file's dictionary"),
        ("lightning", "left out: optimizer_states ("),
        ("compiled", "_orig_mod, of torch.compile, taken off 4 names"),
        ("averaged", "module, of a wrapper, taken off"),
        ("two", "ema.lstm: 3 inputs"),
        ("weight_norm_old", "weight norm undone: fc.weight, lstm.weight_hh_l0"),
        (
            "weight_norm",
            "weight norm (parametrizations) undone: lstm.weight_hh_l0, lstm.weight_ih_l0",
        ),
        ("pruned", "pruning undone: fc.weight, lstm.weight_hh_l0"),
        ("spectral_norm", "spectral norm (parametrizations) undone: lstm.weight_hh_l0"),
        ("spectral_norm", "spectral norm undone: fc.weight"),
        ("awd", "DropConnect of AWD-LSTM undone: rnns.0.module.weight_hh_l0"),
        ("views", "left out: bn.num_batches_tracked [] is I64"),
    ] {
        let found = opened(name).unwrap().to_string();
        assert!(found.contains(said), "{name}: {found}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    for (name, said) in [
        ("refused_orthogonal", "remove_parametrizations"),
        ("refused_quantized", "quantized"),
        ("refused_script", "torch.jit.load"),
        ("refused_without_lstm", "no LSTM is among its tensors: conv.weight"),
    ] {
        let error = opened(name).map(drop).unwrap_err();
        assert!(matches!(error, Error::Import { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{name}: {error}");
    }
    let two = opened("two").unwrap();
    let error = two.lstm("lstm").map(drop).unwrap_err().to_string();
    assert!(error.contains("one of ema.lstm, model.lstm"), "{error}");
    let error = two.forecaster(&Device::cpu()).map(drop).unwrap_err().to_string();
    assert!(error.contains("several LSTMs"), "{error}");
    let error = opened("stacked").unwrap().forecaster(&Device::cpu()).map(drop).unwrap_err();
    assert!(error.to_string().contains("LoadOptions::readout"), "{error}");
}

/// A model of ONNX's.
fn onnx(name: &str) -> Result<Imported, Error> {
    import::open(golden::folder().join(format!("import/onnx/{name}.onnx")))
}

/// Whether a forecaster computes what ONNX Runtime did.
fn predicts_as_onnx(name: &str, results: &Golden, out: &str) {
    predicts_as(onnx(name), name, results, out);
}

/// Whether a forecaster computes what a library did.
fn predicts_as(model: Result<Imported, Error>, name: &str, results: &Golden, out: &str) {
    let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
    let net =
        model.forecaster(&Device::cpu()).unwrap_or_else(|error| panic!("{name}: {error}\n{model}"));
    let x = ["x", "tokens"].map(|kind| format!("{name}.{kind}")).into_iter();
    let x = x.filter(|kind| results.has(kind)).map(|kind| results.get(&kind)).next().unwrap();
    let (got, out) = (net.predict(x).unwrap(), results.get(&format!("{name}.{out}")).data());
    if name == "half" {
        // Of a file of f16, ONNX Runtime gives such.
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 2048.0 + 1e-5;
        assert!(got.data().len() == out.len() && got.data().iter().zip(out).all(near), "{got:?}");
        return;
    }
    assert_close(name, got.data(), &wide(out), Tolerance::OUTPUT);
}

#[test]
fn onnx_models_compute_what_onnx_runtime_computes() {
    let results = Golden::read("import/onnx");
    for name in [
        "one_layer",
        "final",
        "every_step",
        "two",
        "mean",
        "max",
        "ends",
        "no_bias",
        "unfolded",
        "fixed",
        "learned",
        "words",
    ] {
        predicts_as_onnx(name, &results, "out");
        predicts_as_onnx(&format!("{name}_new"), &results, "out");
    }
    for name in ["last_of_all", "last_of_all_new", "reverse_slice"] {
        predicts_as_onnx(name, &results, "out");
    }
    for name in ["beside", "states", "packed", "branches", "joined", "quantized", "half"] {
        predicts_as_onnx(name, &results, "out");
    }
    for name in [
        "peepholes",
        "peepholes_both",
        "clip",
        "coupled",
        "reverse",
        "opset_7",
        "opset_22",
        "without_bias",
        "hard",
        "silent",
        "affine",
        "silent_thresholded",
        "initial",
    ] {
        predicts_as_onnx(name, &results, "y");
    }
}

#[test]
fn what_was_found_in_onnx_is_said() {
    for (name, said) in [
        (
            "final",
            "an ONNX model of pytorch 2.15.0, operators of version 20\n  encoder: 4 inputs, 2 layers of 6 units, two",
        ),
        ("final", "gates of 2 layers, from ONNX's order i, o, f, c"),
        ("every_step", "input [T, B, ..] of the file is [B, T, ..] for a forecaster"),
        (
            "two",
            "\n  lstm1: 3 inputs, 1 layer of 6 units\n  lstm2: 6 inputs, 1 layer of 4 units\n  fc.weight [1, 4]",
        ),
        ("words", "\n  words.weight [11, 4]\n"),
        ("unfolded_new", "lstm: 32 inputs, 1 layer of 46 units, two directions"),
        ("learned", "lstm: 3 inputs, 2 layers of 5 units, learned initial states"),
        ("joined", "model.bi: 3 inputs, 1 layer of 4 units, two directions"),
        ("joined", "a layer forward and one in reverse made one of both directions"),
        ("packed", "left out: lengths of sequences: they are given with a call"),
        ("states", "left out: initial states: they are given with a call, and zero without"),
        ("quantized", "weights of 8 bits made numbers again"),
        ("quantized", "left out: the rounding of inputs and activations to 8 bits"),
        ("silent", "cell: gate HardSigmoid 0.2 0.5, candidate Elu 1, output LeakyRelu 0.01"),
        ("silent_thresholded", "candidate ThresholdedRelu 0"),
        ("peepholes_both", "cell: peepholes"),
        ("coupled", "cell: coupled"),
        ("clip", "cell: clip 0.4"),
    ] {
        let found = onnx(name).unwrap().to_string();
        assert!(found.contains(said), "{name}: {found}");
    }
    let two = onnx("two").unwrap();
    assert_eq!(two.lstm("lstm2").unwrap().state_dict()[0].0, "weight_ih_l0");
    assert!(onnx("reverse").unwrap().all()[0].config().to_string().contains("reverse"));
}

#[test]
fn what_cannot_be_read_of_onnx_is_said() {
    for (name, said) in [
        (
            "refused_unrolled",
            "its exporter has written the timesteps one after the other, 3 of them",
        ),
        ("refused_gru", "its recurrent layers are GRUs"),
        ("refused_lengths", "has lengths of sequences of its own"),
        (
            "refused_projection",
            "its exporter has left weights out, and the numbers of this file are wrong",
        ),
    ] {
        let error = onnx(name).map(drop).unwrap_err();
        assert!(matches!(error, Error::Import { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{name}: {error}");
    }
}

/// A file of Keras', of its third version or, in another folder, of its second.
fn keras(folder: &str, file: &str) -> Result<Imported, Error> {
    import::open(golden::folder().join(format!("import/{folder}/{file}")))
}

#[test]
fn models_of_keras_compute_what_it_computed() {
    let results = Golden::read("import/keras");
    for (name, ends) in [
        ("one_layer", &[".keras", ".h5", ".weights.h5"][..]),
        ("stacked", &[".keras", ".h5"]),
        ("words", &[".keras"]),
        ("hard", &[".keras", ".h5"]),
        ("every", &[".keras"]),
        ("dense", &[".keras"]),
        ("backwards", &[".keras"]),
        ("relu", &[".keras"]),
        ("mean", &[".keras"]),
        ("max", &[".keras"]),
        ("bare", &[".keras"]),
        ("renamed", &[".keras"]),
        ("nested", &[".keras", ".h5"]),
        ("cudnn", &[".h5"]),
    ] {
        for end in ends {
            predicts_as(keras("keras", &format!("{name}{end}")), name, &results, "out");
        }
    }
    let results = Golden::read("import/tf_keras");
    for file in ["both.h5", "both.keras", "hard.h5", "hard.keras", "nested.h5", "nested.keras"] {
        let name = file.split('.').next().unwrap();
        predicts_as(keras("tf_keras", file), name, &results, "out");
    }
    predicts_as(keras("tf_keras", "weights.weights.h5"), "weights", &results, "out");
}

#[test]
fn layers_of_keras_are_found_one_by_one() {
    let results = Golden::read("import/keras");
    let own = keras("keras", "own.weights.h5").unwrap();
    let names: Vec<&str> = own.all().iter().map(|lstm| lstm.name()).collect();
    assert_eq!(names, ["encoder", "lstm_20", "lstm_21"], "{own}");
    let device = Device::cpu();
    let lstm = own.lstm("encoder").unwrap().build(&device).unwrap().batch_first(true);
    let x = results.get("own.x");
    let x = Tensor::from_slice(&device, x.data(), x.shape()).unwrap();
    let got = lstm.forward(&x, None).unwrap().0.to_vec().unwrap();
    assert_close("own", &got, &wide(results.get("own.encoder").data()), Tolerance::OUTPUT);
    for (file, names) in [
        ("nested.weights.h5", &["encoder.lstm_15", "encoder.lstm_16"][..]),
        ("nested.h5", &["encoder.lstm_15", "encoder.lstm_16"]),
        ("renamed.keras", &["lstm_13", "lstm_14"]),
        // Whose files say no names: by the order of the description.
        ("../tf_keras/hard.keras", &["lstm_2", "lstm_3"]),
        ("../tf_keras/nested.keras", &["encoder.lstm_4"]),
    ] {
        let model = keras("keras", file).unwrap();
        assert_eq!(model.all().iter().map(|lstm| lstm.name()).collect::<Vec<_>>(), names, "{file}");
    }
}

#[test]
fn what_was_found_of_keras_is_said() {
    for (file, said) in [
        (
            "one_layer.keras",
            "a model of Keras 3.15.0\n  lstm: 3 inputs, 1 layer of 5 units, one bias a gate\n",
        ),
        ("one_layer.weights.h5", "weights of Keras\n"),
        (
            "one_layer.weights.h5",
            "left out: lstm's activations, of which the file says nothing: sigmoid and tanh",
        ),
        ("stacked.keras", "bidirectional: 3 inputs, 1 layer of 6 units, two directions"),
        ("stacked.keras", "left out: bidirectional's dropout, which plays no part in inference"),
        ("hard.keras", "cell: gate HardSigmoid 0.16666667 0.5"),
        ("hard.h5", "cell: gate HardSigmoid 0.16666667 0.5"),
        ("relu.keras", "cell: candidate Relu, output Relu"),
        ("cudnn.h5", "cu_dnnlstm, a CuDNNLSTM: blocks of its own order, two biases"),
        ("backwards.keras", "reverse"),
    ] {
        let found = keras("keras", file).unwrap().to_string();
        assert!(found.contains(said), "{file}: {found}");
    }
    let old = keras("tf_keras", "hard.keras").unwrap().to_string();
    assert!(old.contains("a model of Keras 2.") && old.contains("HardSigmoid 0.2 0.5"), "{old}");
}

/// Graphs that look like a model of this crate's and compute something else.
#[test]
fn look_alikes_are_no_models() {
    for (name, said) in [
        ("no_foreign", "Reshape"),
        ("no_foreign_new", "Reshape"),
        ("no_timesteps", "Add"),
        ("no_timesteps_new", "Add"),
        ("no_cast", "Cast"),
    ] {
        let model = onnx(name).unwrap();
        let error = model.forecaster(&Device::cpu()).map(drop).unwrap_err().to_string();
        assert!(error.contains(said), "{name}: {error}");
        assert!(model.to_string().contains("not one model: its prediction is made by"), "{model}");
    }
}

#[test]
fn what_cannot_be_read_of_keras_is_said() {
    let error = keras("keras", "refused_gru.keras").map(drop).unwrap_err();
    assert!(matches!(error, Error::Import { .. }), "{error:?}");
    assert!(error.to_string().contains("a recurrent layer that is no LSTM"), "{error}");
    let error = keras("keras", "cells.h5").map(drop).unwrap_err().to_string();
    assert!(error.contains("a cell of several cells"), "{error}");
    for (file, said) in [
        ("branched.keras", "its layers aren't a chain"),
        ("summed.keras", "Bidirectional with merge_mode sum"),
        ("cell_state.keras", "its layers aren't a chain"),
        ("cell_state.h5", "its layers aren't a chain"),
        ("initial.keras", "its layers aren't a chain"),
        ("softmax_axis.keras", "Softmax, which isn't read here"),
        ("channels.keras", "GlobalAveragePooling1D, which isn't read here"),
        ("backward.keras", "Bidirectional with a backward layer of its own"),
        ("own.weights.h5", "several LSTMs"),
    ] {
        let model = keras("keras", file).unwrap();
        let error = model.forecaster(&Device::cpu()).map(drop).unwrap_err().to_string();
        assert!(error.contains(said), "{file}: {error}");
    }
}

/// A model that tf2onnx has written, of Keras 3 or of tf_keras.
fn tf2onnx(name: &str) -> Result<Imported, Error> {
    import::open(golden::folder().join(format!("import/tf2onnx/{name}.onnx")))
}

#[test]
fn models_of_tf2onnx_compute_what_keras_computed() {
    let results = Golden::read("import/tf2onnx");
    for name in [
        "backwards",
        "backwards_2",
        "bare",
        "both",
        "both_2",
        "both_every",
        "both_every_2",
        "both_hard_2",
        "both_max",
        "both_max_2",
        "both_mean",
        "both_mean_2",
        "both_stacked",
        "both_stacked_2",
        "cell",
        "distributed_2",
        "ends",
        "every",
        "every_2",
        "fixed",
        "fixed_2",
        "fixed_backwards",
        "fixed_both",
        "fixed_both_every",
        "fixed_both_mean",
        "fixed_distributed_2",
        "fixed_every",
        "fixed_stacked",
        "fixed_words",
        "hard_2",
        "last",
        "mean",
        "mean_2",
        "one_layer",
        "one_layer_2",
        "opset_12",
        "opset_18",
        "opset_9",
        "relu",
        "saved",
        "softmax",
        "stacked",
        "stacked_2",
        "time",
        "time_backwards",
        "time_both_every",
        "words",
        "words_2",
        "words_whole_2",
    ] {
        predicts_as(tf2onnx(name), name, &results, "out");
    }
}

#[test]
fn what_tf2onnx_writes_and_is_no_model_is_named() {
    for (name, said) in [
        // The outputs of a sequence that was turned round stand in its order.
        ("backwards_every", "its prediction is made by MatMul"),
        ("channels", "its prediction is made by GlobalAveragePool"),
        ("decoder", "begins with states that are made by the final cell state"),
        ("first", "its prediction is made by MatMul"),
        ("fixed_distributed", "its prediction is made by Gemm"),
        ("flat", "its prediction is made by Reshape"),
        ("normed", "its prediction is made by Mul"),
        ("opset_17", "differ in more than their size"),
        ("repeated", "its LSTM stands on Tile"),
        ("softmax_time", "its prediction is made by Softmax"),
        ("states", "none of its outputs is a prediction"),
        ("summed", "its prediction is made by Add"),
        ("time_distributed", "its prediction is made by MatMul"),
        ("wrong_distributed", "its prediction is made by Range"),
    ] {
        let model = tf2onnx(name).unwrap();
        let why = model.not_one_model().unwrap_or_else(|| panic!("{name}: {model}"));
        assert!(why.contains(said), "{name}: {why}");
        assert!(model.forecaster(&Device::cpu()).is_err());
    }
    for (name, said) in [
        ("other_backward", "has other activations in one direction"),
        ("refused_dropout_2", "a cell in a loop"),
        ("refused_hard", "a cell in a loop"),
        ("refused_masked", "a cell in a loop"),
        ("refused_masked_2", "a cell in a loop"),
        ("refused_unrolled", "the timesteps one after the other, 5 of them"),
    ] {
        let error = tf2onnx(name).map(drop).unwrap_err().to_string();
        assert!(error.contains(said), "{name}: {error}");
    }
}

#[test]
fn what_looks_like_an_idiom_is_none() {
    let opened = |name: &str| {
        let path = golden::folder().join(format!("import/onnx_idioms/{name}.onnx"));
        import::open(path).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let turned = opened("turned");
    assert!(
        turned.not_one_model().is_none()
            && turned.all()[0].config().to_string().contains("reverse")
    );
    let words = opened("words");
    assert!(words.not_one_model().is_none() && words.to_string().contains("[7, 3]"), "{words}");
    for (name, said) in [
        ("turned_as_many_as_rows", "ReverseSequence"),
        ("turned_by_lengths", "ReverseSequence"),
        ("turned_rows", "a sequence that is turned round"),
        ("words_bound", "Less"),
        ("words_more", "Less"),
        ("words_other", "Less"),
    ] {
        let model = opened(name);
        let why = model.not_one_model().unwrap_or_else(|| panic!("{name}: {model}"));
        assert!(why.contains(said), "{name}: {why}");
    }
}
