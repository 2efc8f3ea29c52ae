//! Work for one submission.

use std::time::Duration;

use super::session::SessionKind;
use super::{Buffer, Session, Wait};
use crate::command::BufferId;
#[cfg(feature = "cpu")]
use crate::cpu;
use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu;

/// Collects work for one submission; the CPU does it at once.
pub(crate) enum Recorder {
    #[cfg(feature = "gpu")]
    Gpu(gpu::Recorder),
    /// With the buffers that the next run has in the place of a session's own.
    #[cfg(feature = "cpu")]
    Cpu(Vec<(BufferId, cpu::Buffer)>),
}

impl Recorder {
    /// Runs a session, for the `run`th time where rings count.
    pub(crate) fn run(&mut self, session: &Session, run: usize) {
        self.run_commands(session, 0..session.program.commands.len(), run);
    }

    /// Runs some of a session's commands.
    pub(crate) fn run_commands(
        &mut self,
        session: &Session,
        commands: std::ops::Range<usize>,
        run: usize,
    ) {
        match (self, &session.kind) {
            #[cfg(feature = "gpu")]
            (Recorder::Gpu(recorder), SessionKind::Gpu(session)) => {
                recorder.run_commands(session, commands, run);
            }
            #[cfg(feature = "cpu")]
            (Recorder::Cpu(over), SessionKind::Cpu(session)) => {
                session.run_over(commands, run, &std::mem::take(over));
            }
            #[cfg(all(feature = "cpu", feature = "gpu"))]
            _ => unreachable!("a session of another executor"),
        }
    }

    /// Puts `len` elements where a session reads them, for its next run alone: the CPU reads them where they
    /// are.
    pub(crate) fn input(
        &mut self,
        session: &Session,
        name: &str,
        (from, start): (&Buffer, usize),
        len: usize,
    ) {
        #[cfg(feature = "cpu")]
        if let (Recorder::Cpu(over), Buffer::Cpu(from), 0) = (&mut *self, from, start)
            && let Some(id) = session.program.buffer(name)
        {
            return over.push((id, from.clone()));
        }
        self.copy((from, start), (&session.known(name), 0), len);
    }

    /// Has a session's next run on the CPU leave a result in a buffer in the place of its own.
    pub(crate) fn output(&mut self, id: BufferId, to: &Buffer) {
        match (self, to) {
            #[cfg(feature = "cpu")]
            (Recorder::Cpu(over), Buffer::Cpu(to)) => over.push((id, to.clone())),
            #[cfg(feature = "gpu")]
            _ => unreachable!("{id:?} on a GPU"),
        }
    }

    /// Runs a session, for the first time where rings count, and waits; what each command took.
    pub(super) async fn run_timed_as(
        &mut self,
        session: &Session,
        wait: Wait,
    ) -> Result<Vec<Duration>> {
        match (self, &session.kind, wait) {
            #[cfg(feature = "gpu")]
            (Recorder::Gpu(recorder), SessionKind::Gpu(timed), wait) => {
                let timestamps = recorder.run_timed(timed)?;
                match wait {
                    Wait::Blocking => recorder.submit()?,
                    Wait::Pending => recorder.submit_async().await?,
                }
                let buffer = Buffer::Gpu(timestamps.buffer().clone());
                let words = session.device.read_as(&buffer, 0, buffer.len(), wait).await?;
                Ok(timestamps.durations(&words))
            }
            #[cfg(feature = "cpu")]
            (Recorder::Cpu(_), SessionKind::Cpu(timed), _) => Ok(timed.run_timed()),
            #[cfg(all(feature = "cpu", feature = "gpu"))]
            _ => unreachable!("a session of another executor"),
        }
    }

    /// Copies `len` elements between two different buffers.
    pub(crate) fn copy(&mut self, from: (&Buffer, usize), to: (&Buffer, usize), len: usize) {
        match (self, from.0, to.0) {
            #[cfg(feature = "gpu")]
            (Recorder::Gpu(recorder), Buffer::Gpu(source), Buffer::Gpu(target)) => {
                recorder.copy((source, from.1), (target, to.1), len);
            }
            #[cfg(feature = "cpu")]
            (Recorder::Cpu(_), Buffer::Cpu(source), Buffer::Cpu(target)) => {
                let source = source.read();
                target.write()[to.1..to.1 + len].copy_from_slice(&source[from.1..from.1 + len]);
            }
            #[cfg(all(feature = "cpu", feature = "gpu"))]
            _ => unreachable!("buffers of another executor"),
        }
    }

    /// Sets `len` elements to zero.
    pub(crate) fn zero(&mut self, to: (&Buffer, usize), len: usize) {
        match (self, to.0) {
            #[cfg(feature = "gpu")]
            (Recorder::Gpu(recorder), Buffer::Gpu(target)) => recorder.zero((target, to.1), len),
            #[cfg(feature = "cpu")]
            (Recorder::Cpu(_), Buffer::Cpu(target)) => target.write()[to.1..to.1 + len].fill(0.0),
            #[cfg(all(feature = "cpu", feature = "gpu"))]
            _ => unreachable!("a buffer of another executor"),
        }
    }

    pub(crate) fn submit(&mut self) -> Result<()> {
        match self {
            #[cfg(feature = "gpu")]
            Recorder::Gpu(recorder) => recorder.submit(),
            #[cfg(feature = "cpu")]
            Recorder::Cpu(_) => Ok(()),
        }
    }

    /// Submits, when it is polled first, and waits where too much is before the device.
    pub(crate) async fn submit_as(&mut self, wait: Wait) -> Result<()> {
        match (self, wait) {
            #[cfg(feature = "gpu")]
            (Recorder::Gpu(recorder), Wait::Pending) => recorder.submit_async().await,
            (recorder, _) => recorder.submit(),
        }
    }
}
