//! The suite on a GPU adapter, or on a software driver where there is none.
//!
//! Without any adapter every test is listed as ignored, with the reason; with
//! `GATEFOLD_REQUIRE_GPU` set that is a failure. A test that an adapter can't have is listed as ignored
//! there. Tests carry the adapter's name: `offered` is the adapter
//! with what it offers, kernels compiled without wgpu's checks; `defaults` the same adapter with the limits
//! that every WebGPU device has, no optional feature and all checks; `checked` has what it offers and all
//! checks, for the steps, and with `GATEFOLD_ALL_CHECKED` set for products and walks too.
//! `GATEFOLD_PART` cuts the suite into parts, for several processes; `GATEFOLD_SUITE=quick` is that of `./test.sh`.

mod device;
mod embed;
mod faults;

use std::process::ExitCode;
use std::sync::Arc;

use common::{CHECKS, Check};
use gatefold::Device;
use gatefold::gpu::Adapter;
use gatefold_checks as common;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

/// Every check of this binary.
fn every() -> impl Iterator<Item = &'static (&'static str, Check)> {
    CHECKS.iter().chain(device::CHECKS).chain(embed::CHECKS).chain(faults::CHECKS)
}

/// Checks that an adapter has once, whatever its devices' limits.
const OF_ADAPTERS: [&str; 2] = ["devices_dont_mix", "faults::a_driver_without_memory"];

/// The adapter that `GATEFOLD_DEVICE` names, else the best one, a software driver as well.
fn adapter() -> Option<Adapter> {
    let wanted = std::env::var("GATEFOLD_DEVICE").unwrap_or_default().to_lowercase();
    let found = Adapter::all();
    match wanted.as_str() {
        "" | "gpu" | "cpu" => found.into_iter().next(),
        part => found.into_iter().find(|a| a.name().to_lowercase().contains(part)),
    }
}

fn main() -> ExitCode {
    if faults::alone() {
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // The adapter is one; its tests take turns.
    arguments.test_threads.get_or_insert(1);
    let adapter = adapter();
    let required = std::env::var_os("GATEFOLD_REQUIRE_GPU").is_some();
    let Some(adapter) = adapter else {
        let reason = "no adapter: install a Vulkan driver, or run ./test.sh";
        let ignored = |name: &str| {
            let test = Trial::test(format!("none::{name}"), move || Err(Failed::from(reason)));
            test.with_kind(reason).with_ignored_flag(!required)
        };
        let all = every().map(|&(name, _)| name).chain(OF_ADAPTERS);
        return conclude(libtest_mimic::run(&arguments, all.map(ignored).collect()));
    };
    let short = adapter.name().split([' ', '(']).next().unwrap_or("adapter").to_lowercase();
    let offered = Device::from_gpu(adapter.open().expect("the adapter opens"));
    let defaults =
        adapter.open_with_defaults().expect("the adapter has the default limits").checked();
    let defaults = Device::from_gpu(defaults);
    println!("running on {offered}");
    let mut trials = Vec::new();
    for (limits, device) in [("offered", &offered), ("defaults", &defaults)] {
        for &(name, check) in every() {
            let device = device.clone();
            trials.push(Trial::test(format!("{short}::{limits}::{name}"), move || {
                check(&device);
                Ok(())
            }));
        }
    }
    // The kernels with variants that need what the adapter offers.
    let checked = Device::from_gpu(adapter.open().expect("the adapter opens").checked());
    // Compiling all of them takes minutes.
    let all = std::env::var_os("GATEFOLD_ALL_CHECKED").is_some();
    for &(name, check) in CHECKS {
        let larger = name == "kernel::matmul" || name.starts_with("kernel::lstm_");
        let small = name.starts_with("kernel::lstm_step_") && !name.ends_with("_of_layers");
        if small || all && larger {
            let device = checked.clone();
            trials.push(Trial::test(format!("{short}::checked::{name}"), move || {
                check(&device);
                Ok(())
            }));
        }
    }
    let adapter = Arc::new(adapter);
    let same = adapter.clone();
    let [mixed, memory] = OF_ADAPTERS.map(|name| format!("{short}::{name}"));
    trials.push(Trial::test(mixed, move || {
        device::devices_dont_mix(&same);
        Ok(())
    }));
    trials.push(match faults::memory_without_limit(&adapter) {
        None => Trial::test(memory, move || {
            faults::a_driver_without_memory(&adapter);
            Ok(())
        }),
        Some(reason) => {
            let refused = move || Err(Failed::from(reason));
            Trial::test(memory, refused).with_kind(reason).with_ignored_flag(true)
        }
    });
    let suite = std::env::var("GATEFOLD_SUITE").unwrap_or_default();
    let software = offered.limits().software;
    match suite.as_str() {
        "" => {}
        "quick" => trials.retain(|trial| !is_of_the_routine(trial.name(), software)),
        "rest" => trials.retain(|trial| is_of_the_routine(trial.name(), software)),
        other => panic!("GATEFOLD_SUITE is {other:?}, not `quick` or `rest`"),
    }
    if let Some((part, of)) = part() {
        trials = shared_out(trials, of).swap_remove(part);
    }
    conclude(libtest_mimic::run(&arguments, trials))
}

/// What `GATEFOLD_SUITE=quick` leaves out and `rest` runs: the limits that every device has, the checks that
/// wgpu compiles in, and what is tested of the means to test, for which every variant of every kernel is
/// compiled. On a software driver also the kernels with most variants, each of which takes it a second or
/// more to compile, and cells that aren't PyTorch's, each of which is compiled for itself; models run those
/// that its plans have.
fn is_of_the_routine(name: &str, software: bool) -> bool {
    let always = ["::verify::", "in_the_report", "lockstep_finds", "::defaults::", "::checked::"];
    let compiled_for_long = &["kernel::matmul", "kernel::lstm_", "::cells::"];
    let in_software = if software { &compiled_for_long[..] } else { &[] };
    always.iter().chain(in_software).any(|part| name.contains(part))
}

/// Tests that take long where a software driver has compiled no shader yet, and about how many seconds.
const SECONDS: [(&str, u32); 16] = [
    ("kernel::lstm_of_every_cell", 60),
    ("::cells::", 12),
    ("kernel::matmul", 150),
    ("kernel::lstm_sequence_forward", 100),
    ("kernel::lstm_sequence_backward", 56),
    ("kernel::lstm_step_", 30),
    ("kernel::training_step", 16),
    ("forgotten_zeros_are_in_the_report", 60),
    ("model::gradients_equal_the_reference", 66),
    ("verify::every_variant", 28),
    ("verify::a_", 16),
    ("alignment::late_rows", 20),
    ("heads::", 12),
    ("wavefront::", 13),
    ("lstm::a_thousand_sizes", 13),
    ("gpu::async", 12),
];

/// The tests in so many parts that take about as long as each other.
fn shared_out(trials: Vec<Trial>, parts: usize) -> Vec<Vec<Trial>> {
    let seconds = |trial: &Trial| {
        let known = SECONDS.iter().find(|(name, _)| trial.name().contains(name));
        known.map_or(2, |(_, seconds)| *seconds)
    };
    let mut trials = trials;
    trials.sort_by_key(|trial| std::cmp::Reverse(seconds(trial)));
    let mut shares: Vec<(u32, Vec<Trial>)> = (0..parts).map(|_| (0, Vec::new())).collect();
    for trial in trials {
        if let Some((all, share)) = shares.iter_mut().min_by_key(|(all, _)| *all) {
            *all += seconds(&trial);
            share.push(trial);
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

/// Which part of the suite this process is to run, and of how many: `GATEFOLD_PART=1/2` is half of it.
/// Compiling shaders takes most of the time and one core.
fn part() -> Option<(usize, usize)> {
    let said = std::env::var("GATEFOLD_PART").ok()?;
    let numbers =
        said.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((part, of)) if (1..=of).contains(&part) => Some((part - 1, of)),
        _ => panic!("GATEFOLD_PART is {said:?}, not like 1/2"),
    }
}

fn conclude(conclusion: Conclusion) -> ExitCode {
    if conclusion.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
