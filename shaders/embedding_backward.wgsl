// embedding_backward: the gradient of an embedding's weight, a sum over each token's positions.
//
//   dweight[v][k] = (dweight[v][k] +) sum of dy[order[s]][k]
//                   over the s of offsets[v]..offsets[v + 1] that lie in first..end
//
// | binding | name    | shape                                  | access     | may alias  |
// |---------|---------|----------------------------------------|------------|------------|
// | 0       | params  | Params                                 | uniform    |            |
// | 1       | dy      | [R, K]                                 | read       | read ones  |
// | 2       | order   | [R], rows of dy sorted by their tokens | read       | read ones  |
// | 3       | offsets | [V + 1], where a token's begin         | read       | read ones  |
// | 4       | dweight | [tokens, K]                            | read_write | nothing    |
//
// The v are first_token and those after it; dweight starts with the row of the first. `order` and
// `offsets` are whole numbers, from reference::sort_tokens; every token has one owner, so that no
// addition needs to be atomic and the order of a sum is that of the rows.
// Grid: ceil(tokens ceil(K / 4) / 256) over x and y, an invocation four elements of a token's row.
// Twin: reference::embedding_backward.
//
// Version 1: an iteration a position, its four elements loaded without a loop; a row's last block
// loads its last element again instead.

override ACCUMULATE: bool = false;

struct Params {
    tokens: u32,
    width: u32,
    first_token: u32,
    first: u32,
    end: u32,
    dy_start: u32,
    order_start: u32,
    offsets_start: u32,
    dweight_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;             // [R, K]
@group(0) @binding(2) var<storage, read> order: array<f32>;          // [R]
@group(0) @binding(3) var<storage, read> offsets: array<f32>;        // [V + 1]
@group(0) @binding(4) var<storage, read_write> dweight: array<f32>;  // [tokens, K]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = block_of(group, groups, lane, params.tokens, params.width);
    if block.t >= 1u {
        return;
    }
    let token = params.offsets_start + params.first_token + block.row;
    let begin = max(u32(offsets[token]), params.first);
    let end = min(u32(offsets[token + 1u]), params.end);
    let last = block.count - 1u;
    // Positions are data: none leads outside.
    let last_row = (arrayLength(&dy) - params.dy_start) / params.width - 1u;
    var sum = vec4(0.0);
    for (var s = begin; s < end; s++) {
        let row = min(u32(order[params.order_start + s]), last_row);
        let at = params.dy_start + row * params.width + block.first;
        sum += vec4(dy[at], dy[at + min(1u, last)], dy[at + min(2u, last)], dy[at + min(3u, last)]);
    }
    let to = params.dweight_start + block.row * params.width + block.first;
    for (var i = 0u; i < block.count; i++) {
        if ACCUMULATE {
            dweight[to + i] += sum[i];
        } else {
            dweight[to + i] = sum[i];
        }
    }
}
