// one_hot: tokens as rows with a 1 at the token, as torch.nn.functional.one_hot.
//
//   out[r][c] = tokens[r] == c ? 1 : 0
//
// | binding | name   | shape   | access     | may alias |
// |---------|--------|---------|------------|-----------|
// | 0       | params | Params  | uniform    |           |
// | 1       | tokens | [R]     | read       | nothing   |
// | 2       | out    | [R, C]  | read_write | nothing   |
//
// A token that is no whole number of 0..C gives a row of NaN.
// Grid: ceil(R ceil(C / 4) / 256) over x and y, an invocation four elements of a row.
// Twin: reference::one_hot.

struct Params {
    rows: u32,
    classes: u32,
    tokens_start: u32,
    out_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<f32>;     // [R]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [R, C]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = block_of(group, groups, lane, params.rows, params.classes);
    if block.t >= 1u {
        return;
    }
    let token = tokens[params.tokens_start + block.row];
    let index = index_in(token, params.classes);
    let to = params.out_start + block.row * params.classes + block.first;
    for (var i = 0u; i < block.count; i++) {
        if index == params.classes {
            out[to + i] = nan_of(bitcast<u32>(token));
        } else {
            out[to + i] = select(0.0, 1.0, block.first + i == index);
        }
    }
}
