//! The losses' kernels against their twins.

use gatefold::Device;
use gatefold::kernels::{self, Padding, View};
use gatefold::reference::{CrossEntropy, Pointwise};

use super::kernels::Launch;
use super::random::{POISON, SIZES, normal};

/// Lengths of the rows of a batch, from none to beyond the last timestep.
fn lengths(launch: &mut Launch, batch: usize, steps: usize) -> View {
    let values: Vec<f32> = (0..batch).map(|b| (b * 3 % (steps + 2)) as f32).collect();
    launch.buffer([vec![POISON; 2], values].concat(), 2)
}

pub fn pointwise_loss(device: &Device) {
    let losses = [
        Pointwise::Squared,
        Pointwise::Absolute,
        Pointwise::Huber { delta: 0.7 },
        Pointwise::SmoothAbsolute { beta: 0.3 },
        Pointwise::SmoothAbsolute { beta: 0.0 },
        Pointwise::BinaryLogits,
    ];
    for (i, len) in SIZES.into_iter().chain([1023, 1024, 1025, 5000]).enumerate() {
        for loss in losses {
            for padded in [false, true] {
                let (batch, width, first) = (1 + i % 5, 1 + i % 3, i % 7);
                let steps = (first + len).div_ceil(batch * width);
                let mut launch = Launch::new();
                let mut y = normal(4 + len, 2.0, 1);
                let mut goals = normal(1 + len, 1.0, 2);
                // Some differences of 0; logits far out, of either sign, and targets at both ends.
                (y[4], goals[1]) = (0.5, 0.5);
                if loss == Pointwise::BinaryLogits {
                    goals.iter_mut().for_each(|v| *v = (0.3 * *v + 0.5).clamp(0.0, 1.0));
                    y.iter_mut().skip(4).step_by(3).for_each(|v| *v *= 20.0);
                    y.iter_mut().skip(5).step_by(11).for_each(|v| *v *= 1e4);
                }
                let (y, target) = (launch.buffer(y, 4), launch.buffer(goals, 1));
                let lengths = lengths(&mut launch, batch, steps);
                let scale = launch.buffer(vec![POISON, 0.37], 1);
                let (dy, partials) = (launch.poisoned(len), launch.poisoned(len.div_ceil(1024)));
                let padding = Padding(padded.then_some(lengths));
                let operands =
                    kernels::pointwise_loss::Operands { y, target, padding, scale, dy, partials };
                let size = (batch, width);
                let dispatch =
                    kernels::pointwise_loss::dispatch(loss, (first, len), size, &operands);
                launch.check(device, dispatch, format!("{loss:?}, N = {len}, padded {padded}"));
            }
        }
    }
}

/// What one launch of the cross-entropy over given logits and targets is.
struct Case {
    settings: CrossEntropy,
    rows: usize,
    classes: usize,
    weighted: bool,
    padded: bool,
}

impl Case {
    /// The launch, its buffers with `logits` and `targets`; of them, `dy` is buffer 5 and the losses 6.
    fn launch(&self, logits: Vec<f32>, targets: Vec<f32>) -> (Launch, gatefold::command::Dispatch) {
        let (rows, classes, batch, first) = (self.rows, self.classes, 1 + self.rows % 4, 2);
        let mut launch = Launch::new();
        let logits = launch.buffer([vec![POISON; 3], logits].concat(), 3);
        let target = launch.buffer([vec![POISON], targets].concat(), 1);
        let lengths = lengths(&mut launch, batch, (first + rows).div_ceil(batch));
        let weights = (0..classes).map(|c| 0.5 + (c % 5) as f32 / 3.0).collect();
        let weights = launch.buffer(weights, 0);
        let scale = launch.buffer(vec![0.37], 0);
        let (dy, losses) = (launch.poisoned(rows * classes), launch.poisoned(rows));
        let operands = kernels::cross_entropy_loss::Operands {
            logits,
            target,
            padding: Padding(self.padded.then_some(lengths)),
            weights: self.weighted.then_some(weights),
            scale,
            dy,
            losses,
        };
        let size = (batch, classes);
        let dispatch =
            kernels::cross_entropy_loss::dispatch(self.settings, (first, rows), size, &operands);
        (launch, dispatch)
    }
}

pub fn cross_entropy_loss(device: &Device) {
    let sizes = [(1, 1), (7, 2), (65, 33), (130, 5), (3, 300), (64, 65), (2, 5000), (40_000, 2)];
    for (rows, classes) in sizes {
        for flags in 0..16 {
            let [weighted, padded, smooth, large] = [1, 2, 4, 8].map(|f| flags & f > 0);
            let settings = CrossEntropy {
                ignore_index: if weighted { (classes - 1) as f32 } else { -100.0 },
                label_smoothing: if smooth { 0.2 } else { 0.0 },
            };
            let case = Case { settings, rows, classes, weighted, padded };
            let mut logits = normal(rows * classes, if large { 1e4 } else { 2.0 }, 1);
            // A class that is masked out, in a row that doesn't aim at it.
            if classes > 2 && !smooth {
                logits[1] = f32::NEG_INFINITY;
            }
            let targets = (0..rows).map(|r| match r % 6 {
                5 => settings.ignore_index,
                _ if r == 0 => 0.0,
                _ => (r * 7 % classes) as f32,
            });
            let (launch, dispatch) = case.launch(logits, targets.collect());
            let what = format!("R = {rows}, C = {classes}, flags {flags}");
            let idle = settings.ignore_index == 0.0;
            launch.check_unless(device, dispatch, what, idle);
        }
    }
    bad_rows(device);
}

/// A target that is no class and a logit that is NaN or +inf make their row NaN and no other; rows that
/// don't count may hold anything.
fn bad_rows(device: &Device) {
    let settings = CrossEntropy { ignore_index: 2.0, label_smoothing: 0.0 };
    for classes in [5, 300] {
        let case = Case { settings, rows: 8, classes, weighted: false, padded: false };
        let mut logits = normal(8 * classes, 1.0, 1);
        for (row, value) in [(1, f32::NAN), (2, f32::INFINITY), (3, f32::NAN)] {
            logits[row * classes + classes - 1] = value;
        }
        let targets = vec![0.0, 1.0, 0.0, 2.0, classes as f32, -1.0, 0.5, f32::NAN];
        let bad = [false, true, true, false, true, true, true, true];
        let run = |buffer: u32| {
            let (launch, dispatch) = case.launch(logits.clone(), targets.clone());
            launch.run(device, dispatch, buffer)
        };
        let (dy, losses) = (run(5), run(6));
        for (row, bad) in bad.into_iter().enumerate() {
            assert_eq!(losses[row].is_nan(), bad, "loss of row {row}, C = {classes}");
            let dy = &dy[row * classes..][..classes];
            assert!(dy.iter().all(|v| v.is_nan() == bad), "gradient of row {row}");
        }
        assert_eq!(losses[3], 0.0);
        assert!(dy[3 * classes..4 * classes].iter().all(|v| *v == 0.0));
    }
}
