//! Buffers and the commands over them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::{Access, BufferId, Command, Dispatch, Executor, KernelTable, Limits, Operation, Range};
use crate::error::{Error, Result};

/// Who provides a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The session allocates it, unless it is given one; what it holds before a run doesn't count.
    Workspace,
    /// The caller binds it.
    Caller,
}

/// A buffer that a program names.
#[derive(Clone, Debug)]
pub struct BufferSpec {
    /// Its name in listings and in [`Program::buffer`].
    pub name: String,
    /// Its shape in words, such as `[T+1, B, H] = [5, 2, 8]`.
    pub shape: String,
    /// Elements (f32) in a slot.
    pub len: usize,
    /// How many slots. Where there are several, run `n` of a session uses slot `n % slots`.
    pub slots: usize,
    /// Who provides it.
    pub owner: Owner,
}

/// Buffers and the commands over them, in order.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The buffers.
    pub buffers: Vec<BufferSpec>,
    /// The commands.
    pub commands: Vec<Command>,
    /// How many of the first commands only make something of what others give, such as copies of
    /// weights in the order in which they are read. An executor may leave them out as long as nobody has
    /// written the buffers that they read and write.
    pub prepare: usize,
    /// Names of parts of buffers, where several things lie in one.
    parts: Vec<(String, Range)>,
    /// What the program was when it was found to keep to its ranges.
    trusted: Option<u64>,
}

impl BufferSpec {
    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.len as u64 * self.slots as u64 * 4
    }
}

impl Program {
    /// Adds a buffer.
    pub fn add(&mut self, spec: BufferSpec) -> BufferId {
        self.buffers.push(spec);
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// The buffer of that name.
    pub fn buffer(&self, name: &str) -> Option<BufferId> {
        self.buffers.iter().position(|b| b.name == name).map(|i| BufferId(i as u32))
    }

    /// Gives a part of a buffer a name of its own.
    pub(crate) fn name_part(&mut self, name: &str, part: Range) {
        self.parts.push((name.to_owned(), part));
    }

    /// What has that name: a whole buffer, or a part of one.
    pub fn part(&self, name: &str) -> Option<Range> {
        let part = self.parts.iter().find(|(own, _)| own == name).map(|(_, part)| *part);
        self.buffer(name).map(|buffer| self.whole(buffer)).or(part)
    }

    /// The description of a buffer.
    pub fn spec(&self, id: BufferId) -> &BufferSpec {
        &self.buffers[id.0 as usize]
    }

    /// All of a buffer, or of one of its slots.
    pub fn whole(&self, buffer: BufferId) -> Range {
        Range { buffer, start: 0, len: self.spec(buffer).len }
    }

    /// The launches of a program, in order.
    pub fn dispatches(&self) -> impl Iterator<Item = (&Command, &Dispatch)> {
        self.commands.iter().filter_map(|command| match &command.operation {
            Operation::Dispatch(dispatch) => Some((command, dispatch)),
            _ => None,
        })
    }

    /// Multiply-adds of all launches together, as far as their kernels say.
    pub fn work(&self, table: &KernelTable) -> u64 {
        let of = |d: &Dispatch| table[d.kernel].work.map_or(0, |work| work(d));
        self.dispatches().map(|(_, d)| of(d)).sum()
    }

    /// Bytes of the buffers that a session allocates.
    pub fn workspace_bytes(&self) -> u64 {
        let own = self.buffers.iter().filter(|b| b.owner == Owner::Workspace);
        own.map(BufferSpec::bytes).sum()
    }

    /// Bytes of all buffers, the caller's included.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().map(BufferSpec::bytes).sum()
    }

    /// The program as one whose launches keep to the ranges that they bind, as long as nobody changes it:
    /// this crate's kernels then run unchecked. Plans are such programs.
    ///
    /// # Safety
    /// With what its block of constants says, no launch of the table's kernels may touch an element
    /// outside its ranges, or loop for ever.
    #[allow(unsafe_code)]
    pub unsafe fn trusted(self, table: &KernelTable) -> Program {
        self.trust(table)
    }

    /// The first commands alone, trusted as this program is.
    pub fn first(&self, commands: usize, table: &KernelTable) -> Program {
        let kept = self.commands[..commands].to_vec();
        let prepare = self.prepare.min(commands);
        let first = Program { commands: kept, prepare, trusted: None, ..self.clone() };
        if self.is_trusted(table) { first.trust(table) } else { first }
    }

    /// The same for the planner, whose safety the suite shows.
    pub(crate) fn trust(self, table: &KernelTable) -> Program {
        Program { trusted: Some(self.fingerprint(table)), ..self }
    }

    /// Whether it is what it was when it was trusted.
    pub(crate) fn is_trusted(&self, table: &KernelTable) -> bool {
        self.trusted.is_some_and(|then| then == self.fingerprint(table))
    }

    /// What tells its launches, their modules and its buffers from others.
    fn fingerprint(&self, table: &KernelTable) -> u64 {
        let mut hasher = DefaultHasher::new();
        for spec in &self.buffers {
            (spec.len, spec.slots).hash(&mut hasher);
        }
        for (_, d) in self.dispatches() {
            (d.kernel, d.variant, &d.params, &d.bindings, d.grid).hash(&mut hasher);
            for (name, value) in &d.constants {
                (name, value.to_bits()).hash(&mut hasher);
            }
            // A module is known by where it is: copies of a table share it.
            let variants = table.0.get(d.kernel.0 as usize).map(|kernel| &kernel.variants);
            let module = variants.and_then(|variants| variants.get(d.variant));
            module.map(|variant| Arc::as_ptr(&variant.source).addr()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Checks what both executors rely on: every range lies in its buffer and starts where a
    /// binding may, a buffer that a command writes is bound once in it, grids and bindings keep
    /// to the limits.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device has too little of something, [`Error::Value`] where the
    /// program contradicts itself.
    pub fn check(&self, table: &KernelTable, limits: &Limits) -> Result<()> {
        for spec in &self.buffers {
            let needed = spec.len.saturating_mul(spec.slots);
            if needed > limits.max_buffer {
                return Err(limit(
                    &spec.name,
                    needed,
                    "largest buffer (f32 elements)",
                    limits.max_buffer,
                ));
            }
        }
        for command in &self.commands {
            self.check_command(command, table, limits)?;
        }
        Ok(())
    }

    fn check_command(&self, command: &Command, table: &KernelTable, limits: &Limits) -> Result<()> {
        let bad = |what: String| Error::Value {
            operation: "Program::check",
            name: format!("command {:?}", command.label),
            expected: "consistent".to_owned(),
            got: what,
        };
        let inside = |range: &Range| {
            let spec = self.buffers.get(range.buffer.0 as usize);
            match spec.and_then(|s| Some((s, range.start.checked_add(range.len)?))) {
                Some((spec, end)) if range.len > 0 && end <= spec.len => Ok(spec),
                _ => {
                    let Range { buffer, start, len } = range;
                    let place = format!("{len} elements of buffer {} from {start} on", buffer.0);
                    Err(bad(format!("{place}, which it lacks")))
                }
            }
        };
        match &command.operation {
            Operation::Zero(range) => inside(range).map(|_| ()),
            Operation::Copy { from, to } => {
                inside(from)?;
                inside(to)?;
                if from.len != to.len || from.buffer == to.buffer {
                    return Err(bad("a copy of two lengths or inside one buffer".to_owned()));
                }
                Ok(())
            }
            Operation::Dispatch(d) => {
                let Some(kernel) = table.0.get(d.kernel.0 as usize) else {
                    return Err(bad(format!("kernel {}, which the table lacks", d.kernel.0)));
                };
                if d.bindings.len() != kernel.bindings.len()
                    || d.params.len() != kernel.params_size
                    || d.variant >= kernel.variants.len()
                {
                    return Err(bad(format!("not what `{}` takes", kernel.name)));
                }
                let variant = &kernel.variants[d.variant];
                let what = || format!("`{}` ({}) of {}", kernel.name, variant.name, command.label);
                let have = limits.subgroup.unwrap_or(0);
                let needed = variant.subgroup.filter(|&needed| needed > have);
                if let Some(needed) = needed.filter(|_| limits.executor == Executor::Gpu) {
                    let have = have as usize;
                    return Err(limit(&what(), needed as usize, "smallest subgroup", have));
                }
                let invocations = variant.workgroup.iter().product::<u32>();
                if invocations > limits.max_invocations {
                    let have = limits.max_invocations as usize;
                    let most = "invocations of a workgroup";
                    return Err(limit(&what(), invocations as usize, most, have));
                }
                for (range, binding) in d.bindings.iter().zip(kernel.bindings) {
                    if inside(range)?.slots != 1 {
                        return Err(bad(format!("`{}` bound to a ring", binding.name)));
                    }
                    if range.start % limits.alignment != 0 {
                        return Err(bad(format!("`{}` bound at an odd offset", binding.name)));
                    }
                    if range.len > limits.max_binding {
                        let what = format!("`{}` of {}", binding.name, command.label);
                        return Err(limit(
                            &what,
                            range.len,
                            "largest binding (f32 elements)",
                            limits.max_binding,
                        ));
                    }
                    let times = d.bindings.iter().filter(|r| r.buffer == range.buffer).count();
                    if binding.access == Access::ReadWrite && times > 1 {
                        return Err(bad(format!("`{}` bound a second time", binding.name)));
                    }
                }
                if let Some(&groups) = d.grid.iter().find(|&&n| n == 0 || n > limits.max_workgroups)
                {
                    let what = format!("the grid of {}", command.label);
                    return Err(limit(
                        &what,
                        groups as usize,
                        "workgroups a dimension",
                        limits.max_workgroups as usize,
                    ));
                }
                Ok(())
            }
        }
    }

    /// One buffer for each of [`Program::buffers`]: the caller's, or created for the workspace where
    /// the caller gives none.
    pub(crate) fn resolve<B: Clone>(
        &self,
        caller: &[(BufferId, B)],
        create: impl Fn(&str, usize) -> Result<B>,
        len: impl Fn(&B) -> usize,
        same: impl Fn(&B, &B) -> bool,
    ) -> Result<Vec<B>> {
        let mut buffers: Vec<B> = Vec::new();
        for (index, spec) in self.buffers.iter().enumerate() {
            let refused = |expected: String, got: String| Error::Value {
                operation: "session",
                name: format!("buffer `{}`", spec.name),
                expected,
                got,
            };
            let needed = spec.len * spec.slots;
            let given = caller.iter().find(|(id, _)| id.0 as usize == index).map(|(_, b)| b);
            let buffer = match (spec.owner, given) {
                (Owner::Workspace, None) => create(&spec.name, needed)?,
                (_, Some(buffer)) if len(buffer) >= needed => buffer.clone(),
                (_, given) => {
                    let got = given.map_or("none".to_owned(), |b| format!("{} elements", len(b)));
                    return Err(refused(format!("given, with at least {needed} elements"), got));
                }
            };
            if buffers.iter().any(|other| same(other, &buffer)) {
                let got = "one that the program already uses".to_owned();
                return Err(refused("of its own".to_owned(), got));
            }
            buffers.push(buffer);
        }
        Ok(buffers)
    }

    /// The elements of a range in the slot that a run has in the range's buffer.
    pub(crate) fn elements(&self, range: &Range, run: usize) -> std::ops::Range<usize> {
        let spec = self.spec(range.buffer);
        let start = range.start + run % spec.slots * spec.len;
        start..start + range.len
    }
}

fn limit(what: &str, needed: usize, limit: &'static str, available: usize) -> Error {
    Error::Limit {
        operation: "Program::check",
        what: what.to_owned(),
        needed: needed as u64,
        limit,
        available: available as u64,
    }
}
