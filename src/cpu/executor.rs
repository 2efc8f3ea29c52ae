//! Buffers in memory and the loop over commands.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::take;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use bytemuck::Zeroable;

use super::Cpu;
use super::zeroed::Zeroed;
use crate::command::{
    Access, Arg, BufferId, Command, KernelTable, Limits, Operation, Program, Range,
};
use crate::counters::Held;
use crate::error::Result;

/// A buffer in memory, shared by its clones.
#[derive(Clone, Debug)]
pub struct Buffer<R = f32>(Arc<Shared<R>>);

#[derive(Debug)]
struct Shared<R> {
    elements: RwLock<Zeroed<R>>,
    /// How often they were given for writing.
    writes: AtomicU64,
    /// What they were made of, where nobody has been given them since; else 0.
    stamp: AtomicU64,
    /// Which buffer it is; an address may come back.
    id: u64,
    _held: Held,
}

impl<R: Zeroable> Buffer<R> {
    /// `None` where there is no memory for so many.
    pub(super) fn zeros(len: usize, held: Held) -> Option<Self> {
        let elements = RwLock::new(Zeroed::new(len)?);
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let id = CREATED.fetch_add(1, Ordering::Relaxed);
        let (writes, stamp) = (0.into(), 0.into());
        Some(Buffer(Arc::new(Shared { elements, writes, stamp, id, _held: held })))
    }
}

/// A lock that shows a slice.
struct Elements<G>(G);

impl<R, G: Deref<Target = Zeroed<R>>> Deref for Elements<G> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.0
    }
}

impl<R, G: DerefMut<Target = Zeroed<R>>> DerefMut for Elements<G> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.0
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
    pub fn read(&self) -> impl Deref<Target = [R]> + '_ {
        Elements(self.shared())
    }

    fn shared(&self) -> RwLockReadGuard<'_, Zeroed<R>> {
        self.0.elements.read().unwrap_or_else(|e| e.into_inner())
    }

    /// The contents, for writing.
    pub fn write(&self) -> impl DerefMut<Target = [R]> + '_ {
        Elements(self.exclusive())
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Zeroed<R>> {
        let guard = self.0.elements.write().unwrap_or_else(|e| e.into_inner());
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        self.0.stamp.store(0, Ordering::Relaxed);
        guard
    }

    /// A number that is another one once somebody may have written.
    fn version(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    /// Whether both are the same buffer.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether nobody else has it.
    pub(crate) fn is_unshared(&mut self) -> bool {
        Arc::get_mut(&mut self.0).is_some()
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// Multiply-adds of a program from which on other threads help: to wake one takes as long as about a tenth of
/// them.
const HELPED_FROM: u64 = 1 << 22;

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
    /// Which it writes after what [`Program::prepare`] counts.
    written_later: Vec<bool>,
    /// What those commands do, as a number that tells them from others.
    recipe: u64,
    /// The buffers that they read only, and those that they write.
    sources: Vec<usize>,
    results: Vec<usize>,
    /// Whether there is enough to do for threads.
    helped: bool,
}

/// A locked buffer.
enum Guard<'a> {
    Read(RwLockReadGuard<'a, Zeroed<f32>>),
    Write(RwLockWriteGuard<'a, Zeroed<f32>>),
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
        let none = vec![false; buffers.len()];
        let (mut written, mut written_later, mut read_first) = (none.clone(), none.clone(), none);
        let mut recipe = DefaultHasher::new();
        for (index, command) in program.commands.iter().enumerate().rev() {
            if index + 1 == program.prepare {
                written_later.copy_from_slice(&written);
                written.fill(false);
            }
            let first = index < program.prepare;
            if first {
                // Labels don't count.
                format!("{:?}", command.operation).hash(&mut recipe);
            }
            command.each_range(&table, |range, access| {
                let buffer = range.buffer.0 as usize;
                written[buffer] |= access == Access::ReadWrite;
                read_first[buffer] |= first;
            });
        }
        let (mut sources, mut results) = (Vec::new(), Vec::new());
        if program.prepare == 0 {
            written_later.copy_from_slice(&written);
        } else {
            for buffer in 0..buffers.len() {
                match (written[buffer], read_first[buffer]) {
                    (true, _) => results.push(buffer),
                    (false, true) => sources.push(buffer),
                    (false, false) => {}
                }
                written[buffer] |= written_later[buffer];
            }
        }
        let recipe = recipe.finish();
        let helped = program.work(&table) >= HELPED_FROM;
        let mut lock_order: Vec<usize> = (0..buffers.len()).collect();
        lock_order.sort_by_key(|&i| buffers[i].address());
        Ok(Session {
            cpu,
            table,
            program,
            buffers,
            lock_order,
            written,
            written_later,
            recipe,
            sources,
            results,
            helped,
        })
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
        self.run_over(commands, run, &[]);
    }

    /// Runs some of the commands over some buffers in the place of its own: none that are twice in the
    /// session then, as large as those, and nothing that [`Program::prepare`] counts.
    pub(crate) fn run_over(
        &self,
        commands: std::ops::Range<usize>,
        run: usize,
        over: &[(BufferId, Buffer)],
    ) {
        if self.helped {
            self.cpu.with_threads_of(|| self.run_here(commands, run, over));
        } else {
            self.run_here(commands, run, over);
        }
    }

    /// Runs all commands, for the first time where rings count; what each took.
    pub fn run_timed(&self) -> Vec<Duration> {
        let one = |index: usize| {
            let start = Instant::now();
            self.run_here(index..index + 1, 0, &[]);
            start.elapsed()
        };
        let all = || (0..self.program.commands.len()).map(one).collect();
        if self.helped { self.cpu.with_threads_of(all) } else { all() }
    }

    /// What marks the results of the first commands, as long as their sources are those of now.
    fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.recipe.hash(&mut hasher);
        for &index in &self.sources {
            (self.buffers[index].0.id, self.buffers[index].version()).hash(&mut hasher);
        }
        hasher.finish() | 1
    }

    /// Whether the results of the first commands are there.
    fn is_prepared(&self) -> bool {
        let stamp = self.stamp();
        let of = |&index: &usize| self.buffers[index].0.stamp.load(Ordering::Relaxed);
        self.results.iter().map(of).all(|found| found == stamp)
    }

    fn lock<'a>(
        &'a self,
        written: &[bool],
        over: &'a [(BufferId, Buffer)],
    ) -> Vec<Option<Guard<'a>>> {
        let of = |index: usize| {
            let given = over.iter().find(|(id, _)| id.0 as usize == index);
            given.map_or(&self.buffers[index], |(_, buffer)| buffer)
        };
        let mut other_order;
        let mut order = &self.lock_order;
        if !over.is_empty() {
            other_order = order.clone();
            other_order.sort_by_key(|&index| of(index).address());
            order = &other_order;
        }
        let mut guards: Vec<Option<Guard<'_>>> = self.buffers.iter().map(|_| None).collect();
        for &index in order {
            guards[index] = Some(if written[index] {
                Guard::Write(of(index).exclusive())
            } else {
                Guard::Read(of(index).shared())
            });
        }
        guards
    }

    fn run_here(&self, mut range: std::ops::Range<usize>, run: usize, over: &[(BufferId, Buffer)]) {
        let prepare = self.program.prepare.min(range.end);
        let prepares = range.start < prepare;
        let mut guards = if prepares && !self.is_prepared() {
            self.lock(&self.written, over)
        } else {
            let guards = self.lock(&self.written_later, over);
            // Again, now that nobody else writes.
            match prepares && !self.is_prepared() {
                true => {
                    drop(guards);
                    self.lock(&self.written, over)
                }
                false => {
                    range.start = range.start.max(prepare);
                    guards
                }
            }
        };
        self.run_locked(&self.program.commands[range.clone()], run, &mut guards);
        // Sources that a later command has written are other ones now.
        let kept = !self.sources.iter().any(|&index| self.written_later[index]);
        if kept && range.start == 0 && (1..=prepare).contains(&self.program.prepare) {
            let stamp = self.stamp();
            for &index in &self.results {
                self.buffers[index].0.stamp.store(stamp, Ordering::Relaxed);
            }
        }
    }

    fn run_locked(&self, commands: &[Command], run: usize, guards: &mut [Option<Guard<'_>>]) {
        let mut views: Vec<Arg<'_, f32>> = guards
            .iter_mut()
            .map(|guard| match guard {
                Some(Guard::Read(g)) => Arg::Read(g),
                Some(Guard::Write(g)) => Arg::Write(g),
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
