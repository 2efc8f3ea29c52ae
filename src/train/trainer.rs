//! The training loop.

#[cfg(feature = "gpu")]
mod recorded;

#[cfg(feature = "gpu")]
pub use recorded::TrainingBindings;

use std::time::Instant;

use super::{Adam, Loss};
use crate::data::{Batches, Dataset};
use crate::device::{Buffer, Device, Recorder, Wait};
use crate::error::{Error, Result};
use crate::model::{Forecaster, InUse, SessionCache, time_major};
use crate::plan::{LOSS_SLOTS, Plan, Sequences, TrainingOptions};
use crate::reference::Dropout;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The epoch that ended, from 1.
    pub epoch: usize,
    /// How many there will be.
    pub epochs: usize,
    /// The mean over the epoch's batches of the loss before each step.
    pub loss: f32,
    /// The loss over the validation set after the epoch, where there is one.
    pub validation: Option<f32>,
    /// Sequences a second since the last report.
    pub samples_per_second: f64,
}

/// The best report of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// The epoch after which it was.
    pub epoch: usize,
    /// The loss over the validation set.
    pub validation: f32,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The mean loss of each epoch.
    pub losses: Vec<f32>,
    /// The loss of each optimizer step, before the step.
    pub step_losses: Vec<f32>,
    /// The loss over the validation set of the model that is left, where there is a set.
    pub validation: Option<f32>,
    /// With early stopping: the epoch whose model is left.
    pub best: Option<Best>,
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
/// let mut trainer = Trainer::new(model, Loss::Mse, Adam::new(0.05)).batch_size(2).epochs(50);
/// let report = trainer.fit(&data, None, |_| ())?;
/// assert!(report.losses[49] < report.losses[0]);
/// let y = trainer.model().predict(data.x())?;
/// # Ok::<(), gatefold::Error>(())
/// ```
pub struct Trainer {
    model: Forecaster,
    loss: Loss,
    adam: Adam,
    batch_size: usize,
    epochs: usize,
    shuffle: Option<u64>,
    report_every: usize,
    patience: Option<usize>,
    state: Option<State>,
}

/// What is kept from one call of `fit` to the next.
struct State {
    device: DeviceState,
    batches: Batches,
    /// What the batches were made of: sequences, batch size, seed.
    batches_of: (usize, usize, Option<u64>),
    /// The parameters with the best validation loss.
    best: Option<Buffer>,
    reports_since_best: usize,
}

/// What training keeps on the device.
struct DeviceState {
    grads: Buffer,
    adam_m: Buffer,
    adam_v: Buffer,
    losses: Buffer,
    sessions: SessionCache,
    /// Optimizer steps so far.
    step: u64,
    /// What the next steps take, where they are recorded for a caller.
    #[cfg(feature = "gpu")]
    coming: Option<recorded::Coming>,
    /// Steps that stand in callers' encoders.
    #[cfg(feature = "gpu")]
    recorded: crate::model::RecordedSessions,
}

impl State {
    fn new(model: &Forecaster) -> Result<State> {
        let network = &model.network;
        let flat = |name: &str| network.device.create_buffer(name, network.table.len);
        let device = DeviceState {
            grads: flat("grads")?,
            adam_m: flat("adam_m")?,
            adam_v: flat("adam_v")?,
            losses: network.device.create_buffer("losses", LOSS_SLOTS)?,
            sessions: SessionCache::default(),
            step: 0,
            #[cfg(feature = "gpu")]
            coming: None,
            #[cfg(feature = "gpu")]
            recorded: crate::model::RecordedSessions::default(),
        };
        Ok(State {
            device,
            batches: Batches::new(0, 1),
            batches_of: (0, 0, None),
            best: None,
            reports_since_best: 0,
        })
    }
}

impl DeviceState {
    /// The training session of a shape.
    fn session(&self, model: &Forecaster, adam: &Adam, sequences: Sequences) -> Result<InUse> {
        let plan = || training_plan(model, adam, &sequences);
        let caller = self.buffers(model);
        self.sessions.take((sequences, "training"), &model.network.device, plan, &caller)
    }

    /// What a training plan leaves to its caller.
    fn buffers<'a>(&'a self, model: &'a Forecaster) -> [(&'static str, &'a Buffer); 5] {
        [
            ("params", &model.network.params),
            ("grads", &self.grads),
            ("adam_m", &self.adam_m),
            ("adam_v", &self.adam_v),
            ("losses", &self.losses),
        ]
    }
}

fn training_plan(model: &Forecaster, adam: &Adam, sequences: &Sequences) -> Result<Plan> {
    let network = &model.network;
    let options = TrainingOptions {
        adam: Some(adam.constants()),
        input_gradient: false,
        dropout: network.config.drops(),
    };
    Plan::training(&network.shape, sequences, &options, &network.device.limits())
}

/// Which way parameters are copied.
enum Direction {
    Keep,
    GoBack,
}

async fn copy_parameters(
    model: &Forecaster,
    kept: &Buffer,
    direction: Direction,
    wait: Wait,
) -> Result<()> {
    let network = &model.network;
    let (from, to) = match direction {
        Direction::Keep => (&network.params, kept),
        Direction::GoBack => (kept, &network.params),
    };
    let mut recorder = network.device.recorder();
    recorder.copy((from, 0), (to, 0), network.table.len);
    recorder.submit_as(wait).await
}

impl Trainer {
    /// With batches of 32 in the order of the data, for 100 epochs.
    pub fn new(model: Forecaster, loss: Loss, optimizer: Adam) -> Trainer {
        Trainer {
            model,
            loss,
            adam: optimizer,
            batch_size: 32,
            epochs: 100,
            shuffle: None,
            report_every: 1,
            patience: None,
            state: None,
        }
    }

    /// Sequences in a batch; an epoch's last may have fewer.
    pub fn batch_size(self, batch_size: usize) -> Self {
        Trainer { batch_size, ..self }
    }

    /// Passes over the data.
    pub fn epochs(self, epochs: usize) -> Self {
        Trainer { epochs, ..self }
    }

    /// A new order in every epoch, drawn from this seed.
    pub fn shuffle(self, seed: u64) -> Self {
        Trainer { shuffle: Some(seed), ..self }
    }

    /// Reports after epochs 1, 1 + n, 1 + 2n and so on, and after the last. Losses stay on the
    /// device between reports, so that it doesn't wait for the host.
    pub fn report_every(self, epochs: usize) -> Self {
        Trainer { report_every: epochs, ..self }
    }

    /// Stops after so many reports without a better validation loss, and goes back to the
    /// parameters that had the best one. Needs a validation set. The optimizer's moments and step
    /// stay those of the last step.
    pub fn early_stopping(self, patience: usize) -> Self {
        Trainer { patience: Some(patience), ..self }
    }

    /// The model.
    pub fn model(&self) -> &Forecaster {
        &self.model
    }

    /// The model, without its trainer.
    pub fn into_model(self) -> Forecaster {
        self.model
    }

    /// Trains on `train` and calls `progress` with every report. Calling it again goes on: with the
    /// optimizer's moments and step, and, over as many sequences, in the shuffle's next order.
    ///
    /// # Errors
    /// [`Error::Shape`] where the data don't fit the model, [`Error::Value`] for a setting or a
    /// number in the data that isn't usable: nothing has changed then. [`Error::Limit`],
    /// [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn fit(
        &mut self,
        train: &Dataset,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress),
    ) -> Result<Report> {
        pollster::block_on(self.fit_as(train, validation, progress, Wait::Blocking))
    }

    /// The asynchronous form of [`fit`](Self::fit): the future polls a GPU of our own, a caller's
    /// GPU is polled by the caller (see [who polls](Device#who-polls)). The CPU trains to the end
    /// when it is polled.
    ///
    /// Where the future is dropped halfway, the steps that were submitted count: parameters,
    /// moments and optimizer step are those of the last of them. The rest of its epoch is left out,
    /// and with early stopping nothing goes back to the best parameters. Calling `fit` or
    /// `fit_async` again goes on from there, in the shuffle's next order.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub async fn fit_async(
        &mut self,
        train: &Dataset,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress),
    ) -> Result<Report> {
        self.fit_as(train, validation, progress, Wait::Pending).await
    }

    async fn fit_as(
        &mut self,
        train: &Dataset,
        validation: Option<&Dataset>,
        progress: impl FnMut(&Progress),
        wait: Wait,
    ) -> Result<Report> {
        self.check(train, validation)?;
        let state = self.prepare(train, validation)?;
        let mut running = Running { trainer: self, state: Some(state) };
        let Running { trainer, state: Some(state) } = &mut running else {
            unreachable!("only `drop` takes it");
        };
        trainer.run_epochs(state, train, validation, progress, wait).await
    }

    /// Whenever this is pending, every step that the state has counted is submitted.
    async fn run_epochs(
        &self,
        state: &mut State,
        train: &Dataset,
        validation: Option<&Dataset>,
        mut progress: impl FnMut(&Progress),
        wait: Wait,
    ) -> Result<Report> {
        let mut run = Run::new(&self.model.network.device, wait);
        let mut report = Report::default();
        let (mut since, mut epochs_since) = (Instant::now(), 0);
        for epoch in 1..=self.epochs {
            for rows in state.batches.epoch() {
                let recorded =
                    record(&self.model, &self.adam, &mut run, &mut state.device, train, rows).await;
                if recorded.is_err() {
                    // The steps before it count, so they have to happen.
                    run.submit().await?;
                }
                recorded?;
            }
            epochs_since += 1;
            let wanted = (epoch - 1).is_multiple_of(self.report_every) || epoch == self.epochs;
            if !wanted {
                continue;
            }
            run.read_losses(&self.model.network.device, &state.device.losses).await?;
            let seconds = since.elapsed().as_secs_f64();
            let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
            let done = report.losses.len() * state.batches.per_epoch();
            report.losses.extend(run.losses[done..].chunks(state.batches.per_epoch()).map(mean));
            report.validation = match validation {
                Some(data) => Some(self.evaluate_as(data, wait).await?),
                None => None,
            };
            progress(&Progress {
                epoch,
                epochs: self.epochs,
                loss: report.losses[epoch - 1],
                validation: report.validation,
                samples_per_second: (epochs_since * train.len()) as f64 / seconds,
            });
            (since, epochs_since) = (Instant::now(), 0);
            if self.keep_best(state, &mut report, epoch, wait).await? {
                break;
            }
        }
        if let (Some(kept), Some(best)) = (&state.best, report.best) {
            copy_parameters(&self.model, kept, Direction::GoBack, wait).await?;
            report.validation = Some(best.validation);
        }
        report.step_losses = run.losses;
        Ok(report)
    }

    /// Keeps the parameters where the validation loss is the best so far; says whether to stop.
    async fn keep_best(
        &self,
        state: &mut State,
        report: &mut Report,
        epoch: usize,
        wait: Wait,
    ) -> Result<bool> {
        let (Some(patience), Some(now), Some(kept)) =
            (self.patience, report.validation, &state.best)
        else {
            return Ok(false);
        };
        // Anything is better than NaN.
        let better =
            |best: Best| now < best.validation || best.validation.is_nan() && !now.is_nan();
        if report.best.is_none_or(better) {
            report.best = Some(Best { epoch, validation: now });
            state.reports_since_best = 0;
            copy_parameters(&self.model, kept, Direction::Keep, wait).await?;
        } else {
            state.reports_since_best += 1;
        }
        Ok(state.reports_since_best >= patience)
    }

    /// The loss over a data set.
    ///
    /// # Errors
    /// As [`Forecaster::predict`].
    pub fn evaluate(&self, data: &Dataset) -> Result<f32> {
        pollster::block_on(self.evaluate_as(data, Wait::Blocking))
    }

    /// The asynchronous form of [`evaluate`](Self::evaluate): the future polls a GPU of our own, a
    /// caller's GPU is polled by the caller (see [who polls](Device#who-polls)).
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub async fn evaluate_async(&self, data: &Dataset) -> Result<f32> {
        self.evaluate_as(data, Wait::Pending).await
    }

    async fn evaluate_as(&self, data: &Dataset, wait: Wait) -> Result<f32> {
        let shape = &self.model.network.shape;
        data.expect("Trainer::evaluate", "the data set", shape.input, shape.outputs())?;
        let y = self.model.predict_as(data.x(), wait).await?;
        Ok(self.loss.of(y.data(), data.y().data()))
    }

    fn check(&self, train: &Dataset, validation: Option<&Dataset>) -> Result<()> {
        let operation = "Trainer::fit";
        self.adam.check(operation)?;
        let settings = [
            ("batch_size", self.batch_size),
            ("epochs", self.epochs),
            ("report_every", self.report_every),
            ("early_stopping", self.patience.unwrap_or(1)),
        ];
        if let Some((name, _)) = settings.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::Value {
                operation,
                name: name.to_owned(),
                expected: "at least 1".to_owned(),
                got: "0".to_owned(),
            });
        }
        let shape = &self.model.network.shape;
        train.expect(operation, "the training set", shape.input, shape.outputs())?;
        match validation {
            Some(data) => {
                data.expect(operation, "the validation set", shape.input, shape.outputs())
            }
            None if self.patience.is_some() => Err(Error::Value {
                operation,
                name: "validation".to_owned(),
                expected: "a data set, since early stopping goes by it".to_owned(),
                got: "None".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// What a run needs, made before its first step: where memory is short, nothing has changed.
    fn prepare(&mut self, train: &Dataset, validation: Option<&Dataset>) -> Result<State> {
        let mut state = match self.state.take() {
            Some(state) => state,
            None => State::new(&self.model)?,
        };
        let made = self.make_sessions(&mut state, train, validation);
        if let Err(error) = made {
            self.state = Some(state);
            return Err(error);
        }
        Ok(state)
    }

    fn make_sessions(
        &self,
        state: &mut State,
        train: &Dataset,
        validation: Option<&Dataset>,
    ) -> Result<()> {
        let network = &self.model.network;
        let batches_of = (train.len(), self.batch_size, self.shuffle);
        if state.batches_of != batches_of {
            (state.batches, state.batches_of) = (self.batches(train), batches_of);
        }
        if self.patience.is_some() && state.best.is_none() {
            state.best = Some(network.device.create_buffer("best parameters", network.table.len)?);
        }
        let steps = train.x().shape()[1];
        let last = train.len() % self.batch_size;
        for rows in [last, self.batch_size.min(train.len())] {
            if rows > 0 {
                let sequences = Sequences::new(steps, rows);
                state.device.session(&self.model, &self.adam, sequences)?;
            }
        }
        match validation {
            Some(data) => self.model.prepare(data.x().shape()[1], data.len()),
            None => Ok(()),
        }
    }

    fn batches(&self, train: &Dataset) -> Batches {
        let batches = Batches::new(train.len(), self.batch_size);
        match self.shuffle {
            Some(seed) => batches.shuffle(seed),
            None => batches,
        }
    }
}

/// What a plan's `scalars` and `key` hold in an optimizer step.
fn step_values(model: &Forecaster, adam: &Adam, step: u64) -> Vec<f32> {
    let (scalars, config) = (adam.scalars(step), &model.network.config);
    let mut values = vec![scalars.step_size, scalars.root_correction];
    if config.drops().is_some() {
        values.extend(Dropout::halves(Dropout::key(config.seed, step)));
    }
    values
}

/// A trainer whose state is out for a run. It gets it back whatever becomes of the run: that may
/// fail, its future may be dropped, and a caller's `progress` may panic.
struct Running<'a> {
    trainer: &'a mut Trainer,
    state: Option<State>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.trainer.state = self.state.take();
    }
}

/// Records one training step over the sequences `rows`.
async fn record(
    model: &Forecaster,
    adam: &Adam,
    run: &mut Run,
    state: &mut DeviceState,
    data: &Dataset,
    rows: &[usize],
) -> Result<()> {
    let device = &model.network.device;
    if run.runs - run.losses.len() == LOSS_SLOTS {
        run.read_losses(device, &state.losses).await?;
    }
    let step = state.step + 1;
    let sequences = Sequences::new(data.x().shape()[1], rows.len());
    let ready = state.session(model, adam, sequences)?;
    let session = &ready.session;
    let feed = session.program().buffer("feed").map(|id| session.program().spec(id));
    let slots = feed.map_or(1, |feed| feed.slots);
    // A slot that the device hasn't read yet must not be written; sessions of all shapes share them.
    if run.unsubmitted >= slots || run.rows != rows.len() {
        run.submit().await?;
    }
    run.rows = rows.len();
    run.host.clear();
    time_major(data.x(), rows, &mut run.host);
    let outputs = data.y().shape()[1];
    for &row in rows {
        run.host.extend_from_slice(&data.y().data()[row * outputs..][..outputs]);
    }
    run.host.extend(step_values(model, adam, step));
    device.write(&session.known("feed"), run.runs % slots * run.host.len(), &run.host)?;
    run.recorder.run(session, run.runs);
    run.runs += 1;
    run.unsubmitted += 1;
    drop(ready);
    state.step = step;
    Ok(())
}

/// What a run keeps on the host.
struct Run {
    recorder: Recorder,
    wait: Wait,
    /// Training steps recorded.
    runs: usize,
    /// How many of them the device doesn't have yet.
    unsubmitted: usize,
    /// The sequences of the last one.
    rows: usize,
    /// The loss of every step that was read back.
    losses: Vec<f32>,
    /// One step's input, target and scalars.
    host: Vec<f32>,
}

impl Run {
    fn new(device: &Device, wait: Wait) -> Run {
        let (losses, host) = (Vec::new(), Vec::new());
        Run { recorder: device.recorder(), wait, runs: 0, unsubmitted: 0, rows: 0, losses, host }
    }

    async fn submit(&mut self) -> Result<()> {
        self.unsubmitted = 0;
        self.recorder.submit_as(self.wait).await
    }

    /// Reads the losses of all steps since the last call.
    async fn read_losses(&mut self, device: &Device, losses: &Buffer) -> Result<()> {
        self.submit().await?;
        let ring = device.read_as(losses, 0, LOSS_SLOTS, self.wait).await?;
        self.losses.extend((self.losses.len()..self.runs).map(|run| ring[run % LOSS_SLOTS]));
        Ok(())
    }
}
