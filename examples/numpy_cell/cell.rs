//! A cell that keeps its state, one timestep at a time, from the arrays that a NumPy program has.

use gatefold::checkpoint::{GateLayout, GateNames, StateDict, from_gates};
use gatefold::{Array, Device, Lstm, LstmState, Result, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// What the arrays are called, in the order in which this crate has the gates: input gate, forget
/// gate, candidate, output gate. `x @ W + h @ U + b` makes them `W [I, H]`, `U [H, H]`, `b [1, H]`.
pub const NAMES: GateNames<'static> = GateNames {
    weight_ih: ["Wi", "Wf", "Wc", "Wo"],
    weight_hh: ["Ui", "Uf", "Uc", "Uo"],
    bias: ["bi", "bf", "bc", "bo"],
    layout: GateLayout::InputFirst,
};

/// Twelve arrays: 0.01 times normal weights, and biases of zero.
pub fn draw(input_size: usize, hidden_size: usize, rng: &mut ChaCha8Rng) -> Result<StateDict> {
    let mut arrays = Vec::new();
    for gate in ["f", "i", "c", "o"] {
        for (letter, rows) in [("W", input_size), ("U", hidden_size)] {
            let normal = StandardNormal.sample_iter(&mut *rng).take(rows * hidden_size);
            let values = normal.map(|z: f32| 0.01 * z).collect();
            arrays.push((format!("{letter}{gate}"), Array::new(values, &[rows, hidden_size])?));
        }
        arrays.push((format!("b{gate}"), Array::new(vec![0.0; hidden_size], &[1, hidden_size])?));
    }
    Ok(arrays)
}

/// The cell. Between calls of [`forward`](Self::forward) its state stays on the device.
pub struct Cell {
    pub lstm: Lstm,
    state: LstmState,
}

impl Cell {
    /// From a NumPy program's arrays, with a state of zeros.
    pub fn new(arrays: &[(String, Array)], device: &Device) -> Result<Cell> {
        // PyTorch's names and layouts: the gates one below the other, each matrix transposed,
        // `weight_ih_l0 [4H, I]`, `weight_hh_l0 [4H, H]`, `bias_ih_l0 [4H]`.
        let layer = from_gates(arrays, &NAMES, "l0")?;
        let lstm = Lstm::from_state_dict(device, &layer)?;
        let state = lstm.initial_state(1)?; // of one sequence
        Ok(Cell { lstm, state })
    }

    /// Goes on by one timestep, and returns the new hidden state and the new cell state.
    pub fn forward(&mut self, x_t: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let x_t = Tensor::from_slice(self.lstm.device(), x_t, &[1, x_t.len()])?; // B, I
        let h = self.lstm.step(&x_t, &mut self.state)?;
        Ok((h.to_vec()?, self.state.c.to_vec()?))
    }
}
