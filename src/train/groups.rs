//! Parameters with settings of their own.

use super::Optimizer;
use super::optimizer::{GroupStep, expect_rate};
use crate::error::{Error, Result};
use crate::model::Network;
use crate::plan::ALIGNMENT;

/// Settings for the parameters whose names contain a pattern, as `bias` or `lstm.weight_hh_l0`.
///
/// ```
/// use gatefold::train::ParameterGroup;
/// let no_decay = ParameterGroup::of("bias").weight_decay(0.0);
/// let slow = ParameterGroup::of("lstm.").lr(1e-4);
/// let fixed = ParameterGroup::of("embedding").frozen();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterGroup {
    pattern: String,
    lr: Option<f64>,
    weight_decay: Option<f64>,
    frozen: bool,
}

impl ParameterGroup {
    /// The parameters whose names contain `pattern`, with the optimizer's settings.
    pub fn of(pattern: &str) -> ParameterGroup {
        let pattern = pattern.to_owned();
        ParameterGroup { pattern, lr: None, weight_decay: None, frozen: false }
    }

    /// A rate of their own, which the schedule changes alike.
    pub fn lr(self, lr: f64) -> Self {
        ParameterGroup { lr: Some(lr), ..self }
    }

    /// A weight decay of their own.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        ParameterGroup { weight_decay: Some(weight_decay), ..self }
    }

    /// They stay as they are, and don't count in the gradient's norm.
    pub fn frozen(self) -> Self {
        ParameterGroup { frozen: true, ..self }
    }

    /// The settings before any schedule.
    pub(super) fn settings(&self, optimizer: &Optimizer) -> GroupStep {
        let whole = optimizer.whole();
        GroupStep {
            lr: self.lr.unwrap_or(whole.lr),
            weight_decay: self.weight_decay.unwrap_or(whole.weight_decay),
            frozen: self.frozen,
            ..whole
        }
    }
}

pub(super) fn check(
    groups: &[ParameterGroup],
    operation: &'static str,
    names: &[String],
) -> Result<()> {
    for group in groups {
        if !names.iter().any(|name| name.contains(&group.pattern)) {
            return Err(Error::Value {
                operation,
                name: "ParameterGroup".to_owned(),
                expected: format!("of one of {}", names.join(", ")),
                got: format!("{:?}", group.pattern),
            });
        }
        let of = |setting: &str| format!("{setting} of {:?}", group.pattern);
        expect_rate(operation, &of("lr"), group.lr.unwrap_or(0.0))?;
        expect_rate(operation, &of("weight_decay"), group.weight_decay.unwrap_or(0.0))?;
    }
    Ok(())
}

/// What a plan's `groups` holds: 0 for the optimizer's own settings, `i + 1` for those of group `i`.
/// Of several groups that a parameter is in, the last counts.
pub(super) fn blocks(groups: &[ParameterGroup], network: &Network) -> Vec<f32> {
    let mut blocks = vec![0.0; network.table.len / ALIGNMENT];
    for (entry, name) in network.table.entries.iter().zip(&network.names) {
        let group = groups.iter().rposition(|group| name.contains(&group.pattern));
        let number = group.map_or(0, |group| group + 1) as f32;
        let first = entry.start / ALIGNMENT;
        blocks[first..(entry.start + entry.len).div_ceil(ALIGNMENT)].fill(number);
    }
    blocks
}
