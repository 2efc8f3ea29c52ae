//! The lower half, for a framework that has an autodiff of its own: a forward pass that keeps what
//! its backward pass needs, and a backward pass that takes the gradients of the outputs and returns
//! those of inputs and parameters, all on the device.
//!
//! The framework here is a few lines: a linear map before the layer, a loss behind it, and plain
//! gradient descent. The layer learns to say the running mean of its input.

#[path = "../common/mod.rs"]
mod common;

use gatefold::checkpoint::StateDict;
use gatefold::{Array, Device, Lstm, LstmConfig, Result, Tensor};

const HELP: &str = "\
Forward and backward passes for a framework with an autodiff of its own. There are no options.

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

const STEPS: usize = 12;
const ROWS: usize = 16;
const UNITS: usize = 8;
const ROUNDS: u64 = 150;

/// The framework's own operation: `x = w * raw`, and its gradient.
struct Scale {
    w: f32,
}

impl Scale {
    fn forward(&self, raw: &[f32]) -> Vec<f32> {
        raw.iter().map(|v| self.w * v).collect()
    }

    fn backward(&self, raw: &[f32], dx: &[f32]) -> f32 {
        raw.iter().zip(dx).map(|(v, d)| v * d).sum()
    }
}

/// Numbers that look random.
fn noise(i: usize) -> f32 {
    ((i as f32 * 12.9898).sin() * 43_758.547).fract()
}

/// Returns the first and the last loss, and how far the gradient of `w` is from a difference.
pub fn run(device: &Device) -> Result<(f32, f32, f32)> {
    println!("running on {device}");
    let raw: Vec<f32> = (0..STEPS * ROWS).map(noise).collect();
    // The mean of what a row has said so far, from its first unit.
    let target: Vec<f32> = (0..STEPS * ROWS)
        .map(|i| {
            let (t, b) = (i / ROWS, i % ROWS);
            (0..=t).map(|s| raw[s * ROWS + b]).sum::<f32>() / (t + 1) as f32
        })
        .collect();
    let mut scale = Scale { w: 0.5 };
    let mut lstm = Lstm::new(device, LstmConfig::new(1, UNITS).seed(1))?;

    // The loss and its gradients: of `w`, and of the layer's parameters.
    let round = |scale: &Scale, lstm: &Lstm, step: u64| -> Result<(f32, f32, StateDict)> {
        let x = Tensor::from_slice(device, &scale.forward(&raw), &[STEPS, ROWS, 1])?;
        let pass = lstm.forward_training(&x, None, None, step)?;
        let y = pass.output().to_vec()?;
        let mut dy = vec![0.0; y.len()];
        let mut loss = 0.0;
        for (i, want) in target.iter().enumerate() {
            let error = y[i * UNITS] - want;
            loss += error * error / target.len() as f32;
            dy[i * UNITS] = 2.0 * error / target.len() as f32;
        }
        let dy = Tensor::from_slice(device, &dy, pass.output().shape())?;
        let gradients = pass.backward(Some(&dy), None)?;
        let dw = scale.backward(&raw, &gradients.x.to_vec()?);
        Ok((loss, dw, gradients.parameters()?))
    };

    // The chain through the layer, against a difference.
    let step = 1e-2;
    let at = |w: f32| round(&Scale { w }, &lstm, 0).map(|(loss, ..)| loss);
    let difference = (at(scale.w + step)? - at(scale.w - step)?) / (2.0 * step);
    let (first, dw, _) = round(&scale, &lstm, 0)?;
    let apart = (dw - difference).abs() / difference.abs();
    println!("dloss/dw {dw:.6}, by differences {difference:.6}");

    let mut last = first;
    for step in 1..=ROUNDS {
        let (loss, dw, gradients) = round(&scale, &lstm, step)?;
        scale.w -= 0.5 * dw;
        let descend = |((name, p), (_, d)): (&(String, Array), &(String, Array))| {
            let moved = p.data().iter().zip(d.data()).map(|(p, d)| p - 0.5 * d).collect();
            Ok((name.clone(), Array::new(moved, p.shape())?))
        };
        let dict = lstm.state_dict()?;
        let moved = dict.iter().zip(&gradients).map(descend).collect::<Result<Vec<_>>>()?;
        lstm.load_state_dict(&moved)?;
        if step % 50 == 0 {
            println!("round {step:>3}: loss {loss:.5}, w {:.3}", scale.w);
        }
        last = loss;
    }
    Ok((first, last, apart))
}

#[allow(dead_code, reason = "the suite calls `run`")]
fn main() -> std::process::ExitCode {
    common::main(HELP, common::no_options(), |()| run(&Device::from_env()?).map(|_| ()))
}
