//! Rows that start late, and layers that run from the end alone.

use gatefold::command::Limits;
use gatefold::kernels::{self, Padding};
use gatefold::lockstep::lockstep;
use gatefold::plan::{ParameterTable, Plan, Sequences, StackShape};
use gatefold::reference::sequence::{self, Batch};
use gatefold::reference::{Alignment, Strides, Tolerance};
use gatefold::{Bias, Cell, Device, Init, Lstm, LstmConfig, LstmState, Tensor};

use super::kernels::{Launch, sizes};
use super::models::{count, stack};
use super::random::{Random, normal};
use super::{assert_close, wide};

pub fn align_sequence(device: &Device) {
    for i in 0..12 {
        let (steps, batch, width) = sizes(i);
        let (steps, batch) = (steps.min(33), batch.min(33));
        for flags in 0..16 {
            let [from_right, to_right, reverse, padded] = [1, 2, 4, 8].map(|f| flags & f > 0);
            let alignment = Alignment { from_right, to_right, reverse };
            // All of it, or some timesteps from some others.
            let (first, shown) = match (flags + i) % 3 {
                0 => (0, (0, steps)),
                1 => (steps / 3, (0, steps)),
                _ => (steps / 4, (steps / 2, steps.div_ceil(3).min(steps - steps / 2))),
            };
            let written = (steps - first).min(1 + steps / 2 + flags % 3);
            let mut launch = Launch::new();
            let mut from = Strides::batch_first(shown.1, width);
            let mut to = Strides::time_major(batch, width + 2);
            let mut lens = (3 + shown.1 * batch * width, written * batch * (width + 2));
            if flags & 3 == 1 {
                (from, to) =
                    (Strides::time_major(batch, width + 2), Strides::batch_first(written, width));
                lens = (3 + shown.1 * batch * (width + 2), written * batch * width);
            }
            let source = launch.buffer(normal(lens.0, 1.0, 1), 3);
            let copied = launch.buffer(normal(lens.1, 1.0, 2), 0);
            let lengths = (0..batch).map(|b| (b * 7 % (steps + 2)) as f32 + 0.25).collect();
            let lengths = launch.buffer(lengths, 0);
            let dispatch = kernels::align_sequence::dispatch(
                alignment,
                (first, written, steps),
                (batch, width),
                shown,
                Padding(padded.then_some(lengths)),
                (from, source),
                (to, copied),
            );
            let what = format!("T = {steps}, B = {batch}, K = {width}, {alignment:?}, {flags}");
            // Where all that is wanted is elsewhere, nothing changes.
            launch.check_unless(device, dispatch, what, true);
        }
    }
    // Said once without the twin: three rows of 3, 2 and no timesteps.
    let x = [1.0, 10.0, f32::NAN, 2.0, 20.0, f32::NAN, 3.0, f32::NAN, f32::NAN];
    let late = [1.0, f32::NAN, f32::NAN, 2.0, 10.0, f32::NAN, 3.0, 20.0, f32::NAN];
    let run = |x: [f32; 9], alignment: Alignment| {
        let mut launch = Launch::new();
        let source = launch.buffer(x.to_vec(), 0);
        let lengths = launch.buffer(vec![3.0, 2.0, 0.0], 0);
        let copied = launch.poisoned(9);
        let strides = Strides::time_major(3, 1);
        let dispatch = kernels::align_sequence::dispatch(
            alignment,
            (0, 3, 3),
            (3, 1),
            (0, 3),
            Padding(Some(lengths)),
            (strides, source),
            (strides, copied),
        );
        launch.run(device, dispatch, 2)
    };
    let of = |from_right, to_right, reverse| Alignment { from_right, to_right, reverse };
    assert_eq!(run(x, of(false, false, true)), [3.0, 20.0, 0.0, 2.0, 10.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(run(x, of(false, true, false)), [1.0, 0.0, 0.0, 2.0, 10.0, 0.0, 3.0, 20.0, 0.0]);
    assert_eq!(run(late, of(true, false, false)), [1.0, 10.0, 0.0, 2.0, 20.0, 0.0, 3.0, 0.0, 0.0]);
    assert_eq!(run(late, of(true, false, true)), [3.0, 20.0, 0.0, 2.0, 10.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(run(x, of(false, true, true)), [3.0, 0.0, 0.0, 2.0, 20.0, 0.0, 1.0, 10.0, 0.0]);
}

/// A call in numbers that don't depend on how its rows lie: `[T, B, K]`, rows to the left.
struct Call {
    steps: usize,
    batch: usize,
    lengths: Vec<usize>,
    batch_first: bool,
}

impl Call {
    /// Where timestep `t` of row `b` stands.
    fn at(&self, t: usize, b: usize, right: bool) -> usize {
        let t = if right { t + self.steps - self.lengths[b] } else { t };
        if self.batch_first { b * self.steps + t } else { t * self.batch + b }
    }

    /// A tensor with these timesteps, and NaN everywhere else.
    fn tensor(&self, device: &Device, values: &[f32], width: usize, right: bool) -> Tensor {
        let mut all = vec![f32::NAN; self.steps * self.batch * width];
        for b in 0..self.batch {
            for t in 0..self.lengths[b] {
                let from = &values[(t * self.batch + b) * width..][..width];
                all[self.at(t, b, right) * width..][..width].copy_from_slice(from);
            }
        }
        let (first, second) =
            if self.batch_first { (self.batch, self.steps) } else { (self.steps, self.batch) };
        Tensor::from_slice(device, &all, &[first, second, width]).unwrap()
    }

    /// The timesteps of a tensor's rows, `[T, B, K]` to the left; whatever stands beside them is zero.
    fn values(&self, tensor: &Tensor, width: usize, right: bool) -> Vec<f32> {
        let mut all = tensor.to_vec().unwrap();
        let mut values = vec![0.0; all.len()];
        for b in 0..self.batch {
            for t in 0..self.lengths[b] {
                let from = &mut all[self.at(t, b, right) * width..][..width];
                values[(t * self.batch + b) * width..][..width].copy_from_slice(from);
                from.fill(0.0);
            }
        }
        assert!(all.iter().all(|&v| v == 0.0), "what is no timestep isn't zero");
        values
    }
}

/// Left-padded rows have the bits of right-padded ones, forward and back, and layers that run from the
/// end alone what the reference gives.
pub fn late_rows_and_reverse_layers(device: &Device) {
    for i in 0..24 {
        let mut r = Random::new(900 + i);
        let (steps, batch, input, hidden) =
            (1 + r.below(9), 1 + r.below(20), 1 + r.below(6), [2, 5, 17, 40][r.below(4)]);
        let (reverse, layers) = (i % 2 == 0, 1 + r.below(3));
        let projection = if r.coin() { r.below(hidden - 1) + 1 } else { 0 };
        let config = LstmConfig::new(input, hidden)
            .layers(layers)
            .reverse(reverse)
            .bidirectional(!reverse && r.coin())
            .proj_size(projection)
            .bias([Bias::None, Bias::Single, Bias::Double][r.below(3)])
            .init("weight", Init::Normal { mean: 0.0, std: 1.0 / (hidden as f32).sqrt() })
            .seed(i);
        let batch_first = r.coin();
        let config = config.batch_first(batch_first);
        let lstm = Lstm::new(device, config.clone()).unwrap();
        let lengths: Vec<usize> = (0..batch).map(|_| r.below(steps + 1)).collect();
        let call = Call { steps, batch, lengths, batch_first };
        let (features, output) =
            (lstm.output_size(), if projection > 0 { projection } else { hidden });
        let states = layers * (1 + usize::from(lstm.bidirectional()));
        let x = normal(steps * batch * input, 1.0, 1);
        let dy = normal(steps * batch * features, 1.0, 2);
        let (h_0, c_0) =
            (normal(states * batch * output, 0.7, 3), normal(states * batch * hidden, 1.0, 4));
        let tensor = |data: &[f32], width| {
            Tensor::from_slice(device, data, &[states, batch, width]).unwrap()
        };
        let state = LstmState { h: tensor(&h_0, output), c: tensor(&c_0, hidden) };
        let given = r.coin().then_some(&state);
        let run = |right: bool| {
            let lstm = lstm.clone().right_aligned(right);
            let x = call.tensor(device, &x, input, right);
            let lengths = Some(&call.lengths[..]);
            let (y, last) = lstm.forward_padded(&x, lengths, given).unwrap();
            let pass = lstm.forward_training(&x, lengths, given, 1).unwrap();
            assert_close(
                "y",
                &pass.output().to_vec().unwrap(),
                &wide(&y.to_vec().unwrap()),
                Tolerance::OUTPUT,
            );
            let dy = call.tensor(device, &dy, features, right);
            let gradients = pass.backward(Some(&dy), None).unwrap();
            let mut read = vec![call.values(&y, features, right)];
            read.push(call.values(&gradients.x, input, right));
            read.extend([&last.h, &last.c].map(|tensor| tensor.to_vec().unwrap()));
            let parameters = gradients.parameters().unwrap();
            read.extend(parameters.into_iter().map(|(_, array)| array.into_data()));
            read
        };
        let (left, right) = (run(false), run(true));
        assert_eq!(left, right, "{config}");
        if !reverse {
            continue;
        }
        // The reference, layer by layer.
        let weights = stack(&lstm.state_dict().unwrap(), "", Cell::new());
        let rows = Batch { lengths: Some(&call.lengths), ..Batch::of(batch) };
        let zeros = |v: &[f32]| if given.is_some() { wide(v) } else { vec![0.0; v.len()] };
        let (h_0, c_0) = (zeros(&h_0), zeros(&c_0));
        let mut inputs = vec![wide(&x)];
        let mut traces = Vec::new();
        for (l, w) in weights.iter().enumerate() {
            let (h, c) = (&h_0[l * batch * output..], &c_0[l * batch * hidden..]);
            let trace = sequence::layer_forward(&w[0], &rows, (0, 1), &inputs[l], h, c);
            inputs.push(trace.y.clone());
            traces.push(trace);
        }
        let mut dy = wide(&dy);
        let mut gradients = Vec::new();
        for (l, w) in weights.iter().enumerate().rev() {
            let none = vec![0.0; batch * hidden];
            let back = sequence::layer_backward(
                &w[0],
                &rows,
                (0, 1),
                &inputs[l],
                &traces[l],
                &dy,
                &none,
                &none,
            );
            dy = back.x.clone();
            gradients.push(back);
        }
        assert_close("y", &left[0], inputs.last().unwrap(), Tolerance::OUTPUT);
        assert_close("dx", &left[1], &dy, Tolerance::gradient(&dy));
        let h_n: Vec<f64> = traces.iter().flat_map(|trace| trace.h_n.clone()).collect();
        let c_n: Vec<f64> = traces.iter().flat_map(|trace| trace.c_n.clone()).collect();
        assert_close("h_n", &left[2], &h_n, Tolerance::OUTPUT);
        assert_close("c_n", &left[3], &c_n, Tolerance::OUTPUT);
        // weight_ih and weight_hh of the first layer.
        for (got, want) in left[4..]
            .iter()
            .zip([&gradients[layers - 1].weight_ih, &gradients[layers - 1].weight_hh])
        {
            assert_close("gradients", got, want, Tolerance::gradient(want));
        }
    }
}

/// Where a binding shows few timesteps, launches take turns, with the same bits.
pub fn rows_are_moved_in_pieces(device: &Device) {
    let sequences =
        Sequences { right_aligned: true, ..Sequences::new(40, 4).with_lengths().batch_first() };
    let shape = StackShape { reverse: true, ..StackShape::lstm(3, 5) };
    let plan = |limits: &Limits| Plan::gradient(&shape, &sequences, None, limits).unwrap();
    let limits = device.limits();
    let small = Limits { max_binding: 320, ..limits };
    let (one, many) = (plan(&limits), plan(&small));
    assert_eq!(count(&one, "align_sequence"), 4);
    assert!(count(&many, "align_sequence") > 16, "{many}");
    let params = normal(ParameterTable::new(&shape).len, 0.5, 1);
    let (x, dy) = (normal(40 * 4 * 3, 1.0, 2), normal(40 * 4 * 5, 1.0, 3));
    let (dh_n, dc_n) = (normal(4 * 5, 1.0, 4), normal(4 * 5, 1.0, 5));
    let inputs: [(&str, &[f32]); 6] = [
        ("params", &params),
        ("x", &x),
        ("lengths", &[40.0, 0.0, 17.0, 33.0]),
        ("dy", &dy),
        ("dh_n", &dh_n),
        ("dc_n", &dc_n),
    ];
    let run = |plan: &Plan| {
        lockstep(device, &plan.program, &inputs).unwrap_or_else(|e| panic!("{e}\n{plan}"));
        let session = device.session(&plan.program).unwrap();
        inputs.iter().for_each(|(name, values)| session.write(name, values).unwrap());
        session.run().unwrap();
        ["y", "dx_0", "h_n"].map(|name| session.read(name).unwrap())
    };
    assert_eq!(run(&one), run(&many));
}

/// What can't be is refused by name.
pub fn what_needs_the_end_is_refused(device: &Device) {
    let lstm = Lstm::new(device, LstmConfig::new(2, 3).reverse(true)).unwrap();
    let x = Tensor::zeros(device, &[1, 2]).unwrap();
    let mut state = lstm.initial_state(1).unwrap();
    let error = lstm.step(&x, &mut state).unwrap_err().to_string();
    assert!(error.contains("reverse"), "{error}");
    assert!(gatefold::StreamPool::new(&lstm, 1).is_err());
    let both = LstmConfig::new(2, 3).reverse(true).bidirectional(true);
    let error = Lstm::new(device, both).map(drop).unwrap_err().to_string();
    assert!(error.contains("direction"), "{error}");
}
