// Philox 4x32-10, a counter-based generator (Salmon, Moraes, Dror and Shaw, 2011, "Parallel random
// numbers: as easy as 1, 2, 3").

// The 64-bit product of two words, low word first, from 16-bit halves: WGSL has no wider integer.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let middle_a = (a >> 16u) * (b & 0xffffu);
    let middle_b = (a & 0xffffu) * (b >> 16u);
    // Three numbers below 2^16: no overflow.
    let middle = (low >> 16u) + (middle_a & 0xffffu) + (middle_b & 0xffffu);
    let high = (a >> 16u) * (b >> 16u) + (middle_a >> 16u) + (middle_b >> 16u) + (middle >> 16u);
    return vec2(a * b, high);
}

fn philox(start: vec4<u32>, start_key: vec2<u32>) -> vec4<u32> {
    var counter = start;
    var key = start_key;
    for (var round = 0u; round < 10u; round++) {
        let a = wide_product(0xD2511F53u, counter.x);
        let b = wide_product(0xCD9E8D57u, counter.z);
        counter = vec4(b.y ^ counter.y ^ key.x, b.x, a.y ^ counter.w ^ key.y, a.x);
        key += vec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}

// A key from its two words as 16-bit halves, low ones first, each a whole number.
fn key_of(halves: vec4<f32>) -> vec2<u32> {
    let words = vec4<u32>(halves);
    return vec2(words.x | (words.y << 16u), words.z | (words.w << 16u));
}

// What is added to the place of a layer's direction in the counter, of what a cell draws at every timestep and of
// what it draws once a sequence: far from the places of other dropout.
const OF_STEP: u32 = 0x80000000u;
const OF_SEQUENCE: u32 = 0xC0000000u;
