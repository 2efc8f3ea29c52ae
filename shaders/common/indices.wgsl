// Tokens and classes: whole numbers in f32, which is exact below 2^24.

// The whole number of 0..count that `value` is, or `count` where it is none: negative, too large,
// with something behind the point, infinite or NaN. Found by its bits, since WGSL lets a compiler
// assume that NaN doesn't occur, and converts what u32 lacks as it likes.
fn index_in(value: f32, count: u32) -> u32 {
    let given = bitcast<u32>(value);
    let bits = select(given, 0u, given == 0x80000000u);  // -0.0
    // From 2^31 on; infinities, NaN and what is negative have larger bits still.
    if bits >= 0x4f000000u {
        return count;
    }
    let index = u32(value);
    return select(count, index, bitcast<u32>(f32(index)) == bits && index < count);
}
