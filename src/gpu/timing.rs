//! How long each command takes, from timestamp queries.

use std::sync::Arc;
use std::time::Duration;

use super::{Buffer, Gpu, Recorder, Session};
use crate::error::Result;

/// Timestamps in a query set: the most that it may hold.
const IN_SET: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// Numbers of a buffer, of 4 bytes each, that a timestamp takes.
const WORDS: usize = wgpu::QUERY_SIZE as usize / 4;

/// The timestamps of a run, on the device: one before the first command and one after each.
pub(crate) struct Timestamps {
    resolved: Buffer,
    /// Nanoseconds of a tick.
    period: f64,
}

impl Timestamps {
    /// What to read to have them.
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.resolved
    }

    /// What each command took: from the end of the one before it to its own. So the barriers before
    /// a command count as its own, and the sum is the time of the whole.
    pub(crate) fn durations(&self, words: &[f32]) -> Vec<Duration> {
        let tick = |w: &[f32]| u64::from(w[0].to_bits()) | u64::from(w[1].to_bits()) << 32;
        let mut ticks = words.chunks_exact(WORDS).map(tick);
        let mut before = ticks.next().unwrap_or(0);
        let command = |end: u64| {
            // A query that was left out is no end: the next command's time has it.
            let taken = end.saturating_sub(before);
            before = before.max(end);
            Duration::from_nanos((taken as f64 * self.period).round() as u64)
        };
        ticks.map(command).collect()
    }
}

impl Gpu {
    fn query_sets(&self, queries: u32) -> Vec<wgpu::QuerySet> {
        let set = |first: u32| {
            self.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: IN_SET.min(queries - first),
            })
        };
        (0..queries).step_by(IN_SET as usize).map(set).collect()
    }
}

impl Recorder {
    /// Records a run of a session, its first where rings count, with a timestamp after each command.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device has no timestamps;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(crate) fn run_timed(&mut self, session: &Session) -> Result<Timestamps> {
        let gpu: Arc<Gpu> = self.gpu().clone();
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            let missing = "the device was opened without `wgpu::Features::TIMESTAMP_QUERY`";
            return Err(gpu.error("timing commands", &missing));
        }
        let commands = session.commands();
        let queries = commands as u32 + 1;
        let sets = gpu.guarded("creating timestamps", || gpu.query_sets(queries))?;
        let len = WORDS * queries as usize;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let (inner, held) = gpu.allocate("timestamps", 4 * len as u64, usage)?;
        let resolved = Buffer { inner, len, _held: Arc::new(held) };

        let after = |query: u32| wgpu::ComputePassTimestampWrites {
            query_set: &sets[(query / IN_SET) as usize],
            beginning_of_pass_write_index: None,
            end_of_pass_write_index: Some(query % IN_SET),
        };
        let encoder = self.encoder();
        // A pass without a launch: copies lie between two passes, and a pass's end is what every
        // device can give the time of.
        let stamp = |encoder: &mut wgpu::CommandEncoder, query: u32| {
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(after(query)),
            });
        };
        stamp(encoder, 0);
        for (index, query) in (0..commands).zip(1..) {
            if session.is_launch(index) {
                session.encode_timed(encoder, index..index + 1, 0, Some(after(query)));
            } else {
                session.encode(encoder, index..index + 1, 0);
                stamp(encoder, query);
            }
        }
        for (set, first) in sets.iter().zip((0..queries).step_by(IN_SET as usize)) {
            let count = IN_SET.min(queries - first);
            let offset = u64::from(first) * u64::from(wgpu::QUERY_SIZE);
            encoder.resolve_query_set(set, 0..count, &resolved.inner, offset);
        }
        let launches = (0..commands).filter(|&index| session.is_launch(index)).count();
        gpu.counters.dispatches.add(launches as u64);
        Ok(Timestamps { resolved, period: gpu.queue.get_timestamp_period().into() })
    }
}
