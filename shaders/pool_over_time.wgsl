// pool_over_time: of every feature of a sequence, the mean or the largest over the timesteps of its row.
//
//   pooled[b][k] = 1/n sum of h[t][b][k] over t < n            n = min(lengths[b], T)
//   MAX: pooled[0][b][k] = the largest h[t][b][k] of t < n, pooled[1][b][k] = the first t that has it, or -1
//
// | binding | name    | shape                                   | access     | may alias |
// |---------|---------|-----------------------------------------|------------|-----------|
// | 0       | params  | Params                                  | uniform    |           |
// | 1       | h       | [T, B, K], as strided                   | read       | lengths   |
// | 2       | lengths | [B], where LENGTHS                      | read       | h         |
// | 3       | pooled  | [B, K], where MAX [2, B, K]             | read_write | nothing   |
//
// A launch takes some timesteps, `first` of `total` on: it starts with the first of all, goes on from what
// `pooled` has, and ends with the last. A row without timesteps becomes zero; a NaN is larger than any number.
// Grid: ceil(B K / 256) over x and y, an invocation a feature of a row.
// Twin: reference::pool_over_time.
//
// Version 1: neighbours read neighbouring features, and a sum is one chain, however launches are cut.

override MAX: bool = false;
override LENGTHS: bool = false;

struct Params {
    steps: u32,
    batch: u32,
    width: u32,
    first: u32,
    total: u32,
    lengths_start: u32,
    h_start: u32,
    h_step: u32,
    h_row: u32,
    pooled_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h: array<f32>;             // [T, B, K]
@group(0) @binding(2) var<storage, read> lengths: array<f32>;       // [B]
@group(0) @binding(3) var<storage, read_write> pooled: array<f32>;  // [B, K] or [2, B, K]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * groups.x + group.x) * 256u + lane;
    let size = params.batch * params.width;
    if at >= size {
        return;
    }
    let row = at / params.width;
    var count = params.total;
    if LENGTHS {
        count = timesteps_of(lengths[params.lengths_start + row], params.total);
    }
    let value_at = params.pooled_start + at;
    let place_at = value_at + size;
    let start = params.h_start + row * params.h_row + at % params.width;
    let steps = clamp(count, params.first, params.first + params.steps) - params.first;
    var value = 0.0;
    if MAX {
        var place = -1.0;
        var highest = 0u;
        if params.first > 0u {
            value = pooled[value_at];
            place = pooled[place_at];
            highest = rank(value);
        }
        for (var s = 0u; s < steps; s++) {
            let next = h[start + s * params.h_step];
            let here = rank(next);
            if here > highest {
                highest = here;
                value = next;
                place = f32(params.first + s);
            }
        }
        pooled[place_at] = place;
    } else {
        if params.first > 0u {
            value = pooled[value_at];
        }
        for (var s = 0u; s < steps; s++) {
            value += h[start + s * params.h_step];
        }
        if params.first + params.steps == params.total && count > 0u {
            value /= f32(count);
        }
    }
    pooled[value_at] = value;
}
