//! What a trainer keeps from one call to the next.

use super::place::Place;
use super::settings::Settings;
use crate::data::Batches;
use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::model::{Forecaster, InUse, SessionCache};
use crate::plan::{ALIGNMENT, LOSS_SLOTS, Part, Plan, Sequences};
use crate::reference::status;
use crate::train::{Scheduler, groups};

/// What a trainer keeps from one call to the next.
pub(super) struct State {
    pub(super) device: DeviceState,
    pub(super) place: Place,
    pub(super) batches: Batches,
    /// What the batches were made of.
    pub(super) batches_of: BatchesOf,
    /// Whether steps were recorded whose losses and status nobody has read.
    pub(super) unread: bool,
    /// The parameters with the best validation loss, or those that the run goes on with while the model has
    /// the best.
    pub(super) best: Option<Buffer>,
    /// Whether the model has the best parameters, and `best` those that the run goes on with.
    pub(super) swapped: bool,
    /// Whether it comes from a file, and has trained on nothing since.
    pub(super) resumed: bool,
    /// The settings that the device has.
    applied: Option<Settings>,
}

/// What batches are made of; of those that a program makes itself, only how they are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BatchesOf {
    pub(super) sequences: usize,
    pub(super) size: usize,
    pub(super) seed: Option<u64>,
    pub(super) truncate: Option<usize>,
}

impl std::fmt::Display for BatchesOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.sequences {
            0 => write!(f, "batches of the caller's")?,
            sequences => write!(f, "{sequences} sequences in batches of {}", self.size)?,
        }
        if let Some(seed) = self.seed {
            write!(f, ", shuffled by {seed}")?;
        }
        self.truncate.map_or(Ok(()), |steps| write!(f, ", in pieces of {steps} timesteps"))
    }
}

/// Steps whose values lie on the device at a time where steps are recorded for a caller, in two halves.
#[cfg(feature = "gpu")]
pub(super) const COMING_STEPS: u64 = 4096;

/// What coming optimizer steps take, such as the step size: a row each, at the step's number modulo
/// the rows. An encoder copies its row, so that a step can be recorded without writing to a buffer.
#[cfg(feature = "gpu")]
pub(super) struct Coming {
    pub(super) rows: Buffer,
    pub(super) row: usize,
    /// The steps from 1 up to this one are there, but for those whose rows were taken again.
    pub(super) filled: u64,
}

#[cfg(feature = "gpu")]
impl Coming {
    pub(super) fn start(&self, step: u64) -> usize {
        (step % COMING_STEPS) as usize * self.row
    }
}

/// What training keeps on the device.
pub(super) struct DeviceState {
    pub(super) grads: Buffer,
    pub(super) moments: Vec<(&'static str, Buffer)>,
    groups: Buffer,
    pub(super) status: Buffer,
    loss: Buffer,
    /// The ring of losses, and room for the status.
    pub(super) losses: Buffer,
    class_weights: Option<Buffer>,
    /// The states that go from one piece to the next, hidden and cell, of so many rows at most.
    pub(super) carried: Option<(Buffer, Buffer)>,
    carried_rows: usize,
    /// Those before a step of several pieces, and whether such a step isn't whole.
    before_step: Option<(Buffer, Buffer)>,
    in_step: bool,
    sessions: SessionCache,
    /// What the next steps take, where they are recorded for a caller.
    #[cfg(feature = "gpu")]
    pub(super) coming: Option<Coming>,
    /// Steps that stand in callers' encoders.
    #[cfg(feature = "gpu")]
    pub(super) recorded: crate::model::RecordedSessions,
}

/// The names that plans have for an optimizer's states.
const MOMENTS: [&str; 3] = ["moment_0", "moment_1", "moment_2"];

impl State {
    pub(super) fn new(model: &Forecaster, settings: &Settings) -> Result<State> {
        let network = &model.network;
        let flat = |name: &str| network.device.create_buffer(name, network.table.len);
        let used = MOMENTS.into_iter().zip(settings.optimizer.rule().moments());
        let moments = used.filter(|(_, used)| *used);
        let create = |name: &str, len| network.device.create_buffer(name, len);
        let weights = settings.loss.weights();
        let device = DeviceState {
            grads: flat("grads")?,
            moments: moments.map(|(name, _)| Ok((name, flat(name)?))).collect::<Result<_>>()?,
            groups: create("groups", network.table.len / ALIGNMENT)?,
            status: create("status", status::LEN)?,
            loss: create("loss", 1)?,
            losses: create("losses", LOSS_SLOTS + status::LEN)?,
            class_weights: weights.map(|w| create("class_weights", w.len())).transpose()?,
            carried: None,
            carried_rows: 0,
            before_step: None,
            in_step: false,
            sessions: SessionCache::of_training(&network.device),
            #[cfg(feature = "gpu")]
            coming: None,
            #[cfg(feature = "gpu")]
            recorded: crate::model::RecordedSessions::default(),
        };
        Ok(State {
            device,
            place: Place::new(settings),
            batches: Batches::new(0, 1),
            batches_of: BatchesOf::default(),
            unread: false,
            best: None,
            swapped: false,
            resumed: false,
            applied: None,
        })
    }

    /// Gives the model the best parameters, where settings keep them and there are some. What it had is kept.
    /// Says whether anything was recorded.
    pub(super) fn show_best(
        &mut self,
        model: &Forecaster,
        settings: &Settings,
        recorder: &mut Recorder,
    ) -> bool {
        let there = self.best.is_some() && self.place.best.is_some();
        if !there || !settings.keeps_best() || self.swapped {
            return false;
        }
        self.swap(model, recorder);
        true
    }

    /// Gives the model the parameters that the run goes on with.
    pub(super) fn show_last(&mut self, model: &Forecaster, recorder: &mut Recorder) {
        if self.swapped {
            self.swap(model, recorder);
        }
    }

    /// Leaves a run as it is: another one begins with what the model has.
    pub(super) fn leave_run(&mut self) {
        (self.place.finished, self.place.over, self.swapped) = (true, true, false);
    }

    /// Exchanges the model's parameters with the kept ones. Between steps, nobody reads the gradients.
    fn swap(&mut self, model: &Forecaster, recorder: &mut Recorder) {
        let Some(best) = &self.best else { return };
        let (params, between) = (&model.network.params, &self.device.grads);
        for (from, to) in [(params, between), (best, params), (between, best)] {
            recorder.copy((from, 0), (to, 0), best.len());
        }
        self.swapped = !self.swapped;
    }

    /// Where the parameters of the run are.
    pub(super) fn parameters<'a>(&'a self, model: &'a Forecaster) -> Parameters<'a> {
        let (params, kept) = (&model.network.params, self.best.as_ref());
        match (self.swapped, kept) {
            (true, Some(last)) => Parameters { last, best: Some(params) },
            // Before there is a best one, its buffer holds nothing.
            _ => Parameters { last: params, best: kept.filter(|_| self.place.best.is_some()) },
        }
    }

    /// Writes what the settings say, which may have changed since the last call.
    pub(super) fn apply(&mut self, model: &Forecaster, settings: &Settings) -> Result<()> {
        if self.applied.as_ref() == Some(settings) {
            return Ok(());
        }
        let device = &model.network.device;
        let state = &mut self.device;
        // Plans know how many groups there are, and whether the norm is taken.
        let planned = self.applied.as_ref().map(Settings::update);
        if planned != Some(settings.update()) {
            state.sessions.release();
            #[cfg(feature = "gpu")]
            state.recorded.release();
        }
        device.write(&state.groups, 0, &groups::blocks(&settings.groups, &model.network))?;
        if let (Some(buffer), Some(weights)) = (&state.class_weights, settings.loss.weights()) {
            device.write(buffer, 0, weights)?;
        }
        if self.place.scheduler.schedule() != settings.schedule {
            self.place.scheduler = Scheduler::new(settings.schedule);
        }
        state.clear_status(device)?;
        #[cfg(feature = "gpu")]
        {
            state.coming = None;
        }
        self.applied = Some(settings.clone());
        Ok(())
    }
}

/// Where the parameters of a run are.
pub(super) struct Parameters<'a> {
    /// Those that it goes on with.
    pub(super) last: &'a Buffer,
    /// Those with the best validation loss.
    pub(super) best: Option<&'a Buffer>,
}

impl DeviceState {
    /// Nothing has halted, nothing was skipped.
    pub(super) fn clear_status(&self, device: &Device) -> Result<()> {
        let mut values = [0.0; status::LEN];
        (values[status::SCALE], values[status::APPLY]) = (1.0, 1.0);
        device.write(&self.status, 0, &values)
    }

    /// The training session of a shape.
    pub(super) fn session(
        &self,
        model: &Forecaster,
        settings: &Settings,
        sequences: Sequences,
        part: Part,
    ) -> Result<InUse> {
        let plan = || training_plan(model, settings, &sequences, part);
        let name = match part {
            Part::Whole => "training",
            Part::First => "training, first part",
            Part::Middle => "training, middle part",
            Part::Last => "training, last part",
        };
        let caller = self.buffers(model);
        self.sessions.take((sequences, name), &model.network.device, plan, &caller)
    }

    /// What a training plan leaves to its caller.
    pub(super) fn buffers<'a>(&'a self, model: &'a Forecaster) -> Vec<(&'static str, &'a Buffer)> {
        let mut buffers = vec![
            ("params", &model.network.params),
            ("grads", &self.grads),
            ("groups", &self.groups),
            ("status", &self.status),
            ("loss", &self.loss),
            ("losses", &self.losses),
        ];
        buffers.extend(self.moments.iter().map(|(name, buffer)| (*name, buffer)));
        buffers.extend(self.class_weights.iter().map(|buffer| ("class_weights", buffer)));
        if let Some((h, c)) = &self.carried {
            buffers.extend([("h_0", h), ("c_0", c)]);
        }
        buffers
    }

    /// Makes room for the states of so many rows.
    pub(super) fn carry(&mut self, model: &Forecaster, rows: usize) -> Result<()> {
        if rows <= self.carried_rows {
            return Ok(());
        }
        let network = &model.network;
        let create = |name: &str, width: usize| network.device.create_buffer(name, rows * width);
        let [h, c] = network.shape.state_widths();
        let carried = (create("h", h)?, create("c", c)?);
        if let Some((h, c)) = &self.carried {
            // Those of the rows before are still wanted, one after the other as they are.
            let mut recorder = network.device.recorder();
            recorder.copy((h, 0), (&carried.0, 0), h.len());
            recorder.copy((c, 0), (&carried.1, 0), c.len());
            recorder.submit()?;
        }
        // Those that are kept know the smaller buffers.
        self.sessions.release();
        (self.carried, self.carried_rows) = (Some(carried), rows);
        self.before_step = None;
        Ok(())
    }

    /// Lets go of the memory that sessions take.
    pub(super) fn release(&mut self) {
        self.sessions.release();
    }

    /// Puts the carried states aside, before a step of several pieces.
    pub(super) fn begin_step(&mut self, device: &Device, recorder: &mut Recorder) -> Result<()> {
        let Some((h, c)) = &self.carried else { return Ok(()) };
        if self.before_step.is_none() {
            let create = |name: &str, like: &Buffer| device.create_buffer(name, like.len());
            self.before_step = Some((create("h before", h)?, create("c before", c)?));
        }
        if let Some((kept_h, kept_c)) = &self.before_step {
            recorder.copy((h, 0), (kept_h, 0), h.len());
            recorder.copy((c, 0), (kept_c, 0), c.len());
        }
        self.in_step = true;
        Ok(())
    }

    /// The step is whole.
    pub(super) fn end_step(&mut self) {
        self.in_step = false;
    }

    /// Goes back to the states before a step that was left half-way.
    pub(super) fn undo_half_a_step(&mut self, recorder: &mut Recorder) {
        if let (true, Some((h, c)), Some((kept_h, kept_c))) =
            (self.in_step, &self.carried, &self.before_step)
        {
            recorder.copy((kept_h, 0), (h, 0), h.len());
            recorder.copy((kept_c, 0), (c, 0), c.len());
        }
        self.in_step = false;
    }
}

pub(super) fn training_plan(
    model: &Forecaster,
    settings: &Settings,
    sequences: &Sequences,
    part: Part,
) -> Result<Plan> {
    let network = &model.network;
    let options = settings.options(model, part);
    Plan::training(&network.shape, sequences, &options, &network.device.limits())
}
