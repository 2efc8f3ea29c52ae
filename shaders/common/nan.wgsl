// NaN, which WGSL has no constant for, and whose bits a constant expression may not give either.

// A NaN, made of any bits that are known at run time only.
fn nan_of(bits: u32) -> f32 {
    return bitcast<f32>(bits | 0x7fc00000u);
}
