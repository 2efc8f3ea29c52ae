//! A program with its buffers, whichever the executor.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{Buffer, Device, Wait};
use crate::command::{BufferId, Program};
#[cfg(feature = "cpu")]
use crate::cpu;
use crate::error::{Error, Result};
#[cfg(feature = "gpu")]
use crate::gpu;

/// A program with its buffers on a device, ready to run as often as wanted.
///
/// ```
/// use gatefold::Device;
/// use gatefold::plan::{Plan, Sequences, StackShape};
///
/// let device = Device::cpu();
/// let sequences = Sequences::new(2, 1);
/// let plan = Plan::forward(&StackShape::lstm(1, 1), &sequences, &device.limits())?;
/// let session = device.session(&plan.program)?;
/// session.write("x", &[0.5, -0.5])?;
/// session.run()?;
/// assert_eq!(session.read("h_l0")?, [0.0; 3]); // all weights are still zero
/// # Ok::<(), gatefold::Error>(())
/// ```
pub struct Session {
    pub(super) device: Device,
    pub(super) program: Arc<Program>,
    pub(super) kind: SessionKind,
}

pub(super) enum SessionKind {
    #[cfg(feature = "gpu")]
    Gpu(gpu::Session),
    #[cfg(feature = "cpu")]
    Cpu(cpu::Session),
}

impl Session {
    /// What it runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    fn id(&self, operation: &'static str, name: &str) -> Result<BufferId> {
        self.program.buffer(name).ok_or_else(|| Error::Value {
            operation,
            name: "name".to_owned(),
            expected: format!(
                "one of {}",
                self.program.buffers.iter().map(|b| b.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
            got: format!("{name:?}"),
        })
    }

    /// Writes a buffer, from its first element on.
    ///
    /// # Errors
    /// [`Error::Value`] for an unknown name, [`Error::Shape`] for more values than it holds.
    pub fn write(&self, name: &str, values: &[f32]) -> Result<()> {
        let id = self.id("Session::write", name)?;
        let spec = self.program.spec(id);
        if values.len() > spec.len * spec.slots {
            return Err(Error::Shape {
                operation: "Session::write",
                tensor: name.to_owned(),
                expected: spec.shape.clone(),
                got: format!("{} values", values.len()),
            });
        }
        self.device.write(&self.buffer(id), 0, values)
    }

    /// Reads a buffer, all slots of a ring.
    ///
    /// # Errors
    /// [`Error::Value`] for an unknown name, [`Error::Gpu`] where the device fails.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        pollster::block_on(self.read_as(name, Wait::Blocking))
    }

    /// The asynchronous form of [`read`](Self::read): the future polls a GPU of our own, a caller's
    /// GPU is polled by the caller (see [who polls](Device#who-polls)).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_async(&self, name: &str) -> Result<Vec<f32>> {
        self.read_as(name, Wait::Pending).await
    }

    pub(crate) async fn read_as(&self, name: &str, wait: Wait) -> Result<Vec<f32>> {
        let id = self.id("Session::read", name)?;
        let spec = self.program.spec(id);
        self.device.read_as(&self.buffer(id), 0, spec.len * spec.slots, wait).await
    }

    /// Runs all commands once, with slot 0 of every ring, and submits them.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails.
    pub fn run(&self) -> Result<()> {
        pollster::block_on(self.run_as(Wait::Blocking))
    }

    /// Runs some of the commands once, as [`run`](Self::run) does, such as those of the forward pass
    /// before [`Plan::backward_from`](crate::plan::Plan::backward_from).
    ///
    /// # Errors
    /// [`Error::Value`] where the program has fewer commands; [`Error::Gpu`] where the device fails.
    pub fn run_commands(&self, commands: Range<usize>) -> Result<()> {
        let all = self.program.commands.len();
        if commands.start > commands.end || commands.end > all {
            return Err(Error::Value {
                operation: "Session::run_commands",
                name: "commands".to_owned(),
                expected: format!("within 0..{all}"),
                got: format!("{commands:?}"),
            });
        }
        let mut recorder = self.device.recorder();
        recorder.run_commands(self, commands, 0);
        recorder.submit()
    }

    pub(crate) async fn run_as(&self, wait: Wait) -> Result<()> {
        let mut recorder = self.device.recorder();
        recorder.run(self, 0);
        recorder.submit_as(wait).await
    }

    /// Runs all commands once, as [`run`](Self::run) does, and waits; what each command took. That is
    /// what [`Plan::timed`](crate::plan::Plan::timed) prints.
    ///
    /// On the CPU each is timed by the clock. On a GPU timestamp queries say when each command ends:
    /// a command's time is that from the end of the one before it, barriers and what lies between
    /// passes included, and the sum is the time of the whole on the device. Each launch is a pass of
    /// its own then, so that the sum is more than what `run` takes. The first run of a session may
    /// compile kernels: run it before.
    ///
    /// ```
    /// use gatefold::Device;
    /// use gatefold::plan::{Plan, Sequences, StackShape};
    ///
    /// let device = Device::cpu();
    /// let plan = Plan::forward(&StackShape::lstm(3, 8), &Sequences::new(5, 2), &device.limits())?;
    /// let session = device.session(&plan.program)?;
    /// session.run()?;
    /// let times = session.run_timed()?;
    /// assert_eq!(times.len(), plan.program.commands.len());
    /// println!("{}", plan.timed(&times));
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails, or was opened without
    /// `wgpu::Features::TIMESTAMP_QUERY`. Devices of this crate's opening have it where their adapter
    /// does.
    pub fn run_timed(&self) -> Result<Vec<Duration>> {
        pollster::block_on(self.device.recorder().run_timed_as(self, Wait::Blocking))
    }

    /// The asynchronous form of [`run_timed`](Self::run_timed): the future polls a GPU of our own, a
    /// caller's GPU is polled by the caller (see [who polls](Device#who-polls)).
    ///
    /// # Errors
    /// As [`run_timed`](Self::run_timed).
    pub async fn run_timed_async(&self) -> Result<Vec<Duration>> {
        self.device.recorder().run_timed_as(self, Wait::Pending).await
    }

    /// Waits until everything that was submitted is done.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails.
    pub fn wait(&self) -> Result<()> {
        self.device.wait()
    }

    /// The asynchronous form of [`wait`](Self::wait): the future polls a GPU of our own, a caller's
    /// GPU is polled by the caller (see [who polls](Device#who-polls)).
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_async(&self) -> Result<()> {
        self.device.wait_async().await
    }

    /// Bytes that its commands take, about: a line each on the host, its constants on the device.
    pub(crate) fn command_bytes(&self) -> u64 {
        const EACH: u64 = 768;
        EACH * self.program.commands.len() as u64
    }

    pub(crate) fn buffer(&self, id: BufferId) -> Buffer {
        match &self.kind {
            #[cfg(feature = "gpu")]
            SessionKind::Gpu(session) => Buffer::Gpu(session.buffer(id).clone()),
            #[cfg(feature = "cpu")]
            SessionKind::Cpu(session) => Buffer::Cpu(session.buffer(id).clone()),
        }
    }

    /// Records some of its commands into a caller's encoder; does nothing on the CPU.
    #[cfg(feature = "gpu")]
    pub(crate) fn encode(&self, encoder: &mut wgpu::CommandEncoder, commands: Range<usize>) {
        match &self.kind {
            SessionKind::Gpu(session) => session.encode(encoder, commands, 0),
            #[cfg(feature = "cpu")]
            SessionKind::Cpu(_) => {}
        }
    }

    /// The slots of a ring, 1 where there is none of that name.
    pub(crate) fn slots(&self, name: &str) -> usize {
        self.program.buffer(name).map_or(1, |id| self.program.spec(id).slots)
    }

    /// The buffer of that name, where the plan has it.
    pub(crate) fn known_if(&self, name: &str) -> Option<Buffer> {
        self.program.buffer(name).map(|id| self.buffer(id))
    }

    /// The buffer that holds what has that name, which the plan is known to have, and where it starts.
    #[cfg(feature = "gpu")]
    pub(crate) fn known_part(&self, name: &str) -> (Buffer, usize) {
        let part = self.part_if(name);
        part.unwrap_or_else(|| panic!("the plan has nothing named `{name}`"))
    }

    /// The same, where the plan has it.
    #[cfg(feature = "gpu")]
    pub(crate) fn part_if(&self, name: &str) -> Option<(Buffer, usize)> {
        self.program.part(name).map(|part| (self.buffer(part.buffer), part.start))
    }

    /// The buffer of that name, which the plan is known to have.
    pub(crate) fn known(&self, name: &str) -> Buffer {
        let id = self.program.buffer(name);
        self.buffer(id.unwrap_or_else(|| panic!("the plan has no buffer `{name}`")))
    }
}
