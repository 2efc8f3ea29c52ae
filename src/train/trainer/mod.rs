//! The training loop.

mod builder;
mod epochs;
mod evaluate;
mod feeder;
mod place;
#[cfg(feature = "gpu")]
mod recorded;
mod report;
mod resume;
mod run;
mod settings;
mod state;

#[cfg(feature = "gpu")]
pub use recorded::TrainingBindings;
pub use report::{Best, Progress, Report, Returned, Validation};
pub use settings::NonFinite;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Loss, Optimizer, micro};
use crate::data::{Batch, Batches, Dataset};
use crate::device::Wait;
use crate::error::{Error, Result};
use crate::model::{Forecaster, SessionCache};
use crate::plan::{Part, Sequences};
use crate::reference::status;
use feeder::{Given, Memory, Source};
use run::{OPERATION, halted};
use settings::Settings;
use state::{BatchesOf, State};

/// Asks a trainer to stop, from any thread or a signal's handler; clones ask the same trainer.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// Asks the trainer to stop after the batch that it is at. The call of `fit` returns as usual; where
    /// none is running, the next one does nothing.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked, once.
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Trains a model in mini-batches.
///
/// ```
/// use gatefold::{Array, Dataset, Device, Forecaster, LstmConfig, train::{Adam, Loss, Trainer}};
/// let model = Forecaster::new(&Device::cpu(), LstmConfig::new(1, 4), 1)?;
/// let data = Dataset::new(
///     Array::new(vec![0.0, 1.0, 1.0, 0.0], &[2, 2, 1])?,
///     Array::new(vec![1.0, 0.0], &[2, 1])?,
/// )?;
/// let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.05)).batch_size(2).epochs(50);
/// let report = trainer.fit(&data, None, |_| ())?;
/// assert!(report.losses[49] < report.losses[0]);
/// let y = trainer.model().predict(data.x())?;
/// # Ok::<(), gatefold::Error>(())
/// ```
///
/// # Defaults
/// | setting | default |
/// |---|---|
/// | [`batch_size`](Self::batch_size) | 32 sequences |
/// | [`epochs`](Self::epochs) | 100 |
/// | [`shuffle`](Self::shuffle) | no: batches are in the order of the data |
/// | [`report_every`](Self::report_every) | each epoch |
/// | [`validate_every`](Self::validate_every) | with each report, or, where reports are [within epochs](Self::report_every_steps), each epoch |
/// | [`checkpoint_every`](Self::checkpoint_every) | with each validation, once there is a [folder](Self::checkpoint) |
/// | [`early_stopping`](Self::early_stopping), [`keep_best`](Self::keep_best) | no: the model is that of the last step |
/// | [`schedule`](Self::schedule), [`clip_norm`](Self::clip_norm), [`clip_value`](Self::clip_value) | none |
/// | [`accumulate`](Self::accumulate), [`truncate`](Self::truncate) | 1 batch a step, whole sequences |
/// | [`non_finite`](Self::non_finite) | the call ends with an error |
///
/// # Runs
/// A run is so many [`epochs`](Self::epochs) in all. A call of `fit` goes on with the run of the call before
///
/// - where that was stopped before the run's end, by whatever it was (a [`StopHandle`],
///   [`max_steps`](Self::max_steps), an error, a future that is dropped): with the next batch;
/// - where the run has done all of its epochs and there are to be more now: with the next epoch. So 3
///   epochs, and then [`epochs(5)`](Self::epochs), are a run of 5, to the same bits. (The validation set is
///   measured after the last epoch of 3 as well: where it wouldn't have been, that one may be the best.)
///
/// It begins another run in every other case: the first call; after a run that has done as many epochs as
/// there are to be, so that two calls with the same settings train twice as long; after one that
/// [stopped early](Self::early_stopping); over another number of sequences, or with batches of another size,
/// order or [pieces](Self::truncate). Another run has its own epochs, schedule and best model. Parameters,
/// moments and the number of steps go on in either case.
///
/// After a step that wasn't finite, batches that were submitted behind it are not repeated.
/// [`save`](Self::save) and [`resume`](Self::resume) carry a run from one process to another: it ends with the
/// same bits as one that never stopped. There, other batches than those of a run that would go on are an error.
///
/// # What `fit` leaves
/// [`model`](Self::model) has the parameters of the last step or, with [`keep_best`](Self::keep_best) and
/// [`early_stopping`](Self::early_stopping), those of the best measurement of the run's validation set, as soon
/// as there was one. It is the same however the call ended: by the run's end, by whatever stops it before, by
/// an error. A run that goes on does so with its last parameters, which the trainer keeps beside the
/// best; another run begins with those that the model has. A step in which nothing counts, such as one over ignored targets alone, is a step with gradients
/// of 0: moments decay and weights do, and [`Report`] has NaN for its mean loss.
pub struct Trainer {
    model: Forecaster,
    settings: Settings,
    state: Option<State>,
    /// Sessions of evaluations.
    evaluation: SessionCache,
    stop: StopHandle,
}

impl Trainer {
    /// With batches of 32 in the order of the data, for 100 epochs. A binary cross-entropy makes
    /// [`Activation::Sigmoid`](crate::Activation) the model's, a cross-entropy over classes `Softmax`.
    pub fn new(mut model: Forecaster, loss: Loss, optimizer: impl Into<Optimizer>) -> Trainer {
        if let Some(activation) = loss.activation() {
            model.set_activation(activation);
        }
        let evaluation = SessionCache::of_training(model.device());
        Trainer {
            model,
            settings: Settings::new(loss, optimizer.into()),
            state: None,
            evaluation,
            stop: StopHandle::default(),
        }
    }

    /// What stops this trainer.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The model, as the last call of [`fit`](Self::fit) [left](Self#what-fit-leaves) it.
    pub fn model(&self) -> &Forecaster {
        &self.model
    }

    /// Lets go of the memory that training and evaluation keep for their next call; that call takes it anew.
    pub fn release(&mut self) {
        self.evaluation.release();
        if let Some(state) = &mut self.state {
            state.device.release();
        }
        self.model.release();
    }

    /// The model, without its trainer.
    pub fn into_model(self) -> Forecaster {
        self.model
    }

    /// A copy of the best model of the run so far, where [`keep_best`](Self::keep_best) or
    /// [`early_stopping`](Self::early_stopping) keep it and the validation set was measured.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn best_model(&self) -> Result<Option<Forecaster>> {
        let kept = self.state.as_ref().map(|state| state.parameters(&self.model).best);
        let Some(best) = kept.flatten() else { return Ok(None) };
        Ok(Some(Forecaster { network: self.model.network.with_parameters(best)? }))
    }

    /// Optimizer steps so far.
    pub fn steps(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.place.step)
    }

    /// Trains on `train` and calls `progress` with every report; see [runs](Self#runs). What it
    /// [returns](Returned), a number say, is kept in the report. [`Progress`] has the model in hand.
    ///
    /// # Errors
    /// [`Error::Shape`] where the data don't fit the model, [`Error::Value`] for a setting or a
    /// number in the data that isn't usable: nothing has changed then. [`Error::NonFinite`],
    /// [`Error::Limit`], [`Error::OutOfMemory`], [`Error::Gpu`], [`Error::Io`].
    pub fn fit<R: Returned>(
        &mut self,
        train: &Dataset,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress<'_>) -> R,
    ) -> Result<Report> {
        pollster::block_on(self.fit_as(train, validation, progress, Wait::Blocking))
    }

    /// The asynchronous form of [`fit`](Self::fit): the future polls a GPU of our own, a caller's
    /// GPU is polled by the caller (see [who polls](crate::Device#who-polls)). The CPU trains to the
    /// end when it is polled.
    ///
    /// Where the future is dropped halfway, the steps that were submitted count: parameters,
    /// moments and optimizer step are those of the last of them, and the next call goes on there.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub async fn fit_async<R: Returned>(
        &mut self,
        train: &Dataset,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress<'_>) -> R,
    ) -> Result<Report> {
        self.fit_as(train, validation, progress, Wait::Pending).await
    }

    /// Trains on batches that the caller makes, such as from data larger than memory: `batches` is
    /// called with the number of every epoch, from 0, and gives its batches one by one. The next one is
    /// made while a GPU is busy with those before. Batch size and shuffling are the caller's.
    ///
    /// A row of a [`Batch`] may [go on](Batch::continues) from the same row of the batch before, in a
    /// model of one direction.
    ///
    /// A call that goes on with a run makes the epoch's batches anew and leaves out those that were
    /// trained on: they have to be the same ones.
    ///
    /// ```
    /// use gatefold::{Array, Dataset, Device, Forecaster, LstmConfig};
    /// use gatefold::train::{Adam, Loss, Trainer};
    /// let model = Forecaster::new(&Device::cpu(), LstmConfig::new(1, 4), 1)?;
    /// let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.05)).epochs(3);
    /// let file = [0.1, 0.4, 0.9, 0.4, 0.1]; // read bit by bit, say
    /// let batches = |_epoch| {
    ///     file.windows(3).map(|w| {
    ///         let x = Array::new(w[..2].to_vec(), &[1, 2, 1])?;
    ///         Ok(Dataset::new(x, Array::new(vec![w[2]], &[1, 1])?)?.into())
    ///     })
    /// };
    /// let report = trainer.fit_batches(batches, None, |_| ())?;
    /// assert_eq!(report.step_losses.len(), 9);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and what the iterator gives; for a batch that doesn't fit, nothing of
    /// it has been done.
    pub fn fit_batches<J: IntoIterator<Item = Result<Batch>>, R: Returned>(
        &mut self,
        batches: impl FnMut(usize) -> J,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress<'_>) -> R,
    ) -> Result<Report> {
        pollster::block_on(self.fit_batches_as(batches, validation, progress, Wait::Blocking))
    }

    /// The asynchronous form of [`fit_batches`](Self::fit_batches), as
    /// [`fit_async`](Self::fit_async) is of [`fit`](Self::fit): the same polls.
    ///
    /// # Errors
    /// As [`fit_batches`](Self::fit_batches).
    pub async fn fit_batches_async<J: IntoIterator<Item = Result<Batch>>, R: Returned>(
        &mut self,
        batches: impl FnMut(usize) -> J,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress<'_>) -> R,
    ) -> Result<Report> {
        self.fit_batches_as(batches, validation, progress, Wait::Pending).await
    }

    async fn fit_as<R: Returned>(
        &mut self,
        train: &Dataset,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress<'_>) -> R,
        wait: Wait,
    ) -> Result<Report> {
        let (operation, name) = ("Trainer::fit", "the training set");
        self.check(operation, validation)?;
        let (shape, loss) = (&self.model.network.shape, &self.settings.loss);
        micro::expect(train, operation, name, shape, loss)?;
        micro::expect_something(train, operation, name, shape, loss)?;
        let batches_of = BatchesOf {
            sequences: train.len(),
            size: self.settings.batch_size,
            seed: self.settings.shuffle,
            truncate: self.settings.truncate,
        };
        self.prepare(batches_of, Some(train), wait).await?;
        self.run(Memory::new(train), validation, progress, wait).await
    }

    async fn fit_batches_as<J: IntoIterator<Item = Result<Batch>>, R: Returned>(
        &mut self,
        batches: impl FnMut(usize) -> J,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress<'_>) -> R,
        wait: Wait,
    ) -> Result<Report> {
        let operation = "Trainer::fit_batches";
        self.check(operation, validation)?;
        let truncate = self.settings.truncate;
        self.prepare(BatchesOf { truncate, ..BatchesOf::default() }, None, wait).await?;
        let (shape, loss) = (self.model.network.shape.clone(), self.settings.loss.clone());
        let carries = shape.is_causal();
        let check = move |batch: &Batch, number: usize| {
            let name = format!("batch {number}");
            micro::expect(batch.data(), operation, &name, &shape, &loss)?;
            match batch.continuing() {
                Some(rows) if !carries && rows.contains(&true) => Err(Error::Value {
                    operation,
                    name,
                    expected: "without rows that go on, in a model with a reverse direction"
                        .to_owned(),
                    got: format!("{} of them", rows.iter().filter(|row| **row).count()),
                }),
                _ => Ok(()),
            }
        };
        let source = Given::new(batches, carries, check);
        self.run(source, validation, progress, wait).await
    }

    async fn run<'a, S: Source<'a>, R: Returned>(
        &mut self,
        source: S,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress<'_>) -> R,
        wait: Wait,
    ) -> Result<Report> {
        let state = self.state.take();
        let mut running = Running { trainer: self, state };
        let Running { trainer, state: Some(state) } = &mut running else {
            unreachable!("it was made ready, and only `drop` takes it");
        };
        trainer.run_epochs(state, source, validation, progress, wait).await
    }

    fn check(&self, operation: &'static str, validation: Option<&Dataset>) -> Result<()> {
        self.settings.check(operation, &self.model)?;
        let (shape, loss) = (&self.model.network.shape, &self.settings.loss);
        match validation {
            Some(data) => {
                let name = "the validation set";
                micro::expect(data, operation, name, shape, loss)?;
                micro::expect_something(data, operation, name, shape, loss)
            }
            None if self.settings.keeps_best() => Err(Error::Value {
                operation,
                name: "validation".to_owned(),
                expected: "a data set, since the best model goes by it".to_owned(),
                got: "none".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// What a run needs, made before its first step: where memory is short, nothing has changed.
    async fn prepare(
        &mut self,
        batches_of: BatchesOf,
        train: Option<&Dataset>,
        wait: Wait,
    ) -> Result<()> {
        if self.state.is_none() {
            self.state = Some(State::new(&self.model, &self.settings)?);
        }
        self.expect_finite_as(wait).await?;
        // It goes back whatever becomes of this.
        let Some(mut state) = self.state.take() else { unreachable!("it was made just now") };
        let made = self.make_ready(&mut state, batches_of, train);
        self.state = Some(state);
        made
    }

    fn make_ready(
        &self,
        state: &mut State,
        batches_of: BatchesOf,
        train: Option<&Dataset>,
    ) -> Result<()> {
        let network = &self.model.network;
        let goes_on = state.place.goes_on(&self.settings);
        if state.resumed && goes_on && state.batches_of != batches_of {
            return Err(Error::Value {
                operation: OPERATION,
                name: "the training set and its batches".to_owned(),
                expected: format!("those of the run that is resumed, {}", state.batches_of),
                got: batches_of.to_string(),
            });
        }
        state.apply(&self.model, &self.settings)?;
        if self.settings.keeps_best() && state.best.is_none() {
            state.best = Some(network.device.create_buffer("best parameters", network.table.len)?);
        }
        if let Some(train) = train
            && let Err(error) = self.make_sessions(state, train)
        {
            // Those that were made are of no use without the others.
            state.device.release();
            return Err(error);
        }
        state.device.clear_status(&network.device)?;
        if state.batches_of != batches_of {
            let batches = Batches::new(batches_of.sequences, batches_of.size);
            state.batches = match batches_of.seed {
                Some(seed) => batches.shuffle(seed),
                None => batches,
            };
            state.batches_of = batches_of;
            state.leave_run();
        }
        if !goes_on {
            state.leave_run();
        }
        let mut recorder = network.device.recorder();
        state.device.undo_half_a_step(&mut recorder);
        state.show_last(&self.model, &mut recorder);
        recorder.submit()?;
        #[cfg(feature = "gpu")]
        {
            // Rates that were foreseen may change.
            state.device.coming = None;
        }
        state.resumed = false;
        Ok(())
    }

    /// Whether every step that was submitted came to finite numbers; waits for them. `fit` says it
    /// itself; this is for steps that were [recorded](Self#method.record_step), and for a future of `fit`
    /// that was dropped. After an error the next step starts from the parameters before the bad one.
    ///
    /// # Errors
    /// [`Error::NonFinite`] where one didn't, with the policy [`NonFinite::Error`]; [`Error::Gpu`].
    pub fn expect_finite(&mut self) -> Result<()> {
        pollster::block_on(self.expect_finite_as(Wait::Blocking))
    }

    /// The asynchronous form of [`expect_finite`](Self::expect_finite): the future polls a GPU of our
    /// own, a caller's GPU is polled by the caller (see [who polls](crate::Device#who-polls)).
    ///
    /// # Errors
    /// As [`expect_finite`](Self::expect_finite).
    pub async fn expect_finite_async(&mut self) -> Result<()> {
        self.expect_finite_as(Wait::Pending).await
    }

    async fn expect_finite_as(&mut self, wait: Wait) -> Result<()> {
        let Some(state) = self.state.as_mut().filter(|state| state.unread) else { return Ok(()) };
        let network = &self.model.network;
        let found = network.device.read_as(&state.device.status, 0, status::LEN, wait).await?;
        state.unread = false;
        let step = state.place.step;
        let Some((undone, error)) = halted(network, &self.settings, &found, (OPERATION, step))
        else {
            return Ok(());
        };
        state.place.step -= undone;
        state.device.clear_status(&network.device)?;
        #[cfg(feature = "gpu")]
        {
            state.device.coming = None;
        }
        Err(error)
    }

    /// Makes the sessions that training on a data set takes.
    fn make_sessions(&self, state: &mut State, train: &Dataset) -> Result<()> {
        let most = self.settings.batch_size.min(train.len());
        let steps = self.settings.truncate.unwrap_or(usize::MAX).min(train.steps());
        let carries = self.settings.truncate.is_some();
        if carries {
            state.device.carry(&self.model, most)?;
        }
        let parts: &[Part] = match self.settings.accumulate {
            1 => &[Part::Whole],
            _ => &[Part::First, Part::Last],
        };
        for rows in [train.len() % self.settings.batch_size, most] {
            for steps in [train.steps() % steps, steps] {
                if rows == 0 || steps == 0 {
                    continue;
                }
                let sequences = Sequences {
                    lengths: train.lengths().is_some(),
                    state: carries,
                    resets: carries,
                    weights: train.weights().is_some(),
                    ..Sequences::new(steps, rows)
                };
                for &part in parts {
                    state.device.session(&self.model, &self.settings, sequences, part)?;
                }
            }
        }
        Ok(())
    }
}

/// A trainer whose state is out for a run. It gets it back whatever becomes of the run: that may
/// fail, its future may be dropped, and a caller's `progress` may panic.
struct Running<'a> {
    trainer: &'a mut Trainer,
    state: Option<State>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Trainer { model, settings, state, .. } = &mut *self.trainer;
        *state = self.state.take();
        let Some(state) = state else { return };
        let mut recorder = model.network.device.recorder();
        if state.show_best(model, settings, &mut recorder) {
            // Where the device fails, the next call finds out.
            let _ = recorder.submit();
        }
    }
}
