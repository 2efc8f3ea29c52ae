// pointwise_loss: losses of one prediction and one target each, their gradient and their partial
// sums in one pass.
//
//   d = y[n] - targets[n]
//   KIND 0, squared:       f = d^2                                f' = 2 d
//   KIND 1, absolute:      f = |d|                                f' = sign(d)
//   KIND 2, Huber:         f = d^2 / 2 or s (|d| - s / 2)         f' = d or s sign(d)
//   KIND 3, smooth L1:     f = d^2 / 2s or |d| - s / 2            f' = d / s or sign(d)
//   KIND 4, binary logits: f = max(y, 0) - y t + log(1 + e^-|y|)  f' = 1 / (1 + e^-y) - t
//   dy[n]       = scale[0] * w * f'
//   partials[p] = scale[0] * sum of w f over the elements n of workgroup p
//
// The first form of 2 is for |d| <= s, that of 3 for |d| < s, where s is the threshold; w is the weight of
// the element's row, 1 unless WEIGHTS. Rows that have ended, and those of weight 0, have loss 0 and
// gradient 0, whatever stands there.
//
// | binding | name     | shape              | access     | may alias |
// |---------|----------|--------------------|------------|-----------|
// | 0       | params   | Params             | uniform    |           |
// | 1       | y        | [T, B, O]          | read       | the other inputs |
// | 2       | targets  | [T, B, O]          | read       | the other inputs |
// | 3       | lengths  | [B], where LENGTHS | read       | the other inputs |
// | 4       | weights  | [T, B], where WEIGHTS | read    | the other inputs |
// | 5       | scale    | [1]                | read       | the other inputs |
// | 6       | dy       | [T, B, O]          | read_write | nothing   |
// | 7       | partials | [ceil(N / 1024)]   | read_write | nothing   |
//
// N = T B O elements, from the `first` on in one launch; weights from that element's row on. Grid: ceil(N / 1024). Workgroup: 256
// invocations, 1 KiB.
// Twin: reference::pointwise_loss.
//
// Version 1: four elements an invocation, a tree joins the losses.

override LENGTHS: bool = false;
override WEIGHTS: bool = false;

struct Params {
    len: u32,
    first: u32,
    batch: u32,
    width: u32,
    y_start: u32,
    target_start: u32,
    lengths_start: u32,
    weights_start: u32,
    scale_start: u32,
    dy_start: u32,
    partial_start: u32,
    threshold: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;                 // [T, B, O]
@group(0) @binding(2) var<storage, read> targets: array<f32>;           // [T, B, O]
@group(0) @binding(3) var<storage, read> lengths: array<f32>;           // [B]
@group(0) @binding(4) var<storage, read> weights: array<f32>;           // [T, B]
@group(0) @binding(5) var<storage, read> scale: array<f32>;             // [1]
@group(0) @binding(6) var<storage, read_write> dy: array<f32>;          // [T, B, O]
@group(0) @binding(7) var<storage, read_write> partials: array<f32>;    // [ceil(N / 1024)]

const SUM_LANES = 256u;
const ELEMENTS = 1024u;  // of a workgroup

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let begin = group.x * ELEMENTS;
    let end = min(begin + ELEMENTS, params.len);
    let by = scale[params.scale_start];
    var sum = 0.0;
    for (var n = begin + lane; n < end; n += SUM_LANES) {
        var slope = 0.0;
        var counts = true;
        if LENGTHS {
            let row = (params.first + n) / params.width;
            let length = lengths[params.lengths_start + row % params.batch];
            counts = !has_ended(length, row / params.batch);
        }
        var weight = 1.0;
        if WEIGHTS {
            let row = (params.first % params.width + n) / params.width;
            weight = weights[params.weights_start + row];
            counts = counts && weight != 0.0;
        }
        if counts {
            let found = term(y[params.y_start + n], targets[params.target_start + n]);
            sum += weight * found.value;
            slope = by * weight * found.slope;
        }
        dy[params.dy_start + n] = slope;
    }
    let total = workgroup_sum(lane, sum);
    if lane == 0u {
        partials[params.partial_start + group.x] = by * total;
    }
}
