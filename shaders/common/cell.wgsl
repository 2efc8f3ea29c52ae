// The cell of an LSTM (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers, 2000): what every
// kernel with a timestep makes of a unit's four sums, and the derivative of that. After activations.wgsl.
//
//   i, f, o = sigmoid of the sums;  g = tanh
//   c       = f * c_prev + i * g
//   h       = o * tanh(c)
//
// Twin: reference/cell.rs.

// What a unit has after a timestep.
struct Cell {
    gates: vec4<f32>,  // (i, f, g, o), activated
    c: f32,
    h: f32,
}

fn cell_forward(sums: vec4<f32>, c_prev: f32) -> Cell {
    let s = sigmoid(sums);
    let gates = vec4(s.x, s.y, hyperbolic_tangent(sums).z, s.w);
    let c = gates.y * c_prev + gates.x * gates.z;
    return Cell(gates, c, gates.w * hyperbolic_tangent(vec4(c)).x);
}

// What comes back from a timestep to a unit.
struct CellGradient {
    sums: vec4<f32>,  // of (i, f, g, o), before they were activated
    c_prev: f32,
}

// From the gates and cell states that it had, and from the gradients `dh` and `dc` of its states:
//
//   dc     += dh * o * (1 - tanh(c)^2)
//   d sums  = (dc * g * i(1-i), dc * c_prev * f(1-f), dc * i * (1-g^2), dh * tanh(c) * o(1-o))
//   dc_prev = dc * f
fn cell_backward(gates: vec4<f32>, c_prev: f32, c: f32, dh: f32, dc: f32) -> CellGradient {
    let tanh_c = hyperbolic_tangent(vec4(c)).x;
    let d_cell = dc + dh * gates.w * (1.0 - tanh_c * tanh_c);
    let d_sums = vec4(
        d_cell * gates.z * gates.x * (1.0 - gates.x),
        d_cell * c_prev * gates.y * (1.0 - gates.y),
        d_cell * gates.x * (1.0 - gates.z * gates.z),
        dh * tanh_c * gates.w * (1.0 - gates.w),
    );
    return CellGradient(d_sums, d_cell * gates.y);
}
