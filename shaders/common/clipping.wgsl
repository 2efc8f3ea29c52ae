// The bound on single gradients. Needs finite.wgsl and status.wgsl.

// A scaled gradient within the bound. NaN passes it, and infinity where there is none.
fn clipped(scaled: f32, bound: f32) -> f32 {
    let free = bound >= UNBOUNDED || is_nan(scaled);
    return select(clamp(scaled, -bound, bound), scaled, free);
}
