//! A forward pass of an LSTM that is kept for its backward pass.

use super::sessions::InUse;
use super::{Lstm, LstmState};
use crate::error::{Error, Result};
use crate::tensor::{Array, Tensor};

/// A forward pass in training, with everything that its backward pass needs.
pub struct TrainingPass {
    pub(super) lstm: Lstm,
    pub(super) ready: InUse,
    /// The shape of the input.
    pub(super) x: Vec<usize>,
    pub(super) output: Tensor,
    pub(super) state: LstmState,
    /// How often the model's parameters had been replaced.
    pub(super) parameters: u64,
}

impl TrainingPass {
    /// The outputs, as [`Lstm::forward`] returns them.
    pub fn output(&self) -> &Tensor {
        &self.output
    }

    /// The final states.
    pub fn state(&self) -> &LstmState {
        &self.state
    }

    /// Propagates the gradients of the outputs and of the final states back; what isn't given is
    /// zero, and what `dy` holds after a row's end doesn't count. Nothing is read back. It ends the
    /// pass, since the gradients take the place of what was kept; clones of its output and state
    /// stay.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where a gradient isn't of its value's shape, [`Error::OtherDevice`](crate::Error::OtherDevice),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory); [`Error::Value`](crate::Error::Value) where the
    /// model's parameters have been replaced since, which PyTorch refuses likewise.
    pub fn backward(
        self,
        dy: Option<&Tensor>,
        dstate: Option<&LstmState>,
    ) -> Result<LstmGradients> {
        let operation = "TrainingPass::backward";
        let (network, session) = (&self.lstm.network, &self.ready.session);
        let parameters = network.parameters();
        if *parameters != self.parameters {
            return Err(Error::Value {
                operation,
                name: "parameters".to_owned(),
                expected: "those that the forward pass has run with".to_owned(),
                got: "others, which load_state_dict has put in their place since".to_owned(),
            });
        }
        let device = &network.device;
        let [h, c] = [dstate.map(|state| &state.h), dstate.map(|state| &state.c)];
        let parts =
            [("dy", dy, &self.output), ("dh_n", h, &self.state.h), ("dc_n", c, &self.state.c)];
        for (name, tensor, like) in parts {
            if let Some(tensor) = tensor {
                let size: Vec<_> = like.shape().iter().map(|&size| ("", Some(size))).collect();
                tensor.expect(operation, name, device, &size)?;
            }
        }
        let gradients = LstmGradients {
            x: Tensor::zeros(device, &self.x)?,
            h_0: Tensor::zeros(device, self.state.h.shape())?,
            c_0: Tensor::zeros(device, self.state.c.shape())?,
            parameters: Tensor::zeros(device, &[network.table.len])?,
            lstm: self.lstm.clone(),
        };
        let mut recorder = device.recorder();
        for (name, tensor, like) in parts {
            let to = session.known(name);
            match tensor {
                Some(tensor) => recorder.copy(tensor.at(), (&to, 0), tensor.len()),
                None => recorder.zero((&to, 0), like.len()),
            }
        }
        let commands = session.program().commands.len();
        recorder.run_commands(session, self.ready.plan.backward_from..commands, 0);
        let results = [
            ("dx_0", &gradients.x),
            ("dh_0", &gradients.h_0),
            ("dc_0", &gradients.c_0),
            ("grads", &gradients.parameters),
        ];
        for (name, tensor) in results {
            recorder.copy((&session.known(name), 0), tensor.at(), tensor.len());
        }
        recorder.submit()?;
        Ok(gradients)
    }
}

/// The gradients of a backward pass, on the device.
#[derive(Debug)]
pub struct LstmGradients {
    /// Of the input, in its shape; zero after a row's end.
    pub x: Tensor,
    /// Of the initial hidden states, `[L D, B, P]`.
    pub h_0: Tensor,
    /// Of the initial cell states, `[L D, B, H]`.
    pub c_0: Tensor,
    parameters: Tensor,
    /// Knows what lies where.
    lstm: Lstm,
}

impl LstmGradients {
    /// Of all parameters, flat and on the device, as [`Lstm::parameter_table`] says.
    pub fn flat(&self) -> &Tensor {
        &self.parameters
    }

    /// Of every parameter, under its name and in PyTorch's layout, read back to the host. Those of
    /// learned states are zero where states were given.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn parameters(&self) -> Result<Vec<(String, Array)>> {
        self.lstm.network.named(&self.parameters.to_vec()?)
    }

    /// The asynchronous form of [`parameters`](Self::parameters): the future polls a GPU of our own,
    /// a caller's GPU is polled by the caller (see [who polls](crate::Device#who-polls)).
    ///
    /// # Errors
    /// As [`parameters`](Self::parameters).
    pub async fn parameters_async(&self) -> Result<Vec<(String, Array)>> {
        self.lstm.network.named(&self.parameters.to_vec_async().await?)
    }
}
