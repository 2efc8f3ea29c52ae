// pool_over_time_backward: from the gradient of what pool_over_time made of a sequence to the sequence's.
//
//   dh[t][b][k] = t < n ? d_pooled[b][k] / n : 0                  n = min(lengths[b], T)
//   MAX: dh[t][b][k] = t < n and pooled[1][b][k] = t ? d_pooled[b][k] : 0
//
// | binding | name     | shape                         | access     | may alias        |
// |---------|----------|-------------------------------|------------|------------------|
// | 0       | params   | Params                        | uniform    |                  |
// | 1       | d_pooled | [B, K]                        | read       | pooled, lengths  |
// | 2       | pooled   | [2, B, K], where MAX          | read       | d_pooled         |
// | 3       | lengths  | [B], where LENGTHS            | read       | d_pooled         |
// | 4       | dh       | [T, B, K]                     | read_write | nothing          |
//
// A launch writes `steps` timesteps from `first` of `total` on.
// Grid: ceil(T B ceil(K / 4) / 256) over x and y, an invocation four features of a row at a timestep.
// Twin: reference::pool_over_time_backward.

override MAX: bool = false;
override LENGTHS: bool = false;

struct Params {
    steps: u32,
    batch: u32,
    width: u32,
    first: u32,
    total: u32,
    lengths_start: u32,
    d_start: u32,
    pooled_start: u32,
    dh_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_pooled: array<f32>;   // [B, K]
@group(0) @binding(2) var<storage, read> pooled: array<f32>;     // [2, B, K]
@group(0) @binding(3) var<storage, read> lengths: array<f32>;    // [B]
@group(0) @binding(4) var<storage, read_write> dh: array<f32>;   // [T, B, K]

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
    let t = params.first + block.t;
    var count = params.total;
    if LENGTHS {
        count = timesteps_of(lengths[params.lengths_start + block.row], params.total);
    }
    let size = params.batch * params.width;
    let at = block.row * params.width + block.first;
    let to = params.dh_start + block.t * size + at;
    for (var i = 0u; i < block.count; i++) {
        var d = 0.0;
        if t < count {
            if MAX {
                let place = pooled[params.pooled_start + size + at + i];
                d = select(0.0, d_pooled[params.d_start + at + i], place == f32(t));
            } else {
                d = d_pooled[params.d_start + at + i] / f32(count);
            }
        }
        dh[to + i] = d;
    }
}
