//! A user's own model, beside its twins.

use std::path::Path;

use super::cases::{Case, Run};
use super::contents;
use crate::device::Device;
use crate::error::Result;
use crate::lockstep::{Check, Lockstep};
use crate::model::Network;
use crate::plan::{Head, Plan, Sequences, TrainingOptions};

/// A user's own model, to be run beside its twins.
///
/// ```
/// use gatefold::verify::Model;
/// use gatefold::{Device, Forecaster, LstmConfig};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("model.safetensors");
/// let device = Device::cpu();
/// Forecaster::new(&device, LstmConfig::new(3, 8), 2)?.save(&path)?;
///
/// // 4 rows of 10 timesteps, forward and back.
/// let model = Model::load(&device, &path, 10, 4)?;
/// for checks in model.lockstep(&[&device])? {
///     assert!(checks[0].as_ref().is_ok_and(|check| check.worst.share() <= 1.0));
/// }
/// # Ok::<(), gatefold::Error>(())
/// ```
pub struct Model {
    case: Case,
    plan: Plan,
    params: Vec<f32>,
    ignored: Vec<String>,
}

impl Model {
    /// Reads the LSTM of a file, with the linear layer on it and its embedding where there are any,
    /// whatever their names are, and plans for the device how it runs over `steps` timesteps of `batch`
    /// rows, forward and back: with a linear layer to the gradient of the mean squared error.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Checkpoint`](crate::Error::Checkpoint) where it holds no
    /// LSTM or several; as [`Plan::training`].
    pub fn load(
        device: &Device,
        path: impl AsRef<Path>,
        steps: usize,
        batch: usize,
    ) -> Result<Model> {
        Model::of(device, Network::find(device, path.as_ref(), None)?, steps, batch)
    }

    /// As [`load`](Self::load), for a file that holds several: the names of the LSTM's tensors begin with
    /// `lstm`, those of the linear layer with `head`, each with its dot, such as `decoder.` and `fc.`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_named(
        device: &Device,
        path: impl AsRef<Path>,
        (lstm, head): (&str, &str),
        steps: usize,
        batch: usize,
    ) -> Result<Model> {
        let found = Network::find(device, path.as_ref(), Some((lstm, head)))?;
        Model::of(device, found, steps, batch)
    }

    fn of(
        device: &Device,
        (network, ignored): (Network, Vec<String>),
        steps: usize,
        batch: usize,
    ) -> Result<Model> {
        let run = match network.shape.head {
            Head::Sequence => Run::Gradient(None),
            _ => Run::Training(TrainingOptions { input_gradient: true, ..Default::default() }),
        };
        let case = Case { shape: network.shape, sequences: Sequences::new(steps, batch), run };
        let plan = case.plan(&device.limits())?;
        let params = device.read(&network.params, 0, network.table.len)?;
        Ok(Model { case, plan, params, ignored })
    }

    /// What runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The names of the file's tensors that are no part of the model.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Runs the plan on some devices, each beside the `f64` twins, and gives for every command how far
    /// each device was from the reference, or an [`Error::Diverged`](crate::Error::Diverged); after any
    /// other error there is nothing more. The input is random: normal values, or tokens.
    ///
    /// Where the weights are such that `f32` itself is far off, results may be as well
    /// ([`Lockstep::as_f32_allows`]); [`Check::as_f32`] tells. On the CPU, kernels without a fast form are
    /// the `f32` twin itself.
    ///
    /// # Errors
    /// As [`Device::session`].
    pub fn lockstep<'a>(
        &self,
        devices: &[&'a Device],
    ) -> Result<impl Iterator<Item = Vec<Result<Check>>> + use<'a>> {
        let contents = contents::contents(&self.case, &self.plan, Some(&self.params));
        let inputs: Vec<(&str, &[f32])> =
            contents.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
        let start = |&device: &&'a Device| {
            let lockstep = Lockstep::new(device, &self.plan.program, &inputs)?;
            Ok(lockstep.over_garbage(&inputs).as_f32_allows())
        };
        let mut all = devices.iter().map(start).collect::<Result<Vec<Lockstep<'a>>>>()?;
        Ok(std::iter::from_fn(move || all.iter_mut().map(Iterator::next).collect()))
    }
}
