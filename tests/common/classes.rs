//! The kernels at a classifier's ends against their f64 twins: tokens in, classes out.

use gatefold::command::{Command, Operation};
use gatefold::kernels::{self, Padding, View, classes_within};
use gatefold::reference::{self, Tolerance, sort_tokens};
use gatefold::{Device, Nonlinearity};

use super::kernels::{Launch, sizes};
use super::random::{POISON, Random, SIZES, normal};
use super::{assert_close, wide};

/// Numbers of classes: one, fewer and more than an invocation takes, 64 lanes with a rest.
const CLASSES: [usize; 6] = [1, 2, 33, 65, 300, 5000];

/// What is no token of three.
const BAD: [f32; 12] = [
    -1.0,
    3.0,
    f32::NAN,
    -f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    1.5,
    -0.5,
    1e-40,
    4_294_967_296.0,
    2_147_483_648.0,
    1e30,
];

fn tokens(len: usize, vocab: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..len).map(|_| random.below(vocab) as f32).collect()
}

/// As many numbers of nobody's, and then these: an operand that starts behind them.
fn after(start: usize, contents: Vec<f32>) -> Vec<f32> {
    [vec![POISON; start], contents].concat()
}

/// A result with NaN: in the same places as the twin's, and otherwise as close as `tolerance` says.
fn assert_same(what: &str, got: &[f32], want: &[f64], tolerance: Tolerance) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.is_nan(), want.is_nan(), "{what}: element {i} is {got}, not {want}");
    }
    let got: Vec<f32> = got.iter().map(|&v| if v.is_nan() { 0.0 } else { v }).collect();
    let want: Vec<f64> = want.iter().map(|&v| if v.is_nan() { 0.0 } else { v }).collect();
    assert_close(what, &got, &want, tolerance);
}

pub fn embedding(device: &Device) {
    for i in 0..12 {
        let (rows, vocab, width) = sizes(i);
        let mut launch = Launch::new();
        let chosen = launch.buffer(after(3, tokens(rows, vocab, 1)), 3);
        let weight = launch.buffer(after(2, normal(vocab * width, 1.0, 2)), 2);
        let out = launch.buffer(vec![POISON; 5 + rows * width + 1], 5);
        let size = (rows, vocab, width);
        let dispatch = kernels::embedding::dispatch(size, chosen, weight, out);
        launch.check(device, dispatch, format!("R = {rows}, V = {vocab}, K = {width}"));
    }
    // Tokens that aren't, between some that are.
    for width in [1, 5] {
        let given: Vec<f32> = BAD.iter().flat_map(|&bad| [2.0, bad, -0.0]).collect();
        // More rows than the vocabulary has, which nobody may read.
        let weights = normal(4 * width, 1.0, 2);
        let mut want = vec![0.0; given.len() * width];
        reference::embedding(width, &wide(&given), &wide(&weights[..3 * width]), &mut want);
        assert_eq!(want.iter().filter(|v| v.is_nan()).count(), BAD.len() * width);
        let mut launch = Launch::new();
        let size = (given.len(), 3, width);
        let chosen = launch.buffer(given, 0);
        let weight = launch.buffer(weights, 0);
        let out = launch.poisoned(want.len());
        let dispatch = kernels::embedding::dispatch(size, chosen, weight, out);
        let got = launch.run(device, dispatch, 2);
        assert_same("tokens that aren't", &got, &want, Tolerance::EXACT);
    }
}

pub fn embedding_backward(device: &Device) {
    one_frequent_token(device);
    for i in 0..12 {
        let (rows, vocab, width) = sizes(i);
        // A frequent token, some without any position, and padding.
        let mut random = Random::new(i as u64);
        let mut token = || match random.below(4) {
            0 => None,
            1 => Some(vocab / 2),
            _ => Some(random.below(vocab) / 2 * 2),
        };
        let chosen: Vec<Option<usize>> = (0..rows).map(|_| token()).collect();
        let dy = normal(rows * width, 1.0, 2);
        let before = normal(vocab * width, 1.0, 3);
        let (order, offsets) = sort_tokens(chosen.iter().copied(), vocab);
        assert_eq!((order.len(), offsets.len()), (rows, vocab + 1));

        for accumulate in [false, true] {
            // The sums, row by row as they come, with no sorting.
            let mut want = if accumulate { wide(&before) } else { vec![0.0; vocab * width] };
            let mut magnitude: Vec<f64> = want.iter().map(|v| v.abs()).collect();
            for (row, &token) in chosen.iter().enumerate() {
                for k in (0..width).filter(|_| token.is_some()) {
                    let (at, term) = (token.unwrap_or(0) * width + k, dy[row * width + k]);
                    want[at] += f64::from(term);
                    magnitude[at] += f64::from(term.abs());
                }
            }
            // Cut by tokens and by positions in different ways, also where nothing is.
            for (window, part) in
                [(vocab, rows), (vocab.div_ceil(3), rows), (vocab, 2), (2, rows.div_ceil(2))]
            {
                let mut launch = Launch::new();
                let dy = launch.buffer(after(3, dy.clone()), 3);
                let order = launch.buffer(after(1, order.clone()), 1);
                let offsets = launch.buffer(after(2, offsets.clone()), 2);
                let dweight = launch.buffer(after(4, before.clone()), 4);
                let mut dispatches = Vec::new();
                for token in (0..vocab).step_by(window) {
                    let start = dweight.start + token * width;
                    let dweight = View { start, ..dweight };
                    let at = kernels::embedding_backward::Operands { dy, order, offsets, dweight };
                    for first in (0..rows).step_by(part) {
                        dispatches.push(kernels::embedding_backward::dispatch(
                            (window.min(vocab - token), width),
                            token,
                            (first, (first + part).min(rows)),
                            accumulate || first > 0,
                            &at,
                        ));
                    }
                }
                let what =
                    format!("R = {rows}, V = {vocab}, K = {width}, {window} tokens, {part} rows");
                let last = dispatches.pop().unwrap();
                for dispatch in dispatches {
                    let operation = Operation::Dispatch(dispatch);
                    launch.program.commands.push(Command { label: what.clone(), operation });
                }
                let idle = accumulate && chosen.iter().all(Option::is_none);
                let twin =
                    Launch { program: launch.program.clone(), contents: launch.contents.clone() };
                twin.check_unless(device, last.clone(), what.clone(), idle);
                let got = launch.run(device, last, 3);
                let tolerance = Tolerance::Terms(rows + 1);
                let close = reference::compare(&got[4..], &want, Some(&magnitude), tolerance);
                assert!(close.is_ok(), "{what}: {close:?}");
            }
        }
    }
}

/// A token at as many positions as one launch may sum where llvmpipe runs it.
fn one_frequent_token(device: &Device) {
    let (rows, width) = (kernels::embedding_backward::positions_within(65_000), 5);
    let (order, offsets) = sort_tokens((0..rows).map(|_| Some(0)), 1);
    let mut launch = Launch::new();
    let at = kernels::embedding_backward::Operands {
        dy: launch.buffer(vec![1.0; rows * width], 0),
        order: launch.buffer(order, 0),
        offsets: launch.buffer(offsets, 0),
        dweight: launch.poisoned(width),
    };
    let dispatch = kernels::embedding_backward::dispatch((1, width), 0, (0, rows), false, &at);
    assert_eq!(launch.run(device, dispatch, 3), [rows as f32; 5]);
}

pub fn one_hot(device: &Device) {
    for (i, classes) in CLASSES.into_iter().enumerate() {
        let rows = SIZES[2 * i];
        let mut launch = Launch::new();
        let chosen = launch.buffer(after(3, tokens(rows, classes, 1)), 3);
        let out = launch.buffer(vec![POISON; 5 + rows * classes + 1], 5);
        let dispatch = kernels::one_hot::dispatch((rows, classes), chosen, out);
        launch.check(device, dispatch, format!("R = {rows}, C = {classes}"));
    }
    let given: Vec<f32> = BAD.iter().flat_map(|&bad| [2.0, bad, -0.0]).collect();
    let mut want = vec![0.0; given.len() * 3];
    reference::one_hot(3, &wide(&given), &mut want);
    assert_eq!(want.iter().filter(|v| v.is_nan()).count(), BAD.len() * 3);
    let mut launch = Launch::new();
    let size = (given.len(), 3);
    let chosen = launch.buffer(given, 0);
    let out = launch.poisoned(want.len());
    let dispatch = kernels::one_hot::dispatch(size, chosen, out);
    let got = launch.run(device, dispatch, 1);
    assert_same("tokens that aren't", &got, &want, Tolerance::EXACT);
}

/// Rows and classes, with a full workgroup, one row more, and a part of one.
fn row_sizes() -> impl Iterator<Item = (usize, usize)> {
    let rows = |i: usize| [SIZES[i], [64, 129, 65, 127, 50, 7][i]];
    (0..6).flat_map(move |i| rows(i).map(|rows| (rows, CLASSES[i])))
}

/// More classes than most have: all iterations that llvmpipe allows one invocation.
fn most_classes() -> usize {
    classes_within(65_000, kernels::softmax::PASSES)
}

fn softmax_of(device: &Device, rows: usize, classes: usize, logits: Vec<f32>, what: &str) {
    let mut launch = Launch::new();
    let logits = launch.buffer(after(3, logits), 3);
    let out = launch.buffer(vec![POISON; 5 + rows * classes + 1], 5);
    let dispatch = kernels::softmax::dispatch((rows, classes), logits, out);
    launch.check(device, dispatch, format!("R = {rows}, C = {classes}, {what}"));
}

pub fn softmax(device: &Device) {
    for (rows, classes) in row_sizes() {
        let len = rows * classes;
        softmax_of(device, rows, classes, normal(len, 3.0, 1), "usual logits");
        // What naive forms overflow at, with steps down to what has no share, and without any.
        let far = [1e4, -1e4, -1e4 - 1.0, 0.0, f32::NEG_INFINITY, 1e4 - 80.0, 1e4 - 95.0, f32::MIN];
        let mut random = Random::new(7);
        let mut logits: Vec<f32> = (0..len).map(|_| far[random.below(8)]).collect();
        for (r, row) in logits.chunks_mut(classes).enumerate() {
            // Each row has a number; in some it is the lowest that there is, beside -inf.
            row[r % classes] = if r % 3 == 0 { f32::MIN } else { -1e4 };
            if r % 3 == 0 {
                row.iter_mut().filter(|v| **v > f32::MIN).for_each(|v| *v = f32::NEG_INFINITY);
            }
        }
        softmax_of(device, rows, classes, logits, "far out");
    }
    let classes = most_classes();
    softmax_of(device, 2, classes, normal(2 * classes, 3.0, 1), "usual logits");

    // One number spoils its row and no other.
    for classes in CLASSES {
        let mut logits = normal(9 * classes, 3.0, 1);
        for (row, at) in [(1, 0), (3, classes / 2), (4, classes - 1)] {
            logits[row * classes + at] = if row == 3 { -f32::NAN } else { f32::NAN };
        }
        logits[6 * classes + classes / 3] = f32::INFINITY;
        logits[7 * classes..][..classes].fill(f32::NEG_INFINITY);
        let mut want = vec![0.0; 9 * classes];
        reference::softmax(classes, &wide(&logits), &mut want);
        assert_eq!(want.iter().filter(|v| v.is_nan()).count(), 5 * classes);
        let mut launch = Launch::new();
        let logits = launch.buffer(logits, 0);
        let out = launch.poisoned(9 * classes);
        let dispatch = kernels::softmax::dispatch((9, classes), logits, out);
        let got = launch.run(device, dispatch, 1);
        assert_same(&format!("C = {classes}"), &got, &want, Tolerance::PROBABILITY);
    }
}

/// Logits of which many are level, rows with NaN, with infinities and with nothing else.
fn awkward_logits(rows: usize, classes: usize) -> Vec<f32> {
    let mut logits: Vec<f32> =
        normal(rows * classes, 1.0, 1).iter().map(|v| (2.0 * v).round() / 2.0).collect();
    let mut random = Random::new(9);
    for (r, row) in logits.chunks_mut(classes).enumerate() {
        let mut put = |value: f32| row[random.below(classes)] = value;
        match r % 8 {
            1 => [f32::NAN, -f32::NAN].map(&mut put).iter().for_each(drop),
            2 => [f32::INFINITY, f32::INFINITY, f32::NAN].map(&mut put).iter().for_each(drop),
            3 => [f32::INFINITY, f32::INFINITY].map(&mut put).iter().for_each(drop),
            4 => row.fill(f32::NEG_INFINITY),
            5 => row.iter_mut().for_each(|v| *v = if *v > 0.0 { 0.0 } else { -0.0 }),
            6 => row[classes - 1] = 100.0,
            _ => row.iter_mut().for_each(|v| *v -= 1e4),
        }
    }
    logits
}

pub fn argmax(device: &Device) {
    // The last has more workgroups than a grid has in one dimension here.
    let more = [(2, most_classes()), (64 * 32_768 + 65, 2)];
    for (rows, classes) in row_sizes().chain(more) {
        let logits = awkward_logits(rows, classes);
        let mut launch = Launch::new();
        let logits = launch.buffer(after(3, logits), 3);
        let out = launch.buffer(vec![POISON; 5 + rows + 1], 5);
        let dispatch = kernels::argmax::dispatch((rows, classes), logits, out);
        launch.check(device, dispatch, format!("R = {rows}, C = {classes}"));
    }
    // Said once without the twin.
    let row = |logits: &[f32], class: f32| {
        let mut launch = Launch::new();
        let given = launch.buffer(logits.to_vec(), 0);
        let out = launch.poisoned(1);
        let dispatch = kernels::argmax::dispatch((1, logits.len()), given, out);
        assert_eq!(launch.run(device, dispatch, 1), [class], "{logits:?}");
    };
    row(&[1.0, 3.0, 2.0, 3.0], 1.0);
    row(&[1.0, f32::INFINITY, f32::NAN, f32::NAN], 2.0);
    row(&[f32::NEG_INFINITY; 3], 0.0);
    row(&[-3.0, -0.0, 0.0], 1.0);
    row(&[-1e-40, 0.0, 1e-40], 2.0);
}

pub fn accuracy(device: &Device) {
    for (i, (rows, classes)) in row_sizes().enumerate() {
        let batch = [1, 3, 5, 64][i % 4].min(rows);
        let logits = awkward_logits(rows, classes);
        let mut best = vec![0.0f32; rows];
        reference::argmax(classes, &logits, &mut best);
        for flags in 0..8 {
            let [padded, ignores_a_class, weighted] = [1, 2, 4].map(|f| flags & f > 0);
            let ignored = if ignores_a_class { best[0] } else { -100.0 };
            // Right ones, wrong ones, and some that are no class.
            let target = |r: usize| match r % 5 {
                0..=2 => best[r],
                3 => (best[r] + 1.0) % classes as f32,
                _ => [classes as f32, -100.0, f32::NAN, best[r] + 0.5, -1.0][r / 5 % 5],
            };
            let targets = (0..rows).map(target).collect();
            let steps = rows.div_ceil(batch);
            let lengths = (0..batch).map(|b| (b * 7 % (steps + 3)) as f32 + 0.5).collect();
            let mut launch = Launch::new();
            let logits = launch.buffer(after(3, logits.clone()), 3);
            let targets = launch.buffer(after(1, targets), 1);
            let lengths = launch.buffer(after(2, lengths), 2);
            let weights = (0..rows).map(|r| [0.3, 0.0, 1.5][r % 3]).collect();
            let weights = weighted.then(|| launch.buffer(after(3, weights), 3));
            let correct = launch.buffer(vec![POISON; 5 + rows + 1], 5);
            let padding = Padding(padded.then_some(lengths));
            let operands =
                kernels::accuracy::Operands { logits, targets, padding, weights, correct };
            let first = 2 * batch + i % batch;
            let size = (batch, classes);
            let dispatch = kernels::accuracy::dispatch((first, rows), size, ignored, &operands);
            let what = format!("R = {rows}, B = {batch}, C = {classes}, flags {flags}");
            launch.check(device, dispatch, what);
        }
    }
}

/// Logits of yes or no: usual ones, level ones, far out, NaN.
fn logits_of_sides(len: usize) -> Vec<f32> {
    let mut logits = normal(len, 4.0, 1);
    let put = [0.0, -0.0, f32::NAN, 1e4, -1e4, f32::INFINITY, f32::NEG_INFINITY, 1e-30, -f32::NAN];
    for (i, logit) in logits.iter_mut().enumerate().skip(2).step_by(5) {
        *logit = put[i / 5 % put.len()];
    }
    logits
}

/// Puts 1 where both are the same infinity, of which a difference says nothing.
fn settled(got: &mut [f32], want: &mut [f64]) {
    for (got, want) in got.iter_mut().zip(want) {
        if want.is_infinite() && f64::from(*got) == *want {
            (*got, *want) = (1.0, 1.0);
        }
    }
}

pub fn nonlinearity(device: &Device) {
    // The last has more workgroups than a grid has in one dimension here.
    for len in SIZES.into_iter().chain([1000, 256 * 32_768 + 65]) {
        let logits = logits_of_sides(len);
        // The longest has every workgroup; one function and the answers are enough there.
        let all = if len > 100_000 { &[Nonlinearity::Sigmoid][..] } else { &Nonlinearity::ALL };
        for f in all.iter().copied().map(Some).chain([None]) {
            let mut launch = Launch::new();
            let given = launch.buffer(after(3, logits.clone()), 3);
            let out = launch.buffer(vec![POISON; 5 + len + 1], 5);
            let dispatch = kernels::nonlinearity::dispatch(len, f, given, out);
            if f.is_none() {
                launch.check(device, dispatch, format!("N = {len}, decided"));
                continue;
            }
            let tolerance = gatefold::kernels::table()[kernels::NONLINEARITY].tolerance;
            let tolerance = tolerance(&dispatch);
            let mut got = launch.run(device, dispatch, 1);
            assert!(got[..5].iter().chain(&got[5 + len..]).all(|&v| v == POISON), "N = {len}");
            let mut want = vec![0.0; len];
            reference::nonlinearity(f, &wide(&logits), &mut want);
            settled(&mut got[5..][..len], &mut want);
            assert_same(&format!("{f:?}, N = {len}"), &got[5..][..len], &want, tolerance);
        }
    }
    // Said once without the twin: PyTorch 2.15's numbers.
    let x = [7.31, -8.23, 0.0, f32::NAN, -0.5];
    let run = |f: Option<Nonlinearity>| {
        let mut launch = Launch::new();
        let given = launch.buffer(x.to_vec(), 0);
        let out = launch.poisoned(x.len());
        launch.run(device, kernels::nonlinearity::dispatch(x.len(), f, given, out), 1)
    };
    assert_eq!(run(None), [1.0, 0.0, 0.0, 0.0, 0.0]);
    for (f, want) in [
        (Nonlinearity::Relu, [7.31, 0.0, 0.0, 0.0]),
        (Nonlinearity::LeakyRelu, [7.31, -0.0823, 0.0, -0.005]),
        (Nonlinearity::Elu, [7.31, -0.999_733_5, 0.0, -0.393_469_34]),
        (Nonlinearity::Silu, [7.305_114, -0.002_192_93, 0.0, -0.188_770_33]),
        (Nonlinearity::Tanh, [0.999_999_1, -0.999_999_86, 0.0, -0.462_117_16]),
        (Nonlinearity::Sigmoid, [0.999_331_6, 0.000_266_456, 0.5, 0.377_540_68]),
    ] {
        let mut got = run(Some(f));
        assert!(got.remove(3).is_nan(), "{f}");
        let tolerance = Tolerance::Mixed { absolute: 1e-6, relative: 1e-5 };
        assert_close(f.name(), &got, &want, tolerance);
    }
}

pub fn nonlinearity_backward(device: &Device) {
    for len in SIZES.into_iter().chain([1000]) {
        let (x, d) = (logits_of_sides(len), normal(len, 1.0, 2));
        for f in Nonlinearity::ALL {
            let mut launch = Launch::new();
            let given = launch.buffer(after(3, x.clone()), 3);
            let gradient = launch.buffer(after(2, d.clone()), 2);
            let dispatch = kernels::nonlinearity_backward::dispatch(len, f, given, gradient);
            let mut got = launch.run(device, dispatch, 1);
            let mut want = wide(&d);
            reference::nonlinearity_backward(f, &wide(&x), &mut want);
            settled(&mut got[2..], &mut want);
            let largest = d.iter().fold(0.0, |most: f64, d| most.max(f64::from(d.abs())));
            let tolerance = Tolerance::NONLINEARITY.scaled(largest);
            assert_same(&format!("{f}, N = {len}"), &got[2..], &want, tolerance);
        }
    }
    // Slopes against central differences of the values, apart from the edges.
    for f in Nonlinearity::ALL {
        for x in [-3.1f64, -0.7, -1e-3, 1e-3, 0.4, 2.9] {
            let eps = 1e-5;
            let difference = (f.value(x + eps) - f.value(x - eps)) / (2.0 * eps);
            assert!((f.slope(x) - difference).abs() < 1e-6, "{f} at {x}");
        }
        // At an edge the slope from below.
        let at_zero: f64 = f.slope(0.0);
        let below = (f.value(0.0) - f.value(-1e-9)) / 1e-9;
        assert!((at_zero - below).abs() < 1e-6, "{f}: {at_zero}, {below}");
    }
}

pub fn binary_accuracy(device: &Device) {
    for (i, len) in SIZES.into_iter().chain([1000]).enumerate() {
        let (batch, width, first) = (1 + i % 5, 1 + i % 3, i % 7);
        let steps = (first + len).div_ceil(batch * width);
        for flags in 0..4 {
            let [padded, weighted] = [1, 2].map(|f| flags & f > 0);
            let targets = [0.0, 1.0, 0.5, 0.7, 1.0, f32::NAN, 0.2];
            let targets = (0..len).map(|n| targets[n % targets.len()]).collect();
            let mut launch = Launch::new();
            let logits = launch.buffer(after(3, logits_of_sides(len)), 3);
            let targets = launch.buffer(after(1, targets), 1);
            let lengths = (0..batch).map(|b| (b * 7 % (steps + 3)) as f32 + 0.5).collect();
            let lengths = launch.buffer(after(2, lengths), 2);
            let rows = (first % width + len).div_ceil(width);
            let weights = (0..rows).map(|r| [0.3, 0.0, 1.5][r % 3]).collect();
            let weights = launch.buffer(after(4, weights), 4);
            let operands = kernels::binary_accuracy::Operands {
                logits,
                targets,
                padding: Padding(padded.then_some(lengths)),
                weights: weighted.then_some(weights),
                correct: launch.buffer(vec![POISON; 5 + len + 1], 5),
            };
            let (part, size) = ((first, len), (batch, width));
            let dispatch = kernels::binary_accuracy::dispatch(part, size, &operands);
            launch.check(device, dispatch, format!("N = {len}, flags {flags}"));
        }
    }
    // Said once without the twin.
    let mut launch = Launch::new();
    let operands = kernels::binary_accuracy::Operands {
        logits: launch.buffer(vec![2.0, -2.0, 2.0, -2.0, 0.0, f32::NAN], 0),
        targets: launch.buffer(vec![1.0, 1.0, 0.0, 0.0, 0.5, 0.0], 0),
        padding: Padding(None),
        weights: Some(launch.buffer(vec![2.0, 1.0, 1.0, 0.5, 0.0, 1.0], 0)),
        correct: launch.poisoned(6),
    };
    let dispatch = kernels::binary_accuracy::dispatch((0, 6), (6, 1), &operands);
    assert_eq!(launch.run(device, dispatch, 3), [2.0, 0.0, 0.0, 0.5, 0.0, 0.0]);
}
