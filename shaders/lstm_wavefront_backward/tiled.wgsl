// lstm_wavefront_backward through workgroup memory: runs everywhere. After wavefront.wgsl.
//
// Grid: ceil(H / 16) x ceil(B / 16) x layers. Workgroup: 16 units x 4 groups of four rows, 8.5 KiB.
//
// Version 1: as lstm_step_backward: an invocation owns one unit of four rows; dG and a block of the
// weights pass through workgroup memory, both read along k, the direction in which they are stored.

const UNITS = 16u;
const ROWS = 16u;
const TILE_K = 16u;
// A row of a tile is one quad longer than it has to be, so that a column of it lies in many
// memory banks.
const STRIDE = TILE_K + 1u;

var<workgroup> weight_tile: array<vec4<f32>, 272>;    // [UNITS, STRIDE]
var<workgroup> incoming_tile: array<vec4<f32>, 272>;  // [ROWS, STRIDE]

@compute @workgroup_size(16, 4)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let step = step_of(group.z);
    let unit = group.x * UNITS + local.x;
    let row = group.y * ROWS + 4u * local.y;
    let tile_k = lane % TILE_K;
    let tile_row = lane / TILE_K;

    var sums = vec4(0.0);  // of the four rows
    for (var product = step.first; product < step.end; product++) {
        let incoming_start = select(step.higher, step.after, product == 0u);
        let weights_start = select(step.w, step.u, product == 0u);
        for (var k = 0u; k < params.hidden; k += TILE_K) {
            // Reads beyond an edge repeat its last element: a result that uses it isn't written.
            let column = min(k + tile_k, params.hidden - 1u);
            for (var i = tile_row; i < ROWS; i += 4u) {
                let from_unit = min(group.x * UNITS + i, params.hidden - 1u);
                let from_row = min(group.y * ROWS + i, params.batch - 1u);
                weight_tile[i * STRIDE + tile_k] =
                    weights[weights_start + from_unit * params.hidden + column];
                incoming_tile[i * STRIDE + tile_k] =
                    gates[incoming_start + from_row * params.hidden + column];
            }
            workgroupBarrier();
            let depth = min(TILE_K, params.hidden - k);
            for (var i = 0u; i < depth; i++) {
                let weight = weight_tile[local.x * STRIDE + i];
                let at = 4u * local.y * STRIDE + i;
                sums += vec4(
                    dot(incoming_tile[at], weight),
                    dot(incoming_tile[at + STRIDE], weight),
                    dot(incoming_tile[at + 2u * STRIDE], weight),
                    dot(incoming_tile[at + 3u * STRIDE], weight),
                );
            }
            workgroupBarrier();
        }
    }

    finish(step.layer, step.t, row, unit, sums.x);
    finish(step.layer, step.t, row + 1u, unit, sums.y);
    finish(step.layer, step.t, row + 2u, unit, sums.z);
    finish(step.layer, step.t, row + 3u, unit, sums.w);
}
