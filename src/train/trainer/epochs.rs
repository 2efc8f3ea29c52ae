//! The training loop.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::feeder::{Feeder, Source};
use super::place::StepLoss;
use super::run::{OPERATION, Run};
use super::settings::NonFinite;
use super::state::State;
use super::{Best, Progress, Report, Returned, Trainer, Validation};
use crate::data::Dataset;
use crate::device::Wait;
use crate::error::{Error, Result};
use crate::reference::status;

/// What is to be done where a run stands.
#[derive(Clone, Copy, Default)]
struct Due {
    report: bool,
    validation: bool,
    save: bool,
    /// Whether only the run's end asks for it, so that a run of more epochs wouldn't have it.
    at_the_end: bool,
}

impl Due {
    fn any(self) -> bool {
        self.report || self.validation || self.save
    }
}

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
    pub(super) async fn run_epochs<'a, S: Source<'a>, R: Returned>(
        &self,
        state: &mut State,
        source: S,
        validation: Option<&Dataset>,
        mut progress: impl FnMut(&Progress<'_>) -> R,
        wait: Wait,
    ) -> Result<Report> {
        let mut call = Call {
            run: Run::new(&self.model.network.device, wait),
            report: Report::default(),
            ends: VecDeque::new(),
            since: Instant::now(),
            samples: 0,
        };
        match state.place.goes_on(&self.settings) {
            true => state.place.finished = false,
            false => state.place.begin(&self.settings),
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

    async fn epochs_of<'a, S: Source<'a>, R: Returned>(
        &self,
        state: &mut State,
        call: &mut Call,
        feeder: &mut Feeder<'a, S>,
        validation: Option<&Dataset>,
        progress: &mut impl FnMut(&Progress<'_>) -> R,
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
                let before = state.place.step;
                if !self.batch(state, call, feeder).await? {
                    break;
                }
                let step = state.place.step;
                let due = Due {
                    report: settings.reports.after_step(step),
                    validation: validation.is_some() && settings.validations().after_step(step),
                    save: settings.saves().after_step(step),
                    at_the_end: false,
                };
                if step > before && due.any() {
                    let left = self.steps_left(state, feeder);
                    self.report(state, call, due, (validation, left), progress).await?;
                    if state.place.over {
                        return Ok(());
                    }
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
            let epochs = place.epoch;
            let mut due = Due {
                report: settings.reports.after_epochs(epochs),
                validation: validation.is_some() && settings.validations().after_epochs(epochs),
                save: settings.saves().after_epochs(epochs),
                at_the_end: false,
            };
            if epochs >= settings.epochs && !due.report && !due.validation {
                // The last step may have had them.
                due.report = place.step != place.reported;
                due.validation = validation.is_some() && place.step != place.validated;
                due.at_the_end = true;
            }
            if due.any() {
                let left = self.steps_left(state, feeder);
                self.report(state, call, due, (validation, left), progress).await?;
                if state.place.over {
                    return Ok(());
                }
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

    /// Optimizer steps up to the run's end, where that is known.
    fn steps_left<'a, S: Source<'a>>(&self, state: &State, feeder: &Feeder<'a, S>) -> Option<u64> {
        let (place, accumulate) = (&state.place, self.settings.accumulate);
        let all = feeder.pieces(&self.model.network.shape)?;
        let epochs = self.settings.epochs.saturating_sub(place.epoch);
        let (whole, begun) = match place.begun {
            true => (epochs.saturating_sub(1), all.saturating_sub(place.position)),
            false => (epochs, 0),
        };
        let whole = whole.checked_mul(all.div_ceil(accumulate))?;
        whole.checked_add(begun.div_ceil(accumulate)).map(|steps| steps as u64)
    }

    /// Measures, keeps what is best, tells and saves, as far as that is due; the run may be over then.
    async fn report<R: Returned>(
        &self,
        state: &mut State,
        call: &mut Call,
        due: Due,
        (validation, left): (Option<&Dataset>, Option<u64>),
        progress: &mut impl FnMut(&Progress<'_>) -> R,
    ) -> Result<()> {
        let wait = call.run.wait;
        self.settle(state, call).await?;
        let told = due.report || due.validation;
        let loss = match (state.place.begun, call.report.losses.last()) {
            (false, Some(&of_epoch)) => of_epoch,
            _ => self.mean(&state.place.untold),
        };
        let measured = match validation.filter(|_| due.validation) {
            Some(data) => Some(self.measure(data, wait).await?),
            None => None,
        };
        if let Some(measured) = &measured {
            let place = &state.place;
            call.report.validation = Some(measured.loss);
            call.report.validations.push(Validation {
                epoch: place.epoch + usize::from(place.begun),
                step: place.step,
                loss: measured.loss,
                accuracy: measured.accuracy_of(&self.settings.loss),
            });
            self.keep_if_best(state, measured.loss, due, wait).await?;
            state.place.validated = state.place.step;
        }
        let place = &mut state.place;
        let lr = place.rate(self.settings.optimizer.lr(), place.step, place.epoch_of_step());
        if told && !due.at_the_end {
            place.untold.clear();
            // By the training loss, where there is no other.
            match (measured, validation) {
                (Some(measured), _) => place.scheduler.observe(measured.loss.into()),
                (None, None) => place.scheduler.observe(loss.into()),
                (None, Some(_)) => {}
            }
        }
        if told {
            place.reported = place.step;
            let found = &call.run.status;
            let of_step = |validation: &&Validation| validation.step == place.step;
            let measured = call.report.validations.last().filter(of_step);
            let seconds = call.since.elapsed().as_secs_f64();
            let returned = progress(&Progress {
                epoch: place.epoch + usize::from(place.begun),
                epochs: self.settings.epochs,
                step: place.step,
                steps: left.and_then(|left| place.step.checked_add(left)),
                loss,
                validation: measured.map(|measured| measured.loss),
                validation_accuracy: measured.and_then(|measured| measured.accuracy),
                lr,
                gradient_norm: self.settings.update().norm.then_some(found[status::NORM]),
                skipped: found[status::SKIPPED] as u64,
                samples_per_second: call.samples as f64 / seconds,
                trainer: self,
            });
            if let Some(value) = returned.value()? {
                call.report.values.push((place.step, value));
            }
            (call.since, call.samples) = (Instant::now(), 0);
        }
        if let Some(folder) = self.settings.folder.as_ref().filter(|_| due.save) {
            self.save_as(state, folder, &HashMap::new(), wait).await?;
        }
        Ok(())
    }

    /// Keeps the parameters where the validation loss is the best so far, and ends the run where none was for
    /// too long.
    async fn keep_if_best(&self, state: &mut State, now: f32, due: Due, wait: Wait) -> Result<()> {
        let Some(kept) = &state.best else { return Ok(()) };
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
        } else if !due.at_the_end {
            place.reports_since_best += 1;
        }
        let since = place.reports_since_best;
        if self.settings.patience.is_some_and(|patience| since >= patience) {
            (place.finished, place.over) = (true, true);
        }
        Ok(())
    }
}
