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
//!     assert!(check.worst.share() <= 1.0);
//! }
//! # Ok::<(), gatefold::Error>(())
//! ```

use std::sync::Arc;

use crate::command::{Access, Arg, BufferId, CpuForm, Dispatch, Operation, Owner, Program};
use crate::device::{Device, Session};
use crate::error::{Error, Result};
use crate::reference::{Tolerance, Worst, compare_above};

/// Of what the f32 twin is wrong by, how much a device may be wrong by with
/// [`Lockstep::as_f32_allows`]. Errors of a sum in another order are as large and not the same ones; exp
/// and tanh of a driver are right to two or three units in the last place, those of the twin to a half.
const OF_F32: f64 = 8.0;

/// One command that agreed.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The command's label.
    pub label: String,
    /// The kernel, or the kind of command.
    pub kernel: &'static str,
    /// The element that came nearest to being refused.
    pub worst: Worst,
    /// Whether it is right only as [`Lockstep::as_f32_allows`] has it.
    pub as_f32: bool,
}

/// Runs a program on a device and through the `f64` twins, in lockstep. `inputs` gives buffers
/// their first contents; the others start as zeros. Whole buffers are compared, so that a write
/// outside a command's elements is found as well.
///
/// # Errors
/// [`Error::Diverged`] names the first command that is wrong. As [`Lockstep::new`].
pub fn lockstep(
    device: &Device,
    program: &Arc<Program>,
    inputs: &[(&str, &[f32])],
) -> Result<Vec<Check>> {
    Lockstep::new(device, program, inputs)?.collect()
}

/// A program that runs on a device and through the `f64` twins: an iterator over its commands.
///
/// A command that diverged is an [`Error::Diverged`]; the next one starts from the reference's
/// results again. After any other error there is nothing more.
pub struct Lockstep<'a> {
    device: &'a Device,
    session: Session,
    program: Arc<Program>,
    /// What the buffers hold by the reference, and the same in f64.
    state: Vec<Vec<f32>>,
    wide: Vec<Vec<f64>>,
    /// Whether the device's buffer holds something else.
    stale: Vec<bool>,
    next: usize,
    as_f32_allows: bool,
}

impl<'a> Lockstep<'a> {
    /// From the first command on.
    ///
    /// # Errors
    /// As [`Device::session`](crate::Device::session); [`Error::Value`] or [`Error::Shape`] for an
    /// input that the program lacks.
    pub fn new(
        device: &'a Device,
        program: &Arc<Program>,
        inputs: &[(&str, &[f32])],
    ) -> Result<Lockstep<'a>> {
        let session = device.session(program)?;
        let mut state: Vec<Vec<f32>> =
            program.buffers.iter().map(|spec| vec![0.0; spec.len * spec.slots]).collect();
        for (name, values) in inputs {
            session.write(name, values)?;
            if let Some(id) = program.buffer(name) {
                state[id.0 as usize][..values.len()].copy_from_slice(values);
            }
        }
        Ok(Lockstep {
            device,
            session,
            program: program.clone(),
            wide: state.iter().map(|values| wide(values)).collect(),
            stale: vec![true; state.len()],
            state,
            next: 0,
            as_f32_allows: false,
        })
    }

    /// Fills the buffers of the workspace that were given no contents, since what they hold before a run
    /// doesn't count: so that a zero that isn't written is found.
    pub fn over_garbage(mut self, inputs: &[(&str, &[f32])]) -> Self {
        for (at, spec) in self.program.buffers.iter().enumerate() {
            let given = inputs.iter().any(|(name, _)| *name == spec.name);
            if spec.owner == Owner::Workspace && !given {
                let garbage = |i: usize| (i % 61) as f32 - 30.5;
                self.state[at] = (0..self.state[at].len()).map(garbage).collect();
                self.wide[at] = wide(&self.state[at]);
            }
        }
        self
    }

    /// A launch whose result is outside of the kernel's tolerance may still be wrong by eight times the most
    /// that the `f32` twin, the same equations in the device's precision, is wrong by in the same buffer.
    /// Tolerances are for weights as models begin with; with large ones, as training may leave them,
    /// `f32` itself can be further off. [`Check::as_f32`] says where it was needed.
    pub fn as_f32_allows(self) -> Self {
        Lockstep { as_f32_allows: true, ..self }
    }

    /// Runs a command from the reference's results, and leaves the reference's.
    fn check(&mut self, index: usize) -> Result<Check> {
        let program = self.program.clone();
        let command = &program.commands[index];
        let (touched, written) = buffers(self.device, &command.operation);
        for id in &touched {
            if std::mem::take(&mut self.stale[id.0 as usize]) {
                self.device.write(&self.session.buffer(*id), 0, &self.state[id.0 as usize])?;
            }
        }
        let mut recorder = self.device.recorder();
        recorder.run_commands(&self.session, index..index + 1, 0);
        recorder.submit()?;

        let mut magnitude = None;
        let (kernel, tolerance) = match &command.operation {
            Operation::Dispatch(d) => {
                let kernel = &self.device.table()[d.kernel];
                let mut tolerance = (kernel.tolerance)(d);
                if let Some(scale) = kernel.scale {
                    tolerance =
                        tolerance.scaled(with_buffers(self.device, d, &mut self.wide, scale));
                }
                if let Tolerance::Terms(_) = tolerance {
                    let mut absolute = only(&self.wide, &touched);
                    absolute.iter_mut().flatten().for_each(|v| *v = v.abs());
                    with_buffers(self.device, d, &mut absolute, kernel.twin_f64);
                    magnitude = Some(absolute);
                }
                with_buffers(self.device, d, &mut self.wide, kernel.twin_f64);
                (kernel.name, tolerance)
            }
            Operation::Zero(range) => {
                self.wide[range.buffer.0 as usize][program.elements(range, 0)].fill(0.0);
                ("zero", Tolerance::EXACT)
            }
            Operation::Copy { from, to } => {
                let elements =
                    self.wide[from.buffer.0 as usize][program.elements(from, 0)].to_vec();
                self.wide[to.buffer.0 as usize][program.elements(to, 0)].copy_from_slice(&elements);
                ("copy", Tolerance::EXACT)
            }
        };
        let (mut outcome, mut as_f32) = (Ok(Worst::default()), false);
        for id in &written {
            let at = id.0 as usize;
            let got = self.device.read(&self.session.buffer(*id), 0, self.wide[at].len())?;
            let magnitude = magnitude.as_ref().map(|m| m[at].as_slice());
            let close =
                |least: f64| compare_above(&got, &self.wide[at], magnitude, tolerance, least);
            let close = match (close(0.0), &command.operation) {
                (Err(_), Operation::Dispatch(d)) if self.as_f32_allows => {
                    as_f32 = true;
                    close(OF_F32 * self.wrong_in_f32(d, *id, &touched))
                }
                (close, _) => close,
            };
            outcome = match (outcome, close) {
                (Ok(worst), Ok(other)) => Ok(worst.or(other)),
                (Ok(_), Err(mismatch)) => Err(Error::Diverged {
                    index,
                    label: command.label.clone(),
                    kernel,
                    buffer: program.spec(*id).name.clone(),
                    device: self.device.to_string(),
                    problem: mismatch.to_string(),
                }),
                (first, _) => first,
            };
        }
        for id in written {
            let at = id.0 as usize;
            self.state[at] = self.wide[at].iter().map(|&v| v as f32).collect();
            self.wide[at] = wide(&self.state[at]);
            self.stale[at] = true;
        }
        Ok(Check { label: command.label.clone(), kernel, worst: outcome?, as_f32 })
    }

    /// The most that an element of a buffer is wrong by where a launch, from the reference's results,
    /// runs as the f32 twin; the f64 twin has run.
    fn wrong_in_f32(&self, dispatch: &Dispatch, id: BufferId, touched: &[BufferId]) -> f64 {
        let kernel = &self.device.table()[dispatch.kernel];
        let mut narrow = only(&self.state, touched);
        with_buffers(self.device, dispatch, &mut narrow, kernel.twin);
        most_apart(&narrow[id.0 as usize], &self.wide[id.0 as usize])
    }
}

impl Iterator for Lockstep<'_> {
    type Item = Result<Check>;

    fn next(&mut self) -> Option<Result<Check>> {
        let index = self.next;
        let left = self.program.commands.len().checked_sub(index)?;
        let check = (left > 0).then(|| self.check(index))?;
        self.next = match check {
            Ok(_) | Err(Error::Diverged { .. }) => index + 1,
            Err(_) => self.program.commands.len(),
        };
        Some(check)
    }
}

/// The largest difference between two results; none where one isn't finite, since that allows nothing.
fn most_apart(narrow: &[f32], wide: &[f64]) -> f64 {
    let mut most = 0.0f64;
    for (&narrow, &wide) in narrow.iter().zip(wide) {
        match (f64::from(narrow) - wide).abs() {
            apart if apart.is_finite() => most = most.max(apart),
            _ => return 0.0,
        }
    }
    most
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Copies of some buffers, in their places; nothing in the places of the others.
fn only<R: Clone>(buffers: &[Vec<R>], some: &[BufferId]) -> Vec<Vec<R>> {
    let mut copies: Vec<Vec<R>> = buffers.iter().map(|_| Vec::new()).collect();
    for id in some {
        copies[id.0 as usize] = buffers[id.0 as usize].clone();
    }
    copies
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

fn with_buffers<R, T>(
    device: &Device,
    dispatch: &Dispatch,
    buffers: &mut [Vec<R>],
    form: CpuForm<R, T>,
) -> T {
    let kernel = &device.table()[dispatch.kernel];
    let mut views: Vec<Arg<'_, R>> =
        buffers.iter_mut().map(|values| Arg::Write(values.as_mut_slice())).collect();
    dispatch.call(kernel, form, &mut views)
}

#[cfg(test)]
mod tests {
    use super::most_apart;

    #[test]
    fn what_isnt_finite_allows_nothing() {
        assert_eq!(most_apart(&[1.0, 2.5], &[1.0, 2.0]), 0.5);
        for bad in [f64::NAN, f64::INFINITY] {
            assert_eq!(most_apart(&[1.5, 2.0], &[1.0, bad]), 0.0);
        }
        assert_eq!(most_apart(&[1.5, f32::NAN], &[1.0, 2.0]), 0.0);
    }
}
