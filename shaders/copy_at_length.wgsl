// copy_at_length: a row each, from or to the slot of a sequence that belongs to the row's length.
//
//   slot = clamp(lengths[b], 0, longest) + offset
//   SCATTER:    copied[slot][b][k] = (copied[slot][b][k] +) source[b][k]
//   otherwise:  copied[b][k]       = (copied[b][k] +)       source[slot][b][k]
//
// | binding | name    | shape                                      | access     | may alias |
// |---------|---------|--------------------------------------------|------------|-----------|
// | 0       | params  | Params                                     | uniform    |           |
// | 1       | source  | [B, K], or [slots, B, K] as strided        | read       | lengths   |
// | 2       | lengths | [B]                                        | read       | source    |
// | 3       | copied  | [slots, B, K] as strided, or [B, K]        | read_write | nothing   |
//
// Slots count from the start of what is bound: `offset` has the first one's number taken off. A
// row whose slot isn't there is left alone.
// Grid: ceil(B ceil(K / 4) / 256) over x and y, an invocation four elements of a row.
// Twins: reference::gather_at_length, scatter_at_length.

override SCATTER: bool = false;
override ACCUMULATE: bool = false;

struct Params {
    batch: u32,
    width: u32,
    slots: u32,
    offset: i32,
    longest: i32,
    lengths_start: u32,
    source_start: u32,
    source_row: u32,
    copied_start: u32,
    copied_row: u32,
    step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;        // [B, K] or [slots, B, K]
@group(0) @binding(2) var<storage, read> lengths: array<f32>;       // [B]
@group(0) @binding(3) var<storage, read_write> copied: array<f32>;  // [slots, B, K] or [B, K]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = block_of(group, groups, lane, params.batch, params.width);
    if block.t >= 1u {
        return;
    }
    let row = block.row;
    let first = block.first;
    let length = clamp(i32(lengths[params.lengths_start + row]), 0, params.longest);
    let slot = length + params.offset;
    if slot < 0 || u32(slot) >= params.slots {
        return;
    }
    let shift = u32(slot) * params.step;
    let read_at = params.source_start + row * params.source_row + first + select(shift, 0u, SCATTER);
    let write_at = params.copied_start + row * params.copied_row + first + select(0u, shift, SCATTER);
    for (var i = 0u; i < block.count; i++) {
        if ACCUMULATE {
            copied[write_at + i] += source[read_at + i];
        } else {
            copied[write_at + i] = source[read_at + i];
        }
    }
}
