//! A pool of streams beside a plain batch of as many rows as it has live streams.
//!
//! 4,096 places, half of them live and scattered, a twentieth of them leaving and joining in
//! every step. What is timed: bookkeeping, one step, and reading its outputs.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use gatefold::gpu::Adapter;
use gatefold::{Device, Lstm, LstmConfig, Stream, StreamPool, Tensor};

const CAPACITY: usize = 4096;
const LIVE: usize = CAPACITY / 2;
const INPUT: usize = 16;
const HIDDEN: usize = 32;

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.37).sin()).collect()
}

fn bench(criterion: &mut Criterion, name: &str, device: &Device) -> gatefold::Result<()> {
    let lstm = Lstm::new(device, LstmConfig::new(INPUT, HIDDEN))?;
    let mut group = criterion.benchmark_group("streams");
    group.throughput(Throughput::Elements(LIVE as u64));

    let x = Tensor::from_slice(device, &numbers(LIVE * INPUT), &[LIVE, INPUT])?;
    let mut state = lstm.initial_state(LIVE)?;
    group.bench_function(format!("{name}/plain batch of {LIVE}"), |bencher| {
        bencher
            .iter(|| lstm.step(&x, &mut state).and_then(|y| y.to_vec()).expect("the device runs"));
    });

    let mut pool = StreamPool::new(&lstm, CAPACITY)?;
    let mut live = (0..CAPACITY).map(|_| pool.join()).collect::<gatefold::Result<Vec<_>>>()?;
    let mut turn = 0;
    while live.len() > LIVE {
        turn = (turn + 797) % live.len();
        pool.leave(live.swap_remove(turn))?;
    }
    let x = Tensor::from_slice(device, &numbers(CAPACITY * INPUT), &[CAPACITY, INPUT])?;
    let mut step = |live: &mut Vec<Stream>| -> gatefold::Result<Vec<f32>> {
        for _ in 0..LIVE / 20 {
            turn = (turn + 797) % live.len();
            pool.leave(live.swap_remove(turn))?;
        }
        while live.len() < LIVE {
            live.push(pool.join()?);
        }
        pool.step(&x, live)?.to_vec()
    };
    group.bench_function(format!("{name}/pool, {LIVE} of {CAPACITY}"), |bencher| {
        bencher.iter(|| step(&mut live).expect("the device runs"));
    });
    group.finish();
    Ok(())
}

fn main() -> gatefold::Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    bench(&mut criterion, "cpu", &Device::cpu())?;
    match Adapter::all().first() {
        None => println!("GPU: skipped, no adapter on this machine"),
        Some(adapter) => {
            let device = Device::from_gpu(adapter.open()?);
            println!("{device}");
            bench(&mut criterion, "gpu", &device)?;
        }
    }
    criterion.final_summary();
    Ok(())
}
