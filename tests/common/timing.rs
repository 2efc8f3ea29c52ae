//! The time of each command.

use std::time::{Duration, Instant};

use gatefold::plan::{Head, ParameterTable, Plan, Sequences, StackShape, TrainingOptions};
use gatefold::train::{Adam, Optimizer};
use gatefold::{Device, Error, Session};

use super::random::normal;

fn buffers(session: &Session) -> Vec<Vec<u32>> {
    let bits = |name: &str| session.read(name).unwrap().iter().map(|v| v.to_bits()).collect();
    session.program().buffers.iter().map(|spec| bits(&spec.name)).collect()
}

/// A training plan has a time for each command, and every buffer ends with the bits that a plain run
/// leaves. More commands than a query set holds are timed as well. Where a device can't time its
/// commands, the error says what it lacks.
pub fn every_command_has_a_time(device: &Device) {
    let (input, hidden) = (3, 8);
    let shape = StackShape { head: Head::Linear(2), ..StackShape::lstm(input, hidden) };
    let params = normal(ParameterTable::new(&shape).len, 1.0, 1);
    for (steps, batch) in [(5, 4), (2100, 1)] {
        let sequences = Sequences { state: true, ..Sequences::new(steps, batch) };
        let update = Some(Optimizer::from(Adam::new(0.01)).update());
        let options = TrainingOptions { update, carry: true, ..Default::default() };
        let plan = Plan::training(&shape, &sequences, &options, &device.limits()).unwrap();
        let feed = plan.program.spec(plan.program.buffer("feed").unwrap()).len;
        let feed = normal(feed, 0.5, 2);
        let fresh = || {
            let session = device.session(&plan.program).unwrap();
            session.write("params", &params).unwrap();
            session.write("feed", &feed).unwrap();
            session
        };
        let (plain, timed) = (fresh(), fresh());
        let start = Instant::now();
        let times = match timed.run_timed() {
            Ok(times) => times,
            Err(Error::Gpu { message, .. }) => {
                let features = device.as_gpu().unwrap().wgpu_device().features();
                assert!(!features.contains(gatefold::wgpu::Features::TIMESTAMP_QUERY), "{message}");
                assert!(message.contains("TIMESTAMP_QUERY"), "{message}");
                return;
            }
            Err(other) => panic!("{other}"),
        };
        let taken = start.elapsed();
        assert_eq!(times.len(), plan.program.commands.len());
        let sum: Duration = times.iter().sum();
        assert!(sum > Duration::ZERO && sum <= taken, "{sum:?} of {taken:?}");
        plain.run().unwrap();
        assert!(buffers(&plain) == buffers(&timed), "a run that is timed has other results");

        // The second run, with the other way to wait.
        plain.run().unwrap();
        let times = pollster::block_on(timed.run_timed_async()).unwrap();
        assert_eq!(times.len(), plan.program.commands.len());
        assert!(buffers(&plain) == buffers(&timed), "a run that is timed has other results");
        let listing = plan.timed(&times).to_string();
        assert!(listing.contains("100.0 %  all commands"), "{listing}");
    }
}
