//! What a trainer is told before it trains.

use std::path::Path;

use super::Trainer;
use super::settings::{Every, NonFinite, Settings};
use crate::train::{ParameterGroup, Schedule};

impl Trainer {
    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings;
        change(&mut settings);
        Trainer { settings, ..self }
    }

    /// Sequences in a batch; an epoch's last may have fewer. Default 32.
    pub fn batch_size(self, batch_size: usize) -> Self {
        self.with(|s| s.batch_size = batch_size)
    }

    /// Batches to an optimizer step, whose gradient is that of one batch of all their sequences. Where
    /// an epoch's batches are no multiple of it, the last step of an epoch has fewer. Default 1.
    pub fn accumulate(self, batches: usize) -> Self {
        self.with(|s| s.accumulate = batches)
    }

    /// Truncated backpropagation through time (Williams and Peng, 1990): sequences are cut into pieces
    /// of so many timesteps, each a batch of its own. A piece starts from the state that the one
    /// before it has left, through which no gradient goes back. For models that predict at every
    /// timestep, in one direction.
    pub fn truncate(self, steps: usize) -> Self {
        self.with(|s| s.truncate = Some(steps))
    }

    /// Passes over the data, in all, of a run; default 100. A run that has ended goes on where this is made
    /// more: see [runs](Self#runs).
    pub fn epochs(self, epochs: usize) -> Self {
        self.with(|s| s.epochs = epochs)
    }

    /// Stops each call after so many optimizer steps. Where that is the end of an epoch, the epoch has ended and
    /// has its report; where it is the end of the run, the run has, and isn't stopped. To know, an iterator
    /// of [`fit_batches`](Self::fit_batches) that doesn't say how many batches are left is asked for one more.
    pub fn max_steps(self, steps: u64) -> Self {
        self.with(|s| s.max_steps = Some(steps))
    }

    /// A new order in every epoch, drawn from this seed. By default, the order of the data.
    pub fn shuffle(self, seed: u64) -> Self {
        self.with(|s| s.shuffle = Some(seed))
    }

    /// Settings for some of the parameters; a later call wins where both match.
    pub fn group(self, group: ParameterGroup) -> Self {
        self.with(|s| s.groups.push(group))
    }

    /// How the learning rate changes.
    pub fn schedule(self, schedule: Schedule) -> Self {
        self.with(|s| s.schedule = schedule)
    }

    /// Scales the gradients of a step down where the norm of all of them together is larger, as
    /// `torch.nn.utils.clip_grad_norm_`.
    #[doc(alias = "clip_grad_norm_")]
    pub fn clip_norm(self, max_norm: f64) -> Self {
        self.with(|s| s.clip_norm = Some(max_norm))
    }

    /// Brings every element of the gradients into `-bound..=bound`, as
    /// `torch.nn.utils.clip_grad_value_`; after [`clip_norm`](Self::clip_norm), where both are asked
    /// for.
    #[doc(alias = "clip_grad_value_")]
    pub fn clip_value(self, bound: f64) -> Self {
        self.with(|s| s.clip_value = Some(bound))
    }

    /// What becomes of a step whose loss or gradients aren't finite. By default, training ends with
    /// an error.
    pub fn non_finite(self, policy: NonFinite) -> Self {
        self.with(|s| s.non_finite = policy)
    }

    /// Calls `progress` after epochs 1, 1 + n, 1 + 2n and so on, and after the last; default 1. Losses stay on
    /// the device between reports, so that it doesn't wait for the host.
    ///
    /// Where nothing else is said, the validation set is measured and the run saved then as well.
    pub fn report_every(self, epochs: usize) -> Self {
        self.with(|s| s.reports = Every::Epochs(epochs))
    }

    /// Calls `progress` after every so many optimizer steps, counted over all runs, and after the last epoch.
    /// Where nothing else is said, the validation set is measured, and the run saved, after each epoch.
    pub fn report_every_steps(self, steps: usize) -> Self {
        self.with(|s| s.reports = Every::Steps(steps))
    }

    /// Measures the validation set after epochs 1, 1 + n, 1 + 2n and so on, and after the last. Each
    /// measurement is told to `progress`, also between the [reports](Self::report_every) that were asked for.
    pub fn validate_every(self, epochs: usize) -> Self {
        self.with(|s| s.validations = Some(Every::Epochs(epochs)))
    }

    /// Measures the validation set after every so many optimizer steps, counted over all runs, and after the
    /// last epoch, as [`validate_every`](Self::validate_every).
    pub fn validate_every_steps(self, steps: usize) -> Self {
        self.with(|s| s.validations = Some(Every::Steps(steps)))
    }

    /// Stops after so many measurements of the [validation set](Self::validate_every) without a better loss,
    /// and [keeps the best](Self::keep_best). Needs a validation set.
    pub fn early_stopping(self, patience: usize) -> Self {
        self.with(|s| s.patience = Some(patience))
    }

    /// Keeps the parameters that had the best loss of all measurements of the run's
    /// [validation set](Self::validate_every), and leaves
    /// them in the model whenever a call of `fit` has ended, [however it did](Self#what-fit-leaves). NaN is
    /// never best. Needs a validation set. The optimizer's moments and step are those of the last step, and
    /// so are the parameters that a stopped run goes on with.
    pub fn keep_best(self) -> Self {
        self.with(|s| s.keep_best = true)
    }

    /// [Saves](Self::save) into a folder whenever the [validation set](Self::validate_every) is measured, or
    /// would be if there were one, and whenever `fit` returns.
    pub fn checkpoint(self, folder: impl AsRef<Path>) -> Self {
        self.with(|s| s.folder = Some(folder.as_ref().to_owned()))
    }

    /// Saves into the [folder](Self::checkpoint) after epochs 1, 1 + n, 1 + 2n and so on instead, and whenever
    /// `fit` returns.
    pub fn checkpoint_every(self, epochs: usize) -> Self {
        self.with(|s| s.saves = Some(Every::Epochs(epochs)))
    }

    /// Saves into the [folder](Self::checkpoint) after every so many optimizer steps instead, counted over all
    /// runs, and whenever `fit` returns.
    pub fn checkpoint_every_steps(self, steps: usize) -> Self {
        self.with(|s| s.saves = Some(Every::Steps(steps)))
    }
}
