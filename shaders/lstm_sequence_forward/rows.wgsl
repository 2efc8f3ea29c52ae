// lstm_sequence_forward for any number of units, and weights in panels. After sequence.wgsl.
//
// Grid: ceil(B / 4) x 1 x directions. Workgroup: 64 invocations, no memory.
//
// Version 1: an invocation owns every 64th unit of four rows; h goes through its buffer.

const INVOCATIONS = 64u;
const ROWS = 4u;

// The input's share of four gates of a row, with their bias.
fn of_input(weights: u32, x_start: u32, row: u32, unit: u32) -> vec4<f32> {
    let terms = params.input + 1u + params.hidden;
    let row_start = x_start + min(row, params.batch - 1u) * params.input;
    var sum = u[weights + quad_in_panels(0u, unit, terms)];
    for (var k = 0u; k < params.input; k++) {
        sum += x[row_start + k] * u[weights + quad_in_panels(1u + k, unit, terms)];
    }
    return sum;
}

fn finish_row(now: Slots, row: u32, unit: u32, sum: vec4<f32>) {
    if row < params.batch {
        finish(now, row, unit, sum, c[now.c_prev + row * params.hidden + unit]);
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let reverse = group.z == 1u;
    let u_start = select(params.u_start, params.u_reverse, reverse);
    let back = is_back(reverse);
    let row = group.x * ROWS;
    // Rows beyond B read the last one's state.
    let last_row = params.batch - 1u;

    var now = first_slots(reverse);
    var x_now = select(params.x_start, params.x_reverse, reverse);
    let x_slot = params.batch * params.input;
    // The rows of a panel, and which of them is the first of U.
    let above = select(0u, params.input + 1u, INPUT);
    let terms = above + params.hidden;
    for (var step = 0u; step < params.steps; step++) {
        let h_0 = now.h_prev + min(row, last_row) * params.h_row;
        let h_1 = now.h_prev + min(row + 1u, last_row) * params.h_row;
        let h_2 = now.h_prev + min(row + 2u, last_row) * params.h_row;
        let h_3 = now.h_prev + min(row + 3u, last_row) * params.h_row;
        for (var unit = lane; unit < params.hidden; unit += INVOCATIONS) {
            var sum_0 = vec4(0.0);
            var sum_1 = vec4(0.0);
            var sum_2 = vec4(0.0);
            var sum_3 = vec4(0.0);
            if INPUT {
                sum_0 = of_input(u_start, x_now, row, unit);
                sum_1 = of_input(u_start, x_now, row + 1u, unit);
                sum_2 = of_input(u_start, x_now, row + 2u, unit);
                sum_3 = of_input(u_start, x_now, row + 3u, unit);
            }
            for (var k = 0u; k < params.hidden; k++) {
                let in_panel = quad_in_panels(above + k, unit, terms);
                let weight = u[u_start + select(k * params.hidden + unit, in_panel, PACKED)];
                sum_0 += h[h_0 + k] * weight;
                sum_1 += h[h_1 + k] * weight;
                sum_2 += h[h_2 + k] * weight;
                sum_3 += h[h_3 + k] * weight;
            }
            finish_row(now, row, unit, sum_0);
            finish_row(now, row + 1u, unit, sum_1);
            finish_row(now, row + 2u, unit, sum_2);
            finish_row(now, row + 3u, unit, sum_3);
        }
        // The next step reads what other invocations of this workgroup have written.
        storageBarrier();
        now = next_slots(now, reverse);
        x_now = select(x_now + x_slot, x_now - x_slot, back);
    }
}
