//! What cells draw, and how they are said.

use gatefold::reference::philox;
use gatefold::reference::sequence::{Batch, LayerMasks, LayerWeights, backward, forward};
use gatefold::{Cell, CellActivation};

use crate::common::cells::{alone, together};
use crate::common::golden::Golden;
use crate::common::random::Random;

/// `[rows, columns]` as `[columns, rows]`.
fn turned(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|c| values.iter().skip(c).step_by(columns).copied()).collect()
}

/// `[B, T, K]` as `[T, B, K]`, or back.
fn swapped(values: &[f64], [first, second, width]: [usize; 3]) -> Vec<f64> {
    let row = |a: usize, b: usize| &values[(a * second + b) * width..][..width];
    (0..second).flat_map(|b| (0..first).flat_map(move |a| row(a, b))).copied().collect()
}

/// Keras' masks, read out of its layer, give its outputs and gradients. With a recurrent dropout Keras has a mask for
/// each gate; in the files that are called shared all four are one, as here.
#[test]
fn masks_are_those_of_keras() {
    let golden = Golden::read("cells_keras");
    for name in ["dropout", "recurrent_dropout_shared", "both_shared"] {
        let case = golden.part(&format!("{name}."));
        let &[rows, steps, input] = case.get("x").shape() else { panic!("x [B, T, I]") };
        let hidden = case.get("recurrent_kernel").shape()[0];
        let weights = LayerWeights {
            input,
            hidden,
            weight_ih: turned(&case.wide("kernel"), 4 * hidden),
            weight_hh: turned(&case.wide("recurrent_kernel"), 4 * hidden),
            bias: case.wide("bias"),
            weight_hr: Vec::new(),
            weight_peephole: Vec::new(),
            cell: Cell::new(),
        };
        let (recurrent, input_mask) = (case.wide("h_mask"), case.wide("x_mask"));
        assert_eq!(name == "dropout", recurrent.iter().all(|&m| m == 1.0));
        assert!(recurrent.iter().chain(&input_mask).any(|&m| m == 0.0), "{name} drops nothing");
        let masks = LayerMasks { recurrent, input: input_mask, ..LayerMasks::default() };
        let (stack, drawn) = ([vec![weights]], [vec![masks]]);
        let batch = Batch { drawn: &drawn, ..Batch::of(rows) };
        let zeros = vec![0.0; rows * hidden];
        let x = swapped(&case.wide("x"), [rows, steps, input]);
        let trace = forward(&stack, &batch, &x, &zeros, &zeros);
        let dy = swapped(&case.wide("dy"), [rows, steps, hidden]);
        let gradients = backward(&stack, &batch, &trace, &dy, &zeros, &zeros);
        let own = &gradients.layers[0][0];
        for (what, got, want) in [
            ("y", swapped(&trace.y, [steps, rows, hidden]), case.wide("y")),
            ("dx", swapped(&gradients.x, [steps, rows, input]), case.wide("dx")),
            ("d_kernel", turned(&own.weight_ih, input), case.wide("d_kernel")),
            ("d_recurrent", turned(&own.weight_hh, hidden), case.wide("d_recurrent_kernel")),
            ("d_bias", own.bias.clone(), case.wide("d_bias")),
        ] {
            assert_eq!(got.len(), want.len(), "{name}: {what}");
            for (got, want) in got.iter().zip(&want) {
                // What f32 is off by.
                assert!((got - want).abs() < 1e-5 * (1.0 + want.abs()), "{name}: {what}: {got}");
            }
        }
    }
}

/// The words that a unit goes by are those that the pages say.
#[test]
fn masks_go_by_a_units_place() {
    let cell = Cell::new()
        .zoneout(0.3, 0.4)
        .recurrent_dropout(0.2)
        .candidate_dropout(0.1)
        .input_dropout(0.5);
    let weights = |input: usize, hidden: usize| LayerWeights {
        input,
        hidden,
        weight_ih: vec![0.0; 4 * hidden * input],
        weight_hh: vec![0.0; 4 * hidden * hidden],
        bias: vec![0.0; 4 * hidden],
        weight_hr: Vec::new(),
        weight_peephole: Vec::new(),
        cell,
    };
    let (key, steps, rows, hidden, input) = ([5, 6], 3, 4, 7, 9);
    let (l, d) = (2, 1);
    let masks = LayerMasks::drawn(&weights(input, hidden), key, (l, d), (steps, rows));
    let below = |word: u32, p: f64| f64::from(word) < p * 2f64.powi(32);
    let factor = |word: u32, p: f64| {
        if below(word, p) { 0.0 } else { f64::from((1.0 / (1.0 - p)) as f32) }
    };
    for b in 0..rows {
        for k in 0..hidden {
            for t in 0..steps {
                let counter = [k as u32, b as u32, t as u32, 0x8000_0000 + 5];
                let words = philox(counter, key);
                let want =
                    [below(words[0], 0.3), below(words[1], 0.4)].map(|is| f64::from(u8::from(is)));
                assert_eq!(masks.zones[(t * rows + b) * hidden + k], want);
            }
            let words = philox([k as u32, b as u32, 0, 0xC000_0000 + 5], key);
            assert_eq!(masks.recurrent[b * hidden + k], factor(words[0], 0.2));
            assert_eq!(masks.candidate[b * hidden + k], factor(words[1], 0.1));
        }
        for k in 0..input {
            let words = philox([k as u32, b as u32, 0, 0xC000_0000 + 4], key);
            assert_eq!(masks.input[b * input + k], factor(words[2], 0.5));
        }
    }
}

/// Peepholes go to ONNX and come back; what has none says that it can't take them.
#[test]
fn peepholes_in_other_formats() {
    use gatefold::checkpoint::{
        GateNames, from_onnx, peepholes_from_onnx, to_gates, to_keras, to_onnx,
    };
    use gatefold::{Device, Lstm, LstmConfig};
    let config = LstmConfig::new(2, 3).bidirectional(true).cell(Cell::new().peepholes(true));
    let lstm = Lstm::new(&Device::cpu(), config).unwrap();
    let dict = lstm.state_dict().unwrap();
    let onnx = to_onnx(&dict, "l0").unwrap();
    let mut back = from_onnx(&onnx.w, &onnx.r, onnx.b.as_ref(), "l0").unwrap();
    back.extend(peepholes_from_onnx(onnx.p.as_ref().unwrap(), "l0").unwrap());
    for (name, array) in &dict {
        let found = back.iter().find(|(other, _)| other == name);
        assert_eq!(found.map(|(_, array)| array), Some(array), "{name}");
    }
    for error in [
        to_keras(&dict, "l0").map(drop).unwrap_err(),
        to_gates(&dict, &GateNames::MATRICES_G, "l0").map(drop).unwrap_err(),
    ] {
        assert!(error.to_string().contains("peepholes"), "{error}");
    }
    // Of a wrong size.
    let mut wrong = dict;
    let at = wrong.iter().position(|(name, _)| name == "weight_peephole_l0").unwrap();
    wrong[at].1 = gatefold::Array::new(vec![0.0; 4], &[4]).unwrap();
    let error = to_onnx(&wrong, "l0").map(drop).unwrap_err().to_string();
    assert!(error.contains("weight_peephole_l0 has shape [4] instead of [9]"), "{error}");
    let error = Lstm::from_state_dict(&Device::cpu(), &wrong).map(drop).unwrap_err().to_string();
    assert!(error.contains("weight_peephole_l0 has shape [4] instead of [9]"), "{error}");
}

/// A cell in words is that cell, and anything else is none.
#[test]
fn cells_are_said_and_read() {
    assert_eq!(Cell::new().to_string(), "plain");
    let all =
        alone().into_iter().chain((0..200).map(|i| together(&mut Random::new(i), i % 2 == 0)));
    for cell in all {
        assert!(!cell.is_plain() || cell == Cell::new());
        assert_eq!(cell.is_plain(), cell.to_string() == "plain");
    }
    let functions = Cell::new().gate_activation(CellActivation::HARD_SIGMOID_KERAS_3);
    assert_eq!(functions.to_string(), "gate HardSigmoid 0.16666667 0.5");
}
