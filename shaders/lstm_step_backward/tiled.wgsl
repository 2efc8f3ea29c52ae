// lstm_step_backward through workgroup memory: runs everywhere. After step.wgsl.
//
// Grid: ceil(H / 16) x ceil(B / 16) x count. Workgroup: 16 units x 4 groups of four rows,
// 8.5 KiB.
//
// Version 1: an invocation owns one unit of four rows; dG and a block of w pass through
// workgroup memory, both read along k, the direction in which they are stored.
// Version 2: several in one dispatch; lengths; a projection; the layer above.

const UNITS = 16u;
const ROWS = 16u;
const TILE_K = 16u;
// A row of a tile is one quad longer than it has to be, so that a column of it lies in many
// memory banks.
const STRIDE = TILE_K + 1u;

var<workgroup> w_tile: array<vec4<f32>, 272>;         // [UNITS, STRIDE]
var<workgroup> incoming_tile: array<vec4<f32>, 272>;  // [ROWS, STRIDE]

// Adds a product to four rows of a unit: rows that start at `rows`, weights at `weights`.
fn add_product(
    rows: u32,
    weights: u32,
    terms: u32,
    group: vec3<u32>,
    lane: u32,
    sums: ptr<function, vec4<f32>>,
) {
    let tile_k = lane % TILE_K;
    let tile_row = lane / TILE_K;
    for (var k = 0u; k < terms; k += TILE_K) {
        // Reads beyond an edge repeat its last element: a result that uses it isn't written.
        let column = min(k + tile_k, params.w_row - 1u);
        for (var i = tile_row; i < ROWS; i += 4u) {
            let from_unit = min(group.x * UNITS + i, params.hidden - 1u);
            let from_row = min(group.y * ROWS + i, params.batch - 1u);
            w_tile[i * STRIDE + tile_k] = w[weights + from_unit * params.w_row + column];
            incoming_tile[i * STRIDE + tile_k] = rows_at(rows + from_row * params.w_row + column);
        }
        workgroupBarrier();
        let depth = min(TILE_K, terms - k);
        for (var i = 0u; i < depth; i++) {
            let weight = w_tile[lane % UNITS * STRIDE + i];
            let first = 4u * (lane / UNITS) * STRIDE + i;
            *sums += vec4(
                dot(incoming_tile[first], weight),
                dot(incoming_tile[first + STRIDE], weight),
                dot(incoming_tile[first + 2u * STRIDE], weight),
                dot(incoming_tile[first + 3u * STRIDE], weight),
            );
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = group.z;
    let unit = group.x * UNITS + lane % UNITS;
    let row = group.y * ROWS + 4u * (lane / UNITS);
    var sums = vec4(0.0);  // of the four rows
    add_product(incoming_of(n), w_of(n), terms_of(n), group, lane, &sums);
    if has_above(n) {
        add_product(above_of(n), above_w_of(n), params.w_row, group, lane, &sums);
    }
    finish(n, row, unit, sums.x);
    finish(n, row + 1u, unit, sums.y);
    finish(n, row + 2u, unit, sums.z);
    finish(n, row + 3u, unit, sums.w);
}
