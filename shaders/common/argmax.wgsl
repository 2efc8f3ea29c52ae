// The class with the largest logit, for kernels over rows.wgsl with a binding `logits`.

var<workgroup> row_ranks: array<u32, ROW_INVOCATIONS>;
var<workgroup> row_classes: array<u32, ROW_INVOCATIONS>;

// The first class of those with the largest logit, NaN being the largest, as torch.argmax; `start`
// is where the row starts in `logits`. To be called as rows_max.
fn rows_argmax(at: RowLane, start: u32, classes: u32) -> u32 {
    var largest = 0u;
    var best = 0u;
    for (var c = at.lane_in_row; c < classes; c += LANES) {
        let here = rank(logits[start + c]);
        if here > largest {
            largest = here;
            best = c;
        }
    }
    if LANES == 1u {
        return best;
    }
    row_ranks[at.slot] = largest;
    row_classes[at.slot] = best;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if at.lane_in_row < half {
            let other = at.slot + half;
            let above = row_ranks[other] > row_ranks[at.slot];
            let level = row_ranks[other] == row_ranks[at.slot];
            if above || (level && row_classes[other] < row_classes[at.slot]) {
                row_ranks[at.slot] = row_ranks[other];
                row_classes[at.slot] = row_classes[other];
            }
        }
    }
    workgroupBarrier();
    let first = row_classes[at.slot - at.lane_in_row];
    workgroupBarrier();  // the next call writes
    return first;
}
