//! How far a run has got.

use super::settings::{NonFinite, Settings};
use crate::reference::{SETTINGS, policy, scalars};
use crate::train::{Best, Scheduler};

/// The loss of a step, NaN where nothing counted in it, and how much it counts in the mean of an epoch.
pub(super) type StepLoss = (f32, f32);

/// How far a run has got.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    /// Optimizer steps so far, of all runs.
    pub(super) step: u64,
    /// Those of the runs before.
    pub(super) first: u64,
    /// The step of the last report.
    pub(super) reported: u64,
    /// Whole epochs of the run.
    pub(super) epoch: usize,
    /// Whether another epoch has begun, so that its order is drawn.
    pub(super) begun: bool,
    /// Pieces of its batches that are done.
    pub(super) position: usize,
    /// The step after which the validation set was measured last.
    pub(super) validated: u64,
    /// Whether the run has come to its end.
    pub(super) finished: bool,
    /// Whether nothing goes on with it, however many epochs there are to be: it stopped early, or was left.
    pub(super) over: bool,
    /// The losses of the epoch's steps, as far as they were read, and how much each counts.
    pub(super) losses: Vec<StepLoss>,
    /// Those since the last report, where reports come after steps.
    pub(super) untold: Vec<StepLoss>,
    pub(super) best: Option<Best>,
    pub(super) reports_since_best: usize,
    pub(super) scheduler: Scheduler,
    /// Rows that states are carried of; 0 for none.
    pub(super) carried: usize,
}

impl Place {
    pub(super) fn new(settings: &Settings) -> Place {
        Place {
            step: 0,
            first: 0,
            reported: 0,
            validated: 0,
            epoch: 0,
            begun: false,
            position: 0,
            finished: true,
            over: true,
            losses: Vec::new(),
            untold: Vec::new(),
            best: None,
            reports_since_best: 0,
            scheduler: Scheduler::new(settings.schedule),
            carried: 0,
        }
    }

    /// Whole epochs before the last step.
    pub(super) fn epoch_of_step(&self) -> usize {
        if self.begun { self.epoch } else { self.epoch.saturating_sub(1) }
    }

    /// What becomes of a rate in optimizer step `step`, after so many epochs of the run.
    pub(super) fn rate(&self, lr: f64, step: u64, epochs: usize) -> f64 {
        self.scheduler.rate(lr, step.saturating_sub(1 + self.first), epochs)
    }

    /// Whether the next call goes on with the run: it was stopped before its end, or there are to be more
    /// epochs than it has done.
    pub(super) fn goes_on(&self, settings: &Settings) -> bool {
        !self.over && (!self.finished || settings.epochs > self.epoch)
    }

    /// Another run, which goes on with the optimizer's steps.
    pub(super) fn begin(&mut self, settings: &Settings) {
        let step = self.step;
        *self = Place { step, first: step, finished: false, over: false, ..Place::new(settings) };
    }

    /// What a plan's `scalars` and `settings` hold in optimizer step `step`, from 1.
    pub(super) fn step_values(&self, settings: &Settings, step: u64, out: &mut Vec<f32>) {
        let mut said = [0.0; scalars::LEN];
        said[scalars::MAX_NORM] = settings.clip_norm.map_or(f32::MAX, |norm| norm as f32);
        said[scalars::POLICY] = match settings.non_finite {
            NonFinite::Error => policy::ERROR,
            NonFinite::Skip => policy::SKIP,
            NonFinite::Pass => policy::PASS,
        };
        out.extend(said);
        let whole = settings.optimizer.whole();
        let own = settings.groups.iter().map(|group| group.settings(&settings.optimizer));
        for mut group in std::iter::once(whole).chain(own) {
            group.lr = self.rate(group.lr, step, self.epoch);
            group.clip_value = settings.clip_value;
            let row: [f32; SETTINGS] = settings.optimizer.row(step, &group);
            out.extend(row);
        }
    }
}
