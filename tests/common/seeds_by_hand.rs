//! The examples `train_by_hand` and `numpy_cell`, against the same by hand in PyTorch and NumPy.

#[path = "../../examples/numpy_cell/by_hand.rs"]
mod by_hand;
#[path = "../../examples/numpy_cell/cell.rs"]
mod cell;
#[path = "../../examples/train_by_hand/lstm.rs"]
mod lstm;

use gatefold::checkpoint::{GateNames, from_gates, prefixed};
use gatefold::reference::Tolerance;
use gatefold::{Array, Dataset, Device};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::golden::Golden;
use super::{assert_close, wide};
use by_hand::CellByHand;
use cell::Cell;
use lstm::LstmByHand;

/// The tensors of a gate's names, all twelve of them.
fn gates(golden: &Golden, prefix: &str, names: &GateNames<'_>) -> Vec<(String, Array)> {
    let names = [names.weight_ih, names.weight_hh, names.bias].concat();
    let array = |name: &str| (name.to_owned(), golden.get(&format!("{prefix}{name}")).clone());
    names.into_iter().map(array).collect()
}

/// The four days as one timestep and as four: 500 epochs from PyTorch's initial weights.
pub fn train_by_hand(device: &Device) {
    let golden = Golden::read("by_hand");
    for (case, input_size) in [("features", 4), ("steps", 1)] {
        let get = |name: &str| golden.get(&format!("{case}.{name}"));
        let want = |name: &str| wide(get(name).data());
        let names = GateNames::MATRICES_BIG_C;
        let weights =
            from_gates(&gates(&golden, &format!("{case}.weights."), &names), &names, "l0");
        let mut lstm = LstmByHand::new(input_size, 1, device, 0).unwrap();
        lstm.model.load_state_dict(&prefixed(&weights.unwrap(), "lstm.")).unwrap();

        let (x, y) = (get("x"), get("y"));
        let predictions = |lstm: &LstmByHand| -> Vec<f32> {
            x.data().chunks(4).flat_map(|days| lstm.predict(days).unwrap()).collect()
        };
        let untrained = predictions(&lstm);
        assert_close(case, &untrained, &want("untrained"), Tolerance::OUTPUT);

        // In the golden's order.
        let order: Vec<usize> = get("order").data().iter().map(|&row| row as usize).collect();
        let days = order.iter().flat_map(|&row| &x.data()[4 * row..][..4]).copied().collect();
        let fifth = order.iter().map(|&row| y.data()[row]).collect();
        let batches = Dataset::new(
            Array::new(days, x.shape()).unwrap(),
            Array::new(fifth, y.shape()).unwrap(),
        );
        let mut reports = Vec::new();
        let report =
            lstm.train_model(&batches.unwrap(), 500, |p| reports.push((p.epoch, p.loss))).unwrap();
        assert_eq!((reports.len(), reports[50].0), (51, 500));
        assert_eq!(report.step_losses.len(), 1000);
        assert!(report.step_losses.iter().all(|loss| loss.is_finite()));
        assert_close(case, &report.step_losses[..10], &want("losses"), Tolerance::LOSS);
        // Both are nearly where training leads, whatever the way there: initial weights that are 1e-6
        // off move PyTorch's predictions by 2e-7 at most, and rounding is less than that. Fifty times
        // as much, for drivers whose tanh is worse.
        let tolerance = Tolerance::Mixed { absolute: 1e-5, relative: 0.0 };
        assert_close(case, &predictions(&lstm), &want("predictions"), tolerance);
    }
    two_runs_are_one(device);
}

/// A seed draws weights, not biases; a second run has the same bits.
fn two_runs_are_one(device: &Device) {
    let x = Array::new(vec![0.0, 0.5, 0.25, 1.0, 1.0, 0.5, 0.25, 1.0], &[2, 1, 4]).unwrap();
    let batches = Dataset::new(x, Array::new(vec![0.0, 1.0], &[2, 1]).unwrap()).unwrap();
    let run = |seed: u64| {
        let mut lstm = LstmByHand::new(4, 1, device, seed).unwrap();
        for (name, values) in lstm.model.state_dict().unwrap() {
            let zeros = values.data().iter().filter(|&&v| v == 0.0).count();
            assert_eq!(zeros, if name.contains("bias") { 4 } else { 0 }, "{name}");
        }
        let report = lstm.train_model(&batches, 20, |_| ()).unwrap();
        (report.step_losses, lstm.predict(&[0.0, 0.5, 0.25, 1.0]).unwrap())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

/// Five timesteps from NumPy's arrays, with weights that leave the gates half open and with larger
/// ones.
pub fn numpy_cell(device: &Device) {
    let golden = Golden::read("by_hand");
    // Of weights of 0.01 come states of 0.01, of which 1e-5 would say little.
    for (case, tolerance) in [("small", Tolerance::STEP), ("large", Tolerance::OUTPUT)] {
        let get = |name: &str| golden.get(&format!("{case}.{name}")).data();
        let arrays = gates(&golden, &format!("{case}."), &cell::NAMES);
        let mut on_the_crate = Cell::new(&arrays, device).unwrap();
        let mut by_hand = CellByHand::new(&arrays, 4);
        for (t, x_t) in get("x").chunks(3).enumerate() {
            let [h, c] = ["h", "c"].map(|name| wide(&get(name)[4 * t..][..4]));
            let (got_h, got_c) = on_the_crate.forward(x_t).unwrap();
            assert_close(&format!("{case}, h of timestep {t}"), &got_h, &h, tolerance);
            assert_close(&format!("{case}, c of timestep {t}"), &got_c, &c, tolerance);
            // In double precision, as NumPy; the golden is rounded to f32.
            let (loops_h, loops_c) = by_hand.forward(x_t);
            for (got, want) in loops_h.iter().chain(&loops_c).zip(h.iter().chain(&c)) {
                approx::assert_relative_eq!(got, want, max_relative = 6e-8);
            }
        }
    }
    let draw = |seed| cell::draw(3, 40, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
    let drawn = draw(0);
    assert_eq!((&drawn, drawn.len()), (&draw(0), 12));
    for (name, array) in &drawn {
        let squares: f32 = array.data().iter().map(|v| v * v).sum();
        let std = (squares / array.data().len() as f32).sqrt();
        let (shape, expected) = match &name[..1] {
            "W" => ([3, 40], 0.01),
            "U" => ([40, 40], 0.01),
            _ => ([1, 40], 0.0),
        };
        assert_eq!(array.shape(), shape, "{name}");
        // Of 120 numbers, the standard error is 6.5 %; six times that is 0.4.
        assert!((std - expected).abs() <= 0.4 * expected, "{name}: {std}");
    }
}
