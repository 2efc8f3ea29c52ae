//! Every element lands where it belongs, and comes back.

use gatefold::Array;
use gatefold::checkpoint::{
    GateNames, from_gates, from_keras, from_onnx, prefixed, to_gates, to_keras, to_onnx,
    with_prefix,
};

use super::{FAMILIES, NUMPY, by_hand, counted, dict, get, layer, onnx, sizes};

#[test]
fn a_part_is_taken_out_of_a_model_and_put_back() {
    let [a, b, c] = [1, 2, 3].map(|first| counted(first, &[2]));
    let model = dict(&[("lstm.w", a.clone()), ("fc.w", b), ("lstm.lstm.w", c.clone())]);
    let part = with_prefix(&model, "lstm.");
    assert_eq!(part, dict(&[("w", a), ("lstm.w", c)]));
    assert_eq!(prefixed(&part, "lstm."), [model[0].clone(), model[2].clone()]);
    assert_eq!(with_prefix(&prefixed(&model, "x."), "x."), model);
    assert_eq!(with_prefix(&model, ""), model);
    assert!(with_prefix(&model, "none.").is_empty());
}

#[test]
fn gates_there_and_back() {
    for names in &FAMILIES {
        for &(hidden, input) in sizes(names) {
            for biased in [true, false] {
                let model = by_hand(names, hidden, input, biased);
                let converted = from_gates(&model, names, "l0").unwrap();
                assert_eq!(converted.len(), if biased { 3 } else { 2 });
                assert_eq!(to_gates(&converted, names, "l0").unwrap(), model);

                let ours = layer("l1_reverse", hidden, input, biased.into(), 0);
                let converted = to_gates(&ours, names, "l1_reverse").unwrap();
                assert_eq!(from_gates(&converted, names, "l1_reverse").unwrap(), ours);
            }
        }
    }
}

#[test]
fn gates_stand_in_pytorchs_order() {
    let model = by_hand(&GateNames::MATRICES_BIG_C, 2, 1, true);
    let layer = from_gates(&model, &GateNames::MATRICES_BIG_C, "l0").unwrap();
    let weight = [["W_i", "W_f"], ["W_C", "W_o"]].concat();
    let weight: Vec<f32> =
        weight.iter().flat_map(|name| get(&model, name).data()).copied().collect();
    assert_eq!(layer[0], ("weight_ih_l0".to_owned(), Array::new(weight, &[8, 1]).unwrap()));

    let one = |name: &str, value: f32| (name.to_owned(), Array::new(vec![value], &[]).unwrap());
    let cell: Vec<(String, Array)> = [
        [one("wa1", 1.0), one("wa2", 2.0), one("ba1", 3.0)], // forget
        [one("wb1", 4.0), one("wb2", 5.0), one("bb1", 6.0)], // input
        [one("wc1", 7.0), one("wc2", 8.0), one("bc1", 9.0)], // candidate
        [one("wd1", 10.0), one("wd2", 11.0), one("bd1", 12.0)], // output
    ]
    .concat();
    let layer = from_gates(&cell, &GateNames::SCALARS_ABCD, "l0").unwrap();
    let array = |values: [f32; 4], shape: &[usize]| Array::new(values.to_vec(), shape).unwrap();
    assert_eq!(
        layer,
        dict(&[
            ("weight_ih_l0", array([5.0, 2.0, 8.0, 11.0], &[4, 1])),
            ("weight_hh_l0", array([4.0, 1.0, 7.0, 10.0], &[4, 1])),
            ("bias_ih_l0", array([6.0, 3.0, 9.0, 12.0], &[4])),
        ])
    );
}

/// `[]`, `[1]` and `[1, 1]` are one number each; NumPy's biases may be rows.
#[test]
fn shapes_that_are_as_good_are_read() {
    for names in [GateNames::SCALARS_ABCD, GateNames::SCALARS_LR_PR_P_O] {
        let model = by_hand(&names, 1, 1, true);
        let layer = from_gates(&model, &names, "l0").unwrap();
        for shape in [&[] as &[usize], &[1], &[1, 1]] {
            let again = model.iter().map(|(name, array)| {
                (name.clone(), Array::new(array.data().to_vec(), shape).unwrap())
            });
            assert_eq!(from_gates(&again.collect::<Vec<_>>(), &names, "l0").unwrap(), layer);
        }
    }
    for input in [2, 3] {
        let mut model = by_hand(&NUMPY, 3, input, true);
        let layer = from_gates(&model, &NUMPY, "l0").unwrap();
        for (name, array) in &mut model {
            if name.starts_with('b') {
                *array = Array::new(array.data().to_vec(), &[1, 3]).unwrap();
            }
        }
        assert_eq!(from_gates(&model, &NUMPY, "l0").unwrap(), layer);
    }
}

#[test]
fn other_tensors_are_passed_over() {
    let names = GateNames::MATRICES_BIG_C;
    let mut model = by_hand(&names, 3, 2, true);
    let layer = from_gates(&model, &names, "l0").unwrap();
    model.insert(0, ("W_out".to_owned(), counted(0, &[1, 3])));
    model.push(("b_out".to_owned(), counted(0, &[1])));
    assert_eq!(from_gates(&model, &names, "l0").unwrap(), layer);
}

#[test]
fn onnx_there_and_back() {
    for (hidden, input) in [(3, 2), (2, 2), (1, 1), (2, 5), (1, 3)] {
        for directions in [1, 2] {
            for biased in [true, false] {
                let operator = onnx(directions, hidden, input, biased);
                let converted =
                    from_onnx(&operator.w, &operator.r, operator.b.as_ref(), "l2").unwrap();
                assert_eq!(converted.len(), directions * if biased { 4 } else { 2 });
                assert_eq!(to_onnx(&converted, "l2").unwrap(), operator);

                let mut ours = layer("l2", hidden, input, if biased { 2 } else { 0 }, 0);
                if directions == 2 {
                    let biases = if biased { 2 } else { 0 };
                    ours.extend(layer("l2_reverse", hidden, input, biases, 50_000));
                }
                let back = to_onnx(&ours, "l2").unwrap();
                assert_eq!(from_onnx(&back.w, &back.r, back.b.as_ref(), "l2").unwrap(), ours);
            }
        }
    }
}

#[test]
fn a_bias_that_onnx_wants_and_pytorch_lacks_is_zero() {
    let ours = layer("l0", 2, 1, 1, 0);
    let operator = to_onnx(&ours, "l0").unwrap();
    let bias = operator.b.unwrap();
    assert_eq!(bias.shape(), [1, 16]);
    assert!(bias.data()[8..].iter().all(|&b| b == 0.0) && bias.data()[1] == 20_001.0);

    let both = [ours, layer("l0_reverse", 2, 1, 0, 0)].concat();
    let bias = to_onnx(&both, "l0").unwrap().b.unwrap();
    assert_eq!(bias.shape(), [2, 16]);
    assert!(bias.data()[16..].iter().all(|&b| b == 0.0));
}

#[test]
fn keras_there_and_back() {
    for (hidden, input) in [(3, 2), (2, 2), (1, 1), (2, 5), (1, 3)] {
        for biased in [true, false] {
            let kernel = counted(0, &[input, 4 * hidden]);
            let recurrent = counted(10_000, &[hidden, 4 * hidden]);
            let bias = biased.then(|| counted(20_000, &[4 * hidden]));
            let converted = from_keras(&kernel, &recurrent, bias.as_ref(), "l0").unwrap();
            let back = to_keras(&converted, "l0").unwrap();
            assert_eq!((back.kernel, back.recurrent_kernel, back.bias), (kernel, recurrent, bias));

            let ours = layer("l0_reverse", hidden, input, biased.into(), 0);
            let keras = to_keras(&ours, "l0_reverse").unwrap();
            let (kernel, recurrent) = (&keras.kernel, &keras.recurrent_kernel);
            let back = from_keras(kernel, recurrent, keras.bias.as_ref(), "l0_reverse").unwrap();
            assert_eq!(back, ours);
        }
    }
}

#[test]
fn two_biases_are_added_where_there_is_place_for_one() {
    let names = GateNames::MATRICES_G;
    let ours = layer("l0", 2, 3, 2, 0);
    let sums: Vec<f32> = (0..8).map(|i| 50_000.0 + 2.0 * i as f32).collect();
    assert_eq!(to_keras(&ours, "l0").unwrap().bias.unwrap().data(), sums);
    let gates = to_gates(&ours, &names, "l0").unwrap();
    let biases: Vec<f32> =
        names.bias.iter().flat_map(|name| get(&gates, name).data()).copied().collect();
    assert_eq!(biases, sums);
}
