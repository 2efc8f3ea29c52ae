//! What heads read of a sequence: the kernels that pool it, and models.

use gatefold::command::Limits;
use gatefold::kernels::{self, Padding};
use gatefold::lockstep::lockstep;
use gatefold::plan::{Head, ParameterTable, Plan, Sequences, StackShape, TrainingOptions};
use gatefold::reference::{Pool, Strides, Tolerance};
use gatefold::{Array, Bias, Device, Forecaster, LstmConfig, Readout, checkpoint};

use super::assert_close;
use super::kernels::{Launch, sizes};
use super::models::count;
use super::random::normal;

/// Lengths of rows of up to `steps` timesteps: none, all, more than there are, and in between.
fn lengths(batch: usize, steps: usize) -> Vec<f32> {
    (0..batch).map(|b| (b * 7 % (steps + 3)) as f32 + 0.25).collect()
}

pub fn pool_over_time(device: &Device) {
    for i in 0..12 {
        let (steps, batch, width) = sizes(i);
        let (steps, batch) = (steps.min(33), batch.min(33));
        for flags in 0..8 {
            let [max, padded, later] = [1, 2, 4].map(|f| flags & f > 0);
            let pool = if max { Pool::Max } else { Pool::Mean };
            // All of them, or those from the second on, which end or don't.
            let (first, total) = if later { (1, steps + 1 + i % 2) } else { (0, steps + i % 2) };
            let mut launch = Launch::new();
            let strides = Strides::time_major(batch, width + 2);
            let mut h = normal(3 + steps * strides.step, 2.0, 1);
            // The largest of a feature twice, and zeros of both signs.
            h.iter_mut().step_by(5).for_each(|v| *v = 3.0);
            h.iter_mut().step_by(7).for_each(|v| *v = -0.0);
            let h = launch.buffer(h, 3);
            let lengths = launch.buffer([vec![-1.0; 2], lengths(batch, total)].concat(), 2);
            let pooled = match later {
                true => {
                    let values = normal(batch * width, 2.0, 2);
                    let places = (0..batch * width).map(|at| (at % 3) as f32 - 1.0);
                    launch.buffer(values.into_iter().chain(places).collect(), 0)
                }
                false => launch.poisoned(2 * batch * width),
            };
            let dispatch = kernels::pool_over_time::dispatch(
                pool,
                (first, steps, total),
                (batch, width),
                Padding(padded.then_some(lengths)),
                (strides, h),
                pooled,
            );
            let what =
                format!("{pool:?}, T = {steps} of {total}, B = {batch}, K = {width}, {flags}");
            // Where all rows have ended before, or nothing is larger, nothing changes.
            launch.check_unless(device, dispatch, what, later);
        }
    }
    // NaN is larger than infinity, the first of either counts, and neither reaches another feature.
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let h = [1.0, -inf, nan, inf, 2.0, -inf, 1.0, nan, 2.0, -inf, nan, inf];
    for (pool, want) in
        [(Pool::Max, [2.0, -inf, nan, nan]), (Pool::Mean, [5.0 / 3.0, -inf, nan, nan])]
    {
        let mut launch = Launch::new();
        let h = launch.buffer(h.to_vec(), 0);
        let pooled = launch.poisoned(8);
        let h = (Strides::time_major(1, 4), h);
        let size = ((0, 3, 3), (1, 4));
        let dispatch =
            kernels::pool_over_time::dispatch(pool, size.0, size.1, Padding(None), h, pooled);
        let got = launch.run(device, dispatch, 1);
        for (got, want) in got.iter().zip(want) {
            assert!(
                (got - want).abs() < 1e-6 || got == &want || got.is_nan() && want.is_nan(),
                "{got}"
            );
        }
        if pool == Pool::Max {
            assert_eq!(got[4..], [1.0, 0.0, 0.0, 1.0]);
        }
    }
}

pub fn pool_over_time_backward(device: &Device) {
    for i in 0..12 {
        let (steps, batch, width) = sizes(i);
        let (steps, batch) = (steps.min(33), batch.min(33));
        for flags in 0..8 {
            let [max, padded, later] = [1, 2, 4].map(|f| flags & f > 0);
            let pool = if max { Pool::Max } else { Pool::Mean };
            let (first, total) = if later { (2, steps + 3) } else { (0, steps) };
            let mut launch = Launch::new();
            let d = launch.buffer(normal(1 + batch * width, 1.0, 1), 1);
            let lengths: Vec<f32> = lengths(batch, total);
            // The timestep of each feature's largest: before the launch's, in it, behind it, none.
            let place = |at: usize| {
                let count = lengths[at / width].trunc().min(total as f32);
                if count > 0.0 { (at % 5) as f32 % count } else { -1.0 }
            };
            let places = (0..batch * width).map(place);
            let pooled: Vec<f32> =
                normal(batch * width, 1.0, 3).into_iter().chain(places).collect();
            let pooled = launch.buffer(pooled, 0);
            let lengths = launch.buffer(lengths.clone(), 0);
            let dh = launch.poisoned(steps * batch * width);
            let dispatch = kernels::pool_over_time_backward::dispatch(
                pool,
                (first, steps, total),
                (batch, width),
                Padding(padded.then_some(lengths)),
                (d, pooled),
                dh,
            );
            let what =
                format!("{pool:?}, T = {steps} of {total}, B = {batch}, K = {width}, {flags}");
            launch.check(device, dispatch, what);
        }
    }
}

/// One unit, all weights 1, no biases, and a head that reads the reverse direction: PyTorch 2.15's
///
/// ```python
/// lstm = torch.nn.LSTM(1, 1, bidirectional=True, batch_first=True)
/// for w in lstm.parameters(): w.data.fill_(float(w.dim() > 1))
/// out, (h, c) = lstm(torch.tensor([[1., 2, 3], [-9, -9, 3], [100, 0, 3]])[..., None])
/// h[1], out[:, -1, 1], out[..., 1].mean(1), out[..., 1].amax(1)
/// ```
pub fn of_both_directions(device: &Device) {
    let x = Array::new(vec![1.0, 2.0, 3.0, -9.0, -9.0, 3.0, 100.0, 0.0, 3.0], &[3, 3, 1]).unwrap();
    let one = |name: &str, shape: &[usize], values: &[f32]| {
        (name.to_owned(), Array::new(values.to_vec(), shape).unwrap())
    };
    let mut dict = vec![one("fc.weight", &[1, 2], &[0.0, 1.0]), one("fc.bias", &[1], &[0.0])];
    for suffix in ["", "_reverse"] {
        dict.push(one(&format!("lstm.weight_ih_l0{suffix}"), &[4, 1], &[1.0; 4]));
        dict.push(one(&format!("lstm.weight_hh_l0{suffix}"), &[4, 1], &[1.0; 4]));
    }
    // A step from the end: the reverse direction's outputs at the timesteps of each row.
    let step = |x: f64, h: f64, c: f64| {
        let gate = 1.0 / (1.0 + (-x - h).exp());
        let c = gate * c + gate * (x + h).tanh();
        (gate * c.tanh(), c)
    };
    let outputs = |row: usize, length: usize| -> Vec<f64> {
        let (mut h, mut c, mut out) = (0.0, 0.0, Vec::new());
        for t in (0..length).rev() {
            (h, c) = step(x.data()[3 * row + t].into(), h, c);
            out.insert(0, h);
        }
        out
    };
    for readout in Readout::ALL {
        let config = LstmConfig::new(1, 1).bidirectional(true).bias(Bias::None).readout(readout);
        let mut model = Forecaster::new(device, config, 1).unwrap();
        model.load_state_dict(&dict).unwrap();
        let got = model.predict(&x).unwrap();
        let known = match readout {
            Readout::FinalStates => vec![0.854699, -1.5e-8, 0.966753],
            Readout::LastOutput => vec![0.703775; 3],
            _ => Vec::new(),
        };
        for (got, want) in got.data().iter().zip(known) {
            assert!((got - want).abs() <= 1e-6, "{readout:?}: {got} instead of {want}");
        }
        for lengths in [[3, 3, 3], [2, 1, 3]] {
            let got = model.predict((&x, &lengths)).unwrap();
            for (row, length) in lengths.into_iter().enumerate() {
                let y = outputs(row, length);
                let want = match readout {
                    Readout::FinalStates => vec![y[0]],
                    Readout::LastOutput => vec![*y.last().unwrap()],
                    Readout::EveryStep => y,
                    Readout::MeanOverTime => vec![y.iter().sum::<f64>() / y.len() as f64],
                    Readout::MaxOverTime => vec![y.into_iter().fold(f64::MIN, f64::max)],
                };
                let each = got.data().len() / 3;
                let got = &got.data()[row * each..][..want.len()];
                assert_close(&format!("{readout:?}, row {row}"), got, &want, Tolerance::OUTPUT);
            }
        }
    }
}

/// Where a binding shows few timesteps and loops are short, launches take turns, with the same bits.
pub fn long_sequences_are_pooled_in_pieces(device: &Device) {
    for readout in [Readout::MeanOverTime, Readout::MaxOverTime] {
        for lengths in [false, true] {
            let (bidirectional, head) = (true, Head::Linear(2));
            let shape = StackShape { bidirectional, head, readout, ..StackShape::lstm(3, 5) };
            let sequences = Sequences { lengths, ..Sequences::new(40, 4) };
            let options = TrainingOptions::default();
            let plan =
                |limits: &Limits| Plan::training(&shape, &sequences, &options, limits).unwrap();
            let limits = device.limits();
            let small = Limits { max_binding: 700, loop_budget: Some(400), ..limits };
            let (one, many) = (plan(&limits), plan(&small));
            for kernel in ["pool_over_time", "pool_over_time_backward"] {
                assert_eq!(count(&one, kernel), 1);
                assert!(count(&many, kernel) > 1, "{many}");
            }
            let table = ParameterTable::new(&shape);
            let mut params = vec![0.0; table.len];
            for entry in &table.entries {
                let values = normal(entry.len, 0.8, entry.start as u64);
                params[entry.start..][..entry.len].copy_from_slice(&values);
            }
            let mut feed = normal(40 * 4 * 3, 1.0, 1);
            feed.extend(if lengths { &[40.0, 0.0, 17.0, 33.0][..] } else { &[] });
            feed.extend(normal(4 * 2, 1.0, 2));
            feed.push(0.125);
            let inputs: [(&str, &[f32]); 2] = [("params", &params), ("feed", &feed)];
            let run = |plan: &Plan| {
                lockstep(device, &plan.program, &inputs).unwrap_or_else(|e| panic!("{e}\n{plan}"));
                let session = device.session(&plan.program).unwrap();
                inputs.iter().for_each(|(name, values)| session.write(name, values).unwrap());
                session.run().unwrap();
                session.read("read").unwrap()
            };
            assert_eq!(run(&one), run(&many), "{readout:?}");
        }
    }
}

/// Files from before there was a choice: the head read the output at the last timestep.
pub fn older_files_keep_their_meaning(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let x = Array::new(normal(2 * 4 * 3, 1.0, 1), &[2, 4, 3]).unwrap();
    // What a file said of its head, in how many directions, and what that was.
    for (said, both, readout) in [
        ("2", false, Readout::LastOutput),
        ("2", true, Readout::LastOutput),
        ("every step: 2", true, Readout::EveryStep),
        ("last_hidden", true, Readout::LastOutput),
    ] {
        let config = LstmConfig::new(3, 5).bidirectional(both).readout(readout);
        let model = match said {
            "last_hidden" => Forecaster::without_head(device, config),
            _ => Forecaster::new(device, config, 2),
        }
        .unwrap();
        model.save(&path).unwrap();
        let written = checkpoint::read(&path).unwrap();
        let mut metadata = written.metadata;
        assert_eq!(metadata.remove("gatefold.readout").unwrap(), readout.name());
        metadata.insert("gatefold.head".to_owned(), said.to_owned());
        checkpoint::write(&path, &written.tensors, &metadata).unwrap();
        let loaded = Forecaster::load(device, &path).unwrap();
        assert_eq!(loaded.predict(&x).unwrap(), model.predict(&x).unwrap(), "{said}");
        assert!(!both || loaded.readout() == readout, "{said}: {:?}", loaded.readout());
    }
}
