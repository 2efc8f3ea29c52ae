//! The CPU executor: runs a [`Program`] with the kernels' CPU forms.
//!
//! It knows commands and a kernel table, nothing of what they compute. Large products are split
//! over threads by their shape alone, so that results don't depend on how many threads there are.

mod executor;
mod matmul;
pub(crate) mod panel;
pub(crate) mod simd;
pub(crate) mod threads;

pub use executor::{Buffer, Session};
pub use matmul::{matmul, pack};
pub use panel::peak_flops;

use std::sync::Arc;

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
    pool: Option<Arc<rayon::ThreadPool>>,
    counters: Counters,
    allocated: Allocated,
}

impl Cpu {
    /// All of the processor's threads.
    pub fn new() -> Cpu {
        Cpu { pool: None, counters: Counters::default(), allocated: Allocated::default() }
    }

    /// So many threads of its own.
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
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|e| refused(format!("{threads} ({e})")))?;
        Ok(Cpu { pool: Some(Arc::new(pool)), ..Cpu::new() })
    }

    /// How many threads work.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or_else(rayon::current_num_threads, |p| p.current_num_threads())
    }

    /// The vectors that it computes with: `"AVX-512"`, `"AVX2"`, `"NEON"`, or `"no vectors"`. They are the
    /// processor's widest, unless the environment variable `GATEFOLD_VECTORS` is `avx2` or `scalar`.
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
    pub fn create_buffer<R: Real>(&self, name: &str, len: usize) -> Result<Buffer<R>> {
        self.counters.buffers.add(1);
        Buffer::zeros(len, &self.allocated).ok_or_else(|| Error::OutOfMemory {
            adapter: "the CPU".to_owned(),
            operation: format!(
                "creating buffer `{name}` of {} bytes",
                len.saturating_mul(size_of::<R>())
            ),
        })
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
        let helpers = self.threads() - 1;
        threads::with_team(threads::Team { pool: self.pool.clone(), helpers }, work)
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}
