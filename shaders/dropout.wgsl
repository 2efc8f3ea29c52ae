// dropout: drops elements of [T, B, K] in place and scales the others, as torch.nn.Dropout.
//
//   word     = philox((k / 4, b, t, layer), key)[k % 4]
//   x[t][b][k] = word < threshold ? 0 : x[t][b][k] * scale
//
// | binding | name   | shape                                        | access     | may alias |
// |---------|--------|----------------------------------------------|------------|-----------|
// | 0       | params | Params                                       | uniform    |           |
// | 1       | key    | [4], the key's two words as 16-bit halves,   | read       | nothing   |
// |         |        | low ones first, each a whole number          |            |           |
// | 2       | x      | [T, B, K]                                    | read_write | nothing   |
//
// The counter is the element's place in the model, with `block`, `row`, `t` and `layer` added,
// and not one in a buffer: every device and every cut of the work drops the same elements.
// Grid: ceil(T B ceil(K / 4) / 256) over x and y, an invocation a word of four. Twin:
// reference::dropout.

struct Params {
    steps: u32,
    batch: u32,
    width: u32,
    block: u32,
    row: u32,
    t: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
    key_start: u32,
    x_start: u32,
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
    let block = block_of(group, groups, lane, params.batch, params.width);
    if block.t >= params.steps {
        return;
    }
    let word = params.block + block.first / 4u;
    let counter = vec4(word, params.row + block.row, params.t + block.t, params.layer);
    let words = philox(counter, key_words());
    let first = params.x_start + (block.t * params.batch + block.row) * params.width + block.first;
    for (var i = 0u; i < block.count; i++) {
        let kept = x[first + i] * params.scale;
        x[first + i] = select(kept, 0.0, words[i] < params.threshold);
    }
}
