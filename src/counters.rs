//! Counts of what an executor did, for tests and for the curious.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// Bytes that a device's buffers take at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allocated(Arc<AtomicU64>);

impl Allocated {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Counts so many bytes for as long as the value lives.
    pub(crate) fn hold(&self, bytes: u64) -> Held {
        self.0.fetch_add(bytes, Relaxed);
        Held { bytes, allocated: self.clone() }
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
        self.allocated.0.fetch_sub(self.bytes, Relaxed);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
}
