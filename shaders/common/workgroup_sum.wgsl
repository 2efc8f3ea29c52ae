// The sum of one value an invocation over a workgroup of SUM_LANES, a power of two that the kernel
// says, in a fixed order: a tree.

var<workgroup> sum_lanes: array<f32, SUM_LANES>;

// Every invocation of the workgroup must call it; the result is valid in invocation 0.
fn workgroup_sum(lane: u32, value: f32) -> f32 {
    sum_lanes[lane] = value;
    for (var half = SUM_LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sum_lanes[lane] += sum_lanes[lane + half];
        }
    }
    return sum_lanes[0];
}
