//! Values between the host and the device.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};
use futures_intrusive::sync::ManualResetEvent;

use super::{Buffer, Gpu};
use crate::counters::Held;
use crate::error::Result;

/// Bytes of a new staging buffer, at least.
const STAGING: u64 = 64 << 10;

/// Bytes of the largest staging buffer that is kept for the next read.
const KEPT_STAGING: u64 = 16 << 20;

/// What a read goes through on its way to the host.
#[derive(Debug)]
pub(super) struct Staging {
    inner: wgpu::Buffer,
    /// It counts while it is kept, too.
    _held: Held,
}

type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

impl Gpu {
    /// Writes `values` from element `start` on, before all commands that are submitted later.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), [`Error::Gpu`](crate::Error::Gpu).
    ///
    /// # Panics
    /// Where the buffer has fewer elements: the callers of this crate have checked.
    pub fn write(&self, buffer: &Buffer, start: usize, values: &[f32]) -> Result<()> {
        assert!(start + values.len() <= buffer.len, "write outside a buffer");
        self.guarded("writing to the device", || {
            self.queue.write_buffer(&buffer.inner, 4 * start as u64, bytemuck::cast_slice(values));
        })
    }

    /// Waits for everything that was submitted and reads `len` elements from `start` on.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn read(&self, buffer: &Buffer, start: usize, len: usize) -> Result<Vec<f32>> {
        let (staging, receiver) = self.start_read(buffer, start, len)?;
        self.wait()?;
        let received = pollster::block_on(receiver.receive());
        self.finish_read(staging, len, received)
    }

    /// Waits until everything that was submitted is done.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn wait(&self) -> Result<()> {
        self.poll(wgpu::PollType::wait_indefinitely())
    }

    /// The asynchronous form of [`wait`](Self::wait).
    ///
    /// On a device of our own ([`Adapter::open`](super::Adapter::open)) the future polls the device
    /// itself, without blocking, whenever it is polled. A caller's device
    /// ([`from_wgpu`](Self::from_wgpu)) is polled by the caller: until then the future is pending,
    /// and it wakes its task afterwards. No thread is started either way.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_async(&self) -> Result<()> {
        let done = self.when_done();
        self.polling(done.wait()).await
    }

    /// Set once what was submitted so far is done and somebody polls the device.
    pub(super) fn when_done(&self) -> Arc<ManualResetEvent> {
        let done = Arc::new(ManualResetEvent::new(false));
        let set = done.clone();
        self.queue.on_submitted_work_done(move || set.set());
        done
    }

    /// Waits for something that polling the device brings about, as long as there is a device.
    pub(super) async fn polling<F: Future>(&self, future: F) -> Result<F::Output> {
        Polling { gpu: self, future: pin!(future) }.await
    }

    /// The asynchronous form of [`read`](Self::read); who polls the device is said at
    /// [`wait_async`](Self::wait_async). A future that is dropped gives up its staging buffer.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_async(
        self: &Arc<Self>,
        buffer: &Buffer,
        start: usize,
        len: usize,
    ) -> Result<Vec<f32>> {
        let (staging, receiver) = self.start_read(buffer, start, len)?;
        let received = self.polling(receiver.receive()).await?;
        self.finish_read(staging, len, received)
    }

    /// The staging buffer that was kept for the next read: it is the caller's now.
    pub(super) fn kept_staging(&self) -> Option<Staging> {
        self.staging.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    fn start_read(
        &self,
        buffer: &Buffer,
        start: usize,
        len: usize,
    ) -> Result<(Staging, OneshotReceiver<Mapped>)> {
        assert!(start + len <= buffer.len, "read outside a buffer");
        let size = 4 * len as u64;
        let staging = match self.kept_staging().filter(|kept| kept.inner.size() >= size) {
            Some(staging) => staging,
            None => {
                let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
                let (inner, held) = self.allocate("staging", size.max(STAGING), usage)?;
                Staging { inner, _held: held }
            }
        };
        self.counters.submits.add(1);
        self.counters.readbacks.add(1);
        let (sender, receiver) = oneshot_channel();
        // Whoever waits for it is told that the device is lost.
        let ((), reported) = self.watched("reading back", || {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let from = 4 * start as u64;
            encoder.copy_buffer_to_buffer(&buffer.inner, from, &staging.inner, 0, Some(size));
            self.queue.submit([encoder.finish()]);
            staging.inner.map_async(wgpu::MapMode::Read, ..size, move |result| {
                // Nobody listens where the future was dropped.
                let _ = sender.send(result);
            });
        });
        reported.map(|()| (staging, receiver))
    }

    fn finish_read(
        &self,
        staging: Staging,
        len: usize,
        received: Option<Mapped>,
    ) -> Result<Vec<f32>> {
        match received {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(self.error("reading back", &error)),
            None => return Err(self.error("reading back", &"the device went away")),
        }
        let mut values = vec![0.0f32; len];
        // Both complain where the device has been destroyed since.
        let (copied, reported) = self.watched("reading back", || {
            let view = staging.inner.get_mapped_range(..4 * len as u64)?;
            bytemuck::cast_slice_mut(&mut values).copy_from_slice(&view);
            drop(view);
            staging.inner.unmap();
            Ok(())
        });
        reported?;
        copied.map_err(|e: wgpu::MapRangeError| self.error("reading back", &e))?;
        if staging.inner.size() <= KEPT_STAGING {
            *self.staging.lock().unwrap_or_else(|e| e.into_inner()) = Some(staging);
        }
        Ok(values)
    }
}

/// Polls the device, without blocking, whenever its future is polled.
struct Polling<'a, F> {
    gpu: &'a Gpu,
    future: Pin<&'a mut F>,
}

impl<F: Future> Future for Polling<'_, F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let gpu = self.gpu;
        if gpu.polls {
            gpu.poll(wgpu::PollType::Poll)?;
        }
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(gpu.expect_alive("waiting for the device").map(|()| output));
        }
        // Nothing that is lost comes back: the future would be pending for ever.
        gpu.expect_alive("waiting for the device")?;
        if gpu.polls {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
