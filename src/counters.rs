//! Counts of what an executor did, for tests and for the curious.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Error, Result};

/// What an executor has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Buffers created.
    pub buffers: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Kernels launched.
    pub dispatches: u64,
    /// Submissions to the device's queue.
    pub submits: u64,
    /// Waits for results of the device.
    pub readbacks: u64,
}

macro_rules! counters {
    ($($field:ident),*) => {
        /// The counters behind [`Counts`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $field: Counter,)* }

        impl Counters {
            pub(crate) fn counts(&self) -> Counts {
                Counts { $($field: self.$field.0.load(Relaxed),)* }
            }
        }

        impl std::ops::Sub for Counts {
            type Output = Counts;

            fn sub(self, earlier: Counts) -> Counts {
                Counts { $($field: self.$field - earlier.$field,)* }
            }
        }
    };
}
counters!(buffers, pipelines, bind_groups, dispatches, submits, readbacks);

/// Bytes that a device's buffers take at the moment, and how many they may take.
#[derive(Clone, Debug)]
pub(crate) struct Allocated(Arc<Bytes>);

#[derive(Debug)]
struct Bytes {
    held: AtomicU64,
    budget: AtomicU64,
}

impl Default for Allocated {
    fn default() -> Self {
        Allocated(Arc::new(Bytes { held: AtomicU64::new(0), budget: AtomicU64::new(u64::MAX) }))
    }
}

impl Allocated {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.held.load(Relaxed)
    }

    /// How many there may be; `u64::MAX` where nobody has set a budget.
    pub(crate) fn budget(&self) -> u64 {
        self.0.budget.load(Relaxed)
    }

    pub(crate) fn set_budget(&self, bytes: u64) {
        self.0.budget.store(bytes, Relaxed);
    }

    /// Counts so many bytes for as long as the value lives, where the budget has them.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where it doesn't.
    pub(crate) fn hold(&self, adapter: &str, operation: &str, bytes: u64) -> Result<Held> {
        let budget = self.budget();
        let fits = |held: u64| held.checked_add(bytes).filter(|&sum| sum <= budget);
        match self.0.held.fetch_update(Relaxed, Relaxed, fits) {
            Ok(_) => Ok(Held { bytes, allocated: self.clone() }),
            Err(held) => Err(Error::OutOfMemory {
                adapter: adapter.to_owned(),
                operation: format!("{operation} with {held} of its budget of {budget} taken"),
            }),
        }
    }
}

/// Bytes of one buffer.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: u64,
    allocated: Allocated,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.allocated.0.held.fetch_sub(self.bytes, Relaxed);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
}
