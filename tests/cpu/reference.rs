//! The yardstick itself: the reference's gradients against central differences.

use gatefold::reference::sequence::{LayerWeights, backward, forward};

use crate::common::random::normal;

const STEPS: usize = 5;
const BATCH: usize = 3;
const INPUT: usize = 2;
const HIDDEN: usize = 4;
const LAYERS: usize = 2;
const STATE: usize = LAYERS * BATCH * HIDDEN;

fn wide(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

/// Everything that the loss depends on.
#[derive(Clone)]
struct Inputs {
    layers: Vec<LayerWeights<f64>>,
    x: Vec<f64>,
    h0: Vec<f64>,
    c0: Vec<f64>,
}

/// What the outputs and the final states are weighted with.
struct Weights {
    dy: Vec<f64>,
    dh_n: Vec<f64>,
    dc_n: Vec<f64>,
}

fn loss(inputs: &Inputs, w: &Weights) -> f64 {
    let traces = forward(&inputs.layers, BATCH, &inputs.x, &inputs.h0, &inputs.c0);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let size = BATCH * HIDDEN;
    let mut sum = dot(&traces[LAYERS - 1].h[size..], &w.dy);
    for (l, trace) in traces.iter().enumerate() {
        sum += dot(&trace.h[STEPS * size..], &w.dh_n[l * size..][..size]);
        sum += dot(&trace.c[STEPS * size..], &w.dc_n[l * size..][..size]);
    }
    sum
}

#[test]
fn gradients_are_the_differences() {
    let layer = |l: usize| {
        let (input, seed) = (if l == 0 { INPUT } else { HIDDEN }, 10 * l as u64);
        LayerWeights {
            input,
            hidden: HIDDEN,
            weight_ih: wide(normal(4 * HIDDEN * input, 1.0, seed)),
            weight_hh: wide(normal(4 * HIDDEN * HIDDEN, 1.0, seed + 1)),
            bias: wide(normal(4 * HIDDEN, 1.0, seed + 2)),
        }
    };
    let inputs = Inputs {
        layers: (0..LAYERS).map(layer).collect(),
        x: wide(normal(STEPS * BATCH * INPUT, 1.0, 100)),
        h0: wide(normal(STATE, 0.5, 101)),
        c0: wide(normal(STATE, 1.0, 102)),
    };
    let w = Weights {
        dy: wide(normal(STEPS * BATCH * HIDDEN, 1.0, 103)),
        dh_n: wide(normal(STATE, 1.0, 104)),
        dc_n: wide(normal(STATE, 1.0, 105)),
    };
    let traces = forward(&inputs.layers, BATCH, &inputs.x, &inputs.h0, &inputs.c0);
    let grads = backward(&inputs.layers, BATCH, &traces, &w.dy, &w.dh_n, &w.dc_n);

    let mut checked = 0;
    let mut check = |what: &str, got: &[f64], at: &dyn Fn(&mut Inputs) -> &mut Vec<f64>| {
        for (i, &got) in got.iter().enumerate() {
            let moved = |by: f64| {
                let mut inputs = inputs.clone();
                at(&mut inputs)[i] += by;
                loss(&inputs, &w)
            };
            let step = 1e-6;
            let want = (moved(step) - moved(-step)) / (2.0 * step);
            // The differences' own error: rounding over the step, and the step squared.
            approx::assert_abs_diff_eq!(got, want, epsilon = 1e-7 * (1.0 + want.abs()));
            checked += 1;
        }
        assert!(!got.is_empty(), "{what}");
    };
    for (l, grads) in grads.iter().enumerate() {
        check("weight_ih", &grads.weight_ih, &|i| &mut i.layers[l].weight_ih);
        check("weight_hh", &grads.weight_hh, &|i| &mut i.layers[l].weight_hh);
        check("bias", &grads.bias, &|i| &mut i.layers[l].bias);
    }
    check("x", &grads[0].x, &|i| &mut i.x);
    let h0: Vec<f64> = grads.iter().flat_map(|g| g.h0.clone()).collect();
    let c0: Vec<f64> = grads.iter().flat_map(|g| g.c0.clone()).collect();
    check("h0", &h0, &|i| &mut i.h0);
    check("c0", &c0, &|i| &mut i.c0);
    assert_eq!(checked, 32 + 64 + 16 + 64 + 64 + 16 + STEPS * BATCH * INPUT + 2 * STATE);
}
