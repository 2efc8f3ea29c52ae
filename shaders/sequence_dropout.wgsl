// sequence_dropout: drops features of [T, B, K], the same ones at all timesteps of a row (Gal and Ghahramani,
// 2016), and scales the others.
//
//   word        = philox((k, b, 0, 2^31 + 2^30 + place), key)[word]
//   x[to][t][b][k] = word < threshold ? 0 : x[from][t][b][k] * scale
//
// | binding | name   | shape                                        | access     | may alias |
// |---------|--------|----------------------------------------------|------------|-----------|
// | 0       | params | Params                                       | uniform    |           |
// | 1       | key    | [4], the key's two words as 16-bit halves,   | read       | nothing   |
// |         |        | low ones first, each a whole number          |            |           |
// | 2       | x      | [T, B, K] at two places, or at one           | read_write | nothing   |
//
// Grid: ceil(B K / 256) over x and y, an invocation a feature of all timesteps. Twin:
// reference::sequence_dropout.

struct Params {
    steps: u32,
    batch: u32,
    width: u32,
    place: u32,
    word: u32,
    threshold: u32,
    scale: f32,
    key_start: u32,
    from_start: u32,
    to_start: u32,
    step: u32,
    row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> key: array<f32>;      // [4]
@group(0) @binding(2) var<storage, read_write> x: array<f32>;  // [T, B, K]

fn key_words() -> vec2<u32> {
    let at = params.key_start;
    return key_of(vec4(key[at], key[at + 1u], key[at + 2u], key[at + 3u]));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = (group.y * groups.x + group.x) * 256u + lane;
    if n >= params.batch * params.width {
        return;
    }
    let row = n / params.width;
    let k = n % params.width;
    let words = philox(vec4(k, row, 0u, OF_SEQUENCE + params.place), key_words());
    let dropped = words[params.word] < params.threshold;
    var at = row * params.row + k;
    for (var t = 0u; t < params.steps; t++) {
        let kept = x[params.from_start + at] * params.scale;
        x[params.to_start + at] = select(kept, 0.0, dropped);
        at += params.step;
    }
}
