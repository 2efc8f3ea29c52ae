//! Which sequences go into which batch.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Batches of positions, epoch by epoch, in order or shuffled from a seed.
///
/// ```
/// use gatefold::data::Batches;
/// let mut batches = Batches::new(5, 2);
/// assert_eq!(batches.epoch().collect::<Vec<_>>(), [&[0, 1][..], &[2, 3], &[4]]);
///
/// let mut shuffled = Batches::new(5, 2).shuffle(7);
/// let mut all: Vec<usize> = shuffled.epoch().flatten().copied().collect();
/// all.sort_unstable();
/// assert_eq!(all, [0, 1, 2, 3, 4]);
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    order: Vec<usize>,
    size: usize,
    shuffler: Option<ChaCha8Rng>,
}

impl Batches {
    /// Batches of `size` out of `len`, in order; the last of an epoch may have fewer. A size of
    /// zero counts as one.
    pub fn new(len: usize, size: usize) -> Batches {
        Batches { order: (0..len).collect(), size: size.max(1), shuffler: None }
    }

    /// A new order in every epoch, drawn from this seed.
    pub fn shuffle(self, seed: u64) -> Batches {
        Batches { shuffler: Some(ChaCha8Rng::seed_from_u64(seed)), ..self }
    }

    /// The batches of the next epoch.
    pub fn epoch(&mut self) -> std::slice::Chunks<'_, usize> {
        self.reshuffle();
        self.current()
    }

    /// The batches of the epoch that [`epoch`](Self::epoch) has begun, from the first on.
    pub fn current(&self) -> std::slice::Chunks<'_, usize> {
        self.order.chunks(self.size)
    }

    /// How many batches an epoch has.
    pub fn per_epoch(&self) -> usize {
        self.order.len().div_ceil(self.size)
    }

    pub(crate) fn reshuffle(&mut self) {
        if let Some(rng) = &mut self.shuffler {
            self.order.shuffle(rng);
        }
    }

    /// The order of the epoch, and how far the generator has got, where there is one.
    pub(crate) fn place(&self) -> (&[usize], Option<u128>) {
        (&self.order, self.shuffler.as_ref().map(ChaCha8Rng::get_word_pos))
    }

    /// Goes where [`place`](Self::place) was; `false` where that can't be a place of these batches.
    pub(crate) fn go_to(&mut self, order: Vec<usize>, position: Option<u128>) -> bool {
        let mut seen = vec![false; self.order.len()];
        let once = |&row: &usize| row < seen.len() && !std::mem::replace(&mut seen[row], true);
        let whole = order.len() == self.order.len() && order.iter().all(once);
        match (&mut self.shuffler, position) {
            (Some(rng), Some(position)) if whole => rng.set_word_pos(position),
            (None, None) if whole => {}
            _ => return false,
        }
        self.order = order;
        true
    }
}
