//! Results don't depend on how many threads there are.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use gatefold::cpu::Cpu;
use gatefold::plan::{Plan, Sequences, StackShape};
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Dataset, Device, Error, Forecaster, Lstm, LstmConfig, Tensor};

use crate::common::random::normal;

fn trained(threads: usize) -> Vec<u32> {
    let device = Device::from_cpu(Cpu::with_threads(threads).unwrap());
    // Large enough for walks, products and updates to be split over threads, gradients of weights over
    // columns as well.
    let model = Forecaster::new(&device, LstmConfig::new(9, 160).layers(2), 3).unwrap();
    let data = Dataset::new(
        Array::new(normal(40 * 24 * 9, 1.0, 1), &[40, 24, 9]).unwrap(),
        Array::new(normal(40 * 3, 1.0, 2), &[40, 3]).unwrap(),
    );
    let mut trainer =
        Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(16).epochs(2).shuffle(4);
    let report = trainer.fit(&data.unwrap(), None, |_| ()).unwrap();
    let state = trainer.model().state_dict().unwrap();
    let weights = state.into_iter().flat_map(|(_, array)| array.into_data());
    report.step_losses.into_iter().chain(weights).map(f32::to_bits).collect()
}

/// Outputs of few rows, whose timesteps are split over units.
fn few_rows(threads: usize) -> Vec<u32> {
    let device = Device::from_cpu(Cpu::with_threads(threads).unwrap());
    let lstm = Lstm::new(&device, LstmConfig::new(4, 400)).unwrap();
    let x = Tensor::from_slice(&device, &normal(9 * 3 * 4, 1.0, 1), &[9, 3, 4]).unwrap();
    let (y, _) = lstm.forward(&x, None).unwrap();
    y.to_vec().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (weights, outputs) = (trained(1), few_rows(1));
    for threads in [2, 3, 7] {
        assert!(trained(threads) == weights, "{threads} threads train other weights");
        assert!(few_rows(threads) == outputs, "{threads} threads give other outputs");
    }
}

/// Calls of one session from many threads at once, some of them a pool's: each has to end, whoever waits for
/// whom.
#[test]
fn callers_in_pools_end() {
    let device = Device::cpu();
    let plan = Plan::forward(&StackShape::lstm(64, 128), &Sequences::new(8, 32), &device.limits());
    let session = Arc::new(device.session(&plan.unwrap().program).unwrap());
    let (done, ended) = mpsc::channel();
    let calls = move || {
        let run = || (0..20).for_each(|_| session.run().unwrap());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(run);
            scope.spawn(|| pool.install(|| rayon::join(run, || rayon::join(run, run))));
            // On the threads of the pool that all programs share.
            scope.spawn(|| rayon::join(run, || rayon::join(run, run)));
            run();
        });
        done.send(()).unwrap();
    };
    std::thread::spawn(calls);
    ended.recv_timeout(Duration::from_secs(60)).expect("some caller waits for ever");
}

#[test]
fn no_thread_is_refused() {
    assert!(matches!(Cpu::with_threads(0), Err(Error::Value { .. })));
}
