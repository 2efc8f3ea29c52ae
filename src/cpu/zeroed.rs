//! Memory of a buffer.

use std::ops::{Deref, DerefMut};

use bytemuck::Zeroable;
use bytemuck::allocation::try_zeroed_slice_box;

/// Bytes of a line of the cache, and of the widest vector.
const LINE: usize = 64;

/// Zeros that begin with a line of the cache. The system gives memory of zeros, page by page once it is used: nobody
/// else writes them, and threads that fill a buffer share that work.
#[derive(Debug)]
pub(super) struct Zeroed<R> {
    all: Box<[R]>,
    start: usize,
    len: usize,
}

impl<R: Zeroable> Zeroed<R> {
    /// `None` where there is no memory for so many.
    pub(super) fn new(len: usize) -> Option<Zeroed<R>> {
        let line = LINE / size_of::<R>();
        let all = try_zeroed_slice_box::<R>(len.checked_add(line)?).ok()?;
        // At most a line less an element.
        let start = all.as_ptr().align_offset(LINE).min(line);
        Some(Zeroed { all, start, len })
    }
}

impl<R> Deref for Zeroed<R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.all[self.start..self.start + self.len]
    }
}

impl<R> DerefMut for Zeroed<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.all[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE, Zeroed};

    #[test]
    fn lines_begin_it() {
        for len in [0, 1, 15, 16, 17, 1 << 20] {
            let zeros = Zeroed::<f32>::new(len).unwrap();
            assert_eq!(zeros.len(), len);
            assert_eq!(zeros.as_ptr().addr() % LINE, 0);
            assert!(zeros.iter().all(|zero| *zero == 0.0));
        }
        assert!(Zeroed::<f32>::new(usize::MAX / 8).is_none());
    }
}
