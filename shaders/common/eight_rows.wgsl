// Products of 8 rows with 8 columns an invocation, for drivers that compute on a CPU: there a load
// costs as much as thirty multiply-adds, and `subgroupBroadcast` of a constant lane next to nothing.
// Each of the first eight invocations of a subgroup has loaded some terms of the rows, and all take
// them from there; so it is right for any subgroup of 8 or more. A workgroup has 8 invocations.
//
// A row after the other, four terms at a time: its sums are loaded from and stored to the stack once
// for 16 multiply-adds. Lanes and places in `sums` are written out, since a driver that doesn't
// unroll keeps an array with changing places in memory.

// The sums of 8 rows: the left and the right quad of columns of each.
alias EightRows = array<vec4<f32>, 16>;

// `a`: of invocation i four terms of row i. `left` and `right`: of each term four columns.
fn eight_rows(
    a: vec4<f32>,
    left: mat4x4<f32>,
    right: mat4x4<f32>,
    sums: ptr<function, EightRows>,
) {
    var terms = subgroupBroadcast(a, 0u);
    sums[0] += left * terms;
    sums[1] += right * terms;
    terms = subgroupBroadcast(a, 1u);
    sums[2] += left * terms;
    sums[3] += right * terms;
    terms = subgroupBroadcast(a, 2u);
    sums[4] += left * terms;
    sums[5] += right * terms;
    terms = subgroupBroadcast(a, 3u);
    sums[6] += left * terms;
    sums[7] += right * terms;
    terms = subgroupBroadcast(a, 4u);
    sums[8] += left * terms;
    sums[9] += right * terms;
    terms = subgroupBroadcast(a, 5u);
    sums[10] += left * terms;
    sums[11] += right * terms;
    terms = subgroupBroadcast(a, 6u);
    sums[12] += left * terms;
    sums[13] += right * terms;
    terms = subgroupBroadcast(a, 7u);
    sums[14] += left * terms;
    sums[15] += right * terms;
}
