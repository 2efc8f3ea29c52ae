//! The yardstick itself: the reference's gradients against central differences.

use gatefold::reference::sequence::{Batch, LayerMasks, LayerWeights, backward, forward};

use gatefold::Cell;

use crate::common::cells::{alone, spread, together};
use crate::common::kernels::has_peepholes;
use crate::common::random::{Random, normal};
use crate::common::wide;

const STEPS: usize = 4;
const BATCH: usize = 3;
const INPUT: usize = 2;
const HIDDEN: usize = 4;
const LAYERS: usize = 2;

/// Everything that the loss depends on.
#[derive(Clone)]
struct Inputs {
    stack: Vec<Vec<LayerWeights<f64>>>,
    x: Vec<f64>,
    h_0: Vec<f64>,
    c_0: Vec<f64>,
}

/// What the outputs and the final states are weighted with.
struct Weights {
    dy: Vec<f64>,
    dh_n: Vec<f64>,
    dc_n: Vec<f64>,
}

fn loss(inputs: &Inputs, batch: &Batch<'_, f64>, w: &Weights) -> f64 {
    let trace = forward(&inputs.stack, batch, &inputs.x, &inputs.h_0, &inputs.c_0);
    let dot = |a: &[f64], b: &[f64]| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()
    };
    dot(&trace.y, &w.dy) + dot(&trace.h_n, &w.dh_n) + dot(&trace.c_n, &w.dc_n)
}

/// One of 32 configurations: both directions, a projection, biases, lengths, masks; of some cell.
fn gradients_are_the_differences(flags: usize, cell: Cell) {
    let [bidirectional, projected, biased, padded, masked] =
        [1, 2, 4, 8, 16].map(|f| flags & f > 0);
    let directions = 1 + usize::from(bidirectional);
    let output = if projected { 2 } else { HIDDEN };
    let random = |len: usize, std: f32, seed: u64| wide(&normal(len, std, seed));
    let layer = |l: usize, d: usize| {
        let input = if l == 0 { INPUT } else { directions * output };
        let seed = 10 * (l * 2 + d) as u64;
        let std = spread(cell) / 2.0;
        LayerWeights {
            input,
            hidden: HIDDEN,
            weight_ih: random(4 * HIDDEN * input, std, seed),
            weight_hh: random(4 * HIDDEN * output, std, seed + 1),
            bias: random(4 * HIDDEN, if biased { 1.0 } else { 0.0 }, seed + 2),
            weight_hr: random(if projected { output * HIDDEN } else { 0 }, 1.0, seed + 3),
            weight_peephole: random(
                if has_peepholes(cell) { 3 * HIDDEN } else { 0 },
                1.0,
                seed + 4,
            ),
            cell,
        }
    };
    let (h, c) = (LAYERS * directions * BATCH * output, LAYERS * directions * BATCH * HIDDEN);
    let y = STEPS * BATCH * directions * output;
    let inputs = Inputs {
        stack: (0..LAYERS).map(|l| (0..directions).map(|d| layer(l, d)).collect()).collect(),
        x: random(STEPS * BATCH * INPUT, 1.0, 100),
        h_0: random(h, 0.5, 101),
        c_0: random(c, 1.0, 102),
    };
    let w =
        Weights { dy: random(y, 1.0, 103), dh_n: random(h, 1.0, 104), dc_n: random(c, 1.0, 105) };
    let masks = vec![(0..y).map(|i| if i % 3 == 0 { 0.0 } else { 1.5 }).collect()];
    let of_layer = |(l, directions): (usize, &Vec<LayerWeights<f64>>)| {
        let masks = |(d, w)| LayerMasks::drawn(w, [flags as u32, 7], (l, d), (STEPS, BATCH));
        directions.iter().enumerate().map(masks).collect()
    };
    // Of every other configuration what is drawn, of the others what is expected.
    let drawn: Vec<Vec<LayerMasks<f64>>> = inputs.stack.iter().enumerate().map(of_layer).collect();
    let batch = Batch {
        rows: BATCH,
        lengths: padded.then_some(&[2, 0, 4]),
        masks: if masked { &masks } else { &[] },
        drawn: if flags.is_multiple_of(2) || flags.is_multiple_of(3) { &drawn } else { &[] },
    };
    let trace = forward(&inputs.stack, &batch, &inputs.x, &inputs.h_0, &inputs.c_0);
    let grads = backward(&inputs.stack, &batch, &trace, &w.dy, &w.dh_n, &w.dc_n);

    // Of the two losses that are subtracted.
    let rounding = 4.0 * f64::EPSILON * loss(&inputs, &batch, &w).abs();
    let mut checked = 0;
    let mut check = |got: &[f64], at: &dyn Fn(&mut Inputs) -> &mut Vec<f64>| {
        for (i, &got) in got.iter().enumerate() {
            let moved = |by: f64| {
                let mut inputs = inputs.clone();
                at(&mut inputs)[i] += by;
                loss(&inputs, &batch, &w)
            };
            // The differences' own error: rounding over the step, and the step squared. An argument that is as
            // near to an edge as the first are far is farther than the second.
            let difference = |step: f64| (moved(step) - moved(-step)) / (2.0 * step);
            let is_near = |step: f64| {
                let want = difference(step);
                (got - want).abs() <= 1e-7 * (1.0 + want.abs()) + rounding / step
            };
            assert!(
                is_near(1e-6) || is_near(1e-8),
                "{cell}: {got} for {}, flags {flags}, element {i}",
                difference(1e-6)
            );
            checked += 1;
        }
    };
    let mut parameters = 0;
    for l in 0..LAYERS {
        for d in 0..directions {
            let (grads, weights) = (&grads.layers[l][d], &inputs.stack[l][d]);
            check(&grads.weight_ih, &|i| &mut i.stack[l][d].weight_ih);
            check(&grads.weight_hh, &|i| &mut i.stack[l][d].weight_hh);
            check(&grads.bias, &|i| &mut i.stack[l][d].bias);
            check(&grads.weight_hr, &|i| &mut i.stack[l][d].weight_hr);
            check(&grads.weight_peephole, &|i| &mut i.stack[l][d].weight_peephole);
            parameters += weights.weight_ih.len() + weights.weight_hh.len();
            parameters += weights.bias.len() + weights.weight_hr.len();
            parameters += weights.weight_peephole.len();
        }
    }
    check(&grads.x, &|i| &mut i.x);
    check(&grads.h_0, &|i| &mut i.h_0);
    check(&grads.c_0, &|i| &mut i.c_0);
    assert_eq!(checked, parameters + STEPS * BATCH * INPUT + h + c);
}

#[test]
fn gradients_are_the_differences_in_every_configuration() {
    (0..32).for_each(|flags| gradients_are_the_differences(flags, Cell::new()));
}

/// Every option alone, and all of them together in random ways.
#[test]
fn gradients_of_every_cell_are_the_differences() {
    let some = |i: u64| together(&mut Random::new(500 + i), i.is_multiple_of(2));
    let cells = alone().into_iter().chain((0..40).map(some));
    for (i, cell) in cells.enumerate() {
        let flags = (7 * i + 3) % 32;
        // A clipped projection is one.
        let flags = if cell.to_string().contains("projection") { flags | 2 } else { flags };
        gradients_are_the_differences(flags, cell);
    }
}
