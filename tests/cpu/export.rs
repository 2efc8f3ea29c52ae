//! Models in files of other libraries, and back: to the same bits.

use std::path::Path;

use gatefold::{
    Activation, Array, Bias, Cell, CellActivation, Device, Error, Forecaster, Head, Init, Lstm,
    LstmConfig, ModuleNames, Nonlinearity, Readout, Tensor, export, import,
};

/// Models with everything that ONNX can say, by name.
fn models() -> Vec<(&'static str, LstmConfig, Head)> {
    let config = |layers: usize| LstmConfig::new(3, 8).layers(layers);
    let linear = || Head::new().linear(2);
    let long = Head::new().dropout(0.2).linear(5).relu().linear_without_bias(2);
    let functions = Nonlinearity::ALL
        .into_iter()
        .fold(Head::new(), |head, function| head.linear(3).nonlinearity(function));
    let options = Cell::new().peepholes(true).clip(0.7).coupled(true);
    let options = options
        .gate_activation(CellActivation::HARD_SIGMOID_KERAS_3)
        .candidate_activation(CellActivation::Elu { alpha: 0.3 })
        .output_activation(CellActivation::ScaledTanh { alpha: 1.1, beta: 0.6 });
    let named = ModuleNames::new().lstm("encoder.rnn").head("decoder.out");
    vec![
        ("stacked", config(2), linear()),
        ("both", config(2).bidirectional(true), long.clone()),
        ("last", config(1).bidirectional(true).readout(Readout::LastOutput), linear()),
        ("every", config(2).readout(Readout::EveryStep), long),
        ("mean", config(1).readout(Readout::MeanOverTime), linear()),
        ("max", config(1).readout(Readout::MaxOverTime).reverse(true), linear()),
        (
            "words",
            config(1).embedding(9).output_activation(Activation::Softmax),
            Head::new().linear(9),
        ),
        ("one_hot", config(1).one_hot().output_activation(Activation::Sigmoid), linear()),
        ("sizes", LstmConfig::stack(4, &[8, 6]).bidirectional(true), linear()),
        (
            "learned",
            config(2)
                .bidirectional(true)
                .learned_state(true)
                .init("_0", Init::Normal { mean: 0.0, std: 0.5 }),
            linear(),
        ),
        ("cell", config(2).cell(options), linear()),
        ("cell_both", config(1).bidirectional(true).cell(options), Head::new()),
        ("no_bias", config(2).bias(Bias::None), functions),
        ("named", config(1).names(named), linear()),
    ]
}

/// An input of a model: four rows of seven timesteps.
fn input(config: &LstmConfig) -> Array {
    let tokens = config.to_string().contains("token");
    let width = if config.to_string().starts_with("4 ") { 4 } else { 3 };
    match tokens {
        true => Array::new((0..28).map(|i| (i % 3) as f32).collect(), &[4, 7]).unwrap(),
        false => {
            let values = (0..28 * width).map(|i| (i as f32 * 0.37).sin()).collect();
            Array::new(values, &[4, 7, width]).unwrap()
        }
    }
}

fn bits(array: &Array) -> Vec<u32> {
    array.data().iter().map(|value| value.to_bits()).collect()
}

/// Writes a model and its input and prediction beside it.
fn written(folder: &Path, name: &str, config: LstmConfig, head: Head) -> (Forecaster, Array) {
    let model = Forecaster::with_head(&Device::cpu(), config.clone().seed(3), head).unwrap();
    export::onnx(&model, folder.join(format!("{name}.onnx"))).unwrap();
    let x = input(&config);
    (model, x)
}

#[test]
fn forecasters_come_back_from_onnx() {
    let folder = tempfile::tempdir().unwrap();
    for (name, config, head) in models() {
        let (model, x) = written(folder.path(), name, config, head);
        let found = import::open(folder.path().join(format!("{name}.onnx"))).unwrap();
        let again =
            found.forecaster(&Device::cpu()).unwrap_or_else(|e| panic!("{name}: {e}\n{found}"));
        assert_eq!(bits(&again.predict(&x).unwrap()), bits(&model.predict(&x).unwrap()), "{name}");
        let (before, after) = (model.state_dict().unwrap(), again.state_dict().unwrap());
        let said = |dict: &[(String, Array)]| -> Vec<(String, Vec<u32>)> {
            dict.iter().map(|(name, array)| (name.clone(), bits(array))).collect()
        };
        let names = |dict: &[(String, Array)]| {
            dict.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&before), names(&after), "{name}");
        assert!(said(&before) == said(&after), "{name}: other bits");
    }
}

#[test]
fn lstms_come_back_from_onnx() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::cpu());
    let path = folder.path().join("model.onnx");
    for (n, config) in [
        LstmConfig::new(3, 5),
        LstmConfig::new(3, 5).layers(2).bidirectional(true).batch_first(true),
        LstmConfig::new(3, 5).learned_state(true),
        LstmConfig::new(3, 5).bias(Bias::Single),
    ]
    .into_iter()
    .enumerate()
    {
        let lstm = Lstm::new(&device, config.seed(4)).unwrap();
        export::onnx(&lstm, &path).unwrap();
        let again = import::open(&path).unwrap().all()[0].build(&device).unwrap();
        let x = Tensor::from_slice(&device, &[0.3; 4 * 6 * 3], &[4, 6, 3]).unwrap();
        // The file has no word of which axis is first.
        let again = again.batch_first(n == 1);
        let [a, b] =
            [&lstm, &again].map(|lstm| lstm.forward(&x, None).unwrap().0.to_vec().unwrap());
        assert_eq!(a, b);
    }
}

#[test]
fn what_onnx_has_not_is_refused() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::cpu());
    let path = folder.path().join("model.onnx");
    for (config, said) in [
        (LstmConfig::new(3, 5).proj_size(2), "proj_size"),
        (LstmConfig::new(3, 5).cell(Cell::new().cell_clip(1.0)), "cell_clip"),
        (LstmConfig::new(3, 5).cell(Cell::new().zoneout(0.1, 0.0)), "zoneout"),
    ] {
        let lstm = Lstm::new(&device, config).unwrap();
        let error = export::onnx(&lstm, &path).unwrap_err();
        assert!(
            matches!(error, Error::Value { .. }) && error.to_string().contains(said),
            "{error}"
        );
        assert!(!path.exists());
    }
}

/// For tests/onnx_runtime.sh, which runs the files elsewhere.
#[test]
#[ignore = "writes files for another library into GATEFOLD_WRITTEN"]
fn write_for_onnx_runtime() {
    let folder = std::env::var_os("GATEFOLD_WRITTEN").expect("a folder");
    let mut results = Vec::new();
    for (name, config, head) in models() {
        let (model, x) = written(Path::new(&folder), name, config, head);
        results.push((format!("{name}.y"), model.predict(&x).unwrap()));
        results.push((format!("{name}.x"), x));
    }
    // An LSTM alone, which is given its states.
    let device = Device::cpu();
    let config = LstmConfig::new(3, 5).layers(2).bidirectional(true).batch_first(true).seed(5);
    let lstm = Lstm::new(&device, config).unwrap();
    export::onnx(&lstm, Path::new(&folder).join("lstm.onnx")).unwrap();
    let x = input(&LstmConfig::new(3, 5));
    let y =
        lstm.forward(&Tensor::from_slice(&device, x.data(), x.shape()).unwrap(), None).unwrap().0;
    results.push(("lstm.y".to_owned(), Array::new(y.to_vec().unwrap(), y.shape()).unwrap()));
    results.push(("lstm.x".to_owned(), x));
    let path = Path::new(&folder).join("results.safetensors");
    gatefold::checkpoint::write(path, &results, &Default::default()).unwrap();
}
