// Numbers in their order, in whole numbers: max may swallow a NaN, and a compiler may assume that there is
// none.

const RANK_OF_INFINITY = 0xff800000u;

// The place of a number among all, never 0: -inf first, both zeros alike, +inf, and after them NaN.
fn rank(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let size = bits & 0x7fffffffu;
    let place = select(0x80000000u + size, 0x80000000u - size, bits > 0x80000000u);
    return select(place, 0xffffffffu, size > 0x7f800000u);
}
