//! Where a model lives: one of wgpu's adapters, or the CPU.

mod buffer;
mod idle;
mod recorder;
mod session;

pub(crate) use buffer::Buffer;
pub(crate) use idle::IdleMemory;
pub(crate) use recorder::Recorder;
pub use session::Session;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::command::{KernelTable, Limits, Program, Tier};
use crate::counters::Counts;
#[cfg(feature = "cpu")]
use crate::cpu::Cpu;
use crate::error::{Error, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{self, Adapter, Gpu};
use crate::kernels;
use session::SessionKind;

#[cfg(not(any(feature = "cpu", feature = "gpu")))]
compile_error!("gatefold needs the feature `cpu`, the feature `gpu`, or both");

/// Elements that [`Device::fill`] writes to a GPU at a time, where one part hasn't more: so many at most are written
/// at once, before or after whatever else is.
pub(crate) const FILLED: usize = 1 << 20;

/// A vector with room for so many parameters, where there is memory for it.
pub(crate) fn room(len: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory {
        adapter: "the host".to_owned(),
        operation: format!("gathering {len} parameters"),
    })?;
    Ok(values)
}

/// The environment variable that chooses a device.
pub const DEVICE_VARIABLE: &str = "GATEFOLD_DEVICE";

/// The environment variable that chooses how loops over time are cut.
pub const TIER_VARIABLE: &str = "GATEFOLD_TIER";

/// A device that models run on; its clones are the same device.
///
/// # Who polls
///
/// A GPU's work is seen to be done by polling the device. A blocking call polls it, whoever's it
/// is. The future of a call whose name ends in `_async` polls a GPU that this crate opened itself,
/// without blocking, whenever it is polled, and asks to be polled again. A GPU that a caller made
/// ([`Gpu::from_wgpu`](crate::gpu::Gpu::from_wgpu)) is polled by the caller: until then such a
/// future is pending, and polling the device wakes its task. No thread is started for a GPU.
///
/// The CPU does the work when the future is polled, and the future is never pending.
///
/// A future does nothing before it is polled. It may be dropped at any time: what was submitted is
/// done all the same, and what it used can be used again.
#[derive(Clone)]
pub struct Device {
    kind: Kind,
    table: Arc<KernelTable>,
    tier: Option<Tier>,
    idle: Arc<idle::Registry>,
}

#[derive(Clone)]
enum Kind {
    #[cfg(feature = "gpu")]
    Gpu(Arc<Gpu>),
    #[cfg(feature = "cpu")]
    Cpu(Arc<Cpu>),
}

/// How a call waits for the device. The CPU has nothing to wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// The thread sleeps. Futures of such calls are driven by `pollster::block_on`.
    Blocking,
    /// The future is pending.
    Pending,
}

/// Runs an expression on whichever executor there is.
macro_rules! on {
    ($kind:expr, $inner:pat => $value:expr) => {
        match $kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu($inner) => $value,
            #[cfg(feature = "cpu")]
            Kind::Cpu($inner) => $value,
        }
    };
}

impl Device {
    /// The device that `GATEFOLD_DEVICE` names (see [`Device::named`]); without it, the best
    /// hardware GPU, else the CPU. `GATEFOLD_TIER` says how it cuts loops over time (see
    /// [`Device::with_tier`]): `sequence`, `step`, `wavefront` or `fused`.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where no device answers to the name; [`Error::Gpu`] where the driver
    /// refuses; [`Error::Value`] for another tier.
    pub fn from_env() -> Result<Device> {
        let device = match std::env::var(DEVICE_VARIABLE) {
            Ok(name) if !name.trim().is_empty() => Device::named(name.trim()),
            Err(std::env::VarError::NotUnicode(name)) => Err(no_device(&name.to_string_lossy())),
            _ => Device::best(),
        }?;
        match std::env::var(TIER_VARIABLE) {
            Ok(tier) if !tier.trim().is_empty() => Ok(device.with_tier(tier.trim().parse()?)),
            _ => Ok(device),
        }
    }

    /// The best hardware GPU, else the CPU. A driver that computes in software is never chosen.
    ///
    /// # Errors
    /// As [`Device::from_env`].
    pub fn best() -> Result<Device> {
        #[cfg(feature = "gpu")]
        if let Some(adapter) = Adapter::all().iter().find(|a| !a.is_software()) {
            return Ok(Device::from_gpu(adapter.open()?));
        }
        #[cfg(feature = "cpu")]
        return Ok(Device::cpu());
        #[cfg(not(feature = "cpu"))]
        Err(no_device("gpu"))
    }

    /// `cpu`; `gpu`, the best hardware GPU; or the first adapter whose name contains `name`,
    /// whatever the case, such as `llvmpipe`.
    ///
    /// # Errors
    /// As [`Device::from_env`].
    pub fn named(name: &str) -> Result<Device> {
        let wanted = name.to_lowercase();
        #[cfg(feature = "cpu")]
        if wanted == "cpu" {
            return Ok(Device::cpu());
        }
        #[cfg(feature = "gpu")]
        for adapter in Adapter::all() {
            let matches = match wanted.as_str() {
                "gpu" => !adapter.is_software(),
                part => adapter.name().to_lowercase().contains(part),
            };
            if matches {
                return Ok(Device::from_gpu(adapter.open()?));
            }
        }
        let _ = wanted;
        Err(no_device(name))
    }

    /// The CPU, with all its threads.
    #[cfg(feature = "cpu")]
    pub fn cpu() -> Device {
        Device::from_cpu(Cpu::new())
    }

    /// A CPU executor with settings of its own.
    #[cfg(feature = "cpu")]
    pub fn from_cpu(cpu: Cpu) -> Device {
        Device::of(Kind::Cpu(Arc::new(cpu)))
    }

    /// A GPU that was opened by hand.
    #[cfg(feature = "gpu")]
    pub fn from_gpu(gpu: Gpu) -> Device {
        Device::of(Kind::Gpu(Arc::new(gpu)))
    }

    fn of(kind: Kind) -> Device {
        Device { kind, table: Arc::new(kernels::table()), tier: None, idle: Arc::default() }
    }

    /// The GPU behind the device, where it is one.
    #[cfg(feature = "gpu")]
    pub fn as_gpu(&self) -> Option<&Arc<Gpu>> {
        match &self.kind {
            Kind::Gpu(gpu) => Some(gpu),
            #[cfg(feature = "cpu")]
            Kind::Cpu(_) => None,
        }
    }

    /// The same device with other kernels, to try one or to break one.
    pub fn with_table(self, table: KernelTable) -> Device {
        Device { table: Arc::new(table), ..self }
    }

    /// The same device with loops over time cut in one way, whether or not it is the fastest. A model
    /// for which it can't be is refused.
    ///
    /// ```
    /// use gatefold::plan::Tier;
    /// use gatefold::{Device, Lstm, LstmConfig, Tensor};
    ///
    /// let device = Device::cpu().with_tier(Tier::Sequence);
    /// let x = Tensor::zeros(&device, &[5, 2, 3])?;
    /// Lstm::new(&device, LstmConfig::new(3, 8))?.forward(&x, None)?;
    /// // A projection joins the units at every timestep.
    /// let projected = Lstm::new(&device, LstmConfig::new(3, 8).proj_size(4))?;
    /// assert!(projected.forward(&x, None).is_err());
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    pub fn with_tier(self, tier: Tier) -> Device {
        Device { tier: Some(tier), ..self }
    }

    /// The kernels that it runs.
    pub fn table(&self) -> &KernelTable {
        &self.table
    }

    /// What plans for this device keep to.
    pub fn limits(&self) -> Limits {
        let limits = match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => gpu.limits(),
            #[cfg(feature = "cpu")]
            Kind::Cpu(_) => Limits::CPU,
        };
        Limits { tier: self.tier.or(limits.tier), ..limits }
    }

    /// What the device has done so far.
    pub fn counts(&self) -> Counts {
        on!(&self.kind, device => device.counts())
    }

    /// Bytes that buffers on the device take at the moment, those of this crate alone. On a GPU one that
    /// reads go through is among them, kept for the next read where it has no more than 16 MiB.
    pub fn allocated_bytes(&self) -> u64 {
        on!(&self.kind, device => device.allocated_bytes())
    }

    /// Bytes that buffers on the device may take, `None` where nobody has said.
    pub fn memory_budget(&self) -> Option<u64> {
        on!(&self.kind, device => device.memory_budget())
    }

    /// Bytes that buffers on the device may take from now on, those of this crate alone: for a device
    /// that others use as well. `None` is as many as there are. It holds for all clones. What they have
    /// already stays, but for what models keep for their next calls: that is given up where it is in the
    /// way. A call that would take more fails with [`Error::OutOfMemory`] and gives back what it has taken. On a GPU, reading wants room for a copy of what is read, of 64 KiB at least.
    ///
    /// ```
    /// use gatefold::{Device, Error, Forecaster, LstmConfig};
    ///
    /// let device = Device::cpu();
    /// device.set_memory_budget(Some(1 << 20));
    /// let large = Forecaster::new(&device, LstmConfig::new(16, 512), 1);
    /// assert!(matches!(large, Err(Error::OutOfMemory { .. })));
    /// Forecaster::new(&device, LstmConfig::new(16, 128), 1)?;
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    pub fn set_memory_budget(&self, bytes: Option<u64>) {
        on!(&self.kind, device => device.set_memory_budget(bytes))
    }

    /// Whether it is a GPU that is lost: destroyed, unplugged, or given up by its driver. It stays so;
    /// every call that needs it fails with [`Error::DeviceLost`], and what was on it is gone. Models go
    /// on from their files on another device.
    pub fn is_lost(&self) -> bool {
        match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => gpu.is_lost(),
            #[cfg(feature = "cpu")]
            Kind::Cpu(_) => false,
        }
    }

    /// Waits until everything that was submitted is done.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::Gpu`] where the device fails.
    pub fn wait(&self) -> Result<()> {
        match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => gpu.wait(),
            #[cfg(feature = "cpu")]
            Kind::Cpu(_) => Ok(()),
        }
    }

    /// The asynchronous form of [`wait`](Self::wait): the future polls a GPU of our own, a caller's
    /// GPU is polled by the caller (see [who polls](Device#who-polls)).
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_async(&self) -> Result<()> {
        match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => gpu.wait_async().await,
            #[cfg(feature = "cpu")]
            Kind::Cpu(_) => Ok(()),
        }
    }

    /// Pending while so many submissions are before a GPU that one more would wait. Calls that read
    /// nothing back, such as [`Lstm::step`](crate::Lstm::step), wait for nothing else: a program
    /// that mustn't block awaits this before them. The future polls a GPU of our own, a caller's
    /// GPU is polled by the caller (see [who polls](Device#who-polls)).
    pub async fn room_async(&self) {
        match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => gpu.room_async().await,
            #[cfg(feature = "cpu")]
            Kind::Cpu(_) => {}
        }
    }

    /// Whether it is the CPU, which has no submissions and no memory of its own.
    pub(crate) fn is_cpu(&self) -> bool {
        match self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(_) => false,
            #[cfg(feature = "cpu")]
            Kind::Cpu(_) => true,
        }
    }

    /// Whether both are the same device.
    pub fn is(&self, other: &Device) -> bool {
        match (&self.kind, &other.kind) {
            #[cfg(feature = "gpu")]
            (Kind::Gpu(a), Kind::Gpu(b)) => Arc::ptr_eq(a, b),
            #[cfg(feature = "cpu")]
            (Kind::Cpu(a), Kind::Cpu(b)) => Arc::ptr_eq(a, b),
            #[cfg(all(feature = "cpu", feature = "gpu"))]
            _ => false,
        }
    }

    /// A buffer of `len` zeros.
    pub(crate) fn create_buffer(&self, name: &str, len: usize) -> Result<Buffer> {
        self.with_room(|| match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => Ok(Buffer::Gpu(gpu.create_buffer(name, len)?)),
            #[cfg(feature = "cpu")]
            Kind::Cpu(cpu) => Ok(Buffer::Cpu(cpu.create_buffer(name, len)?)),
        })
    }

    pub(crate) fn write(&self, buffer: &Buffer, start: usize, values: &[f32]) -> Result<()> {
        match (&self.kind, buffer) {
            #[cfg(feature = "gpu")]
            (Kind::Gpu(gpu), Buffer::Gpu(buffer)) => gpu.write(buffer, start, values),
            #[cfg(feature = "cpu")]
            (Kind::Cpu(_), Buffer::Cpu(buffer)) => {
                buffer.write()[start..start + values.len()].copy_from_slice(values);
                Ok(())
            }
            #[cfg(all(feature = "cpu", feature = "gpu"))]
            _ => unreachable!("a buffer of another executor"),
        }
    }

    /// Fills parts of a buffer, which stand one behind the other: `each` gets what comes with a part, and its
    /// elements, where padding is 0. On the CPU parts are filled side by side where they are, on a GPU in memory of the
    /// host, so much of it as the longest part has.
    pub(crate) fn fill<T: Send>(
        &self,
        buffer: &Buffer,
        parts: Vec<(Range<usize>, T)>,
        each: impl Fn(T, &mut [f32]) + Sync,
    ) -> Result<()> {
        match (&self.kind, buffer) {
            #[cfg(feature = "gpu")]
            (Kind::Gpu(gpu), Buffer::Gpu(buffer)) => {
                // All the memory that it takes: nothing is written where that isn't there.
                let longest = parts.iter().map(|(part, _)| part.len()).max().unwrap_or(0);
                let most = longest.max(FILLED.min(parts.last().map_or(0, |(part, _)| part.end)));
                let (mut values, mut start) = (room(most)?, 0);
                for (part, with) in parts {
                    // Between the last one and this there are zeros.
                    let mut at = part.start - start;
                    if at + part.len() > most {
                        gpu.write(buffer, start, &values)?;
                        values.clear();
                        (start, at) = (part.start, 0);
                    }
                    values.resize(at + part.len(), 0.0);
                    each(with, &mut values[at..]);
                }
                gpu.write(buffer, start, &values)
            }
            #[cfg(feature = "cpu")]
            (Kind::Cpu(cpu), Buffer::Cpu(buffer)) => {
                cpu.fill(&mut buffer.write(), parts, each);
                Ok(())
            }
            #[cfg(all(feature = "cpu", feature = "gpu"))]
            _ => unreachable!("a buffer of another executor"),
        }
    }

    pub(crate) fn read(&self, buffer: &Buffer, start: usize, len: usize) -> Result<Vec<f32>> {
        match (&self.kind, buffer) {
            #[cfg(feature = "gpu")]
            (Kind::Gpu(gpu), Buffer::Gpu(buffer)) => {
                self.with_room(|| gpu.read(buffer, start, len))
            }
            #[cfg(feature = "cpu")]
            (Kind::Cpu(_), Buffer::Cpu(buffer)) => Ok(buffer.read()[start..start + len].to_vec()),
            #[cfg(all(feature = "cpu", feature = "gpu"))]
            _ => unreachable!("a buffer of another executor"),
        }
    }

    pub(crate) async fn read_async(
        &self,
        buffer: &Buffer,
        start: usize,
        len: usize,
    ) -> Result<Vec<f32>> {
        #[cfg(feature = "gpu")]
        #[allow(irrefutable_let_patterns, reason = "refutable with the feature `cpu`")]
        if let (Kind::Gpu(gpu), Buffer::Gpu(buffer)) = (&self.kind, buffer) {
            return match gpu.read_async(buffer, start, len).await {
                Err(Error::OutOfMemory { .. }) if self.give_up_idle() => {
                    gpu.wait_async().await?;
                    gpu.read_async(buffer, start, len).await
                }
                read => read,
            };
        }
        self.read(buffer, start, len)
    }

    pub(crate) async fn read_as(
        &self,
        buffer: &Buffer,
        start: usize,
        len: usize,
        wait: Wait,
    ) -> Result<Vec<f32>> {
        match wait {
            Wait::Blocking => self.read(buffer, start, len),
            Wait::Pending => self.read_async(buffer, start, len).await,
        }
    }

    /// Makes a program ready to run; `caller` gives the buffers that belong to the caller, and may
    /// give those of the workspace.
    pub(crate) fn bind(
        &self,
        program: &Arc<Program>,
        caller: &[(&str, &Buffer)],
    ) -> Result<Session> {
        let ids = caller
            .iter()
            .filter_map(|(name, buffer)| program.buffer(name).map(|id| (id, (*buffer).clone())));
        let kind = match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => {
                let caller: Vec<_> =
                    ids.filter_map(|(id, b)| b.into_gpu().map(|b| (id, b))).collect();
                let new = || gpu::Session::new(gpu, &self.table, program.clone(), &caller);
                SessionKind::Gpu(self.with_room(new)?)
            }
            #[cfg(feature = "cpu")]
            Kind::Cpu(cpu) => {
                let caller: Vec<_> =
                    ids.filter_map(|(id, b)| b.into_cpu().map(|b| (id, b))).collect();
                let new = || cpu.session(self.table.clone(), program.clone(), &caller);
                SessionKind::Cpu(self.with_room(new)?)
            }
        };
        Ok(Session { device: self.clone(), program: program.clone(), kind })
    }

    /// A program with all its buffers, the caller's included, to write, run and read by name.
    ///
    /// # Errors
    /// As [`Program::check`]; [`Error::OutOfMemory`]; [`Error::Gpu`] where the driver refuses.
    pub fn session(&self, program: &Arc<Program>) -> Result<Session> {
        let mut owned = Vec::new();
        for spec in program.buffers.iter().filter(|b| b.owner == crate::command::Owner::Caller) {
            owned
                .push((spec.name.as_str(), self.create_buffer(&spec.name, spec.len * spec.slots)?));
        }
        let caller: Vec<_> = owned.iter().map(|(name, buffer)| (*name, buffer)).collect();
        self.bind(program, &caller)
    }

    pub(crate) fn recorder(&self) -> Recorder {
        match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => Recorder::Gpu(gpu::Recorder::new(gpu)),
            #[cfg(feature = "cpu")]
            Kind::Cpu(_) => Recorder::Cpu(Vec::new()),
        }
    }
}

/// One line that says what it is.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => write!(f, "GPU: {}", gpu.name()),
            #[cfg(feature = "cpu")]
            Kind::Cpu(cpu) => {
                write!(f, "CPU ({} threads, {})", cpu.threads(), cpu.vectors())
            }
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({self})")
    }
}

fn no_device(wanted: &str) -> Error {
    #[cfg(feature = "gpu")]
    let adapters = Adapter::all().iter().map(|a| a.name().to_owned()).collect();
    #[cfg(not(feature = "gpu"))]
    let adapters = Vec::new();
    Error::NoDevice { wanted: wanted.to_owned(), adapters }
}
