//! Rows that start late are the rows that end early, and the rows alone.

use gatefold::data::Inputs;
use gatefold::reference::Tolerance;
use gatefold::train::{Adam, Loss, Trainer, gradients};
use gatefold::{Array, Dataset, Device, Forecaster, Init, LstmConfig, Readout};

use super::random::{Random, normal};
use super::{assert_close, trained_bits, wide};

const STEPS: usize = 6;
const LENGTHS: [usize; 5] = [6, 0, 3, 1, 4];
const ROWS: usize = LENGTHS.len();

/// Rows of `[T, K]` whose timesteps stand at the end, of rows whose timesteps stand at the start.
fn late(early: &[f32], width: usize, padding: f32) -> Vec<f32> {
    let mut out = vec![padding; early.len()];
    for (row, length) in LENGTHS.into_iter().enumerate() {
        let (from, start) = (row * STEPS, row * STEPS + STEPS - length);
        let own = &early[from * width..][..length * width];
        out[start * width..][..length * width].copy_from_slice(own);
    }
    out
}

/// The same with something else in the padding of the rows that end early.
fn early(mut values: Vec<f32>, width: usize, padding: f32) -> Vec<f32> {
    for (row, length) in LENGTHS.into_iter().enumerate() {
        values[(row * STEPS + length) * width..(row + 1) * STEPS * width].fill(padding);
    }
    values
}

fn array(data: Vec<f32>, shape: &[usize]) -> Array {
    Array::new(data, shape).unwrap()
}

fn whole(count: usize, below: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.below(below) as f32).collect()
}

struct Kind {
    name: &'static str,
    config: LstmConfig,
    loss: Loss,
    /// Whether there is a prediction at every timestep, and in which pieces of sequences it is trained.
    every: bool,
    truncate: bool,
}

fn kinds() -> Vec<Kind> {
    let config = || LstmConfig::new(2, 4).layers(2).init("fc", Init::Uniform { bound: 2.0 });
    let kind = |name, config: LstmConfig, loss, every: bool, truncate| {
        let config = if every { config.readout(Readout::EveryStep) } else { config };
        Kind { name, config, loss, every, truncate }
    };
    vec![
        kind("final states", config(), Loss::mse(), false, false),
        kind("both directions", config().bidirectional(true), Loss::cross_entropy(), false, false),
        kind("the reverse direction", config().reverse(true), Loss::mse(), true, false),
        kind("tokens in reverse", config().reverse(true).embedding(7), Loss::mse(), true, false),
        kind("the mean", config().readout(Readout::MeanOverTime), Loss::l1(), false, false),
        kind("every step", config(), Loss::mse(), true, true),
        kind(
            "classes of every step",
            config().bidirectional(true),
            Loss::cross_entropy().ignore_index(1),
            true,
            false,
        ),
        kind("tokens", config().embedding(7).dropout(0.3), Loss::bce_with_logits(), true, true),
    ]
}

impl Kind {
    fn model(&self, device: &Device) -> Forecaster {
        Forecaster::new(device, self.config.clone(), 3).unwrap()
    }

    /// The same sequences, ending early and starting late, with nonsense before or behind.
    fn data(&self) -> [Dataset; 2] {
        let (tokens, every) = (self.name.starts_with("tokens"), self.every);
        let width = if tokens { 1 } else { 2 };
        let x = match tokens {
            true => whole(ROWS * STEPS, 7, 1),
            false => normal(ROWS * STEPS * 2, 1.0, 1),
        };
        let x_shape = if tokens { vec![ROWS, STEPS] } else { vec![ROWS, STEPS, 2] };
        let of_classes = self.loss.is_of_classes();
        let outputs = if of_classes { 1 } else { 3 };
        let count = ROWS * outputs * if every { STEPS } else { 1 };
        let y = match (of_classes, tokens) {
            (true, _) => whole(count, 3, 2),
            (_, true) => whole(count, 2, 2), // also for yes and no
            _ => normal(count, 1.0, 2),
        };
        let mut y_shape = vec![ROWS];
        y_shape.extend(every.then_some(STEPS));
        y_shape.extend((!of_classes).then_some(3));
        let weights: Vec<f32> =
            (0..ROWS * STEPS).map(|at| [0.5, 0.0, 1.5, 2.0][at * 7 % 4]).collect();
        let set = |align: &dyn Fn(Vec<f32>, usize) -> Vec<f32>| {
            let y = if every { align(y.clone(), outputs) } else { y.clone() };
            let data = Dataset::new(array(align(x.clone(), width), &x_shape), array(y, &y_shape));
            match every {
                true => {
                    let weights = align(weights.clone(), 1);
                    let weights = weights.iter().map(|w| if w.is_nan() { 7.0 } else { *w });
                    data.unwrap().with_weights(array(weights.collect(), &[ROWS, STEPS])).unwrap()
                }
                false => data.unwrap(),
            }
        };
        let ending = set(&|values, width| early(values, width, f32::NAN));
        let starting = set(&|values, width| late(&values, width, f32::NAN));
        [ending.with_lengths(&LENGTHS).unwrap(), starting.right_aligned(&LENGTHS).unwrap()]
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Predictions, losses, gradients and training steps.
pub fn of_data_sets(device: &Device) {
    for kind in kinds() {
        let what = kind.name;
        let [ending, starting] = kind.data();
        let model = kind.model(device);
        let every = kind.every;
        // Where predictions at every timestep stand.
        let place = |values: &[f32], width: usize| match every {
            true => late(values, width, 0.0),
            false => values.to_vec(),
        };
        let (want, got) = (model.predict(&ending).unwrap(), model.predict(&starting).unwrap());
        assert_eq!(want.shape(), got.shape(), "{what}");
        assert!(bits(got.data()) == bits(&place(want.data(), 3)), "{what}: predictions");
        let by_array = model.predict(Inputs::right_aligned(starting.x(), &LENGTHS)).unwrap();
        assert!(bits(by_array.data()) == bits(got.data()), "{what}: without a data set");
        let shares = model.probabilities(&ending).unwrap();
        let shares = place(shares.data(), 3);
        assert!(bits(model.probabilities(&starting).unwrap().data()) == bits(&shares), "{what}");
        // The rows alone.
        for (row, length) in LENGTHS.into_iter().enumerate().filter(|(_, length)| *length > 0) {
            let width = starting.x().data().len() / ROWS / STEPS;
            let end = (row + 1) * STEPS * width;
            let own = starting.x().data()[end - length * width..end].to_vec();
            let mut shape = vec![1, length];
            shape.extend((!what.starts_with("tokens")).then_some(2));
            let alone = model.predict(&array(own, &shape)).unwrap();
            let each = if every { STEPS } else { 1 };
            let found = &got.data()[row * each * 3..][..each * 3];
            let found = &found[found.len() - alone.data().len()..];
            assert_close(what, found, &wide(alone.data()), Tolerance::OUTPUT);
        }

        let trainer = |model| {
            let trainer = Trainer::new(model, kind.loss.clone(), Adam::new(0.02)).batch_size(2);
            let trainer = trainer.epochs(2).shuffle(3);
            if kind.truncate { trainer.truncate(2) } else { trainer }
        };
        let evaluated = trainer(model);
        let [want, got] = [&ending, &starting].map(|data| evaluated.evaluate(data).unwrap());
        assert_eq!(want.to_bits(), got.to_bits(), "{what}: {want} {got}");
        if let Ok(accuracy) = evaluated.accuracy(&ending) {
            assert_eq!(evaluated.accuracy(&starting).unwrap(), accuracy, "{what}");
            let model = evaluated.model();
            let [want, got] = [&ending, &starting].map(|data| model.classes(data).unwrap());
            let width = want.data().len() / ROWS / if every { STEPS } else { 1 };
            let want: Vec<f32> = want.data().iter().map(|&class| class as f32).collect();
            let got: Vec<f32> = got.data().iter().map(|&class| class as f32).collect();
            assert_eq!(got, place(&want, width), "{what}: classes");
        }
        let of = |data| gradients(evaluated.model(), data, &kind.loss).unwrap();
        let (want, got) = (of(&ending), of(&starting));
        assert_eq!(got.loss.to_bits(), want.loss.to_bits(), "{what}");
        for ((name, want), (_, got)) in want.parameters.iter().zip(&got.parameters) {
            assert!(bits(want.data()) == bits(got.data()), "{what}: the gradient of {name}");
        }
        if let (Some(want), Some(got)) = (want.x, got.x) {
            // Time-major.
            for (at, &want) in want.data().chunks(2).collect::<Vec<_>>().iter().enumerate() {
                let (t, row) = (at / ROWS, at % ROWS);
                if t < LENGTHS[row] {
                    let to = (STEPS - LENGTHS[row] + t) * ROWS + row;
                    assert!(bits(&got.data()[to * 2..][..2]) == bits(want), "{what}: dx");
                }
            }
            for (at, got) in got.data().chunks(2).enumerate() {
                let (t, row) = (at / ROWS, at % ROWS);
                assert!(t >= STEPS - LENGTHS[row] || got == [0.0; 2], "{what}: dx before");
            }
        }
        let trained = [&ending, &starting].map(|data| {
            let mut trainer = trainer(kind.model(device));
            let report = trainer.fit(data, Some(data), |_| ()).unwrap();
            let validation =
                report.validations.iter().map(|v| v.loss.to_bits()).collect::<Vec<_>>();
            (bits(&report.step_losses), validation, trained_bits(&trainer))
        });
        assert!(trained[0] == trained[1], "{what}: training");
    }
}
