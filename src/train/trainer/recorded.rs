//! Training steps in a caller's encoder.

use super::{DeviceState, State, Trainer, step_values, training_plan};
use crate::device::{Buffer, Device};
use crate::error::Result;
use crate::plan::Sequences;
use crate::record::{self, Given};

/// Steps whose values lie on the device at a time, in two halves.
const STEPS: u64 = 4096;

/// The caller's buffers for [`Trainer::record_step`], each from an offset on.
#[derive(Clone, Copy)]
pub struct TrainingBindings<'a> {
    /// The input, `[T, B, I]`, or `[B, T, I]` where the model's settings say batch-first.
    pub x: wgpu::BufferSlice<'a>,
    /// The targets, `[B, O]`.
    pub target: wgpu::BufferSlice<'a>,
    /// Where the loss before the step goes, `[1]`, where it is wanted.
    pub loss: Option<wgpu::BufferSlice<'a>>,
}

/// What coming optimizer steps take, such as the step size: a row each, at the step's number modulo
/// the rows. An encoder copies its row, so that a step can be recorded without writing to a buffer.
pub(super) struct Coming {
    rows: Buffer,
    row: usize,
    /// The steps from 1 up to this one are there, but for those whose rows were taken again.
    filled: u64,
}

impl Coming {
    fn start(&self, step: u64) -> usize {
        (step % STEPS) as usize * self.row
    }
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
    /// # Errors
    /// As [`Lstm::record`](crate::Lstm::record), and for settings as [`fit`](Self::fit). Nothing is
    /// recorded then, and the step doesn't count.
    pub fn record_step(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        (steps, batch): (usize, usize),
        bindings: &TrainingBindings<'_>,
    ) -> Result<()> {
        let operation = "Trainer::record_step";
        self.adam.check(operation)?;
        let network = &self.model.network;
        let (device, shape) = (&network.device, &network.shape);
        shape.check(operation, steps, batch)?;
        let given = |name, slice, len| Given { name, slice, len };
        let x = given("x", bindings.x, steps * batch * shape.input);
        let target = given("target", bindings.target, batch * shape.outputs());
        let loss = bindings.loss.map(|slice| given("loss", slice, 1));
        record::expect(operation, device, &[x, target], loss.as_slice(), &[])?;

        if self.state.is_none() {
            self.state = Some(State::new(&self.model)?);
        }
        let Some(State { device: state, .. }) = &mut self.state else {
            unreachable!("it was made just now")
        };
        let step = state.step + 1;
        let (rows, start, row) = coming(&self.model, &self.adam, device, state, step)?;
        let batch_first = network.config.batch_first;
        let sequences = Sequences { batch_first, ..Sequences::new(steps, batch) };
        let plan = || training_plan(&self.model, &self.adam, &sequences);
        let caller = state.buffers(&self.model);
        let ready = state.recorded.get((sequences, "training"), device, plan, &caller)?;
        let (plan, session) = (&ready.plan, &ready.session);
        record::copy_in(encoder, session, &[(x, "x"), (target, "target")]);
        if let Some(rows) = rows.as_wgpu() {
            let mut at = start;
            for (name, len) in [("scalars", 2), ("key", row - 2)] {
                if let Some(to) = session.known_if(name).as_ref().and_then(Buffer::as_wgpu) {
                    let size = 4 * len as u64;
                    encoder.copy_buffer_to_buffer(rows, 4 * at as u64, to, 0, Some(size));
                    at += len;
                }
            }
        }
        // The last command keeps the loss for `fit`.
        session.encode(encoder, plan.forward_from..session.program().commands.len() - 1);
        if let Some(loss) = &loss {
            record::copy_out(encoder, session, "loss", 0, loss);
        }
        state.step = step;
        Ok(())
    }
}

impl Trainer {
    /// Lets go of what [`record_step`](Self::record_step) keeps for every shape; the next call of a
    /// shape makes it anew.
    pub fn release_recorded(&self) {
        if let Some(state) = &self.state {
            state.device.recorded.release();
        }
    }
}

/// Where the values of a step are, once they are there: the buffer, the first element, how many.
fn coming(
    model: &crate::model::Forecaster,
    adam: &super::Adam,
    device: &Device,
    state: &mut DeviceState,
    step: u64,
) -> Result<(Buffer, usize, usize)> {
    let row = step_values(model, adam, step).len();
    if state.coming.is_none() {
        let rows = device.create_buffer("coming steps", STEPS as usize * row)?;
        state.coming = Some(Coming { rows, row, filled: step - 1 });
    }
    let Some(coming) = &mut state.coming else { unreachable!("it was made just now") };
    // `fit` may have gone on meanwhile.
    coming.filled = coming.filled.max(step - 1);
    if coming.filled < step {
        // Up to the end of this half; the other one may belong to steps that still wait.
        let half = STEPS / 2;
        let end = (step / half + 1) * half;
        let values: Vec<f32> = (step..end).flat_map(|s| step_values(model, adam, s)).collect();
        device.write(&coming.rows, coming.start(step), &values)?;
        coming.filled = end - 1;
    }
    Ok((coming.rows.clone(), coming.start(step), row))
}
