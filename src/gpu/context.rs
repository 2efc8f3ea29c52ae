//! The device, how it is chosen, and the guard around every call that it may refuse.

use std::any::Any;
use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, OnceLock};

use super::executor::{Buffer, Submission};
use super::pipeline::Pipelines;
use super::readback::Staging;
use crate::command::{Executor, Limits};
use crate::counters::{Allocated, Counters, Counts, Held};
use crate::error::{Error, Result};

/// What polling a device comes to.
type Polled = std::result::Result<wgpu::PollStatus, wgpu::PollError>;

/// An adapter that wgpu reaches on this machine.
#[derive(Clone, Debug)]
pub struct Adapter {
    inner: wgpu::Adapter,
    info: wgpu::AdapterInfo,
}

impl Adapter {
    /// Every adapter, the most capable kind first.
    pub fn all() -> Vec<Adapter> {
        // Set by hand: the defaults of a debug build validate every call at a high price.
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        descriptor.flags = wgpu::InstanceFlags::empty().with_env();
        let instance = wgpu::Instance::new(descriptor);
        let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
        let mut adapters: Vec<Adapter> =
            found.into_iter().map(|inner| Adapter { info: inner.get_info(), inner }).collect();
        adapters.sort_by_key(|adapter| match adapter.info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        });
        adapters
    }

    /// The adapter as wgpu knows it.
    pub fn as_wgpu(&self) -> &wgpu::Adapter {
        &self.inner
    }

    /// The name that the driver gives, such as `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Whether the adapter is a driver that computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Opens the device with the limits that the adapter offers, and with timestamps where it has
    /// them.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the driver refuses.
    pub fn open(&self) -> Result<Gpu> {
        let timestamps = self.inner.features() & wgpu::Features::TIMESTAMP_QUERY;
        let wanted = Gpu::wanted(&self.inner);
        self.open_with(wanted.required_limits, wanted.required_features | timestamps)
    }

    /// Opens the device with the limits that every WebGPU device has, and no optional feature.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the driver refuses.
    pub fn open_with_defaults(&self) -> Result<Gpu> {
        self.open_with(wgpu::Limits::default(), wgpu::Features::empty())
    }

    fn open_with(
        &self,
        required_limits: wgpu::Limits,
        required_features: wgpu::Features,
    ) -> Result<Gpu> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("gatefold"),
            required_features,
            required_limits,
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(self.inner.request_device(&descriptor)).map_err(|e| Error::Gpu {
                operation: "opening the device".to_owned(),
                adapter: self.info.name.clone(),
                message: e.to_string(),
            })?;
        let gpu = Gpu { polls: true, ..Gpu::from_wgpu(device, queue)? };
        let lost = gpu.lost.clone();
        gpu.device.set_device_lost_callback(move |reason, message| {
            let destroyed = reason == wgpu::DeviceLostReason::Destroyed;
            let _ = lost.set(if destroyed { "it was destroyed".to_owned() } else { message });
        });
        Ok(gpu)
    }
}

/// A wgpu device and what is kept for it: pipelines, a staging buffer, counters.
#[derive(Debug)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) info: wgpu::AdapterInfo,
    pub(super) limits: Limits,
    pub(super) uniform_alignment: usize,
    pub(super) polls: bool,
    pub(super) checked: bool,
    pub(super) pipelines: Mutex<Pipelines>,
    pub(super) staging: Mutex<Option<Staging>>,
    pub(super) counters: Counters,
    pub(super) allocated: Allocated,
    pub(super) in_flight: Mutex<VecDeque<Submission>>,
    /// Why the device is lost, once that is known.
    lost: Arc<OnceLock<String>>,
    /// Hashes of callers' buffers that are known to be this device's.
    pub(super) seen: Mutex<HashSet<u64>>,
}

impl Gpu {
    /// The best hardware GPU of the machine; a driver that computes in software is never chosen.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where there is none, [`Error::Gpu`] where the driver refuses.
    pub fn new() -> Result<Gpu> {
        let adapters = Adapter::all();
        match adapters.iter().find(|adapter| !adapter.is_software()) {
            Some(adapter) => adapter.open(),
            None => Err(Error::NoDevice {
                wanted: "gpu".to_owned(),
                adapters: adapters.iter().map(|adapter| adapter.name().to_owned()).collect(),
            }),
        }
    }

    /// What to ask an adapter for, for a device that [`from_wgpu`](Self::from_wgpu) will use: its
    /// limits, so that large models are cut less often, and subgroup operations where it has them. A
    /// caller adds what its own work needs. A device with wgpu's default limits and no optional
    /// feature runs everything as well, in more pieces and slower.
    ///
    /// ```no_run
    /// use gatefold::{gpu::Gpu, wgpu};
    /// # async fn open(adapter: wgpu::Adapter) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut wanted = Gpu::wanted(&adapter);
    /// wanted.required_features |= wgpu::Features::TIMESTAMP_QUERY; // the caller's own wish
    /// let (device, queue) = adapter.request_device(&wanted).await?;
    /// let gpu = Gpu::from_wgpu(device.clone(), queue.clone())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wanted(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
        wgpu::DeviceDescriptor {
            label: Some("gatefold"),
            required_features: adapter.features() & wgpu::Features::SUBGROUP,
            required_limits: adapter.limits(),
            ..Default::default()
        }
    }

    /// Uses the caller's device. Asynchronous calls leave polling to the caller, and blocking ones
    /// poll it themselves; none of the device's callbacks is replaced.
    ///
    /// A driver that computes on a CPU is asked, once in a process, whether it stops long loops, as llvmpipe
    /// of older Mesa does without a word: a launch that is waited for.
    ///
    /// # Errors
    /// [`Error::Limit`] where kernels need more than the device has (see
    /// [`check_limits`](Self::check_limits)).
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Result<Gpu> {
        let info = device.adapter_info();
        let offered = device.limits();
        Gpu::check_limits(&offered)?;
        let elements = |bytes: u64| usize::try_from(bytes / 4).unwrap_or(usize::MAX);
        let subgroups = device.features().contains(wgpu::Features::SUBGROUP);
        let limits = Limits {
            executor: Executor::Gpu,
            tier: None,
            software: info.device_type == wgpu::DeviceType::Cpu,
            subgroup: subgroups.then_some(info.subgroup_min_size),
            max_invocations: offered.max_compute_invocations_per_workgroup,
            workgroup_memory: offered.max_compute_workgroup_storage_size,
            max_binding: elements(offered.max_storage_buffer_binding_size),
            // Offsets inside a binding are u32 in the shaders.
            max_buffer: elements(offered.max_buffer_size).min(u32::MAX as usize),
            alignment: (offered.min_storage_buffer_offset_alignment as usize / 4).max(64),
            max_workgroups: offered.max_compute_workgroups_per_dimension,
            loop_budget: None,
        };
        let uniform_alignment = (offered.min_uniform_buffer_offset_alignment as usize).max(16);
        let mut gpu = Gpu {
            device,
            queue,
            info,
            limits,
            uniform_alignment,
            polls: false,
            checked: false,
            pipelines: Mutex::default(),
            staging: Mutex::default(),
            counters: Counters::default(),
            allocated: Allocated::default(),
            in_flight: Mutex::default(),
            lost: Arc::default(),
            seen: Mutex::default(),
        };
        gpu.limits.loop_budget = gpu.ask_for_loops();
        Ok(gpu)
    }

    /// The same with all of wgpu's checks in its kernels: an access out of bounds, which would be a
    /// defect of this crate, then does no harm. Slower.
    pub fn checked(self) -> Gpu {
        Gpu { checked: true, ..self }
    }

    /// The adapter's name and driver, in one line.
    pub fn name(&self) -> String {
        let info = &self.info;
        let driver = format!("{} {}", info.driver, info.driver_info);
        format!("{} ({:?}, {})", info.name, info.backend, driver.trim())
    }

    /// The device as wgpu knows it.
    pub fn wgpu_device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue as wgpu knows it.
    pub fn wgpu_queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// What plans for this device keep to.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Bytes that its buffers take at the moment: those of constants as well, and the one that reads go
    /// through. Where that one has up to 16 MiB, it is kept for the next read.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.bytes()
    }

    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`Error::Limit`] beyond the device's largest buffer, [`Error::OutOfMemory`].
    pub fn create_buffer(&self, name: &str, len: usize) -> Result<Buffer> {
        if len > self.limits.max_buffer {
            return Err(Error::Limit {
                operation: "Gpu::create_buffer",
                what: name.to_owned(),
                needed: len as u64,
                limit: "largest buffer (f32 elements)",
                available: self.limits.max_buffer as u64,
            });
        }
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let (inner, held) = self.allocate(name, 4 * len as u64, usage)?;
        Ok(Buffer { inner, len, _held: Arc::new(held) })
    }

    /// The one place where device memory is allocated. It counts as long as what comes with the buffer
    /// is held.
    pub(super) fn allocate(
        &self,
        name: &str,
        size: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<(wgpu::Buffer, Held)> {
        self.counters.buffers.add(1);
        let descriptor =
            wgpu::BufferDescriptor { label: Some(name), size, usage, mapped_at_creation: false };
        let operation = format!("creating buffer `{name}` of {size} bytes");
        let create = || {
            let held = self.allocated.hold(&self.info.name, &operation, size)?;
            let buffer = self.guarded(&operation, || self.device.create_buffer(&descriptor))?;
            Ok((buffer, held))
        };
        match create() {
            // What is kept for the next read goes first.
            Err(Error::OutOfMemory { .. }) if self.kept_staging().is_some() => create(),
            created => created,
        }
    }

    /// Bytes that its buffers may take, `None` where nobody has said.
    pub fn memory_budget(&self) -> Option<u64> {
        Some(self.allocated.budget()).filter(|&bytes| bytes < u64::MAX)
    }

    /// Bytes that its buffers may take from now on, `None` for as many as there are; what it has already
    /// stays. A buffer beyond is [`Error::OutOfMemory`]. What [`allocated_bytes`](Self::allocated_bytes)
    /// counts counts here: a read wants room for a copy of what it reads, of 64 KiB at least. A copy's buffer
    /// that is kept for the next read is given up before anything is refused.
    pub fn set_memory_budget(&self, bytes: Option<u64>) {
        self.allocated.set_budget(bytes.unwrap_or(u64::MAX));
    }

    /// Runs calls of the API and turns what it reports into an error.
    pub(super) fn guarded<T>(&self, operation: &str, calls: impl FnOnce() -> T) -> Result<T> {
        if self.lost.get().is_some() {
            self.expect_alive(operation)?;
        }
        let (value, reported) = self.watched(operation, calls);
        reported?;
        // What a lost device refuses, it refuses without an error.
        self.expect_alive(operation)?;
        Ok(value)
    }

    /// Runs calls of the API; what they give, and what it reports. A device that is lost may report nothing:
    /// for calls that come to something in another one only, which is guarded.
    pub(super) fn watched<T>(&self, operation: &str, calls: impl FnOnce() -> T) -> (T, Result<()>) {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = calls();
        let refused = pollster::block_on(validation.pop());
        let failed = pollster::block_on(internal.pop());
        let exhausted = pollster::block_on(memory.pop());
        let reported = match refused.or(failed).or(exhausted) {
            None => Ok(()),
            Some(wgpu::Error::OutOfMemory { .. }) => {
                self.expect_alive(operation).and(Err(Error::OutOfMemory {
                    adapter: self.info.name.clone(),
                    operation: operation.to_owned(),
                }))
            }
            Some(error) => Err(self.error(operation, &error)),
        };
        (value, reported)
    }

    /// What a call has failed with: that the device is lost, where it is.
    pub(super) fn error(&self, operation: &str, error: &dyn std::fmt::Display) -> Error {
        self.expect_alive(operation).err().unwrap_or_else(|| Error::Gpu {
            operation: operation.to_owned(),
            adapter: self.info.name.clone(),
            message: error.to_string(),
        })
    }

    /// Whether the device is lost: destroyed, unplugged, or given up by its driver. It stays so, and
    /// every call that needs it fails with [`Error::DeviceLost`].
    pub fn is_lost(&self) -> bool {
        if self.lost.get().is_some() {
            return true;
        }
        // Of its loss wgpu tells one callback, which may be the caller's, and errors of a lost device
        // it keeps to itself: so one that no living device keeps to itself tells.
        let refused = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        drop(self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4,
            usage: wgpu::BufferUsages::empty(),
            mapped_at_creation: false,
        }));
        if pollster::block_on(refused.pop()).is_some() {
            return false;
        }
        if self.polls {
            // Our own callback knows more, and wgpu calls it when the device is polled.
            let _ = self.poll_once(wgpu::PollType::Poll);
        }
        self.lost.get_or_init(|| "it takes no more work".to_owned());
        true
    }

    /// [`Error::DeviceLost`] where it is.
    pub(crate) fn expect_alive(&self, operation: &str) -> Result<()> {
        if !self.is_lost() {
            return Ok(());
        }
        Err(Error::DeviceLost {
            operation: operation.to_owned(),
            adapter: self.info.name.clone(),
            reason: self.lost.get().cloned().unwrap_or_default(),
        })
    }

    /// Polls the device; `Err` holds the panic of one that is found lost meanwhile, or of a callback.
    pub(super) fn poll_once(
        &self,
        poll: wgpu::PollType,
    ) -> std::result::Result<Polled, Box<dyn Any + Send>> {
        // wgpu panics after its own work, with none of its locks held.
        catch_unwind(AssertUnwindSafe(|| self.device.poll(poll)))
    }

    /// Waits for the device.
    pub(super) fn poll(&self, wait: wgpu::PollType) -> Result<()> {
        let operation = "waiting for the device";
        if self.lost.get().is_some() {
            return self.expect_alive(operation);
        }
        match self.poll_once(wait) {
            Ok(Ok(_)) => self.expect_alive(operation),
            Ok(Err(error)) => Err(self.error(operation, &error)),
            Err(panic) => {
                self.expect_alive(operation)?;
                // A callback's of the caller.
                resume_unwind(panic)
            }
        }
    }
}
