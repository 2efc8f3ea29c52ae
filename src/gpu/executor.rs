//! Bind groups made once, commands encoded in order.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures_intrusive::sync::ManualResetEvent;

use super::Gpu;
use super::pipeline::Pipeline;
use crate::command::{BufferId, KernelId, KernelTable, Operation, Program, Range};
use crate::counters::Held;
use crate::error::{Error, Result};

/// A buffer on the device, shared by its clones.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) inner: wgpu::Buffer,
    pub(super) len: usize,
    pub(super) _held: Arc<Held>,
}

impl Buffer {
    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The buffer as wgpu knows it.
    pub fn as_wgpu(&self) -> &wgpu::Buffer {
        &self.inner
    }
}

/// A launch as the encoder needs it.
struct Launch {
    pipeline: Arc<Pipeline>,
    bind_group: Arc<wgpu::BindGroup>,
    uniform_offset: u32,
    grid: [u32; 3],
}

enum Step {
    Launch(Launch),
    Copy(Range, Range),
    Zero(Range),
}

/// A program with its buffers, pipelines and bind groups, ready to run.
pub struct Session {
    program: Arc<Program>,
    buffers: Vec<Buffer>,
    steps: Vec<Step>,
    _constants: Option<Held>,
}

/// What tells one bind group of a session from another.
type Bound = (KernelId, usize, Vec<Range>);

impl Session {
    /// Makes a program ready to run. `caller` gives the buffers of [`Owner::Caller`](crate::command::Owner::Caller).
    ///
    /// # Errors
    /// As [`Program::check`]; [`Error::Value`](crate::Error::Value) where a buffer is missing or too small;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory);
    /// [`Error::Gpu`](crate::Error::Gpu) where the driver refuses a kernel.
    pub fn new(
        gpu: &Gpu,
        table: &KernelTable,
        program: Arc<Program>,
        caller: &[(BufferId, Buffer)],
    ) -> Result<Session> {
        program.check(table, &gpu.limits)?;
        let buffers = program.resolve(
            caller,
            |name, len| gpu.create_buffer(name, len),
            Buffer::len,
            |a, b| a.inner == b.inner,
        )?;
        let mut session = Session { program, buffers, steps: Vec::new(), _constants: None };
        session.prepare(gpu, table)?;
        Ok(session)
    }

    /// Writes all constants into one uniform buffer and makes each bind group once.
    fn prepare(&mut self, gpu: &Gpu, table: &KernelTable) -> Result<()> {
        let program = self.program.clone();
        let mut constants: Vec<u8> = Vec::new();
        let mut offsets = Vec::new();
        for (_, dispatch) in program.dispatches() {
            constants.resize(constants.len().next_multiple_of(gpu.uniform_alignment), 0);
            offsets.push(constants.len() as u32);
            constants.extend_from_slice(&dispatch.params);
        }
        // Never empty, and whole words.
        constants.resize(constants.len().next_multiple_of(16) + 16, 0);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let (uniform, held) = gpu.allocate("constants", constants.len() as u64, usage)?;
        self._constants = Some(held);
        gpu.guarded("writing the constants", || gpu.queue.write_buffer(&uniform, 0, &constants))?;

        let trusted = program.is_trusted(table);
        let mut pipelines = HashMap::new();
        let mut groups: HashMap<Bound, Arc<wgpu::BindGroup>> = HashMap::new();
        let mut launches = 0;
        for command in &program.commands {
            let dispatch = match &command.operation {
                Operation::Zero(range) => {
                    self.steps.push(Step::Zero(*range));
                    continue;
                }
                Operation::Copy { from, to } => {
                    self.steps.push(Step::Copy(*from, *to));
                    continue;
                }
                Operation::Dispatch(dispatch) => dispatch,
            };
            let kernel = &table[dispatch.kernel];
            let constants: Vec<u64> = dispatch.constants.iter().map(|(_, v)| v.to_bits()).collect();
            let pipeline: Arc<Pipeline> =
                match pipelines.entry((dispatch.kernel, dispatch.variant, constants)) {
                    std::collections::hash_map::Entry::Occupied(known) => Arc::clone(known.get()),
                    std::collections::hash_map::Entry::Vacant(new) => {
                        new.insert(gpu.pipeline(kernel, dispatch, trusted)?).clone()
                    }
                };
            let bound = (dispatch.kernel, dispatch.variant, dispatch.bindings.clone());
            let bind_group = match groups.entry(bound) {
                std::collections::hash_map::Entry::Occupied(known) => Arc::clone(known.get()),
                std::collections::hash_map::Entry::Vacant(new) => {
                    gpu.counters.bind_groups.add(1);
                    let operation = format!("binding the buffers of `{}`", kernel.name);
                    let size = kernel.params_size;
                    let group = gpu.guarded(&operation, || {
                        self.bind(gpu, &pipeline, &uniform, size, &dispatch.bindings)
                    })?;
                    new.insert(Arc::new(group)).clone()
                }
            };
            self.steps.push(Step::Launch(Launch {
                pipeline,
                bind_group,
                uniform_offset: offsets[launches],
                grid: dispatch.grid,
            }));
            launches += 1;
        }
        Ok(())
    }

    fn bind(
        &self,
        gpu: &Gpu,
        pipeline: &Pipeline,
        uniform: &wgpu::Buffer,
        params_size: usize,
        ranges: &[Range],
    ) -> wgpu::BindGroup {
        let resource = |buffer, offset: usize, size: usize| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: offset as u64,
                size: std::num::NonZeroU64::new(size as u64),
            })
        };
        let mut entries =
            vec![wgpu::BindGroupEntry { binding: 0, resource: resource(uniform, 0, params_size) }];
        entries.extend(ranges.iter().zip(1..).map(|(range, binding)| wgpu::BindGroupEntry {
            binding,
            resource: resource(&self.buffer(range.buffer).inner, 4 * range.start, 4 * range.len),
        }));
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        })
    }

    /// The buffer behind a name of the program.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// How many commands there are.
    pub(super) fn commands(&self) -> usize {
        self.steps.len()
    }

    /// Whether a command launches a kernel.
    pub(super) fn is_launch(&self, command: usize) -> bool {
        matches!(self.steps[command], Step::Launch(_))
    }

    fn place(&self, range: &Range, run: usize) -> (&wgpu::Buffer, u64, u64) {
        let start = self.program.elements(range, run).start;
        (&self.buffer(range.buffer).inner, 4 * start as u64, 4 * range.len as u64)
    }

    /// Encodes some of the commands, for the `run`th time where rings count. Nothing is created.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        commands: std::ops::Range<usize>,
        run: usize,
    ) {
        self.encode_timed(encoder, commands, run, None);
    }

    /// The same, with timestamps around each pass.
    pub(super) fn encode_timed(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        commands: std::ops::Range<usize>,
        run: usize,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        let mut steps = self.steps[commands].iter().peekable();
        while let Some(step) = steps.next() {
            match step {
                Step::Zero(range) => {
                    let (buffer, offset, size) = self.place(range, run);
                    encoder.clear_buffer(buffer, offset, Some(size));
                }
                Step::Copy(from, to) => {
                    let (source, source_offset, size) = self.place(from, run);
                    let (target, target_offset, _) = self.place(to, run);
                    encoder.copy_buffer_to_buffer(
                        source,
                        source_offset,
                        target,
                        target_offset,
                        size,
                    );
                }
                Step::Launch(first) => {
                    let mut pass = encoder.begin_compute_pass(&descriptor);
                    let mut launch = first;
                    let mut bound: Option<&Arc<Pipeline>> = None;
                    loop {
                        if !bound.is_some_and(|p| Arc::ptr_eq(p, &launch.pipeline)) {
                            pass.set_pipeline(&launch.pipeline.pipeline);
                            bound = Some(&launch.pipeline);
                        }
                        pass.set_bind_group(
                            0,
                            launch.bind_group.as_ref(),
                            &[launch.uniform_offset],
                        );
                        let [x, y, z] = launch.grid;
                        pass.dispatch_workgroups(x, y, z);
                        match steps.next_if(|step| matches!(step, Step::Launch(_))) {
                            Some(Step::Launch(next)) => launch = next,
                            _ => break,
                        }
                    }
                }
            }
        }
    }
}

impl Gpu {
    /// Whether a buffer is this device's, among those of its `wgpu::Instance`: those of two instances
    /// no part of wgpu tells apart. The first time that a buffer is seen it is tried; after that
    /// nothing is created.
    pub(crate) fn owns(&self, buffer: &wgpu::Buffer) -> Result<bool> {
        let mut hasher = DefaultHasher::new();
        buffer.hash(&mut hasher);
        let key = hasher.finish();
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        if seen.contains(&key) {
            return Ok(true);
        }
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let (own, _held) = self.allocate("probe", 4, usage)?;
        // Recorded and never run: the encoder checks where its buffers come from. A buffer of another
        // instance that this one has no number for makes wgpu panic.
        let attempt = || {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            if buffer.usage().contains(wgpu::BufferUsages::COPY_SRC) {
                encoder.copy_buffer_to_buffer(buffer, 0, &own, 0, Some(4));
            } else {
                encoder.copy_buffer_to_buffer(&own, 0, buffer, 0, Some(4));
            }
            drop(encoder.finish());
        };
        let tried = self.guarded("looking at a caller's buffer", || {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).is_ok()
        });
        match tried {
            Ok(false) => Ok(false),
            Ok(true) => {
                if seen.len() >= SEEN {
                    seen.clear();
                }
                seen.insert(key);
                Ok(true)
            }
            Err(Error::Gpu { message, .. }) if message.contains("doesn't match") => Ok(false),
            Err(other) => Err(other),
        }
    }
}

/// Buffers of callers that are remembered as the device's own.
const SEEN: usize = 1024;

/// Collects runs of sessions into one submission.
///
/// At most two submissions of one recorder wait on the device, and 64 of all, those on the way of a long
/// run not counted; the next one waits for the first of them, so that a device that is slower than the host doesn't pile up data.
pub struct Recorder {
    gpu: Arc<Gpu>,
    encoder: Option<wgpu::CommandEncoder>,
    in_flight: VecDeque<Submission>,
    /// What became of an early submission that failed.
    refused: Option<Error>,
}

/// A submission that the device may have before it.
#[derive(Clone, Debug)]
pub(super) struct Submission {
    index: wgpu::SubmissionIndex,
    /// Set by whoever polls the device once it is done.
    done: Arc<ManualResetEvent>,
}

/// Where more than `most` of `queue` are not done: the youngest that has to be before only `left`
/// are left.
///
/// It stays there until it is done: a future that is dropped while it waits leaves the count right.
fn surplus(queue: &mut VecDeque<Submission>, most: usize, left: usize) -> Option<Submission> {
    while queue.front().is_some_and(|submission| submission.done.is_set()) {
        queue.pop_front();
    }
    if queue.len() <= most {
        return None;
    }
    queue.len().checked_sub(left + 1).map(|at| queue[at].clone())
}

/// Submissions of one recorder that the device may have before it.
const IN_FLIGHT: usize = 2;

/// Submissions of all recorders that the device may have before it.
const IN_FLIGHT_OF_ALL: usize = 64;

/// Commands that are recorded before they are submitted on the way: about as long to record as a
/// submission takes.
const EARLY: usize = 256;

/// How many of those are left when the wait for room is over: one wait for many submissions.
const LEFT_OF_ALL: usize = 32;

impl Recorder {
    /// An empty recorder.
    pub fn new(gpu: &Arc<Gpu>) -> Recorder {
        Recorder { gpu: gpu.clone(), encoder: None, in_flight: VecDeque::new(), refused: None }
    }

    pub(super) fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    pub(super) fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        let (gpu, refused) = (&self.gpu, &mut self.refused);
        self.encoder.get_or_insert_with(|| {
            let create = || gpu.device.create_command_encoder(&Default::default());
            let (encoder, reported) = gpu.watched("recording commands", create);
            if let Err(error) = reported {
                refused.get_or_insert(error);
            }
            encoder
        })
    }

    /// Records one run of a session, its `run`th where rings count.
    pub fn run(&mut self, session: &Session, run: usize) {
        self.run_commands(session, 0..session.steps.len(), run);
    }

    /// Records some of a session's commands. Where they are many, those recorded so far are submitted on
    /// the way, so that the device begins while the host still records.
    ///
    /// # Panics
    /// Where the session has fewer.
    pub fn run_commands(
        &mut self,
        session: &Session,
        commands: std::ops::Range<usize>,
        run: usize,
    ) {
        let launch = |step: &&Step| matches!(step, Step::Launch(_));
        let launches = session.steps[commands.clone()].iter().filter(launch).count();
        for first in commands.clone().step_by(EARLY) {
            if first > commands.start
                && let Some(encoder) = self.encoder.take()
                && let Err(error) = self.gpu.submit(encoder)
            {
                self.refused.get_or_insert(error);
            }
            if self.refused.is_some() {
                // What follows would go on from what was never made.
                break;
            }
            session.encode(self.encoder(), first..commands.end.min(first + EARLY), run);
        }
        self.gpu.counters.dispatches.add(launches as u64);
    }

    /// Records a copy of `len` elements between two buffers.
    ///
    /// # Panics
    /// Where a buffer has fewer elements: the callers of this crate have checked.
    pub fn copy(&mut self, from: (&Buffer, usize), to: (&Buffer, usize), len: usize) {
        assert!(from.1 + len <= from.0.len && to.1 + len <= to.0.len, "copy outside a buffer");
        self.encoder().copy_buffer_to_buffer(
            &from.0.inner,
            4 * from.1 as u64,
            &to.0.inner,
            4 * to.1 as u64,
            Some(4 * len as u64),
        );
    }

    /// Records that `len` elements become +0.0.
    ///
    /// # Panics
    /// Where the buffer has fewer elements: the callers of this crate have checked.
    pub fn zero(&mut self, to: (&Buffer, usize), len: usize) {
        assert!(to.1 + len <= to.0.len, "zeros outside a buffer");
        self.encoder().clear_buffer(&to.0.inner, 4 * to.1 as u64, Some(4 * len as u64));
    }

    /// Submits what was recorded, and waits where too much is before the device.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the driver refuses; what was recorded is dropped then.
    pub fn submit(&mut self) -> Result<()> {
        for submission in self.send()?.into_iter().flatten() {
            let wait =
                wgpu::PollType::Wait { submission_index: Some(submission.index), timeout: None };
            self.gpu.poll(wait)?;
        }
        Ok(())
    }

    /// The asynchronous form of [`submit`](Self::submit): everything is submitted when it is polled
    /// first, and then it may be pending. Who polls the device is said at
    /// [`Gpu::wait_async`](Gpu::wait_async).
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_async(&mut self) -> Result<()> {
        for submission in self.send()?.into_iter().flatten() {
            self.gpu.polling(submission.done.wait()).await?;
        }
        Ok(())
    }

    /// Submits what was recorded; returns what has to be done before the next submission.
    fn send(&mut self) -> Result<[Option<Submission>; 2]> {
        let Some(encoder) = self.encoder.take() else {
            return Ok([None, None]);
        };
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let gpu = &self.gpu;
        let index = gpu.submit(encoder)?;
        let submission = Submission { index, done: gpu.when_done() };
        let mut of_all = gpu.in_flight.lock().unwrap_or_else(|e| e.into_inner());
        of_all.push_back(submission.clone());
        let oldest = surplus(&mut of_all, IN_FLIGHT_OF_ALL, LEFT_OF_ALL);
        drop(of_all);
        self.in_flight.push_back(submission);
        Ok([oldest, surplus(&mut self.in_flight, IN_FLIGHT, IN_FLIGHT)])
    }
}

impl Gpu {
    fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<wgpu::SubmissionIndex> {
        self.counters.submits.add(1);
        self.guarded("submitting commands", || self.queue.submit([encoder.finish()]))
    }

    /// Pending while so many submissions are before the device that one more would wait. Calls that
    /// submit and read nothing back have no asynchronous form: after this they don't block. Who
    /// polls the device is said at [`wait_async`](Self::wait_async).
    pub async fn room_async(&self) {
        let before = {
            let mut of_all = self.in_flight.lock().unwrap_or_else(|e| e.into_inner());
            surplus(&mut of_all, IN_FLIGHT_OF_ALL - 1, LEFT_OF_ALL)
        };
        if let Some(submission) = before {
            // Where the device is lost, there is nothing to wait for; the next call says so.
            let _ = self.polling(submission.done.wait()).await;
        }
    }
}
