// What the optimizers share. For kernels that bind `settings`, `groups` and `status`; needs
// finite.wgsl, groups.wgsl and status.wgsl.

// Whether elements with the settings at `row` change in this step.
fn is_updated(row: u32) -> bool {
    return status[params.status_start + STATUS_APPLY] != 0.0 && settings[row + ACTIVE] != 0.0;
}

// The gradient as an update takes it: scaled, clipped, with the penalty on the parameter. NaN
// passes the bound, and infinity where there is none.
fn gradient_of(row: u32, raw: f32, parameter: f32) -> f32 {
    let scaled = status[params.status_start + STATUS_SCALE] * raw;
    let bound = settings[row + CLIP_VALUE];
    let free = bound >= UNBOUNDED || is_nan(scaled);
    let clipped = select(clamp(scaled, -bound, bound), scaled, free);
    return clipped + settings[row + WEIGHT_DECAY] * parameter;
}
