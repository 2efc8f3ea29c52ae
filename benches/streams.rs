//! A pool of streams beside a plain batch of as many rows as it has live streams.
//!
//! 4,096 places, half of them live and scattered, a twentieth of them leaving and joining in
//! every step. What is timed: bookkeeping, one step, and reading its outputs. It fails where the pool takes more
//! than three times as long as the batch.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gatefold::gpu::Adapter;
use gatefold::{Device, Lstm, LstmConfig, Stream, StreamPool, Tensor};

const CAPACITY: usize = 4096;
const LIVE: usize = CAPACITY / 2;
const INPUT: usize = 16;

/// How often the time of a plain batch the pool may take.
const MOST: u32 = 3;
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
    let mut batch = || lstm.step(&x, &mut state).and_then(|y| y.to_vec()).expect("the device runs");
    group.bench_function(format!("{name}/plain batch of {LIVE}"), |bencher| {
        bencher.iter(&mut batch);
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
    let mut pooled = || step(&mut live).expect("the device runs");
    group.bench_function(format!("{name}/pool, {LIVE} of {CAPACITY}"), |bencher| {
        bencher.iter(&mut pooled);
    });
    group.finish();
    compare(name, &mut batch, &mut pooled);
    Ok(())
}

fn timed<T>(run: &mut impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// The shortest times of both, by turns, and longer where it is busy, since the machine is not ours alone.
fn compare<T>(name: &str, batch: &mut impl FnMut() -> T, pooled: &mut impl FnMut() -> T) {
    let (mut plain, mut pool) = (Duration::MAX, Duration::MAX);
    for turn in 0..200 {
        if turn >= 12 && pool <= MOST * plain {
            break;
        }
        plain = plain.min(timed(batch));
        pool = pool.min(timed(pooled));
    }
    println!("{name}: {pool:?} for the pool, {plain:?} for the batch");
    assert!(pool <= MOST * plain, "a pool takes more than {MOST} times as long as a batch");
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
