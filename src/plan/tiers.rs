//! How loops over time and products are cut into launches, and why.

use super::workspace::Planner;
use crate::kernels::Tile;

impl Planner<'_> {
    /// How products are cut into workgroups: on a driver that computes on a CPU, through broadcasts.
    pub(super) fn tile(&self) -> Tile {
        match self.limits.software && Tile::Broadcast.runs(self.limits) {
            true => Tile::Broadcast,
            false => Tile::Workgroup,
        }
    }
}
