//! The contestant of Burn: `peers-burn flex`, its CPU, or `peers-burn ADAPTER`, wgpu on the adapter
//! of that name.

use burn::module::Param;
use burn::nn::loss::{MseLoss, Reduction};
use burn::nn::{GateController, Lstm, LstmConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, DeviceType, Tensor, TensorData};
use contestant::{
    Kind, LEARNING_RATE, LOSSES, Result, Run, Shape, THREADS, Task, missing, serve, version,
};

/// PyTorch's order of gates.
fn gates(lstm: &mut Lstm) -> Result<[&mut GateController; 4]> {
    let forget = lstm.forget_gate.as_mut().ok_or("no forget gate")?;
    Ok([&mut lstm.input_gate, forget, &mut lstm.cell_gate, &mut lstm.output_gate])
}

/// From `[rows, columns]` to `[columns, rows]`.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    contestant::swap(values, rows, columns, 1)
}

fn model(device: &Device, task: &Task) -> Result<Lstm> {
    let Shape { input, hidden, .. } = task.shape;
    let mut lstm = LstmConfig::new(input, hidden, true).with_batch_first(false).init(device);
    for (at, gate) in gates(&mut lstm)?.into_iter().enumerate() {
        let parts = [
            (&mut gate.input_transform, &task.weight_ih, &task.bias_ih, input),
            (&mut gate.hidden_transform, &task.weight_hh, &task.bias_hh, hidden),
        ];
        for (linear, weight, bias, width) in parts {
            let weight = &weight[at * hidden * width..][..hidden * width];
            let weight = TensorData::new(transposed(weight, hidden, width), [width, hidden]);
            let bias = TensorData::new(bias[at * hidden..][..hidden].to_vec(), [hidden]);
            linear.weight = Param::from_data(weight, device);
            linear.bias = Some(Param::from_data(bias, device));
        }
    }
    Ok(lstm)
}

fn tensor<const D: usize>(device: &Device, values: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    Ok(tensor.into_data().try_to_vec().map_err(|error| format!("{error:?}"))?)
}

fn wait(device: &Device) -> Result<()> {
    Ok(device.sync().map_err(|error| format!("{error:?}"))?)
}

struct Inference {
    device: Device,
    lstm: Lstm,
    x: Tensor<3>,
}

impl Run for Inference {
    fn check(&mut self) -> Result<Vec<f32>> {
        numbers(self.lstm.forward(self.x.clone(), None).0)
    }

    fn run(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            // What nobody holds, fusion might leave out.
            let results = self.lstm.forward(self.x.clone(), None);
            wait(&self.device)?;
            drop(results);
        }
        Ok(())
    }
}

struct Gradients {
    device: Device,
    lstm: Lstm,
    x: Tensor<3>,
    dy: Tensor<3>,
}

impl Run for Gradients {
    fn check(&mut self) -> Result<Vec<f32>> {
        let x = self.x.clone().require_grad();
        let (y, _) = self.lstm.forward(x.clone(), None);
        let gradients = (y * self.dy.clone()).sum().backward();
        let lost = "a gradient is missing";
        let dx = numbers(x.grad(&gradients).ok_or(lost)?)?;
        let (mut weights, mut biases) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for gate in gates(&mut self.lstm)? {
            for (at, linear) in
                [&gate.input_transform, &gate.hidden_transform].into_iter().enumerate()
            {
                let weight = linear.weight.val().grad(&gradients).ok_or(lost)?;
                let [width, hidden] = weight.dims();
                weights[at].extend(transposed(&numbers(weight)?, width, hidden));
                let bias = linear.bias.as_ref().ok_or("no bias")?.val();
                biases[at].extend(numbers(bias.grad(&gradients).ok_or(lost)?)?);
            }
        }
        Ok([dx].into_iter().chain(weights).chain(biases).flatten().collect())
    }

    fn run(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            let x = self.x.clone().require_grad();
            let (y, _) = self.lstm.forward(x, None);
            let gradients = (y * self.dy.clone()).sum().backward();
            wait(&self.device)?;
            drop(gradients);
        }
        Ok(())
    }
}

struct Training {
    device: Device,
    /// Gone only while it is stepped.
    lstm: Option<Lstm>,
    adam: ModuleOptimizer,
    x: Tensor<3>,
    target: Tensor<2>,
}

impl Training {
    fn step(&mut self) -> Result<Tensor<1>> {
        let lstm = self.lstm.take().ok_or("an earlier step has failed")?;
        let (_, state) = lstm.forward(self.x.clone(), None);
        let loss = MseLoss::new().forward(state.hidden, self.target.clone(), Reduction::Mean);
        let gradients = GradientsParams::from_grads(loss.backward(), &lstm);
        self.lstm = Some(self.adam.step(LEARNING_RATE, lstm, gradients));
        Ok(loss)
    }
}

impl Run for Training {
    fn check(&mut self) -> Result<Vec<f32>> {
        let losses: Result<Vec<_>> = (0..LOSSES).map(|_| numbers(self.step()?)).collect();
        Ok(losses?.concat())
    }

    fn run(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.step()?;
        }
        wait(&self.device)
    }
}

fn build(plain: &Device, task: &Task) -> Result<Box<dyn Run>> {
    let Shape { steps, batch, input, hidden } = task.shape;
    let device = match task.kind {
        Kind::Inference => plain.clone(),
        _ => plain.clone().autodiff(),
    };
    let lstm = model(&device, task)?;
    let x = tensor(&device, &task.x, [steps, batch, input]);
    Ok(match task.kind {
        Kind::Inference => Box::new(Inference { device, lstm, x }),
        Kind::ForwardBackward => {
            let dy = tensor(&device, &task.dy, [steps, batch, hidden]);
            Box::new(Gradients { device, lstm, x, dy })
        }
        Kind::Step => {
            // PyTorch's epsilon.
            let adam = AdamConfig::new().with_epsilon(1e-8).init();
            let target = tensor(&device, &task.target, [batch, hidden]);
            Box::new(Training { device, lstm: Some(lstm), adam, x, target })
        }
    })
}

/// Burn's own device, which knows its adapter by name.
fn named(name: &str) -> Option<Device> {
    let devices = Device::enumerate(DeviceType::Wgpu).into_vec();
    devices.into_iter().find(|device| device.identity().is_some_and(|known| known.name == name))
}

fn main() -> Result<()> {
    let name = std::env::args().nth(1).ok_or("on which device?")?;
    let version = version("burn");
    let (device, about) = match name.as_str() {
        "flex" => (Device::flex(), format!("Burn {version}, flex, CPU, {THREADS} threads")),
        adapter => {
            let Some(device) = named(adapter) else {
                missing(&format!("Burn finds no adapter called {adapter}"));
                return Ok(());
            };
            (device, format!("Burn {version}, wgpu, {adapter}"))
        }
    };
    serve(&about, move |task| build(&device, &task))
}
