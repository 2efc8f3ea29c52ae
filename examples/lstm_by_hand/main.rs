//! One LSTM cell with twelve numbers, every stage printed, and one training step.
//!
//! The cell has one unit, a long-term memory (the cell state) of 2 and a short-term memory (the
//! hidden state) of 1, and sees the input 1. It shows the lower half of the crate: a plan, a
//! session that runs it, and buffers with names.

#[path = "../common/mod.rs"]
mod common;

use gatefold::gpu::Adapter;
use gatefold::plan::{
    Bias, Head, ParameterTable, Plan, Role, Sequences, StackShape, TrainingOptions,
};
use gatefold::train::{Adam, Optimizer};
use gatefold::{Device, Result};

/// The weights in PyTorch's order of gates: input, forget, candidate, output.
const HELP: &str = "\
One LSTM cell with twelve numbers, every stage printed, and one training step: on the CPU, and on the
first GPU adapter that there is. There are no options and no seed: its numbers are given.
";

const WEIGHTS: [(Role, [f32; 4]); 3] = [
    (Role::WeightHh(0, 0), [2.0, 2.7, 1.41, 4.38]), // of the short-term memory
    (Role::WeightIh(0, 0), [1.65, 1.63, 0.94, -0.19]), // of the input
    (Role::BiasIh(0, 0), [0.62, 1.62, -0.32, 0.59]),
];
const INPUT: f32 = 1.0;
const LONG_MEMORY: f32 = 2.0;
const SHORT_MEMORY: f32 = 1.0;
const TARGET: f32 = 0.5;

fn run(device: &Device) -> Result<()> {
    println!("\nOn {device}");
    let shape = StackShape { bias: Bias::Single, head: Head::Identity, ..StackShape::lstm(1, 1) };
    let table = ParameterTable::new(&shape);
    let entry = |role| table.get(role).expect("a layer with one bias a gate has it");
    let mut params = vec![0.0; table.len];
    for (role, values) in WEIGHTS {
        let entry = entry(role);
        params[entry.start..][..entry.len].copy_from_slice(&entry.from_pytorch(&values));
    }

    // Forward: one timestep of one row. Gates are kept where a backward pass may follow.
    let call = Sequences::new(1, 1).with_state();
    let layer = StackShape { head: Head::Sequence, ..shape.clone() };
    let plan = Plan::gradient(&layer, &call, None, &device.limits())?;
    let session = device.session(&plan.program)?;
    session.write("params", &params)?;
    session.write("h_0", &[SHORT_MEMORY])?;
    session.write("c_0", &[LONG_MEMORY])?;
    session.write("x", &[INPUT])?;
    session.run_commands(0..plan.backward_from)?;
    let gates = session.read("gates_l0")?;
    let [input, forget, candidate, output] = [gates[0], gates[1], gates[2], gates[3]];
    println!("Long-term memory keep percentage: {forget:.4}");
    println!("Potential memory: {candidate:.4}");
    println!("Potential keep percentage: {input:.4}");
    println!("New long-term memory: {:.4}", session.read("c_l0")?[1]); // slot 1
    println!("Output gate percentage: {output:.4}");
    println!("New short-term memory: {:.4}", session.read("h_l0")?[1]);

    // One Adam step towards the target.
    let adam = Optimizer::from(Adam::new(0.001));
    let options = TrainingOptions { update: Some(adam.update()), ..Default::default() };
    let plan = Plan::training(&shape, &call, &options, &device.limits())?;
    let session = device.session(&plan.program)?;
    session.write("params", &params)?;
    session.write("h_0", &[SHORT_MEMORY])?;
    session.write("c_0", &[LONG_MEMORY])?;
    // The step applies, with gradients as they are.
    session.write("status", &[1.0, 0.0, 1.0])?;
    // The input, what it should come to, a loss that is not a mean, and what the optimizer takes.
    let feed = [vec![INPUT, TARGET, 1.0], adam.step_values(1)].concat();
    session.write("feed", &feed)?;
    session.run()?;
    println!("Loss towards {TARGET}: {:.4}", session.read("loss")?[0]);
    let (gradients, updated) = (session.read("grads")?, session.read("params")?);
    println!("              weight of        gradient    before     after");
    for (name, gate) in [("forget", 1), ("input", 0), ("candidate", 2), ("output", 3)] {
        for (of, (role, values)) in ["short memory", "input", "bias"].iter().zip(WEIGHTS) {
            let entry = entry(role);
            let at = |flat: &[f32]| entry.to_pytorch(&flat[entry.start..][..entry.len])[gate];
            let (gradient, after) = (at(&gradients), at(&updated));
            println!("  {name:<10}  {of:<13} {gradient:>11.7} {:>9.4} {after:>9.4}", values[gate]);
        }
    }
    Ok(())
}

fn both() -> Result<()> {
    println!("The CPU twin and the GPU kernel of one LSTM cell");
    run(&Device::cpu())?;
    // Any adapter will do here, a software driver as well.
    match Adapter::all().first() {
        Some(adapter) => run(&Device::from_gpu(adapter.open()?)),
        None => {
            println!("\nNo GPU adapter on this machine: the kernel was not run.");
            Ok(())
        }
    }
}

fn main() -> std::process::ExitCode {
    common::main(HELP, common::no_options(), |()| both())
}
