//! Every kernel on every executor that is there, each verified against its f64 twin first.
//!
//! `cargo bench` prints the time of one launch, with submission and wait on a GPU. A missing
//! adapter is said, not invented. ../README.md says what is and is not timed.

mod case;
mod products;
mod rows;
mod sequences;
mod timesteps;
mod training;

use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use gatefold::Device;
use gatefold::command::Limits;
use gatefold::gpu::Adapter;
use gatefold::lockstep::lockstep;

use case::Case;

/// All launches.
fn cases(limits: &Limits) -> Vec<Case> {
    let of_layers = [products::cases(limits), timesteps::cases(limits), training::cases(limits)];
    let around_them = [sequences::cases(), rows::cases()];
    of_layers.into_iter().chain(around_them).flatten().collect()
}

/// The environment variable with which launches are cut as for another kind of device.
const LIMITS_VARIABLE: &str = "GATEFOLD_BENCH_LIMITS";

/// What launches for a device keep to: its limits, or, with `GATEFOLD_BENCH_LIMITS=hardware`, those that it would
/// have as hardware without subgroups, so that a software driver runs what a GPU would.
fn limits(device: &Device) -> Limits {
    match std::env::var(LIMITS_VARIABLE).as_deref() {
        Ok("hardware") => Limits { software: false, subgroup: None, ..device.limits() },
        Ok(other) => panic!("{LIMITS_VARIABLE} may be `hardware`, and is {other:?}"),
        Err(_) => device.limits(),
    }
}

fn main() {
    let mut executors = vec![("cpu".to_owned(), Device::cpu())];
    match Adapter::all().first().map(|a| (a.name().to_owned(), a.open())) {
        None => println!("GPU: skipped, no adapter on this machine"),
        Some((name, Err(error))) => println!("{name}: skipped, {error}"),
        Some((name, Ok(gpu))) => {
            let short = name.split([' ', '(']).next().unwrap_or("gpu").to_lowercase();
            executors.push((short, Device::from_gpu(gpu)));
        }
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    for (name, device) in &executors {
        println!("{name}: {device}");
    }
    let of_each: Vec<Vec<Case>> =
        executors.iter().map(|(_, device)| cases(&limits(device))).collect();
    for i in 0..of_each[0].len() {
        let mut group = criterion.benchmark_group(of_each[0][i].kernel);
        for ((name, device), cases) in executors.iter().zip(&of_each) {
            let case = &cases[i];
            let program = Arc::new(case.program.clone());
            let names = program.buffers.iter().map(|spec| spec.name.as_str());
            let inputs: Vec<(&str, &[f32])> =
                names.zip(case.contents.iter().map(Vec::as_slice)).collect();
            // A kernel that is wrong isn't timed.
            if let Err(error) = lockstep(device, &program, &inputs) {
                panic!("{error}");
            }
            let session = device.session(&program).expect("the case fits every device");
            for (name, values) in &inputs {
                session.write(name, values).expect("the case's own buffer");
            }
            group.throughput(case.throughput.clone());
            group.bench_function(format!("{name}/{}", case.shape), |bencher| {
                bencher.iter_custom(|iterations| {
                    let start = std::time::Instant::now();
                    for _ in 0..iterations {
                        session.run().expect("the device runs");
                    }
                    session.wait().expect("the device runs");
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
