// What rows of logits are brought to probabilities with, for kernels whose binding is `logits`: after
// rows.wgsl, whose rules of calling hold here too. `start` is a row's first element.

// The largest logit of a row, NaN where it has one.
fn rows_largest(at: RowLane, start: u32, classes: u32) -> f32 {
    var value = LOWEST;
    for (var c = at.lane_in_row; c < classes; c += LANES) {
        value = larger(value, logits[start + c]);
    }
    return rows_max(at.lane_in_row, at.slot, value);
}

// The sum of exp(logit - largest) over a row, zero where all logits are -inf: else the largest one's
// share is 1. In parts of 64, since an f32 that has grown large no longer feels what is added.
fn rows_exp_sum(at: RowLane, start: u32, classes: u32, largest: f32) -> f32 {
    var parts = 0.0;
    var part = 0.0;
    for (var c = at.lane_in_row; c < classes; c += LANES) {
        part += exp_below(logits[start + c] - largest);
        if c / LANES % 64u == 63u {
            parts += part;
            part = 0.0;
        }
    }
    return rows_sum(at.lane_in_row, at.slot, parts + part);
}

// Whether a row has no probabilities: NaN or +inf in it, or nothing but -inf.
fn has_none(largest: f32, sum: f32) -> bool {
    return rank(largest) >= RANK_OF_INFINITY || sum == 0.0;
}
