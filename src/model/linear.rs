//! `torch.nn.Linear`.

use std::path::Path;

use super::config::Said;
use super::names::Names;
use super::state_dict::Wanted;
use super::{Init, LstmConfig, Network, parameter_methods};
use crate::checkpoint::Checkpoint;
use crate::device::Device;
use crate::error::Result;
use crate::plan::{Bias, Head, Sequences};
use crate::tensor::{Array, Tensor};

fn names() -> Names {
    Names::new("lstm.", "")
}

/// The settings of a [`Linear`]; the defaults are those of `torch.nn.Linear`.
///
/// ```
/// use gatefold::{Device, Init, Linear, LinearConfig};
/// let config = LinearConfig::new(3, 2).bias(false).init("weight", Init::XavierUniform).seed(7);
/// let linear = Linear::with(&Device::cpu(), config)?;
/// assert_eq!(linear.state_dict()?.len(), 1);
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LinearConfig {
    outputs: usize,
    bias: bool,
    /// Initial values and seed are those of any parameters.
    config: LstmConfig,
}

impl LinearConfig {
    /// `inputs` features to `outputs`, with a bias; parameters uniform in `+-1/sqrt(inputs)`.
    pub fn new(inputs: usize, outputs: usize) -> LinearConfig {
        let config = LstmConfig::new(inputs, inputs).layers(0).bias(Bias::None);
        LinearConfig { outputs, bias: true, config }
    }

    /// Whether it has a bias. Default yes.
    pub fn bias(self, bias: bool) -> Self {
        LinearConfig { bias, ..self }
    }

    /// Initial values for `weight` or `bias`, whichever names contain `pattern`; a later call wins.
    pub fn init(self, pattern: &str, init: Init) -> Self {
        LinearConfig { config: self.config.init(pattern, init), ..self }
    }

    /// The seed of the initial values. Default 0.
    pub fn seed(self, seed: u64) -> Self {
        LinearConfig { config: self.config.seed(seed), ..self }
    }
}

/// `y = x W^T + b`, as
/// [`torch.nn.Linear`](https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html).
///
/// ```
/// use gatefold::{Device, Linear, Tensor};
/// let device = Device::cpu();
/// let linear = Linear::new(&device, 3, 2, 7)?;
/// let x = Tensor::from_slice(&device, &[1.0; 15], &[5, 3])?;
/// assert_eq!(linear.forward(&x)?.shape(), [5, 2]);
/// # Ok::<(), gatefold::Error>(())
/// ```
pub struct Linear {
    network: Network,
}

impl Linear {
    /// With parameters uniform in `+-1/sqrt(inputs)`, as PyTorch draws them.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a zero size,
    /// [`Error::Overflow`](crate::Error::Overflow), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn new(device: &Device, inputs: usize, outputs: usize, seed: u64) -> Result<Linear> {
        Linear::with(device, LinearConfig::new(inputs, outputs).seed(seed))
    }

    /// With other settings.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Value`](crate::Error::Value) for an initialiser that matches
    /// nothing.
    pub fn with(device: &Device, config: LinearConfig) -> Result<Linear> {
        let LinearConfig { outputs, bias, config } = config;
        let head = match bias {
            true => Head::Linear(outputs),
            false => Head::new().linear_without_bias(outputs),
        };
        Ok(Linear { network: Network::new(device, &config, head, names())? })
    }

    /// From a file that [`Linear::save`] or PyTorch has written.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Checkpoint`](crate::Error::Checkpoint) with every missing,
    /// unexpected and misshapen tensor.
    pub fn load(device: &Device, path: impl AsRef<Path>) -> Result<Linear> {
        let (network, _) = Network::load(device, path.as_ref(), names(), Wanted::Linear)?;
        Ok(Linear { network })
    }

    /// From what a file holds, or from a [part](crate::checkpoint::Checkpoint::with_prefix) of it, as
    /// [`Lstm::from_checkpoint`](crate::Lstm::from_checkpoint).
    ///
    /// # Errors
    /// As [`from_state_dict`](Self::from_state_dict).
    pub fn from_checkpoint(device: &Device, file: &Checkpoint) -> Result<Linear> {
        let network = Network::of_file(device, file, names(), Wanted::Linear, &Said::default())?;
        Ok(Linear { network })
    }

    /// From the tensors `weight` and `bias`, whose shapes say how large it is.
    ///
    /// # Errors
    /// [`Error::StateDict`](crate::Error::StateDict) with every missing, unexpected and misshapen tensor.
    pub fn from_state_dict(device: &Device, tensors: &[(String, Array)]) -> Result<Linear> {
        let network =
            Network::of(device, tensors.into(), names(), None, Wanted::Linear, &Said::default())?;
        Ok(Linear { network })
    }

    parameter_methods!();

    /// `x [B, I]` to `[B, O]`. Nothing is read back.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape), [`Error::OtherDevice`](crate::Error::OtherDevice),
    /// [`Error::Limit`](crate::Error::Limit), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (device, shape) = (&self.network.device, &self.network.shape);
        x.expect("Linear::forward", "x", device, &[("B", None), ("I", Some(shape.input))])?;
        let y = Tensor::zeros(device, &[x.shape()[0], shape.outputs()])?;
        let ready = self.network.forward_session(&Sequences::new(1, x.shape()[0]))?;
        let mut recorder = device.recorder();
        recorder.input(&ready.session, "x", x.at(), x.len());
        recorder.run(&ready.session, 0);
        recorder.copy((&ready.session.known("y"), 0), y.at(), y.len());
        recorder.submit()?;
        Ok(y)
    }
}
