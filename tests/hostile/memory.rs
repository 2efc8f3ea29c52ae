//! How much memory a call holds, and what it does where there is no more.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what each thread allocates.
pub struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// What `NOW` may come to.
    static MOST: Cell<isize> = const { Cell::new(isize::MAX) };
}

/// Bytes that are always there: what doesn't go by a file's size.
const SMALL: usize = 1 << 17;

fn is_refused(bytes: usize) -> bool {
    let held = NOW.try_with(Cell::get).unwrap_or(0);
    let most = MOST.try_with(Cell::get).unwrap_or(isize::MAX);
    bytes > SMALL && held.saturating_add_unsigned(bytes) > most
}

fn count(bytes: isize) {
    // A thread that ends frees what it had after its counters are gone.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator as it is, or has failed.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_refused(size) {
            return std::ptr::null_mut();
        }
        // Both are there where it moves.
        count(size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What a call returns, and the bytes that it held at most.
pub fn peak<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = call();
    (result, (PEAK.get() - before) as usize)
}

/// What a call returns where this thread has only so many bytes for it.
pub fn within<T>(bytes: isize, call: impl FnOnce() -> T) -> T {
    MOST.set(NOW.get() + bytes);
    let result = call();
    MOST.set(isize::MAX);
    result
}
