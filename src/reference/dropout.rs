//! Twin of `dropout`, and the generator that it draws from.

use super::Real;

/// Philox 4x32-10, a counter-based generator: the same counter and key give the same four words
/// everywhere (Salmon, Moraes, Dror and Shaw, 2011, *Parallel random numbers: as easy as 1, 2, 3*).
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let product = |a: u32, b: u32| {
        let wide = u64::from(a) * u64::from(b);
        ((wide >> 32) as u32, wide as u32)
    };
    for _ in 0..10 {
        let (high_0, low_0) = product(0xD251_1F53, counter[0]);
        let (high_1, low_1) = product(0xCD9E_8D57, counter[2]);
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// Which elements an application of dropout drops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// An element is dropped where its word is below: the probability times 2^32.
    pub threshold: u32,
    /// What the others are multiplied by: `1 / (1 - probability)`.
    pub scale: f32,
}

impl Dropout {
    /// With a probability in `[0, 1)`.
    pub fn new(probability: f64) -> Dropout {
        let threshold = (probability * 4_294_967_296.0) as u32;
        Dropout { threshold, scale: (1.0 / (1.0 - probability)) as f32 }
    }

    /// The key of an optimizer step: from the seed by the generator itself, so that all 64 bits
    /// of both count.
    pub fn key(seed: u64, step: u64) -> [u32; 2] {
        Dropout::key_of_part(seed, step, 0)
    }

    /// The same for one of several parts of a step, from 0: each draws for itself.
    pub fn key_of_part(seed: u64, step: u64, part: u64) -> [u32; 2] {
        let words = |v: u64| [v as u32, (v >> 32) as u32];
        let ([low, high], [part_low, part_high]) = (words(step), words(part));
        let [a, b, _, _] = philox([low, high, part_low, part_high], words(seed));
        [a, b]
    }

    /// Such a key as four numbers of 16 bits, low halves first: what a buffer of f32 carries
    /// exactly.
    pub fn halves(key: [u32; 2]) -> [f32; 4] {
        let half = |v: u32| f32::from(v as u16);
        [half(key[0]), half(key[0] >> 16), half(key[1]), half(key[1] >> 16)]
    }
}

/// Drops elements of `x [T, B, K]` in place, as `torch.nn.Dropout` does in training. Element
/// `(t, b, k)` goes by word `k % 4` of `philox((k / 4, b, t, layer), key)`, with `at` added to the
/// counter: by its place in the model and not in a buffer, so that every device drops the same.
pub fn dropout<R: Real>(
    drop: Dropout,
    key: [u32; 2],
    at: [u32; 4],
    (steps, batch, width): (usize, usize, usize),
    x: &mut [R],
) {
    for (row, x) in x.chunks_exact_mut(width).take(steps * batch).enumerate() {
        let (t, b) = ((row / batch) as u32, (row % batch) as u32);
        for (block, x) in x.chunks_mut(4).enumerate() {
            let counter = [block as u32, b, t, 0];
            let counter = [0, 1, 2, 3].map(|i| counter[i].wrapping_add(at[i]));
            for (x, word) in x.iter_mut().zip(philox(counter, key)) {
                *x = if word < drop.threshold { R::zero() } else { *x * R::of(drop.scale) };
            }
        }
    }
}
