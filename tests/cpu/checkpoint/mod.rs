//! Weights in files, and weights of other frameworks.

mod convert;
mod equations;
mod file;
mod loads;
mod refuse;

use gatefold::checkpoint::{GateLayout, GateNames, OnnxLstm, StateDict};
use gatefold::{Array, Bias, Device, Forecaster, Lstm, LstmConfig};

/// `first`, `first + 1` and so on: every element is another one.
fn counted(first: usize, shape: &[usize]) -> Array {
    let len: usize = shape.iter().product();
    Array::new((first..first + len).map(|i| i as f32).collect(), shape).unwrap()
}

fn scaled(array: &Array, factor: f32) -> Array {
    Array::new(array.data().iter().map(|v| factor * v).collect(), array.shape()).unwrap()
}

fn get<'a>(tensors: &'a StateDict, name: &str) -> &'a Array {
    let found = tensors.iter().find(|(n, _)| n == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

fn dict(tensors: &[(&str, Array)]) -> StateDict {
    tensors.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect()
}

/// PyTorch's layer with different elements and `biases` of its two biases.
fn layer(suffix: &str, hidden: usize, input: usize, biases: usize, first: usize) -> StateDict {
    let rows = 4 * hidden;
    let shapes = [
        ("weight_ih", vec![rows, input]),
        ("weight_hh", vec![rows, hidden]),
        ("bias_ih", vec![rows]),
        ("bias_hh", vec![rows]),
    ];
    let named = |(i, (name, shape)): (usize, &(&str, Vec<usize>))| {
        (format!("{name}_{suffix}"), counted(first + 10_000 * i, shape))
    };
    shapes.iter().take(2 + biases).enumerate().map(named).collect()
}

/// A model written by hand with different elements, as its layout has them.
fn by_hand(names: &GateNames<'_>, hidden: usize, input: usize, biased: bool) -> StateDict {
    let (w, u, b) = match names.layout {
        GateLayout::Matrices => (vec![hidden, input], vec![hidden, hidden], vec![hidden]),
        GateLayout::InputFirst => (vec![input, hidden], vec![hidden, hidden], vec![hidden]),
        GateLayout::Scalars => (vec![], vec![], vec![]),
        GateLayout::OneElement => (vec![1], vec![1], vec![1]),
    };
    let parts = [(names.weight_ih, w), (names.weight_hh, u), (names.bias, b)];
    let mut tensors = Vec::new();
    for (part, (names, shape)) in parts.into_iter().take(if biased { 3 } else { 2 }).enumerate() {
        for (gate, name) in names.into_iter().enumerate() {
            tensors.push((name.to_owned(), counted(10_000 * part + 1_000 * gate, &shape)));
        }
    }
    tensors
}

/// An operator with different elements.
fn onnx(directions: usize, hidden: usize, input: usize, biased: bool) -> OnnxLstm {
    OnnxLstm {
        w: counted(0, &[directions, 4 * hidden, input]),
        r: counted(10_000, &[directions, 4 * hidden, hidden]),
        b: biased.then(|| counted(20_000, &[directions, 8 * hidden])),
        p: None,
    }
}

/// Every family of names, and one that is spelt out.
const FAMILIES: [GateNames<'static>; 6] = [
    GateNames::MATRICES_BIG_C,
    GateNames::MATRICES_SMALL_C,
    GateNames::MATRICES_G,
    GateNames::SCALARS_ABCD,
    GateNames::SCALARS_LR_PR_P_O,
    NUMPY,
];

const NUMPY: GateNames<'static> = GateNames {
    weight_ih: ["Wi", "Wf", "Wc", "Wo"],
    weight_hh: ["Ui", "Uf", "Uc", "Uo"],
    bias: ["bi", "bf", "bc", "bo"],
    layout: GateLayout::InputFirst,
};

/// The sizes that a family is tried with: square, and not.
fn sizes(names: &GateNames<'_>) -> &'static [(usize, usize)] {
    match names.layout {
        GateLayout::Matrices | GateLayout::InputFirst => &[(3, 2), (2, 2), (1, 1), (2, 5), (1, 3)],
        GateLayout::Scalars | GateLayout::OneElement => &[(1, 1)],
    }
}

/// The names, shapes and order that PyTorch's `state_dict()` has, for every kind of nn.LSTM: what
/// a strict load there compares.
#[test]
fn names_are_pytorchs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/state_dict_keys.txt");
    let keys = std::fs::read_to_string(path).unwrap();
    let mut lines = 0;
    for line in keys.lines() {
        let (options, keys) = line.split_once(": ").unwrap();
        let option = |name: &str| -> usize {
            let found = options.split(' ').find_map(|o| o.strip_prefix(name)?.strip_prefix('='));
            found.unwrap().parse().unwrap()
        };
        let config = LstmConfig::new(3, 4)
            .layers(option("layers"))
            .bidirectional(option("bidirectional") == 1)
            .proj_size(2 * option("proj"))
            .bias(if option("bias") == 1 { Bias::Double } else { Bias::None });
        let dict = Lstm::new(&Device::cpu(), config.clone()).unwrap().state_dict().unwrap();
        let key = |(name, array): &(String, Array)| {
            let sizes: Vec<String> = array.shape().iter().map(usize::to_string).collect();
            format!("{name}[{}]", sizes.join(","))
        };
        assert_eq!(dict.iter().map(key).collect::<Vec<_>>().join(" "), keys, "{options}");
        let sorted = |mut keys: Vec<String>| {
            keys.sort();
            keys
        };
        let wanted = sorted(keys.split(' ').map(str::to_owned).collect());
        // A file, of a model with one bias a gate as well, and of one inside another.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        for bias in [Bias::Single, Bias::Double].into_iter().filter(|_| option("bias") == 1) {
            let config = config.clone().bias(bias);
            Lstm::new(&Device::cpu(), config.clone()).unwrap().save(&path).unwrap();
            let saved = gatefold::checkpoint::read(&path).unwrap().tensors;
            assert_eq!(sorted(saved.iter().map(key).collect()), wanted, "{options}, {bias:?}");
            Forecaster::new(&Device::cpu(), config, 2).unwrap().save(&path).unwrap();
            let saved = gatefold::checkpoint::read(&path).unwrap().tensors;
            let lstm = gatefold::checkpoint::with_prefix(&saved, "lstm.");
            assert_eq!(sorted(lstm.iter().map(key).collect()), wanted, "{options}, {bias:?}");
            assert_eq!(saved.len(), lstm.len() + 2);
        }
        lines += 1;
    }
    assert_eq!(lines, 16);
}
