//! How a program prints.

use std::fmt::{self, Display};
use std::time::Duration;

use super::{KernelTable, Operation, Owner, Program, Range};

impl Program {
    /// A listing against a table: a line a buffer, a line a command.
    pub fn listing<'a>(&'a self, table: &'a KernelTable) -> impl Display + 'a {
        Listing { program: self, table, times: None }
    }

    /// The same, with what each command took
    /// ([`Session::run_timed`](crate::Session::run_timed)) in microseconds, its share of the sum, and
    /// the sum. A command without a time has `-`.
    pub fn timed_listing<'a>(
        &'a self,
        table: &'a KernelTable,
        times: &'a [Duration],
    ) -> impl Display + 'a {
        Listing { program: self, table, times: Some(times) }
    }

    fn range(&self, range: &Range) -> String {
        let spec = self.spec(range.buffer);
        if range.start == 0 && range.len == spec.len {
            spec.name.clone()
        } else {
            format!("{}[{}..{}]", spec.name, range.start, range.start + range.len)
        }
    }
}

struct Listing<'a> {
    program: &'a Program,
    table: &'a KernelTable,
    times: Option<&'a [Duration]>,
}

impl Listing<'_> {
    /// The columns of a time and its share of all, where there are times.
    fn time(
        &self,
        f: &mut fmt::Formatter<'_>,
        time: impl FnOnce(&[Duration]) -> Option<Duration>,
    ) -> fmt::Result {
        let Some(times) = self.times else { return Ok(()) };
        let sum: Duration = times.iter().sum();
        match time(times) {
            None => write!(f, "{:>13}  {:>7}  ", "-", "-"),
            Some(time) => {
                // Nothing is a share of nothing.
                let share = time.as_secs_f64() / sum.as_secs_f64().max(1e-9);
                write!(f, "{:>10.1} us  {:>5.1} %  ", 1e6 * time.as_secs_f64(), 100.0 * share)
            }
        }
    }
}

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program;
        writeln!(f, "buffers ({} KiB of workspace)", program.workspace_bytes().div_ceil(1024))?;
        for spec in &program.buffers {
            let owner = if spec.owner == Owner::Caller { "  (caller's)" } else { "" };
            let slots =
                if spec.slots > 1 { format!("  x {} slots", spec.slots) } else { String::new() };
            writeln!(f, "  {:<14} {}{slots}{owner}", spec.name, spec.shape)?;
        }
        writeln!(f, "commands ({})", program.commands.len())?;
        for (index, command) in program.commands.iter().enumerate() {
            write!(f, "  {index:>4}  ")?;
            self.time(f, |times| times.get(index).copied())?;
            write!(f, "{:<30} ", command.label)?;
            match &command.operation {
                Operation::Zero(range) => writeln!(f, "zero {}", program.range(range))?,
                Operation::Copy { from, to } => {
                    writeln!(f, "copy {} -> {}", program.range(from), program.range(to))?
                }
                Operation::Dispatch(d) => {
                    let kernel = &self.table[d.kernel];
                    let [x, y, z] = d.grid;
                    write!(f, "{}", kernel.name)?;
                    if kernel.variants.len() > 1 {
                        write!(f, " [{}]", kernel.variants[d.variant].name)?;
                    }
                    write!(f, " {x}x{y}x{z} (")?;
                    for (i, (range, binding)) in d.bindings.iter().zip(kernel.bindings).enumerate()
                    {
                        let comma = if i == 0 { "" } else { ", " };
                        write!(f, "{comma}{}={}", binding.name, program.range(range))?;
                    }
                    writeln!(f, ")")?;
                }
            }
        }
        if self.times.is_some() {
            write!(f, "  {:>4}  ", "")?;
            self.time(f, |times| Some(times.iter().sum()))?;
            writeln!(f, "all commands")?;
        }
        Ok(())
    }
}
