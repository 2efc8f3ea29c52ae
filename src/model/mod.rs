//! Layers with named parameters: PyTorch's names, PyTorch's semantics.

mod config;
mod description;
mod forecaster;
mod found;
mod init;
mod linear;
mod load_options;
mod long;
mod lstm;
mod lstm_cell;
mod module_names;
mod names;
mod network;
#[cfg(feature = "gpu")]
mod recorded;
mod sessions;
mod state_dict;
mod stream_pool;
mod training_pass;

pub use config::LstmConfig;
pub use forecaster::Forecaster;
pub use init::Init;
// rustdoc takes a type's aliases from where it is exported.
#[doc(alias("nn.Linear", "torch.nn.Linear"))]
pub use linear::Linear;
pub use linear::LinearConfig;
pub use load_options::LoadOptions;
#[doc(alias("nn.LSTM", "torch.nn.LSTM"))]
pub use lstm::Lstm;
pub use lstm::LstmState;
#[doc(alias("nn.LSTMCell", "torch.nn.LSTMCell"))]
pub use lstm_cell::LstmCell;
pub use module_names::ModuleNames;
#[cfg(feature = "gpu")]
pub use recorded::LstmBindings;
pub use stream_pool::{Stream, StreamPool};
pub use training_pass::{LstmGradients, TrainingPass};

pub(crate) use found::{OneOf, lstms_of, lstms_of_names};
pub(crate) use network::Network;
#[cfg(feature = "gpu")]
pub(crate) use sessions::RecordedSessions;
pub(crate) use sessions::{InUse, SessionCache};

/// What every model can do with its parameters.
macro_rules! parameter_methods {
    () => {
        /// The device that it lives on.
        pub fn device(&self) -> &crate::device::Device {
            &self.network.device
        }

        /// The parameters under PyTorch's names, in PyTorch's layout.
        ///
        /// # Errors
        /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
        pub fn state_dict(&self) -> crate::error::Result<Vec<(String, crate::tensor::Array)>> {
            pollster::block_on(self.network.state_dict(crate::device::Wait::Blocking))
        }

        /// The asynchronous form of [`state_dict`](Self::state_dict): the future polls a GPU of our
        /// own, a caller's GPU is polled by the caller (see
        /// [who polls](crate::Device#who-polls)).
        ///
        /// # Errors
        /// As [`state_dict`](Self::state_dict).
        pub async fn state_dict_async(
            &self,
        ) -> crate::error::Result<Vec<(String, crate::tensor::Array)>> {
            self.network.state_dict(crate::device::Wait::Pending).await
        }

        /// Lets go of the memory that direct calls keep for the next one, such as after a long sequence;
        /// the next call takes it anew. Without it, a device that has too little memory takes it.
        pub fn release(&self) {
            self.network.sessions.release();
        }

        /// Replaces all parameters, between calls: one that another thread has begun, of a clone, say,
        /// computes with the old ones alone, a later one with the new. A model with one bias a gate also
        /// takes two and adds them.
        ///
        /// # Errors
        /// [`Error::StateDict`](crate::Error::StateDict) with every missing, unexpected and
        /// misshapen tensor, and with every one that holds NaN or infinity; the model is as it was
        /// then.
        pub fn load_state_dict(
            &mut self,
            tensors: &[(String, crate::tensor::Array)],
        ) -> crate::error::Result<()> {
            self.network.load_state_dict(tensors)
        }

        /// Writes the parameters and the configuration as safetensors, which PyTorch loads, also
        /// with `strict=True`. A model with one bias a gate writes zeros as `bias_hh`, and says so
        /// in the metadata; one with learned states also writes `h_0` and `c_0`, which
        /// `torch.nn.LSTM` lacks.
        ///
        /// The file is written under a temporary name and then renamed.
        ///
        /// # Errors
        /// [`Error::Io`](crate::Error::Io) where the file can't be written.
        pub fn save(&self, path: impl AsRef<std::path::Path>) -> crate::error::Result<()> {
            let (entries, wait) = (Default::default(), crate::device::Wait::Blocking);
            pollster::block_on(self.network.save(path.as_ref(), &entries, wait))
        }

        /// The asynchronous form of [`save`](Self::save): the future polls a GPU of our own, a
        /// caller's GPU is polled by the caller (see [who polls](crate::Device#who-polls)). Only the
        /// device is waited for that way; the file is written in one go, and not at all where the
        /// future is dropped before.
        ///
        /// # Errors
        /// As [`save`](Self::save).
        pub async fn save_async(
            &self,
            path: impl AsRef<std::path::Path>,
        ) -> crate::error::Result<()> {
            let (entries, wait) = (Default::default(), crate::device::Wait::Pending);
            self.network.save(path.as_ref(), &entries, wait).await
        }
    };
}
pub(crate) use parameter_methods;
