//! A program of a shape with its buffers on a device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatefold::command::{Limits, Operation, Range};
use gatefold::plan::{Head, Plan, Sequences, Tier, TrainingOptions};
use gatefold::reference::status;
use gatefold::train::{Adam, Optimizer};
use gatefold::{Device, Result, Session};

use super::data::Data;
use super::shape::{Kind, Shape};

/// Samples of a row, at most.
const SAMPLES: usize = 2000;

/// Samples of a row, at least.
const FEWEST: usize = 3;

/// What a row is timed for, where its fewest samples take less.
const MEASURED: Duration = Duration::from_millis(500);

/// What a row runs for before it is timed; at least once.
const WARM_UP: Duration = Duration::from_millis(50);

/// The optimizer of a training step.
pub fn optimizer() -> Optimizer {
    Adam::new(1e-3).into()
}

/// A program that is ready to run.
pub struct Work {
    pub kind: Kind,
    pub session: Session,
    device: Device,
    /// Where the outputs are, `[T, B, H]`, or `[B, H]` of the last timestep where it is trained.
    output: Range,
    /// Bytes on the device, of all buffers.
    pub bytes: u64,
}

impl Work {
    pub fn new(device: &Device, shape: Shape, kind: Kind, data: &Data) -> Result<Work> {
        let before = device.allocated_bytes();
        let sequences = Sequences::new(shape.steps, shape.batch);
        let x = &data.x[..shape.steps * shape.batch * shape.input];
        let (session, output) = if kind == Kind::Inference {
            let plan = Plan::forward(&shape.model(Head::Sequence), &sequences, &device.limits())?;
            let session = device.session(&plan.program)?;
            session.write("x", x)?;
            (session, plan.output)
        } else {
            let options =
                TrainingOptions { update: Some(optimizer().update()), ..Default::default() };
            let model = shape.model(Head::Identity);
            let plan = |limits: &Limits| Plan::training(&model, &sequences, &options, limits);
            let mut planned = plan(&device.limits())?;
            if planned.tier == Tier::Fused && kind != Kind::Step {
                // One launch has no forward part.
                planned = plan(&Limits { tier: Some(Tier::Sequence), ..device.limits() })?;
            }
            let plan = planned;
            let feed = feed(&plan, x, data);
            let session = match kind {
                Kind::Step => device.session(&plan.program)?,
                _ => device
                    .session(&Arc::new(plan.program.first(plan.backward_from, device.table())))?,
            };
            session.write("feed", &feed)?;
            let mut applied = [0.0; status::LEN];
            (applied[status::SCALE], applied[status::APPLY]) = (1.0, 1.0);
            session.write("status", &applied)?;
            (session, plan.output)
        };
        session.write("params", &data.params)?;
        session.wait()?;
        let bytes = device.allocated_bytes() - before;
        Ok(Work { kind, session, device: device.clone(), output, bytes })
    }

    /// Launches of a run, once one has been before it.
    pub fn dispatches(&self) -> Result<usize> {
        self.run()?;
        let before = self.device.counts().dispatches;
        self.run()?;
        Ok((self.device.counts().dispatches - before) as usize)
    }

    /// The outputs of the latest run.
    pub fn output(&self) -> Result<Vec<f32>> {
        let name = &self.session.program().spec(self.output.buffer).name;
        let buffer = self.session.read(name)?;
        Ok(buffer[self.output.start..][..self.output.len].to_vec())
    }

    /// One run and one wait for it.
    pub fn run(&self) -> Result<Duration> {
        let start = Instant::now();
        self.session.run()?;
        self.session.wait()?;
        Ok(start.elapsed())
    }

    /// The median of several runs, each waited for, and how many; it has run for `warm` before.
    pub fn time(&self, mut warm: Duration) -> Result<(Duration, usize)> {
        while warm < WARM_UP {
            warm += self.run()?;
        }
        let mut samples = Vec::new();
        let mut taken = Duration::ZERO;
        while samples.len() < FEWEST || (taken < MEASURED && samples.len() < SAMPLES) {
            let sample = self.run()?;
            taken += sample;
            samples.push(sample);
        }
        samples.sort_unstable();
        Ok((samples[samples.len() / 2], samples.len()))
    }
}

/// What a training plan is fed.
fn feed(plan: &Plan, x: &[f32], data: &Data) -> Vec<f32> {
    let program = &plan.program;
    let ring = program.buffer("feed").expect("a training plan has a feed");
    let mut feed = vec![0.0; program.spec(ring).len];
    let values = optimizer().step_values(1);
    let settings = program.part("settings").expect("a training plan with an optimizer");
    let (scalars, settings) = values.split_at(values.len() - settings.len);
    let mean = [1.0 / data.target.len() as f32];
    let all = [
        ("x", x),
        ("target", &data.target),
        ("loss_scale", &mean),
        ("scalars", scalars),
        ("settings", settings),
    ];
    for command in &program.commands[..plan.forward_from] {
        let Operation::Copy { from, to } = &command.operation else { continue };
        // What is fed goes each to a buffer of its own, or all into one.
        for (name, contents) in all {
            let part = program.part(name).expect("a part of what is fed");
            if part.buffer == to.buffer {
                feed[from.start + part.start..][..part.len].copy_from_slice(contents);
            }
        }
    }
    feed
}
