// embedding: rows of a weight, chosen by tokens, as torch.nn.Embedding.
//
//   out[r][k] = weight[tokens[r]][k]
//
// | binding | name   | shape   | access     | may alias |
// |---------|--------|---------|------------|-----------|
// | 0       | params | Params  | uniform    |           |
// | 1       | tokens | [R]     | read       | weight    |
// | 2       | weight | [V, K]  | read       | tokens    |
// | 3       | out    | [R, K]  | read_write | nothing   |
//
// A token that is no whole number of 0..V gives a row of NaN.
// Grid: ceil(R ceil(K / 4) / 256) over x and y, an invocation four elements of a row.
// Twin: reference::embedding.

struct Params {
    rows: u32,
    vocab: u32,
    width: u32,
    tokens_start: u32,
    weight_start: u32,
    out_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<f32>;     // [R]
@group(0) @binding(2) var<storage, read> weight: array<f32>;     // [V, K]
@group(0) @binding(3) var<storage, read_write> out: array<f32>;  // [R, K]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = block_of(group, groups, lane, params.rows, params.width);
    if block.t >= 1u {
        return;
    }
    let token = tokens[params.tokens_start + block.row];
    let index = index_in(token, params.vocab);
    let to = params.out_start + block.row * params.width + block.first;
    if index == params.vocab {
        for (var i = 0u; i < block.count; i++) {
            out[to + i] = nan_of(bitcast<u32>(token));
        }
        return;
    }
    let read_at = params.weight_start + index * params.width + block.first;
    for (var i = 0u; i < block.count; i++) {
        out[to + i] = weight[read_at + i];
    }
}
