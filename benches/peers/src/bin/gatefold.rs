//! Our own contestant, through the public interface: `peers-gatefold cpu`, or an adapter's name.

use contestant::{Kind, LEARNING_RATE, LOSSES, Result, Run, Shape, THREADS, Task, missing, serve};
use gatefold::cpu::Cpu;
use gatefold::train::{Adam, Loss, Trainer, TrainingBindings};
use gatefold::wgpu::{self, Buffer};
use gatefold::{Array, Dataset, Device, Forecaster, Lstm, Tensor};

/// Under PyTorch's names, behind `prefix`.
fn parameters(task: &Task, prefix: &str) -> Result<Vec<(String, Array)>> {
    let Shape { input, hidden, .. } = task.shape;
    let tensors: [(_, _, &[usize]); 4] = [
        ("weight_ih_l0", &task.weight_ih, &[4 * hidden, input]),
        ("weight_hh_l0", &task.weight_hh, &[4 * hidden, hidden]),
        ("bias_ih_l0", &task.bias_ih, &[4 * hidden]),
        ("bias_hh_l0", &task.bias_hh, &[4 * hidden]),
    ];
    let array = |(name, values, shape): (_, &Vec<f32>, _)| {
        Ok((format!("{prefix}{name}"), Array::new(values.clone(), shape)?))
    };
    tensors.into_iter().map(array).collect()
}

fn lstm(device: &Device, task: &Task) -> Result<Lstm> {
    Ok(Lstm::from_state_dict(device, &parameters(task, "")?)?)
}

struct Inference {
    lstm: Lstm,
    x: Tensor,
}

impl Run for Inference {
    fn check(&mut self) -> Result<Vec<f32>> {
        Ok(self.lstm.forward(&self.x, None)?.0.to_vec()?)
    }

    fn run(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.lstm.forward(&self.x, None)?;
            self.x.device().wait()?;
        }
        Ok(())
    }
}

struct Gradients {
    lstm: Lstm,
    x: Tensor,
    dy: Tensor,
}

impl Run for Gradients {
    fn check(&mut self) -> Result<Vec<f32>> {
        let pass = self.lstm.forward_training(&self.x, None, None, 1)?;
        let gradients = pass.backward(Some(&self.dy), None)?;
        let mut values = gradients.x.to_vec()?;
        let parameters = gradients.parameters()?;
        for name in ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"] {
            let found = parameters.iter().find(|(known, _)| known == name);
            values.extend_from_slice(found.ok_or("a gradient is missing")?.1.data());
        }
        Ok(values)
    }

    fn run(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            let pass = self.lstm.forward_training(&self.x, None, None, 1)?;
            pass.backward(Some(&self.dy), None)?;
            self.x.device().wait()?;
        }
        Ok(())
    }
}

fn trainer(device: &Device, task: &Task) -> Result<Trainer> {
    let model = Forecaster::from_state_dict(device, &parameters(task, "lstm.")?, "lstm.", "fc.")?;
    Ok(Trainer::new(model, Loss::mse(), Adam::new(LEARNING_RATE)).batch_size(task.shape.batch))
}

/// On the CPU: epochs of one batch.
struct Fit {
    /// Gone only while it is given other settings.
    trainer: Option<Trainer>,
    data: Dataset,
}

impl Fit {
    fn new(device: &Device, task: &Task) -> Result<Fit> {
        let Shape { steps, batch, input, hidden } = task.shape;
        let x = contestant::swap(&task.x, steps, batch, input);
        let x = Array::new(x, &[batch, steps, input])?;
        let data = Dataset::new(x, Array::new(task.target.clone(), &[batch, hidden])?)?;
        Ok(Fit { trainer: Some(trainer(device, task)?), data })
    }

    fn fit(&mut self, steps: usize) -> Result<Vec<f32>> {
        let trainer = self.trainer.take().ok_or("an earlier step has failed")?;
        // A run without end, so many steps of it at a time.
        let trainer = trainer.epochs(usize::MAX).report_every(usize::MAX);
        let mut trainer = trainer.max_steps(steps as u64);
        let losses = trainer.fit(&self.data, None, |_| ())?.step_losses;
        self.trainer = Some(trainer);
        Ok(losses)
    }
}

impl Run for Fit {
    fn check(&mut self) -> Result<Vec<f32>> {
        self.fit(LOSSES)
    }

    fn run(&mut self, times: usize) -> Result<()> {
        self.fit(times).map(|_| ())
    }
}

/// On a GPU: steps on a batch that is there already.
struct Recorded {
    trainer: Trainer,
    sizes: (usize, usize),
    x: Tensor,
    target: Tensor,
    loss: Tensor,
}

impl Recorded {
    fn new(device: &Device, task: &Task) -> Result<Recorded> {
        let Shape { steps, batch, input, hidden } = task.shape;
        Ok(Recorded {
            trainer: trainer(device, task)?,
            sizes: (steps, batch),
            x: Tensor::from_slice(device, &task.x, &[steps, batch, input])?,
            target: Tensor::from_slice(device, &task.target, &[batch, hidden])?,
            loss: Tensor::zeros(device, &[1])?,
        })
    }

    fn step(&mut self) -> Result<()> {
        let gpu = self.x.device().as_gpu().ok_or("not a GPU")?;
        let buffer = |tensor: &Tensor| -> Result<Buffer> {
            Ok(tensor.as_wgpu().ok_or("not on a GPU")?.clone())
        };
        let [x, target, loss] = [buffer(&self.x)?, buffer(&self.target)?, buffer(&self.loss)?];
        let bindings = TrainingBindings {
            x: x.slice(..),
            target: target.slice(..),
            loss: Some(loss.slice(..4)),
        };
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        let mut encoder = gpu.wgpu_device().create_command_encoder(&descriptor);
        self.trainer.record_step(&mut encoder, self.sizes, &bindings)?;
        gpu.wgpu_queue().submit([encoder.finish()]);
        Ok(())
    }
}

impl Run for Recorded {
    fn check(&mut self) -> Result<Vec<f32>> {
        let mut losses = Vec::new();
        for _ in 0..LOSSES {
            self.step()?;
            losses.extend(self.loss.to_vec()?);
        }
        Ok(losses)
    }

    fn run(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.step()?;
        }
        // It waits, and would tell of a step that wasn't finite.
        Ok(self.trainer.expect_finite()?)
    }
}

fn build(device: &Device, task: &Task) -> Result<Box<dyn Run>> {
    let Shape { steps, batch, input, hidden } = task.shape;
    let x = || Tensor::from_slice(device, &task.x, &[steps, batch, input]);
    Ok(match task.kind {
        Kind::Inference => Box::new(Inference { lstm: lstm(device, task)?, x: x()? }),
        Kind::ForwardBackward => {
            let dy = Tensor::from_slice(device, &task.dy, &[steps, batch, hidden])?;
            Box::new(Gradients { lstm: lstm(device, task)?, x: x()?, dy })
        }
        Kind::Step if device.as_gpu().is_some() => Box::new(Recorded::new(device, task)?),
        Kind::Step => Box::new(Fit::new(device, task)?),
    })
}

fn main() -> Result<()> {
    let name = std::env::args().nth(1).ok_or("on which device?")?;
    let device = match name.as_str() {
        "cpu" => Cpu::with_threads(THREADS).map(Device::from_cpu),
        _ => Device::named(&name),
    };
    match device {
        Ok(device) => serve(&format!("gatefold on {device}"), move |task| build(&device, &task)),
        Err(error) => {
            missing(&error.to_string());
            Ok(())
        }
    }
}
