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
