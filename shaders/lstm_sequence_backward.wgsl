// lstm_sequence_backward: lstm_step_backward at several timesteps in one dispatch, in one direction
// or in both. A workgroup owns some rows of the batch and walks back through their timesteps, since
// rows never meet.
//
//   dh  = dy + incoming . w^T                        incoming: dG of the step that ran after
//   dc += dh * o * (1 - tanh(c)^2)
//   dG  = (dc * g * i(1-i), dc * c_prev * f(1-f), dc * i * (1-g^2), dh * tanh(c) * o(1-o))
//   dc  = dc * f                                     what the step before gets
//
// | binding | name    | shape                                     | access     | may alias   |
// |---------|---------|-------------------------------------------|------------|-------------|
// | 0       | params  | Params                                    | uniform    |             |
// | 1       | w       | [H, H] quads, a direction each, or the    | read       | other reads |
// |         |         | panels of its transpose where PACKED      |            |             |
// | 2       | c       | [D, T+1, B, H]                            | read       | other reads |
// | 3       | dy      | [T, B, D, H], where `has_dy`              | read       | other reads |
// | 4       | lengths | [B], where LENGTHS                        | read       | other reads |
// | 5       | gates   | [D, T, B, H] of (i, f, g, o), afterwards  | read_write | nothing     |
// |         |         | their dG; where `incoming`, a slot before |            |             |
// |         |         | the first is read                         |            |             |
// | 6       | dc      | [D, B, H], in place                       | read_write | nothing     |
//
// Starts are those of the first timestep of the walk, in elements of the bound range; gates and w
// count vec4; those of the second direction are named `_reverse`. Each step finds its operands a
// slot further than the one before it, or a slot nearer where `back`; the cell states before a
// timestep stand a slot further in the walk. A row that has ended has no gradient, and its dc stays.
// Grid: ceil(B / 4) x 1 x directions. Workgroup: 64 invocations, no memory.
// Twin: reference::lstm_sequence_backward.
//
// Version 1: an invocation owns every 64th unit of four rows; dG goes through its buffer.

override LENGTHS: bool = false;
override PACKED: bool = false;

struct Params {
    batch: u32,
    hidden: u32,
    steps: u32,
    has_dy: u32,
    dy_row: u32,
    incoming: u32,
    lengths_start: u32,
    back: u32,
    back_reverse: u32,
    t: u32,
    t_reverse: u32,
    w_start: u32,
    w_reverse: u32,
    gates_start: u32,
    gates_reverse: u32,
    c_start: u32,
    c_reverse: u32,
    dy_start: u32,
    dy_reverse: u32,
    dc_start: u32,
    dc_reverse: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;              // [H, H]
@group(0) @binding(2) var<storage, read> c: array<f32>;                    // [D, T+1, B, H]
@group(0) @binding(3) var<storage, read> dy: array<f32>;                   // [T, B, D, H]
@group(0) @binding(4) var<storage, read> lengths: array<f32>;              // [B]
@group(0) @binding(5) var<storage, read_write> gates: array<vec4<f32>>;    // [D, T, B, H]
@group(0) @binding(6) var<storage, read_write> dc: array<f32>;             // [D, B, H]

const INVOCATIONS = 64u;
const ROWS = 4u;

// Where one step of one direction finds its operands.
struct Slots {
    t: u32,
    gates: u32,
    c_prev: u32,
    c: u32,
    dy: u32,
    dc: u32,
}

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

fn finish(now: Slots, row: u32, unit: u32, product: f32) {
    if row >= params.batch {
        return;
    }
    let at = row * params.hidden + unit;
    if LENGTHS {
        if has_ended(lengths[params.lengths_start + row], now.t) {
            gates[now.gates + at] = vec4(0.0);
            return;
        }
    }
    var dh = product;
    if params.has_dy == 1u {
        dh += dy[now.dy + row * params.dy_row + unit];
    }
    let gate = gates[now.gates + at];
    let tanh_c = hyperbolic_tangent(vec4(c[now.c + at])).x;
    let d_cell = dc[now.dc + at] + dh * gate.w * (1.0 - tanh_c * tanh_c);
    gates[now.gates + at] = vec4(
        d_cell * gate.z * gate.x * (1.0 - gate.x),
        d_cell * c[now.c_prev + at] * gate.y * (1.0 - gate.y),
        d_cell * gate.x * (1.0 - gate.z * gate.z),
        dh * tanh_c * gate.w * (1.0 - gate.w),
    );
    dc[now.dc + at] = d_cell * gate.y;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let reverse = group.z == 1u;
    let w_start = select(params.w_start, params.w_reverse, reverse);
    let back = select(params.back, params.back_reverse, reverse) == 1u;
    let row = group.x * ROWS;
    // Rows beyond B read the last one's gradients.
    let last_row = params.batch - 1u;
    let slot = params.batch * params.hidden;
    let dy_slot = params.batch * params.dy_row;

    var now: Slots;
    now.t = select(params.t, params.t_reverse, reverse);
    now.gates = select(params.gates_start, params.gates_reverse, reverse);
    now.c = select(params.c_start, params.c_reverse, reverse);
    now.dy = select(params.dy_start, params.dy_reverse, reverse);
    now.dc = select(params.dc_start, params.dc_reverse, reverse);
    // Nothing comes in where nothing ran after: a product without terms.
    var terms = select(0u, params.hidden, params.incoming == 1u);
    for (var step = 0u; step < params.steps; step++) {
        now.c_prev = select(now.c + slot, now.c - slot, back);
        let incoming = select(now.gates - slot, now.gates + slot, back);
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
            finish(now, row, unit, sums.x);
            finish(now, row + 1u, unit, sums.y);
            finish(now, row + 2u, unit, sums.z);
            finish(now, row + 3u, unit, sums.w);
        }
        // The next step reads what other invocations of this workgroup have written.
        storageBarrier();
        terms = params.hidden;
        now.t = select(now.t + 1u, now.t - 1u, back);
        now.gates = select(now.gates + slot, now.gates - slot, back);
        now.c = now.c_prev;
        now.dy = select(now.dy + dy_slot, now.dy - dy_slot, back);
    }
}
