//! A program beside its twins, command by command.
//!
//! Every command starts from the reference's results and is compared right after, so that the
//! first wrong kernel is named and no drift hides it:
//!
//! ```
//! use gatefold::Device;
//! use gatefold::lockstep::lockstep;
//! use gatefold::plan::{Plan, Sequences, StackShape};
//!
//! let device = Device::cpu();
//! let sequences = Sequences::new(2, 5);
//! let plan = Plan::forward(&StackShape::lstm(3, 8), &sequences, &device.limits())?;
//! let x = vec![0.5; 2 * 5 * 3];
//! for check in lockstep(&device, &plan.program, &[("x", &x)])? {
//!     assert!(check.worst <= 1.0);
//! }
//! # Ok::<(), gatefold::Error>(())
//! ```

use std::sync::Arc;

use crate::command::{Access, Arg, BufferId, CpuForm, Dispatch, Operation, Program};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::reference::{Tolerance, compare};

/// One command that agreed.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The command's label.
    pub label: String,
    /// The kernel, or the kind of command.
    pub kernel: &'static str,
    /// The worst error, as a share of what is allowed.
    pub worst: f64,
}

/// Runs a program on a device and through the `f64` twins, in lockstep. `inputs` gives buffers
/// their first contents; the others start as zeros. Whole buffers are compared, so that a write
/// outside a command's elements is found as well.
///
/// # Errors
/// [`Error::Diverged`] names the first command that is wrong. As
/// [`Device::session`](crate::Device::session); [`Error::Value`] or [`Error::Shape`] for an
/// input that the program lacks.
pub fn lockstep(
    device: &Device,
    program: &Arc<Program>,
    inputs: &[(&str, &[f32])],
) -> Result<Vec<Check>> {
    let session = device.session(program)?;
    let mut state: Vec<Vec<f32>> =
        program.buffers.iter().map(|spec| vec![0.0; spec.len * spec.slots]).collect();
    for (name, values) in inputs {
        session.write(name, values)?;
        if let Some(id) = program.buffer(name) {
            state[id.0 as usize][..values.len()].copy_from_slice(values);
        }
    }
    let mut checks = Vec::new();
    for (index, command) in program.commands.iter().enumerate() {
        let (touched, written) = buffers(device, &command.operation);
        for id in &touched {
            device.write(&session.buffer(*id), 0, &state[id.0 as usize])?;
        }
        let mut recorder = device.recorder();
        recorder.run_commands(&session, index..index + 1, 0);
        recorder.submit()?;

        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let mut want: Vec<Vec<f64>> = state.iter().map(|_| Vec::new()).collect();
        for id in &touched {
            want[id.0 as usize] = wide(&state[id.0 as usize]);
        }
        let mut magnitude = None;
        let (kernel, tolerance) = match &command.operation {
            Operation::Dispatch(d) => {
                let kernel = &device.table()[d.kernel];
                let mut tolerance = (kernel.tolerance)(d);
                if let Some(scale) = kernel.scale {
                    tolerance = tolerance.scaled(with_buffers(device, d, &mut want, scale));
                }
                if let Tolerance::Terms(_) = tolerance {
                    let mut absolute = want.clone();
                    absolute.iter_mut().flatten().for_each(|v| *v = v.abs());
                    with_buffers(device, d, &mut absolute, kernel.twin_f64);
                    magnitude = Some(absolute);
                }
                with_buffers(device, d, &mut want, kernel.twin_f64);
                (kernel.name, tolerance)
            }
            Operation::Zero(range) => {
                want[range.buffer.0 as usize][program.elements(range, 0)].fill(0.0);
                ("zero", Tolerance::EXACT)
            }
            Operation::Copy { from, to } => {
                let elements = want[from.buffer.0 as usize][program.elements(from, 0)].to_vec();
                want[to.buffer.0 as usize][program.elements(to, 0)].copy_from_slice(&elements);
                ("copy", Tolerance::EXACT)
            }
        };
        let mut worst = 0.0f64;
        for id in written {
            let want = &want[id.0 as usize];
            let got = device.read(&session.buffer(id), 0, want.len())?;
            let magnitude = magnitude.as_ref().map(|m| m[id.0 as usize].as_slice());
            match compare(&got, want, magnitude, tolerance) {
                Ok(share) => worst = worst.max(share),
                Err(mismatch) => {
                    return Err(Error::Diverged {
                        index,
                        label: command.label.clone(),
                        kernel,
                        buffer: program.spec(id).name.clone(),
                        device: device.to_string(),
                        problem: mismatch.to_string(),
                    });
                }
            }
            state[id.0 as usize] = want.iter().map(|&v| v as f32).collect();
        }
        checks.push(Check { label: command.label.clone(), kernel, worst });
    }
    Ok(checks)
}

/// The buffers that a command touches, and those that it writes.
fn buffers(device: &Device, operation: &Operation) -> (Vec<BufferId>, Vec<BufferId>) {
    match operation {
        Operation::Zero(range) => (vec![range.buffer], vec![range.buffer]),
        Operation::Copy { from, to } => (vec![from.buffer, to.buffer], vec![to.buffer]),
        Operation::Dispatch(d) => {
            let bindings = device.table()[d.kernel].bindings;
            let mut touched: Vec<BufferId> = d.bindings.iter().map(|range| range.buffer).collect();
            touched.sort_unstable();
            touched.dedup();
            let writes =
                d.bindings.iter().zip(bindings).filter(|(_, b)| b.access == Access::ReadWrite);
            (touched, writes.map(|(range, _)| range.buffer).collect())
        }
    }
}

fn with_buffers<T>(
    device: &Device,
    dispatch: &Dispatch,
    buffers: &mut [Vec<f64>],
    form: CpuForm<f64, T>,
) -> T {
    let kernel = &device.table()[dispatch.kernel];
    let mut views: Vec<Arg<'_, f64>> =
        buffers.iter_mut().map(|values| Arg::Write(values.as_mut_slice())).collect();
    dispatch.call(kernel, form, &mut views)
}
