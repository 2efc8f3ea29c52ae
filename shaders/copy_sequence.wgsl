// copy_sequence: [T, B, K] from one layout to another; rows that have ended become zero.
//
//   copied[t][b][k] = (copied[t][b][k] +) (t < lengths[b] ? source[t][b][k] : 0)
//
// | binding | name    | shape                    | access     | may alias |
// |---------|---------|--------------------------|------------|-----------|
// | 0       | params  | Params                   | uniform    |           |
// | 1       | source  | [T, B, K], as strided    | read       | lengths   |
// | 2       | lengths | [B], where LENGTHS       | read       | source    |
// | 3       | copied  | [T, B, K], as strided    | read_write | nothing   |
//
// Element (t, b, k) lies at t * step + b * row + k from the start. Where it is added (ACCUMULATE),
// a row that has ended is left alone. A value is selected and never multiplied, so that a NaN in
// the padding stays there.
// Grid: ceil(T B ceil(K / 4) / 256) over x and y, an invocation four elements of a row.
// Twin: reference::copy_sequence.

override LENGTHS: bool = false;
override ACCUMULATE: bool = false;

struct Params {
    steps: u32,
    batch: u32,
    width: u32,
    t: u32,
    lengths_start: u32,
    from_start: u32,
    from_step: u32,
    from_row: u32,
    to_start: u32,
    to_step: u32,
    to_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;        // [T, B, K]
@group(0) @binding(2) var<storage, read> lengths: array<f32>;       // [B]
@group(0) @binding(3) var<storage, read_write> copied: array<f32>;  // [T, B, K]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = block_of(group, groups, lane, params.batch, params.width);
    let t = block.t;
    let row = block.row;
    let count = block.count;
    if t >= params.steps {
        return;
    }
    let to = params.to_start + t * params.to_step + row * params.to_row + block.first;
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], params.t + t) {
            if !ACCUMULATE {
                for (var i = 0u; i < count; i++) {
                    copied[to + i] = 0.0;
                }
            }
            return;
        }
    }
    let read_at = params.from_start + t * params.from_step + row * params.from_row + block.first;
    for (var i = 0u; i < count; i++) {
        if ACCUMULATE {
            copied[to + i] += source[read_at + i];
        } else {
            copied[to + i] = source[read_at + i];
        }
    }
}
