//! How a program prints.

use std::fmt::{self, Display};

use super::{KernelTable, Operation, Owner, Program, Range};

impl Program {
    /// A listing against a table: a line a buffer, a line a command.
    pub fn listing<'a>(&'a self, table: &'a KernelTable) -> impl Display + 'a {
        Listing { program: self, table }
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
            write!(f, "  {index:>4}  {:<30} ", command.label)?;
            match &command.operation {
                Operation::Zero(range) => writeln!(f, "zero {}", program.range(range))?,
                Operation::Copy { from, to } => {
                    writeln!(f, "copy {} -> {}", program.range(from), program.range(to))?
                }
                Operation::Dispatch(d) => {
                    let kernel = &self.table[d.kernel];
                    let [x, y, z] = d.grid;
                    write!(f, "{} {x}x{y}x{z} (", kernel.name)?;
                    for (i, (range, binding)) in d.bindings.iter().zip(kernel.bindings).enumerate()
                    {
                        let comma = if i == 0 { "" } else { ", " };
                        write!(f, "{comma}{}={}", binding.name, program.range(range))?;
                    }
                    writeln!(f, ")")?;
                }
            }
        }
        Ok(())
    }
}
