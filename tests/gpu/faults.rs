//! What becomes of work when a GPU fails: it is lost, it has no memory left, its driver refuses a kernel.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use gatefold::data::Batch;
use gatefold::gpu::{Adapter, Gpu};
use gatefold::plan::{Plan, Sequences, StackShape};
use gatefold::train::{Adam, Loss, Progress, Report, Trainer, TrainingBindings, gradients};
use gatefold::{
    Array, Dataset, Device, Error, Forecaster, Linear, Lstm, LstmBindings, LstmCell, LstmConfig,
    Result, StreamPool, Tensor, checkpoint, wgpu,
};

use crate::common::Check;
use crate::common::random::normal;
use crate::device::opened_by_hand;

pub const CHECKS: &[(&str, Check)] = &[
    ("faults::every_call_tells_of_a_lost_device", every_call_tells_of_a_lost_device),
    ("faults::training_goes_on_after_a_lost_device", training_goes_on_after_a_lost_device),
    ("faults::futures_end_with_a_lost_device", futures_end_with_a_lost_device),
    ("faults::a_callers_callback_stays", a_callers_callback_stays),
];

/// Who has opened a device.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Opened {
    Library,
    Caller,
}

const BOTH: [Opened; 2] = [Opened::Library, Opened::Caller];

impl Opened {
    /// Another device on the adapter of one, with its limits.
    fn like(self, device: &Device) -> Device {
        if self == Opened::Caller {
            return Device::from_gpu(opened_by_hand(device));
        }
        let ours = device.as_gpu().expect("a GPU").wgpu_device();
        let name = ours.adapter_info().name;
        let adapters = Adapter::all();
        let adapter = adapters.iter().find(|a| a.name() == name).expect("the adapter");
        let offered = ours.limits() == adapter.as_wgpu().limits();
        let gpu = if offered { adapter.open() } else { adapter.open_with_defaults() };
        Device::from_gpu(gpu.unwrap())
    }
}

fn gpu(device: &Device) -> &Arc<Gpu> {
    device.as_gpu().expect("a GPU")
}

fn destroy(device: &Device) {
    gpu(device).wgpu_device().destroy();
}

/// The error of a lost device, which says which, and what to do.
fn lost<T>(what: &str, result: Result<T>) {
    match result {
        Err(error @ Error::DeviceLost { .. }) => {
            let said = error.to_string();
            for part in ["is lost (", "open another `Device`", "last checkpoint"] {
                assert!(said.contains(part), "{what}: {said}");
            }
            let Error::DeviceLost { operation, adapter, reason } = error else { unreachable!() };
            assert!(!operation.is_empty() && !adapter.is_empty() && !reason.is_empty(), "{said}");
        }
        Err(other) => panic!("{what}: another error: {other}"),
        Ok(_) => panic!("{what}: no error"),
    }
}

fn array(shape: &[usize], seed: u64) -> Array {
    Array::new(normal(shape.iter().product(), 1.0, seed), shape).unwrap()
}

fn data(rows: usize) -> Dataset {
    Dataset::new(array(&[rows, 5, 2], 1), array(&[rows, 1], 2)).unwrap()
}

fn trainer(device: &Device, epochs: usize) -> Trainer {
    let config = LstmConfig::new(2, 6).layers(2).dropout(0.2).seed(3);
    let model = Forecaster::new(device, config, 1).unwrap();
    Trainer::new(model, Loss::mse(), Adam::new(0.02)).batch_size(4).epochs(epochs).shuffle(4)
}

/// Whatever is called: nothing panics, nothing hangs, and nothing seems to go well.
fn every_call_tells_of_a_lost_device(device: &Device) {
    for opened in BOTH {
        every_call(&opened.like(device));
    }
}

fn every_call(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);

    // All that there is, each used once, so that sessions are kept.
    let forecaster = Forecaster::new(device, LstmConfig::new(2, 6), 1).unwrap();
    let (x, set) = (array(&[3, 5, 2], 1), data(8));
    forecaster.predict(&x).unwrap();
    forecaster.save(path("forecaster.safetensors")).unwrap();
    let dict = forecaster.state_dict().unwrap();
    let mut lstm = Lstm::new(device, LstmConfig::new(2, 6)).unwrap();
    lstm.save(path("lstm.safetensors")).unwrap();
    let on_it = Tensor::from_slice(device, x.data(), &[5, 3, 2]).unwrap();
    let (_, state) = lstm.forward(&on_it, None).unwrap();
    let mut stepped = lstm.initial_state(3).unwrap();
    let x_t = Tensor::from_slice(device, &x.data()[..6], &[3, 2]).unwrap();
    lstm.step(&x_t, &mut stepped).unwrap();
    let pass = lstm.forward_training(&on_it, None, None, 1).unwrap();
    let passed = lstm.forward_training(&on_it, None, None, 1).unwrap().backward(None, None).unwrap();
    let mut pool = StreamPool::new(&lstm, 3).unwrap();
    let stream = pool.join().unwrap();
    let fed: &[f32] = &[0.5, -0.5];
    pool.feed(&[(stream, fed)]).unwrap();
    let cell = LstmCell::new(device, LstmConfig::new(2, 6)).unwrap();
    let linear = Linear::new(device, 2, 3, 1).unwrap();
    let plan = Plan::forward(&StackShape::lstm(2, 6), &Sequences::new(5, 3), &device.limits());
    let program = plan.unwrap().program;
    let session = device.session(&program).unwrap();
    session.run().unwrap();
    let mut trained = trainer(device, 2).checkpoint(path("run"));
    trained.fit(&set, None, |_| ()).unwrap();
    let files = || {
        let read = |name: &str| std::fs::read(path("run").join(name)).unwrap();
        (read("model.safetensors"), read("trainer.safetensors"))
    };
    let before = files();
    let wgpu = gpu(device).wgpu_device();
    let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffers = [(); 4].map(|()| {
        let size = 4096;
        let mapped_at_creation = false;
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation };
        wgpu.create_buffer(&descriptor)
    });
    let [input, output, h, c] = buffers.each_ref().map(|buffer| buffer.slice(..));
    let mut encoder = wgpu.create_command_encoder(&Default::default());
    let bindings =
        LstmBindings { x: input, lengths: None, state: None, y: Some(output), last_state: None };
    let steps = TrainingBindings { x: input, target: output, loss: None };
    lstm.record(&mut encoder, (5, 3), &bindings).unwrap();
    forecaster.record(&mut encoder, (5, 3), input, output).unwrap();
    trained.record_step(&mut encoder, (5, 3), &steps).unwrap();
    drop(encoder);
    assert!(!device.is_lost());
    let mut waiting = Box::pin(device.wait_async());
    let mut context = Context::from_waker(Waker::noop());
    let _ = waiting.as_mut().poll(&mut context);

    destroy(device);
    assert!(device.is_lost() && device.clone().is_lost());

    macro_rules! lost {
        ($($call:expr),* $(,)?) => { $(lost(stringify!($call), $call);)* };
    }
    macro_rules! lost_async {
        ($($call:expr),* $(,)?) => {
            $(lost(stringify!($call), pollster::block_on($call));)*
        };
    }
    lost!(
        device.wait(),
        gpu(device).wait(),
        device.session(&program),
        Tensor::zeros(device, &[3]),
        Tensor::from_slice(device, &[1.0], &[1]),
        on_it.to_vec(),
        on_it.duplicate(),
        state.h.to_vec(),
        session.write("x", &[1.0]),
        session.run(),
        session.run_commands(0..1),
        session.run_timed(),
        session.read("h_l0"),
        session.wait(),
    );
    lost_async!(
        device.wait_async(),
        gpu(device).wait_async(),
        on_it.to_vec_async(),
        session.read_async("h_l0"),
        session.run_timed_async(),
        session.wait_async(),
    );
    pollster::block_on(device.room_async());
    lost!(
        Forecaster::new(device, LstmConfig::new(2, 6), 1),
        Forecaster::load(device, path("forecaster.safetensors")),
        Forecaster::from_state_dict(device, &dict, "lstm.", "fc."),
        forecaster.predict(&x),
        forecaster.predict_lengths(&x, &[5, 2, 1]),
        forecaster.probabilities(&x, None),
        forecaster.classes(&x, None),
        forecaster.forward(&on_it),
        forecaster.state_dict(),
        forecaster.save(path("forecaster.safetensors")),
        gradients(&forecaster, &set, &Loss::mse()),
        Lstm::new(device, LstmConfig::new(2, 6)),
        Lstm::load(device, path("lstm.safetensors")),
        lstm.forward(&on_it, None),
        lstm.forward(&on_it, Some(&state)),
        lstm.forward_padded(&on_it, Some(&[5, 0, 2]), None),
        lstm.step(&x_t, &mut stepped),
        lstm.initial_state(3),
        lstm.reset(&mut stepped, &[0]),
        lstm.forward_training(&on_it, None, None, 1),
        lstm.state_dict(),
        pass.backward(None, None),
        passed.parameters(),
        stepped.duplicate(),
        StreamPool::new(&lstm, 2),
        pool.feed(&[(stream, fed)]),
        pool.step(&x_t, &[stream]).map(|_| ()),
        pool.save(stream),
        LstmCell::new(device, LstmConfig::new(2, 6)),
        cell.forward(&x_t, None),
        cell.state_dict(),
        Linear::new(device, 2, 3, 1),
        linear.forward(&x_t),
        linear.state_dict(),
    );
    lost_async!(
        forecaster.predict_async(&x),
        forecaster.classes_async(&x, None),
        forecaster.state_dict_async(),
        forecaster.save_async(path("forecaster.safetensors")),
        lstm.state_dict_async(),
        passed.parameters_async(),
        pool.feed_async(&[(stream, fed)]),
    );
    let tensors = checkpoint::read(path("lstm.safetensors")).unwrap().tensors;
    lost!(lstm.load_state_dict(&tensors));
    let one = |_: usize| [Ok(Batch::from(data(4)))];
    lost!(
        trained.fit(&set, None, |_| ()),
        trained.fit_batches(one, None, |_| ()),
        trained.evaluate(&set),
        trained.expect_finite(),
        trained.save(path("run")),
        trained.resume(path("run")),
    );
    lost_async!(
        trained.fit_async(&set, None, |_| ()),
        trained.evaluate_async(&set),
        trained.save_async(path("run")),
        trained.expect_finite_async(),
    );
    let mut encoder = wgpu.create_command_encoder(&Default::default());
    lost!(
        lstm.record(&mut encoder, (5, 3), &bindings),
        lstm.record_step(&mut encoder, 3, input, [h, c], output),
        forecaster.record(&mut encoder, (5, 3), input, output),
        trained.record_step(&mut encoder, (5, 3), &steps),
    );
    assert!(files() == before, "what was saved before stays");
    let left = std::fs::read_dir(path("run")).unwrap().count();
    assert_eq!(left, 2, "nothing is left over");
    assert!(Forecaster::load(&Device::cpu(), path("forecaster.safetensors")).is_ok());
}

/// A waker that counts.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future that is pending when the device is lost ends with the error, whether or not anybody polls the
/// device; where somebody does, its task is woken.
fn futures_end_with_a_lost_device(device: &Device) {
    for (opened, polled) in
        [(Opened::Library, false), (Opened::Caller, false), (Opened::Caller, true)]
    {
        let device = opened.like(device);
        let tensor = Tensor::from_slice(&device, &normal(1 << 12, 1.0, 1), &[1 << 12]).unwrap();
        let mut trained = trainer(&device, 400).report_every(400);
        let set = data(8);
        let wakes = [(); 3].map(|()| Arc::new(Wakes::default()));
        let wakers = wakes.clone().map(Waker::from);
        let mut reading = pin!(async { tensor.to_vec_async().await.map(|_| ()) });
        let mut waiting = pin!(device.wait_async());
        let mut fitting = pin!(async { trained.fit_async(&set, None, |_| ()).await.map(|_| ()) });
        let mut poll = |i: usize| {
            let mut context = Context::from_waker(&wakers[i]);
            match i {
                0 => reading.as_mut().poll(&mut context),
                1 => waiting.as_mut().poll(&mut context),
                _ => fitting.as_mut().poll(&mut context),
            }
        };
        let pending: Vec<usize> = (0..3).filter(|&i| poll(i).is_pending()).collect();
        if opened == Opened::Caller {
            assert_eq!(pending, [0, 1, 2], "nobody has polled the device");
        }
        destroy(&device);
        if polled {
            gpu(&device).wgpu_device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
        }
        for i in pending {
            // Some by a later submission already, which polls as well.
            if polled {
                assert!(wakes[i].0.load(Ordering::SeqCst) > 0, "future {i} isn't woken");
            }
            match poll(i) {
                Poll::Ready(result) => lost(&format!("future {i}, {opened:?}"), result),
                Poll::Pending => panic!("future {i} is still pending, {opened:?}"),
            }
        }
    }
}

/// The device's callback is the caller's, before and after.
fn a_callers_callback_stays(device: &Device) {
    let theirs = Opened::Caller.like(device);
    let (told, hears) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    gpu(&theirs).wgpu_device().set_device_lost_callback(move |reason, _| {
        told.lock().unwrap().send(reason).unwrap();
    });
    let tensor = Tensor::zeros(&theirs, &[8]).unwrap();
    destroy(&theirs);
    lost("to_vec", tensor.to_vec());
    gpu(&theirs).wgpu_device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    assert_eq!(hears.try_recv(), Ok(wgpu::DeviceLostReason::Destroyed));
}

/// All that a run has left in its folder, to the bit.
fn saved(folder: &Path) -> String {
    let file = checkpoint::read(folder.join("trainer.safetensors")).unwrap();
    let bits = |array: Array| array.data().iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    let tensors: Vec<_> = file.tensors.into_iter().map(|(name, a)| (name, bits(a))).collect();
    let mut metadata: Vec<_> = file.metadata.into_iter().collect();
    metadata.sort();
    format!("{tensors:?} {metadata:?}")
}

const EPOCHS: usize = 12;

/// Fits a trainer over all its epochs.
type Fit = fn(&mut Trainer, &Dataset, &mut dyn FnMut(&Progress)) -> Result<Report>;

const FORMS: [(&str, Fit); 2] = [
    ("fit", |trainer, set, progress| trainer.fit(set, None, progress)),
    // Nobody polls a caller's device here: between reports it mustn't be waited for.
    ("fit_async", |trainer, set, progress| {
        let device = trainer.model().device().clone();
        let mut future = pin!(trainer.fit_async(set, None, progress));
        let mut context = Context::from_waker(Waker::noop());
        let since = Instant::now();
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
                return result;
            }
            gpu(&device).wgpu_device().poll(wgpu::PollType::Poll).unwrap();
            assert!(since.elapsed() < Duration::from_secs(120), "it is pending for ever");
        }
    }),
];

/// The device is lost at a report, at an unknown place between two, or before the call: training ends with
/// the error, the last checkpoint is whole, and from there another device comes to the same bits as a run
/// that nothing has happened to.
fn training_goes_on_after_a_lost_device(device: &Device) {
    let set = data(12);
    for opened in BOTH {
        let new = opened.like(device);
        let folder = tempfile::tempdir().unwrap();
        let whole_report =
            trainer(&new, EPOCHS).checkpoint(folder.path()).fit(&set, None, |_| ()).unwrap();
        let whole = saved(folder.path());
        for (name, fit) in FORMS {
            for between in [false, true] {
                let what = format!("{opened:?}, {name}, between reports: {between}");
                let old = opened.like(device);
                let folder = tempfile::tempdir().unwrap();
                let folder = folder.path();
                let mut first = trainer(&old, EPOCHS).checkpoint(folder);
                let (start, started) = mpsc::channel::<()>();
                let mut reports = 0;
                let ended = std::thread::scope(|scope| {
                    let theirs = old.clone();
                    scope.spawn(move || {
                        if started.recv().is_ok() {
                            std::thread::sleep(Duration::from_micros(200));
                            destroy(&theirs);
                        }
                    });
                    let ended = fit(&mut first, &set, &mut |_: &Progress| {
                        reports += 1;
                        match (reports, between) {
                            (4, false) => destroy(&old),
                            (4, true) => start.send(()).unwrap(),
                            _ => {}
                        }
                    });
                    drop(start);
                    ended
                });
                // Without the thread in time, the run was over before.
                if ended.is_ok() && between {
                    eprintln!("{what}: the run was over first");
                } else {
                    lost(&what, ended);
                }
                lost(&what, fit(&mut first, &set, &mut |_| ()));
                lost(&what, first.save(folder));
                drop(first);
                drop(old);

                let mut second = trainer(&new, EPOCHS).checkpoint(folder);
                second.resume(folder).unwrap();
                let done = second.steps();
                assert!(done >= 9 && done % 3 == 0, "{what}: {done} steps");
                if !between {
                    // The report itself comes before its files.
                    assert_eq!(done, 9, "{what}");
                }
                if done < 3 * EPOCHS as u64 {
                    let report = second.fit(&set, None, |_| ()).unwrap();
                    let rest = &whole_report.step_losses[done as usize..];
                    assert_eq!(report.step_losses, rest, "{what}");
                }
                assert!(saved(folder) == whole, "{what}: resumed after {done} steps");
                let left = std::fs::read_dir(folder).unwrap().count();
                assert_eq!(left, 2, "{what}: nothing is left over");
            }
        }
    }
}
