//! The losses' kernels against their twins.

use gatefold::Device;
use gatefold::kernels::{self, Padding, View};
use gatefold::reference::{CrossEntropy, Pointwise, Tolerance};

use super::kernels::Launch;
use super::random::{POISON, SIZES, normal};
use super::{assert_close, wide};

/// Lengths of the rows of a batch, from none to beyond the last timestep.
fn lengths(launch: &mut Launch, batch: usize, steps: usize) -> View {
    let values: Vec<f32> = (0..batch).map(|b| (b * 3 % (steps + 2)) as f32).collect();
    launch.buffer([vec![POISON; 2], values].concat(), 2)
}

/// Weights of rows, some of which count nothing.
fn row_weights(rows: usize) -> Vec<f32> {
    (0..rows).map(|r| [1.0, 0.4, 0.0, 2.5][r % 4]).collect()
}

const POINTWISE: [Pointwise; 6] = [
    Pointwise::Squared,
    Pointwise::Absolute,
    Pointwise::Huber { delta: 0.7 },
    Pointwise::SmoothAbsolute { beta: 0.3 },
    Pointwise::SmoothAbsolute { beta: 0.0 },
    Pointwise::BinaryLogits,
];

pub fn pointwise_loss(device: &Device) {
    for (i, len) in SIZES.into_iter().chain([1023, 1024, 1025, 5000]).enumerate() {
        for loss in POINTWISE {
            for flags in 0..4 {
                let [padded, weighted] = [1, 2].map(|f| flags & f > 0);
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
                // Where nothing counts, nothing is right.
                let rows = (first % width + len).div_ceil(width);
                let weights = row_weights(rows);
                for (n, goal) in goals.iter_mut().skip(1).enumerate().filter(|_| weighted) {
                    if weights[(first % width + n) / width] == 0.0 {
                        *goal = f32::NAN;
                    }
                }
                let (y, target) = (launch.buffer(y, 4), launch.buffer(goals, 1));
                let weights = launch.buffer([vec![POISON; 3], weights].concat(), 3);
                let lengths = lengths(&mut launch, batch, steps);
                let scale = launch.buffer(vec![POISON, 0.37], 1);
                let (dy, partials) = (launch.poisoned(len), launch.poisoned(len.div_ceil(1024)));
                let padding = Padding(padded.then_some(lengths));
                let operands = kernels::pointwise_loss::Operands {
                    y,
                    target,
                    padding,
                    weights: weighted.then_some(weights),
                    scale,
                    dy,
                    partials,
                };
                let size = (batch, width);
                let dispatch =
                    kernels::pointwise_loss::dispatch(loss, (first, len), size, &operands);
                let what = format!("{loss:?}, N = {len}, flags {flags}");
                launch.check(device, dispatch, what);
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
    row_weights: Option<Vec<f32>>,
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
        let row_weights = self.row_weights.as_ref();
        let row_weights = row_weights.map(|own| launch.buffer([&[POISON; 2][..], own].concat(), 2));
        let operands = kernels::cross_entropy_loss::Operands {
            logits,
            target,
            padding: Padding(self.padded.then_some(lengths)),
            weights: self.weighted.then_some(weights),
            row_weights,
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
        for flags in 0..32 {
            let [weighted, padded, smooth, large, rows_weighted] =
                [1, 2, 4, 8, 16].map(|f| flags & f > 0);
            let own = row_weights(rows);
            let settings = CrossEntropy {
                ignore_index: if weighted { (classes - 1) as f32 } else { -100.0 },
                label_smoothing: if smooth { 0.2 } else { 0.0 },
            };
            let row_weights = rows_weighted.then(|| own.clone());
            let case = Case { settings, rows, classes, weighted, padded, row_weights };
            let mut logits = normal(rows * classes, if large { 1e4 } else { 2.0 }, 1);
            // A class that is masked out, in a row that doesn't aim at it.
            if classes > 2 && !smooth {
                logits[1] = f32::NEG_INFINITY;
            }
            let targets = (0..rows).map(|r| match r % 6 {
                _ if rows_weighted && own[r] == 0.0 => [f32::NAN, -7.0, 1e9][r % 3],
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

/// Weights of rows that are all 1 give the bits that there are without weights; a driver may fuse a weight's
/// product with a sum, and has an ulp for it.
pub fn weights_of_one_change_no_bit(device: &Device) {
    let relative = if device.as_gpu().is_some() { 2.4e-7 } else { 0.0 };
    let same = |what: String, got: Vec<f32>, want: Vec<f32>| {
        let tolerance = Tolerance::Mixed { absolute: 0.0, relative };
        assert_close(&what, &got, &wide(&want), tolerance);
    };
    let (rows, width) = (701, 3);
    for loss in POINTWISE {
        let run = |weighted: bool, buffer: u32| {
            let mut launch = Launch::new();
            let y = launch.buffer(normal(rows * width, 2.0, 1), 0);
            let targets = normal(rows * width, 0.3, 2).iter().map(|v| v.clamp(0.0, 1.0)).collect();
            let target = launch.buffer(targets, 0);
            let weights = launch.buffer(vec![1.0; rows], 0);
            let scale = launch.buffer(vec![1.0 / 2103.0], 0);
            let dy = launch.poisoned(rows * width);
            let partials = launch.poisoned((rows * width).div_ceil(1024));
            let operands = kernels::pointwise_loss::Operands {
                y,
                target,
                padding: Padding(None),
                weights: weighted.then_some(weights),
                scale,
                dy,
                partials,
            };
            let part = (0, rows * width);
            let dispatch = kernels::pointwise_loss::dispatch(loss, part, (1, width), &operands);
            launch.run(device, dispatch, buffer)
        };
        for buffer in [4, 5] {
            same(format!("{loss:?}, buffer {buffer}"), run(true, buffer), run(false, buffer));
        }
    }
    for flags in 0..4 {
        let [weighted, smooth] = [1, 2].map(|f| flags & f > 0);
        let label_smoothing = if smooth { 0.2 } else { 0.0 };
        let settings = CrossEntropy { ignore_index: -100.0, label_smoothing };
        let run = |row_weights: Option<Vec<f32>>, buffer: u32| {
            let case = Case { settings, rows, classes: 7, weighted, padded: true, row_weights };
            let targets = (0..rows).map(|r| (r % 7) as f32).collect();
            let (launch, dispatch) = case.launch(normal(rows * 7, 2.0, 1), targets);
            launch.run(device, dispatch, buffer)
        };
        for buffer in [5, 6] {
            let (got, want) = (run(Some(vec![1.0; rows]), buffer), run(None, buffer));
            same(format!("flags {flags}, buffer {buffer}"), got, want);
        }
    }
}

/// A target that is no class and a logit that is NaN or +inf make their row NaN and no other; rows that
/// don't count may hold anything.
fn bad_rows(device: &Device) {
    let settings = CrossEntropy { ignore_index: 2.0, label_smoothing: 0.0 };
    for classes in [5, 300] {
        let (weighted, padded, row_weights) = (false, false, None);
        let case = Case { settings, rows: 8, classes, weighted, padded, row_weights };
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
