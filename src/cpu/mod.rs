//! The CPU executor: runs a [`Program`] with the kernels' CPU forms.
//!
//! It knows commands and a kernel table, nothing of what they compute. Large products are split
//! over threads by their shape alone, so that results don't depend on how many threads there are.

mod executor;
mod matmul;
pub(crate) mod panel;
pub(crate) mod simd;
pub(crate) mod threads;
mod zeroed;

pub use executor::{Buffer, Session};
pub use matmul::{matmul, pack};
pub use panel::peak_flops;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytemuck::Zeroable;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::command::{KernelTable, Program};
use crate::counters::{Allocated, Counters, Counts};
use crate::error::{Error, Result};
use crate::reference::Real;

/// Elements that start with a line of the cache, as long as the widest vectors: a vector that lies in two
/// lines takes twice the time.
pub(crate) type Aligned<R> = aligned_vec::AVec<R, aligned_vec::ConstAlign<64>>;

/// The CPU as a device.
#[derive(Debug)]
pub struct Cpu {
    /// Those that help the thread that calls; none on one thread.
    helpers: Option<Arc<ThreadPool>>,
    counters: Counters,
    allocated: Allocated,
}

impl Cpu {
    /// All of the processor's threads: the one that calls, and helpers that all such devices share.
    pub fn new() -> Cpu {
        static HELPERS: OnceLock<Option<Arc<ThreadPool>>> = OnceLock::new();
        let all = || std::thread::available_parallelism().map_or(1, |threads| threads.get());
        // Where the system starts none, one thread does the work.
        let helpers = HELPERS.get_or_init(|| helpers(all()).unwrap_or_default()).clone();
        Cpu { helpers, counters: Counters::default(), allocated: Allocated::default() }
    }

    /// So many threads: the one that calls, and helpers of its own.
    ///
    /// # Errors
    /// [`Error::Value`] for zero threads, or where the system starts none.
    pub fn with_threads(threads: usize) -> Result<Cpu> {
        let refused = |got: String| Error::Value {
            operation: "Cpu::with_threads",
            name: "threads".to_owned(),
            expected: "at least 1, and no more than the system starts".to_owned(),
            got,
        };
        if threads == 0 {
            return Err(refused("0".to_owned()));
        }
        let helpers = helpers(threads).map_err(|e| refused(format!("{threads} ({e})")))?;
        Ok(Cpu { helpers, counters: Counters::default(), allocated: Allocated::default() })
    }

    /// How many threads work. A caller that is a thread of a rayon pool works alone: while it waited it
    /// might begin other work of that pool, which may want what this work holds.
    pub fn threads(&self) -> usize {
        1 + self.helpers.as_ref().map_or(0, |pool| pool.current_num_threads())
    }

    /// Fills parts of some elements, which stand one behind the other, side by side.
    pub(crate) fn fill<T: Send>(
        &self,
        elements: &mut [f32],
        parts: Vec<(Range<usize>, T)>,
        each: impl Fn(T, &mut [f32]) + Sync,
    ) {
        let (mut rest, mut at) = (elements, 0);
        let mut items = Vec::with_capacity(parts.len());
        for (part, with) in parts {
            let (_, behind) = rest.split_at_mut(part.start - at);
            let (own, behind) = behind.split_at_mut(part.len());
            (rest, at) = (behind, part.end);
            items.push((with, own));
        }
        let all = items.iter().map(|(_, own)| own.len()).sum::<usize>();
        threads::with_helpers(self.helpers.clone(), || {
            threads::for_all(items, all >= threads::PARALLEL_FROM, |(with, own)| {
                each(with, own);
            });
        });
    }

    /// The vectors that it computes with: `"AVX-512"`, `"AVX2"`, `"NEON"`, or `"no vectors"`. They are the
    /// processor's widest, unless the environment variable `GATEFOLD_VECTORS` is
    /// `avx2` (none, where it has no AVX2) or `scalar`; any other value counts as unset.
    pub fn vectors(&self) -> &'static str {
        simd::name()
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Bytes that its buffers take at the moment.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.bytes()
    }

    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn create_buffer<R: Real + Zeroable>(&self, name: &str, len: usize) -> Result<Buffer<R>> {
        self.counters.buffers.add(1);
        let size = len.saturating_mul(size_of::<R>());
        let adapter = "the CPU";
        let operation = format!("creating buffer `{name}` of {size} bytes");
        let held = self.allocated.hold(adapter, &operation, size as u64)?;
        Buffer::zeros(len, held)
            .ok_or_else(|| Error::OutOfMemory { adapter: adapter.to_owned(), operation })
    }

    /// Bytes that its buffers may take, `None` where nobody has said.
    pub fn memory_budget(&self) -> Option<u64> {
        Some(self.allocated.budget()).filter(|&bytes| bytes < u64::MAX)
    }

    /// Bytes that its buffers may take from now on, `None` for as many as there are; what it has already
    /// stays. A buffer beyond is [`Error::OutOfMemory`].
    pub fn set_memory_budget(&self, bytes: Option<u64>) {
        self.allocated.set_budget(bytes.unwrap_or(u64::MAX));
    }

    /// Makes a program ready to run. `caller` gives the buffers of [`Owner::Caller`](crate::command::Owner::Caller).
    ///
    /// # Errors
    /// As [`Program::check`], and [`Error::Value`] where a buffer is missing or too small.
    pub fn session(
        self: &Arc<Self>,
        table: Arc<KernelTable>,
        program: Arc<Program>,
        caller: &[(crate::command::BufferId, Buffer)],
    ) -> Result<Session> {
        Session::new(self.clone(), table, program, caller)
    }

    /// Does the work with all threads.
    fn with_threads_of<T>(&self, work: impl FnOnce() -> T) -> T {
        threads::with_helpers(self.helpers.clone(), work)
    }
}

/// What helps a thread to be so many.
fn helpers(threads: usize) -> std::result::Result<Option<Arc<ThreadPool>>, ThreadPoolBuildError> {
    if threads == 1 {
        return Ok(None);
    }
    let named = ThreadPoolBuilder::new().thread_name(|i| format!("gatefold {}", i + 1));
    Ok(Some(Arc::new(named.num_threads(threads - 1).build()?)))
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}
