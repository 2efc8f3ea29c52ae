//! Training steps on their way to the device.

use std::collections::VecDeque;

use super::place::StepLoss;
use super::settings::{NonFinite, Settings};
use super::state::{DeviceState, State};
use crate::device::{Device, Recorder, Wait};
use crate::error::{Error, Result};
use crate::model::{Forecaster, Network};
use crate::plan::{LOSS_SLOTS, Part, Sequences};
use crate::reference::{kind, status};
use crate::train::micro::Micro;

/// What errors of a run say was called.
pub(super) const OPERATION: &str = "Trainer::fit";

/// What a call keeps on the host.
pub(super) struct Run {
    recorder: Recorder,
    pub(super) wait: Wait,
    /// Runs of plans that were recorded.
    runs: usize,
    /// How many of them the device doesn't have yet.
    unsubmitted: usize,
    /// The shape of the last one.
    shape: Option<Sequences>,
    /// The runs that ended an optimizer step and whose losses weren't read yet, with how much counted in
    /// each step.
    ended: VecDeque<(usize, f64)>,
    /// The loss of every step that was read back.
    pub(super) losses: Vec<f32>,
    /// The status when the losses were read last.
    pub(super) status: Vec<f32>,
    /// What the run after next is fed with.
    host: Vec<f32>,
    /// What every part of the step is fed with.
    values: Vec<f32>,
}

impl Run {
    pub(super) fn new(device: &Device, wait: Wait) -> Run {
        Run {
            recorder: device.recorder(),
            wait,
            runs: 0,
            unsubmitted: 0,
            shape: None,
            ended: VecDeque::new(),
            losses: Vec::new(),
            status: vec![0.0; status::LEN],
            host: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Optimizer steps that were recorded.
    pub(super) fn steps(&self) -> usize {
        self.losses.len() + self.ended.len()
    }

    pub(super) async fn submit(&mut self) -> Result<()> {
        self.unsubmitted = 0;
        self.recorder.submit_as(self.wait).await
    }

    /// Records one optimizer step over the pieces of a batch, whose targets count so much together.
    pub(super) async fn step(
        &mut self,
        model: &Forecaster,
        settings: &Settings,
        state: &mut State,
        pieces: &[Micro<'_>],
        weight: f64,
    ) -> Result<()> {
        // The ring of losses holds so many runs.
        let oldest = self.ended.front().map_or(self.runs, |(run, _)| *run);
        if self.runs + pieces.len() - oldest > LOSS_SLOTS {
            self.read_losses(model, settings, state).await?;
        }
        let (step, scale) = (state.place.step + 1, settings.loss.scale(weight));
        let part = |i: usize| match (pieces.len(), i) {
            (1, _) => Part::Whole,
            (_, 0) => Part::First,
            (count, i) if i + 1 == count => Part::Last,
            _ => Part::Middle,
        };
        if pieces.len() > 1 {
            // Where memory is short, it is so before the first piece.
            for (i, piece) in pieces.iter().enumerate() {
                state.device.session(model, settings, piece.sequences(), part(i))?;
            }
            state.device.begin_step(&model.network.device, &mut self.recorder)?;
        }
        for (i, piece) in pieces.iter().enumerate() {
            self.values.clear();
            state.place.step_values(settings, step, &mut self.values);
            settings.key(model, step, i, &mut self.values);
            self.piece(model, settings, &state.device, piece, (part(i), scale)).await?;
        }
        state.device.end_step();
        self.ended.push_back((self.runs - 1, weight));
        state.place.step += 1;
        state.unread = true;
        Ok(())
    }

    async fn piece(
        &mut self,
        model: &Forecaster,
        settings: &Settings,
        state: &DeviceState,
        piece: &Micro<'_>,
        (part, scale): (Part, f32),
    ) -> Result<()> {
        let network = &model.network;
        let sequences = piece.sequences();
        let ready = state.session(model, settings, sequences, part)?;
        let session = &ready.session;
        let feed = session.known("feed");
        let slots = session.slots("feed");
        // A slot that the device hasn't read yet must not be written; sessions of all shapes share
        // them.
        if self.unsubmitted >= slots || self.shape.is_some_and(|shape| shape != sequences) {
            self.submit().await?;
        }
        self.shape = Some(sequences);
        self.host.clear();
        piece.feed(&network.shape, scale, &mut self.host);
        self.host.extend_from_slice(&self.values);
        network.device.write(&feed, self.runs % slots * self.host.len(), &self.host)?;
        self.recorder.run(session, self.runs);
        self.runs += 1;
        self.unsubmitted += 1;
        Ok(())
    }

    /// Reads the losses of all steps since the last call, and what became of them.
    pub(super) async fn read_losses(
        &mut self,
        model: &Forecaster,
        settings: &Settings,
        state: &mut State,
    ) -> Result<()> {
        if self.ended.is_empty() {
            return self.submit().await;
        }
        // Behind the losses, so that one reading shows both.
        let (from, to) = (&state.device.status, &state.device.losses);
        self.recorder.copy((from, 0), (to, LOSS_SLOTS), status::LEN);
        self.submit().await?;
        let network = &model.network;
        let mut ring = network.device.read_as(to, 0, LOSS_SLOTS + status::LEN, self.wait).await?;
        self.status = ring.split_off(LOSS_SLOTS);
        let loss = &settings.loss;
        let read = |(run, weight): (usize, f64)| -> StepLoss {
            (loss.told(ring[run % LOSS_SLOTS], weight), loss.share(weight))
        };
        let mut losses: Vec<StepLoss> = self.ended.drain(..).map(read).collect();
        state.unread = false;
        let halted = halted(network, settings, &self.status, (OPERATION, state.place.step));
        if let Some((undone, _)) = &halted {
            // Nothing was done from the bad step on.
            state.place.step -= undone;
            losses.truncate(losses.len().saturating_sub(*undone as usize));
            state.device.clear_status(&network.device)?;
        }
        state.place.losses.extend_from_slice(&losses);
        if settings.tells_within_epochs() {
            state.place.untold.extend_from_slice(&losses);
        }
        self.losses.extend(losses.iter().map(|(loss, _)| loss));
        halted.map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// Steps that were counted are done, also where a caller's iterator panics.
impl Drop for Run {
    fn drop(&mut self) {
        if self.unsubmitted > 0 {
            // Where the device fails, the next call finds out.
            let _ = self.recorder.submit();
        }
    }
}

/// How many steps weren't done because of one that wasn't finite, and what it was.
pub(super) fn halted(
    network: &Network,
    settings: &Settings,
    found: &[f32],
    (operation, step): (&'static str, u64),
) -> Option<(u64, Error)> {
    if settings.non_finite != NonFinite::Error || found[status::HALTED] == 0.0 {
        return None;
    }
    let undone = (found[status::SINCE] as u64).min(step);
    let tensor = match found[status::KIND] == kind::LOSS {
        true => "the loss".to_owned(),
        false => {
            let chunk = network.norm_chunk() as f64;
            let at = f64::from(found[status::CHUNK]) * chunk + f64::from(found[status::OFFSET]);
            let holds = |start: usize, len: usize| (start..start + len).contains(&(at as usize));
            let mut entries = network.table.entries.iter().zip(&network.names);
            let name = entries.find(|(entry, _)| holds(entry.start, entry.len));
            let name = name.map_or("a parameter", |(_, name)| name.as_str());
            format!("the gradient of {name}")
        }
    };
    Some((undone, Error::NonFinite { operation, tensor, step: step + 1 - undone }))
}
