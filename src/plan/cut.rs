//! What is decided on the loops of a plan.

use crate::command::Tier;
use crate::kernels::Walker;

/// How the timesteps of a pass are cut into launches.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) tier: Tier,
    pub(super) reason: String,
    /// On a GPU, the way of a walk.
    pub(super) walker: Option<Walker>,
}

/// A pass over the timesteps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    Backward,
}

/// The tiers of a plan as its headline says them.
pub(super) fn said(forward: &Cut, backward: Option<&Cut>) -> String {
    match backward {
        Some(backward) if backward.tier != forward.tier => {
            format!(
                "{} ({}); backward {} ({})",
                forward.tier, forward.reason, backward.tier, backward.reason
            )
        }
        _ => format!("{} ({})", forward.tier, forward.reason),
    }
}
