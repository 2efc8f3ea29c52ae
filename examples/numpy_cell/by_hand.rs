//! The same cell in plain loops, written down from the equations.

use std::collections::HashMap;

use gatefold::Array;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The cell, in the double precision that NumPy has.
pub struct CellByHand {
    arrays: HashMap<String, Array>,
    c_prev: Vec<f64>,
    h_prev: Vec<f64>,
}

impl CellByHand {
    /// From the same arrays: `Wf [I, H]`, `Uf [H, H]`, `bf [1, H]` and so on.
    pub fn new(arrays: &[(String, Array)], hidden_size: usize) -> CellByHand {
        CellByHand {
            arrays: arrays.iter().cloned().collect(),
            c_prev: vec![0.0; hidden_size],
            h_prev: vec![0.0; hidden_size],
        }
    }

    /// `x @ W + h_prev @ U + b` of a gate, for one of the hidden units: a column of each array.
    fn sum(&self, gate: &str, unit: usize, x: &[f32]) -> f64 {
        let hidden_size = self.h_prev.len();
        let column = |letter: &str, row: usize| {
            f64::from(self.arrays[&format!("{letter}{gate}")].data()[row * hidden_size + unit])
        };
        let mut sum = column("b", 0);
        for (row, &x) in x.iter().enumerate() {
            sum += f64::from(x) * column("W", row);
        }
        for (row, &h) in self.h_prev.iter().enumerate() {
            sum += h * column("U", row);
        }
        sum
    }

    /// Goes on by one timestep, and returns the new hidden state and the new cell state.
    pub fn forward(&mut self, x: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let (mut h, mut c) = (Vec::new(), Vec::new());
        for unit in 0..self.h_prev.len() {
            let f = sigmoid(self.sum("f", unit, x)); // forget gate
            let i = sigmoid(self.sum("i", unit, x)); // input gate
            let c_hat = self.sum("c", unit, x).tanh(); // candidate
            let o = sigmoid(self.sum("o", unit, x)); // output gate
            c.push(f * self.c_prev[unit] + i * c_hat); // cell state
            h.push(o * c[unit].tanh()); // hidden state
        }
        // Only now: every unit has to see the old states.
        (self.h_prev, self.c_prev) = (h.clone(), c.clone());
        (h, c)
    }
}
