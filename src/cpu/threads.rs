//! When work is split over threads.
//!
//! Splits depend on shapes alone; whether the parts run side by side doesn't change them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::ThreadPool;

use super::Aligned;

/// Multiply-adds below which waking a thread costs more than it wins.
pub(crate) const PARALLEL_FROM: usize = 1 << 20;

/// What a thread spins for at most, before it sleeps until others have ended: to be woken takes as long.
const SPIN: Duration = Duration::from_micros(200);

thread_local! {
    /// Who helps the current thread with a program. It works as well: a caller that waits inside a pool would
    /// leave its core idle until it is woken.
    static HELPERS: std::cell::Cell<Option<Arc<ThreadPool>>> = const { std::cell::Cell::new(None) };
}

/// Puts back who helped before.
struct Former(Option<Arc<ThreadPool>>);

impl Drop for Former {
    fn drop(&mut self) {
        HELPERS.set(self.0.take());
    }
}

/// Does some work with helpers; without them in a thread of any pool, which steals other work of its pool while
/// it waits, and that may want a lock that this work holds.
pub(super) fn with_helpers<T>(helpers: Option<Arc<ThreadPool>>, work: impl FnOnce() -> T) -> T {
    let alone = rayon::current_thread_index().is_some();
    let _former = Former(HELPERS.replace(helpers.filter(|_| !alone)));
    work()
}

/// Whether so much work is worth a second thread. Without helpers it never is: a session has them when its
/// program has enough to do.
pub(crate) fn worth(work: usize) -> bool {
    if work < PARALLEL_FROM {
        return false;
    }
    let helpers = HELPERS.take();
    let there = helpers.is_some();
    HELPERS.set(helpers);
    there
}

/// Calls `each` for every `size` elements, side by side where that is worth it.
pub(crate) fn for_chunks(
    elements: &mut [f32],
    size: usize,
    side_by_side: bool,
    each: impl Fn(usize, &mut [f32]) + Sync,
) {
    if side_by_side {
        for_all(elements.chunks_mut(size).enumerate().collect(), true, |(i, chunk)| each(i, chunk));
    } else {
        elements.chunks_mut(size).enumerate().for_each(|(i, chunk)| each(i, chunk));
    }
}

/// Calls `each` for every item, side by side where that is worth it.
pub(crate) fn for_all<T: Send>(items: Vec<T>, side_by_side: bool, each: impl Fn(T) + Sync) {
    for_all_from(items, false, side_by_side, each);
}

/// The same, where each thread begins with the last item of its share or with the first.
pub(crate) fn for_all_from<T: Send>(
    items: Vec<T>,
    back: bool,
    side_by_side: bool,
    each: impl Fn(T) + Sync,
) {
    if !side_by_side || items.len() < 2 {
        return items.into_iter().for_each(each);
    }
    // Parts of a part are one thread's.
    let former = Former(HELPERS.take());
    let Some(pool) = &former.0 else { return items.into_iter().for_each(each) };
    let helpers = pool.current_num_threads().min(items.len() - 1);
    let left = AtomicUsize::new(items.len());
    let shares = Mutex::new(shares(items, helpers + 1));
    let work = |who: usize| {
        let next = || next(&mut shares.lock().unwrap_or_else(PoisonError::into_inner), who, back);
        while let Some(item) = next() {
            each(item);
            left.fetch_sub(1, Ordering::Release);
        }
    };
    // A scope that waits blocks this thread; the others have rarely much left when it comes to that.
    let (work, left) = (&work, &left);
    pool.in_place_scope(|scope| {
        (1..=helpers).for_each(|who| scope.spawn(move |_| work(who)));
        work(0);
        spin(left);
    });
}

/// Neighbours go to the same thread: two threads that write side by side take lines of the cache from each
/// other, because a core fetches what stands near what it uses. It took 20 % of a walk.
fn shares<T>(items: Vec<T>, threads: usize) -> Vec<VecDeque<T>> {
    let (all, mut items) = (items.len(), items.into_iter());
    let end = |who: usize| (who + 1) * all / threads;
    let share = |who: usize| items.by_ref().take(end(who) - who * all / threads).collect();
    (0..threads).map(share).collect()
}

/// The next item of a thread's own share, else one of the largest's other end.
fn next<T>(shares: &mut [VecDeque<T>], who: usize, back: bool) -> Option<T> {
    let pop =
        |share: &mut VecDeque<T>, back| if back { share.pop_back() } else { share.pop_front() };
    let own = pop(&mut shares[who], back);
    own.or_else(|| pop(shares.iter_mut().max_by_key(|share| share.len())?, !back))
}

/// Waits a while for nothing to be left.
fn spin(left: &AtomicUsize) {
    let start = Instant::now();
    while left.load(Ordering::Acquire) > 0 && start.elapsed() < SPIN {
        std::hint::spin_loop();
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
