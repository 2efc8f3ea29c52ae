// Rows of a padded batch. Lengths are whole numbers in f32, which is exact below 2^24; what stands
// behind the point doesn't count, and less than none is none.

// Whether a row of `length` timesteps has ended before timestep `t`.
fn has_ended(length: f32, t: u32) -> bool {
    return trunc(length) <= f32(t);
}

// How many of `total` timesteps a row of `length` has.
fn timesteps_of(length: f32, total: u32) -> u32 {
    return min(u32(clamp(length, 0.0, 16777216.0)), total);
}
