//! `torch.nn.LSTM`.

use std::path::Path;

use super::network::Prefixes;
use super::{LstmConfig, Network, parameter_methods};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::plan::Head;
use crate::tensor::Tensor;

const PREFIXES: Prefixes = Prefixes { lstm: "", head: "" };

/// Hidden and cell state of every layer.
#[derive(Clone, Debug)]
pub struct LstmState {
    /// `h_n`, `[L, B, H]`.
    pub h: Tensor,
    /// `c_n`, `[L, B, H]`.
    pub c: Tensor,
}

/// A stack of LSTM layers, as
/// [`torch.nn.LSTM`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html).
///
/// ```
/// use gatefold::{Device, Lstm, LstmConfig, Tensor};
/// let device = Device::cpu();
/// let lstm = Lstm::new(&device, LstmConfig::new(3, 8).layers(2))?;
/// let x = Tensor::from_slice(&device, &[0.5; 5 * 2 * 3], &[5, 2, 3])?; // T, B, I
/// let (y, state) = lstm.forward(&x, None)?;
/// assert_eq!(y.shape(), [5, 2, 8]);
/// assert_eq!(state.h.shape(), [2, 2, 8]); // L, B, H
/// # Ok::<(), gatefold::Error>(())
/// ```
pub struct Lstm {
    network: Network,
}

impl Lstm {
    /// With fresh parameters.
    ///
    /// # Errors
    /// [`Error::Value`] for a zero size or an initialiser that matches nothing,
    /// [`Error::Overflow`], [`Error::OutOfMemory`].
    pub fn new(device: &Device, config: LstmConfig) -> Result<Lstm> {
        config.expect_layers("Lstm::new")?;
        Ok(Lstm { network: Network::new(device, &config, Head::Sequence, PREFIXES)? })
    }

    /// From a file that [`Lstm::save`] or PyTorch has written.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`].
    pub fn load(device: &Device, path: impl AsRef<Path>) -> Result<Lstm> {
        let path = path.as_ref();
        let (network, _) = Network::load(device, path, PREFIXES, Head::Sequence)?;
        if network.shape.head != Head::Sequence || network.shape.layers == 0 {
            let problem = "it holds another kind of model".to_owned();
            return Err(Error::Checkpoint { path: path.to_owned(), problem });
        }
        Ok(Lstm { network })
    }

    parameter_methods!();

    /// Runs over `x` from `state`, or from zeros. Nothing is read back.
    ///
    /// # Shapes
    /// `x [T, B, I]`; returns the top layer's outputs `[T, B, H]` and the final states, each
    /// `[L, B, H]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OtherDevice`], [`Error::Limit`], [`Error::OutOfMemory`].
    pub fn forward(&self, x: &Tensor, state: Option<&LstmState>) -> Result<(Tensor, LstmState)> {
        let operation = "Lstm::forward";
        let device = &self.network.device;
        let shape = &self.network.shape;
        x.expect(operation, "x", device, &[("T", None), ("B", None), ("I", Some(shape.input))])?;
        let (steps, batch, hidden, layers) =
            (x.shape()[0], x.shape()[1], shape.hidden, shape.layers);
        let dims = [("L", Some(layers)), ("B", Some(batch)), ("H", Some(hidden))];
        if let Some(state) = state {
            state.h.expect(operation, "h_0", device, &dims)?;
            state.c.expect(operation, "c_0", device, &dims)?;
        }
        let y = Tensor::zeros(device, &[steps, batch, hidden])?;
        let last = LstmState {
            h: Tensor::zeros(device, &[layers, batch, hidden])?,
            c: Tensor::zeros(device, &[layers, batch, hidden])?,
        };

        let session = self.network.forward_session(steps, batch)?;
        let slot = batch * hidden;
        let mut recorder = device.recorder();
        recorder.copy((&x.buffer, 0), (&session.known("x"), 0), x.len());
        for l in 0..layers {
            for (name, state) in [("h", state.map(|s| &s.h)), ("c", state.map(|s| &s.c))] {
                let slots = session.known(&format!("{name}_l{l}"));
                match state {
                    Some(state) => recorder.copy((&state.buffer, l * slot), (&slots, 0), slot),
                    None => recorder.zero((&slots, 0), slot),
                }
            }
        }
        recorder.run(&session, 0);
        for l in 0..layers {
            for (name, state) in [("h", &last.h), ("c", &last.c)] {
                let slots = session.known(&format!("{name}_l{l}"));
                recorder.copy((&slots, steps * slot), (&state.buffer, l * slot), slot);
            }
        }
        let top = session.known(&format!("h_l{}", layers - 1));
        recorder.copy((&top, slot), (&y.buffer, 0), y.len());
        recorder.submit()?;
        Ok((y, last))
    }
}
