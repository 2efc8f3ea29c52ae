// lstm_sequence_forward: lstm_step_forward at several timesteps in one dispatch, in one direction or
// in both. A workgroup owns some rows of the batch and walks through their timesteps, since rows
// never meet.
//
//   (i, f, g, o) = P + h_prev . U       P: the input's share and the biases, from matmul, or where
//                                       INPUT x . W + bias
//   i, f, o      = sigmoid;  g = tanh
//   c            = f * c_prev + i * g
//   h            = o * tanh(c)
//
// | binding | name    | shape                                    | access     | may alias |
// |---------|---------|------------------------------------------|------------|-----------|
// | 0       | params  | Params                                   | uniform    |           |
// | 1       | u       | [H, H] of (i, f, g, o), a direction      | read       | reads     |
// |         |         | each, or its panels where PACKED; where  |            |           |
// |         |         | INPUT those of [1 + I + H, H]: the bias, |            |           |
// |         |         | W, U                                     |            |           |
// | 2       | x       | [T, B, I], where INPUT                   | read       | reads     |
// | 3       | lengths | [B], where LENGTHS                       | read       | reads     |
// | 4       | gates   | [D, T, B, H] of (i, f, g, o); P on       | read_write | nothing   |
// |         |         | entry unless INPUT, where KEEP the       |            |           |
// |         |         | activated gates afterwards               |            |           |
// | 5       | h       | [T+D, B, D, H]; the slot before the      | read_write | nothing   |
// |         |         | first step is read, the steps' written   |            |           |
// | 6       | c       | [D, T+1, B, H], likewise                 | read_write | nothing   |
//
// Starts are those of the first timestep, in elements of the bound range; gates and u count vec4;
// those of the second direction are named `_reverse`. Each step finds its operands a slot further
// than the one before it, or a slot nearer where `back`. A row that has ended is left alone.
// Grid: ceil(B / 4) x 1 x directions. Workgroup: 64 invocations, no memory.
// Twin: reference::lstm_sequence_forward.
//
// Version 1: an invocation owns every 64th unit of four rows; h goes through its buffer.

override LENGTHS: bool = false;
override PACKED: bool = false;
override KEEP: bool = true;
override INPUT: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    steps: u32,
    h_row: u32,
    lengths_start: u32,
    back: u32,
    back_reverse: u32,
    t: u32,
    t_reverse: u32,
    u_start: u32,
    u_reverse: u32,
    gates_start: u32,
    gates_reverse: u32,
    h_start: u32,
    h_reverse: u32,
    c_start: u32,
    c_reverse: u32,
    input: u32,
    x_start: u32,
    x_reverse: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> u: array<vec4<f32>>;              // [H, H]
@group(0) @binding(2) var<storage, read> x: array<f32>;                    // [T, B, I]
@group(0) @binding(3) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(4) var<storage, read_write> gates: array<vec4<f32>>;    // [D, T, B, H]
@group(0) @binding(5) var<storage, read_write> h: array<f32>;              // [T+D, B, D, H]
@group(0) @binding(6) var<storage, read_write> c: array<f32>;              // [D, T+1, B, H]

const INVOCATIONS = 64u;
const ROWS = 4u;

// Where one step of one direction finds its operands.
struct Slots {
    t: u32,
    gates: u32,
    h_prev: u32,
    h: u32,
    c_prev: u32,
    c: u32,
}

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

fn finish(at_step: Slots, row: u32, unit: u32, sum: vec4<f32>) {
    if row >= params.batch {
        return;
    }
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], at_step.t) {
            return;
        }
    }
    let at = row * params.hidden + unit;
    var sums = sum;
    if !INPUT {
        sums += gates[at_step.gates + at];
    }
    let s = sigmoid(sums);
    let gate = vec4(s.x, s.y, hyperbolic_tangent(sums).z, s.w);
    let cell = gate.y * c[at_step.c_prev + at] + gate.x * gate.z;
    if KEEP {
        gates[at_step.gates + at] = gate;
    }
    c[at_step.c + at] = cell;
    h[at_step.h + row * params.h_row + unit] = gate.w * hyperbolic_tangent(vec4(cell)).x;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let reverse = group.z == 1u;
    let u_start = select(params.u_start, params.u_reverse, reverse);
    let back = select(params.back, params.back_reverse, reverse) == 1u;
    let row = group.x * ROWS;
    // Rows beyond B read the last one's state.
    let last_row = params.batch - 1u;
    let slot = params.batch * params.hidden;
    let h_slot = params.batch * params.h_row;

    var now: Slots;
    now.t = select(params.t, params.t_reverse, reverse);
    now.gates = select(params.gates_start, params.gates_reverse, reverse);
    now.h_prev = select(params.h_start, params.h_reverse, reverse);
    now.c_prev = select(params.c_start, params.c_reverse, reverse);
    var x_now = select(params.x_start, params.x_reverse, reverse);
    let x_slot = params.batch * params.input;
    // The rows of a panel, and which of them is the first of U.
    let above = select(0u, params.input + 1u, INPUT);
    let terms = above + params.hidden;
    for (var step = 0u; step < params.steps; step++) {
        now.h = select(now.h_prev + h_slot, now.h_prev - h_slot, back);
        now.c = select(now.c_prev + slot, now.c_prev - slot, back);
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
            finish(now, row, unit, sum_0);
            finish(now, row + 1u, unit, sum_1);
            finish(now, row + 2u, unit, sum_2);
            finish(now, row + 3u, unit, sum_3);
        }
        // The next step reads what other invocations of this workgroup have written.
        storageBarrier();
        now.h_prev = now.h;
        now.c_prev = now.c;
        now.t = select(now.t + 1u, now.t - 1u, back);
        now.gates = select(now.gates + slot, now.gates - slot, back);
        x_now = select(x_now + x_slot, x_now - x_slot, back);
    }
}
