//! Work in a caller's encoder, over a caller's buffers.

use gatefold::gpu::{Adapter, Gpu};
use gatefold::reference::Tolerance;
use gatefold::train::{Adam, Loss, Trainer, TrainingBindings};
use gatefold::{
    Array, Dataset, Device, Error, Forecaster, Lstm, LstmBindings, LstmConfig, LstmState, Tensor,
};
use wgpu::{BufferUsages, CommandEncoder};

use crate::common::random::normal;
use crate::common::{Check, assert_close, wide};

#[path = "../../examples/embed/main.rs"]
mod example;

pub const CHECKS: &[(&str, Check)] = &[
    ("embed::a_forward_pass_between_the_callers", a_forward_pass_between_the_callers),
    ("embed::a_recorded_stream_is_the_stream", a_recorded_stream_is_the_stream),
    ("embed::recorded_training_is_fit", recorded_training_is_fit),
    ("embed::recording_creates_nothing", recording_creates_nothing),
    ("embed::unfit_buffers_are_refused", unfit_buffers_are_refused),
    ("embed::the_example_equals_the_library", the_example_equals_the_library),
    ("embed::a_waiting_encoder_is_left_alone", a_waiting_encoder_is_left_alone),
    ("embed::a_callers_optimizer", a_callers_optimizer),
    ("embed::models_and_devices_side_by_side", models_and_devices_side_by_side),
];

/// A program that has a device already.
struct Caller {
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// The library on that device.
    ours: Device,
}

const ALL: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

impl Caller {
    /// On the wgpu device behind `device`.
    fn of(device: &Device) -> Caller {
        let gpu = device.as_gpu().expect("a GPU");
        Caller::new(gpu.wgpu_device().clone(), gpu.wgpu_queue().clone())
    }

    fn new(device: wgpu::Device, queue: wgpu::Queue) -> Caller {
        let ours = Device::from_gpu(Gpu::from_wgpu(device.clone(), queue.clone()).unwrap());
        Caller { device, queue, ours }
    }

    fn buffer(&self, len: usize, usage: BufferUsages) -> wgpu::Buffer {
        let size = 4 * len as u64;
        let descriptor =
            wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        self.device.create_buffer(&descriptor)
    }

    /// A buffer with these values from element `at` on.
    fn holding(&self, values: &[f32], at: usize) -> wgpu::Buffer {
        let buffer = self.buffer(at + values.len(), ALL);
        self.queue.write_buffer(&buffer, 4 * at as u64, bytemuck::cast_slice(values));
        buffer
    }

    fn encoder(&self) -> CommandEncoder {
        self.device.create_command_encoder(&Default::default())
    }

    fn submit(&self, encoder: CommandEncoder) {
        self.queue.submit([encoder.finish()]);
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<f32> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, Some(buffer.size()));
        self.submit(encoder);
        staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        bytemuck::cast_slice(&staging.get_mapped_range(..).unwrap()).to_vec()
    }

    /// A compute pass of the caller's own, an invocation for each element of the first buffer.
    fn pass(&self, encoder: &mut CommandEncoder, source: &str, buffers: &[&wgpu::Buffer]) {
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let resources = buffers.iter().map(|buffer| buffer.as_entire_binding());
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups((buffers[0].size() as u32 / 4).div_ceil(64), 1, 1);
    }

    /// Every element becomes `2 v + 1`.
    fn own_pass(&self, encoder: &mut CommandEncoder, buffer: &wgpu::Buffer) {
        let source = "@group(0) @binding(0) var<storage, read_write> v: array<f32>;
            @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                if id.x < arrayLength(&v) { v[id.x] = 2.0 * v[id.x] + 1.0; }
            }";
        self.pass(encoder, source, &[buffer]);
    }
}

/// The caller's pass makes the input, ours runs over it at odd offsets, the caller's goes on with
/// the output: one encoder, one submission, nothing polled.
fn a_forward_pass_between_the_callers(device: &Device) {
    let caller = Caller::of(device);
    let (steps, batch, input, hidden) = (5, 3, 2, 7);
    let config = LstmConfig::new(input, hidden).layers(2).bidirectional(true);
    let lstm = Lstm::new(&caller.ours, config).unwrap();
    let raw = normal(steps * batch * input, 1.0, 1);
    let x: Vec<f32> = raw.iter().map(|v| 2.0 * v + 1.0).collect();
    let (h, c) = (normal(4 * batch * hidden, 0.5, 2), normal(4 * batch * hidden, 1.0, 3));
    let tensor =
        |data: &[f32], shape: &[usize]| Tensor::from_slice(&caller.ours, data, shape).unwrap();
    let state =
        LstmState { h: tensor(&h, &[4, batch, hidden]), c: tensor(&c, &[4, batch, hidden]) };
    let lengths = [5, 0, 2];
    let x = tensor(&x, &[steps, batch, input]);
    let (want, want_state) = lstm.forward_padded(&x, Some(&lengths), Some(&state)).unwrap();

    // Lengths, states and what is read back: side by side, from offsets of the caller's choice.
    let x = caller.holding(&raw, 3);
    // Nobody can check a buffer: a row with more timesteps than there are has those.
    let lengths = caller.holding(&[9.0, 0.0, 2.0], 1);
    let states = caller.holding(&[h.clone(), c.clone()].concat(), 5);
    let y = caller.buffer(4 + steps * batch * 2 * hidden, ALL);
    let last = caller.buffer(2 * h.len(), ALL);
    let before = caller.ours.counts();
    let mut encoder = caller.encoder();
    caller.own_pass(&mut encoder, &x);
    let bytes = 4 * h.len() as u64;
    let bindings = LstmBindings {
        x: x.slice(12..),
        lengths: Some(lengths.slice(4..)),
        state: Some([states.slice(20..20 + bytes), states.slice(20 + bytes..)]),
        y: Some(y.slice(16..)),
        last_state: Some([last.slice(..bytes), last.slice(bytes..)]),
    };
    lstm.record(&mut encoder, (steps, batch), &bindings).unwrap();
    caller.own_pass(&mut encoder, &y);
    caller.submit(encoder);
    let spent = caller.ours.counts() - before;
    assert_eq!((spent.submits, spent.readbacks), (0, 0));
    let after: Vec<f32> = want.to_vec().unwrap().iter().map(|v| 2.0 * v + 1.0).collect();
    assert_eq!(caller.read(&y), [vec![1.0; 4], after].concat());
    let want = [want_state.h.to_vec().unwrap(), want_state.c.to_vec().unwrap()].concat();
    assert_eq!(caller.read(&last), want);

    // A model with a head, batch-first; only what is wanted is written.
    let config = LstmConfig::new(input, hidden).batch_first(true);
    let model = Forecaster::new(&caller.ours, config, 2).unwrap();
    let x = normal(steps * batch * input, 1.0, 4);
    let want = model.predict(&Array::new(x.clone(), &[batch, steps, input]).unwrap()).unwrap();
    let (x, y) = (caller.holding(&x, 0), caller.buffer(batch * 2, ALL));
    let mut encoder = caller.encoder();
    model.record(&mut encoder, (steps, batch), x.slice(..), y.slice(..)).unwrap();
    caller.submit(encoder);
    assert_eq!(caller.read(&y), want.data());
}

/// Twenty steps in one encoder, the state in the caller's buffers.
fn a_recorded_stream_is_the_stream(device: &Device) {
    let caller = Caller::of(device);
    let (steps, batch, input, hidden) = (20, 4, 3, 9);
    let lstm = Lstm::new(&caller.ours, LstmConfig::new(input, hidden).layers(2)).unwrap();
    let all = normal(steps * batch * input, 1.0, 1);
    let mut state = lstm.initial_state(batch).unwrap();
    let mut want = Vec::new();
    for x_t in all.chunks(batch * input) {
        let x_t = Tensor::from_slice(&caller.ours, x_t, &[batch, input]).unwrap();
        want.extend(lstm.step(&x_t, &mut state).unwrap().to_vec().unwrap());
    }
    let (x, y) = (caller.holding(&all, 0), caller.buffer(want.len(), ALL));
    let [h, c] = [(); 2].map(|()| caller.buffer(2 * batch * hidden, ALL));
    let mut encoder = caller.encoder();
    let part = |t: usize, width: usize| {
        let size = 4 * (batch * width) as u64;
        t as u64 * size..(t as u64 + 1) * size
    };
    for t in 0..steps {
        let (x_t, y_t) = (x.slice(part(t, input)), y.slice(part(t, hidden)));
        lstm.record_step(&mut encoder, batch, x_t, [h.slice(..), c.slice(..)], y_t).unwrap();
    }
    caller.submit(encoder);
    assert_eq!(caller.read(&y), want);
    assert_eq!(caller.read(&h), state.h.to_vec().unwrap());
    assert_eq!(caller.read(&c), state.c.to_vec().unwrap());
}

/// The same batches through `fit` and through the caller's encoder: the same losses and the same
/// parameters, bit for bit, with dropout, and beyond the steps whose values are written at a time.
fn recorded_training_is_fit(device: &Device) {
    let caller = Caller::of(device);
    for (layers, batch_first, epochs) in [(2, true, 12), (1, false, 1100)] {
        let (batch, steps, input, outputs) = (2, 3, 2, 1);
        let config = LstmConfig::new(input, 3)
            .layers(layers)
            .dropout(if layers == 2 { 0.4 } else { 0.0 })
            .batch_first(batch_first)
            .seed(4);
        let trainer = || {
            let model = Forecaster::new(&caller.ours, config.clone(), outputs).unwrap();
            Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(batch).epochs(epochs)
        };
        let (x, y) = (normal(2 * batch * steps * input, 1.0, 1), normal(2 * batch, 1.0, 2));
        let data = Dataset::new(
            Array::new(x.clone(), &[2 * batch, steps, input]).unwrap(),
            Array::new(y.clone(), &[2 * batch, outputs]).unwrap(),
        );
        let mut want = trainer().report_every(epochs);
        let report = want.fit(&data.unwrap(), None, |_| ()).unwrap();

        // The two batches side by side in one buffer, in the model's layout.
        let size = batch * steps * input;
        let arranged = |rows: &[f32]| -> Vec<f32> {
            if batch_first {
                return rows.to_vec();
            }
            let row = |t: usize, b: usize| &rows[(b * steps + t) * input..][..input];
            (0..steps).flat_map(|t| (0..batch).flat_map(move |b| row(t, b))).copied().collect()
        };
        let x = caller.holding(&x.chunks(size).flat_map(arranged).collect::<Vec<f32>>(), 0);
        let y = caller.holding(&y, 0);
        let losses = caller.buffer(2 * epochs, ALL);
        let mut got = trainer();
        for epoch in 0..epochs {
            let mut encoder = caller.encoder();
            for i in 0..2 {
                let part = |len: usize, i: usize| 4 * (len * i) as u64..4 * (len * (i + 1)) as u64;
                let bindings = TrainingBindings {
                    x: x.slice(part(size, i)),
                    target: y.slice(part(batch * outputs, i)),
                    loss: Some(losses.slice(part(1, 2 * epoch + i))),
                };
                got.record_step(&mut encoder, (steps, batch), &bindings).unwrap();
            }
            caller.submit(encoder);
        }
        assert_eq!(caller.read(&losses), report.step_losses);
        // With dropout a single loss says little.
        let learned = report.step_losses[2 * epochs - 1] < 0.5 * report.step_losses[0];
        assert!(learned || layers == 2);
        assert_eq!(got.model().state_dict().unwrap(), want.model().state_dict().unwrap());
    }
}

/// After the first call of a shape no object of wgpu comes into being: by its own counters, while
/// everything stays alive.
fn recording_creates_nothing(device: &Device) {
    let caller = Caller::of(device);
    let (steps, batch) = (4, 3);
    let lstm = Lstm::new(&caller.ours, LstmConfig::new(2, 5)).unwrap();
    let config = LstmConfig::new(2, 5).layers(2).dropout(0.5);
    let [forecaster, model] =
        [(); 2].map(|()| Forecaster::new(&caller.ours, config.clone(), 1).unwrap());
    let long = caller.buffer(100 * batch * 2, ALL);
    let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01));
    let x = caller.holding(&normal(steps * batch * 2, 1.0, 1), 0);
    let (y, target) = (caller.buffer(2000, ALL), caller.holding(&[0.5; 3], 0));
    let [h, c] = [(); 2].map(|()| caller.buffer(batch * 5, ALL));
    let lengths = caller.holding(&[4.0, 1.0, 0.0], 0);
    let mut record = |encoder: &mut CommandEncoder| {
        // Shapes and options by turns.
        for (steps, lengths, state) in [
            (steps, None, None),
            (100, Some(lengths.slice(..)), None),
            (2, None, Some([h.slice(..), c.slice(..)])),
        ] {
            let (x, y) = (long.slice(..), Some(y.slice(..)));
            let bindings = LstmBindings { x, lengths, state, y, last_state: None };
            lstm.record(encoder, (steps, batch), &bindings).unwrap();
        }
        forecaster.record(encoder, (steps, batch), x.slice(..), target.slice(..)).unwrap();
        let (x_t, y_t) = (x.slice(..4 * 2 * 3), y.slice(..));
        lstm.record_step(encoder, batch, x_t, [h.slice(..), c.slice(..)], y_t).unwrap();
        let bindings =
            TrainingBindings { x: x.slice(..), target: target.slice(..), loss: Some(y.slice(..)) };
        trainer.record_step(encoder, (steps, batch), &bindings).unwrap();
    };
    let objects = || {
        let hal = caller.device.get_internal_counters().hal;
        [
            hal.buffers.read(),
            hal.bind_groups.read(),
            hal.bind_group_layouts.read(),
            hal.compute_pipelines.read(),
            hal.pipeline_layouts.read(),
            hal.shader_modules.read(),
            hal.command_encoders.read(),
            hal.textures.read(),
            hal.query_sets.read(),
            hal.fences.read(),
        ]
    };
    let created = || {
        let counts = caller.ours.counts();
        [counts.buffers, counts.pipelines, counts.bind_groups, counts.submits, counts.readbacks]
    };
    let none = objects();
    let mut encoder = caller.encoder();
    record(&mut encoder);
    caller.submit(encoder);
    caller.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    assert!(objects()[0] > none[0], "the counters count: {none:?}");
    // The caller's encoder is there before the library does anything.
    let mut encoder = caller.encoder();
    let (before, ours) = (objects(), created());
    for _ in 0..50 {
        record(&mut encoder);
        assert_eq!((objects(), created()), (before, ours));
    }
    caller.submit(encoder);
    caller.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
}

/// Each unfit buffer is named with what it lacks, and nothing is recorded.
fn unfit_buffers_are_refused(device: &Device) {
    let _ = device;
    // Two devices of one instance: buffers of two instances no part of wgpu can tell apart.
    let adapter = Adapter::all().into_iter().next().expect("the adapter of these tests");
    let [caller, foreign] =
        [(); 2].map(|()| Caller::of(&Device::from_gpu(adapter.open().unwrap())));
    let (steps, batch) = (4, 3);
    let lstm = Lstm::new(&caller.ours, LstmConfig::new(2, 5)).unwrap();
    let good = caller.buffer(1000, ALL);
    let other = caller.buffer(1000, ALL);
    let unreadable = caller.buffer(1000, BufferUsages::STORAGE | BufferUsages::COPY_DST);
    let unwritable = caller.buffer(1000, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
    let foreign_buffer = foreign.buffer(1000, ALL);
    let bindings =
        |x, y| LstmBindings { x, lengths: None, state: None, y: Some(y), last_state: None };
    let whole = other.slice(..);
    let cases = [
        (bindings(good.slice(2..), whole), &["x", "offset", "at 2"][..]),
        (bindings(good.slice(..4 * 23), whole), &["x", "96 bytes", "92 bytes"]),
        (bindings(unreadable.slice(..), whole), &["x", "COPY_SRC"]),
        (bindings(good.slice(..), unwritable.slice(..)), &["y", "COPY_DST"]),
        (bindings(good.slice(..2000), good.slice(2000..)), &["y", "buffer of x"]),
        (bindings(foreign_buffer.slice(..), whole), &["x", "another device"]),
        (bindings(good.slice(..), foreign_buffer.slice(..)), &["y", "another device"]),
    ];
    let mut encoder = caller.encoder();
    for (bindings, names) in cases {
        let error = lstm.record(&mut encoder, (steps, batch), &bindings).unwrap_err().to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}: not {names:?}");
    }
    for sizes in [(0, 3), (4, 0), (usize::MAX, usize::MAX)] {
        let bindings = bindings(good.slice(..), whole);
        assert!(lstm.record(&mut encoder, sizes, &bindings).is_err());
    }
    // Results of one call that lie over one another.
    let last = Some([other.slice(..60), other.slice(40..)]);
    let over = LstmBindings { last_state: last, ..bindings(good.slice(..), whole) };
    assert!(lstm.record(&mut encoder, (steps, batch), &over).is_err());
    // A stream's state is in place, but in no buffer with the input, apart or not.
    let [own_h, own_c] = [good.slice(1000..1060), good.slice(2000..2060)];
    let step_over = |encoder: &mut CommandEncoder, state| {
        lstm.record_step(encoder, batch, good.slice(..24), state, other.slice(400..))
    };
    assert!(step_over(&mut encoder, [own_h, own_c]).is_err());
    let step = |encoder: &mut CommandEncoder, h, c| {
        lstm.record_step(encoder, batch, good.slice(..), [h, c], other.slice(400..))
    };
    let [h, c] = [(); 2].map(|()| caller.buffer(15, ALL));
    assert!(step(&mut encoder, good.slice(..), c.slice(..)).is_err());
    assert!(step(&mut encoder, h.slice(..), h.slice(..)).is_err());
    let both = Lstm::new(&caller.ours, LstmConfig::new(2, 5).bidirectional(true)).unwrap();
    let state = [h.slice(..), c.slice(..)];
    let refused = both.record_step(&mut encoder, batch, good.slice(..), state, whole);
    assert!(matches!(refused, Err(Error::Value { .. })));
    step(&mut encoder, h.slice(..), c.slice(..)).unwrap();
    // On the CPU there is no encoder to record into.
    let cpu = Lstm::new(&Device::cpu(), LstmConfig::new(2, 5)).unwrap();
    let bindings = bindings(good.slice(..), whole);
    let error = cpu.record(&mut encoder, (steps, batch), &bindings).unwrap_err();
    assert!(error.to_string().contains("a GPU"), "{error}");
    // What was refused has left nothing in the encoder, which is still whole.
    caller.submit(encoder);
    caller.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
}

fn the_example_equals_the_library(_: &Device) {
    let adapter = Adapter::all().into_iter().next().expect("the adapter of these tests");
    assert_eq!(example::run(adapter.as_wgpu()).unwrap(), 0.0);
}

/// What is recorded and not submitted yet doesn't touch what is called meanwhile, nor is it touched:
/// a training pass that is alive, calls with lengths of their own, a stream pool, larger shapes.
fn a_waiting_encoder_is_left_alone(device: &Device) {
    let caller = Caller::of(device);
    let (steps, batch, input, hidden) = (6, 3, 2, 5);
    let lstm = Lstm::new(&caller.ours, LstmConfig::new(input, hidden).layers(2)).unwrap();
    let data = |seed: u64| normal(steps * batch * input, 1.0, seed);
    let tensor =
        |seed: u64| Tensor::from_slice(&caller.ours, &data(seed), &[steps, batch, input]).unwrap();
    let lengths = [2, 6, 0];
    let direct = |seed: u64, lengths: &[usize]| {
        let pass = lstm.forward_training(&tensor(seed), Some(lengths), None, 1).unwrap();
        let y = pass.output().clone();
        let gradients = pass.backward(Some(&y), None).unwrap();
        (y.to_vec().unwrap(), gradients.parameters().unwrap())
    };
    let want = direct(2, &lengths);
    let recorded = lstm.forward_padded(&tensor(1), Some(&[6, 1, 3]), None).unwrap().0;
    let (x, given) = (caller.holding(&data(1), 0), caller.holding(&[6.0, 1.0, 3.0], 0));
    let y = caller.buffer(steps * batch * hidden, ALL);
    let bindings = LstmBindings {
        x: x.slice(..),
        lengths: Some(given.slice(..)),
        state: None,
        y: Some(y.slice(..)),
        last_state: None,
    };
    for larger in [false, true] {
        let mut encoder = caller.encoder();
        lstm.record(&mut encoder, (steps, batch), &bindings).unwrap();
        let pass = lstm.forward_training(&tensor(2), Some(&lengths), None, 1).unwrap();
        if larger {
            let x = Tensor::zeros(&caller.ours, &[4 * steps, 9, input]).unwrap();
            lstm.forward(&x, None).unwrap();
        }
        let mut pool = gatefold::StreamPool::new(&lstm, batch).unwrap();
        let stream = pool.join().unwrap();
        let first = pool.feed(&[(stream, &[0.5, 0.5])]).unwrap();
        caller.submit(encoder);
        let second = pool.feed(&[(stream, &[0.5, 0.5])]).unwrap();
        assert_ne!(first, second);
        let out = pass.output().clone();
        let gradients = pass.backward(Some(&out), None).unwrap();
        assert_eq!((out.to_vec().unwrap(), gradients.parameters().unwrap()), want);
        assert_eq!(caller.read(&y), recorded.to_vec().unwrap());
        caller.queue.write_buffer(&y, 0, &vec![0; 4 * steps * batch * hidden]);
    }
    lstm.release_recorded();
    let mut encoder = caller.encoder();
    lstm.record(&mut encoder, (steps, batch), &bindings).unwrap();
    caller.submit(encoder);
    assert_eq!(caller.read(&y), recorded.to_vec().unwrap());
}

/// An optimizer of the caller's own, in a pass of its own: over the flat parameters and gradients,
/// which never leave the device.
fn a_callers_optimizer(device: &Device) {
    let caller = Caller::of(device);
    let lstm = Lstm::new(&caller.ours, LstmConfig::new(2, 5).proj_size(3)).unwrap();
    let x = Tensor::from_slice(&caller.ours, &normal(24, 1.0, 1), &[4, 3, 2]).unwrap();
    let before = lstm.state_dict().unwrap();
    let pass = lstm.forward_training(&x, None, None, 1).unwrap();
    let dy = pass.output().clone();
    let gradients = pass.backward(Some(&dy), None).unwrap();
    let source = "@group(0) @binding(0) var<storage, read_write> p: array<f32>;
        @group(0) @binding(1) var<storage, read> g: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < arrayLength(&p) { p[id.x] -= 0.5 * g[id.x]; }
        }";
    let (parameters, flat) = (lstm.parameters(), gradients.flat());
    assert_eq!(
        (parameters.shape(), flat.shape()),
        (&[lstm.parameter_table().len][..], parameters.shape())
    );
    let mut encoder = caller.encoder();
    let buffers = [parameters.as_wgpu().unwrap(), flat.as_wgpu().unwrap()];
    caller.pass(&mut encoder, source, &buffers);
    caller.submit(encoder);
    let after = lstm.state_dict().unwrap();
    for (((name, p), (_, q)), (_, g)) in
        before.iter().zip(&after).zip(&gradients.parameters().unwrap())
    {
        let moved: Vec<f32> = p.data().iter().zip(g.data()).map(|(p, g)| p - 0.5 * g).collect();
        assert_eq!(q.data(), moved, "{name}");
        assert!(g.data().iter().any(|g| *g != 0.0), "{name}");
    }
    assert!(
        Gpu::new().is_ok_and(|gpu| !gpu.name().is_empty())
            || matches!(Gpu::new(), Err(Error::NoDevice { .. }))
    );
}

/// Two models on one device, the same ones on two more, from threads: the same bits where kernels run in the
/// same variants, which is where devices have the same limits; else outputs within the tolerance of outputs.
fn models_and_devices_side_by_side(device: &Device) {
    fn shared<T: Send + Sync>() {}
    shared::<Device>();
    shared::<Gpu>();
    shared::<Lstm>();
    shared::<Forecaster>();
    shared::<Tensor>();
    shared::<Trainer>();
    shared::<LstmState>();
    shared::<gatefold::LstmGradients>();
    shared::<gatefold::TrainingPass>();
    shared::<gatefold::StreamPool>();
    shared::<gatefold::Session>();
    let adapter = Adapter::all().into_iter().next().expect("the adapter of these tests");
    let second = Device::from_gpu(adapter.open_with_defaults().unwrap());
    let third = Caller::of(device).ours;
    let run = |device: &Device| {
        let models: Vec<Lstm> = [3, 8]
            .map(|hidden| Lstm::new(device, LstmConfig::new(2, hidden).seed(1)).unwrap())
            .into();
        let of = |lstm: &Lstm| {
            let x = Tensor::from_slice(device, &normal(4 * 3 * 2, 1.0, 1), &[4, 3, 2]).unwrap();
            lstm.forward(&x, None).unwrap().0.to_vec().unwrap()
        };
        models.iter().map(of).collect::<Vec<_>>()
    };
    let want = run(device);
    let limits = device.limits();
    std::thread::scope(|scope| {
        for device in [device, &second, &third, device] {
            let (run, want) = (&run, &want);
            scope.spawn(move || {
                let got = run(device);
                if device.limits() == limits {
                    return assert_eq!(got, *want);
                }
                for (got, want) in got.iter().zip(want) {
                    assert_close("outputs", got, &wide(want), Tolerance::OUTPUT);
                }
            });
        }
    });
    assert_eq!(third.limits(), limits);
}
