//! Training against the f64 reference: every kind of model, pieces of sequences, batches in parts.

use std::collections::HashMap;
use std::ops::Range;

use gatefold::command::Tier;
use gatefold::data::Batch;
use gatefold::reference::sequence::{self, LayerWeights};
use gatefold::reference::{Tolerance, sigmoid};
use gatefold::train::{Adam, Loss, Sgd, Trainer, gradients};
use gatefold::{Array, Dataset, Device, Error, Forecaster, Init, LstmConfig, Readout};

use super::models::{gradient_of, stack};
use super::random::{Random, normal};
use super::{assert_close, wide};

/// A loss from its definition.
#[derive(Clone, Debug)]
enum Plain {
    Squared,
    Absolute,
    Huber(f64),
    Smooth(f64),
    Binary,
    Classes { weights: Option<Vec<f32>>, smoothing: f64, ignored: f32 },
}

impl Plain {
    fn loss(&self) -> Loss {
        match self {
            Plain::Squared => Loss::mse(),
            Plain::Absolute => Loss::l1(),
            Plain::Huber(delta) => Loss::huber(*delta as f32),
            Plain::Smooth(beta) => Loss::smooth_l1(*beta as f32),
            Plain::Binary => Loss::bce_with_logits(),
            Plain::Classes { weights, smoothing, ignored } => {
                let loss = Loss::cross_entropy().label_smoothing(*smoothing as f32);
                let loss = loss.ignore_index(*ignored as i64);
                match weights {
                    Some(weights) => loss.class_weights(weights.clone()),
                    None => loss,
                }
            }
        }
    }

    fn of_classes(&self) -> bool {
        matches!(self, Plain::Classes { .. })
    }

    /// The sum of the losses of one prediction, how much it counts, and the gradient.
    fn of(&self, y: &[f64], target: &[f32]) -> (f64, f64, Vec<f64>) {
        if let Plain::Classes { weights, smoothing, ignored } = self {
            if target[0] == *ignored {
                return (0.0, 0.0, vec![0.0; y.len()]);
            }
            let most = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = y.iter().map(|v| (v - most).exp()).sum();
            let log: Vec<f64> = y.iter().map(|v| v - most - sum.ln()).collect();
            let weight = |c: usize| weights.as_ref().map_or(1.0, |w| f64::from(w[c]));
            let class = target[0] as usize;
            let share = |c: usize| {
                let own = if c == class { 1.0 - smoothing } else { 0.0 };
                weight(c) * (own + smoothing / y.len() as f64)
            };
            let all: f64 = (0..y.len()).map(share).sum();
            let loss = (0..y.len()).map(|c| -share(c) * log[c]).sum();
            let gradient = (0..y.len()).map(|c| all * log[c].exp() - share(c)).collect();
            return (loss, weight(class), gradient);
        }
        let (mut loss, mut gradient) = (0.0, Vec::new());
        for (&y, &target) in y.iter().zip(target) {
            let target = f64::from(target);
            let d = y - target;
            let (value, slope) = match *self {
                Plain::Squared => (d * d, 2.0 * d),
                Plain::Absolute => (d.abs(), d.signum()),
                Plain::Huber(delta) if d.abs() <= delta => (d * d / 2.0, d),
                Plain::Huber(delta) => (delta * (d.abs() - delta / 2.0), delta * d.signum()),
                Plain::Smooth(beta) if d.abs() < beta => (d * d / (2.0 * beta), d / beta),
                Plain::Smooth(beta) => (d.abs() - beta / 2.0, d.signum()),
                _ => ((1.0 + (-y).exp()).ln() + (1.0 - target) * y, sigmoid(y) - target),
            };
            loss += value;
            gradient.push(slope);
        }
        (loss, y.len() as f64, gradient)
    }
}

type Dict = Vec<(String, Array)>;

fn find<'a>(dict: &'a Dict, name: &str) -> Option<&'a Array> {
    dict.iter().find(|(n, _)| n == name).map(|(_, array)| array)
}

/// What is known of a model beside its parameters.
#[derive(Clone, Debug)]
struct Kind {
    readout: Readout,
    one_hot: bool,
    loss: Plain,
}

/// What one pass comes to: sums, not means.
struct Pass {
    loss: f64,
    weight: f64,
    gradients: HashMap<String, Vec<f64>>,
    h_n: Vec<f64>,
    c_n: Vec<f64>,
}

/// Hidden and cell states of all layers.
type States = (Vec<f64>, Vec<f64>);

/// The model's own initial states.
fn own_states(dict: &Dict, rows: usize) -> States {
    let weights = stack(dict, "lstm.", gatefold::Cell::new());
    let of = |name: &str, width: fn(&LayerWeights<f64>) -> usize| -> Vec<f64> {
        let zeros = vec![0.0; weights.iter().flatten().map(width).sum()];
        let own = find(dict, name).map_or(zeros, |array| wide(array.data()));
        own.chunks(width(&weights[0][0])).flat_map(|state| state.repeat(rows)).collect()
    };
    (of("lstm.h_0", LayerWeights::output), of("lstm.c_0", |w| w.hidden))
}

/// Loss and gradients over some timesteps of all rows of a data set, by the equations.
fn pass(dict: &Dict, kind: &Kind, data: &Dataset, steps: Range<usize>, from: &States) -> Pass {
    let weights = stack(dict, "lstm.", gatefold::Cell::new());
    let (rows, all, count) = (data.len(), data.steps(), steps.len());
    let length = |b: usize| data.length(b).clamp(steps.start, steps.end) - steps.start;
    let lengths: Vec<usize> = (0..rows).map(length).collect();
    let input = weights[0][0].input;
    let x = data.x().data();
    let tokens = data.x().shape().len() == 2;
    let table = find(dict, "embedding.weight");
    let token = |t: usize, b: usize| x[b * all + steps.start + t] as usize;
    let mut time_major = Vec::new();
    for t in 0..count {
        for b in 0..rows {
            match (tokens, table) {
                (true, _) if t >= lengths[b] => time_major.extend(vec![0.0; input]),
                (true, Some(table)) => {
                    time_major.extend(wide(&table.data()[token(t, b) * input..][..input]));
                }
                (true, None) => {
                    assert!(kind.one_hot);
                    time_major.extend((0..input).map(|i| f64::from(u8::from(i == token(t, b)))));
                }
                _ => time_major.extend(wide(&x[(b * all + steps.start + t) * input..][..input])),
            }
        }
    }
    let batch = sequence::Batch { rows, lengths: Some(&lengths), masks: &[], drawn: &[] };
    let trace = sequence::forward(&weights, &batch, &time_major, &from.0, &from.1);

    let [w, bias] = ["fc.weight", "fc.bias"].map(|name| wide(find(dict, name).unwrap().data()));
    let (outputs, features) = (bias.len(), w.len() / bias.len());
    let y = data.y().data();
    let width = if kind.loss.of_classes() { 1 } else { outputs };
    let mut out = Pass {
        loss: 0.0,
        weight: 0.0,
        gradients: HashMap::new(),
        h_n: trace.h_n.clone(),
        c_n: trace.c_n.clone(),
    };
    let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; outputs]);
    let (every_step, read) =
        (kind.readout == Readout::EveryStep, kind.readout.read(&trace, &batch));
    let mut d_read = vec![0.0; read.len()];
    for (b, &length) in lengths.iter().enumerate() {
        for t in 0..if every_step { length } else { 1 } {
            let at = (t * rows + b) * features;
            let answer: Vec<f64> = (0..outputs)
                .map(|o| (0..features).map(|k| read[at + k] * w[o * features + k]).sum::<f64>())
                .zip(&bias)
                .map(|(sum, bias)| sum + bias)
                .collect();
            let first = if every_step { b * all + steps.start + t } else { b };
            let own = f64::from(data.weight(b, if every_step { steps.start + t } else { 0 }));
            if own == 0.0 {
                continue;
            }
            let (loss, weight, mut d) = kind.loss.of(&answer, &y[first * width..][..width]);
            (out.loss, out.weight) = (out.loss + own * loss, out.weight + own * weight);
            d.iter_mut().for_each(|d| *d *= own);
            for o in 0..outputs {
                db[o] += d[o];
                for k in 0..features {
                    dw[o * features + k] += d[o] * read[at + k];
                    d_read[at + k] += d[o] * w[o * features + k];
                }
            }
        }
    }
    let (dy, dh) = kind.readout.backward(&trace, &batch, &d_read);
    let dc = vec![0.0; from.1.len()];
    let back = sequence::backward(&weights, &batch, &trace, &dy, &dh, &dc);
    let over_rows = |states: &[f64], width: usize| -> Vec<f64> {
        let each = states.chunks(rows * width);
        each.flat_map(|of| (0..width).map(|k| of.iter().skip(k).step_by(width).sum())).collect()
    };
    for (name, array) in dict {
        let gradient = match name.as_str() {
            "fc.weight" => dw.clone(),
            "fc.bias" => db.clone(),
            "lstm.h_0" => over_rows(&back.h_0, weights[0][0].output()),
            "lstm.c_0" => over_rows(&back.c_0, weights[0][0].hidden),
            "embedding.weight" => {
                let mut sums = vec![0.0; array.data().len()];
                for (t, b) in (0..count).flat_map(|t| (0..rows).map(move |b| (t, b))) {
                    if t < lengths[b] {
                        let from = &back.x[(t * rows + b) * input..][..input];
                        let to = &mut sums[token(t, b) * input..][..input];
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    }
                }
                sums
            }
            _ => gradient_of(&back.layers, "lstm.", name).to_vec(),
        };
        out.gradients.insert(name.clone(), gradient);
    }
    out
}

fn classes(shape: &[usize], count: usize, ignored: Option<f32>, seed: u64) -> Array {
    let mut random = Random::new(seed);
    let mut class = || match (random.below(5), ignored) {
        (0, Some(ignored)) => ignored,
        _ => random.below(count) as f32,
    };
    Array::new((0..shape.iter().product()).map(|_| class()).collect(), shape).unwrap()
}

fn values(shape: &[usize], std: f32, seed: u64) -> Array {
    Array::new(normal(shape.iter().product(), std, seed), shape).unwrap()
}

/// Targets of a loss for so many outputs.
fn targets(kind: &Kind, rows: usize, steps: usize, outputs: usize, seed: u64) -> Array {
    let mut shape = if kind.readout == Readout::EveryStep { vec![rows, steps] } else { vec![rows] };
    match &kind.loss {
        Plain::Classes { ignored, .. } => classes(&shape, outputs, Some(*ignored), seed),
        loss => {
            shape.push(outputs);
            let y = values(&shape, 1.0, seed);
            match loss {
                Plain::Binary => {
                    let y = y.data().iter().map(|v| (0.5 + 0.4 * v).clamp(0.0, 1.0)).collect();
                    Array::new(y, &shape).unwrap()
                }
                _ => y,
            }
        }
    }
}

/// Weights of sequences, or of timesteps, some of which are gaps; what stands there is no target.
fn with_gaps(data: Dataset, of_steps: bool, seed: usize) -> Dataset {
    let (rows, steps) = (data.len(), data.steps());
    let shape = if of_steps { vec![rows, steps] } else { vec![rows] };
    let len: usize = shape.iter().product();
    let weights: Vec<f32> = (0..len).map(|n| [1.5, 0.0, 1.0, 0.25, 3.0][(n + seed) % 5]).collect();
    let each = data.y().data().len() / len;
    let mut y = data.y().data().to_vec();
    for (n, of) in y.chunks_exact_mut(each).enumerate().filter(|(n, _)| weights[*n] == 0.0) {
        of.fill([f32::NAN, -7.5, f32::INFINITY][n % 3]);
    }
    let y = Array::new(y, data.y().shape()).unwrap();
    let gaps = Dataset::new(data.x().clone(), y).unwrap();
    gaps.with_weights(Array::new(weights, &shape).unwrap()).unwrap()
}

/// What heads read, lengths, directions, projections, learned states: all combinations, with encodings,
/// losses and weights by turns.
pub fn every_combination_equals_the_reference(device: &Device) {
    let weights = vec![0.5, 1.0, 2.5];
    let losses = [
        Plain::Squared,
        Plain::Absolute,
        Plain::Classes { weights: None, smoothing: 0.0, ignored: -100.0 },
        Plain::Huber(0.6),
        Plain::Classes { weights: Some(weights.clone()), smoothing: 0.2, ignored: 1.0 },
        Plain::Smooth(0.4),
        Plain::Classes { weights: Some(weights), smoothing: 0.0, ignored: -1.0 },
        Plain::Binary,
    ];
    let (rows, steps, input, outputs) = (4, 5, 3, 3);
    for i in 0..96usize {
        let [lengths, both, projected, learned] = [1, 2, 4, 8].map(|f| i & f > 0);
        let (encoding, readout) = (i % 3, Readout::ALL[(i + i / 16) % 5]);
        let kind = Kind { readout, one_hot: encoding == 1, loss: losses[(i + i / 8) % 8].clone() };
        let config = LstmConfig::new(input, 4)
            .layers(1 + i % 7 / 4)
            .bidirectional(both)
            .proj_size(if projected { 2 } else { 0 })
            .learned_state(learned)
            .readout(readout)
            .seed(i as u64)
            .init("lstm", Init::Normal { mean: 0.0, std: 0.7 });
        let vocabulary = [0, input, 6][encoding];
        let config = match encoding {
            0 => config,
            1 => config.one_hot(),
            _ => config.embedding(vocabulary),
        };
        let model = Forecaster::new(device, config, outputs).unwrap();
        let x = match encoding {
            0 => values(&[rows, steps, input], 1.0, 1),
            _ => classes(&[rows, steps], vocabulary, None, 1),
        };
        let data = Dataset::new(x, targets(&kind, rows, steps, outputs, i as u64)).unwrap();
        let data = match i / 5 % 3 {
            0 => data,
            turn => with_gaps(data, turn == 1 && readout == Readout::EveryStep, i),
        };
        let of_rows = [[3, 5, 1, 4], [0, 5, 3, 0]][i / 2 % 2];
        let data = if lengths { data.with_lengths(&of_rows).unwrap() } else { data };
        let dict = model.state_dict().unwrap();
        let want = pass(&dict, &kind, &data, 0..steps, &own_states(&dict, rows));
        for (loss, scale) in [(kind.loss.loss(), want.weight), (kind.loss.loss().sum(), 1.0)] {
            let what = format!("{i}: {kind:?}, {loss:?}");
            assert!(scale > 0.0, "{what}: nothing counts");
            let got = gradients(&model, &data, &loss).unwrap();
            assert_close(&what, &[got.loss], &[want.loss / scale], Tolerance::LOSS);
            assert_eq!(got.parameters.len(), dict.len());
            for (name, array) in got.parameters {
                let want: Vec<f64> = want.gradients[&name].iter().map(|g| g / scale).collect();
                let tolerance = Tolerance::gradient(&want);
                assert_close(&format!("{what}: {name}"), array.data(), &want, tolerance);
            }
        }
    }
}

/// Rows without timesteps and gaps, in every tier that takes a model.
pub fn gaps_and_empty_rows_in_every_tier(device: &Device) {
    let (rows, steps) = (5, 6);
    let tiers = [None, Some(Tier::Step), Some(Tier::Sequence), Some(Tier::Wavefront)];
    for readout in Readout::ALL {
        for both in [false, true] {
            let loss = Plain::Classes { weights: None, smoothing: 0.1, ignored: -100.0 };
            let kind = Kind { readout, one_hot: false, loss };
            let config = LstmConfig::new(3, 8).layers(2).bidirectional(both).learned_state(true);
            let config = config.readout(readout).init("lstm", Init::Uniform { bound: 0.8 });
            let dict = Forecaster::new(device, config.clone(), 3).unwrap().state_dict().unwrap();
            let data =
                Dataset::new(values(&[rows, steps, 3], 1.0, 1), targets(&kind, rows, steps, 3, 2));
            let data = with_gaps(data.unwrap(), readout == Readout::EveryStep, 0);
            let data = data.with_lengths(&[0, 3, 0, 6, 1]).unwrap();
            let want = pass(&dict, &kind, &data, 0..steps, &own_states(&dict, rows));
            let mut ran = 0;
            for tier in tiers {
                let device = match tier {
                    None => device.clone(),
                    Some(tier) => device.clone().with_tier(tier),
                };
                let mut model = Forecaster::new(&device, config.clone(), 3).unwrap();
                model.load_state_dict(&dict).unwrap();
                let what = format!("{readout:?}, both directions {both}, {tier:?}");
                let got = match gradients(&model, &data, &kind.loss.loss()) {
                    Err(Error::Value { name, .. }) if name == "tier" => continue,
                    got => got.unwrap(),
                };
                ran += 1;
                let mean = want.loss / want.weight;
                assert_close(&what, &[got.loss], &[mean], Tolerance::LOSS);
                for (name, array) in got.parameters {
                    let all = want.gradients[&name].iter();
                    let want: Vec<f64> = all.map(|g| g / want.weight).collect();
                    let tolerance = Tolerance::gradient(&want);
                    assert_close(&format!("{what}: {name}"), array.data(), &want, tolerance);
                }
            }
            assert!(ran >= 3, "{readout:?}: {ran} tiers");
        }
    }
}

/// A batch in which no row has a timestep: predictions of the initial states, whose gradient reaches these
/// and the head.
pub fn empty_rows_are_their_initial_state(device: &Device) {
    for (both, learned) in [(false, false), (false, true), (true, false), (true, true)] {
        let config = LstmConfig::new(2, 3).layers(2).bidirectional(both).learned_state(learned);
        let config = config.init("fc", Init::Uniform { bound: 2.0 });
        let config = config.init("lstm", Init::Uniform { bound: 1.0 });
        let model = Forecaster::new(device, config, 2).unwrap();
        let dict = model.state_dict().unwrap();
        let fc = |name: &str| wide(find(&dict, name).unwrap().data());
        let (w, bias) = (fc("fc.weight"), fc("fc.bias"));
        // The top layer's, of both directions.
        let features = w.len() / 2;
        let states = find(&dict, "lstm.h_0").map(|array| wide(array.data()));
        let h = states.map_or(vec![0.0; features], |all| all[all.len() - features..].to_vec());
        let dot = |o: usize| w[o * features..][..features].iter().zip(&h).map(|(w, h)| w * h);
        let want: Vec<f64> = (0..2).map(|o| dot(o).sum::<f64>() + bias[o]).collect();

        let x = values(&[3, 4, 2], 1.0, 1);
        let y = model.predict((&x, &[0, 4, 0])).unwrap();
        for row in [0, 2] {
            assert_close("prediction", &y.data()[2 * row..][..2], &want, Tolerance::OUTPUT);
        }
        let data = Dataset::new(x, values(&[3, 2], 1.0, 2)).unwrap().with_lengths(&[0; 3]).unwrap();
        let got = gradients(&model, &data, &Loss::mse()).unwrap();
        let goals = wide(data.y().data());
        let errors = goals.iter().zip(want.iter().cycle()).map(|(y, p)| (p - y) * (p - y));
        assert_close("loss", &[got.loss], &[errors.sum::<f64>() / 6.0], Tolerance::LOSS);
        for (name, gradient) in &got.parameters {
            let moved = gradient.data().iter().any(|&v| v != 0.0);
            let reached = match name.as_str() {
                "fc.weight" => learned,
                "fc.bias" | "lstm.h_0" => true,
                _ => false,
            };
            assert_eq!(moved, reached, "{name}, both directions {both}");
        }
        let mut trainer = Trainer::new(model, Loss::mse(), Sgd::new(0.1)).epochs(1);
        assert_close(
            "evaluated",
            &[trainer.evaluate(&data).unwrap()],
            &[got.loss.into()],
            Tolerance::LOSS,
        );
        let report = trainer.fit(&data, None, |_| ()).unwrap();
        assert_eq!(report.step_losses, [got.loss]);
        for ((name, after), (_, before)) in trainer.model().state_dict().unwrap().iter().zip(&dict)
        {
            let reached = ["fc.bias", "lstm.h_0"].contains(&name.as_str());
            assert!(!reached || after != before, "{name}");
        }
    }
}

/// One step of plain gradient descent.
fn descend(dict: &mut Dict, gradients: &HashMap<String, Vec<f64>>, rate: f64) {
    for (name, array) in dict {
        let moved = array.data().iter().zip(&gradients[name]);
        let moved = moved.map(|(&p, g)| (f64::from(p) - rate * g) as f32).collect();
        *array = Array::new(moved, array.shape()).unwrap();
    }
}

/// Trained weights within 1e-4 of the largest in the tensor, after steps that have moved them by more.
fn same_weights(model: &Forecaster, want: &Dict) {
    for (name, array) in model.state_dict().unwrap() {
        let want = wide(find(want, &name).unwrap().data());
        assert_close(&name, array.data(), &want, Tolerance::gradient(&want));
    }
}

/// Pieces of sequences, the states' values carried on by hand and their gradients not.
pub fn truncation_detaches_states(device: &Device) {
    let (rows, steps, rate) = (4, 11, 0.5);
    for (learned, layers, lengths) in [(false, 1, false), (true, 2, true)] {
        let kind = Kind { readout: Readout::EveryStep, one_hot: false, loss: Plain::Squared };
        let config = LstmConfig::new(3, 5).layers(layers).learned_state(learned);
        let config = config.init("lstm", Init::Normal { mean: 0.0, std: 0.6 });
        let model = Forecaster::every_step(device, config, 2).unwrap();
        let y = targets(&kind, rows, steps, 2, 2);
        let data = Dataset::new(values(&[rows, steps, 3], 1.0, 1), y).unwrap();
        let data = match lengths {
            true => with_gaps(data, true, 1).with_lengths(&[11, 0, 7, 4]).unwrap(),
            false => data,
        };
        let mut dict = model.state_dict().unwrap();
        let mut losses = Vec::new();
        for _ in 0..2 {
            let mut states = own_states(&dict, rows);
            for start in (0..steps).step_by(4) {
                let piece = start..steps.min(start + 4);
                let mut got = pass(&dict, &kind, &data, piece, &states);
                if start > 0 {
                    // States that were carried have no gradient.
                    for name in ["lstm.h_0", "lstm.c_0"] {
                        if let Some(gradient) = got.gradients.get_mut(name) {
                            gradient.fill(0.0);
                        }
                    }
                }
                losses.push(got.loss / got.weight);
                descend(&mut dict, &got.gradients, rate / got.weight);
                states = (got.h_n, got.c_n);
            }
        }
        let trainer = Trainer::new(model, Loss::mse(), Sgd::new(rate)).batch_size(rows);
        let mut trainer = trainer.truncate(4).epochs(2);
        let report = trainer.fit(&data, None, |_| ()).unwrap();
        assert_close("losses", &report.step_losses, &losses, Tolerance::LOSS);
        same_weights(trainer.model(), &dict);
    }
}

/// Batches whose rows go on or begin anew, each as it says.
pub fn streams_detach_states(device: &Device) {
    let (rows, steps, rate) = (3, 4, 0.5);
    let goes_on =
        [[false; 3], [true, false, true], [true, true, false], [false; 3], [true, true, true]];
    for learned in [false, true] {
        let kind = Kind { readout: Readout::EveryStep, one_hot: false, loss: Plain::Squared };
        let config = LstmConfig::new(2, 5).learned_state(learned);
        let config = config.init("lstm", Init::Normal { mean: 0.0, std: 0.6 });
        let model = Forecaster::every_step(device, config, 2).unwrap();
        let data = |i: usize| {
            let y = targets(&kind, rows, steps, 2, 50 + i as u64);
            Dataset::new(values(&[rows, steps, 2], 1.0, i as u64), y).unwrap()
        };
        let mut dict = model.state_dict().unwrap();
        let (mut losses, mut states) = (Vec::new(), own_states(&dict, rows));
        for (i, goes_on) in goes_on.iter().enumerate() {
            let own = own_states(&dict, rows);
            for (to, own, width) in [(&mut states.0, &own.0, 5), (&mut states.1, &own.1, 5)] {
                for row in (0..rows).filter(|&row| !goes_on[row]) {
                    to[row * width..][..width].copy_from_slice(&own[row * width..][..width]);
                }
            }
            // The gradient of a learned state is that of the rows that begin with it; rows don't
            // touch, so it is that of a batch in which the others count nothing.
            let whole = pass(&dict, &kind, &data(i), 0..steps, &states);
            let mut gradients = whole.gradients;
            if learned {
                for name in ["lstm.h_0", "lstm.c_0"] {
                    let mut sums = vec![0.0; 5];
                    for row in (0..rows).filter(|&row| !goes_on[row]) {
                        let of_row = |states: &[f64]| states[row * 5..][..5].to_vec();
                        let state = (of_row(&states.0), of_row(&states.1));
                        let one = row_of(&data(i), row);
                        let got = pass(&dict, &kind, &one, 0..steps, &state);
                        sums.iter_mut().zip(&got.gradients[name]).for_each(|(s, g)| *s += g);
                    }
                    gradients.insert(name.to_owned(), sums);
                }
            }
            losses.push(whole.loss / whole.weight);
            descend(&mut dict, &gradients, rate / whole.weight);
            states = (whole.h_n, whole.c_n);
        }
        let batches = |_: usize| {
            let batch = |(i, goes_on): (usize, &[bool; 3])| Batch::from(data(i)).continues(goes_on);
            goes_on.iter().enumerate().map(batch).collect::<Vec<_>>()
        };
        let mut trainer = Trainer::new(model, Loss::mse(), Sgd::new(rate)).epochs(1);
        let report = trainer.fit_batches(batches, None, |_| ()).unwrap();
        assert_close("losses", &report.step_losses, &losses, Tolerance::LOSS);
        same_weights(trainer.model(), &dict);
    }
}

/// One row of a data set, without its length.
fn row_of(data: &Dataset, row: usize) -> Dataset {
    let part = |array: &Array| {
        let each = array.data().len() / data.len();
        let mut shape = array.shape().to_vec();
        shape[0] = 1;
        Array::new(array.data()[row * each..][..each].to_vec(), &shape).unwrap()
    };
    Dataset::new(part(data.x()), part(data.y())).unwrap()
}

/// Parts of a batch, some of which count little or nothing, step as the whole batch does, twice.
pub fn accumulation_is_one_batch(device: &Device) {
    let (rows, steps) = (11, 4);
    let classes =
        Plain::Classes { weights: Some(vec![0.2, 1.0, 4.0]), smoothing: 0.1, ignored: -100.0 };
    for (every_step, loss) in
        [(true, classes.clone()), (false, classes), (true, Plain::Squared), (false, Plain::Binary)]
    {
        let readout = if every_step { Readout::EveryStep } else { Readout::FinalStates };
        let kind = Kind { readout, one_hot: false, loss };
        let mut y = targets(&kind, rows, steps, 3, 3);
        if kind.loss.of_classes() {
            // Rows 3 to 5, the second part, are ignored.
            let each = if every_step { steps } else { 1 };
            let mut values = y.data().to_vec();
            values[3 * each..6 * each].fill(-100.0);
            y = Array::new(values, y.shape()).unwrap();
        }
        let data = Dataset::new(values(&[rows, steps, 2], 1.0, 1), y).unwrap();
        let data = with_gaps(data, every_step, 3);
        let data = data.with_lengths(&[4, 1, 3, 2, 4, 1, 0, 1, 4, 2, 3]).unwrap();
        for reduction in [Loss::clone, |loss: &Loss| loss.clone().sum()] {
            let loss = reduction(&kind.loss.loss());
            let start = || {
                let config = LstmConfig::new(2, 5).init("lstm", Init::Uniform { bound: 0.8 });
                let model = match every_step {
                    true => Forecaster::every_step(device, config, 3),
                    false => Forecaster::new(device, config, 3),
                };
                Trainer::new(model.unwrap(), loss.clone(), Sgd::new(0.1)).epochs(2)
            };
            let before = start().model().state_dict().unwrap();
            let mut whole = start().batch_size(rows);
            let want = whole.fit(&data, None, |_| ()).unwrap().step_losses;
            let mut parts = start().batch_size(3).accumulate(4);
            let got = parts.fit(&data, None, |_| ()).unwrap().step_losses;
            let close = Tolerance::Mixed { absolute: 0.0, relative: 1e-6 };
            assert_close("loss", &got, &wide(&want), close);
            let [whole, parts] = [&whole, &parts].map(|t| t.model().state_dict().unwrap());
            for ((name, before), ((_, whole), (_, parts))) in
                before.iter().zip(whole.iter().zip(&parts))
            {
                let moved = |after: &Array| -> Vec<f32> {
                    after.data().iter().zip(before.data()).map(|(a, b)| a - b).collect()
                };
                let (want, got) = (wide(&moved(whole)), moved(parts));
                let most = want.iter().fold(0.0f64, |most, v| most.max(v.abs()));
                assert!(most > 0.0, "{name}");
                // Differences of weights of about 1 are rounded to 6e-8.
                let tolerance = Tolerance::Mixed { absolute: 1.2e-7 + 1e-5 * most, relative: 0.0 };
                assert_close(&format!("{kind:?}: {name}"), &got, &want, tolerance);
            }
        }
    }
}

/// The loss is that of the definition, in pieces too, and over more rows than are run at a time.
pub fn evaluation_takes_pieces(device: &Device) {
    let (steps, outputs) = (7, 3);
    let weights = Some(vec![0.5, 1.0, 2.0]);
    let classes = Plain::Classes { weights, smoothing: 0.1, ignored: 2.0 };
    let losses = [(false, Plain::Squared), (true, Plain::Squared), (false, classes.clone())];
    let losses =
        losses.into_iter().chain([(true, classes), (false, Plain::Binary), (true, Plain::Binary)]);
    for (weighted, loss) in losses {
        let kind = Kind { readout: Readout::EveryStep, one_hot: false, loss };
        for rows in [5, 1030] {
            let config = LstmConfig::new(2, 3).init("lstm", Init::Uniform { bound: 1.0 });
            let model = Forecaster::every_step(device, config, outputs).unwrap();
            let dict = model.state_dict().unwrap();
            let y = targets(&kind, rows, steps, outputs, 4);
            let lengths: Vec<usize> = (0..rows).map(|row| row * 5 % (steps + 1)).collect();
            let data = Dataset::new(values(&[rows, steps, 2], 1.0, 1), y).unwrap();
            let data = if weighted { with_gaps(data, true, 2) } else { data };
            let data = data.with_lengths(&lengths).unwrap();
            let want = pass(&dict, &kind, &data, 0..steps, &own_states(&dict, rows));
            for (loss, want) in
                [(kind.loss.loss(), want.loss / want.weight), (kind.loss.loss().sum(), want.loss)]
            {
                let trainer = |model| Trainer::new(model, loss.clone(), Adam::new(0.1));
                let whole = trainer(from(device, &dict));
                let pieces = trainer(from(device, &dict)).truncate(3);
                let close = Tolerance::Mixed { absolute: 0.0, relative: 1e-6 };
                let (all, cut) = (whole.evaluate(&data).unwrap(), pieces.evaluate(&data).unwrap());
                assert_close("whole", &[all], &[want], Tolerance::LOSS);
                assert_close("pieces", &[cut], &[all.into()], close);
                if matches!(kind.loss, Plain::Squared) {
                    continue;
                }
                // Of each answer that counts, how much, and whether it is right.
                let binary = !kind.loss.of_classes();
                let found = whole.model().classes((data.x(), &lengths)).unwrap();
                let each = if binary { outputs } else { 1 };
                let mut shape = vec![rows, steps];
                shape.extend(binary.then_some(outputs));
                assert_eq!(found.shape(), shape);
                let (mut right, mut all) = (0.0, 0.0);
                for (at, (&found, &y)) in found.data().iter().zip(data.y().data()).enumerate() {
                    let (row, t) = (at / each / steps, at / each % steps);
                    let goal = if binary { u32::from(y > 0.5) } else { y as u32 };
                    if t < lengths[row] && (binary || y != 2.0) {
                        let weight = f64::from(data.weight(row, t));
                        all += weight;
                        right += if found == goal { weight } else { 0.0 };
                    }
                }
                assert_eq!(whole.accuracy(&data).unwrap(), right / all);
                assert_eq!(pieces.accuracy(&data).unwrap(), right / all);
            }
        }
    }
}

fn from(device: &Device, dict: &Dict) -> Forecaster {
    let mut model = Forecaster::every_step(device, LstmConfig::new(2, 3), 3).unwrap();
    model.load_state_dict(dict).unwrap();
    model
}

/// A row with a length is the row cut there; probabilities and classes are those of the predictions.
pub fn predictions_of_lengths(device: &Device) {
    let (rows, steps, outputs) = (5, 6, 4);
    let lengths = [6, 1, 4, 2, 5];
    let x = values(&[rows, steps, 2], 1.0, 1);
    for (readout, both) in Readout::ALL.into_iter().flat_map(|r| [(r, false), (r, true)]) {
        let config = LstmConfig::new(2, 5).bidirectional(both).readout(readout);
        let config = config.init("fc", Init::Uniform { bound: 2.0 });
        let model = Forecaster::new(device, config, outputs).unwrap();
        let every_step = readout == Readout::EveryStep;
        let y = model.predict((&x, &lengths)).unwrap();
        let probabilities = model.probabilities((&x, &lengths)).unwrap();
        let classes = model.classes((&x, &lengths)).unwrap();
        let each = if every_step { steps } else { 1 };
        let shape = if every_step { vec![rows, steps] } else { vec![rows] };
        assert_eq!(classes.shape(), shape);
        assert_eq!(probabilities.shape(), y.shape());
        for (row, length) in lengths.into_iter().enumerate() {
            let cut = x.data()[row * steps * 2..][..length * 2].to_vec();
            let alone = model.predict(&Array::new(cut, &[1, length, 2]).unwrap()).unwrap();
            let valid = if every_step { length } else { 1 };
            let got = &y.data()[row * each * outputs..][..valid * outputs];
            assert_close("cut", got, &wide(alone.data()), Tolerance::OUTPUT);
            for t in 0..valid {
                let at = row * each + t;
                let logits = wide(&y.data()[at * outputs..][..outputs]);
                let sum: f64 = logits.iter().map(|v| v.exp()).sum();
                let want: Vec<f64> = logits.iter().map(|v| v.exp() / sum).collect();
                let got = &probabilities.data()[at * outputs..][..outputs];
                assert_close("probabilities", got, &want, Tolerance::PROBABILITY);
                let best = (0..outputs).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
                assert_eq!(classes.data()[at], best as u32);
            }
        }
        for lengths in [&[6, 1, 4, 2][..], &[6, 1, 4, 2, 7]] {
            assert!(model.predict((&x, lengths)).is_err());
        }
    }
}
