//! Converted weights compute what their source does, by the source's own equations.

use gatefold::checkpoint::{GateLayout, GateNames, StateDict, from_gates, from_keras, from_onnx};
use gatefold::reference::sequence::{Batch, LayerWeights, layer_forward};

use super::{FAMILIES, by_hand, get, onnx, scaled, sizes};
use crate::common::random::normal;
use crate::common::wide;

const STEPS: usize = 4;

/// The reference on converted weights: every hidden state and the last cell state.
fn reference(layer: &StateDict, suffix: &str, x: &[f64], h: &[f64], c: &[f64]) -> [Vec<f64>; 2] {
    let tensor = |name: &str| wide(get(layer, &format!("{name}_{suffix}")).data());
    let hidden = h.len();
    let mut bias = vec![0.0; 4 * hidden];
    for (name, array) in layer {
        if [format!("bias_ih_{suffix}"), format!("bias_hh_{suffix}")].contains(name) {
            bias.iter_mut().zip(array.data()).for_each(|(sum, &b)| *sum += f64::from(b));
        }
    }
    let weights = LayerWeights {
        input: x.len() / STEPS,
        hidden,
        weight_ih: tensor("weight_ih"),
        weight_hh: tensor("weight_hh"),
        bias,
        weight_hr: Vec::new(),
        weight_peephole: Vec::new(),
        cell: gatefold::Cell::new(),
    };
    let trace = layer_forward(&weights, &Batch::of(1), (0, 0), x, h, c);
    [trace.y, trace.c_n]
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// An LSTM whose gates i, f, c, o have the sums `z(gate, unit, x_t, h)`.
fn direct(
    z: impl Fn(char, usize, &[f64], &[f64]) -> f64,
    x: &[f64],
    h: &[f64],
    c: &[f64],
) -> [Vec<f64>; 2] {
    let (mut h, mut c) = (h.to_vec(), c.to_vec());
    let mut states = Vec::new();
    for x_t in x.chunks_exact(x.len() / STEPS) {
        let before = h.clone();
        for unit in 0..h.len() {
            let sum = |gate: char| z(gate, unit, x_t, &before);
            c[unit] = sigmoid(sum('f')) * c[unit] + sigmoid(sum('i')) * sum('c').tanh();
            h[unit] = sigmoid(sum('o')) * c[unit].tanh();
        }
        states.extend_from_slice(&h);
    }
    [states, c]
}

/// Input and initial states.
fn inputs(hidden: usize, input: usize) -> [Vec<f64>; 3] {
    [(STEPS * input, 1), (hidden, 2), (hidden, 3)].map(|(len, seed)| wide(&normal(len, 0.8, seed)))
}

/// Both are f64 from the same weights: only the order of sums differs.
fn assert_equal(got: &[Vec<f64>; 2], want: &[Vec<f64>; 2]) {
    for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
        assert!((got - want).abs() <= 1e-14, "{got} instead of {want}");
    }
    assert_eq!(got.each_ref().map(Vec::len), want.each_ref().map(Vec::len));
}

fn place(gate: char, order: &str) -> usize {
    order.find(gate).unwrap()
}

/// `it = f(Xt*(Wi^T) + Ht-1*(Ri^T) + Wbi + Rbi)` and so on, gates i, o, f, c.
#[test]
fn onnx_computes_the_same() {
    for (hidden, input, biased) in [(3, 2, true), (2, 2, true), (2, 3, false), (1, 1, true)] {
        let mut operator = onnx(2, hidden, input, biased);
        let random = |array: &mut gatefold::Array, seed: u64| {
            let values = normal(array.data().len(), 0.7, seed);
            *array = gatefold::Array::new(values, array.shape()).unwrap();
        };
        random(&mut operator.w, 4);
        random(&mut operator.r, 5);
        if let Some(b) = &mut operator.b {
            random(b, 6);
        }
        let layers = from_onnx(&operator.w, &operator.r, operator.b.as_ref(), "l0").unwrap();
        let [x, h, c] = inputs(hidden, input);
        for (direction, suffix) in ["l0", "l0_reverse"].into_iter().enumerate() {
            let z = |gate: char, unit: usize, x: &[f64], h: &[f64]| {
                let row = place(gate, "iofc") * hidden + unit;
                let w = &operator.w.data()[(direction * 4 * hidden + row) * input..];
                let r = &operator.r.data()[(direction * 4 * hidden + row) * hidden..];
                let b = operator.b.as_ref().map_or(0.0, |b| {
                    let b = &b.data()[direction * 8 * hidden..];
                    f64::from(b[row]) + f64::from(b[4 * hidden + row])
                });
                x.iter().zip(w).map(|(x, &w)| x * f64::from(w)).sum::<f64>()
                    + h.iter().zip(r).map(|(h, &r)| h * f64::from(r)).sum::<f64>()
                    + b
            };
            assert_equal(&reference(&layers, suffix, &x, &h, &c), &direct(z, &x, &h, &c));
        }
    }
}

/// `z = x @ kernel + h @ recurrent_kernel + bias`, split into i, f, c, o.
#[test]
fn keras_computes_the_same() {
    for (hidden, input, biased) in [(3, 2, true), (2, 2, true), (2, 3, false), (1, 1, true)] {
        let columns = 4 * hidden;
        let array = |shape: &[usize], seed: u64| {
            gatefold::Array::new(normal(shape.iter().product(), 0.7, seed), shape).unwrap()
        };
        let kernel = array(&[input, columns], 4);
        let recurrent = array(&[hidden, columns], 5);
        let bias = biased.then(|| array(&[columns], 6));
        let layer = from_keras(&kernel, &recurrent, bias.as_ref(), "l0").unwrap();
        let [x, h, c] = inputs(hidden, input);
        let z = |gate: char, unit: usize, x: &[f64], h: &[f64]| {
            let column = place(gate, "ifco") * hidden + unit;
            let mut z = bias.as_ref().map_or(0.0, |b| b.data()[column].into());
            for (k, x) in x.iter().enumerate() {
                z += x * f64::from(kernel.data()[k * columns + column]);
            }
            for (k, h) in h.iter().enumerate() {
                z += h * f64::from(recurrent.data()[k * columns + column]);
            }
            z
        };
        assert_equal(&reference(&layer, "l0", &x, &h, &c), &direct(z, &x, &h, &c));
    }
}

/// `W @ x + U @ h + b`, or `x @ W + h @ U + b`, gate by gate.
#[test]
fn gates_compute_the_same() {
    for names in &FAMILIES {
        for &(hidden, input) in sizes(names) {
            let mut model = by_hand(names, hidden, input, true);
            for (seed, (_, array)) in model.iter_mut().enumerate() {
                let values = normal(array.data().len(), 0.7, 10 + seed as u64);
                *array = gatefold::Array::new(values, array.shape()).unwrap();
            }
            let layer = from_gates(&model, names, "l0").unwrap();
            let [x, h, c] = inputs(hidden, input);
            let z = |gate: char, unit: usize, x: &[f64], h: &[f64]| {
                let gate = place(gate, "ifco");
                let product = |name: &str, v: &[f64]| -> f64 {
                    let m = get(&model, name).data();
                    let at = |k: usize| match names.layout {
                        GateLayout::InputFirst => m[k * hidden + unit],
                        _ => m[unit * v.len() + k],
                    };
                    v.iter().enumerate().map(|(k, v)| v * f64::from(at(k))).sum()
                };
                let bias = f64::from(get(&model, names.bias[gate]).data()[unit]);
                product(names.weight_ih[gate], x) + product(names.weight_hh[gate], h) + bias
            };
            assert_equal(&reference(&layer, "l0", &x, &h, &c), &direct(z, &x, &h, &c));
        }
    }
}

/// The two cells with one unit as their models write them: the names stand here once more, with
/// what the models' own code does with them.
#[test]
fn cells_with_one_unit_compute_the_same() {
    for (names, [forget, input, candidate, output]) in [
        (GateNames::SCALARS_ABCD, ["a", "b", "c", "d"]),
        (GateNames::SCALARS_LR_PR_P_O, ["lr", "pr", "p", "o"]),
    ] {
        let cell: StateDict = by_hand(&names, 1, 1, true)
            .iter()
            .enumerate()
            // Twelve different numbers between -1 and 2.
            .map(|(i, (name, array))| {
                let one = gatefold::Array::new(vec![1.0], array.shape()).unwrap();
                (name.clone(), scaled(&one, ((i * 5) % 12) as f32 / 4.0 - 1.0))
            })
            .collect();
        let value = |name: String| f64::from(get(&cell, &name).data()[0]);
        let [x, h, c] = inputs(1, 1);
        let (mut short, mut long) = (h[0], c[0]);
        let mut states = Vec::new();
        for &x in &x {
            let sum = |g: &str| {
                short * value(format!("w{g}1"))
                    + x * value(format!("w{g}2"))
                    + value(format!("b{g}1"))
            };
            long = long * sigmoid(sum(forget)) + sigmoid(sum(input)) * sum(candidate).tanh();
            short = long.tanh() * sigmoid(sum(output));
            states.push(short);
        }
        let layer = from_gates(&cell, &names, "l0").unwrap();
        assert_equal(&reference(&layer, "l0", &x, &h, &c), &[states, vec![long]]);
    }
}
