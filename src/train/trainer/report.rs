//! What a run tells: where it stands, and what it came to.

use super::Trainer;
use crate::data::Dataset;
use crate::error::Result;
use crate::model::Forecaster;

/// Where a run stands, and its model.
///
/// What is asked of the model here is asked of it as it is after [`step`](Self::step):
///
/// ```
/// use gatefold::{Dataset, Device, Forecaster, LstmConfig, train::{Adam, Loss, Trainer}};
/// let data = Dataset::from_sequences([vec![0.1, 0.9], vec![0.8], vec![0.2, 0.7]], [0, 1, 0])?;
/// let model = Forecaster::new(&Device::cpu(), LstmConfig::new(1, 4), 2)?;
/// let mut trainer = Trainer::new(model, Loss::cross_entropy(), Adam::new(0.05)).epochs(3);
/// let report = trainer.fit(&data, None, |p| {
///     println!("epoch {} of {}: loss {:.3}", p.epoch, p.epochs, p.loss);
///     p.accuracy(&data)
/// })?;
/// let of_epochs: Vec<f64> = report.values.iter().map(|(_step, accuracy)| *accuracy).collect();
/// assert_eq!(of_epochs[2], trainer.accuracy(&data)?);
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    /// The epoch that ended, or that is being run, from 1.
    pub epoch: usize,
    /// How many there will be.
    pub epochs: usize,
    /// Optimizer steps so far, of all runs.
    pub step: u64,
    /// What `step` will be at the run's end, unless it stops early; `None` where that isn't known: of batches
    /// that the caller makes, and where the pieces of ended sequences may be left out.
    pub steps: Option<u64>,
    /// The mean loss before each of the epoch's steps, over all that counts in them, or of sums, over
    /// the steps; in a report within an epoch, of those since the last report.
    pub loss: f32,
    /// The loss over the validation set, where it was measured after this step.
    pub validation: Option<f32>,
    /// The share of the validation set's targets that are predicted right, as [`Trainer::accuracy`] counts
    /// them, where it was measured after this step and the loss is a cross-entropy, binary or over classes.
    pub validation_accuracy: Option<f64>,
    /// The optimizer's learning rate in the last step.
    pub lr: f64,
    /// The norm of the last step's gradients, before clipping, where it is taken: for
    /// [`Trainer::clip_norm`] and unless non-finite steps pass.
    pub gradient_norm: Option<f32>,
    /// Steps of the call that weren't applied, see [`NonFinite::Skip`](super::NonFinite::Skip).
    pub skipped: u64,
    /// Sequences, or pieces of them, a second since the last report.
    pub samples_per_second: f64,
    pub(super) trainer: &'a Trainer,
}

impl<'a> Progress<'a> {
    /// The model as it is now, for whatever one wants to know of it.
    pub fn model(&self) -> &'a Forecaster {
        &self.trainer.model
    }

    /// As [`Trainer::evaluate`], of the model as it is now.
    ///
    /// # Errors
    /// As there.
    pub fn evaluate(&self, data: &Dataset) -> Result<f32> {
        self.trainer.evaluate(data)
    }

    /// As [`Trainer::accuracy`], of the model as it is now.
    ///
    /// # Errors
    /// As there.
    pub fn accuracy(&self, data: &Dataset) -> Result<f64> {
        self.trainer.accuracy(data)
    }
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("epoch", &self.epoch)
            .field("epochs", &self.epochs)
            .field("step", &self.step)
            .field("steps", &self.steps)
            .field("loss", &self.loss)
            .field("validation", &self.validation)
            .field("validation_accuracy", &self.validation_accuracy)
            .field("lr", &self.lr)
            .field("gradient_norm", &self.gradient_norm)
            .field("skipped", &self.skipped)
            .field("samples_per_second", &self.samples_per_second)
            .finish_non_exhaustive()
    }
}

/// What the `progress` of [`Trainer::fit`] may return: nothing, a number for [`Report::values`], or a
/// [`Result`] of either, whose error ends the call. The run goes on with the next one.
pub trait Returned {
    /// The number, where there is one.
    ///
    /// # Errors
    /// That which was returned.
    fn value(self) -> Result<Option<f64>>;
}

impl Returned for () {
    fn value(self) -> Result<Option<f64>> {
        Ok(None)
    }
}

impl Returned for f64 {
    fn value(self) -> Result<Option<f64>> {
        Ok(Some(self))
    }
}

impl Returned for f32 {
    fn value(self) -> Result<Option<f64>> {
        Ok(Some(self.into()))
    }
}

impl<R: Returned> Returned for Option<R> {
    fn value(self) -> Result<Option<f64>> {
        self.map_or(Ok(None), R::value)
    }
}

impl<R: Returned> Returned for Result<R> {
    fn value(self) -> Result<Option<f64>> {
        self?.value()
    }
}

/// A measurement of the validation set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// The epoch after which, or within which, it was.
    pub epoch: usize,
    /// The optimizer step after which it was.
    pub step: u64,
    /// The loss.
    pub loss: f32,
    /// The share of targets that are predicted right, where the loss is a cross-entropy, binary or over
    /// classes.
    pub accuracy: Option<f64>,
}

/// The best measurement of a run's validation set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// The epoch after which, or within which, it was.
    pub epoch: usize,
    /// The optimizer step after which it was.
    pub step: u64,
    /// The loss over the validation set.
    pub validation: f32,
}

/// What a call of `fit` came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The mean loss of each epoch that has ended, over all that counts in it; of sums, over its steps.
    pub losses: Vec<f32>,
    /// The loss of each optimizer step, before the step; NaN for the mean of one in which nothing counts.
    pub step_losses: Vec<f32>,
    /// The loss over the validation set of the model that is left, as it was last measured.
    pub validation: Option<f32>,
    /// Every measurement of the validation set in this call, in order: the validation curve.
    pub validations: Vec<Validation>,
    /// What `progress` returned where it returned numbers, such as the accuracy over a data set, each with the
    /// optimizer step after which it was called.
    pub values: Vec<(u64, f64)>,
    /// Where the [best model](Trainer::keep_best) is kept: the measurement that it is from.
    pub best: Option<Best>,
    /// Steps that weren't applied, see [`NonFinite::Skip`](super::NonFinite::Skip).
    pub skipped: u64,
    /// Whether the run was stopped before its end, so that the next call goes on with it.
    pub stopped: bool,
}
