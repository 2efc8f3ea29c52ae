// align_sequence: [T, B, K] from one alignment of its rows, and from one direction, to another.
//
//   u = t - (TO_RIGHT ? T - n : 0), n the row's length
//   copied[t][b][k] = u in 0..n ? source[(REVERSE ? n - 1 - u : u) + (FROM_RIGHT ? T - n : 0)][b][k] : 0
//
// | binding | name    | shape                    | access     | may alias |
// |---------|---------|--------------------------|------------|-----------|
// | 0       | params  | Params                   | uniform    |           |
// | 1       | source  | [T, B, K], as strided    | read       | lengths   |
// | 2       | lengths | [B], where LENGTHS       | read       | source    |
// | 3       | copied  | [T, B, K], as strided    | read_write | nothing   |
//
// A launch writes `steps` timesteps from `first` on, and sees `shown` of the source from `shown_first` on: what
// would come from another one is left alone. A value is selected and never multiplied, so that a NaN in
// the padding stays there.
// Grid: ceil(steps B ceil(K / 4) / 256) over x and y, an invocation four elements of a row.
// Twin: reference::align_sequence.

override LENGTHS: bool = false;
override FROM_RIGHT: bool = false;
override TO_RIGHT: bool = false;
override REVERSE: bool = false;

struct Params {
    steps: u32,
    batch: u32,
    width: u32,
    first: u32,
    longest: u32,
    shown_first: u32,
    shown: u32,
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
    let row = block.row;
    let count = block.count;
    if block.t >= params.steps {
        return;
    }
    let to = params.to_start + block.t * params.to_step + row * params.to_row + block.first;
    var length = params.longest;
    if LENGTHS {
        length = timesteps_of(lengths[params.lengths_start + row], params.longest);
    }
    let before = params.longest - length;
    let t = params.first + block.t;
    // Before a row that starts late this wraps around, beyond any length.
    let place = select(t, t - before, TO_RIGHT);
    if place >= length {
        for (var i = 0u; i < count; i++) {
            copied[to + i] = 0.0;
        }
        return;
    }
    let visited = select(place, length - 1u - place, REVERSE);
    let read = select(visited, visited + before, FROM_RIGHT);
    if read < params.shown_first || read - params.shown_first >= params.shown {
        return;
    }
    let shown = read - params.shown_first;
    let read_at = params.from_start + shown * params.from_step + row * params.from_row + block.first;
    for (var i = 0u; i < count; i++) {
        copied[to + i] = source[read_at + i];
    }
}
