//! Everything that `torch.nn.LSTM` does, against the f64 reference.

use gatefold::command::{Executor, Limits};
use gatefold::lockstep::lockstep;
use gatefold::plan::{ParameterTable, Plan, Sequences, StackShape, Tier};
use gatefold::reference::sequence::{self, Batch, Gradients, LayerMasks, LayerWeights, Trace};
use gatefold::reference::{Dropout, Tolerance, philox};
use gatefold::{Array, Bias, Cell, Device, Init, Lstm, LstmCell, LstmConfig, LstmState, Tensor};

use super::cells::spread;
use super::kernels::has_peepholes;
use super::models::{gradient_of, stack};
use super::random::{Random, normal};
use super::{assert_close, wide};

/// One call of one model.
#[derive(Clone, Debug)]
pub struct Case {
    pub layers: usize,
    pub input: usize,
    pub hidden: usize,
    pub proj_size: usize,
    pub cell: Cell,
    pub bias: Bias,
    pub bidirectional: bool,
    pub batch_first: bool,
    pub learned_state: bool,
    pub dropout: f64,
    pub steps: usize,
    pub batch: usize,
    pub lengths: Option<Vec<usize>>,
    pub state: bool,
    pub seed: u64,
}

impl Case {
    /// The `i`th of a random series, which is the same everywhere.
    pub fn random(i: u64) -> Case {
        let mut r = Random::new(i);
        let (steps, batch) = (r.below(9) + 1, r.below(20) + 1);
        let hidden = [2, 3, 5, 8, 17, 33][r.below(6)];
        let lengths = (0..batch).map(|_| r.below(steps + 1)).collect();
        Case {
            layers: r.below(3) + 1,
            input: r.below(7) + 1,
            hidden,
            proj_size: if r.coin() { r.below(hidden - 1) + 1 } else { 0 },
            cell: Cell::new(),
            bias: [Bias::None, Bias::Single, Bias::Double][r.below(3)],
            bidirectional: r.coin(),
            batch_first: r.coin(),
            learned_state: r.below(4) == 0,
            dropout: if r.coin() { 0.3 } else { 0.0 },
            steps,
            batch,
            lengths: r.coin().then_some(lengths),
            state: r.coin(),
            seed: i,
        }
    }

    pub fn config(&self) -> LstmConfig {
        let terms = self.input.max(self.hidden) + self.hidden;
        // Gates that saturate: pre-activations of standard deviation about 2.
        let std = spread(self.cell) / (terms as f32).sqrt();
        let init = Init::Normal { mean: 0.0, std };
        let config = LstmConfig::new(self.input, self.hidden)
            .layers(self.layers)
            .proj_size(self.proj_size)
            .cell(self.cell)
            .bias(self.bias)
            .bidirectional(self.bidirectional)
            .batch_first(self.batch_first)
            .learned_state(self.learned_state)
            .dropout(self.dropout)
            .seed(self.seed)
            .init("weight", init);
        match self.learned_state {
            true => config.init("_0", Init::Normal { mean: 0.0, std: 0.7 }),
            false => config,
        }
    }

    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    pub fn output(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden }
    }

    pub fn states(&self) -> usize {
        self.layers * self.directions()
    }

    /// `[T, B, K]` in the model's layout, and its shape.
    fn arranged<T: Copy>(&self, time_major: &[T], width: usize) -> (Vec<T>, [usize; 3]) {
        let (steps, batch) = (self.steps, self.batch);
        if !self.batch_first {
            return (time_major.to_vec(), [steps, batch, width]);
        }
        let row = |b: usize, t: usize| &time_major[(t * batch + b) * width..][..width];
        let rows = (0..batch).flat_map(|b| (0..steps).flat_map(move |t| row(b, t)));
        (rows.copied().collect(), [batch, steps, width])
    }

    fn masks(&self, step: u64) -> Vec<Vec<f64>> {
        let size = (self.steps, self.batch, self.directions() * self.output());
        match self.dropout > 0.0 {
            true => masks(self.dropout, self.seed, step, size, self.layers),
            false => Vec::new(),
        }
    }
}

/// What training multiplies the outputs `[T, B, K]` of each layer but the last with, at optimizer
/// step `step`: from the generator, element by element.
pub fn masks(
    probability: f64,
    seed: u64,
    step: u64,
    (steps, batch, width): (usize, usize, usize),
    layers: usize,
) -> Vec<Vec<f64>> {
    let key = Dropout::key(seed, step);
    let threshold = (probability * 2f64.powi(32)) as u32;
    let factor = |layer: usize, t: usize, b: usize, k: usize| {
        let word = philox([k / 4, b, t, layer].map(|v| v as u32), key)[k % 4];
        if word < threshold { 0.0 } else { 1.0 / (1.0 - probability) }
    };
    let layer = |l: usize| {
        let rows = (0..steps).flat_map(|t| (0..batch).map(move |b| (t, b)));
        rows.flat_map(|(t, b)| (0..width).map(move |k| factor(l, t, b, k))).collect()
    };
    (0..layers - 1).map(layer).collect()
}

/// The inputs of a case, time-major.
pub struct Inputs {
    pub x: Vec<f32>,
    pub h_0: Vec<f32>,
    pub c_0: Vec<f32>,
    pub dy: Vec<f32>,
    pub dh_n: Vec<f32>,
    pub dc_n: Vec<f32>,
}

impl Inputs {
    pub fn of(case: &Case) -> Inputs {
        let rows = case.steps * case.batch;
        let states = case.states() * case.batch;
        let seed = 1000 * case.seed;
        let mut inputs = Inputs {
            x: normal(rows * case.input, 2.0, seed + 1),
            h_0: normal(states * case.output(), 0.7, seed + 2),
            c_0: normal(states * case.hidden, 1.0, seed + 3),
            dy: normal(rows * case.directions() * case.output(), 1.0, seed + 4),
            dh_n: normal(states * case.output(), 1.0, seed + 5),
            dc_n: normal(states * case.hidden, 1.0, seed + 6),
        };
        if let Some(lengths) = &case.lengths {
            // What stands after a row's end is nobody's.
            let width = case.directions() * case.output();
            for t in 0..case.steps {
                for b in (0..case.batch).filter(|&b| t >= lengths[b]) {
                    let row = t * case.batch + b;
                    inputs.x[row * case.input..][..case.input].fill(f32::NAN);
                    inputs.dy[row * width..][..width].fill(f32::NAN);
                }
            }
        }
        inputs
    }
}

/// What a model gives, on the host and time-major.
#[derive(Debug, PartialEq)]
pub struct Results {
    pub y: Vec<f32>,
    pub h_n: Vec<f32>,
    pub c_n: Vec<f32>,
}

fn tensor(device: &Device, data: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(device, data, shape).unwrap()
}

/// A model with what its calls take.
pub struct Model {
    pub case: Case,
    pub lstm: Lstm,
}

impl Model {
    pub fn new(device: &Device, case: Case) -> Model {
        let lstm = Lstm::new(device, case.config()).unwrap_or_else(|e| panic!("{case:?}: {e}"));
        Model { case, lstm }
    }

    fn state(&self, h: &[f32], c: &[f32]) -> LstmState {
        let (states, batch, device) = (self.case.states(), self.case.batch, self.lstm.device());
        LstmState {
            h: tensor(device, h, &[states, batch, self.case.output()]),
            c: tensor(device, c, &[states, batch, self.case.hidden]),
        }
    }

    fn x(&self, inputs: &Inputs) -> Tensor {
        let (x, shape) = self.case.arranged(&inputs.x, self.case.input);
        tensor(self.lstm.device(), &x, &shape)
    }

    /// The outputs time-major again.
    fn time_major(&self, y: &Tensor, width: usize) -> Vec<f32> {
        let (steps, batch) = (self.case.steps, self.case.batch);
        let y = y.to_vec().unwrap();
        // Turning the other layout round once more.
        let other = Case { steps: batch, batch: steps, ..self.case.clone() };
        other.arranged(&y, width).0
    }

    pub fn forward(&self, inputs: &Inputs) -> Results {
        let state = self.case.state.then(|| self.state(&inputs.h_0, &inputs.c_0));
        let lengths = self.case.lengths.as_deref();
        let (y, last) = self.lstm.forward_padded(&self.x(inputs), lengths, state.as_ref()).unwrap();
        self.results(&y, &last)
    }

    fn results(&self, y: &Tensor, state: &LstmState) -> Results {
        let width = self.case.directions() * self.case.output();
        assert_eq!(y.shape()[2], width);
        assert_eq!(state.h.shape(), [self.case.states(), self.case.batch, self.case.output()]);
        assert_eq!(state.c.shape(), [self.case.states(), self.case.batch, self.case.hidden]);
        Results {
            y: self.time_major(y, width),
            h_n: state.h.to_vec().unwrap(),
            c_n: state.c.to_vec().unwrap(),
        }
    }

    /// A training pass: its results, and the gradients of parameters, `x`, `h_0` and `c_0`.
    pub fn train(
        &self,
        inputs: &Inputs,
        step: u64,
    ) -> (Results, Vec<(String, Array)>, [Vec<f32>; 3]) {
        let state = self.case.state.then(|| self.state(&inputs.h_0, &inputs.c_0));
        let lengths = self.case.lengths.as_deref();
        let pass =
            self.lstm.forward_training(&self.x(inputs), lengths, state.as_ref(), step).unwrap();
        let results = self.results(pass.output(), pass.state());
        let width = self.case.directions() * self.case.output();
        let (dy, shape) = self.case.arranged(&inputs.dy, width);
        let dy = tensor(self.lstm.device(), &dy, &shape);
        let dstate = self.state(&inputs.dh_n, &inputs.dc_n);
        let gradients = pass.backward(Some(&dy), Some(&dstate)).unwrap();
        let dx = self.time_major(&gradients.x, self.case.input);
        let others = [dx, gradients.h_0.to_vec().unwrap(), gradients.c_0.to_vec().unwrap()];
        (results, gradients.parameters().unwrap(), others)
    }

    /// The reference's weights and initial states.
    fn reference(&self, inputs: &Inputs) -> (Vec<Vec<LayerWeights<f64>>>, Vec<f64>, Vec<f64>) {
        let dict = self.lstm.state_dict().unwrap();
        let initial = |name: &str, given: &[f32], width: usize| {
            if self.case.state {
                return wide(given);
            }
            let learned = dict.iter().find(|(n, _)| n == name);
            let row = |i: usize| match learned {
                Some((_, array)) => wide(&array.data()[i * width..][..width]),
                None => vec![0.0; width],
            };
            (0..self.case.states()).flat_map(|i| row(i).repeat(self.case.batch)).collect()
        };
        let h_0 = initial("h_0", &inputs.h_0, self.case.output());
        let c_0 = initial("c_0", &inputs.c_0, self.case.hidden);
        (stack(&dict, "", self.case.cell), h_0, c_0)
    }

    fn batch<'a>(
        &'a self,
        masks: &'a [Vec<f64>],
        drawn: &'a [Vec<LayerMasks<f64>>],
    ) -> Batch<'a, f64> {
        Batch { rows: self.case.batch, lengths: self.case.lengths.as_deref(), masks, drawn }
    }

    /// What training draws in timesteps, at an optimizer step.
    fn drawn(&self, stack: &[Vec<LayerWeights<f64>>], step: u64) -> Vec<Vec<LayerMasks<f64>>> {
        let (case, key) = (&self.case, Dropout::key(self.case.seed, step));
        let layer = |(l, directions): (usize, &Vec<LayerWeights<f64>>)| {
            let masks = |(d, w)| LayerMasks::drawn(w, key, (l, d), (case.steps, case.batch));
            directions.iter().enumerate().map(masks).collect()
        };
        stack.iter().enumerate().map(layer).collect()
    }
}

fn expect(what: &str, got: &Results, want: &Trace<f64>) {
    assert_close(&format!("{what}: y"), &got.y, &want.y, Tolerance::OUTPUT);
    assert_close(&format!("{what}: h_n"), &got.h_n, &want.h_n, Tolerance::OUTPUT);
    assert_close(&format!("{what}: c_n"), &got.c_n, &want.c_n, Tolerance::OUTPUT);
}

/// NaN in the padding means nothing to the reference either: a row's visits end before it.
fn zeroed(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| if v.is_nan() { 0.0 } else { v.into() }).collect()
}

pub fn equals_the_reference(device: &Device, case: Case) {
    let what = format!("{case:?}");
    let (model, inputs) = (Model::new(device, case.clone()), Inputs::of(&case));
    let (weights, h_0, c_0) = model.reference(&inputs);
    let x = zeroed(&inputs.x);
    let want = sequence::forward(&weights, &model.batch(&[], &[]), &x, &h_0, &c_0);
    expect(&what, &model.forward(&inputs), &want);

    let (masks, drawn) = (case.masks(3), model.drawn(&weights, 3));
    let batch = model.batch(&masks, &drawn);
    let trace = sequence::forward(&weights, &batch, &x, &h_0, &c_0);
    let (dh_n, dc_n) = (wide(&inputs.dh_n), wide(&inputs.dc_n));
    let want: Gradients<f64> =
        sequence::backward(&weights, &batch, &trace, &zeroed(&inputs.dy), &dh_n, &dc_n);
    let (results, parameters, [dx, dh_0, dc_0]) = model.train(&inputs, 3);
    expect(&what, &results, &trace);
    let mut found = 0;
    for (name, array) in &parameters {
        let learned = |all: &[f64], width: usize| -> Vec<f64> {
            let sum = |at: usize| {
                let (state, k) = (at / width, at % width);
                let rows = (0..case.batch).map(|b| all[(state * case.batch + b) * width + k]);
                if case.state { 0.0 } else { rows.sum() }
            };
            (0..case.states() * width).map(sum).collect()
        };
        let want = match name.as_str() {
            "h_0" => learned(&want.h_0, case.output()),
            "c_0" => learned(&want.c_0, case.hidden),
            _ => gradient_of(&want.layers, "", name).to_vec(),
        };
        assert_close(&format!("{what}: {name}"), array.data(), &want, Tolerance::gradient(&want));
        // Every parameter has one, unless a function is flat; but where no row has a timestep, or states are given.
        let used = case.lengths.as_ref().is_none_or(|lengths| lengths.iter().any(|&l| l > 1));
        let used = used && case.cell.is_plain();
        if used && case.steps > 1 && !(case.state && name.ends_with("_0")) {
            assert!(array.data().iter().any(|&d| d != 0.0), "{what}: {name} has no gradient");
        }
        found += 1;
    }
    let kinds = 2
        + [Bias::None, Bias::Single, Bias::Double].iter().position(|b| *b == case.bias).unwrap()
        + usize::from(case.proj_size > 0)
        + usize::from(has_peepholes(case.cell));
    assert_eq!(found, kinds * case.states() + 2 * usize::from(case.learned_state));
    for (name, got, want) in
        [("x", dx, &want.x), ("h_0", dh_0, &want.h_0), ("c_0", dc_0, &want.c_0)]
    {
        assert_close(&format!("{what}: d{name}"), &got, want, Tolerance::gradient(want));
    }
}

/// Outputs, states and all gradients of a random series of configurations and shapes.
pub fn random_configurations(device: &Device) {
    for i in 0..60 {
        equals_the_reference(device, Case::random(i));
    }
}

/// Rows without any timestep, in every configuration that treats them in its own way.
pub fn rows_without_timesteps(device: &Device) {
    for flags in 0..16 {
        let [bidirectional, projected, state, learned_state] = [1, 2, 4, 8].map(|f| flags & f > 0);
        let case = Case {
            layers: 2,
            bidirectional,
            proj_size: if projected { 3 } else { 0 },
            state,
            learned_state,
            steps: 4,
            batch: 4,
            lengths: Some(vec![0, 4, 0, 1]),
            dropout: 0.0,
            ..Case::random(flags)
        };
        let case = Case { hidden: 5, ..case };
        equals_the_reference(device, case.clone());
        equals_the_reference(device, Case { lengths: Some(vec![0; 4]), ..case });
    }
}

/// A row's results don't depend on what the other rows hold: bit for bit the same where those are
/// NaN, and where they are huge.
pub fn rows_dont_touch(device: &Device) {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    for flags in 0..8 {
        let [bidirectional, projected, padded] = [1, 2, 4].map(|f| flags & f > 0);
        let case = Case {
            layers: 2,
            input: 5,
            hidden: 19,
            proj_size: if projected { 7 } else { 0 },
            cell: Cell::new(),
            bias: Bias::Double,
            bidirectional,
            batch_first: flags == 3,
            learned_state: false,
            dropout: 0.0,
            steps: 6,
            batch: 9,
            lengths: padded.then(|| vec![6, 2, 0, 5, 6, 1, 3, 6, 4]),
            state: true,
            seed: 7,
        };
        let model = Model::new(device, case.clone());
        // Row `own` of `[.., B, K]`.
        let row = |values: &[f32], width: usize, own: usize| -> Vec<u32> {
            let rows = values.chunks(case.batch * width);
            rows.flat_map(|rows| bits(&rows[own * width..][..width])).collect()
        };
        let of = |inputs: &Inputs, own: usize| {
            let (output, hidden) = (case.output(), case.hidden);
            let forward = model.forward(inputs);
            let (results, _, [dx, dh_0, dc_0]) = model.train(inputs, 1);
            assert_eq!(bits(&forward.y), bits(&results.y));
            [
                row(&results.y, case.directions() * output, own),
                row(&results.h_n, output, own),
                row(&results.c_n, hidden, own),
                row(&dx, case.input, own),
                row(&dh_0, output, own),
                row(&dc_0, hidden, own),
            ]
        };
        let inputs = Inputs::of(&case);
        for own in [0, 2, 3, 8] {
            let want = of(&inputs, own);
            // Row 2 may have no timestep, but it has states.
            assert!(want.iter().flatten().any(|&bits| bits != 0));
            for foreign in [f32::NAN, 1e30] {
                let spoiled = |values: &[f32], width: usize| -> Vec<f32> {
                    let other = |i: usize| i / width % case.batch != own;
                    let value = |(i, &v): (usize, &f32)| if other(i) { foreign } else { v };
                    values.iter().enumerate().map(value).collect()
                };
                let width = case.directions() * case.output();
                let spoiled = Inputs {
                    x: spoiled(&inputs.x, case.input),
                    h_0: spoiled(&inputs.h_0, case.output()),
                    c_0: spoiled(&inputs.c_0, case.hidden),
                    dy: spoiled(&inputs.dy, width),
                    dh_n: spoiled(&inputs.dh_n, case.output()),
                    dc_n: spoiled(&inputs.dc_n, case.hidden),
                };
                assert_eq!(of(&spoiled, own), want, "row {own}, the others {foreign}: {case:?}");
            }
        }
    }
}

/// Step by step and in one call: the same bits. A row that is reset starts anew, the others go on.
pub fn steps_are_the_sequence(device: &Device) {
    for flags in 0..8 {
        let [projected, learned_state, given] = [1, 2, 4].map(|f| flags & f > 0);
        let case = Case {
            layers: 2,
            input: 3,
            hidden: 33,
            proj_size: if projected { 6 } else { 0 },
            cell: Cell::new(),
            bias: Bias::Double,
            bidirectional: false,
            batch_first: flags & 1 == 1,
            learned_state,
            dropout: 0.5, // not in inference
            steps: 11,
            batch: 5,
            lengths: None,
            state: given,
            seed: 3,
        };
        let (model, inputs) = (Model::new(device, case.clone()), Inputs::of(&case));
        let whole = model.forward(&inputs);
        let size = case.batch * case.input;
        let stream = |state: &mut LstmState, steps: std::ops::Range<usize>| -> Vec<f32> {
            let step = |t: usize| {
                let x_t = tensor(device, &inputs.x[t * size..][..size], &[case.batch, case.input]);
                let y_t = model.lstm.step(&x_t, state).unwrap();
                assert_eq!(y_t.shape(), [case.batch, case.output()]);
                y_t.to_vec().unwrap()
            };
            steps.flat_map(step).collect()
        };
        let start = || match given {
            true => model.state(&inputs.h_0, &inputs.c_0),
            false => model.lstm.initial_state(case.batch).unwrap(),
        };
        let mut state = start();
        let y = stream(&mut state, 0..case.steps);
        let (h_n, c_n) = (state.h.to_vec().unwrap(), state.c.to_vec().unwrap());
        assert_eq!(Results { y, h_n, c_n }, whole, "{case:?}");

        // Row 2 forgets before step 4.
        let mut state = start();
        stream(&mut state, 0..4);
        model.lstm.reset(&mut state, &[2]).unwrap();
        let after = stream(&mut state, 4..case.steps);
        let mut fresh = model.lstm.initial_state(case.batch).unwrap();
        let anew = stream(&mut fresh, 4..case.steps);
        let y_size = case.batch * case.output();
        for (i, (after, (anew, whole))) in after
            .chunks(case.output())
            .zip(anew.chunks(case.output()).zip(whole.y[4 * y_size..].chunks(case.output())))
            .enumerate()
        {
            assert_eq!(after, if i % case.batch == 2 { anew } else { whole });
        }
        assert!(model.lstm.reset(&mut state, &[5]).is_err());
    }
}

/// A thousand calls of all sizes: what the device holds stays within the largest one's plan and a
/// tenth, and nothing is compiled for a new size, once each way to cut a launch has been used.
pub fn a_thousand_sizes(device: &Device) {
    let case = Case {
        layers: 1,
        input: 3,
        hidden: 16,
        proj_size: 0,
        cell: Cell::new(),
        bias: Bias::Double,
        bidirectional: true,
        batch_first: true,
        learned_state: false,
        dropout: 0.0,
        steps: 16,
        batch: 32,
        lengths: None,
        state: false,
        seed: 1,
    };
    let mut r = Random::new(99);
    let mut sizes: Vec<(usize, usize)> =
        (0..1000).map(|_| (r.below(16) + 1, r.below(32) + 1)).collect();
    sizes[500] = (16, 32);
    let run = |lstm: &Lstm, (steps, batch): (usize, usize), training: bool| {
        let x = Tensor::zeros(lstm.device(), &[batch, steps, case.input]).unwrap();
        let lengths = vec![steps / 2; batch];
        match training {
            false => drop(lstm.forward_padded(&x, Some(&lengths), None).unwrap()),
            true => {
                let pass = lstm.forward_training(&x, Some(&lengths), None, 1).unwrap();
                drop(pass.backward(None, None).unwrap());
            }
        }
    };
    for training in [false, true] {
        let lstm = Lstm::new(device, case.config()).unwrap();
        let before = device.allocated_bytes();
        run(&lstm, (16, 32), training);
        let largest = device.allocated_bytes() - before;
        assert!(largest > 0);
        drop(lstm);
        let lstm = Lstm::new(device, case.config()).unwrap();
        // Rows for one part of a tile, two and three; a row a workgroup, and several.
        for size in [(2, 3), (1, 1), (2, 5), (2, 12)] {
            run(&lstm, size, training);
        }
        let pipelines = device.counts().pipelines;
        for (i, &size) in sizes.iter().enumerate() {
            run(&lstm, size, training);
            let held = device.allocated_bytes() - before;
            let most = largest + largest / 10;
            assert!(held <= most, "call {i}: {held} bytes, the largest plan has {largest}");
        }
        assert_eq!(device.counts().pipelines, pipelines, "nothing is compiled for a size");
    }
}

/// What a call has returned stays as it is, whatever is called later, and can be another call's input.
pub fn results_stay(device: &Device) {
    let lstm = Lstm::new(device, LstmConfig::new(5, 5)).unwrap();
    let x: Vec<Tensor> = (0..4)
        .map(|i| Tensor::from_slice(device, &normal(6 * 8 * 5, 1.0, i), &[6, 8, 5]).unwrap())
        .collect();
    let run = |x: &Tensor| lstm.forward(x, None).unwrap().0;
    let alone: Vec<Vec<f32>> = x.iter().map(|x| run(x).to_vec().unwrap()).collect();
    let kept: Vec<Tensor> = x.iter().map(run).collect();
    for (kept, alone) in kept.iter().zip(&alone) {
        assert_eq!(&kept.to_vec().unwrap(), alone);
    }
    // A clone keeps them after its original is gone; a copy has its own.
    let (clone, copy) = (kept[3].clone(), kept[3].duplicate().unwrap());
    drop(kept);
    let mut last = run(&x[0]);
    for x in &x {
        last = run(x);
    }
    assert_eq!(last.to_vec().unwrap(), alone[3]);
    assert_eq!(clone.to_vec().unwrap(), alone[3]);
    assert_eq!(copy.to_vec().unwrap(), alone[3]);
    // What a call that was let go has left behind is nowhere to be seen.
    let wrong = Tensor::from_slice(device, &[f32::NAN; 6 * 8 * 5], &[6, 8, 5]).unwrap();
    drop((run(&wrong), run(&wrong)));
    let lengths: Vec<usize> = (0..8).map(|row| row % 7).collect();
    let padded = || lstm.forward_padded(&x[3], Some(&lengths), None).unwrap().0;
    let fresh = padded().to_vec().unwrap();
    assert!(fresh.iter().all(|value| value.is_finite()));
    drop((run(&wrong), lstm.forward_padded(&wrong, Some(&[6; 8]), None).unwrap()));
    assert_eq!(padded().to_vec().unwrap(), fresh);
    assert_eq!(run(&x[3]).to_vec().unwrap(), alone[3]);
    // One run over the outputs of another, and over those of that.
    let given = Tensor::from_slice(device, &alone[3], &[6, 8, 5]).unwrap();
    let (twice, want) = (run(&clone), run(&given));
    assert_eq!(twice.to_vec().unwrap(), want.to_vec().unwrap());
    assert_eq!(run(&twice).to_vec().unwrap(), run(&want).to_vec().unwrap());
    assert_eq!(clone.to_vec().unwrap(), alone[3]);
}

/// Every command of plans in many configurations beside its twin, and the same plans cut by small
/// limits.
pub fn gradients_in_lockstep(device: &Device) {
    for i in 0..12 {
        let case = Case { hidden: 9, ..Case::random(100 + i) };
        let case = Case { proj_size: case.proj_size.min(5), ..case };
        let (plan, inputs) = planned(&case, &device.limits());
        let slices: Vec<(&str, &[f32])> =
            inputs.iter().map(|(name, values)| (*name, values.as_slice())).collect();
        let checks = lockstep(device, &plan.program, &slices)
            .unwrap_or_else(|e| panic!("{case:?}: {e}\n{plan}"));
        assert_eq!(checks.len(), plan.program.commands.len());
    }
}

fn shape(case: &Case) -> StackShape {
    StackShape {
        layers: case.layers,
        bias: case.bias,
        bidirectional: case.bidirectional,
        projection: Some(case.proj_size).filter(|&p| p > 0),
        cell: case.cell,
        learned_state: case.learned_state,
        ..StackShape::lstm(case.input, case.hidden)
    }
}

/// A plan of both passes, with inputs.
pub fn planned(case: &Case, limits: &Limits) -> (Plan, Vec<(&'static str, Vec<f32>)>) {
    let shape = shape(case);
    let sequences = Sequences {
        lengths: case.lengths.is_some(),
        batch_first: case.batch_first,
        state: case.state,
        ..Sequences::new(case.steps, case.batch)
    };
    let drop = (case.dropout > 0.0).then(|| Dropout::new(case.dropout));
    let plan = Plan::gradient(&shape, &sequences, drop, limits).unwrap();
    let table = ParameterTable::new(&shape);
    let mut params = vec![0.0; table.len];
    for (i, entry) in table.entries.iter().enumerate() {
        let std = 2.0 / (entry.shape.last().copied().unwrap_or(1) as f32).sqrt();
        let values = entry.from_pytorch(&normal(entry.numel(), std, i as u64));
        params[entry.start..][..entry.len].copy_from_slice(&values);
    }
    let clean = |values: Vec<f32>| -> Vec<f32> {
        values.into_iter().map(|v| if v.is_nan() { 0.0 } else { v }).collect()
    };
    let inputs = Inputs::of(case);
    let width = case.directions() * case.output();
    let mut all = vec![
        ("params", params),
        ("x", case.arranged(&clean(inputs.x), case.input).0),
        ("dy", case.arranged(&clean(inputs.dy), width).0),
        ("dh_n", inputs.dh_n),
        ("dc_n", inputs.dc_n),
    ];
    if case.state {
        all.extend([("h_0", inputs.h_0), ("c_0", inputs.c_0)]);
    }
    if let Some(lengths) = &case.lengths {
        all.push(("lengths", lengths.iter().map(|&l| l as f32).collect()));
    }
    if drop.is_some() || shape.cell.is_random() {
        all.push(("key", Dropout::halves(Dropout::key(case.seed, 1)).to_vec()));
    }
    (plan, all)
}

/// The same plans cut by limits so small that both directions can't share a launch: the same
/// numbers.
pub fn small_limits_change_nothing(device: &Device) {
    for flags in 0..16 {
        let [bidirectional, projected, padded, dropped] = [1, 2, 4, 8].map(|f| flags & f > 0);
        let case = Case {
            layers: 2,
            input: 5,
            hidden: 12,
            proj_size: if projected { 6 } else { 0 },
            cell: Cell::new(),
            bias: Bias::Double,
            bidirectional,
            batch_first: flags % 3 == 1,
            learned_state: flags % 5 == 0,
            dropout: if dropped { 0.25 } else { 0.0 },
            steps: 37,
            batch: 11,
            lengths: padded.then(|| vec![37, 1, 20, 0, 36, 37, 2, 19, 30, 5, 8]),
            state: flags % 5 != 0,
            seed: 5,
        };
        let run = |limits: &Limits| run_planned(device, &case, limits);
        let (plan, _) = run(&device.limits());
        let small = Limits {
            max_binding: 1300,
            max_workgroups: 8,
            loop_budget: Some(200),
            ..device.limits()
        };
        let small = Limits { alignment: small.alignment.max(64), ..small };
        let (cut, got) = run(&small);
        // Whole, but of the same tier: each has its own order of sums.
        let (_, want) = run(&Limits { tier: Some(cut.tier), ..device.limits() });
        let launches = |plan: &Plan| {
            let table = gatefold::kernels::table();
            let named = |d: &gatefold::command::Dispatch| table[d.kernel].name.starts_with("lstm_");
            plan.program.dispatches().filter(|(_, d)| named(d)).count()
        };
        let passes = 2 * 2;
        let whole = match (plan.tier, device.limits().executor) {
            (Tier::Sequence, Executor::Cpu) => passes * case.directions(),
            (Tier::Sequence, Executor::Gpu) => passes,
            _ => passes * 37,
        };
        let steps = projected && device.limits().executor == Executor::Cpu;
        assert_eq!(plan.tier == Tier::Step, steps, "{case:?}");
        assert_eq!(launches(&plan), whole, "{case:?}");
        // Where the directions had shared launches, they no longer do, and walks are single timesteps.
        assert!(launches(&cut) > passes * 37 * case.directions() * 9 / 10, "{case:?}");
        assert!(cut.program.commands.len() > plan.program.commands.len() + 20, "{case:?}");
        equal_in_pieces(&case, &got, &want);
    }
}

/// What [`run_planned`] reads.
const READ: [&str; 7] = ["dx_0", "dh_0", "dc_0", "h_n", "c_n", "grads", "y"];

/// Runs the plan of a training step, and reads what it gave.
pub fn run_planned(device: &Device, case: &Case, limits: &Limits) -> (Plan, Vec<Vec<f32>>) {
    let (plan, inputs) = planned(case, limits);
    let session = device.session(&plan.program).unwrap();
    for (name, values) in &inputs {
        session.write(name, values).unwrap();
    }
    session.run().unwrap();
    let mut all: Vec<Vec<f32>> = READ[..6].iter().map(|name| session.read(name).unwrap()).collect();
    let output = plan.output;
    let buffer = &plan.program.spec(output.buffer).name;
    all.push(session.read(buffer).unwrap()[output.start..][..output.len].to_vec());
    (plan, all)
}

/// Checks what a plan in pieces gave beside the whole one's, whose sums have another order.
pub fn equal_in_pieces(case: &Case, got: &[Vec<f32>], want: &[Vec<f32>]) {
    for ((got, want), name) in got.iter().zip(want).zip(READ) {
        let want = wide(want);
        let tolerance = match Tolerance::gradient(&want) {
            Tolerance::Mixed { absolute, relative } => {
                Tolerance::Mixed { absolute: absolute / 10.0, relative }
            }
            other => other,
        };
        assert_close(&format!("{name} of {case:?}"), got, &want, tolerance);
    }
}

/// Seventeen million parameters, both passes, beside the reference.
pub fn seventeen_million_parameters(device: &Device) {
    let case = Case {
        layers: 1,
        input: 1460,
        hidden: 1460,
        proj_size: 0,
        cell: Cell::new(),
        bias: Bias::Double,
        bidirectional: false,
        batch_first: false,
        learned_state: false,
        dropout: 0.0,
        steps: 2,
        batch: 2,
        lengths: None,
        state: true,
        seed: 2,
    };
    let table = ParameterTable::new(&shape(&case));
    assert!(table.entries.iter().map(|entry| entry.numel()).sum::<usize>() > 17_000_000);
    equals_the_reference(device, case);
}

/// What an earlier call of another size has left in a workspace, NaN too, reaches nobody.
pub fn workspaces_hold_nothing_over(device: &Device) {
    for flags in 0..16 {
        let [bidirectional, projected, padded, state] = [1, 2, 4, 8].map(|f| flags & f > 0);
        let case = Case {
            layers: 2,
            input: 3,
            hidden: 7,
            proj_size: if projected { 5 } else { 0 },
            cell: Cell::new(),
            bias: Bias::Single,
            bidirectional,
            batch_first: flags % 3 == 0,
            learned_state: false,
            dropout: if flags % 5 == 0 { 0.4 } else { 0.0 },
            steps: 5,
            batch: 4,
            lengths: padded.then(|| vec![1, 5, 0, 3]),
            state,
            seed: 8,
        };
        let inputs = Inputs::of(&case);
        let small = Model::new(device, case.clone());
        let want = (small.forward(&inputs), small.train(&inputs, 2));
        // The same model once more, after a larger call that was nothing but NaN.
        let large =
            Case { steps: 9, batch: 11, lengths: padded.then(|| vec![9; 11]), ..case.clone() };
        let mut spoiled = Inputs::of(&large);
        for values in [
            &mut spoiled.x,
            &mut spoiled.h_0,
            &mut spoiled.c_0,
            &mut spoiled.dy,
            &mut spoiled.dh_n,
            &mut spoiled.dc_n,
        ] {
            values.fill(f32::NAN);
        }
        let mut model = Model { case: large, ..small };
        assert!(model.forward(&spoiled).y.iter().all(|y| y.is_nan()));
        model.train(&spoiled, 2);
        model.case = case.clone();
        assert_eq!((model.forward(&inputs), model.train(&inputs, 2)), want, "{case:?}");
    }
}

/// A sequence without a batch: the same numbers, a dimension fewer.
pub fn unbatched(device: &Device) {
    for (bidirectional, batch_first) in [(false, false), (true, true)] {
        let case = Case { bidirectional, batch_first, batch: 1, lengths: None, ..Case::random(4) };
        let case = Case { state: true, learned_state: false, dropout: 0.0, ..case };
        let (model, inputs) = (Model::new(device, case.clone()), Inputs::of(&case));
        let want = model.forward(&inputs);
        let (_, parameters, [dx, dh_0, dc_0]) = model.train(&inputs, 1);
        let (output, width) = (case.output(), case.directions() * case.output());
        let sizes = [case.states(), output, case.hidden];
        let state = |h: &[f32], c: &[f32]| LstmState {
            h: tensor(device, h, &[sizes[0], sizes[1]]),
            c: tensor(device, c, &[sizes[0], sizes[2]]),
        };
        let x = tensor(device, &inputs.x, &[case.steps, case.input]);
        let given = state(&inputs.h_0, &inputs.c_0);
        let (y, last) = model.lstm.forward(&x, Some(&given)).unwrap();
        assert_eq!(y.shape(), [case.steps, width]);
        assert_eq!((last.h.shape(), last.c.shape()), (given.h.shape(), given.c.shape()));
        assert_eq!(y.to_vec().unwrap(), want.y);
        assert_eq!(last.h.to_vec().unwrap(), want.h_n);
        assert_eq!(last.c.to_vec().unwrap(), want.c_n);
        let pass = model.lstm.forward_training(&x, None, Some(&given), 1).unwrap();
        let dy = tensor(device, &inputs.dy, &[case.steps, width]);
        let gradients = pass.backward(Some(&dy), Some(&state(&inputs.dh_n, &inputs.dc_n))).unwrap();
        assert_eq!(gradients.x.shape(), x.shape());
        assert_eq!(gradients.h_0.shape(), given.h.shape());
        assert_eq!(gradients.x.to_vec().unwrap(), dx);
        assert_eq!(gradients.h_0.to_vec().unwrap(), dh_0);
        assert_eq!(gradients.c_0.to_vec().unwrap(), dc_0);
        assert_eq!(gradients.parameters().unwrap(), parameters);
        // A batch's state doesn't fit.
        let batched = model.state(&inputs.h_0, &inputs.c_0);
        assert!(model.lstm.forward(&x, Some(&batched)).is_err());
    }
}

/// One step of a cell is one step of a layer, with and without states and biases.
pub fn cells_equal_the_reference(device: &Device) {
    for bias in [Bias::None, Bias::Single, Bias::Double] {
        let (batch, input, hidden) = (3, 5, 17);
        let init = Init::Normal { mean: 0.0, std: 0.5 };
        let config = LstmConfig::new(input, hidden).bias(bias).init("weight", init);
        let cell = LstmCell::new(device, config).unwrap();
        let named = |(name, array): (String, Array)| (format!("{name}_l0"), array);
        let dict: Vec<_> = cell.state_dict().unwrap().into_iter().map(named).collect();
        let x = normal(2 * batch * input, 2.0, 1);
        let zeros = vec![0.0; batch * hidden];
        let rows = Batch::of(batch);
        let want =
            sequence::forward(&stack(&dict, "", Cell::new()), &rows, &wide(&x), &zeros, &zeros);
        let mut state: Option<LstmState> = None;
        for x_t in x.chunks(batch * input) {
            let x_t = tensor(device, x_t, &[batch, input]);
            state = Some(cell.forward(&x_t, state.as_ref()).unwrap());
        }
        let state = state.unwrap();
        assert_eq!(state.h.shape(), [batch, hidden]);
        assert_close("h", &state.h.to_vec().unwrap(), &want.h_n, Tolerance::OUTPUT);
        assert_close("c", &state.c.to_vec().unwrap(), &want.c_n, Tolerance::OUTPUT);
    }
    let several = [
        LstmConfig::new(2, 3).layers(2),
        LstmConfig::new(2, 3).bidirectional(true),
        LstmConfig::new(2, 3).proj_size(1),
        LstmConfig::new(2, 3).learned_state(true),
    ];
    for config in several {
        assert!(LstmCell::new(device, config).is_err());
    }
}

/// Calls of several threads, with lengths, in training and as streams, don't disturb one another.
pub fn calls_in_parallel(device: &Device) {
    let cases: Vec<Case> = (0..4)
        .map(|i| {
            let lengths = (0..6).map(|b| (b + i) % 6).collect();
            let case =
                Case { batch: 6, steps: 5 + i % 2, lengths: Some(lengths), ..Case::random(50) };
            Case { hidden: 17, proj_size: 0, state: true, ..case }
        })
        .collect();
    let model = Model::new(device, cases[0].clone());
    let of = |case: &Case| {
        let lstm = &model.lstm;
        let inputs = Inputs::of(case);
        let (x, shape) = case.arranged(&inputs.x, case.input);
        let state = model.state(&inputs.h_0, &inputs.c_0);
        let lengths = case.lengths.as_deref();
        let x = tensor(device, &x, &shape);
        let (y, last) = lstm.forward_padded(&x, lengths, Some(&state)).unwrap();
        let pass = lstm.forward_training(&x, lengths, Some(&state), 1).unwrap();
        let gradients = pass.backward(Some(&y), Some(&last)).unwrap();
        (y.to_vec().unwrap(), gradients.parameters().unwrap(), last.h.to_vec().unwrap())
    };
    let alone: Vec<_> = cases.iter().map(of).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            cases.iter().cycle().take(8).map(|case| scope.spawn(|| of(case))).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.collect()
    });
    for (i, result) in together.iter().enumerate() {
        assert_eq!(*result, alone[i % 4]);
    }
}

/// Calls beside a clone that replaces all parameters compute with the old ones or with the new, and so does
/// what reads them.
pub fn calls_beside_replaced_parameters(device: &Device) {
    let (steps, batch, hidden) = (6, 2, 256);
    let model =
        |seed: u64| Lstm::new(device, LstmConfig::new(8, hidden).layers(2).seed(seed)).unwrap();
    let dicts = [1, 2].map(|seed| model(seed).state_dict().unwrap());
    let lstm = model(1);
    let x = tensor(device, &normal(steps * batch * 8, 1.0, 1), &[steps, batch, 8]);
    let outputs = |lstm: &Lstm| lstm.forward(&x, None).unwrap().0.to_vec().unwrap();
    let want = [outputs(&lstm), outputs(&model(2))];
    assert_ne!(want[0], want[1]);
    // A pass back needs the parameters of its pass forward.
    let pass = lstm.forward_training(&x, None, None, 1).unwrap();
    let mut clone = lstm.clone();
    clone.load_state_dict(&dicts[0]).unwrap();
    let refused = pass.backward(None, None).unwrap_err().to_string();
    assert!(refused.contains("load_state_dict"), "{refused}");

    let rounds = if device.limits().executor == Executor::Cpu { 300 } else { 30 };
    let seen = std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            let mut seen = [0, 0];
            for round in 0..rounds {
                let y = outputs(&lstm);
                let found = want.iter().position(|want| *want == y);
                seen[found.unwrap_or_else(|| panic!("round {round}: of neither model"))] += 1;
            }
            seen
        });
        let reads = scope.spawn(|| {
            for _ in 0..rounds {
                let dict = lstm.state_dict().unwrap();
                assert!(dicts.contains(&dict), "parameters of neither model");
            }
        });
        let mut other = 0;
        while !calls.is_finished() || !reads.is_finished() {
            other = 1 - other;
            clone.load_state_dict(&dicts[other]).unwrap();
        }
        reads.join().unwrap();
        calls.join().unwrap()
    });
    assert_eq!(seen[0] + seen[1], rounds);
    assert!(device.limits().executor != Executor::Cpu || (seen[0] > 0 && seen[1] > 0), "{seen:?}");
}
