// Rows of a padded batch. Lengths are whole numbers in f32, which is exact below 2^24.

// Whether a row of `length` timesteps has ended before timestep `t`.
fn has_ended(length: f32, t: u32) -> bool {
    return length <= f32(t);
}
