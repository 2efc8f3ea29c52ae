//! When work is split over threads.
//!
//! Splits depend on shapes alone; whether the parts run side by side doesn't change them.

use rayon::prelude::*;

use super::Aligned;

/// Multiply-adds below which waking a thread costs more than it wins.
const PARALLEL_FROM: usize = 1 << 20;

/// Whether so much work is worth a second thread. Outside a pool it never is: a session enters the pool
/// when its program has enough to do.
pub(crate) fn worth(work: usize) -> bool {
    work >= PARALLEL_FROM && rayon::current_thread_index().is_some()
}

/// Calls `each` for every `size` elements, side by side where that is worth it.
pub(crate) fn for_chunks(
    elements: &mut [f32],
    size: usize,
    side_by_side: bool,
    each: impl Fn(usize, &mut [f32]) + Sync,
) {
    if side_by_side {
        elements.par_chunks_mut(size).enumerate().for_each(|(i, chunk)| each(i, chunk));
    } else {
        elements.chunks_mut(size).enumerate().for_each(|(i, chunk)| each(i, chunk));
    }
}

/// Calls `each` for every item, side by side where that is worth it.
pub(crate) fn for_all<T: Send>(items: Vec<T>, side_by_side: bool, each: impl Fn(T) + Send + Sync) {
    if side_by_side {
        items.into_par_iter().for_each(each);
    } else {
        items.into_iter().for_each(each);
    }
}

thread_local! {
    static SCRATCH: std::cell::Cell<Option<Aligned<f32>>> = const { std::cell::Cell::new(None) };
}

/// At least `len` elements that this thread keeps for the next call; what they hold doesn't count. Code
/// with vectors takes and gives, since a closure would not have their instructions.
pub(crate) fn take_scratch(len: usize) -> Aligned<f32> {
    let mut scratch = SCRATCH.take().unwrap_or_else(|| Aligned::new(0));
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    scratch
}

/// Keeps elements for the next call.
pub(crate) fn give_scratch(scratch: Aligned<f32>) {
    SCRATCH.set(Some(scratch));
}

/// Calls `with` with `len` elements of this thread's.
pub(crate) fn with_scratch<T>(len: usize, with: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut scratch = take_scratch(len);
    let result = with(&mut scratch[..len]);
    give_scratch(scratch);
    result
}
