//! NaN and infinity, wherever they come in, under each policy.

use std::path::Path;

use gatefold::data::Batch;
use gatefold::train::{Adam, Loss, NonFinite, Sgd, Trainer, gradients};
use gatefold::{
    Array, Dataset, Device, Error, Forecaster, Init, Lstm, LstmConfig, LstmState, Tensor,
    checkpoint,
};

use super::random::normal;
use super::trained_bits;

const VALUES: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

const POLICIES: [NonFinite; 3] = [NonFinite::Error, NonFinite::Skip, NonFinite::Pass];

/// Six sequences of four timesteps, two features, a target; `change` is given inputs and targets.
fn data(change: impl FnOnce(&mut [f32], &mut [f32])) -> Dataset {
    let (mut x, mut y) = (normal(6 * 4 * 2, 1.0, 1), normal(6, 1.0, 2));
    change(&mut x, &mut y);
    Dataset::new(Array::new(x, &[6, 4, 2]).unwrap(), Array::new(y, &[6, 1]).unwrap()).unwrap()
}

fn good() -> Dataset {
    data(|_, _| ())
}

fn trainer(device: &Device, policy: NonFinite) -> Trainer {
    let model = Forecaster::new(device, LstmConfig::new(2, 5).seed(3), 1).unwrap();
    let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(2).epochs(1);
    trainer.non_finite(policy)
}

fn is_finite(held: &[(String, Vec<u32>)]) -> bool {
    held.iter().flat_map(|(_, bits)| bits).all(|&v| f32::from_bits(v).is_finite())
}

/// Inputs and targets of a data set: refused before anything is done, whatever the policy.
pub fn in_data(device: &Device) {
    for policy in POLICIES {
        let mut trainer = trainer(device, policy);
        trainer.fit(&good(), None, |_| ()).unwrap();
        let (before, steps) = (trained_bits(&trainer), trainer.steps());
        for bad in VALUES {
            let x = data(|x, _| x[(3 * 4 + 2) * 2 + 1] = bad);
            let y = data(|_, y| y[4] = bad);
            for (set, place) in [
                (&x, "x of the training set, sequence 3, timestep 2, element 1"),
                (&y, "y of the training set, sequence 4, element 0"),
            ] {
                let what = format!("{policy:?}, {bad}, {place}");
                let one = |_: usize| [Ok(Batch::from(set.clone()))];
                let found = [
                    (trainer.fit(set, None, |_| ()).map(|_| ()), place.to_owned()),
                    (
                        trainer.fit(&good(), Some(set), |_| ()).map(|_| ()),
                        place.replace("training", "validation"),
                    ),
                    (
                        trainer.fit_batches(one, None, |_| ()).map(|_| ()),
                        place.replace("the training set", "batch 1"),
                    ),
                    (trainer.evaluate(set).map(|_| ()), place.replace("training", "data")),
                    (
                        gradients(trainer.model(), set, &Loss::mse()).map(|_| ()),
                        place.replace("the training set", "the batch"),
                    ),
                ];
                for (result, place) in found {
                    let Err(Error::Value { name, expected, got, .. }) = result else {
                        panic!("{what}: not refused: {result:?}")
                    };
                    let place = place.replace("data set set", "data set");
                    assert_eq!((name, expected.as_str()), (place, "finite"), "{what}");
                    assert_eq!(got, bad.to_string(), "{what}");
                }
            }
        }
        assert!(trained_bits(&trainer) == before && trainer.steps() == steps, "{policy:?}");
        trainer.fit(&good(), None, |_| ()).unwrap();
    }
}

/// A trainer whose file holds `bad` in an element of a tensor. Only with the policy `Pass` such a file is
/// taken, so that is how it gets there.
fn with(device: &Device, policy: NonFinite, tensor: &str, bad: f32) -> Trainer {
    let folder = tempfile::tempdir().unwrap();
    let folder: &Path = folder.path();
    let mut trainer = trainer(device, NonFinite::Pass);
    trainer.fit(&good(), None, |_| ()).unwrap();
    trainer.save(folder).unwrap();
    let path = folder.join("trainer.safetensors");
    let mut file = checkpoint::read(&path).unwrap();
    let (_, array) = file.tensors.iter_mut().find(|(name, _)| name == tensor).unwrap();
    let mut values = array.data().to_vec();
    values[0] = bad;
    *array = Array::new(values, array.shape()).unwrap();
    checkpoint::write(&path, &file.tensors, &file.metadata).unwrap();
    trainer.resume(folder).unwrap();
    let mut trainer = trainer.non_finite(policy);
    if policy != NonFinite::Pass {
        match trainer.resume(folder) {
            Err(Error::Checkpoint { problem, .. }) => {
                assert_eq!(problem, format!("{tensor} has {bad} at element 0"));
            }
            other => panic!("a file with {bad} in {tensor}: {other:?}"),
        }
    }
    trainer
}

/// Weights and moments. No step looks at them: what they make of the loss and of the gradients is found in
/// the step that it is in.
pub fn in_weights(device: &Device) {
    for policy in POLICIES {
        for bad in VALUES {
            let mut cases = vec!["params.fc.weight", "params.fc.bias"];
            // An infinite gate may be as good as one that is open.
            if bad.is_nan() {
                cases.extend(["params.lstm.weight_ih_l0", "params.lstm.bias_hh_l0"]);
            }
            for tensor in cases {
                let what = format!("{policy:?}, {bad} in {tensor}");
                let mut trainer = with(device, policy, tensor, bad);
                let (before, steps) = (trained_bits(&trainer), trainer.steps());
                assert!(!is_finite(&before));
                let result = trainer.fit(&good(), None, |_| ());
                match policy {
                    NonFinite::Error => {
                        let Err(Error::NonFinite { operation, tensor, step }) = result else {
                            panic!("{what}: {result:?}")
                        };
                        assert_eq!((operation, tensor.as_str()), ("Trainer::fit", "the loss"));
                        assert_eq!((step, trainer.steps()), (steps + 1, steps), "{what}");
                        assert!(trained_bits(&trainer) == before, "{what}");
                    }
                    NonFinite::Skip => {
                        let report = result.unwrap();
                        assert_eq!((report.skipped, trainer.steps()), (3, steps + 3), "{what}");
                        assert!(report.step_losses.iter().all(|loss| !loss.is_finite()), "{what}");
                        assert!(report.losses[0].is_nan(), "{what}: a mean of none");
                        assert!(trained_bits(&trainer) == before, "{what}");
                    }
                    NonFinite::Pass => {
                        let report = result.unwrap();
                        assert_eq!((report.skipped, trainer.steps()), (0, steps + 3), "{what}");
                        assert!(report.step_losses.iter().all(|loss| !loss.is_finite()), "{what}");
                        assert!(trained_bits(&trainer) != before, "{what}");
                    }
                }
                // With other weights it goes on.
                let fresh = Forecaster::new(device, LstmConfig::new(2, 5), 1).unwrap();
                let mut model = trainer.into_model();
                model.load_state_dict(&fresh.state_dict().unwrap()).unwrap();
                let trained = Trainer::new(model, Loss::mse(), Adam::new(0.01)).epochs(1);
                let report = { trained }.fit(&good(), None, |_| ()).unwrap();
                assert!(report.step_losses.iter().all(|loss| loss.is_finite()), "{what}");
            }
        }
        // A moment spoils the parameters of its step, which counts; the next one finds out.
        let mut trainer = with(device, policy, "moment_0.fc.bias", f32::NAN);
        let (before, steps) = (trained_bits(&trainer), trainer.steps());
        let result = trainer.fit(&good(), None, |_| ());
        match policy {
            NonFinite::Error => {
                let Err(Error::NonFinite { tensor, step, .. }) = result else {
                    panic!("{result:?}")
                };
                assert_eq!((tensor.as_str(), step), ("the loss", steps + 2));
                assert_eq!(trainer.steps(), steps + 1);
            }
            NonFinite::Skip => assert_eq!(result.unwrap().skipped, 2),
            NonFinite::Pass => assert_eq!(result.unwrap().skipped, 0),
        }
        assert!(trained_bits(&trainer) != before);
    }
    // A rate with which a step of finite gradients ends beyond f32.
    let model = Forecaster::new(device, LstmConfig::new(2, 5).seed(3), 1).unwrap();
    let mut trainer = Trainer::new(model, Loss::mse(), Sgd::new(3e38)).batch_size(2).epochs(1);
    let result = trainer.fit(&data(|_, y| y.fill(1e3)), None, |_| ());
    let Err(Error::NonFinite { step: 2, .. }) = result else { panic!("{result:?}") };
    assert!(trainer.steps() == 1 && !is_finite(&trained_bits(&trainer)));
}

/// A model and data whose second batch has a gradient that two rows make infinite, with these signs; NaN
/// where they differ.
fn overflowing(device: &Device, signs: [f32; 2]) -> (Forecaster, Dataset) {
    // A feature that no unit reads, but with which an incoming gradient of about 1e15 is multiplied.
    let config = LstmConfig::new(2, 5).init("fc.weight", Init::Constant(1e15)).seed(3);
    let mut model = Forecaster::new(device, config, 1).unwrap();
    let mut dict = model.state_dict().unwrap();
    let (_, array) = dict.iter_mut().find(|(name, _)| name == "lstm.weight_ih_l0").unwrap();
    let unread = |(i, &v): (usize, &f32)| if i % 2 == 1 { 0.0 } else { v };
    let values = array.data().iter().enumerate().map(unread).collect();
    *array = Array::new(values, array.shape()).unwrap();
    model.load_state_dict(&dict).unwrap();
    let with = |features: [f32; 2]| {
        data(|x, _| {
            x.iter_mut().skip(1).step_by(2).for_each(|unread| *unread = 0.0);
            // In the second batch, in the last timestep of its rows.
            (x[(2 * 4 + 3) * 2 + 1], x[(3 * 4 + 3) * 2 + 1]) = (features[0], features[1]);
        })
    };
    let large = [0, 1].map(|row| {
        let mut features = [0.0; 2];
        features[row] = 1e30;
        let sign = element(&model, &with(features)).signum();
        sign * signs[row] * 1e30
    });
    (model, with(large))
}

/// The gradient of the weight with which unit 0 reads the second feature.
fn element(model: &Forecaster, set: &Dataset) -> f32 {
    let found = gradients(model, set, &Loss::l1()).unwrap();
    let (_, array) = found.parameters.iter().find(|(name, _)| name == "lstm.weight_ih_l0").unwrap();
    assert!(found.loss.is_finite());
    array.data()[1]
}

/// Gradients under a finite loss, with and without clipping.
pub fn in_gradients(device: &Device) {
    for (signs, bad) in
        [([1.0, 1.0], f32::INFINITY), ([-1.0, -1.0], f32::NEG_INFINITY), ([1.0, -1.0], f32::NAN)]
    {
        for policy in POLICIES {
            for clip in [false, true] {
                let what = format!("{policy:?}, {bad}, clipped: {clip}");
                let (model, set) = overflowing(device, signs);
                let found = element(&model, &set);
                // Two infinities make NaN; where products are fused with their sum, the second is none.
                assert!(found == bad || bad.is_nan() && !found.is_finite(), "{what}: {found}");
                let trainer = Trainer::new(model, Loss::l1(), Sgd::new(1e-20).momentum(0.9));
                let trainer = trainer.batch_size(2).epochs(1).non_finite(policy);
                let mut trainer = if clip { trainer.clip_norm(1.0) } else { trainer };
                // The step before it, by which the rest is measured.
                let mut first = trainer.max_steps(1);
                first.fit(&set, None, |_| ()).unwrap();
                let after_first = trained_bits(&first);
                trainer = first.max_steps(1);
                let result = trainer.fit(&set, None, |_| ());
                let after = trained_bits(&trainer);
                match policy {
                    NonFinite::Error => {
                        let Err(Error::NonFinite { tensor, step, .. }) = result else {
                            panic!("{what}: {result:?}")
                        };
                        assert_eq!(tensor, "the gradient of lstm.weight_ih_l0", "{what}");
                        assert_eq!((step, trainer.steps()), (2, 1), "{what}");
                        assert!(after == after_first, "{what}");
                    }
                    NonFinite::Skip => {
                        assert_eq!((result.unwrap().skipped, trainer.steps()), (1, 2), "{what}");
                        assert!(after == after_first, "{what}");
                    }
                    NonFinite::Pass => {
                        assert_eq!((result.unwrap().skipped, trainer.steps()), (0, 2), "{what}");
                        assert!(!is_finite(&after), "{what}");
                    }
                }
                // The bad step stays undone, and good ones follow.
                if policy != NonFinite::Pass {
                    let mut trainer = trainer.max_steps(u64::MAX);
                    let report = trainer.fit(&good(), None, |_| ()).unwrap();
                    assert!(report.step_losses.iter().all(|loss| loss.is_finite()), "{what}");
                    assert_eq!(report.skipped, 0, "{what}");
                    assert!(is_finite(&trained_bits(&trainer)), "{what}");
                }
            }
        }
    }
    // Finite gradients whose norm is not: clipped to nothing, as in PyTorch, whatever the policy.
    for policy in POLICIES {
        let config = LstmConfig::new(2, 5).init("fc.weight", Init::Constant(1e25)).seed(3);
        let model = Forecaster::new(device, config, 1).unwrap();
        let trainer = Trainer::new(model, Loss::l1(), Sgd::new(0.1)).batch_size(2).epochs(1);
        let mut trainer = trainer.clip_norm(1.0).non_finite(policy);
        let found = gradients(trainer.model(), &good(), &Loss::l1()).unwrap();
        assert!(found.parameters.iter().all(|(_, g)| g.data().iter().all(|v| v.is_finite())));
        let before = trained_bits(&trainer);
        let mut norms = Vec::new();
        let report = trainer.fit(&good(), None, |p| norms.push(p.gradient_norm)).unwrap();
        assert_eq!((report.skipped, norms), (0, vec![Some(f32::INFINITY)]), "{policy:?}");
        assert!(trained_bits(&trainer) == before, "{policy:?}");
    }
}

/// What stands behind the end of a row, and the initial state of a row without timesteps, reach nothing.
pub fn behind_the_end(device: &Device) {
    let [steps, batch, input, hidden] = [4, 3, 2, 5];
    let lengths = [3, 0, 2];
    for (layers, bidirectional) in [(1, false), (2, false), (2, true)] {
        let config = LstmConfig::new(input, hidden).layers(layers).bidirectional(bidirectional);
        let lstm = Lstm::new(device, config).unwrap();
        let rows = layers * if bidirectional { 2 } else { 1 };
        let run = |padding: f32| {
            let mut x = normal(steps * batch * input, 1.0, 1);
            for (at, row) in x.chunks_exact_mut(input).enumerate() {
                if at / batch >= lengths[at % batch] {
                    row.fill(padding);
                }
            }
            let mut states =
                [normal(rows * batch * hidden, 1.0, 2), normal(rows * batch * hidden, 1.0, 3)];
            for state in &mut states {
                for (at, row) in state.chunks_exact_mut(hidden).enumerate() {
                    if lengths[at % batch] == 0 {
                        row.fill(padding);
                    }
                }
            }
            let tensor = |values: &[f32], shape: &[usize]| {
                Tensor::from_slice(device, values, shape).unwrap()
            };
            let [h, c] = states.map(|values| tensor(&values, &[rows, batch, hidden]));
            let state = LstmState { h, c };
            let x = tensor(&x, &[steps, batch, input]);
            let (y, last) = lstm.forward_padded(&x, Some(&lengths), Some(&state)).unwrap();
            let pass = lstm.forward_training(&x, Some(&lengths), Some(&state), 1).unwrap();
            let dy = tensor(&normal(y.len(), 1.0, 4), y.shape());
            let back = pass.backward(Some(&dy), None).unwrap();
            let bits = |tensor: &Tensor| {
                tensor.to_vec().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            let lasts = [&last.h, &last.c].map(|tensor| tensor.to_vec().unwrap());
            let own = lasts.clone().map(|values| {
                let of_rows = values.chunks_exact(hidden).enumerate();
                let own = of_rows.filter(|(at, _)| lengths[at % batch] > 0);
                own.flat_map(|(_, row)| row.iter().map(|v| v.to_bits())).collect::<Vec<_>>()
            });
            let ended = lasts.map(|values| values[hidden..2 * hidden].to_vec());
            let results =
                [bits(&y), bits(&back.x), bits(&back.h_0), bits(&back.c_0), bits(back.flat())];
            (results, own, ended)
        };
        let (want, want_last, _) = run(0.0);
        for bad in VALUES {
            let what = format!("{layers} layers, bidirectional: {bidirectional}, {bad}");
            let (got, last, ended) = run(bad);
            let names = ["y", "dx", "dh_0", "dc_0", "gradients"];
            for ((name, got), want) in names.iter().zip(&got).zip(&want) {
                assert!(got == want, "{what}: {name} differs");
            }
            assert!(last == want_last, "{what}: last states of the other rows differ");
            // Its own state is still its state.
            let same = |v: &f32| v.to_bits() == bad.to_bits() || v.is_nan() && bad.is_nan();
            assert!(ended.iter().flatten().all(same), "{what}: {ended:?}");
        }
    }

    // Padding of inputs and targets, in training.
    let train = |padding: f32| {
        let set = |rows: usize| {
            let mut x = normal(rows * 4 * 2, 1.0, 1);
            let mut y = normal(rows * 4, 1.0, 2);
            let lengths: Vec<usize> = (0..rows).map(|row| [4, 1, 3][row % 3]).collect();
            for (row, &length) in lengths.iter().enumerate() {
                x[(row * 4 + length) * 2..(row + 1) * 4 * 2].fill(padding);
                y[row * 4 + length..(row + 1) * 4].fill(padding);
            }
            let x = Array::new(x, &[rows, 4, 2]).unwrap();
            let y = Array::new(y, &[rows, 4, 1]).unwrap();
            Dataset::new(x, y).unwrap().with_lengths(&lengths).unwrap()
        };
        let model = Forecaster::every_step(device, LstmConfig::new(2, 5).layers(2), 1).unwrap();
        let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.05)).batch_size(4).epochs(3);
        let mut trainer = trainer.clip_norm(1.0);
        let report = trainer.fit(&set(9), Some(&set(3)), |_| ()).unwrap();
        (trained_bits(&trainer), format!("{report:?}"))
    };
    let want = train(0.0);
    for bad in VALUES {
        assert!(train(bad) == want, "{bad} in padding");
    }
}
