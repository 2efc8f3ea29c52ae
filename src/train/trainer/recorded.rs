//! Training steps in a caller's encoder.

use super::Trainer;
use super::settings::Settings;
use super::state::{COMING_STEPS, Coming, State, training_plan};
use crate::device::Buffer;
use crate::error::{Error, Result};
use crate::model::Forecaster;
use crate::plan::{Encoding, Part, Sequences};
use crate::record::{self, Given};
use crate::reference::{SETTINGS, scalars};
use crate::train::Reduction;

/// The caller's buffers for [`Trainer::record_step`], each from an offset on.
#[derive(Clone, Copy)]
pub struct TrainingBindings<'a> {
    /// The input, `[T, B, I]`, or `[B, T, I]` where the model's settings say batch-first.
    pub x: wgpu::BufferSlice<'a>,
    /// The targets: `[B, O]`, or `[B]` of classes; with predictions at every timestep `[T, B, O]` or
    /// `[T, B]`, whatever `x` is.
    pub target: wgpu::BufferSlice<'a>,
    /// Where the loss before the step goes, `[1]`, where it is wanted.
    pub loss: Option<wgpu::BufferSlice<'a>>,
}

impl Trainer {
    /// Records a training step on `batch` sequences of `steps` timesteps into the caller's encoder:
    /// forward, loss, backward and the optimizer, as [`fit`](Self::fit) does it for a batch. Nothing
    /// is submitted; after the first call of a shape nothing is created, but once in 2,048 steps,
    /// when the host writes what the next steps take. So of the steps that were recorded at most
    /// 2,048 may wait to be submitted, and they have to be submitted in their order.
    ///
    /// A step counts when it is recorded: an encoder that is dropped leaves its number out. Parameters
    /// are read and written when the device gets there, so [`fit`](Self::fit) and `load_state_dict`
    /// belong before the recording or after the submission.
    ///
    /// Schedules go by the epochs and reports of `fit`, and by the number of steps.
    ///
    /// Nobody looks at what the buffers hold: a target that is no class, or a token that isn't one,
    /// makes the loss NaN. Steps that come to NaN or infinity are met as [`NonFinite`](super::NonFinite)
    /// says; [`expect_finite`](Self::expect_finite) tells of them.
    ///
    /// # Errors
    /// As [`Lstm::record`](crate::Lstm::record), and for settings as [`fit`](Self::fit);
    /// [`Error::Value`] for what the host would have to know of the data: the mean of a cross-entropy
    /// with class weights, and the gradient of an embedding. Targets of the ignored class count in the
    /// mean with a loss of 0. Nothing is recorded then, and the step doesn't count. Rows have no lengths and
    /// targets no weights here: [`fit_batches`](Self::fit_batches) takes them.
    pub fn record_step(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        (steps, batch): (usize, usize),
        bindings: &TrainingBindings<'_>,
    ) -> Result<()> {
        let operation = "Trainer::record_step";
        self.settings.check(operation, &self.model)?;
        let network = &self.model.network;
        let (device, shape, loss) = (&network.device, &network.shape, &self.settings.loss);
        let refused = |name: &str, expected: &str| {
            Err(Error::Value {
                operation,
                name: name.to_owned(),
                expected: expected.to_owned(),
                got: "data that only the device knows".to_owned(),
            })
        };
        if loss.weights().is_some() && loss.reduction() == Reduction::Mean {
            return refused("loss", "a sum, where classes have weights");
        }
        if self.settings.accumulate > 1 || self.settings.truncate.is_some() {
            return Err(Error::Value {
                operation,
                name: "accumulate and truncate".to_owned(),
                expected: "unset, since every recorded step is a whole one".to_owned(),
                got: match self.settings.truncate {
                    Some(steps) => format!("{} and {steps}", self.settings.accumulate),
                    _ => format!("{} and unset", self.settings.accumulate),
                },
            });
        }
        if let Encoding::Embedding(_) = shape.encoding {
            return refused("the model", "one without an embedding");
        }
        shape.check(operation, steps, batch)?;
        let predictions = shape.predictions(steps) * batch;
        let targets = predictions * if loss.is_of_classes() { 1 } else { shape.outputs() };
        let given = |name, slice, len| Given { name, slice, len };
        let x = given("x", bindings.x, steps * batch * shape.given());
        let target = given("target", bindings.target, targets);
        let told = bindings.loss.map(|slice| given("loss", slice, 1));
        record::expect(operation, device, &[x, target], told.as_slice(), &[])?;

        if self.state.is_none() {
            self.state = Some(State::new(&self.model, &self.settings)?);
        }
        let Some(state) = &mut self.state else { unreachable!("it was made just now") };
        state.apply(&self.model, &self.settings)?;
        let (rows, start) = coming(&self.model, &self.settings, state)?;
        let batch_first = network.config.batch_first;
        let sequences = Sequences { batch_first, ..Sequences::new(steps, batch) };
        let plan = || training_plan(&self.model, &self.settings, &sequences, Part::Whole);
        let caller = state.device.buffers(&self.model);
        let key = (sequences, "training");
        let known = state.device.recorded.has(&key);
        let ready = state.device.recorded.get(key, device, plan, &caller)?;
        let (plan, session) = (&ready.plan, &ready.session);
        if !known {
            // Every step of the shape has the same.
            let scale = loss.scale(targets as f64);
            let (to, at) = session.known_part("loss_scale");
            let written = device.write(&to, at, &[scale]);
            written.inspect_err(|_| state.device.recorded.release())?;
        }
        if state.place.finished {
            state.leave_run();
        }
        if state.swapped {
            let mut recorder = device.recorder();
            state.show_last(&self.model, &mut recorder);
            recorder.submit()?;
        }
        record::copy_in(encoder, session, &[(x, "x"), (target, "target")]);
        if let Some(rows) = rows.as_wgpu() {
            let mut at = start;
            let groups = SETTINGS * (self.settings.groups.len() + 1);
            for (name, len) in [("scalars", scalars::LEN), ("settings", groups), ("key", 4)] {
                let part = session.part_if(name);
                let to = part.as_ref().and_then(|(buffer, to)| Some((buffer.as_wgpu()?, to)));
                if let Some((buffer, to)) = to {
                    let (from, to, size) = (4 * at as u64, 4 * *to as u64, 4 * len as u64);
                    encoder.copy_buffer_to_buffer(rows, from, buffer, to, Some(size));
                    at += len;
                }
            }
        }
        // The last command keeps the loss for `fit`.
        session.encode(encoder, plan.forward_from..session.program().commands.len() - 1);
        if let Some(told) = &told {
            record::copy_out(encoder, session, "loss", 0, told);
        }
        state.place.step += 1;
        state.unread = true;
        Ok(())
    }

    /// Lets go of what [`record_step`](Self::record_step) keeps for every shape; the next call of a
    /// shape makes it anew.
    pub fn release_recorded(&self) {
        if let Some(state) = &self.state {
            state.device.recorded.release();
        }
    }
}

/// Where the values of the next step are, once they are there: the buffer and the first element.
fn coming(model: &Forecaster, settings: &Settings, state: &mut State) -> Result<(Buffer, usize)> {
    let State { device: state, place, .. } = state;
    let device = &model.network.device;
    let step = place.step + 1;
    let values = |steps: std::ops::Range<u64>| {
        let mut values = Vec::new();
        for step in steps {
            place.step_values(settings, step, &mut values);
            settings.key(model, step, 0, &mut values);
        }
        values
    };
    if state.coming.is_none() {
        let row = values(step..step + 1).len();
        let rows = device.create_buffer("coming steps", COMING_STEPS as usize * row)?;
        state.coming = Some(Coming { rows, row, filled: step - 1 });
    }
    let Some(coming) = &mut state.coming else { unreachable!("it was made just now") };
    // `fit` may have gone on meanwhile.
    coming.filled = coming.filled.max(step - 1);
    if coming.filled < step {
        // Up to the end of this half; the other one may belong to steps that still wait.
        let half = COMING_STEPS / 2;
        let end = (step / half + 1) * half;
        device.write(&coming.rows, coming.start(step), &values(step..end))?;
        coming.filled = end - 1;
    }
    Ok((coming.rows.clone(), coming.start(step)))
}
