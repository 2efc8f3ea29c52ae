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
    one("jax_libraries/flax_cell", "lstm.cell", true);
    one("jax_libraries/flax_compact", "LSTMCell_0", true);
    one("jax_libraries/flax_optimized", "lstm.cell", true);
    one("jax_libraries/flax_bidirectional", "both", false);
    one("jax_libraries/nnx_cell", "lstm.cell", true);
    one("jax_libraries/nnx_optimized", "lstm.cell", true);
    // Made on one line, the outer one first.
    several(
        "jax_libraries/flax_inline",
        &[("params.LSTMCell_1", "LSTMCell_1"), ("params.LSTMCell_0", "LSTMCell_0")],
    );
}

#[test]
fn haiku_adds_one_to_the_forget_gate() {
    one("jax_libraries/haiku_lstm", "lstm", true);
    several("jax_libraries/haiku_deep", &[("lstm", "lstm"), ("lstm_1", "lstm_1")]);
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
    let results = Golden::read("import/jax_libraries");
    let refused = |name: &str, words: &str| {
        let error = import::open(path(name)).map(drop).unwrap_err();
        assert!(matches!(error, Error::Import { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    };
    let said = |name: &str, library: Library| {
        import::open_as(path(name), library).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    for name in ["equinox_cell", "equinox_keystr"] {
        let file = format!("jax_libraries/{name}");
        refused(&file, "Equinox (equinox) or coremltools (coreml)");
        let model = said(&file, Library::Equinox);
        computes(&model, "cell", &results, name);
        predicts(&model, &LoadOptions::new(), &results, name);
        // The other order of gates has the same names and shapes.
        let other = said(&file, Library::Coreml).lstm("cell").unwrap().state_dict();
        assert_ne!(other, model.lstm("cell").unwrap().state_dict());
    }
    refused(
        "jax_libraries/haiku_named",
        "core; if they are, say so with import::open_as or `--as haiku`",
    );
    let model = said("jax_libraries/haiku_named", Library::Haiku);
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
    refused(
        import::open_as(path("jax_libraries/flax_cell"), Library::Haiku),
        "no LSTM is among its tensors",
    );
    let file = golden::folder().join("import/pytorch/one_layer.pth");
    refused(import::open_as(file, Library::Flax), "says itself what it holds");
    assert!("chainer".parse::<Library>().unwrap_err().contains("no library that is known here"));
    for library in Library::ALL {
        assert_eq!(library.name().parse(), Ok(library));
    }
}

#[test]
fn arrays_of_every_type_and_order_are_read() {
    for name in ["f4", "f8", "f2", "big", "big_f8", "bf16", "bf16_named", "fortran", "compressed"] {
        one(&format!("npz/{name}"), "rnn", false);
        let said = opened(&format!("npz/{name}")).to_string();
        assert!(said.contains("left out: steps [3] is <i8"), "{said}");
    }
}

/// A file of tensors of these names and shapes.
fn made(tensors: &[(&str, &[usize])]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let array = |&(name, shape): &(&str, &[usize])| {
        let len = shape.iter().product();
        // Each element another, whatever the tensor.
        let value = |i: usize| 0.01 * (i as f32 + name.len() as f32);
        (name.to_owned(), Array::new((0..len).map(value).collect(), shape).unwrap())
    };
    let tensors: Vec<(String, Array)> = tensors.iter().map(array).collect();
    gatefold::checkpoint::write(&path, &tensors, &Default::default()).unwrap();
    (folder, path)
}

/// What is said of such a file.
fn listed(tensors: &[(&str, &[usize])], library: Option<Library>) -> String {
    let (_folder, path) = made(tensors);
    let model = match library {
        Some(library) => import::open_as(&path, library),
        None => import::open(&path),
    };
    model.map_or_else(|error| error.to_string(), |model| model.to_string())
}

/// The LSTMs among the lines of it.
fn lstms(said: &str) -> Vec<&str> {
    let is_lstm = |line: &&str| line.contains(" inputs, ");
    said.lines().map(str::trim).filter(is_lstm).filter_map(|line| line.split(':').next()).collect()
}

/// The tensors of a cell of Flax's in a module.
fn flax(module: &str, input: usize, hidden: usize) -> Vec<(String, Vec<usize>)> {
    let gate = |gate: &str| {
        let name = |kind: &str| format!("{module}.{kind}");
        [
            (name(&format!("i{gate}.kernel")), vec![input, hidden]),
            (name(&format!("h{gate}.kernel")), vec![hidden, hidden]),
            (name(&format!("h{gate}.bias")), vec![hidden]),
        ]
    };
    ["i", "f", "g", "o"].into_iter().flat_map(gate).collect()
}

/// One of TensorFlow 1's.
fn tensorflow(module: &str, input: usize, hidden: usize) -> Vec<(String, Vec<usize>)> {
    let kernel = (format!("{module}/kernel"), vec![input + hidden, 4 * hidden]);
    vec![kernel, (format!("{module}/bias"), vec![4 * hidden])]
}

/// One of Paddle's, PyTorch's names behind a module's.
fn paddle(module: &str, end: &str, input: usize, hidden: usize) -> Vec<(String, Vec<usize>)> {
    let name = |kind: &str| format!("{module}.{kind}{end}");
    vec![
        (name("weight_ih"), vec![4 * hidden, input]),
        (name("weight_hh"), vec![4 * hidden, hidden]),
        (name("bias_ih"), vec![4 * hidden]),
        (name("bias_hh"), vec![4 * hidden]),
    ]
}

fn lines_of(parts: &[Vec<(String, Vec<usize>)>], library: Option<Library>) -> String {
    let all = parts.concat();
    let all: Vec<(&str, &[usize])> =
        all.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    listed(&all, library)
}

#[test]
fn directions_are_joined_where_they_belong_together() {
    let both = lines_of(&[flax("forward_rnn.cell", 3, 5), flax("backward_rnn.cell", 3, 5)], None);
    assert!(both.contains("LSTM: 3 inputs, 1 layer of 5 units, two directions"), "{both}");
    let scope = lines_of(
        &[tensorflow("encoder/fw/lstm_cell", 3, 5), tensorflow("encoder/bw/lstm_cell", 3, 5)],
        None,
    );
    assert!(scope.contains("encoder: 3 inputs, 1 layer of 5 units, two directions"), "{scope}");

    // Two networks, each of two cells; cells that only begin like this; one direction alone.
    let cells = ["forward_net.0", "forward_net.1", "backward_net.0", "backward_net.1"];
    let four = cells.map(|name| flax(&format!("enc.{name}.cell"), 5, 5));
    assert_eq!(lstms(&lines_of(&four, None)).len(), 4);
    let forwards = [flax("net.forward_a.cell", 5, 5), flax("net.forward_b.cell", 5, 5)];
    assert_eq!(lstms(&lines_of(&forwards, None)), ["net.forward_a.cell", "net.forward_b.cell"]);
    let other = lines_of(&[flax("forward_rnn.cell", 3, 5), flax("backward_rnn.cell", 3, 6)], None);
    assert!(other.contains("backward_rnn.cell: 3 inputs, 1 layer of 6 units, reverse"), "{other}");
    assert!(other.contains("backward_rnn.cell reads from the end, by its name"), "{other}");
}

#[test]
fn stacks_of_tensorflow_1_are_what_their_names_say() {
    let cell = |way: &str, n: u32, input: usize| {
        tensorflow(&format!("{way}multi_rnn_cell/cell_{n}/lstm_cell"), input, 5)
    };
    let stack = lines_of(&[cell("rnn/", 0, 3), cell("rnn/", 1, 5)], None);
    assert!(stack.contains("rnn.multi_rnn_cell: 3 inputs, 2 layers of 5 units"), "{stack}");
    let missing = lines_of(&[cell("rnn/", 0, 5), cell("rnn/", 2, 5)], None);
    assert_eq!(lstms(&missing).len(), 2, "{missing}");
    // Two stacks, of which neither reads the other: no nn.LSTM.
    let ways = ["bidirectional_rnn/fw/", "bidirectional_rnn/bw/"];
    let two = lines_of(&ways.map(|way| [cell(way, 0, 3), cell(way, 1, 5)].concat()), None);
    let said = "bidirectional_rnn.bw.multi_rnn_cell: 3 inputs, 2 layers of 5 units, reverse";
    assert!(two.contains(said) && lstms(&two).len() == 2, "{two}");
    // A layer that reads both directions of the one below.
    let layer = |n: u32, input: usize| {
        let module = |way: &str| {
            format!("stack_bidirectional_rnn/cell_{n}/bidirectional_rnn/{way}/lstm_cell")
        };
        [tensorflow(&module("fw"), input, 5), tensorflow(&module("bw"), input, 5)].concat()
    };
    let both = lines_of(&[layer(0, 3), layer(1, 10)], None);
    let said = "stack_bidirectional_rnn: 3 inputs, 2 layers of 5 units, two directions";
    assert!(both.contains(said), "{both}");
}

#[test]
fn the_forget_bias_is_added_where_it_is() {
    let bias = |module: &str, library: Option<Library>| {
        let tensors = tensorflow(module, 3, 5);
        let tensors: Vec<(&str, &[usize])> =
            tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        let (_folder, path) = made(&tensors);
        let library = library.unwrap_or(Library::Tensorflow1);
        let model = import::open_as(&path, library).unwrap();
        let dict = model.all()[0].state_dict();
        let bias = dict.iter().find(|(name, _)| name == "bias_ih_l0").unwrap().1.data().to_vec();
        // Gates i, g, f, o in the file.
        let plain = 0.01 * (10 + tensors[1].0.len()) as f32;
        bias[5] - plain
    };
    let near = |got: f32, wanted: f32| assert!((got - wanted).abs() < 1e-5, "{got} {wanted}");
    near(bias("rnn/lstm_cell", None), 1.0);
    near(bias("rnn/lstm_cell_1", None), 1.0);
    near(bias("rnn/decoder", None), 1.0);
    near(bias("rnn/lstm_cell", Some(Library::Tensorflow1Zero)), 0.0);
    near(bias("rnn/cudnn_compatible_lstm_cell", None), 0.0);
    near(bias("rnn/cudnn_compatible_lstm_cell_1", None), 0.0);
}

#[test]
fn what_is_no_cell_is_none() {
    // A linear layer in a module with an LSTM's name, and an LSTM in one.
    let haiku = |module: &str, input: usize, columns: usize| {
        let name = |kind: &str| format!("{module}/linear/{kind}");
        vec![(name("w"), vec![input, columns]), (name("b"), vec![columns])]
    };
    let mine = lines_of(&[haiku("my_lstm/lstm", 8, 20), haiku("my_lstm", 5, 4)], None);
    assert_eq!(lstms(&mine), ["my_lstm.lstm"], "{mine}");
    assert!(mine.contains("my_lstm.linear.weight [4, 5]"), "{mine}");
    let asked = lines_of(&[haiku("core", 8, 20), haiku("after_lstm", 5, 4)], None);
    assert!(asked.contains("after_lstm, core; if they are, say so"), "{asked}");
    // Beside a cell in a scope of dynamic_rnn's, a head is a head.
    let head = vec![("head/kernel".to_owned(), vec![5, 4]), ("head/bias".to_owned(), vec![4])];
    let said = Some(Library::Tensorflow1);
    let cell = lines_of(&[tensorflow("rnn/enc", 3, 5), head], said);
    assert_eq!(lstms(&cell), ["rnn.enc"], "{cell}");
    let both = [tensorflow("rnn/lstm_cell", 3, 5), tensorflow("d_rnn/decoder", 3, 5)];
    assert_eq!(lstms(&lines_of(&both, said)), ["d_rnn.decoder", "rnn.lstm_cell"]);

    // Other recurrent layers, under PyTorch's names.
    let lstm = paddle("lstm", "_l0", 3, 6);
    let gru: Vec<(String, Vec<usize>)> = [("weight_ih_l0", [24, 6]), ("weight_hh_l0", [24, 8])]
        .map(|(name, shape)| (format!("gru.{name}"), shape.to_vec()))
        .to_vec();
    let beside = lines_of(&[lstm, gru], None);
    assert_eq!(lstms(&beside), ["lstm"], "{beside}");
    assert!(beside.contains("gru.weight_hh_l0 [24, 8]"), "{beside}");
    assert!(beside.contains("left out: gru, a GRU"), "{beside}");
}

#[test]
fn names_are_what_they_look_like() {
    let cell = paddle("lstm", "_l0", 3, 5);
    let with = |name: &str, shape: &[usize]| {
        lines_of(&[cell.clone(), vec![(name.to_owned(), shape.to_vec())]], None)
    };
    // A parameter without sizes is none of an optimizer's, and a tensor called like a module takes nothing with it.
    assert!(with("log_scale", &[]).contains("\n  log_scale []"));
    assert!(with("global_step", &[]).contains("left out: of optimizers and averages: global_step"));
    assert_eq!(lstms(&with("lst", &[4])), ["lstm"]);
    assert_eq!(lstms(&with("lstm", &[4])), ["lstm"]);
    let key = |name: &str| format!("['layers'][0]['cell']['{name}'].value");
    let nnx = vec![
        (key("dense_i']['kernel"), vec![3, 20]),
        (key("dense_h']['kernel"), vec![5, 20]),
        (key("dense_h']['bias"), vec![20]),
    ];
    assert_eq!(lstms(&lines_of(&[nnx], None)), ["layers.0.cell"]);
    let part = vec![
        ("rnn/lstm_cell/kernel/part_0".to_owned(), vec![4, 20]),
        ("rnn/lstm_cell/bias".to_owned(), vec![20]),
    ];
    assert!(lines_of(&[part], None).contains("join the parts"));
    // Without a bias its names are PyTorch's as well.
    let plain: Vec<(String, Vec<usize>)> =
        cell[..2].iter().map(|(name, shape)| (name.replace("_l0", ""), shape.clone())).collect();
    assert!(!lines_of(std::slice::from_ref(&plain), None).contains("converted"));
    let coreml = lines_of(&[plain], Some(Library::Coreml));
    assert!(coreml.contains("coremltools's, gates put in order"), "{coreml}");
}

#[test]
fn paddle_is_told_by_what_it_has() {
    let layers = |module: &str| {
        [
            paddle(&format!("{module}.0.cell"), "", 3, 5),
            paddle(&format!("{module}.1.cell"), "", 5, 5),
        ]
    };
    // Cells in a list have one name each.
    let list = lines_of(&layers("rnns"), Some(Library::Paddle));
    assert_eq!(lstms(&list), ["rnns.0.cell", "rnns.1.cell"], "{list}");
    let both = [paddle("bi.cell_fw", "", 3, 5), paddle("bi.cell_bw", "", 3, 5)];
    assert!(lines_of(&both, None).contains("bi: 3 inputs, 1 layer of 5 units, two directions"));
    // The LSTM is all of the file.
    let root = [layers("").concat(), paddle("", "_l0", 3, 5), paddle("", "_l1", 5, 5)];
    let root = root
        .map(|part| part.into_iter().map(|(name, shape)| (name[1..].to_owned(), shape)).collect());
    let root = lines_of(&root, None);
    assert!(root.contains("LSTM: 3 inputs, 2 layers of 5 units"), "{root}");
    assert_eq!(lstms(&root).len(), 1, "{root}");

    let doubled = [paddle("lstm", "_l0", 3, 5), paddle("lstm.0.cell", "", 3, 5)].concat();
    let with = |name: &str, shape: [usize; 2]| {
        lines_of(&[doubled.clone(), vec![(name.to_owned(), shape.to_vec())]], None)
    };
    assert!(with("fc.weight", [5, 2]).contains("\n  fc.weight [2, 5]"));
    assert!(with("table.weight", [11, 3]).contains("\n  table.weight [11, 3]"));
    assert!(
        with("any.weight", [5, 3]).contains("any.weight [5, 3] may be an embedding or a linear")
    );
    let fc = vec![
        ("fc.weight".to_owned(), vec![5, 2]),
        ("fc.bias".to_owned(), vec![2]),
        ("out.weight".to_owned(), vec![2, 2]),
        ("out.bias".to_owned(), vec![2]),
    ];
    let asked = lines_of(&[paddle("lstm", "_l0", 3, 5), fc], None);
    assert!(asked.contains("out.weight may be either"), "{asked}");
    let flat = vec![("lstm.bias_ih_l1".to_owned(), vec![20, 4])];
    let flat = lines_of(&[paddle("lstm", "_l0", 3, 5), flat], None);
    assert!(flat.contains("stand over other tensors"), "{flat}");
}

#[test]
fn a_model_that_may_not_be_is_a_problem_of_its_file() {
    let wide: [(&str, &[usize]); 3] = [
        ("lstm.weight_ih_l0", &[20, 3]),
        ("lstm.weight_hh_l0", &[20, 8]),
        ("lstm.weight_hr_l0", &[8, 5]),
    ];
    let (_folder, path) = made(&wide);
    let error = import::open(&path).map(drop).unwrap_err();
    assert!(matches!(error, Error::Import { .. }), "{error:?}");
    assert!(error.to_string().contains("proj_size"), "{error}");
    let error = gatefold::Lstm::load(&Device::cpu(), &path).map(drop).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
}
