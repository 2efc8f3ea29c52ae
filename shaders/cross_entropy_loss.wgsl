// cross_entropy_loss: cross-entropy over classes, from logits, and its gradient in one pass.
//
//   p[c]      = exp(x[r][c] - m) / S          m = max_i x[r][i],  S = sum_i exp(x[r][i] - m)
//   q[c]      = (1 - e) w[t] (c == t) + e / C w[c]
//   losses[r] = scale[0] * v[r] * sum_c q[c] (log S + m - x[r][c])
//   dx[r][c]  = scale[0] * v[r] * (p[c] sum_i q[i] - q[c])
//
// for the logits x, the target t, the class weights w (1 unless WEIGHTS), the row weights v (1 unless
// ROW_WEIGHTS) and the label smoothing e. A row that has ended, whose target is ignored, or whose weight is 0
// has loss 0 and gradient 0, whatever stands there. Another one whose target is no class, or with a logit
// that is NaN or +inf, becomes NaN.
//
// | binding | name    | shape              | access     | may alias |
// |---------|---------|--------------------|------------|-----------|
// | 0       | params  | Params             | uniform    |           |
// | 1       | logits  | [T, B, C]          | read       | the other inputs |
// | 2       | targets | [T, B]             | read       | the other inputs |
// | 3       | lengths | [B], where LENGTHS | read       | the other inputs |
// | 4       | weights | [C], where WEIGHTS | read       | the other inputs |
// | 5       | row_weights | [T, B], where ROW_WEIGHTS | read | the other inputs |
// | 6       | scale   | [1]                | read       | the other inputs |
// | 7       | dy      | [T, B, C]          | read_write | nothing   |
// | 8       | losses  | [T, B]             | read_write | nothing   |
//
// R rows of T B, from the `first` on. Grid: ceil(R / (64 / LANES)) over x and y. Workgroup: 64
// invocations, 256 B.
// Twin: reference::cross_entropy_loss.
//
// Version 1: three passes over the logits, as softmax: maximum, sum, gradient; one over the weights.

override LENGTHS: bool = false;
override WEIGHTS: bool = false;
override ROW_WEIGHTS: bool = false;

struct Params {
    rows: u32,
    first: u32,
    batch: u32,
    classes: u32,
    logits_start: u32,
    target_start: u32,
    lengths_start: u32,
    weights_start: u32,
    row_weights_start: u32,
    scale_start: u32,
    dy_start: u32,
    loss_start: u32,
    ignore_index: f32,
    label_smoothing: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;          // [T, B, C]
@group(0) @binding(2) var<storage, read> targets: array<f32>;         // [T, B]
@group(0) @binding(3) var<storage, read> lengths: array<f32>;         // [B]
@group(0) @binding(4) var<storage, read> weights: array<f32>;         // [C]
@group(0) @binding(5) var<storage, read> row_weights: array<f32>;     // [T, B]
@group(0) @binding(6) var<storage, read> scale: array<f32>;           // [1]
@group(0) @binding(7) var<storage, read_write> dy: array<f32>;        // [T, B, C]
@group(0) @binding(8) var<storage, read_write> losses: array<f32>;    // [T, B]

fn weight(c: u32) -> f32 {
    if WEIGHTS {
        return weights[params.weights_start + c];
    }
    return 1.0;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_lane(group, groups, lane);
    let inside = at.row < params.rows;
    let classes = select(0u, params.classes, inside);
    var goal = params.classes;  // none
    var counts = false;
    var by = scale[params.scale_start];
    if inside {
        let given = targets[params.target_start + at.row];
        goal = index_in(given, params.classes);
        // NaN is no class, and a comparison with it may say that it is the same.
        counts = is_nan(given) || given != params.ignore_index;
        if LENGTHS {
            let row = params.first + at.row;
            let length = lengths[params.lengths_start + row % params.batch];
            counts = counts && !has_ended(length, row / params.batch);
        }
        if ROW_WEIGHTS {
            let row_weight = row_weights[params.row_weights_start + at.row];
            counts = counts && row_weight != 0.0;
            by *= row_weight;
        }
    }

    let start = params.logits_start + at.row * params.classes;
    let largest = rows_largest(at, start, classes);
    let sum = rows_exp_sum(at, start, classes, largest);
    var all = f32(params.classes);
    if WEIGHTS {
        var part = 0.0;
        for (var c = at.lane_in_row; c < classes; c += LANES) {
            part += weight(c);
        }
        all = rows_sum(at.lane_in_row, at.slot, part);
    }

    let known = min(goal, params.classes - 1u);
    let own = (1.0 - params.label_smoothing) * weight(known);
    let shared_part = params.label_smoothing / f32(params.classes);
    let mass = own + shared_part * all;
    let none = goal == params.classes || has_none(largest, sum);
    let to = params.dy_start + at.row * params.classes;
    var below = 0.0;
    for (var c = at.lane_in_row; c < classes; c += LANES) {
        let distance = largest - logits[start + c];
        let q = shared_part * weight(c) + select(0.0, own, c == known);
        let slope = by * (exp_below(-distance) / sum * mass - q);
        dy[to + c] = select(0.0, select(slope, nan_of(bitcast<u32>(largest)), none), counts);
        below += weight(c) * distance;
    }
    let distances = rows_sum(at.lane_in_row, at.slot, below);
    if inside && at.lane_in_row == 0u {
        let log_sum = log(sum);
        var loss = own * (log_sum + (largest - logits[start + known]));
        if params.label_smoothing > 0.0 {
            loss += shared_part * (all * log_sum + distances);
        }
        let wanted = select(by * loss, nan_of(bitcast<u32>(largest)), none);
        losses[params.loss_start + at.row] = select(0.0, wanted, counts);
    }
}
