//! Gestures of a hand, drawn into the air: made by formulas, so that nobody's data are needed.

use std::f32::consts::TAU;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal, Uniform};

pub const NAMES: [&str; 9] = [
    "circle",
    "circle back",
    "lying eight",
    "standing eight",
    "to and fro",
    "up and down",
    "spiral",
    "zigzag",
    "clover",
];

/// Where the hand is after a share of the gesture, from 0 to 1.
fn place(class: usize, share: f32) -> [f32; 2] {
    let angle = TAU * share;
    match NAMES[class] {
        "circle" => [angle.cos(), angle.sin()],
        "circle back" => [angle.cos(), -angle.sin()],
        "lying eight" => [angle.sin(), (2.0 * angle).sin() / 2.0],
        "standing eight" => [(2.0 * angle).sin() / 2.0, angle.sin()],
        "to and fro" => [angle.cos(), 0.0],
        "up and down" => [0.0, angle.cos()],
        "spiral" => [share * (2.0 * angle).cos(), share * (2.0 * angle).sin()],
        "zigzag" => [2.0 * share - 1.0, (4.0 * share % 2.0 - 1.0).abs() - 0.5],
        _ => [(2.0 * angle).cos() * angle.cos(), (2.0 * angle).cos() * angle.sin()],
    }
}

/// A gesture as a sensor reports it: how far the hand has moved in each timestep, in both directions. Some
/// draw fast, in 15 timesteps, and some slowly, in 60; large or small, tilted, and with a trembling hand.
fn gesture(class: usize, rng: &mut ChaCha8Rng) -> Vec<[f32; 2]> {
    let mut between = |low: f32, high: f32| Uniform::new(low, high).map_or(low, |d| d.sample(rng));
    let (steps, size, tilt) = (between(15.0, 61.0) as usize, between(0.5, 1.5), between(-0.3, 0.3));
    let at = |step: usize| place(class, step as f32 / steps as f32);
    let moved = |step: usize| {
        let ([x0, y0], [x1, y1]) = (at(step), at(step + 1));
        let (dx, dy) = (size * (x1 - x0), size * (y1 - y0));
        let turned = [dx * tilt.cos() - dy * tilt.sin(), dx * tilt.sin() + dy * tilt.cos()];
        turned.map(|v| {
            let noise: f32 = StandardNormal.sample(&mut *rng);
            5.0 * v + 0.3 * noise
        })
    };
    (0..steps).map(moved).collect()
}

/// So many gestures, and which of the nine each is.
pub fn recorded(count: usize, seed: u64) -> (Vec<Vec<[f32; 2]>>, Vec<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let classes: Vec<usize> = (0..count).map(|_| rng.next_u32() as usize % NAMES.len()).collect();
    (classes.iter().map(|&class| gesture(class, &mut rng)).collect(), classes)
}
