//! How loops over time and products are cut into launches, and why.
//!
//! On the CPU rows walk through all timesteps of a layer, since they never meet. On a GPU a workgroup
//! can do the same where it keeps the weights in registers; else a launch makes one timestep of all
//! rows, and the launches wait for each other.

use std::time::Duration;

use super::cut::{Cut, Pass};
use super::workspace::Planner;
use crate::command::{Executor, Limits, Tier};
use crate::error::{Error, Result};
use crate::kernels::{Tile, Walker, lstm_sequence_backward, lstm_sequence_forward};
use crate::reference::Product;

/// What a launch of several timesteps may take: drivers end launches that take seconds, and a screen that is drawn
/// by the same device waits for each.
pub(super) const LONGEST_LAUNCH: Duration = Duration::from_millis(20);

/// The rows up to which a workgroup takes one alone: on a GPU with that many multiprocessors nothing is
/// won by sharing weights, and a timestep is shorter.
const LONE_ROWS: usize = 128;

/// The same on a driver that computes on a CPU, where a workgroup is one thread's work.
const LONE_ROWS_SOFTWARE: usize = 2;

/// The tiles of 128 x 128 from which on a product has them: about the multiprocessors of a large GPU.
const LARGE_TILES: usize = 128;

/// The rows up to which the terms of a timestep's product are shared: above, weights would be read more
/// than twice.
const FEW_ROWS: usize = 8;

/// Launches of all timesteps of all layers in one plan, at most: a command each takes memory on the host.
const MAX_LAUNCHES: usize = 1 << 23;

/// How plans for a device cut a timestep's product into workgroups, where rows are many, and any product
/// whose operands don't come in fours: through broadcasts on a driver that computes on a CPU.
pub fn tile(limits: &Limits) -> Tile {
    match limits.software && Tile::Broadcast.runs(limits) {
        true => Tile::Broadcast,
        false => Tile::Workgroup,
    }
}

/// How plans for a device cut a product into workgroups: in large tiles where these are enough for all
/// multiprocessors.
pub fn product_tile(limits: &Limits, p: &Product) -> Tile {
    match tile(limits) {
        Tile::Workgroup if p.m.div_ceil(128) * p.n.div_ceil(128) >= LARGE_TILES => Tile::Quads128,
        Tile::Workgroup => Tile::Quads64,
        tile => tile,
    }
}

impl Planner<'_> {
    pub(super) fn tile(&self) -> Tile {
        tile(self.limits)
    }

    /// The same of a timestep's products: with few rows, tiles of them would leave most of a GPU idle.
    pub(super) fn step_tile(&self) -> Tile {
        match self.tile() {
            Tile::Workgroup if self.batch <= FEW_ROWS => Tile::Split,
            tile => tile,
        }
    }

    /// Decides on both passes.
    ///
    /// # Errors
    /// [`Error::Value`] where the limits ask for a tier that doesn't run here.
    pub(super) fn cut(&mut self, operation: &'static str) -> Result<()> {
        self.forward_cut = self.cut_of(operation, Pass::Forward)?;
        let mut launches = self.launches(&self.forward_cut);
        if self.keep {
            self.backward_cut = self.cut_of(operation, Pass::Backward)?;
            launches = launches.saturating_add(self.launches(&self.backward_cut));
        }
        match launches > MAX_LAUNCHES {
            false => Ok(()),
            true => Err(Error::Limit {
                operation,
                what: "a launch a timestep".to_owned(),
                needed: launches as u64,
                limit: "longest plan, in launches",
                available: MAX_LAUNCHES as u64,
            }),
        }
    }

    /// Launches that a pass has for its timesteps, about.
    fn launches(&self, cut: &Cut) -> usize {
        let each = match (cut.tier, cut.walker) {
            (Tier::Sequence, None) | (Tier::Fused, _) => 1,
            (Tier::Sequence, Some(walker)) => self.steps.div_ceil(self.walk_steps(walker)),
            (Tier::Step | Tier::Wavefront, _) => {
                let projected = usize::from(self.shape.projection.is_some());
                let clipped = usize::from(self.shape.cell.projection_clip.is_some());
                let each = 1 + projected + clipped;
                self.steps.saturating_mul(self.shape.directions() * each)
            }
        };
        each.saturating_mul(self.shape.layers)
    }

    fn cut_of(&self, operation: &'static str, pass: Pass) -> Result<Cut> {
        let step = |reason: String| Cut { tier: Tier::Step, reason, walker: None };
        if pass == Pass::Backward && self.stacked() {
            return Ok(self.wavefront_back());
        }
        if self.shape.layers == 0 {
            return Ok(step("no timesteps".to_owned()));
        }
        // What isn't a training step isn't one launch; it is cut as without a wish.
        let wanted = self.limits.tier.filter(|&tier| tier != Tier::Fused);
        match (wanted, self.walk(pass)) {
            (Some(tier @ Tier::Wavefront), _) => {
                self.wavefront().map_err(|why| refused(operation, tier, &why))
            }
            (Some(Tier::Step), _) => Ok(step("as asked for".to_owned())),
            (Some(tier @ Tier::Sequence), Err(why)) => Err(refused(operation, tier, &why)),
            (_, Err(why)) => Ok(self.faster_wavefront(pass).unwrap_or_else(|| step(why))),
            (_, Ok(cut)) => Ok(cut),
        }
    }

    /// How a walk is cut, or why there is none.
    fn walk(&self, pass: Pass) -> std::result::Result<Cut, String> {
        let cut = |walker, reason: &str| {
            Ok(Cut { tier: Tier::Sequence, reason: reason.to_owned(), walker })
        };
        if self.shape.cell.projection_clip.is_some() {
            return Err("clipped projections are made timestep by timestep".to_owned());
        }
        if self.limits.executor == Executor::Cpu {
            return match (self.shape.projection.is_some(), self.packs()) {
                (true, _) => Err("a projection joins units at every timestep".to_owned()),
                (_, true) => cut(None, "rows never meet"),
                (_, false) => Err("buffers can't be bound whole".to_owned()),
            };
        }
        let walker = walker(self.limits, pass, self.shape.hidden, self.batch)?;
        let bound = self.walk_elements(1) <= self.limits.max_binding;
        let counted = self.walk_steps(walker) > 0;
        match bound && counted {
            true => {
                cut(Some(walker), "a workgroup keeps the weights and walks through all timesteps")
            }
            false => {
                Err("a timestep alone is more than a launch may bind, loop or take".to_owned())
            }
        }
    }

    /// The most elements that a walk over so many timesteps binds of one buffer, in one direction.
    fn walk_elements(&self, steps: usize) -> usize {
        let row = (4 * self.shape.hidden).max(self.shape.widest_output());
        (steps + 1).saturating_mul(self.batch * row) + self.limits.alignment
    }

    /// The most timesteps of a launch of a walk.
    pub(super) fn walk_steps(&self, walker: Walker) -> usize {
        let hidden = self.shape.hidden;
        let budget = self.limits.loop_budget.map_or(usize::MAX, |budget| {
            (budget as usize).saturating_sub(walker.setup())
                / walker.iterations(hidden, self.shape.projection.is_some())
        });
        let step = step_time(self.limits, walker, hidden, self.batch * self.shape.directions());
        let time = LONGEST_LAUNCH.as_nanos() / step.as_nanos().max(1);
        let mut steps = budget.min(usize::try_from(time).unwrap_or(usize::MAX));
        steps = steps.min(self.steps);
        // Where buffers aren't bound whole, what a launch touches has to fit.
        while steps > 1 && self.walk_elements(steps) > self.limits.max_binding {
            steps /= 2;
        }
        steps
    }
}

/// The way of a walk for so many units and rows, or why there is none.
fn walker(
    limits: &Limits,
    pass: Pass,
    hidden: usize,
    batch: usize,
) -> std::result::Result<Walker, String> {
    let (walkers, memory): (&[Walker], fn(Walker) -> usize) = match pass {
        Pass::Forward => (&lstm_sequence_forward::WALKERS, lstm_sequence_forward::memory),
        Pass::Backward => (&lstm_sequence_backward::WALKERS, lstm_sequence_backward::memory),
    };
    let runs = |walker: &&Walker| {
        walker.runs(limits) && memory(**walker) <= limits.workgroup_memory as usize
    };
    let software = limits.software && Tile::Broadcast.runs(limits);
    let lone = if software { LONE_ROWS_SOFTWARE } else { LONE_ROWS };
    let alone = batch <= lone.min(limits.max_workgroups as usize);
    let kind = |walker: &&Walker| match walker {
        Walker::Rows => false,
        Walker::Resident { rows, .. } => !software && (*rows == 1) == alone,
        Walker::Broadcast { rows, .. } => software && (*rows == 1) == alone,
    };
    let fitting = walkers.iter().filter(kind).filter(runs);
    let most = fitting.clone().map(|walker| walker.units()).max();
    let smallest =
        fitting.filter(|walker| hidden <= walker.units()).min_by_key(|walker| walker.units());
    let Some(&walker) = smallest else {
        return Err(match most {
            None => "workgroups of this device are too small".to_owned(),
            Some(most) => format!("more than {most} units, whose weights a workgroup can't keep"),
        });
    };
    if batch.div_ceil(walker.rows()) > limits.max_workgroups as usize {
        return Err("more rows than a grid has workgroups for".to_owned());
    }
    Ok(walker)
}

/// How plans for a GPU cut the walks forward and back through a layer of so many units, where they have any.
pub fn walkers(limits: &Limits, hidden: usize, batch: usize) -> (Option<Walker>, Option<Walker>) {
    if limits.executor == Executor::Cpu {
        return (None, None);
    }
    let of = |pass| walker(limits, pass, hidden, batch).ok();
    (of(Pass::Forward), of(Pass::Backward))
}

/// About what a timestep of a walk takes, on a slow device of its kind. Results don't depend on it.
fn step_time(limits: &Limits, walker: Walker, hidden: usize, rows: usize) -> Duration {
    let workgroups = rows.div_ceil(walker.rows());
    // A workgroup goes through all units and terms that it has room for.
    let units = if walker == Walker::Rows { hidden } else { walker.units() };
    // With a projection, a quarter more at most.
    let products = 5 * units * units * walker.rows();
    let nanoseconds = match limits.software {
        // A core: 8 multiply-adds a nanosecond; 30 ns for a state; 1 us for barriers.
        true => workgroups * (products / 8 + 30 * walker.rows() * units + 1000),
        // Eight multiprocessors: 32 multiply-adds a nanosecond each; 4 us for barriers and memory.
        false => workgroups.div_ceil(8) * (products / 32 + 4000),
    };
    Duration::from_nanos(nanoseconds as u64)
}

/// Why a tier that is asked for doesn't run.
pub(super) fn refused(operation: &'static str, tier: Tier, reason: &str) -> Error {
    Error::Value {
        operation,
        name: "tier".to_owned(),
        expected: format!("one that runs here; of this one: {reason}"),
        got: tier.to_string(),
    }
}
