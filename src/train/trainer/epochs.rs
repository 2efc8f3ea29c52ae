//! The training loop.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::feeder::{Feeder, Source};
use super::run::{OPERATION, Run};
use super::settings::{NonFinite, Reports};
use super::state::{State, StepLoss};
use super::{Best, Progress, Report, Trainer};
use crate::data::Dataset;
use crate::device::Wait;
use crate::error::{Error, Result};
use crate::reference::status;

/// What a call has done so far.
struct Call {
    run: Run,
    report: Report,
    /// The steps of this call after which epochs ended that aren't in the report yet.
    ends: VecDeque<usize>,
    /// Since the last report.
    since: Instant,
    samples: usize,
}

impl Trainer {
    /// Whenever this is pending, every step that the state has counted is submitted.
    pub(super) async fn run_epochs<'a, S: Source<'a>>(
        &self,
        state: &mut State,
        source: S,
        validation: Option<&Dataset>,
        mut progress: impl FnMut(&Progress),
        wait: Wait,
    ) -> Result<Report> {
        let mut call = Call {
            run: Run::new(&self.model.network.device, wait),
            report: Report::default(),
            ends: VecDeque::new(),
            since: Instant::now(),
            samples: 0,
        };
        if state.place.finished {
            state.place.begin(&self.settings);
        }
        let mut feeder = Feeder::new(source, self.settings.truncate);
        let ended = self.epochs_of(state, &mut call, &mut feeder, validation, &mut progress).await;
        // The steps before an error count, so they have to happen; one of theirs came first.
        let settled = self.settle(state, &mut call).await;
        if let Err(error) = settled.and(ended) {
            let _ = self.show_best(state, wait).await;
            if let Some(folder) = &self.settings.folder {
                // Of both, the first error says more.
                let _ = self.save_as(state, folder, &HashMap::new(), wait).await;
            }
            return Err(error);
        }
        self.show_best(state, wait).await?;
        if let Some(best) = state.place.best.filter(|_| self.settings.keeps_best()) {
            call.report.validation = Some(best.validation);
        }
        call.report.stopped = !state.place.finished;
        call.report.best = state.place.best;
        call.report.skipped = call.run.status[status::SKIPPED] as u64;
        if let Some(folder) = &self.settings.folder {
            self.save_as(state, folder, &HashMap::new(), wait).await?;
        }
        call.report.step_losses = std::mem::take(&mut call.run.losses);
        Ok(call.report)
    }

    /// Leaves the best model, where it is kept.
    async fn show_best(&self, state: &mut State, wait: Wait) -> Result<()> {
        let mut recorder = self.model.network.device.recorder();
        match state.show_best(&self.model, &self.settings, &mut recorder) {
            true => recorder.submit_as(wait).await,
            false => Ok(()),
        }
    }

    async fn epochs_of<'a, S: Source<'a>>(
        &self,
        state: &mut State,
        call: &mut Call,
        feeder: &mut Feeder<'a, S>,
        validation: Option<&Dataset>,
        progress: &mut impl FnMut(&Progress),
    ) -> Result<()> {
        let settings = &self.settings;
        let mut stops = false;
        while state.place.epoch < settings.epochs && !stops {
            let place = &mut state.place;
            if !place.begun {
                state.batches.reshuffle();
                (place.begun, place.position) = (true, 0);
            }
            feeder.begin(place.epoch, &state.batches);
            for done in 0..place.position {
                if feeder.next().transpose()?.is_none() {
                    return Err(Error::Value {
                        operation: OPERATION,
                        name: "batches".to_owned(),
                        expected: format!(
                            "those of the run: it has done {} pieces",
                            place.position
                        ),
                        got: format!("{done} in the epoch"),
                    });
                }
            }
            loop {
                let done = settings.max_steps.is_some_and(|most| call.run.steps() as u64 >= most);
                if done || self.stop.take() {
                    // Whoever asks to stop doesn't wait for a batch that may never come.
                    let shape = &self.model.network.shape;
                    if state.place.position == 0 || !feeder.is_over(shape, done) {
                        return feeder.error().map_or(Ok(()), Err);
                    }
                    stops = true;
                }
                if !self.batch(state, call, feeder).await? {
                    break;
                }
                let step = state.place.step;
                if let Reports::Steps(every) = settings.reports
                    && step.is_multiple_of(every as u64)
                    && step != state.place.reported
                    && self.report(state, call, validation, progress).await?
                {
                    state.place.finished = true;
                    return Ok(());
                }
            }
            let place = &mut state.place;
            if place.position == 0 {
                return Err(Error::Value {
                    operation: "Trainer::fit_batches",
                    name: "batches".to_owned(),
                    expected: "at least one in every epoch".to_owned(),
                    got: format!("none in epoch {}", place.epoch + 1),
                });
            }
            (place.epoch, place.begun, place.position) = (place.epoch + 1, false, 0);
            call.ends.push_back(call.run.steps());
            let wanted = match settings.reports {
                Reports::Epochs(every) => (place.epoch - 1).is_multiple_of(every),
                Reports::Steps(_) => false,
            };
            let last = place.epoch >= settings.epochs;
            // The last step may have had its report.
            let due = last && place.step != place.reported;
            if (wanted || due) && self.report(state, call, validation, progress).await? {
                state.place.finished = true;
                return Ok(());
            }
        }
        state.place.finished = state.place.epoch >= settings.epochs;
        Ok(())
    }

    /// Records the optimizer step of the next batch; says whether there was one in the epoch.
    async fn batch<'a, S: Source<'a>>(
        &self,
        state: &mut State,
        call: &mut Call,
        feeder: &mut Feeder<'a, S>,
    ) -> Result<bool> {
        let shape = &self.model.network.shape;
        let (mut pieces, mut taken) = (Vec::new(), 0);
        while pieces.len() < self.settings.accumulate {
            let Some(piece) = feeder.next().transpose()? else { break };
            taken += 1;
            if !piece.is_over(shape) {
                pieces.push(piece);
            }
        }
        if pieces.is_empty() {
            state.place.position += taken;
            return Ok(taken > 0);
        }
        let micros: Vec<_> = pieces.iter().map(|piece| piece.micro()).collect();
        let mut carried = state.place.carried;
        for micro in &micros {
            let rows = micro.rows.len();
            let Some(keep) = &micro.keep else { continue };
            if keep.contains(&true) && carried != rows {
                return Err(Error::Value {
                    operation: "Trainer::fit_batches",
                    name: "a batch that goes on".to_owned(),
                    expected: format!("of {carried} rows, as the one before"),
                    got: rows.to_string(),
                });
            }
            carried = rows;
            state.device.carry(&self.model, rows)?;
        }
        let weight: f64 = micros.iter().map(|micro| micro.weight(shape, &self.settings.loss)).sum();
        call.run.step(&self.model, &self.settings, state, &micros, weight).await?;
        state.place.carried = carried;
        self.take_epochs(state, call);
        call.samples += micros.iter().map(|micro| micro.rows.len()).sum::<usize>();
        state.place.position += taken;
        Ok(true)
    }

    /// Reads what the device has come to.
    async fn settle(&self, state: &mut State, call: &mut Call) -> Result<()> {
        let read = call.run.read_losses(&self.model, &self.settings, state).await;
        self.take_epochs(state, call);
        if read.is_err() && !call.ends.is_empty() {
            // They are of an epoch that has ended without all of its steps.
            state.place.losses.clear();
        }
        read
    }

    /// Brings the epochs that have ended, and whose losses were read, into the report.
    fn take_epochs(&self, state: &mut State, call: &mut Call) {
        while let Some(&end) = call.ends.front()
            && end <= call.run.losses.len()
        {
            call.ends.pop_front();
            // The state's losses end with those that were read last.
            let after = call.run.losses.len() - end;
            let place = &mut state.place;
            let of_epoch = place.losses.len() - after;
            let losses: Vec<StepLoss> = place.losses.drain(..of_epoch).collect();
            call.report.losses.push(self.mean(&losses));
        }
    }

    /// The mean loss of some steps, over what counts in them.
    fn mean(&self, losses: &[StepLoss]) -> f32 {
        let skip = self.settings.non_finite == NonFinite::Skip;
        let (mut sum, mut all) = (0.0, 0.0);
        for &(loss, weight) in losses {
            if weight > 0.0 && (loss.is_finite() || !skip) {
                sum += f64::from(loss) * f64::from(weight);
                all += f64::from(weight);
            }
        }
        (sum / all) as f32
    }

    /// Measures, tells, keeps what is best; says whether to stop.
    async fn report(
        &self,
        state: &mut State,
        call: &mut Call,
        validation: Option<&Dataset>,
        progress: &mut impl FnMut(&Progress),
    ) -> Result<bool> {
        let wait = call.run.wait;
        self.settle(state, call).await?;
        let seconds = call.since.elapsed().as_secs_f64();
        let loss = match (state.place.begun, call.report.losses.last()) {
            (false, Some(&of_epoch)) => of_epoch,
            _ => self.mean(&state.place.untold),
        };
        state.place.untold.clear();
        call.report.validation = match validation {
            Some(data) => Some(self.measure(data, wait).await?.loss),
            None => None,
        };
        let place = &mut state.place;
        let lr = self.settings.optimizer.lr();
        let found = &call.run.status;
        progress(&Progress {
            epoch: place.epoch + usize::from(place.begun),
            epochs: self.settings.epochs,
            step: place.step,
            loss,
            validation: call.report.validation,
            lr: place.rate(lr, place.step, place.epoch_of_step()),
            gradient_norm: self.settings.update().norm.then_some(found[status::NORM]),
            skipped: found[status::SKIPPED] as u64,
            samples_per_second: call.samples as f64 / seconds,
        });
        place.reported = place.step;
        place.scheduler.observe(call.report.validation.unwrap_or(loss).into());
        let stop = self.keep_if_best(state, call, wait).await?;
        if let Some(folder) = &self.settings.folder {
            self.save_as(state, folder, &HashMap::new(), wait).await?;
        }
        (call.since, call.samples) = (Instant::now(), 0);
        Ok(stop)
    }

    /// Keeps the parameters where the validation loss is the best so far; says whether to stop.
    async fn keep_if_best(&self, state: &mut State, call: &Call, wait: Wait) -> Result<bool> {
        let (Some(now), Some(kept)) = (call.report.validation, &state.best) else {
            return Ok(false);
        };
        let place = &mut state.place;
        // NaN never is, and anything is better than NaN.
        let before = place.best.map_or(f32::NAN, |best| best.validation);
        if now < before || before.is_nan() && !now.is_nan() {
            let mut recorder = self.model.network.device.recorder();
            recorder.copy((&self.model.network.params, 0), (kept, 0), kept.len());
            // It is submitted when it is polled first: where the future is dropped while it waits, they are kept.
            let (best, since) = (place.best, place.reports_since_best);
            let epoch = place.epoch + usize::from(place.begun);
            place.best = Some(Best { epoch, step: place.step, validation: now });
            place.reports_since_best = 0;
            if let Err(error) = recorder.submit_as(wait).await {
                (place.best, place.reports_since_best) = (best, since);
                return Err(error);
            }
        } else {
            place.reports_since_best += 1;
        }
        let since = state.place.reports_since_best;
        Ok(self.settings.patience.is_some_and(|patience| since >= patience))
    }
}
