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
        if let Some(rng) = &mut self.shuffler {
            self.order.shuffle(rng);
        }
        self.order.chunks(self.size)
    }

    /// How many batches an epoch has.
    pub fn per_epoch(&self) -> usize {
        self.order.len().div_ceil(self.size)
    }
}
