//! Heads of several modules, layers of several sizes, tied weights, padding tokens: whole models against
//! their equations in f64 and the central differences of these.

use gatefold::command::{Executor, Limits};
use gatefold::lockstep::lockstep;
use gatefold::plan::{HeadModule, ParameterTable, Plan, Sequences, StackShape, TrainingOptions};
use gatefold::reference::sequence::{self, Batch, LayerWeights};
use gatefold::reference::{Cell, Dropout, Nonlinearity, Tolerance, philox};
use gatefold::train::{Loss, Sgd, Trainer};
use gatefold::{
    Activation, Array, Dataset, Device, Forecaster, Head, Init, LoadOptions, LstmConfig,
    ModuleNames, Readout,
};

use super::golden::Golden;
use super::random::{Random, normal};
use super::{assert_close, wide};

/// A model, what it runs over, and what it is compared with.
struct Case {
    sizes: Vec<usize>,
    input: usize,
    vocabulary: Option<usize>,
    padding_idx: Option<usize>,
    tied: bool,
    reverse: bool,
    both: bool,
    projection: usize,
    readout: Readout,
    head: Head,
    dropout: f64,
    steps: usize,
    batch: usize,
    lengths: Option<Vec<usize>>,
    seed: u64,
}

impl Case {
    fn random(i: u64) -> Case {
        let mut r = Random::new(i);
        let layers = 1 + r.below(3);
        let mut sizes: Vec<usize> = (0..layers).map(|_| 3 + r.below(6)).collect();
        if r.coin() {
            sizes.fill(4);
        }
        let reverse = r.below(3) == 0;
        let both = !reverse && r.below(3) == 0;
        let smallest = sizes.iter().min().copied().unwrap();
        let projection = if r.below(3) == 0 { 1 + r.below(smallest - 1) } else { 0 };
        let (steps, batch) = (1 + r.below(6), 1 + r.below(5));
        let tied = r.below(4) == 0;
        let vocabulary = (tied || r.below(3) == 0).then(|| 4 + r.below(4));
        let input = 1 + r.below(5);
        let functions = Nonlinearity::ALL;
        let mut head = Head::new();
        for _ in 0..r.below(3) {
            head = match r.below(4) {
                0 => head.dropout(0.4),
                1 => head.nonlinearity(functions[r.below(6)]),
                2 => head.linear(1 + r.below(6)),
                _ => head.linear_without_bias(1 + r.below(6)).nonlinearity(functions[r.below(6)]),
            };
        }
        // A decoder has as many features as an embedding.
        head = match tied {
            true if r.coin() => head.linear(input).tanh().linear(vocabulary.unwrap()),
            true => head.linear(input).linear_without_bias(vocabulary.unwrap()),
            false if r.below(4) == 0 => head,
            false => head.linear(1 + r.below(4)),
        };
        let lengths = (0..batch).map(|_| r.below(steps + 1)).collect();
        Case {
            input,
            vocabulary,
            padding_idx: vocabulary.filter(|_| r.coin()).map(|v| r.below(v)),
            tied,
            reverse,
            both,
            projection,
            readout: Readout::ALL[r.below(5)],
            head,
            dropout: if r.coin() { 0.3 } else { 0.0 },
            steps,
            batch,
            lengths: r.coin().then_some(lengths),
            seed: i,
            sizes,
        }
    }

    fn config(&self) -> LstmConfig {
        let config = LstmConfig::stack(self.input, &self.sizes)
            .reverse(self.reverse)
            .bidirectional(self.both)
            .proj_size(self.projection)
            .readout(self.readout)
            .dropout(self.dropout)
            .seed(self.seed)
            .init("", Init::Normal { mean: 0.0, std: 0.6 });
        let config = match self.vocabulary {
            Some(vocabulary) => config.embedding(vocabulary).tie_weights(self.tied),
            None => config,
        };
        match self.padding_idx {
            Some(token) => config.padding_idx(token),
            None => config,
        }
    }

    fn length(&self, b: usize) -> usize {
        self.lengths.as_ref().map_or(self.steps, |lengths| lengths[b])
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.both)
    }

    /// What training multiplies the elements of a `[T, B, K]` with in the first step.
    fn mask(&self, p: f64, place: usize, (steps, width): (usize, usize)) -> Vec<f64> {
        let key = Dropout::key_of_part(self.seed, 1, 0);
        let rows = (0..steps).flat_map(|t| (0..self.batch).map(move |b| (t, b)));
        let factor = |t: usize, b: usize, k: usize| {
            let word = philox([k / 4, b, t, place].map(|v| v as u32), key)[k % 4];
            if word < (p * 2f64.powi(32)) as u32 { 0.0 } else { 1.0 / (1.0 - p) }
        };
        rows.flat_map(|(t, b)| (0..width).map(move |k| factor(t, b, k))).collect()
    }

    /// The outputs of the model, `[B, O]` or `[T, B, O]`, from its equations. `kept` are the parameters that a
    /// padding token reads.
    fn outputs(&self, dict: &Dict, kept: &Dict, x: &[f32], training: bool) -> Vec<f64> {
        let rows = Batch { lengths: self.lengths.as_deref(), ..Batch::of(self.batch) };
        let mut input: Vec<f64> = match self.vocabulary {
            None => wide(x),
            Some(_) => {
                let row = |&token: &f32| {
                    let token = token as usize;
                    let from = if Some(token) == self.padding_idx { kept } else { dict };
                    from.get("embedding.weight")[token * self.input..][..self.input].to_vec()
                };
                x.iter().flat_map(row).collect()
            }
        };
        let mut width = self.input;
        let mut finals: Vec<Vec<f64>> = Vec::new();
        for (l, &units) in self.sizes.iter().enumerate() {
            let state = if self.projection > 0 { self.projection } else { units };
            let of = |d: usize| {
                let prefix =
                    if self.sizes.len() > 1 { format!("lstm.{l}.") } else { "lstm.".into() };
                let suffix = if d == 1 { "_reverse" } else { "" };
                let get = |kind: &str| dict.get(&format!("{prefix}{kind}_l0{suffix}")).to_vec();
                let bias = get("bias_ih").iter().zip(get("bias_hh")).map(|(a, b)| a + b).collect();
                let projects = self.projection > 0;
                let weight_hr = if projects { get("weight_hr") } else { Vec::new() };
                let (weight_ih, weight_hh) = (get("weight_ih"), get("weight_hh"));
                LayerWeights {
                    input: width,
                    hidden: units,
                    weight_ih,
                    weight_hh,
                    bias,
                    weight_hr,
                    weight_peephole: Vec::new(),
                    cell: Cell::new(),
                }
            };
            let zeros = vec![0.0; self.batch * units];
            let traces: Vec<_> = (0..self.directions())
                .map(|d| {
                    let back = self.reverse || d == 1;
                    sequence::layer_forward(
                        &of(d),
                        &rows,
                        (0, usize::from(back)),
                        &input,
                        &zeros,
                        &zeros,
                    )
                })
                .collect();
            width = state * self.directions();
            let mut y = vec![0.0; self.steps * self.batch * width];
            for (d, trace) in traces.iter().enumerate() {
                for (row, values) in trace.y.chunks(state).enumerate() {
                    y[row * width + d * state..][..state].copy_from_slice(values);
                }
            }
            finals = traces.into_iter().map(|trace| trace.h_n).collect();
            if training && l + 1 < self.sizes.len() && self.dropout > 0.0 {
                let mask = self.mask(self.dropout, l, (self.steps, width));
                for (at, y) in y.iter_mut().enumerate() {
                    // Reverse layers drop by the order in which they visit.
                    let (t, b, k) = (at / width / self.batch, at / width % self.batch, at % width);
                    let length = self.length(b);
                    let visited = match self.reverse {
                        true if t < length => length - 1 - t,
                        _ => t,
                    };
                    *y *= mask[(visited * self.batch + b) * width + k];
                }
            }
            input = y;
        }
        let mut read = self.read(&input, &finals, width);
        let steps = if self.readout == Readout::EveryStep { self.steps } else { 1 };
        let linears = self.head.linears(width);
        for (module, kind) in self.head.modules().iter().enumerate() {
            match *kind {
                HeadModule::Dropout(p) if training => {
                    let mask = self.mask(p.0, self.sizes.len() + module, (steps, width));
                    read.iter_mut().zip(mask).for_each(|(v, m)| *v *= m);
                }
                HeadModule::Dropout(_) => {}
                HeadModule::Nonlinearity(f) => read.iter_mut().for_each(|v| *v = f.value(*v)),
                HeadModule::Linear { outputs, bias } => {
                    let number = linears.iter().position(|linear| linear.module == module).unwrap();
                    let prefix = match linears.len() {
                        1 => "fc.".to_owned(),
                        _ => format!("fc.{module}."),
                    };
                    let last = number + 1 == linears.len();
                    let weight = match self.tied && last {
                        true => dict.get("embedding.weight"),
                        false => dict.get(&format!("{prefix}weight")),
                    };
                    let bias = bias.then(|| dict.get(&format!("{prefix}bias")));
                    let row = |x: &[f64]| {
                        let dot = |o: usize| {
                            let weight = &weight[o * width..][..width];
                            let bias = bias.map_or(0.0, |bias| bias[o]);
                            bias + x.iter().zip(weight).map(|(x, w)| x * w).sum::<f64>()
                        };
                        (0..outputs).map(dot).collect::<Vec<f64>>()
                    };
                    read = read.chunks(width).flat_map(row).collect();
                    width = outputs;
                }
            }
        }
        read
    }

    fn read(&self, y: &[f64], finals: &[Vec<f64>], width: usize) -> Vec<f64> {
        let at = |t: usize, b: usize| &y[(t * self.batch + b) * width..][..width];
        let column = |b: usize, k: usize| (0..self.length(b)).map(move |t| at(t, b)[k]);
        let of_row = |b: usize| -> Vec<f64> {
            let length = self.length(b);
            match self.readout {
                Readout::FinalStates => {
                    let state = width / finals.len();
                    finals.iter().flat_map(|h| h[b * state..][..state].to_vec()).collect()
                }
                _ if length == 0 => vec![0.0; width],
                Readout::LastOutput => at(length - 1, b).to_vec(),
                Readout::MeanOverTime => {
                    (0..width).map(|k| column(b, k).sum::<f64>() / length as f64).collect()
                }
                _ => (0..width).map(|k| column(b, k).fold(f64::MIN, f64::max)).collect(),
            }
        };
        match self.readout {
            Readout::EveryStep => y.to_vec(),
            _ => (0..self.batch).flat_map(of_row).collect(),
        }
    }

    /// The mean squared error over what counts; outputs and targets time-major.
    fn loss(&self, outputs: &[f64], target: &[f64], width: usize) -> f64 {
        let (mut sum, mut count) = (0.0, 0);
        for (row, (y, target)) in outputs.chunks(width).zip(target.chunks(width)).enumerate() {
            let (t, b) = (row / self.batch, row % self.batch);
            if self.readout == Readout::EveryStep && t >= self.length(b) {
                continue;
            }
            sum += y.iter().zip(target).map(|(y, t)| (y - t) * (y - t)).sum::<f64>();
            count += width;
        }
        sum / count as f64
    }
}

/// Parameters by their names.
#[derive(Clone)]
struct Dict(Vec<(String, Vec<f64>)>);

impl Dict {
    fn of(model: &Forecaster) -> Dict {
        let tensors = model.state_dict().unwrap();
        Dict(tensors.into_iter().map(|(name, array)| (name, wide(array.data()))).collect())
    }

    fn get(&self, name: &str) -> &[f64] {
        let found = self.0.iter().find(|(own, _)| own == name);
        &found.unwrap_or_else(|| panic!("{name} isn't there")).1
    }
}

/// `[T, B, K]` as `[B, T, K]`.
fn batch_first<T: Copy>(values: &[T], steps: usize, batch: usize) -> Vec<T> {
    let width = values.len() / (steps * batch);
    let row = |t: usize, b: usize| &values[(t * batch + b) * width..][..width];
    (0..batch).flat_map(|b| (0..steps).flat_map(move |t| row(t, b).to_vec())).collect()
}

pub fn equal_the_reference(device: &Device) {
    let (mut trained, mut in_files) = (0, 0);
    let count = if device.limits().executor == Executor::Cpu { 96 } else { 32 };
    for i in 0..count {
        let case = Case::random(i);
        let (steps, batch) = (case.steps, case.batch);
        let what = format!("{i}: {}, {}", case.config(), case.head);
        let model = Forecaster::with_head(device, case.config(), case.head.clone()).unwrap();
        let before = Dict::of(&model);
        let x: Vec<f32> = match case.vocabulary {
            None => normal(steps * batch * case.input, 1.0, 1),
            Some(v) => (0..steps * batch).map(|at| (at * 7 % 11 % v) as f32).collect(),
        };
        let shape = match case.vocabulary {
            None => vec![batch, steps, case.input],
            Some(_) => vec![batch, steps],
        };
        let given = Array::new(batch_first(&x, steps, batch), &shape).unwrap();
        let width = model.outputs();
        let every = case.readout == Readout::EveryStep;
        let times = if every { steps } else { 1 };

        // Inference; what stands behind a row's end says nothing.
        let want = case.outputs(&before, &before, &x, false);
        let y = match &case.lengths {
            Some(lengths) => model.predict((&given, lengths)).unwrap(),
            None => model.predict(&given).unwrap(),
        };
        let want = batch_first(&want, times, batch);
        for (row, (got, want)) in y.data().chunks(width).zip(want.chunks(width)).enumerate() {
            if !every || row % steps < case.length(row / steps) {
                assert_close(&what, got, want, Tolerance::OUTPUT);
            }
        }

        // In files, and under other names.
        if i % 4 == 0 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.safetensors");
            let mut other =
                Forecaster::with_head(device, case.config(), case.head.clone()).unwrap();
            let linears = case.head.linears(1).len().max(1);
            let heads: Vec<String> = (0..linears).map(|n| format!("part{n}.dense")).collect();
            let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
            let lstms: Vec<String> = (0..case.sizes.len()).map(|l| format!("rnn{l}")).collect();
            let lstms: Vec<&str> = lstms.iter().map(String::as_str).collect();
            let names = ModuleNames::new().heads(&heads).embedding("words");
            let names = if lstms.len() > 1 { names.lstms(&lstms) } else { names.lstm("rnn") };
            other.rename(&names).unwrap();
            for model in [&model, &other] {
                model.save(&path).unwrap();
                let loaded = Forecaster::load(device, &path).unwrap();
                assert_eq!(loaded.state_dict().unwrap(), model.state_dict().unwrap(), "{what}");
                if case.lengths.is_none() {
                    assert_eq!(loaded.predict(&given).unwrap(), y, "{what}");
                }
            }
            // From names alone, with what they don't tell.
            let mut options = LoadOptions::new().names(names).readout(case.readout);
            options = options.modules(case.head.clone());
            options = if case.tied { options.tie_weights() } else { options };
            options = if case.reverse { options.reverse() } else { options };
            let tensors = other.state_dict().unwrap();
            let loaded = Forecaster::from_state_dict_as(device, &tensors, &options).unwrap();
            if case.lengths.is_none() {
                assert_eq!(loaded.predict(&given).unwrap(), y, "{what}");
            }
            in_files += 1;
        }

        // One step of gradient descent with a rate of 1: what is taken off is the gradient.
        let target = normal(times * batch * width, 1.0, 2);
        let counts = (0..batch).any(|b| case.length(b) > 0);
        if before.0.is_empty() || every && !counts {
            continue;
        }
        let shape = if every { vec![batch, steps, width] } else { vec![batch, width] };
        let targets = Array::new(batch_first(&target, times, batch), &shape).unwrap();
        let mut data = Dataset::new(given, targets).unwrap();
        if let Some(lengths) = &case.lengths {
            data = data.with_lengths(lengths).unwrap();
        }
        let mut trainer =
            Trainer::new(model, Loss::mse(), Sgd::new(1.0)).batch_size(batch).epochs(1);
        let report = trainer.fit(&data, None, |_| ()).unwrap();
        let after = Dict::of(trainer.model());
        let target = wide(&target);
        let loss = |dict: &Dict| {
            let outputs = case.outputs(dict, &before, &x, true);
            case.loss(&outputs, &target, width)
        };
        let want = loss(&before);
        assert!((f64::from(report.losses[0]) - want).abs() < 1e-5 * (1.0 + want), "{what}");
        for (at, (name, values)) in before.0.iter().enumerate() {
            // A tied weight is under its other name.
            if case.tied && name.ends_with("weight") && name.starts_with("fc") {
                let same = after.get(name) == after.get("embedding.weight");
                if name
                    != &after
                        .0
                        .iter()
                        .rfind(|(own, _)| own.starts_with("fc") && own.ends_with("weight"))
                        .unwrap()
                        .0
                {
                    assert!(!same, "{what}");
                } else {
                    assert!(same, "{what}");
                    continue;
                }
            }
            let got: Vec<f32> =
                values.iter().zip(&after.0[at].1).map(|(b, a)| (b - a) as f32).collect();
            let eps = 1e-5;
            let difference = |k: usize| {
                let moved = |by: f64| {
                    let mut dict = before.clone();
                    dict.0[at].1[k] += by;
                    loss(&dict)
                };
                (moved(eps) - moved(-eps)) / (2.0 * eps)
            };
            let want: Vec<f64> = (0..values.len()).map(difference).collect();
            // Parameters are read to the last bit of theirs.
            let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let tolerance = Tolerance::Mixed { absolute: 1e-4 * largest + 5e-7, relative: 0.0 };
            assert_close(&format!("{what}, {name}"), &got, &want, tolerance);
        }
        trained += 1;
    }
    assert!(trained > count / 2 && in_files > 4);
}

/// A weight that is two: in files with one name and with both, and what isn't one is said.
pub fn tied_weights(device: &Device) {
    let config = LstmConfig::new(4, 4).embedding(6).tie_weights(true).seed(3);
    let model = Forecaster::every_step(device, config, 6).unwrap();
    let x = Array::new(vec![1.0, 5.0, 0.0, 2.0, 2.0, 3.0], &[2, 3]).unwrap();
    let y = model.predict(&x).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model.save(&path).unwrap();
    let file = gatefold::checkpoint::read(&path).unwrap();
    let find = |name: &str| file.tensors.iter().find(|(own, _)| own == name).map(|(_, a)| a);
    assert_eq!(find("fc.weight"), find("embedding.weight"));
    // As safetensors' own tools leave one of the two, either, and name it.
    let options = LoadOptions::new().readout(Readout::EveryStep);
    for (removed, kept) in [("fc.weight", "embedding.weight"), ("embedding.weight", "fc.weight")] {
        let tensors: Vec<_> =
            file.tensors.iter().filter(|(name, _)| name != removed).cloned().collect();
        let metadata =
            [("format", "pt"), (removed, kept)].map(|(a, b)| (a.to_owned(), b.to_owned()));
        gatefold::checkpoint::write(&path, &tensors, &metadata.into()).unwrap();
        let loaded = Forecaster::load_as(device, &path, &options).unwrap();
        assert_eq!(loaded.predict(&x).unwrap(), y);
        assert_eq!(loaded.state_dict().unwrap(), model.state_dict().unwrap());
        // Trained on, both are still one.
        let targets = Array::new(vec![0.0; 6], &[2, 3]).unwrap();
        let data = Dataset::new(x.clone(), targets).unwrap();
        let mut trainer = Trainer::new(loaded, Loss::cross_entropy(), Sgd::new(0.1)).epochs(2);
        trainer.fit(&data, None, |_| ()).unwrap();
        let dict = Dict::of(trainer.model());
        assert_eq!(dict.get("fc.weight"), dict.get("embedding.weight"));
        // Without the name it is missing; a model without an embedding is another one.
        if removed == "fc.weight" {
            gatefold::checkpoint::write(&path, &tensors, &Default::default()).unwrap();
            let loaded = Forecaster::load_as(device, &path, &options).map(drop);
            let error = loaded.unwrap_err().to_string();
            assert!(error.contains("fc.weight [6, 4] is missing"), "{error}");
        }
    }
    // Two that differ aren't one.
    let mut tensors = file.tensors.clone();
    let at = tensors.iter().position(|(name, _)| name == "fc.weight").unwrap();
    let mut values = tensors[at].1.clone().into_data();
    values[5] += 1.0;
    tensors[at].1 = Array::new(values, &[6, 4]).unwrap();
    gatefold::checkpoint::write(&path, &tensors, &file.metadata).unwrap();
    let error = Forecaster::load(device, &path).map(drop).unwrap_err().to_string();
    assert!(error.contains("fc.weight differs from embedding.weight"), "{error}");
    // Sizes that don't fit, and no embedding.
    for config in [LstmConfig::new(5, 4).embedding(6), LstmConfig::new(4, 4)] {
        let refused = Forecaster::new(device, config.tie_weights(true), 6).map(drop);
        assert!(refused.unwrap_err().to_string().contains("tied weights"));
    }
    let config = LstmConfig::new(4, 4).embedding(6).padding_idx(6);
    let refused = Forecaster::new(device, config, 6).map(drop).unwrap_err().to_string();
    assert!(refused.contains("padding_idx") && refused.contains("from 0 to 5"), "{refused}");
}

/// Where a binding shows few rows, launches take turns, with the same bits.
pub fn in_pieces(device: &Device) {
    let head = Head::new().linear(24).relu().dropout(0.3).linear(8);
    let head = head.nonlinearity(Nonlinearity::Silu);
    let shape = StackShape { head, readout: Readout::EveryStep, ..StackShape::lstm(3, 5) };
    let sequences = Sequences::new(40, 4);
    let options = TrainingOptions::default();
    let plan = |limits: &Limits| Plan::training(&shape, &sequences, &options, limits).unwrap();
    let limits = device.limits();
    let small = Limits { max_binding: 1024, ..limits };
    let (one, many) = (plan(&limits), plan(&small));
    assert_eq!(super::models::count(&one, "nonlinearity"), 2);
    assert!(super::models::count(&many, "nonlinearity") > 4, "{many}");
    let params = normal(ParameterTable::new(&shape).len, 0.5, 1);
    let mut feed = normal(40 * 4 * 3, 1.0, 2);
    feed.extend(normal(40 * 4 * 8, 1.0, 3));
    feed.push(0.01);
    feed.extend(Dropout::halves([7, 9]));
    let inputs: [(&str, &[f32]); 2] = [("params", &params), ("feed", &feed)];
    let run = |plan: &Plan| {
        lockstep(device, &plan.program, &inputs).unwrap_or_else(|e| panic!("{e}\n{plan}"));
        let session = device.session(&plan.program).unwrap();
        inputs.iter().for_each(|(name, values)| session.write(name, values).unwrap());
        session.run().unwrap();
        session.read("y").unwrap()
    };
    assert_eq!(run(&one), run(&many));
}

/// Streams of a model that predicts: each step's answer is the prediction over what came before, also with
/// tokens, layers of several sizes and an output activation; weights are the model's own.
pub fn streams_answer_with_predictions(device: &Device) {
    let steps = 5;
    for i in 0..4 {
        let tokens = i % 2 == 1;
        let config = LstmConfig::stack(3, &[6, 4]).seed(i).readout(match i {
            0 => Readout::FinalStates,
            1 => Readout::EveryStep,
            _ => Readout::LastOutput,
        });
        let config = if tokens { config.embedding(7) } else { config };
        let config = match i {
            3 => config.output_activation(Activation::Softmax),
            _ => config,
        };
        let head = Head::new().dropout(0.5).linear(5).relu().linear(3);
        let mut model = Forecaster::with_head(device, config, head).unwrap();
        let width = if tokens { 1 } else { 3 };
        let x: Vec<f32> = match tokens {
            true => (0..steps).map(|t| (t * 3 % 7) as f32).collect(),
            false => normal(steps * 3, 1.0, 1),
        };
        let mut pool = model.streams(4).unwrap();
        let (other, stream) = (pool.join().unwrap(), pool.join().unwrap());
        let mut kept = None;
        for t in 0..steps {
            let input = &x[t * width..][..width];
            let y = match t % 2 {
                0 => pool.feed(&[(stream, input)]).unwrap(),
                _ => {
                    let all = pool.feed(&[(other, input), (stream, input)]).unwrap();
                    Array::new(all.data()[3..].to_vec(), &[1, 3]).unwrap()
                }
            };
            let shape = if tokens { vec![1, t + 1] } else { vec![1, t + 1, 3] };
            let whole = Array::new(x[..(t + 1) * width].to_vec(), &shape).unwrap();
            let whole = model.predict(&whole).unwrap();
            let last = &whole.data()[whole.data().len() - 3..];
            assert_close("a stream", y.data(), &wide(last), Tolerance::OUTPUT);
            if i == 3 {
                assert!((y.data().iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
            if t == 2 {
                kept = Some(pool.save(stream).unwrap());
            }
        }
        // Back to where it was, in another place.
        let fourth = &x[3 * width..][..width];
        let again = pool.join().unwrap();
        pool.restore(again, &kept.unwrap()).unwrap();
        let shape = if tokens { vec![1, 4] } else { vec![1, 4, 3] };
        let whole = Array::new(x[..4 * width].to_vec(), &shape).unwrap();
        let want = model.predict(&whole).unwrap();
        let got = pool.feed(&[(again, fourth)]).unwrap();
        let last = &want.data()[want.data().len() - 3..];
        assert_close("restored", got.data(), &wide(last), Tolerance::OUTPUT);
        // What the model computes with, the pool does.
        let zeros: Vec<(String, Array)> = model
            .state_dict()
            .unwrap()
            .into_iter()
            .map(|(name, a)| (name, Array::new(vec![0.0; a.data().len()], a.shape()).unwrap()))
            .collect();
        model.load_state_dict(&zeros).unwrap();
        let y = pool.feed(&[(stream, fourth)]).unwrap();
        let want = if i == 3 { 1.0 / 3.0 } else { 0.0 };
        assert_close("zeros", y.data(), &[want; 3], Tolerance::OUTPUT);
        if tokens {
            let error = pool.feed(&[(stream, &[7.0])]).unwrap_err().to_string();
            assert!(error.contains("a token from 0 to 6"), "{error}");
        }
    }
    // All outputs are needed.
    let config = LstmConfig::new(2, 3).readout(Readout::MeanOverTime);
    let model = Forecaster::new(device, config, 1).unwrap();
    let error = model.streams(1).map(drop).unwrap_err().to_string();
    assert!(error.contains("mean_over_time"), "{error}");
    let model = Forecaster::new(device, LstmConfig::new(2, 3).reverse(true), 1).unwrap();
    assert!(model.streams(1).is_err());
}

/// PyTorch's models with more than an LSTM and a linear layer, from files that its tools have written: what they
/// give, and their parameters after a step.
pub fn of_pytorch(device: &Device) {
    // Without dropout, which PyTorch draws in another way.
    let head = Head::new().dropout(0.0).linear_without_bias(7);
    let head = head.nonlinearity(Nonlinearity::Silu).linear(5);
    let names = ModuleNames::new().lstms(&["lower", "upper"]).head("out");
    let classifier = LoadOptions::new().names(names).modules(head).readout(Readout::LastOutput);
    let names = ModuleNames::new().lstm("rnn").head("decoder").embedding("words");
    let language = LoadOptions::new().names(names).padding_idx(2).readout(Readout::EveryStep);
    for (name, options) in [("classifier", classifier), ("language", language)] {
        let golden = Golden::read(&format!("{name}_results"));
        let model = Forecaster::load_as(device, super::golden::file(name), &options).unwrap();
        let x = golden.get("x").clone();
        let y = model.predict(&x).unwrap();
        assert_close(name, y.data(), &golden.wide("y"), Tolerance::OUTPUT);
        let rows = x.shape()[0];
        let data = Dataset::new(x, golden.get("target").clone()).unwrap();
        let mut trainer =
            Trainer::new(model, Loss::cross_entropy(), Sgd::new(1.0)).batch_size(rows).epochs(1);
        let report = trainer.fit(&data, None, |_| ()).unwrap();
        assert_close(name, &report.losses, &golden.wide("loss"), Tolerance::LOSS);
        for (parameter, array) in trainer.model().state_dict().unwrap() {
            let want = golden.wide(&format!("after.{parameter}"));
            assert_close(&parameter, array.data(), &want, Tolerance::OUTPUT);
        }
    }
}

/// What can't be is refused by name, and what is put together by hand is what the builder makes.
pub fn bad_names_and_heads(device: &Device) {
    let refused = |config: LstmConfig, head: Head, words: &str| {
        let model = Forecaster::with_head(device, config, head).map(drop);
        let error = model.unwrap_err().to_string();
        assert!(error.contains(words), "{words:?} in {error}");
    };
    let config = || LstmConfig::stack(3, &[4, 5]);
    let named = |names: ModuleNames| config().names(names);
    let linear = || Head::new().linear(2);
    refused(named(ModuleNames::new().lstms(&[])), linear(), "names of the LSTM's modules");
    refused(named(ModuleNames::new().lstms(&["a", "b", "c"])), linear(), "those of 2 layers");
    refused(named(ModuleNames::new().lstms(&["a", "a"])), linear(), "twice");
    refused(named(ModuleNames::new().heads(&[])), linear(), "head's linear layers");
    let same = ModuleNames::new().embedding("fc");
    refused(LstmConfig::new(3, 4).embedding(9).names(same), linear(), "fc.weight twice");
    refused(config(), Head::new().dropout(1.0).linear(2), "dropout of the head");
    refused(config(), Head::Sequence, "one that predicts");
    let many = (0..2000).fold(Head::new(), |head, _| head.relu());
    refused(config(), many.linear(2), "at most 1024");
    refused(config().learned_state(true), linear(), "hidden sizes");
    let one = config().output_activation(Activation::Softmax);
    refused(one, Head::new().linear(1), "always 1");
    for config in [config(), LstmConfig::stack(3, &[4, 4])] {
        assert!(gatefold::Lstm::new(device, config).is_err());
    }
    let names = LoadOptions::new().names(ModuleNames::new().lstms(&[]));
    assert!(Forecaster::from_state_dict_as(device, &[], &names).is_err());

    // One name of a list is that of all layers.
    let names = ModuleNames::new().lstms(&["rnn"]).head("out");
    let config = LstmConfig::new(3, 4).layers(2).names(names);
    let mut model = Forecaster::new(device, config, 2).unwrap();
    let tensors = model.state_dict().unwrap();
    assert_eq!(tensors[4].0, "rnn.weight_ih_l1");
    model.load_state_dict(&tensors).unwrap();
    // By hand.
    assert_eq!(Head::of(Vec::new()), Head::Identity);
    let by_hand = vec![HeadModule::Linear { outputs: 3, bias: true }];
    assert_eq!(Head::of(by_hand.clone()), Head::new().linear(3));
    let model = Forecaster::with_head(device, LstmConfig::new(3, 4), Head::Modules(by_hand));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model.unwrap().save(&path).unwrap();
    let file = gatefold::checkpoint::read(&path).unwrap();
    assert_eq!(file.metadata["gatefold.head"], "3");
    // A linear layer that stands behind a dropout in PyTorch's list.
    let dropped = |(name, array): &(String, Array)| (name.replace("fc.", "fc.1."), array.clone());
    let tensors: Vec<_> = file.tensors.iter().map(dropped).collect();
    let head = Head::new().dropout(0.5).linear(3);
    let options = LoadOptions::new().modules(head);
    let model = Forecaster::from_state_dict_as(device, &tensors, &options).unwrap();
    let mut same = model.state_dict().unwrap();
    same.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(same, tensors);
}

/// Gradients of a model's loss are those without dropout, of layers of several sizes too.
pub fn gradients_drop_nothing(device: &Device) {
    let config = LstmConfig::stack(3, &[6, 4]).dropout(0.5).seed(4);
    let of = |p: f64| {
        let head = Head::new().dropout(p).linear(5).relu().dropout(p).linear(2);
        let model = Forecaster::with_head(device, config.clone(), head).unwrap();
        let x = Array::new(normal(4 * 5 * 3, 1.0, 1), &[4, 5, 3]).unwrap();
        let y = Array::new(normal(4 * 2, 1.0, 2), &[4, 2]).unwrap();
        gatefold::train::gradients(&model, &Dataset::new(x, y).unwrap(), &Loss::mse()).unwrap()
    };
    let (dropped, plain) = (of(0.7), of(0.0));
    assert_eq!(dropped.loss, plain.loss);
    assert_eq!(dropped.parameters, plain.parameters);
    assert_eq!(plain.h_0.unwrap().shape(), [4 * (6 + 4)]);
}
