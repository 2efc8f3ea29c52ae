// lstm_step_backward through workgroup memory: runs everywhere. After step.wgsl.
//
// Grid: ceil(H / 16) x ceil(B / 16) x directions. Workgroup: 16 units x 4 groups of four rows,
// 8.5 KiB.
//
// Version 1: an invocation owns one unit of four rows; dG and a block of w pass through
// workgroup memory, both read along k, the direction in which they are stored.
// Version 2: both directions in one dispatch; lengths; a projection.

const UNITS = 16u;
const ROWS = 16u;
const TILE_K = 16u;
// A row of a tile is one quad longer than it has to be, so that a column of it lies in many
// memory banks.
const STRIDE = TILE_K + 1u;

var<workgroup> w_tile: array<vec4<f32>, 272>;         // [UNITS, STRIDE]
var<workgroup> incoming_tile: array<vec4<f32>, 272>;  // [ROWS, STRIDE]

@compute @workgroup_size(16, 4)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let reverse = group.z == 1u;
    let w_start = select(params.w_start, params.w_reverse, reverse);
    let incoming_start = select(params.incoming_start, params.incoming_reverse, reverse);
    let unit = group.x * UNITS + local.x;
    let row = group.y * ROWS + 4u * local.y;
    let tile_k = lane % TILE_K;
    let tile_row = lane / TILE_K;

    var sums = vec4(0.0);  // of the four rows
    for (var k = 0u; k < params.terms; k += TILE_K) {
        // Reads beyond an edge repeat its last element: a result that uses it isn't written.
        let column = min(k + tile_k, params.w_row - 1u);
        for (var i = tile_row; i < ROWS; i += 4u) {
            let from_unit = min(group.x * UNITS + i, params.hidden - 1u);
            let from_row = min(group.y * ROWS + i, params.batch - 1u);
            let place = incoming_start + from_row * params.w_row + column;
            w_tile[i * STRIDE + tile_k] = w[w_start + from_unit * params.w_row + column];
            if PROJECTION {
                incoming_tile[i * STRIDE + tile_k] = dh[place];
            } else {
                incoming_tile[i * STRIDE + tile_k] = gates[place];
            }
        }
        workgroupBarrier();
        let depth = min(TILE_K, params.terms - k);
        for (var i = 0u; i < depth; i++) {
            let weight = w_tile[local.x * STRIDE + i];
            let first = 4u * local.y * STRIDE + i;
            sums += vec4(
                dot(incoming_tile[first], weight),
                dot(incoming_tile[first + STRIDE], weight),
                dot(incoming_tile[first + 2u * STRIDE], weight),
                dot(incoming_tile[first + 3u * STRIDE], weight),
            );
        }
        workgroupBarrier();
    }

    finish(reverse, row, unit, sums.x);
    finish(reverse, row + 1u, unit, sums.y);
    finish(reverse, row + 2u, unit, sums.z);
    finish(reverse, row + 3u, unit, sums.w);
}
