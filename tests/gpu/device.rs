//! What only a GPU can get wrong.

use std::future::Future;

use gatefold::command::Limits;
use gatefold::gpu::{Adapter, Gpu};
use gatefold::lockstep::lockstep;
use gatefold::plan::{Bias, Head, ParameterTable, Plan, Sequences, StackShape, TrainingOptions};
use gatefold::{Device, Error, Lstm, LstmConfig, Tensor};

use crate::common::random::normal;
use crate::common::{Check, models};

pub const CHECKS: &[(&str, Check)] = &[
    ("gpu::long_sums_keep_to_the_loop_budget", long_sums_keep_to_the_loop_budget),
    ("gpu::a_callers_device", a_callers_device),
    ("gpu::a_refused_kernel_is_an_error", a_refused_kernel_is_an_error),
];

/// Weight gradients and column sums over 131,072 rows are right. On llvmpipe, which stops loops,
/// the same plan without its loop budget is wrong, and the lockstep says so.
fn long_sums_keep_to_the_loop_budget(device: &Device) {
    let (rows, input) = (131_072, 2);
    let shape =
        StackShape { bias: Bias::Single, head: Head::LastHidden, ..StackShape::lstm(input, 1) };
    let params = normal(ParameterTable::new(&shape).len, 1.0, 1);
    let mut feed = normal(rows * input + rows, 1.0, 2);
    feed.extend([0.0, 1.0]);
    let run = |limits: &Limits| {
        let sequences = Sequences::new(1, rows);
        let plan = Plan::training(&shape, &sequences, &TrainingOptions::default(), limits).unwrap();
        let products = models::count(&plan, "matmul");
        (products, lockstep(device, &plan.program, &[("params", &params), ("feed", &feed)]))
    };
    let (products, result) = run(&device.limits());
    result.unwrap_or_else(|e| panic!("{e}"));
    let (fewer, unlimited) = run(&Limits { loop_budget: None, ..device.limits() });
    if device.to_string().contains("llvmpipe") {
        assert!(fewer < products, "the budget cuts products");
        match unlimited {
            Err(Error::Diverged { kernel, .. }) => assert_eq!(kernel, "matmul"),
            other => panic!(
                "without its budget the plan should be wrong here: {:?}",
                other.map(|c| c.len())
            ),
        }
    } else {
        unlimited.unwrap_or_else(|e| panic!("{e}"));
    }
}

/// A device that the caller made: reads don't poll unless they block.
fn a_callers_device(device: &Device) {
    let Some(ours) = device.as_gpu() else { panic!("a GPU") };
    let (wgpu_device, queue) = (ours.wgpu_device().clone(), ours.wgpu_queue().clone());
    let theirs = Device::from_gpu(Gpu::from_wgpu(wgpu_device.clone(), queue));
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

/// A module that doesn't compile: an error that names adapter and kernel, and no panic.
fn a_refused_kernel_is_an_error(device: &Device) {
    let mut table = device.table().clone();
    for kernel in &mut table.0 {
        kernel.variants[0].source = "this is no shader".into();
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
