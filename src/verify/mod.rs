//! Whether a device computes what it should: every kernel that it can run, in every variant, beside
//! its twin, and whole passes through time beside the `f64` reference.
//!
//! ```
//! use gatefold::{Device, verify};
//!
//! let report = verify(&Device::cpu())?;
//! println!("{report}");
//! assert!(report.passed());
//! # Ok::<(), gatefold::Error>(())
//! ```
//!
//! What runs on a user's GPU depends on its driver, which nobody else may ever have tried. So this is
//! no test of the crate but of a machine: `cargo run --release --example verify` prints the report, and
//! [`Model`] does the same with a model of the user's own.

mod cases;
mod contents;
mod model;
mod passes;

use std::fmt;

use crate::command::{Executor, Kernel, Limits, Operation, Variant};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::lockstep::Lockstep;
use crate::plan::Plan;
use crate::reference::Worst;

use cases::{Case, cases};

pub use model::Model;

/// Models and sizes that a row of a table names; the others are counted.
const NAMED: usize = 2;

/// What became of a kernel in one of its variants, or of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The kernel; or `pass`, a whole LSTM forward and back, or `cell`, one whose [`Cell`](crate::Cell) isn't
    /// PyTorch's.
    pub name: &'static str,
    /// The kernel's variant; of a pass, its tier.
    pub variant: String,
    /// The sizes `T x B x I x H` that it ran with, and what else there was: layers `L`, directions
    /// `D`, features of a projection `P`, outputs `O`, the cell.
    pub shapes: Vec<String>,
    /// Launches that ran; of a kernel, each was compared.
    pub launches: usize,
    /// Of all results the element that came nearest to being refused; where something was refused, of
    /// the others.
    pub worst: Worst,
    /// What was refused first.
    pub problem: Option<String>,
}

/// A variant that a device can't run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The kernel.
    pub kernel: &'static str,
    /// The variant.
    pub variant: String,
    /// What the device lacks.
    pub reason: String,
}

/// What [`verify()`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The device and its driver.
    pub device: String,
    /// What its driver has said when it was asked how long loops may be; drivers of hardware aren't asked.
    pub loops: Option<String>,
    /// Kernels in the order of the table, then passes.
    pub rows: Vec<Row>,
    /// What the device can't run.
    pub left_out: Vec<LeftOut>,
    /// What its driver has refused, in its words.
    pub refused: Vec<String>,
}

impl Report {
    /// Whether everything that ran was right, and the driver has refused nothing. Variants that the device
    /// can't run aren't run for its users either, so they don't count.
    pub fn passed(&self) -> bool {
        self.refused.is_empty() && self.rows.iter().all(|row| row.problem.is_none())
    }
}

/// Runs all kernels that a device can run, each in all variants, and compares every launch with its
/// `f64` twin; then whole LSTMs, forward and back in every tier, with the `f64` reference.
///
/// It takes some seconds, or a minute where a driver that computes on a CPU has compiled none of the
/// kernels before; [`verify_with`] says how far it is.
///
/// # Errors
/// What is wrong on the device, and what its driver refuses, is in the report. [`Error::DeviceLost`] and
/// [`Error::OutOfMemory`] where nothing can be said.
pub fn verify(device: &Device) -> Result<Report> {
    verify_with(device, |_, _| ())
}

/// As [`verify()`]; `progress` is told how many programs have run and how many there are.
///
/// # Errors
/// As [`verify()`].
pub fn verify_with(device: &Device, mut progress: impl FnMut(usize, usize)) -> Result<Report> {
    let mut planned = Vec::new();
    for case in cases() {
        for plan in case.plans(&device.limits())? {
            planned.push((case.clone(), plan));
        }
    }
    let passes = passes::passes(&device.limits())?;
    let total = planned.len() + passes.len();
    let (mut rows, mut refused) = (Rows::new(device), Refused::default());
    for (done, (case, plan)) in planned.iter().enumerate() {
        progress(done, total);
        refused.note(rows.lockstep(device, case, plan))?;
    }
    let mut rows = rows.finish();
    for (done, pass) in (planned.len()..).zip(&passes) {
        progress(done, total);
        refused.note(pass.run(device, &mut rows))?;
    }
    progress(total, total);
    let left_out = left_out(device, &rows);
    let loops = loops(&device.limits());
    Ok(Report { device: device.to_string(), loops, rows, left_out, refused: refused.0 })
}

/// What a driver that computes on a CPU lets loops be.
fn loops(limits: &Limits) -> Option<String> {
    let said = match limits.loop_budget {
        Some(budget) => {
            format!("the driver stops long loops: an invocation has {budget} iterations at most")
        }
        None => "the driver doesn't stop long loops".to_owned(),
    };
    limits.software.then_some(said)
}

/// What a driver has refused, once each.
#[derive(Default)]
struct Refused(Vec<String>);

impl Refused {
    fn note(&mut self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error @ Error::Gpu { .. }) => {
                let said = error.to_string();
                if !self.0.contains(&said) {
                    self.0.push(said);
                }
                Ok(())
            }
            other => other,
        }
    }
}

/// Rows by kernel and variant, where they are met.
struct Rows {
    kernels: Vec<Vec<Row>>,
    others: Vec<Row>,
}

impl Row {
    fn new(name: &'static str, variant: String) -> Row {
        let (shapes, worst) = (Vec::new(), Worst::default());
        Row { name, variant, shapes, launches: 0, worst, problem: None }
    }

    fn add(&mut self, shape: &str, outcome: std::result::Result<Worst, String>) {
        if !self.shapes.iter().any(|s| s == shape) {
            self.shapes.push(shape.to_owned());
        }
        match outcome {
            Ok(worst) => self.worst = self.worst.or(worst),
            Err(problem) => {
                self.problem.get_or_insert_with(|| format!("{shape}: {problem}"));
            }
        }
    }
}

impl Rows {
    fn new(device: &Device) -> Rows {
        let row =
            |kernel: &Kernel, variant: &Variant| Row::new(kernel.name, variant.name.to_string());
        let kernel = |kernel: &Kernel| match device.limits().executor {
            Executor::Gpu => kernel.variants.iter().map(|v| row(kernel, v)).collect(),
            // Variants are ways to cut work for a GPU.
            Executor::Cpu => {
                let form = if kernel.fast.is_some() { "vectors" } else { "twin in f32" };
                vec![Row::new(kernel.name, form.to_owned())]
            }
        };
        let kernels = device.table().0.iter().map(kernel).collect();
        let others = ["copy", "zero"].map(|name| Row::new(name, String::new())).into();
        Rows { kernels, others }
    }

    /// Runs a plan beside its twins.
    fn lockstep(&mut self, device: &Device, case: &Case, plan: &Plan) -> Result<()> {
        let contents = contents::contents(case, plan, None);
        let inputs: Vec<(&str, &[f32])> =
            contents.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
        let shape = case.to_string();
        let lockstep = Lockstep::new(device, &plan.program, &inputs)?.over_garbage(&inputs);
        for (check, command) in lockstep.zip(&plan.program.commands) {
            let row = match &command.operation {
                Operation::Dispatch(d) => {
                    let variants = &mut self.kernels[d.kernel.0 as usize];
                    let last = variants.len() - 1;
                    &mut variants[d.variant.min(last)]
                }
                Operation::Copy { .. } => &mut self.others[0],
                Operation::Zero(_) => &mut self.others[1],
            };
            row.launches += 1;
            match check {
                Ok(check) => row.add(&shape, Ok(check.worst)),
                Err(Error::Diverged { label, buffer, problem, .. }) => {
                    row.add(&shape, Err(format!("{label}: `{buffer}`: {problem}")));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    fn finish(self) -> Vec<Row> {
        let all = self.kernels.into_iter().flatten().chain(self.others);
        all.filter(|row| row.launches > 0).collect()
    }
}

/// The variants that nothing ran, and why.
fn left_out(device: &Device, rows: &[Row]) -> Vec<LeftOut> {
    let limits = device.limits();
    if limits.executor == Executor::Cpu {
        return Vec::new();
    }
    let mut left_out = Vec::new();
    for kernel in &device.table().0 {
        for variant in &kernel.variants {
            if rows.iter().any(|row| row.name == kernel.name && row.variant == variant.name) {
                continue;
            }
            let invocations: u32 = variant.workgroup.iter().product();
            let reason = match variant.subgroup {
                Some(size) if limits.subgroup.is_none_or(|own| own < size) => {
                    format!("needs subgroups of at least {size} invocations")
                }
                _ if invocations > limits.max_invocations => {
                    format!("needs workgroups of {invocations} invocations")
                }
                _ => "is in no plan for this device".to_owned(),
            };
            let variant = variant.name.to_string();
            left_out.push(LeftOut { kernel: kernel.name, variant, reason });
        }
    }
    left_out
}

/// A table for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.device)?;
        self.loops.iter().try_for_each(|loops| writeln!(f, "{loops}"))?;
        let name = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let variant = self.rows.iter().map(|row| row.variant.len()).max().unwrap_or(0);
        let head = ["", "variant", "launches", "worst error", "tolerance", "share", "shapes"];
        let [kernel, second, launches, error, tolerance, share, shapes] = head;
        writeln!(
            f,
            "{kernel:name$}  {second:variant$}  {launches:>8}  {error:>11}  {tolerance:>9}  {share:>5}  {shapes}"
        )?;
        for row in &self.rows {
            write!(f, "{:name$}  {:variant$}  {:>8}  ", row.name, row.variant, row.launches)?;
            let worst = &row.worst;
            match (&row.problem, worst.error > 0.0) {
                (Some(_), _) => write!(f, "{:>11}  {:>9}  {:>5}", "WRONG", "", "")?,
                (None, false) => write!(f, "{:>11}  {:>9}  {:>5}", "0", "", "")?,
                (None, true) => write!(
                    f,
                    "{:>11.1e}  {:>9.1e}  {:>4.0}%",
                    worst.error,
                    worst.allowed,
                    100.0 * worst.share()
                )?,
            }
            write!(f, "  {}", row.shapes[..row.shapes.len().min(NAMED)].join(", "))?;
            match row.shapes.len().saturating_sub(NAMED) {
                0 => writeln!(f)?,
                more => writeln!(f, " and {more} more")?,
            }
        }
        for LeftOut { kernel, variant, reason } in &self.left_out {
            writeln!(f, "not run: {kernel}, {variant}: {reason}")?;
        }
        for row in &self.rows {
            if let Some(problem) = &row.problem {
                writeln!(f, "WRONG: {}, {}: {problem}", row.name, row.variant)?;
            }
        }
        self.refused.iter().try_for_each(|refused| writeln!(f, "REFUSED: {refused}"))?;
        let wrong = self.rows.iter().filter(|row| row.problem.is_some()).count();
        match (wrong, self.refused.len()) {
            (0, 0) => write!(f, "all {} right", self.rows.len())?,
            (wrong, refused) => {
                write!(f, "{wrong} of {} wrong, {refused} refused", self.rows.len())?
            }
        }
        match self.left_out.len() {
            0 => Ok(()),
            left_out => write!(f, ", {left_out} not run"),
        }
    }
}
