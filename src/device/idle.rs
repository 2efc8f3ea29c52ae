//! Memory that nobody uses at the moment, given up where a device has too little.

use std::sync::{Mutex, Weak};

use super::Device;
use crate::error::{Error, Result};

/// Somebody who keeps memory on a device for later.
pub(crate) trait IdleMemory: Send + Sync {
    /// Lets go of what nobody uses; how many bytes that was.
    fn give_up(&self) -> u64;
}

/// All who keep memory on a device.
#[derive(Default)]
pub(super) struct Registry(Mutex<Vec<Weak<dyn IdleMemory>>>);

impl Registry {
    fn add(&self, keeper: Weak<dyn IdleMemory>) {
        let mut known = self.0.lock().unwrap_or_else(|e| e.into_inner());
        known.retain(|keeper| keeper.strong_count() > 0);
        known.push(keeper);
    }

    fn give_up(&self) -> u64 {
        // Whoever lets go may end, and with it what it knows: nothing is locked meanwhile.
        let known = self.0.lock().unwrap_or_else(|e| e.into_inner()).clone();
        known.iter().filter_map(Weak::upgrade).map(|keeper| keeper.give_up()).sum()
    }
}

impl Device {
    /// Has somebody be asked where memory is short.
    pub(crate) fn knows_idle(&self, keeper: Weak<dyn IdleMemory>) {
        self.idle.add(keeper);
    }

    /// Lets go of all memory on the device that nobody uses; whether there was any. What it has just been
    /// used for may still be running, and holds it until it is done.
    pub(super) fn give_up_idle(&self) -> bool {
        self.idle.give_up() > 0
    }

    /// Does what takes memory, once more without what nobody uses where there isn't enough.
    pub(super) fn with_room<T>(&self, take: impl Fn() -> Result<T>) -> Result<T> {
        match take() {
            Err(Error::OutOfMemory { .. }) if self.give_up_idle() => {
                // Where nothing can be waited for, what is done already is free.
                self.wait().ok();
                take()
            }
            taken => taken,
        }
    }
}
