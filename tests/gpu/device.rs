//! What only a GPU can get wrong.

use std::cell::Cell;
use std::future::Future;
use std::task::{Context, Waker};

use gatefold::command::{Limits, Variant};
use gatefold::gpu::{Adapter, Gpu};
use gatefold::lockstep::lockstep;
use gatefold::plan::{Bias, Head, ParameterTable, Plan, Sequences, StackShape, TrainingOptions};
use gatefold::reference::Tolerance;
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::verify::Row;
use gatefold::{Array, Dataset, Device, Error, Forecaster, Lstm, LstmConfig, Tensor, wgpu};

use crate::common::asynchronous::{Driver, dropped_fits_by, every_form_by, threads};
use crate::common::random::normal;
use crate::common::{Check, assert_close, models, wide};

pub const CHECKS: &[(&str, Check)] = &[
    ("gpu::long_sums_keep_to_the_loop_budget", long_sums_keep_to_the_loop_budget),
    ("gpu::devices_without_compute_are_refused", devices_without_compute_are_refused),
    ("gpu::long_sequences_run_in_pieces", long_sequences_run_in_pieces),
    ("gpu::a_callers_device", a_callers_device),
    ("gpu::async_on_a_callers_device", async_on_a_callers_device),
    ("gpu::async_submissions_dont_block", async_submissions_dont_block),
    ("gpu::no_thread_is_started", no_thread_is_started),
    ("gpu::a_refused_kernel_is_an_error", a_refused_kernel_is_an_error),
    ("gpu::a_refusal_is_in_the_report", a_refusal_is_in_the_report),
    ("gpu::forgotten_zeros_are_in_the_report", forgotten_zeros_are_in_the_report),
];

/// Weight gradients and column sums over 300,000 rows are right, and so are products over 1,200,000
/// features. Where the driver stops loops, as it was found to when it was asked, plans cut them, and without the
/// budget the plan is wrong, and the lockstep says so; where it doesn't, nothing is cut, and that is right.
fn long_sums_keep_to_the_loop_budget(device: &Device) {
    let run = |(rows, input): (usize, usize), limits: &Limits| {
        let head = Head::Identity;
        let shape = StackShape { bias: Bias::Single, head, ..StackShape::lstm(input, 1) };
        let std = 1.0 / (input as f32).sqrt();
        let params = normal(ParameterTable::new(&shape).len, std, 1);
        let mut feed = normal(rows * input + rows, 1.0, 2);
        feed.push(1.0 / rows as f32);
        let sequences = Sequences::new(1, rows);
        let plan = Plan::training(&shape, &sequences, &TrainingOptions::default(), limits).unwrap();
        let products = models::count(&plan, "matmul");
        (products, lockstep(device, &plan.program, &[("params", &params), ("feed", &feed)]))
    };
    let (many_rows, many_features) = ((300_000, 2), (2, 1_200_000));
    let limits = device.limits();
    let (_, result) = run(many_rows, &limits);
    result.unwrap_or_else(|e| panic!("{e}"));
    let (products, result) = run(many_features, &limits);
    result.unwrap_or_else(|e| panic!("{e}"));
    match limits.loop_budget {
        Some(budget) => {
            assert!(limits.software && (60_000..=65_535).contains(&budget), "{budget}");
            let (fewer, unlimited) = run(many_features, &Limits { loop_budget: None, ..limits });
            assert!(fewer < products, "the budget cuts products");
            match unlimited {
                Err(Error::Diverged { kernel, .. }) => assert_eq!(kernel, "matmul"),
                other => panic!(
                    "without its budget the plan should be wrong here: {:?}",
                    other.map(|c| c.len())
                ),
            }
        }
        None => {
            // With a budget, which it needs not, products are cut and as right.
            let (more, limited) =
                run(many_features, &Limits { loop_budget: Some(65_000), ..limits });
            assert!(more > products, "nothing is cut without a budget");
            limited.unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

/// Devices whose limits are below what kernels need are refused, by the limit's name; with the least that
/// will do, everything runs.
fn devices_without_compute_are_refused(device: &Device) {
    let ours = device.as_gpu().expect("a GPU").wgpu_device();
    let take = |required_limits: wgpu::Limits| {
        let adapter = adapter_of(device);
        let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        Gpu::from_wgpu(device, queue)
    };
    for (limits, name, has) in [
        (wgpu::Limits::downlevel_webgl2_defaults(), "max_storage_buffers_per_shader_stage", 0),
        (wgpu::Limits::downlevel_defaults(), "max_storage_buffers_per_shader_stage", 4),
    ] {
        match take(limits) {
            Err(error @ Error::Limit { .. }) => {
                let said = error.to_string();
                assert!(said.contains(&format!("{name} is {has}")) && said.contains('8'), "{said}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Of a device whose bindings hold little, plans are cut, or refused.
    let little = wgpu::Limits {
        max_storage_buffer_binding_size: 4096,
        max_compute_workgroups_per_dimension: 8,
        ..ours.limits()
    };
    let small = Device::from_gpu(take(little).unwrap());
    let x = normal(4 * 2 * 3, 1.0, 1);
    let run = |device: &Device, hidden: usize| {
        let lstm = Lstm::new(device, LstmConfig::new(3, hidden).seed(1))?;
        let x = Tensor::from_slice(device, &x, &[4, 2, 3])?;
        lstm.forward(&x, None)?.0.to_vec()
    };
    let [got, want] = [&small, &Device::cpu()].map(|device| run(device, 5).unwrap());
    assert_close("a small device", &got, &wide(&want), Tolerance::OUTPUT);
    assert!(matches!(run(&small, 600), Err(Error::Limit { .. })));
}

/// A device that the caller made: reads don't poll unless they block.
fn a_callers_device(device: &Device) {
    let Some(ours) = device.as_gpu() else { panic!("a GPU") };
    let (wgpu_device, queue) = (ours.wgpu_device().clone(), ours.wgpu_queue().clone());
    let theirs = Device::from_gpu(Gpu::from_wgpu(wgpu_device.clone(), queue).unwrap());
    let tensor = Tensor::from_slice(&theirs, &[1.0, 2.0], &[2]).unwrap();
    assert_eq!(tensor.to_vec().unwrap(), [1.0, 2.0]);
    // Nobody polls: the future stays as it is.
    let mut reading = Box::pin(tensor.to_vec_async());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..100 {
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(reading.as_mut().poll(&mut context).is_pending());
    }
    drop(reading);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                wgpu_device.poll(gatefold::wgpu::PollType::Poll).unwrap();
                std::thread::yield_now();
            }
        });
        assert_eq!(pollster::block_on(tensor.to_vec_async()).unwrap(), [1.0, 2.0]);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// The adapter of a device, found anew.
pub fn adapter_of(device: &Device) -> wgpu::Adapter {
    let info = device.as_gpu().expect("a GPU").wgpu_device().adapter_info();
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let same = |adapter: &wgpu::Adapter| {
        let other = adapter.get_info();
        (other.name, other.backend) == (info.name.clone(), info.backend)
    };
    adapters.into_iter().find(same).expect("the same adapter")
}

/// A device that the test opens itself, on the adapter and with the limits of another one.
pub fn opened_by_hand(like: &Device) -> Gpu {
    opened_with(like, like.as_gpu().expect("a GPU").wgpu_device().limits())
}

fn opened_with(like: &Device, required_limits: wgpu::Limits) -> Gpu {
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter_of(like).request_device(&descriptor)).unwrap();
    Gpu::from_wgpu(device, queue).unwrap()
}

/// A sequence whose gates no buffer of a device holds runs in pieces, in one direction and in both, and comes
/// to what a larger device makes of it.
fn long_sequences_run_in_pieces(device: &Device) {
    let limits = device.as_gpu().expect("a GPU").wgpu_device().limits();
    let small = wgpu::Limits {
        max_buffer_size: 1 << 19,
        max_storage_buffer_binding_size: 1 << 19,
        ..limits
    };
    let small = Device::from_gpu(opened_with(device, small));
    let (steps, batch, input) = (700, 3, 4);
    let x = normal(steps * batch * input, 1.0, 1);
    for both in [false, true] {
        let config = || LstmConfig::new(input, 20).layers(2).bidirectional(both).seed(3);
        let gates = 4 * 20 * steps * batch;
        assert!(gates > small.limits().max_buffer, "one plan is enough");
        let run = |device: &Device| {
            let lstm = Lstm::new(device, config()).unwrap();
            let x = Tensor::from_slice(device, &x, &[steps, batch, input]).unwrap();
            let (y, last) = lstm.forward_padded(&x, Some(&[700, 0, 400]), None).unwrap();
            [y, last.h, last.c].map(|tensor| tensor.to_vec().unwrap())
        };
        for (got, want) in run(&small).iter().zip(run(device)) {
            assert_close("in pieces", got, &wide(&want), Tolerance::OUTPUT);
        }
    }
}

/// Every asynchronous form with the caller polling: pending until then, and the same results.
fn async_on_a_callers_device(device: &Device) {
    let theirs = Device::from_gpu(opened_by_hand(device));
    let driver = Driver::caller(theirs.as_gpu().expect("a GPU"));
    every_form_by(&theirs, &driver);
    dropped_fits_by(&theirs, &driver);
}

/// Where submissions pile up, asynchronous calls are pending, and neither poll nor block. llvmpipe
/// works inside of the call that submits: nothing piles up there, and it says so.
fn async_submissions_dont_block(device: &Device) {
    let theirs = Device::from_gpu(opened_by_hand(device));
    let gpu = theirs.as_gpu().expect("a GPU");
    let driver = Driver::caller(gpu);
    let model = Forecaster::new(&theirs, LstmConfig::new(8, 64), 1).unwrap();
    let (rows, steps) = (16, 20);
    let x = Array::new(normal(rows * steps * 8, 1.0, 1), &[rows, steps, 8]).unwrap();
    let data = Dataset::new(x, Array::new(normal(rows, 1.0, 2), &[rows, 1]).unwrap()).unwrap();
    let epochs = 97;
    let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(rows);
    trainer = trainer.epochs(epochs).report_every(epochs);
    let submits = || theirs.counts().submits;
    let reported = Cell::new(None);
    let mut fit = Box::pin(trainer.fit_async(&data, None, |_| reported.set(Some(submits()))));
    // After the first epoch there is a report, and then none until the last.
    let mut context = Context::from_waker(Waker::noop());
    let before = loop {
        assert!(fit.as_mut().poll(&mut context).is_pending());
        match reported.get() {
            Some(submits) => break submits,
            None => gpu.wgpu_device().poll(wgpu::PollType::wait_indefinitely()).unwrap(),
        };
    };
    let submitted = submits() - before;
    let piled_up = submitted < 7; // six, and one that reads
    if !piled_up {
        eprintln!("{device} keeps up with the host: no submission had to wait");
    }
    for _ in 0..100 {
        assert!(fit.as_mut().poll(&mut context).is_pending());
        assert_eq!(submits() - before, submitted, "nobody has polled");
    }
    let report = driver.drive(fit).unwrap();
    let all = submits() - before;
    assert_eq!(all, 7, "six submissions, and one that reads");
    assert_eq!(report.step_losses.len(), epochs);

    // As many of calls that have no asynchronous form: there is no room for one more.
    let lstm = Lstm::new(&theirs, LstmConfig::new(8, 128)).unwrap();
    let x = Tensor::from_slice(&theirs, &normal(20 * 64 * 8, 1.0, 3), &[20, 64, 8]).unwrap();
    let mut state = None;
    for _ in 0..64 {
        state = Some(lstm.forward(&x, state.as_ref()).unwrap().1);
    }
    let mut room = Box::pin(theirs.room_async());
    let full = room.as_mut().poll(&mut context).is_pending();
    if !full {
        eprintln!("{device} keeps up with the host: there was always room");
    }
    if full {
        driver.drive(room);
    }
    assert!(Box::pin(theirs.room_async()).as_mut().poll(&mut context).is_ready());
}

/// As many threads as before, through every form, whoever polls; those don't count with which a driver writes its
/// cache of kernels.
fn no_thread_is_started(device: &Device) {
    let adapters = Adapter::all();
    let name = device.as_gpu().expect("a GPU").wgpu_device().adapter_info().name;
    let adapter = adapters.iter().find(|adapter| adapter.name() == name).expect("the adapter");
    let [ours, theirs] = [adapter.open().unwrap(), opened_by_hand(device)].map(Device::from_gpu);
    // A driver may start its own with the first work.
    for device in [&ours, &theirs] {
        Tensor::zeros(device, &[1]).unwrap().duplicate().unwrap().to_vec().unwrap();
    }
    let Some(before) = threads() else {
        eprintln!("skipped: this system has no /proc/self/task that names threads");
        return;
    };
    let gpu = theirs.as_gpu().expect("a GPU");
    for (device, driver) in [(&ours, Driver::library()), (&theirs, Driver::caller(gpu))] {
        let driver = driver.by_hand();
        every_form_by(device, &driver);
        assert_eq!(driver.most_threads.get(), before, "{device}");
        assert_eq!(threads(), Some(before), "{device}");
    }
    // One that is started is seen, whatever its name, but a cache's.
    for (name, more) in [("", 1), ("worker", 1), ("disk", 1), ("gpu-abc:disk$0", 0)] {
        let started = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let mut thread = std::thread::Builder::new();
            if !name.is_empty() {
                thread = thread.name(name.to_owned());
            }
            let wait = || {
                started.wait();
                started.wait();
            };
            let thread = thread.spawn_scoped(scope, wait).unwrap();
            started.wait();
            let seen = threads();
            started.wait();
            thread.join().unwrap();
            assert_eq!(seen, Some(before + more), "{name:?}");
        });
        // The system may list one for a moment that has ended.
        let waits = (0..10_000).take_while(|_| threads() != Some(before));
        waits.for_each(|_| std::thread::sleep(std::time::Duration::from_millis(1)));
    }
}

/// A module that doesn't compile: an error that names adapter and kernel, and no panic.
fn a_refused_kernel_is_an_error(device: &Device) {
    let mut table = device.table().clone();
    for kernel in &mut table.0 {
        for variant in &mut kernel.variants {
            *variant = variant.clone().with_source("this is no shader");
        }
    }
    let broken = device.clone().with_table(table);
    let lstm = Lstm::new(&broken, LstmConfig::new(1, 1)).unwrap();
    let x = Tensor::zeros(&broken, &[1, 1, 1]).unwrap();
    match lstm.forward(&x, None) {
        Err(Error::Gpu { operation, adapter, .. }) => {
            assert!(operation.contains("`matmul`"), "{operation}");
            assert!(!adapter.is_empty());
        }
        other => panic!("no error: {:?}", other.map(|_| ())),
    }
}

pub fn devices_dont_mix(adapter: &Adapter) {
    let [a, b] = [(); 2].map(|()| Device::from_gpu(adapter.open().unwrap()));
    let lstm = Lstm::new(&a, LstmConfig::new(1, 1)).unwrap();
    for other in [b, Device::cpu()] {
        let x = Tensor::zeros(&other, &[1, 1, 1]).unwrap();
        assert!(matches!(lstm.forward(&x, None), Err(Error::OtherDevice { .. })));
    }
}

/// A driver that refuses a kernel is in the report, beside all others.
fn a_refusal_is_in_the_report(device: &Device) {
    let mut table = device.table().clone();
    let row = table.0.iter_mut().find(|kernel| kernel.name == "argmax").unwrap();
    for variant in &mut row.variants {
        *variant = variant.clone().with_source("this is no shader");
    }
    let report = gatefold::verify(&device.clone().with_table(table)).unwrap();
    assert!(!report.passed() && !report.refused.is_empty());
    assert!(report.refused.iter().all(|refused| refused.contains("argmax")), "{report}");
    assert!(report.rows.iter().all(|row| row.problem.is_none()), "{report}");
    assert!(report.to_string().contains("REFUSED: "), "{report}");
}

/// A variable of a walk's loop that isn't made zero in every timestep, as by a compiler that declares it once: found
/// in every variant that adds to it, of those that it is put into. These are the smallest of each kind: larger
/// ones differ in a constant, and a software driver compiles them for minutes.
fn forgotten_zeros_are_in_the_report(device: &Device) {
    let is_smallest = |variant: &str| {
        variant.starts_with("resident, 16 units") || variant.starts_with("broadcast, 32 units")
    };
    let names = ["lstm_sequence_forward", "lstm_sequence_backward"];
    let report = |variable: &str| {
        let mut table = device.table().clone();
        for kernel in table.0.iter_mut().filter(|kernel| names.contains(&kernel.name)) {
            let smallest = |variant: &&mut Variant| is_smallest(&variant.name);
            for variant in kernel.variants.iter_mut().filter(smallest) {
                if let Some(source) = declared_once(variant.source(), variable) {
                    *variant = variant.clone().with_source(source);
                }
            }
        }
        gatefold::verify(&device.clone().with_table(table)).unwrap()
    };
    // With one row, broadcasts give `sums` a value; `features` are those of projections.
    let adds_sums =
        |row: &Row| row.variant.starts_with("resident") || row.variant.ends_with(" 8 rows");
    let adds_features = |row: &Row| {
        row.name == names[0]
            && row.variant.starts_with("broadcast")
            && row.shapes.iter().any(|shape| shape.contains(" P"))
    };
    type Which<'a> = (&'a str, &'a dyn Fn(&Row) -> bool);
    let variables: [Which<'_>; 2] = [("sums", &adds_sums), ("features", &adds_features)];
    for (variable, adds) in variables {
        if variable == "features" && device.limits().subgroup.is_none() {
            continue; // There are no broadcasts.
        }
        let report = report(variable);
        assert!(report.refused.is_empty(), "{report}");
        // A whole pass is wrong as well where it runs one of them.
        let walks = report.rows.iter().filter(|row| !["pass", "cell"].contains(&row.name));
        let mut found = 0;
        for row in walks {
            let wrong = names.contains(&row.name) && adds(row) && is_smallest(&row.variant);
            assert_eq!(row.problem.is_some(), wrong, "{variable}, {}, {}", row.name, row.variant);
            found += usize::from(wrong);
        }
        assert!(found > 0, "{report}");
    }
}

/// A walk in which a variable is declared before the loop over timesteps, if it is declared in it.
fn declared_once(source: &str, variable: &str) -> Option<String> {
    let (before, walk) = source.split_once("    for (var n = 0u; n < params.steps; n++) {\n")?;
    let start = walk.find(&format!("var {variable} = "))?;
    let end = start + walk[start..].find('\n')?;
    let (declaration, rest) = (&walk[start..end], &walk[end..]);
    let head = "    for (var n = 0u; n < params.steps; n++) {\n";
    Some(format!("{before}    {declaration}\n{head}{}{rest}", &walk[..start]))
}
