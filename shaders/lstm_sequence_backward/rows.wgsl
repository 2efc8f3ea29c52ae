// lstm_sequence_backward for any number of units, and weights in panels. After sequence.wgsl.
//
// Grid: ceil(B / 4) x 1 x directions. Workgroup: 64 invocations, no memory.
//
// Version 1: an invocation owns every 64th unit of four rows; dG goes through its buffer.

const INVOCATIONS = 64u;
const ROWS = 4u;

// Four weights of unit `unit`: those of the gates of unit `k`.
fn weight_at(start: u32, unit: u32, k: u32) -> vec4<f32> {
    if !PACKED {
        return w[start + unit * params.hidden + k];
    }
    let lane = unit % 4u;
    let terms = 4u * params.hidden;
    return vec4(
        w[start + quad_in_panels(4u * k, unit / 4u, terms)][lane],
        w[start + quad_in_panels(4u * k + 1u, unit / 4u, terms)][lane],
        w[start + quad_in_panels(4u * k + 2u, unit / 4u, terms)][lane],
        w[start + quad_in_panels(4u * k + 3u, unit / 4u, terms)][lane],
    );
}

fn finish_row(now: Slots, row: u32, unit: u32, product: f32) {
    if row < params.batch {
        let at = now.dc + row * params.hidden + unit;
        dc[at] = finish(now, row, unit, product, dc[at]).c_prev;
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let reverse = group.z == 1u;
    let w_start = select(params.w_start, params.w_reverse, reverse);
    let row = group.x * ROWS;
    // Rows beyond B read the last one's gradients.
    let last_row = params.batch - 1u;

    var now = first_slots(reverse);
    // Nothing comes in where nothing ran after: a product without terms.
    var terms = select(0u, params.hidden, params.incoming == 1u);
    for (var step = 0u; step < params.steps; step++) {
        let incoming = slot_after(now, reverse);
        let d_0 = incoming + min(row, last_row) * params.hidden;
        let d_1 = incoming + min(row + 1u, last_row) * params.hidden;
        let d_2 = incoming + min(row + 2u, last_row) * params.hidden;
        let d_3 = incoming + min(row + 3u, last_row) * params.hidden;
        for (var unit = lane; unit < params.hidden; unit += INVOCATIONS) {
            var sums = vec4(0.0);  // of the four rows
            for (var k = 0u; k < terms; k++) {
                let weight = weight_at(w_start, unit, k);
                sums += vec4(
                    dot(gates[d_0 + k], weight),
                    dot(gates[d_1 + k], weight),
                    dot(gates[d_2 + k], weight),
                    dot(gates[d_3 + k], weight),
                );
            }
            finish_row(now, row, unit, sums.x);
            finish_row(now, row + 1u, unit, sums.y);
            finish_row(now, row + 2u, unit, sums.z);
            finish_row(now, row + 3u, unit, sums.w);
        }
        // The next step reads what other invocations of this workgroup have written.
        storageBarrier();
        terms = params.hidden;
        now = next_slots(now, reverse);
    }
}
