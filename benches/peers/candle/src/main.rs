//! The contestant of candle, on the CPU: `candle_nn::rnn::lstm`, its autograd, its AdamW without decay.

use std::collections::HashMap;

use candle_core::{Device, Tensor, Var};
use candle_nn::loss::mse;
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use candle_nn::rnn::{LSTM, LSTMConfig, LSTMState, RNN, lstm};
use candle_nn::{VarBuilder, VarMap};
use contestant::{
    Kind, LEARNING_RATE, LOSSES, Result, Run, Shape, THREADS, Task, serve, swap, version,
};

const NAMES: [&str; 4] = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];

struct Model {
    lstm: LSTM,
    /// The parameters in the order of [`NAMES`], where they are trained.
    parameters: Vec<Var>,
    shape: Shape,
}

impl Model {
    fn new(task: &Task, trained: bool) -> Result<Model> {
        let Shape { input, hidden, .. } = task.shape;
        let tensors = [
            Tensor::from_slice(&task.weight_ih, (4 * hidden, input), &Device::Cpu)?,
            Tensor::from_slice(&task.weight_hh, (4 * hidden, hidden), &Device::Cpu)?,
            Tensor::from_slice(&task.bias_ih, 4 * hidden, &Device::Cpu)?,
            Tensor::from_slice(&task.bias_hh, 4 * hidden, &Device::Cpu)?,
        ];
        let named = NAMES.into_iter().zip(tensors);
        let dtype = candle_core::DType::F32;
        let mut parameters = Vec::new();
        let builder = match trained {
            false => {
                let tensors: HashMap<_, _> = named.map(|(n, t)| (n.to_owned(), t)).collect();
                VarBuilder::from_tensors(tensors, dtype, &Device::Cpu)
            }
            true => {
                let map = VarMap::new();
                let mut known = map.data().lock().map_err(|_| "a poisoned map")?;
                for (name, tensor) in named {
                    let var = Var::from_tensor(&tensor)?;
                    parameters.push(var.clone());
                    known.insert(name.to_owned(), var);
                }
                drop(known);
                VarBuilder::from_varmap(&map, dtype, &Device::Cpu)
            }
        };
        let lstm = lstm(input, hidden, LSTMConfig::default(), builder)?;
        Ok(Model { lstm, parameters, shape: task.shape })
    }

    /// From `[T, B, width]` to the batch-major layout that it takes.
    fn batch_major(&self, values: &[f32], width: usize) -> Result<Tensor> {
        let Shape { steps, batch, .. } = self.shape;
        let values = swap(values, steps, batch, width);
        Ok(Tensor::from_vec(values, (batch, steps, width), &Device::Cpu)?)
    }

    fn states(&self, x: &Tensor) -> Result<Vec<LSTMState>> {
        Ok(self.lstm.seq(x)?)
    }

    fn outputs(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.lstm.states_to_tensor(&self.states(x)?)?)
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

struct Inference {
    model: Model,
    x: Tensor,
}

impl Run for Inference {
    fn check(&mut self) -> Result<Vec<f32>> {
        numbers(&self.model.outputs(&self.x)?.transpose(0, 1)?)
    }

    fn run(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.model.outputs(&self.x)?;
        }
        Ok(())
    }
}

struct Gradients {
    model: Model,
    x: Var,
    dy: Tensor,
}

impl Run for Gradients {
    fn check(&mut self) -> Result<Vec<f32>> {
        let y = self.model.outputs(self.x.as_tensor())?;
        let gradients = (y * &self.dy)?.sum_all()?.backward()?;
        let of = |var: &Var| gradients.get(var.as_tensor()).ok_or("a gradient is missing");
        let mut values = numbers(&of(&self.x)?.transpose(0, 1)?)?;
        for parameter in &self.model.parameters {
            values.extend(numbers(of(parameter)?)?);
        }
        Ok(values)
    }

    fn run(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            let y = self.model.outputs(self.x.as_tensor())?;
            (y * &self.dy)?.sum_all()?.backward()?;
        }
        Ok(())
    }
}

struct Training {
    model: Model,
    adam: AdamW,
    x: Tensor,
    target: Tensor,
}

impl Training {
    fn step(&mut self) -> Result<Tensor> {
        let states = self.model.states(&self.x)?;
        let last = states.last().ok_or("no timesteps")?;
        let loss = mse(last.h(), &self.target)?;
        self.adam.backward_step(&loss)?;
        Ok(loss)
    }
}

impl Run for Training {
    fn check(&mut self) -> Result<Vec<f32>> {
        (0..LOSSES).map(|_| Ok(self.step()?.to_scalar()?)).collect()
    }

    fn run(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.step()?;
        }
        Ok(())
    }
}

fn build(task: &Task) -> Result<Box<dyn Run>> {
    let Shape { batch, input, hidden, .. } = task.shape;
    let model = Model::new(task, task.kind != Kind::Inference)?;
    let x = model.batch_major(&task.x, input)?;
    Ok(match task.kind {
        Kind::Inference => Box::new(Inference { model, x }),
        Kind::ForwardBackward => {
            let dy = model.batch_major(&task.dy, hidden)?;
            Box::new(Gradients { model, x: Var::from_tensor(&x)?, dy })
        }
        Kind::Step => {
            let settings =
                ParamsAdamW { lr: LEARNING_RATE, weight_decay: 0.0, ..ParamsAdamW::default() };
            let adam = AdamW::new(model.parameters.clone(), settings)?;
            let target = Tensor::from_slice(&task.target, (batch, hidden), &Device::Cpu)?;
            Box::new(Training { model, adam, x, target })
        }
    })
}

fn main() -> Result<()> {
    let threads = candle_core::utils::get_num_threads();
    if threads != THREADS {
        return Err(format!("{threads} threads; the driver sets RAYON_NUM_THREADS").into());
    }
    let about = format!("candle {}, CPU, {threads} threads", version("candle-core"));
    serve(&about, |task| build(&task))
}
