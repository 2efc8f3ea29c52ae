//! What becomes of work when a GPU fails: it is lost, it has no memory left, its driver refuses a kernel.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use gatefold::data::Batch;
use gatefold::gpu::{Adapter, Gpu};
use gatefold::plan::{Plan, Sequences, StackShape};
use gatefold::train::{
    Adam, Loss, NonFinite, Progress, Report, Sgd, Trainer, TrainingBindings, gradients,
};
use gatefold::{
    Array, Dataset, Device, Error, Forecaster, Linear, Lstm, LstmBindings, LstmCell, LstmConfig,
    Result, StreamPool, Tensor, checkpoint, wgpu,
};

use crate::common::Check;
use crate::common::faults::{Budget, held};
use crate::common::random::normal;
use crate::device::opened_by_hand;

pub const CHECKS: &[(&str, Check)] = &[
    ("faults::every_call_tells_of_a_lost_device", every_call_tells_of_a_lost_device),
    ("faults::training_goes_on_after_a_lost_device", training_goes_on_after_a_lost_device),
    ("faults::futures_end_with_a_lost_device", futures_end_with_a_lost_device),
    ("faults::a_callers_callback_stays", a_callers_callback_stays),
    ("faults::refused_kernels", refused_kernels),
    ("faults::reads_take_memory", reads_take_memory),
    ("faults::a_lost_device_isnt_asked", a_lost_device_isnt_asked),
    ("faults::recorded_steps_that_arent_finite", recorded_steps_that_arent_finite),
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
    let passed =
        lstm.forward_training(&on_it, None, None, 1).unwrap().backward(None, None).unwrap();
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
        forecaster.predict((&x, &[5, 2, 1])),
        forecaster.probabilities(&x),
        forecaster.classes(&x),
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
        forecaster.classes_async(&x),
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
    let opened = opened_by_hand(device);
    let (callers, queue) = (opened.wgpu_device().clone(), opened.wgpu_queue().clone());
    let (told, hears) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    callers.set_device_lost_callback(move |reason, _| {
        told.lock().unwrap().send(reason).unwrap();
    });
    let theirs = Device::from_gpu(Gpu::from_wgpu(callers.clone(), queue).unwrap());
    let tensor = Tensor::zeros(&theirs, &[8]).unwrap();
    destroy(&theirs);
    lost("to_vec", tensor.to_vec());
    callers.poll(wgpu::PollType::wait_indefinitely()).unwrap();
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
    // The caller polls its device between polls of the future.
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
        let report =
            trainer(&new, EPOCHS).checkpoint(folder.path()).fit(&set, None, |_| ()).unwrap();
        let whole = Whole { report, saved: saved(folder.path()) };
        for (name, fit) in FORMS {
            let what = format!("{opened:?}, {name}");
            assert_eq!(lose(&what, opened.like(device), &new, fit, &whole, None), Some(9));
            // A thread that comes too late has lost the device of a run that was over.
            let halfway = (0..ATTEMPTS).any(|attempt| {
                let after = Duration::from_micros(200) / (attempt + 1);
                lose(&what, opened.like(device), &new, fit, &whole, Some(after)).is_some()
            });
            assert!(halfway, "{what}: the run was over first, {ATTEMPTS} times");
        }
    }
}

/// Runs that may be over before their device is lost.
const ATTEMPTS: u32 = 50;

/// A run that nothing has happened to.
struct Whole {
    report: Report,
    saved: String,
}

/// Trains on a device that is lost in the fourth report, or some time after it; goes on with the
/// checkpoint on a new one. The steps that the checkpoint has where the loss has ended the run.
fn lose(
    what: &str,
    old: Device,
    new: &Device,
    fit: Fit,
    whole: &Whole,
    after: Option<Duration>,
) -> Option<u64> {
    let what = format!("{what}, after the report: {after:?}");
    let set = data(12);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut first = trainer(&old, EPOCHS).checkpoint(folder);
    let (start, started) = mpsc::channel::<()>();
    let mut reports = 0;
    let ended = std::thread::scope(|scope| {
        let theirs = old.clone();
        scope.spawn(move || {
            if started.recv().is_ok() {
                std::thread::sleep(after.unwrap_or_default());
                destroy(&theirs);
            }
        });
        let ended = fit(&mut first, &set, &mut |_: &Progress| {
            reports += 1;
            match (reports, after) {
                (4, None) => destroy(&old),
                (4, Some(_)) => start.send(()).unwrap(),
                _ => {}
            }
        });
        drop(start);
        ended
    });
    let halfway = ended.is_err();
    if halfway || after.is_none() {
        lost(&what, ended);
    }
    lost(&what, fit(&mut first, &set, &mut |_| ()));
    lost(&what, first.save(folder));
    drop(first);

    let mut second = trainer(new, EPOCHS).checkpoint(folder);
    second.resume(folder).unwrap();
    let done = second.steps();
    // The report itself comes before its files.
    assert!(done >= 9 && done.is_multiple_of(3), "{what}: {done} steps");
    let all = 3 * EPOCHS as u64;
    if done < all {
        let report = second.fit(&set, None, |_| ()).unwrap();
        let rest = &whole.report.step_losses[done as usize..];
        assert_eq!(report.step_losses, rest, "{what}");
    }
    assert!(saved(folder) == whole.saved, "{what}: resumed after {done} steps");
    let left = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(left, 2, "{what}: nothing is left over");
    (halfway && done < all).then_some(done)
}

/// Makes a module that is refused of one that isn't.
type Break = fn(&str) -> String;

/// What is wrong with a kernel, and how it comes about.
const BREAKS: [(&str, Break); 5] = [
    ("no shader", |_| "this is no shader".to_owned()),
    ("no entry point", |source| source.replace("fn main(", "fn mine(")),
    ("too many invocations", |source| {
        let (before, rest) = source.split_once("@workgroup_size(").unwrap();
        let (_, after) = rest.split_once(')').unwrap();
        format!("{before}@workgroup_size(4096, 4096){after}")
    }),
    ("a constant without a value", |source| {
        format!("override missing: u32;\n{}", in_main(source, "_ = missing;"))
    }),
    ("a binding that isn't there", |source| source.replace("@binding(1)", "@binding(9)")),
];

/// The module with a statement in front of its entry point's.
fn in_main(source: &str, statement: &str) -> String {
    let (before, main) = source.split_once("fn main(").unwrap();
    let (arguments, body) = main.split_once('{').unwrap();
    format!("{before}fn main({arguments}{{ {statement} {body}")
}

/// A kernel that isn't compiled, whatever is wrong with it: an error that names adapter and kernel, as
/// often as it is asked for. It takes no memory, and the same device goes on with kernels that are right.
fn refused_kernels(device: &Device) {
    let model = Lstm::new(device, LstmConfig::new(2, 5)).unwrap();
    let x = Tensor::from_slice(device, &normal(3 * 2 * 2, 1.0, 1), &[3, 2, 2]).unwrap();
    let want = model.forward(&x, None).unwrap().0.to_vec().unwrap();
    let name = gpu(device).wgpu_device().adapter_info().name;
    for (what, broken) in BREAKS {
        for kernel in ["matmul", "lstm_sequence_forward", "lstm_step_forward"] {
            let mut table = device.table().clone();
            let row = table.0.iter_mut().find(|row| row.name == kernel).unwrap();
            for variant in &mut row.variants {
                let source = broken(variant.source());
                assert_ne!(source, variant.source(), "{what}: {kernel}");
                *variant = variant.clone().with_source(source);
            }
            let device = device.clone().with_table(table);
            let model = Lstm::new(&device, LstmConfig::new(2, 5)).unwrap();
            let before = device.allocated_bytes();
            for _ in 0..2 {
                match model.forward(&x, None) {
                    Err(Error::Gpu { operation, adapter, message }) => {
                        assert!(operation.contains(&format!("kernel `{kernel}`")), "{operation}");
                        assert_eq!(adapter, name, "{what}");
                        assert!(!message.is_empty(), "{what}");
                    }
                    // A plan has one of the two.
                    Ok(_) if kernel.starts_with("lstm_") => break,
                    other => panic!("{what}: no error of {kernel}: {:?}", other.map(|_| ())),
                }
                assert_eq!(device.allocated_bytes(), before, "{what}: {kernel}");
            }
            assert!(!device.is_lost(), "{what}: {kernel}");
        }
        assert_eq!(model.forward(&x, None).unwrap().0.to_vec().unwrap(), want, "after {what}");
    }
}

/// What a GPU reads through counts while it is kept, is given up for what has no room, and is refused itself
/// where there is none.
fn reads_take_memory(device: &Device) {
    let base = held(device);
    let tensor = Tensor::zeros(device, &[32 << 10]).unwrap();
    let bytes = 128 << 10;
    // As large as what is read.
    let copy = bytes;
    assert_eq!(device.allocated_bytes(), base + bytes);
    tensor.to_vec().unwrap();
    assert_eq!(device.allocated_bytes(), base + bytes + copy);
    // Another read takes the same.
    tensor.to_vec().unwrap();
    assert_eq!(device.allocated_bytes(), base + bytes + copy);

    let budget = Budget::of(device, base + bytes + copy);
    let instead = Tensor::zeros(device, &[copy as usize / 4]).unwrap();
    assert_eq!(device.allocated_bytes(), base + bytes + copy);
    assert!(matches!(tensor.to_vec(), Err(Error::OutOfMemory { .. })));
    drop(instead);
    tensor.to_vec().unwrap();
    drop(budget);

    // Beyond 16 MiB nothing is kept.
    let large = Tensor::zeros(device, &[(4 << 20) + 1]).unwrap();
    large.to_vec().unwrap();
    drop(large);
    assert_eq!(device.allocated_bytes(), base + bytes);
    drop(tensor);
    assert_eq!(device.allocated_bytes(), base);
}

/// What a process with little memory may address, in units of 1,024 bytes, as shells have it.
const ADDRESS_SPACE: u64 = 4_000_000;

/// A program that runs this one, in which test processes are started as well: the loader of another system.
const RUNNER: &str = "GATEFOLD_TEST_RUNNER";

/// How long a process of its own may take. It is an end for one that hangs.
const LONGEST: Duration = Duration::from_secs(600);

/// Set in a process that has little memory.
const LITTLE_MEMORY: &str = "GATEFOLD_TEST_LITTLE_MEMORY";

/// Set where that is a budget.
const BUDGET: &str = "GATEFOLD_TEST_BUDGET";

/// What a process says of a driver whose buffers are larger than what it may address.
const MORE_THAN_THERE_IS: &str = "the driver hands out what there isn't";

/// Set in a process whose only device is lost.
const LOST: &str = "GATEFOLD_TEST_LOST";

/// What a process of its own does, where this is one.
pub fn alone() -> bool {
    let named = |variable: &str| {
        let name = std::env::var_os(variable)?.into_string().unwrap();
        Some(Adapter::all().into_iter().find(|a| a.name() == name).expect("the adapter"))
    };
    let little = named(LITTLE_MEMORY).map(|adapter| with_little_memory(&adapter));
    let lost = named(LOST).map(|adapter| with_a_lost_device(&adapter));
    little.or(lost).is_some()
}

/// A driver that can't be asked how long its loops may be is taken for one that stops them; one that is asked
/// later has its answer.
fn with_a_lost_device(adapter: &Adapter) {
    let wanted = Gpu::wanted(adapter.as_wgpu());
    let request = adapter.as_wgpu().request_device(&wanted);
    let (device, queue) = pollster::block_on(request).unwrap();
    device.destroy();
    let lost = Gpu::from_wgpu(device, queue).unwrap();
    assert!(lost.is_lost());
    assert_eq!(lost.limits().loop_budget, adapter.is_software().then_some(65_000));
    let found = adapter.open().unwrap().limits().loop_budget;
    println!("lost, and then asked: {found:?}");
    let again = adapter.open_with_defaults().unwrap().limits().loop_budget;
    assert_eq!(again, found);
}

fn a_lost_device_isnt_asked(device: &Device) {
    let name = gpu(device).wgpu_device().adapter_info().name;
    let (success, said) = output_of(alone_with(LOST, &name, ""));
    let found = format!("lost, and then asked: {:?}", device.limits().loop_budget);
    assert!(success && said.contains(&found), "{said}");
}

/// Takes all memory that there is, and goes on with what is left.
fn with_little_memory(adapter: &Adapter) {
    let device = Device::from_gpu(adapter.open().unwrap());
    let trained = |rows: usize, batch: usize| {
        let x = array(&[rows, 50, 2], 1);
        let set = Dataset::new(x, array(&[rows, 1], 2)).unwrap();
        let model = Forecaster::new(&device, LstmConfig::new(2, 32).seed(1), 1).unwrap();
        let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(batch);
        trainer = trainer.epochs(1).max_steps(2);
        trainer.fit(&set, None, |_| ()).map(|_| trainer.model().state_dict().unwrap())
    };
    let want = trained(16, 8).unwrap();

    if std::env::var_os(BUDGET).is_some() {
        device.set_memory_budget(Some(1024 * ADDRESS_SPACE));
    }
    // Memory that nobody touches, until the driver has no more.
    let mut taken = Vec::new();
    let exhausted = loop {
        match Tensor::zeros(&device, &[16 << 20]) {
            Ok(tensor) => taken.push(tensor),
            Err(error) => break error,
        }
        if device.allocated_bytes() > 1024 * ADDRESS_SPACE {
            assert_eq!(device.memory_budget(), None, "it takes more than its budget");
            return println!("{MORE_THAN_THERE_IS}");
        }
    };
    let said = exhausted.to_string();
    assert!(matches!(exhausted, Error::OutOfMemory { .. }), "{said}");
    assert!(said.contains(adapter.name()) && said.contains("67108864 bytes"), "{said}");
    assert!(!device.is_lost(), "it is out of memory, and there");
    // What was kept for reads is given up by now.
    let before = device.allocated_bytes();
    assert_eq!(before, taken.len() as u64 * (64 << 20));
    // So is a batch that takes more than is left, and the process lives.
    let result = trained(8192, 8192);
    assert!(matches!(result, Err(Error::OutOfMemory { .. })), "{:?}", result.map(|_| ()));
    assert_eq!(device.allocated_bytes(), before);
    // What is left is enough for less.
    taken.pop();
    assert_eq!(trained(16, 8).unwrap(), want);
    let count = taken.len();
    drop(taken);
    trained(8192, 8192).unwrap();
    println!("out of memory after {count} buffers, and on");
}

/// Why there is no [`a_driver_without_memory`] on an adapter, where there is none.
pub fn memory_without_limit(adapter: &Adapter) -> Option<&'static str> {
    let limited = cfg!(target_os = "linux") && adapter.name().contains("llvmpipe");
    (!limited).then_some("the adapter's memory isn't its process's to limit")
}

/// A driver whose process gets no more memory: an error, and the process lives; a smaller batch then works. In
/// a process of its own, whose address space is small. A driver that hands out memory which there isn't has as much
/// as it is told, since it ends the process once that memory is touched.
pub fn a_driver_without_memory(adapter: &Adapter) {
    let limit = format!("ulimit -v {ADDRESS_SPACE} && ");
    let (mut success, mut said) = output_of(alone_with(LITTLE_MEMORY, adapter.name(), &limit));
    if success && said.contains(MORE_THAN_THERE_IS) {
        let mut with_a_budget = alone_with(LITTLE_MEMORY, adapter.name(), "");
        with_a_budget.env(BUDGET, "1");
        (success, said) = output_of(with_a_budget);
    }
    assert!(success && said.contains("out of memory after"), "{said}");
}

/// This program with a variable by which it does something else, after a part of a shell's command.
fn alone_with(variable: &str, value: &str, before: &str) -> Command {
    let program = match std::env::var_os(RUNNER) {
        None => vec![std::env::current_exe().unwrap().into_os_string()],
        // That of the process is the loader then.
        Some(runner) => vec![runner, std::env::args_os().next().unwrap()],
    };
    let mut command =
        Command::new(if before.is_empty() { program[0].as_os_str() } else { "sh".as_ref() });
    match before.is_empty() {
        true => command.args(&program[1..]),
        false => command.args(["-c", &format!("{before}exec \"$@\""), "sh"]).args(program),
    };
    // A backtrace takes memory, of which there may be none.
    command.env("RUST_BACKTRACE", "0").env(variable, value);
    command
}

/// Whether a process ended well, and what it has said; one that hangs is ended.
fn output_of(mut command: Command) -> (bool, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    std::thread::scope(|scope| {
        let out = scope.spawn(move || std::io::read_to_string(&mut out).unwrap());
        let errors = scope.spawn(move || std::io::read_to_string(&mut errors).unwrap());
        let since = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if since.elapsed() > LONGEST => break None,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let said = out.join().unwrap() + &errors.join().unwrap();
        match status {
            Some(status) => (status.success(), said),
            None => (false, format!("it hung, and was ended after {LONGEST:?}: {said}")),
        }
    })
}

/// Inputs and targets that only the device sees, under each policy.
fn recorded_steps_that_arent_finite(device: &Device) {
    let gpu = gpu(device);
    let (wgpu, queue) = (gpu.wgpu_device(), gpu.wgpu_queue());
    let holding = |values: &[f32]| {
        let size = 4 * values.len() as u64;
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let mapped_at_creation = false;
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation };
        let buffer = wgpu.create_buffer(&descriptor);
        queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
        buffer
    };
    let (steps, batch) = (4, 3);
    let (x, y) = (normal(steps * batch * 2, 1.0, 1), normal(batch, 1.0, 2));
    let record = |trainer: &mut Trainer, x: &[f32], y: &[f32]| {
        let (x, y) = (holding(x), holding(y));
        let mut encoder = wgpu.create_command_encoder(&Default::default());
        let bindings = TrainingBindings { x: x.slice(..), target: y.slice(..), loss: None };
        trainer.record_step(&mut encoder, (steps, batch), &bindings).unwrap();
        queue.submit([encoder.finish()]);
    };
    let bits = |trainer: &Trainer| -> Vec<u32> {
        let dict = trainer.model().state_dict().unwrap();
        dict.iter().flat_map(|(_, a)| a.data().iter().map(|v| v.to_bits())).collect()
    };
    for policy in [NonFinite::Error, NonFinite::Skip, NonFinite::Pass] {
        let start = || {
            let model = Forecaster::new(device, LstmConfig::new(2, 5).seed(3), 1).unwrap();
            let sgd = Sgd::new(0.05).momentum(0.9);
            Trainer::new(model, Loss::mse(), sgd).epochs(1).non_finite(policy)
        };
        let mut right = start();
        record(&mut right, &x, &y);
        let after_one = bits(&right);
        record(&mut right, &x, &y);
        let after_two = bits(&right);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for in_target in [false, true] {
                let what = format!("{policy:?}, {bad}, in the target: {in_target}");
                let (mut bad_x, mut bad_y) = (x.clone(), y.clone());
                match in_target {
                    true => bad_y[1] = bad,
                    false => bad_x[(2 * batch + 1) * 2] = bad,
                }
                let mut trainer = start();
                record(&mut trainer, &x, &y);
                record(&mut trainer, &bad_x, &bad_y);
                record(&mut trainer, &x, &y);
                let found = trainer.expect_finite();
                match policy {
                    NonFinite::Error => {
                        let Err(Error::NonFinite { tensor, step: 2, .. }) = found else {
                            panic!("{what}: {found:?}")
                        };
                        // An infinite input shuts gates, and only its gradient is bad.
                        let of_loss = in_target || bad.is_nan();
                        let gradient = tensor.starts_with("the gradient of lstm.");
                        assert!(tensor == "the loss" || !of_loss && gradient, "{what}: {tensor}");
                        assert!(bits(&trainer) == after_one, "{what}");
                        assert_eq!(trainer.steps(), 1, "{what}");
                        record(&mut trainer, &x, &y);
                        trainer.expect_finite().unwrap();
                        assert!(bits(&trainer) == after_two, "{what}: a good step then");
                    }
                    NonFinite::Skip => {
                        found.unwrap();
                        assert!(bits(&trainer) == after_two, "{what}");
                        assert_eq!(trainer.steps(), 3, "{what}");
                    }
                    NonFinite::Pass => {
                        found.unwrap();
                        let finite = |&v: &u32| f32::from_bits(v).is_finite();
                        assert!(!bits(&trainer).iter().all(finite), "{what}");
                        assert_eq!(trainer.steps(), 3, "{what}");
                    }
                }
            }
        }
    }
}
