//! `torch.nn.LSTMCell`.

use std::path::Path;

use super::config::Said;
use super::names::Names;
use super::state_dict::Wanted;
use super::{LstmConfig, LstmState, Network, parameter_methods};
use crate::checkpoint::Checkpoint;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::plan::{Head, Sequences};
use crate::tensor::{Array, Tensor};

/// One timestep of one layer, as
/// [`torch.nn.LSTMCell`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTMCell.html):
/// for loops that the caller writes. Its kernels are those of [`Lstm`](crate::Lstm), whose
/// [`step`](crate::Lstm::step) does the same for a stack.
///
/// ```
/// use gatefold::{Device, LstmCell, LstmConfig, Tensor};
/// let device = Device::cpu();
/// let cell = LstmCell::new(&device, LstmConfig::new(3, 8))?;
/// let x = Tensor::from_slice(&device, &[0.5; 2 * 3], &[2, 3])?; // B, I
/// let state = cell.forward(&x, None)?;
/// let state = cell.forward(&x, Some(&state))?;
/// assert_eq!(state.h.shape(), [2, 8]); // B, H
/// # Ok::<(), gatefold::Error>(())
/// ```
pub struct LstmCell {
    network: Network,
}

fn names() -> Names {
    Names { cell: true, ..Names::new("", "") }
}

impl LstmCell {
    /// With fresh parameters.
    ///
    /// # Errors
    /// [`Error::Value`] for a zero size, for settings that a cell doesn't have, such as layers, or
    /// for an initialiser that matches nothing; [`Error::Overflow`], [`Error::OutOfMemory`].
    pub fn new(device: &Device, config: LstmConfig) -> Result<LstmCell> {
        config.expect_one_module("LstmCell::new")?;
        let plain = config.clone().batch_first(false).dropout(0.0);
        let shape = plain.shape(Head::Sequence);
        let right = Wanted::Cell.expect(&shape).is_ok();
        if !right {
            return Err(Error::Value {
                operation: "LstmCell::new",
                name: "config".to_owned(),
                expected: "one layer in one direction, without projection and learned state"
                    .to_owned(),
                got: config.to_string(),
            });
        }
        Ok(LstmCell { network: Network::new(device, &plain, Head::Sequence, names())? })
    }

    /// From a file that [`LstmCell::save`] or PyTorch has written.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] with every missing, unexpected and misshapen tensor.
    pub fn load(device: &Device, path: impl AsRef<Path>) -> Result<LstmCell> {
        let (network, _) = Network::load(device, path.as_ref(), names(), Wanted::Cell)?;
        Ok(LstmCell { network })
    }

    /// From what a file holds, or from a [part](crate::checkpoint::Checkpoint::with_prefix) of it, as
    /// [`Lstm::from_checkpoint`](crate::Lstm::from_checkpoint).
    ///
    /// # Errors
    /// As [`from_state_dict`](Self::from_state_dict).
    pub fn from_checkpoint(device: &Device, file: &Checkpoint) -> Result<LstmCell> {
        let network = Network::of_file(device, file, names(), Wanted::Cell, &Said::default())?;
        Ok(LstmCell { network })
    }

    /// From tensors under PyTorch's names, whose shapes say how large it is.
    ///
    /// # Errors
    /// [`Error::StateDict`] with every missing, unexpected and misshapen tensor.
    pub fn from_state_dict(device: &Device, tensors: &[(String, Array)]) -> Result<LstmCell> {
        let network =
            Network::of(device, tensors.into(), names(), None, Wanted::Cell, &Said::default())?;
        Ok(LstmCell { network })
    }

    parameter_methods!();

    /// The states after one timestep, from `state` or from zeros. Nothing is read back.
    ///
    /// # Shapes
    /// `x [B, I]`; both states `[B, H]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OtherDevice`], [`Error::Limit`], [`Error::OutOfMemory`].
    pub fn forward(&self, x: &Tensor, state: Option<&LstmState>) -> Result<LstmState> {
        let operation = "LstmCell::forward";
        let (device, shape) = (&self.network.device, &self.network.shape);
        x.expect(operation, "x", device, &[("B", None), ("I", Some(shape.input))])?;
        let batch = x.shape()[0];
        let size = [("B", Some(batch)), ("H", Some(shape.hidden))];
        if let Some(state) = state {
            state.h.expect(operation, "h", device, &size)?;
            state.c.expect(operation, "c", device, &size)?;
        }
        let sequences = Sequences { state: state.is_some(), ..Sequences::new(1, batch) };
        let ready = self.network.forward_session(&sequences)?;
        let session = &ready.session;
        let next = LstmState {
            h: Tensor::zeros(device, &[batch, shape.hidden])?,
            c: Tensor::zeros(device, &[batch, shape.hidden])?,
        };
        let mut recorder = device.recorder();
        recorder.input(session, "x", x.at(), x.len());
        if let Some(state) = state {
            recorder.copy(state.h.at(), (&session.known("h_0"), 0), state.h.len());
            recorder.copy(state.c.at(), (&session.known("c_0"), 0), state.c.len());
        }
        recorder.run(session, 0);
        recorder.copy((&session.known("h_n"), 0), next.h.at(), next.h.len());
        recorder.copy((&session.known("c_n"), 0), next.c.at(), next.c.len());
        recorder.submit()?;
        Ok(next)
    }
}
