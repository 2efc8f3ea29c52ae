//! Seeded inputs.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// The sizes at which tiles, subgroups and quads end or overflow.
pub const SIZES: [usize; 12] = [1, 2, 3, 5, 7, 31, 33, 50, 63, 65, 127, 129];

/// What results are written over: a kernel that reads it, or leaves it, shows.
pub const POISON: f32 = 1e30;

/// Normal numbers with standard deviation `std`.
pub fn normal(len: usize, std: f32, seed: u64) -> Vec<f32> {
    let rng = ChaCha8Rng::seed_from_u64(seed);
    let draws = StandardNormal.sample_iter(rng).take(len);
    draws.map(|z: f32| std * z).collect()
}

/// What an activation of `normal` gives: `sigmoid`, or `tanh` for every third of four.
pub fn gates(len: usize, seed: u64) -> Vec<f32> {
    let activate =
        |(i, z): (usize, f32)| if i % 4 == 2 { z.tanh() } else { 1.0 / (1.0 + (-z).exp()) };
    normal(len, 2.0, seed).into_iter().enumerate().map(activate).collect()
}

/// Small seeded choices, the same everywhere.
pub struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    /// In `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u32() as usize) % n
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 1
    }
}
