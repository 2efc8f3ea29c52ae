//! What can't be converted is named, all of it.

use gatefold::checkpoint::{
    GateNames, StateDict, from_gates, from_keras, from_onnx, to_gates, to_keras, to_onnx,
};
use gatefold::{Array, Error, Result};

use super::{NUMPY, by_hand, counted, get, layer, onnx};

/// The problems of tensors that don't fit.
fn problems<T>(result: Result<T>) -> Vec<String> {
    match result {
        Err(Error::StateDict { problem }) => problem.split("; ").map(str::to_owned).collect(),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

fn set(tensors: &mut StateDict, name: &str, array: Array) {
    tensors.iter_mut().find(|(n, _)| n == name).unwrap().1 = array;
}

fn remove(tensors: &mut StateDict, name: &str) {
    get(tensors, name);
    tensors.retain(|(n, _)| n != name);
}

#[test]
fn gates_that_are_missing_and_misshapen_are_listed_together() {
    let names = GateNames::MATRICES_BIG_C;
    let mut model = by_hand(&names, 3, 2, true);
    // The first input weight is the wrong one: the other three say so.
    set(&mut model, "W_i", counted(0, &[2, 3]));
    remove(&mut model, "W_o");
    set(&mut model, "U_f", counted(0, &[9]));
    remove(&mut model, "U_C");
    set(&mut model, "b_i", counted(0, &[4]));
    remove(&mut model, "b_f");
    model.push(model.iter().find(|(name, _)| name == "b_o").unwrap().clone());
    assert_eq!(
        problems(from_gates(&model, &names, "l0")),
        [
            "W_i has shape [2, 3] instead of [3, 2]",
            "W_o [3, 2] is missing",
            "U_f has shape [9] instead of [3, 3]",
            "U_C [3, 3] is missing",
            "b_i has shape [4] instead of [3]",
            "b_f [3] is missing",
            "b_o stands twice",
        ]
    );
}

#[test]
fn gates_without_sizes_are_listed() {
    let names = GateNames::MATRICES_G;
    let recurrent: StateDict =
        by_hand(&names, 3, 2, true).into_iter().filter(|(name, _)| !name.contains('W')).collect();
    let missing = names.weight_ih.map(|name| format!("{name} [3, I] is missing"));
    assert_eq!(problems(from_gates(&recurrent, &names, "l0")), missing);

    let found = problems(from_gates(&Vec::new(), &names, "l0"));
    let missing =
        |(names, shape): ([&str; 4], &str)| names.map(|n| format!("{n} {shape} is missing"));
    assert_eq!(
        found,
        [(names.weight_ih, "[H, I]"), (names.weight_hh, "[H, H]")].map(missing).concat()
    );
}

#[test]
fn each_layout_has_its_shapes() {
    let mut numpy = by_hand(&NUMPY, 3, 2, true);
    set(&mut numpy, "Wc", counted(0, &[3, 2]));
    set(&mut numpy, "bf", counted(0, &[3, 1]));
    assert_eq!(
        problems(from_gates(&numpy, &NUMPY, "l0")),
        ["Wc has shape [3, 2] instead of [2, 3]", "bf has shape [3, 1] instead of [3]"]
    );

    let names = GateNames::SCALARS_ABCD;
    let mut cell = by_hand(&names, 1, 1, true);
    set(&mut cell, "wa2", counted(0, &[2]));
    remove(&mut cell, "wd1");
    assert_eq!(
        problems(from_gates(&cell, &names, "l0")),
        ["wa2 has shape [2] instead of []", "wd1 [] is missing"]
    );
    let names = GateNames::SCALARS_LR_PR_P_O;
    assert!(problems(from_gates(&cell, &names, "l0")).contains(&"wlr1 [1] is missing".to_owned()));

    // A layer that is no cell with one unit.
    assert_eq!(
        problems(to_gates(&layer("l0", 2, 1, 1, 0), &names, "l0")),
        [
            "weight_ih_l0 has shape [8, 1] instead of [4, 1]",
            "weight_hh_l0 has shape [8, 2] instead of [4, 1]",
            "bias_ih_l0 has shape [8] instead of [4]",
        ]
    );
}

/// The three ways back look a layer up in the same way.
#[test]
fn layers_that_are_missing_and_misshapen_are_listed_together() {
    let ways = |tensors: &StateDict, suffix: &str| {
        let gates = problems(to_gates(tensors, &GateNames::MATRICES_G, suffix));
        assert_eq!(problems(to_keras(tensors, suffix)), gates);
        assert_eq!(problems(to_onnx(tensors, suffix)), gates);
        gates
    };
    let whole = layer("l0", 2, 3, 2, 0);
    assert_eq!(
        ways(&whole, "l1"),
        ["weight_ih_l1 [4H, I] is missing", "weight_hh_l1 [4H, H] is missing"]
    );

    let mut wrong = whole.clone();
    set(&mut wrong, "weight_hh_l0", counted(0, &[8, 3]));
    set(&mut wrong, "bias_ih_l0", counted(0, &[7]));
    wrong.push(wrong[3].clone());
    assert_eq!(
        ways(&wrong, "l0"),
        [
            "weight_hh_l0 has shape [8, 3] instead of [8, 2]",
            "bias_ih_l0 has shape [7] instead of [8]",
            "bias_hh_l0 stands twice",
        ]
    );

    let mut wrong = whole.clone();
    remove(&mut wrong, "weight_ih_l0");
    assert_eq!(ways(&wrong, "l0"), ["weight_ih_l0 [8, I] is missing"]);
    wrong[0].1 = counted(0, &[6, 2, 1]);
    wrong.push(("weight_ih_l0".to_owned(), counted(0, &[7, 3])));
    let both = [
        "weight_ih_l0 has shape [7, 3] instead of [4H, I]",
        "weight_hh_l0 has shape [6, 2, 1] instead of [4H, H]",
    ];
    assert_eq!(ways(&wrong, "l0"), both);

    let mut projected = whole;
    projected.push(("weight_hr_l0".to_owned(), counted(0, &[1, 2])));
    assert_eq!(ways(&projected, "l0"), ["weight_hr_l0, a projection, can't be converted"]);
}

#[test]
fn two_directions_have_the_same_sizes() {
    let mut both = [layer("l0", 2, 3, 1, 0), layer("l0_reverse", 2, 4, 1, 0)].concat();
    remove(&mut both, "weight_hh_l0_reverse");
    assert_eq!(
        problems(to_onnx(&both, "l0")),
        [
            "weight_ih_l0_reverse has shape [8, 4] instead of [8, 3]",
            "weight_hh_l0_reverse [8, 2] is missing",
        ]
    );
    // A direction alone is a layer.
    assert!(to_onnx(&layer("l0_reverse", 2, 3, 1, 0), "l0_reverse").is_ok());
}

/// The tensor and the shape that an error names.
fn shape<T>(result: Result<T>) -> (String, String) {
    match result {
        Err(Error::Shape { tensor, expected, .. }) => (tensor, expected),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

fn named(tensor: &str, expected: &str) -> (String, String) {
    (tensor.to_owned(), expected.to_owned())
}

#[test]
fn onnx_shapes_are_checked() {
    let right = onnx(2, 2, 3, true);
    let (w, r, b) = (&right.w, &right.r, right.b.as_ref());
    let one = onnx(1, 2, 3, true);

    let with_r = |sizes: &[usize]| shape(from_onnx(w, &counted(0, sizes), b, "l0"));
    assert_eq!(with_r(&[8, 2]), named("R", "[D, 4H, H]"));
    assert_eq!(with_r(&[3, 8, 2]), named("R", "[D = 1 or 2, 4H, H]"));
    assert_eq!(with_r(&[2, 9, 2]), named("R", "[D = 2, 4H = 8, H = 2]"));

    let with_w = |w: &Array| shape(from_onnx(w, r, b, "l0"));
    assert_eq!(with_w(&one.w), named("W", "[D = 2, 4H = 8, I]"));
    assert_eq!(with_w(&counted(0, &[2, 12, 3])), named("W", "[D = 2, 4H = 8, I]"));
    assert_eq!(with_w(&counted(0, &[2, 24])), named("W", "[D = 2, 4H = 8, I]"));

    let with_b = |b: &Array| shape(from_onnx(w, r, Some(b), "l0"));
    assert_eq!(with_b(&one.b.unwrap()), named("B", "[D = 2, 8H = 16]"));
    assert_eq!(with_b(&counted(0, &[2, 8])), named("B", "[D = 2, 8H = 16]"));
}

#[test]
fn keras_shapes_are_checked() {
    let (kernel, recurrent) = (counted(0, &[3, 8]), counted(0, &[2, 8]));
    let with_recurrent = |r: &[usize]| shape(from_keras(&kernel, &counted(0, r), None, "l0"));
    assert_eq!(with_recurrent(&[16]), named("recurrent_kernel", "[H, 4H]"));
    assert_eq!(with_recurrent(&[2, 9]), named("recurrent_kernel", "[H = 2, 4H = 8]"));

    let with_kernel = |k: &[usize]| shape(from_keras(&counted(0, k), &recurrent, None, "l0"));
    assert_eq!(with_kernel(&[8, 3]), named("kernel", "[I, 4H = 8]"));
    assert_eq!(with_kernel(&[24]), named("kernel", "[I, 4H = 8]"));

    // Two rows of biases are those of a GRU.
    for sizes in [&[2, 8][..], &[4]] {
        let bias = counted(0, sizes);
        let refused = shape(from_keras(&kernel, &recurrent, Some(&bias), "l0"));
        assert_eq!(refused, named("bias", "[4H = 8]"));
    }
}
