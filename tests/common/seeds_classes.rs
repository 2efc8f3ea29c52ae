//! The examples `sequence_classification` and `sine` against PyTorch: tests/golden/sequences.py.

#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/sine/as_written.rs"]
mod as_written;
#[path = "../../examples/sine/by_hand.rs"]
mod by_hand;
#[path = "../../examples/common/mod.rs"]
mod common;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/sequence_classification/memory.rs"]
mod memory;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/sequence_classification/random.rs"]
mod random;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/sine/wave.rs"]
mod wave;

use gatefold::checkpoint::StateDict;
use gatefold::reference::Tolerance;
use gatefold::train::{Report, Trainer};
use gatefold::{Array, Dataset, Device};

use super::assert_close;
use super::golden::{Golden, rows};

/// Trains on batches of these rows; an epoch is `order`, or as many of it as there are epochs.
fn fit(trainer: &mut Trainer, data: &Dataset, orders: &[&[f32]], batch: usize) -> Report {
    let part =
        |order: &[f32]| Ok(Dataset::new(rows(data.x(), order), rows(data.y(), order))?.into());
    let batches = |epoch: usize| orders[epoch % orders.len()].chunks(batch).map(part);
    trainer.fit_batches(batches, None, |_| ()).unwrap()
}

fn relative(relative: f64) -> Tolerance {
    Tolerance::Mixed { absolute: 0.0, relative }
}

/// Logits of [3, 7, 5]; twenty epochs over [16, 10, 5]; the classes.
pub fn classification(device: &Device) {
    let golden = Golden::read("sequences").part("classification.");
    let mut model = random::model(device, 0).unwrap();
    model.load_state_dict(&golden.named("weights.")).unwrap();
    let logits = model.predict(golden.get("forward")).unwrap();
    assert_eq!(logits.shape(), [3, 2]);
    assert_close("logits", logits.data(), &golden.wide("logits"), Tolerance::OUTPUT);

    let data = Dataset::new(golden.get("x").clone(), golden.get("y").clone()).unwrap();
    let mut trainer = random::trainer(model, 20);
    let orders: Vec<&[f32]> = golden.get("order").data().chunks(16).collect();
    let report = fit(&mut trainer, &data, &orders, 16);
    let losses = golden.wide("losses");
    assert_eq!((report.step_losses.len(), losses.len()), (20, 20));
    assert_close("ten losses", &report.step_losses[..10], &losses[..10], Tolerance::LOSS);
    // Twenty steps of Adam at 0.001 stay near the start, where the loss is almost linear in them:
    // what is a few ulp of a step is no more at the end.
    assert_close("all losses", &report.step_losses, &losses, Tolerance::LOSS);
    let last = trainer.evaluate(&data).unwrap();
    assert_close("final loss", &[last], &golden.wide("final_loss"), Tolerance::LOSS);
    // No two logits are closer than 1e-3, so that the classes are the same ones.
    let classes = trainer.model().classes(data.x()).unwrap();
    let want = golden.get("trained").data().chunks(2).map(|l| u32::from(l[1] > l[0]));
    assert_eq!(classes.data(), want.collect::<Vec<u32>>());
}

/// The task that needs a memory: it is what it says, and ten steps are PyTorch's.
pub fn memory(device: &Device) {
    let settings = memory::Settings { steps: 60, hidden: 16, epochs: 1, seed: 0 };
    let [train, test] = memory::data(&settings).unwrap();
    assert_ne!(train.x(), test.x());
    for (sequence, class) in train.x().data().chunks(60 * memory::CLASSES).zip(train.y().data()) {
        // Noise of 0.5 exceeds half of 3 once in 740 numbers: the mark is the largest nearly always.
        let (first, last) = (&sequence[..memory::CLASSES], &sequence[59 * memory::CLASSES..]);
        let mean = first.iter().sum::<f32>() - first[*class as usize];
        assert!(first[*class as usize] - mean / 3.0 > 0.5);
        assert!(last.iter().all(|v| v.abs() < 2.5));
    }
    let last = memory::last_steps(&train).unwrap();
    assert_eq!(last.x().shape(), [1000, 1, memory::CLASSES]);
    assert_eq!(
        last.x().data()[memory::CLASSES..][..memory::CLASSES],
        train.x().data()[119 * memory::CLASSES..][..memory::CLASSES]
    );

    let golden = Golden::read("sequences").part("memory.");
    let data = Dataset::new(golden.get("x").clone(), golden.get("y").clone()).unwrap();
    let order = golden.get("order").data().to_vec();
    let start = || {
        let mut model = memory::model(device, &settings, Some(memory::REMEMBER)).unwrap();
        // What the example starts from remembers as PyTorch's does here.
        let dict = model.state_dict().unwrap();
        for (name, value) in [("lstm.bias_ih_l0", memory::REMEMBER), ("lstm.bias_hh_l0", 0.0)] {
            let bias = &dict.iter().find(|(n, _)| n == name).unwrap().1.data()[16..32];
            assert_eq!(bias, [value; 16]);
            assert_eq!(golden.get(&format!("weights.{name}")).data()[16..32], [value; 16]);
        }
        model.load_state_dict(&golden.named("weights.")).unwrap();
        let mut trainer = memory::trainer(model, &settings);
        let report = fit(&mut trainer, &data, &[&order], 8);
        (report.step_losses, trainer.evaluate(&data).unwrap())
    };
    let (losses, last) = start();
    assert_eq!(losses.len(), 10);
    assert_close("ten losses", &losses, &golden.wide("losses"), Tolerance::LOSS);
    // Ten steps of Adam at 0.01 move with the sign of gradients that are rounding errors, of which
    // there are few: the band of a loss holds for the eleventh as well, ten times as wide.
    assert_close("final loss", &[last], &golden.wide("final_loss"), relative(1e-3));
    assert_eq!(start(), (losses, last), "another run");
}

/// The windows of a golden's series that training sees, and its order of them.
fn seen(golden: &Golden) -> (Vec<f64>, Dataset, Vec<f32>) {
    let series = golden.wide("series");
    let data = wave::windows(&series, wave::WINDOW..200).unwrap();
    assert_eq!(data.len(), 180);
    (series, data, golden.get("order").data().to_vec())
}

/// Twenty epochs over windows of a noisy sine; the RMSE on later ones.
pub fn sine(device: &Device) {
    let golden = Golden::read("sequences").part("sine.");
    let mut model = wave::model(device, 0).unwrap();
    model.load_state_dict(&golden.named("weights.")).unwrap();
    let (series, data, order) = seen(&golden);
    let mut trainer = wave::trainer(model, 20);
    let report = fit(&mut trainer, &data, &[&order], 16);
    let losses = golden.wide("losses");
    assert_eq!((report.step_losses.len(), losses.len()), (240, 240));
    assert_close("ten losses", &report.step_losses[..10], &losses[..10], Tolerance::LOSS);

    let unseen = wave::windows(&series, 200 + wave::WINDOW..300).unwrap();
    assert_eq!(unseen.len(), 80);
    let prediction = trainer.model().predict(unseen.x()).unwrap();
    let rmse = wave::rmse(prediction.data(), unseen.y().data()) as f32;
    // Adam's first steps have the signs of gradients, also of those that are rounding errors: the
    // paths part, but 240 steps of at most 0.001 lead to one minimum. Measured:
    // 1e-7 on the CPU executor.
    assert_close("RMSE", &[rmse], &golden.wide("rmse"), relative(1e-3));
    let naive = wave::rmse(&wave::persistence(&unseen), unseen.y().data());
    assert!(f64::from(rmse) < naive && f64::from(rmse) < 1.5 * wave::NOISE, "{rmse}, {naive}");
}

/// One prediction for a hundred targets: the losses of PyTorch's broadcast, and the mean.
pub fn sine_as_written(device: &Device) {
    let golden = Golden::read("sequences");
    let (as_written, sine) = (golden.part("as_written."), golden.part("sine."));
    let mut model = wave::model(device, 0).unwrap();
    model.load_state_dict(&sine.named("weights.")).unwrap();
    let y = &sine.wide("series")[..100];
    let learned = as_written::train(model, y, 200).unwrap();
    let losses: Vec<f32> = learned.losses.iter().map(|&loss| loss as f32).collect();
    let want = as_written.wide("losses");
    assert_eq!((losses.len(), want.len()), (200, 200));
    assert_close("losses", &losses, &want, Tolerance::LOSS);
    let mean = y.iter().sum::<f64>() / 100.0;
    // The loss of both is at its minimum, the variance, around which it is flat: 1e-3 from the mean
    // is 1e-6 of loss.
    let near = Tolerance::Mixed { absolute: 1e-3, relative: 0.0 };
    assert_close("prediction", &[learned.prediction], &as_written.wide("prediction"), near);
    assert_close("the mean", &[learned.prediction], &[mean], near);
}

/// Weights with tensors for each gate: PyTorch's losses, and, both ways into the layer, the same bits.
pub fn gates_by_hand(device: &Device) {
    let golden = Golden::read("sequences");
    let (by_hand, (_, data, order)) = (golden.part("by_hand."), seen(&golden.part("sine.")));
    let gates = by_hand.named("weights.");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("by_hand.safetensors");
    let losses = |gates: &StateDict, epochs: usize| {
        let losses = [
            by_hand::converted(device, gates).unwrap(),
            by_hand::from_file(device, gates, &file).unwrap(),
        ]
        .map(|model| fit(&mut wave::trainer(model, epochs), &data, &[&order], 16).step_losses);
        let bits = |losses: &[f32]| losses.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&losses[0]), bits(&losses[1]));
        losses[0].clone()
    };
    // Normal weights make a model in which rounding errors grow several times over from step to step; PyTorch in
    // single precision is 1.5e-4 from itself in double precision at the fifth loss, 4e-2 at the tenth.
    let full = losses(&gates, 1);
    assert_close("first loss", &full[..1], &by_hand.wide("first_loss"), Tolerance::LOSS);
    // With a quarter of the gates' weights it is 2e-6.
    let quarter = |(name, array): &(String, Array)| {
        let scale = if name.starts_with("b_") || name == "W_out" { 1.0 } else { 0.25 };
        let values = array.data().iter().map(|v| scale * v).collect();
        (name.clone(), Array::new(values, array.shape()).unwrap())
    };
    let losses = losses(&gates.iter().map(quarter).collect(), 2);
    let want = by_hand.wide("losses");
    assert_eq!((losses.len(), want.len()), (24, 24));
    assert_close("losses", &losses, &want, Tolerance::LOSS);
    // The names that the example draws are those of the program.
    let mut names: Vec<String> =
        by_hand::draw(0, 1.0).unwrap().into_iter().map(|(n, _)| n).collect();
    let mut wanted: Vec<String> = gates.into_iter().map(|(n, _)| n).collect();
    names.sort();
    wanted.sort();
    assert_eq!(names, wanted);
}
