//! Buffers in memory and the loop over commands.

use std::mem::take;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::Cpu;
use crate::command::{
    Access, Arg, BufferId, Command, KernelTable, Limits, Operation, Program, Range,
};
use crate::counters::{Allocated, Held};
use crate::error::Result;

/// A buffer in memory, shared by its clones.
#[derive(Clone, Debug)]
pub struct Buffer<R = f32>(Arc<(RwLock<Vec<R>>, Held)>);

impl<R: Clone + Default> Buffer<R> {
    pub(super) fn zeros(len: usize, allocated: &Allocated) -> Option<Self> {
        let mut data = Vec::new();
        data.try_reserve_exact(len).ok()?;
        data.resize(len, R::default());
        let held = allocated.hold((len * size_of::<R>()) as u64);
        Some(Buffer(Arc::new((RwLock::new(data), held))))
    }
}

// A thread that panicked while it held a lock left numbers behind, not broken invariants.
impl<R> Buffer<R> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The contents, for reading.
    pub fn read(&self) -> RwLockReadGuard<'_, Vec<R>> {
        self.0.0.read().unwrap_or_else(|e| e.into_inner())
    }

    /// The contents, for writing.
    pub fn write(&self) -> RwLockWriteGuard<'_, Vec<R>> {
        self.0.0.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether both are the same buffer.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// A program with its buffers, ready to run.
pub struct Session {
    cpu: Arc<Cpu>,
    table: Arc<KernelTable>,
    program: Arc<Program>,
    buffers: Vec<Buffer>,
    /// The order in which buffers are locked: by address, so that two sessions that share some
    /// can't wait for each other.
    lock_order: Vec<usize>,
    /// Which buffers the program writes.
    written: Vec<bool>,
}

/// A locked buffer.
enum Guard<'a> {
    Read(RwLockReadGuard<'a, Vec<f32>>),
    Write(RwLockWriteGuard<'a, Vec<f32>>),
}

impl Session {
    pub(super) fn new(
        cpu: Arc<Cpu>,
        table: Arc<KernelTable>,
        program: Arc<Program>,
        caller: &[(BufferId, Buffer)],
    ) -> Result<Session> {
        program.check(&table, &Limits::CPU)?;
        let buffers = program.resolve(
            caller,
            |name, len| cpu.create_buffer(name, len),
            Buffer::len,
            |a, b| a.is(b),
        )?;
        let mut written = vec![false; buffers.len()];
        for command in &program.commands {
            match &command.operation {
                Operation::Zero(range) | Operation::Copy { to: range, .. } => {
                    written[range.buffer.0 as usize] = true;
                }
                Operation::Dispatch(d) => {
                    for (range, binding) in d.bindings.iter().zip(table[d.kernel].bindings) {
                        written[range.buffer.0 as usize] |= binding.access == Access::ReadWrite;
                    }
                }
            }
        }
        let mut lock_order: Vec<usize> = (0..buffers.len()).collect();
        lock_order.sort_by_key(|&i| buffers[i].address());
        Ok(Session { cpu, table, program, buffers, lock_order, written })
    }

    /// The buffer behind a name of the program.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Runs all commands, for the `run`th time where rings count.
    pub fn run(&self, run: usize) {
        self.run_commands(0..self.program.commands.len(), run);
    }

    /// Runs some of the commands.
    ///
    /// # Panics
    /// Where the program has fewer.
    pub fn run_commands(&self, commands: std::ops::Range<usize>, run: usize) {
        self.cpu.install(|| self.run_here(&self.program.commands[commands], run));
    }

    /// Runs all commands, for the first time where rings count; what each took.
    pub fn run_timed(&self) -> Vec<Duration> {
        let one = |index: usize| {
            let start = Instant::now();
            self.run_commands(index..index + 1, 0);
            start.elapsed()
        };
        self.cpu.install(|| (0..self.program.commands.len()).map(one).collect())
    }

    fn run_here(&self, commands: &[Command], run: usize) {
        let mut guards: Vec<Option<Guard<'_>>> = self.buffers.iter().map(|_| None).collect();
        for &index in &self.lock_order {
            guards[index] = Some(if self.written[index] {
                Guard::Write(self.buffers[index].write())
            } else {
                Guard::Read(self.buffers[index].read())
            });
        }
        let mut views: Vec<Arg<'_, f32>> = guards
            .iter_mut()
            .map(|guard| match guard {
                Some(Guard::Read(g)) => Arg::Read(g.as_slice()),
                Some(Guard::Write(g)) => Arg::Write(g.as_mut_slice()),
                None => Arg::default(),
            })
            .collect();
        let at = |range: &Range| self.program.elements(range, run);
        for command in commands {
            match &command.operation {
                Operation::Zero(range) => {
                    if let Arg::Write(to) = &mut views[range.buffer.0 as usize] {
                        to[at(range)].fill(0.0);
                    }
                }
                Operation::Copy { from, to } => {
                    let source = take(&mut views[from.buffer.0 as usize]);
                    let elements = match &source {
                        Arg::Read(slice) => &slice[at(from)],
                        Arg::Write(slice) => &slice[at(from)],
                    };
                    if let Arg::Write(target) = &mut views[to.buffer.0 as usize] {
                        target[at(to)].copy_from_slice(elements);
                    }
                    views[from.buffer.0 as usize] = source;
                }
                Operation::Dispatch(d) => {
                    let kernel = &self.table[d.kernel];
                    d.call(kernel, kernel.fast.unwrap_or(kernel.twin), &mut views);
                    self.cpu.counters.dispatches.add(1);
                }
            }
        }
    }
}
