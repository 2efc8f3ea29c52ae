// What the optimizers share. For kernels that bind `settings`, `groups` and `status`; needs
// clipping.wgsl, groups.wgsl and status.wgsl.

// Whether elements with the settings at `row` change in this step.
fn is_updated(row: u32) -> bool {
    return status[params.status_start + STATUS_APPLY] != 0.0 && settings[row + ACTIVE] != 0.0;
}

// The gradient as an update takes it: scaled, clipped, with the penalty on the parameter.
fn gradient_of(row: u32, raw: f32, parameter: f32) -> f32 {
    let scaled = status[params.status_start + STATUS_SCALE] * raw;
    return clipped(scaled, settings[row + CLIP_VALUE]) + settings[row + WEIGHT_DECAY] * parameter;
}
