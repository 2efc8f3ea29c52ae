//! How a trainer is set up.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::model::Forecaster;
use crate::plan::{Part, TrainingOptions, Update};
use crate::reference::Dropout;
use crate::train::optimizer::expect_rate;
use crate::train::{Loss, Optimizer, ParameterGroup, Schedule, groups};

/// What becomes of an optimizer step whose loss or gradients are NaN or infinite.
///
/// The device itself finds out, in the step, so that nothing waits for the host. It looks at the loss and
/// at every gradient of what is trained, and not at the parameters: one that isn't finite, or that a step
/// makes infinite, shows in the loss of the step that uses it. Finite gradients whose norm is beyond f32
/// are clipped to nothing, as in PyTorch.
///
/// Data sets are looked at before: NaN and infinity in inputs or targets are an error under each policy,
/// but for those behind a sequence's end, which reach nothing. So are weights that aren't finite in
/// `load_state_dict`, and runs with such numbers in [`Trainer::resume`](super::Trainer::resume), but under
/// [`Pass`](Self::Pass).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// It isn't applied, and neither is any later one: parameters and moments stay as they were before
    /// it. Training ends with [`Error::NonFinite`] when the host next reads the losses, at the next
    /// report or after a thousand steps.
    #[default]
    Error,
    /// It isn't applied; [`Report::skipped`](super::Report::skipped) counts such steps. In schedules
    /// and bias corrections they count as steps.
    Skip,
    /// It is applied: parameters and moments may be NaN from then on. With clipping by the norm, gradients
    /// become zero or NaN, as in PyTorch.
    Pass,
}

/// When something of a run is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Every {
    /// After epochs 1, 1 + n and so on.
    Epochs(usize),
    /// After optimizer steps n, 2n and so on.
    Steps(usize),
}

impl Every {
    pub(super) fn count(self) -> usize {
        let (Every::Epochs(count) | Every::Steps(count)) = self;
        count
    }

    /// Whether it is due after an optimizer step.
    pub(super) fn after_step(self, step: u64) -> bool {
        matches!(self, Every::Steps(count) if step.is_multiple_of(count as u64))
    }

    /// Whether it is due after so many epochs.
    pub(super) fn after_epochs(self, epochs: usize) -> bool {
        matches!(self, Every::Epochs(count) if (epochs - 1).is_multiple_of(count))
    }
}

/// How a trainer is set up.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) loss: Loss,
    pub(super) optimizer: Optimizer,
    pub(super) groups: Vec<ParameterGroup>,
    pub(super) schedule: Schedule,
    pub(super) clip_norm: Option<f64>,
    pub(super) clip_value: Option<f64>,
    pub(super) non_finite: NonFinite,
    pub(super) batch_size: usize,
    pub(super) accumulate: usize,
    pub(super) truncate: Option<usize>,
    pub(super) epochs: usize,
    pub(super) max_steps: Option<u64>,
    pub(super) shuffle: Option<u64>,
    pub(super) reports: Every,
    /// As the reports, or, where these are within epochs, after each epoch.
    pub(super) validations: Option<Every>,
    /// As the validations.
    pub(super) saves: Option<Every>,
    pub(super) patience: Option<usize>,
    pub(super) keep_best: bool,
    pub(super) folder: Option<PathBuf>,
}

impl Settings {
    pub(super) fn new(loss: Loss, optimizer: Optimizer) -> Settings {
        Settings {
            loss,
            optimizer,
            groups: Vec::new(),
            schedule: Schedule::Constant,
            clip_norm: None,
            clip_value: None,
            non_finite: NonFinite::Error,
            batch_size: 32,
            accumulate: 1,
            truncate: None,
            epochs: 100,
            max_steps: None,
            shuffle: None,
            reports: Every::Epochs(1),
            validations: None,
            saves: None,
            patience: None,
            keep_best: false,
            folder: None,
        }
    }

    pub(super) fn check(&self, operation: &'static str, model: &Forecaster) -> Result<()> {
        let network = &model.network;
        self.optimizer.check(operation)?;
        self.schedule.check(operation)?;
        self.loss.check(operation, network.shape.outputs())?;
        groups::check(&self.groups, operation, &network.names)?;
        for (name, bound) in [("clip_norm", self.clip_norm), ("clip_value", self.clip_value)] {
            let Some(bound) = bound else { continue };
            expect_rate(operation, name, bound)?;
            if bound as f32 == 0.0 {
                return Err(Error::Value {
                    operation,
                    name: name.to_owned(),
                    expected: "above 0 in f32".to_owned(),
                    got: bound.to_string(),
                });
            }
        }
        let settings = [
            ("batch_size", self.batch_size),
            ("accumulate", self.accumulate),
            ("truncate", self.truncate.unwrap_or(1)),
            ("epochs", self.epochs),
            ("max_steps", self.max_steps.map_or(1, |steps| usize::from(steps > 0))),
            ("report_every", self.reports.count()),
            ("validate_every", self.validations().count()),
            ("checkpoint_every", self.saves().count()),
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
        let once = network.shape.predictions(2) == 1;
        if self.truncate.is_some() && (once || !network.shape.is_causal()) {
            return Err(Error::Value {
                operation,
                name: "truncate".to_owned(),
                expected: "used with predictions at every timestep, in the forward direction"
                    .to_owned(),
                got: match (network.shape.bidirectional, network.shape.reverse) {
                    (true, _) => "two directions".to_owned(),
                    (_, true) => "the reverse direction".to_owned(),
                    _ => format!("the readout {}", network.shape.readout.name()),
                },
            });
        }
        Ok(())
    }

    /// When the validation set is measured.
    pub(super) fn validations(&self) -> Every {
        match (self.validations, self.reports) {
            (Some(every), _) | (None, every @ Every::Epochs(_)) => every,
            (None, Every::Steps(_)) => Every::Epochs(1),
        }
    }

    /// When the run is saved, where it is.
    pub(super) fn saves(&self) -> Every {
        self.saves.unwrap_or(self.validations())
    }

    /// Whether something is told between the ends of epochs.
    pub(super) fn tells_within_epochs(&self) -> bool {
        [self.reports, self.validations()].iter().any(|every| matches!(every, Every::Steps(_)))
    }

    /// Whether the parameters with the best validation loss are kept.
    pub(super) fn keeps_best(&self) -> bool {
        self.keep_best || self.patience.is_some()
    }

    /// The optimizer step of a plan.
    pub(super) fn update(&self) -> Update {
        Update {
            rule: self.optimizer.rule(),
            groups: self.groups.len() + 1,
            norm: self.clip_norm.is_some() || self.non_finite != NonFinite::Pass,
        }
    }

    pub(super) fn options(&self, model: &Forecaster, part: Part) -> TrainingOptions {
        TrainingOptions {
            objective: self.loss.objective(),
            update: Some(self.update()),
            part,
            carry: true,
            input_gradient: false,
            dropout: model.network.config.drops(),
        }
    }

    /// What a plan's `key` holds in a part of optimizer step `step`: each draws elements of its own.
    pub(super) fn key(&self, model: &Forecaster, step: u64, part: usize, out: &mut Vec<f32>) {
        let config = &model.network.config;
        if model.network.drops() {
            out.extend(Dropout::halves(Dropout::key_of_part(config.seed, step, part as u64)));
        }
    }
}
