//! Launches that run a timestep of several layers of a stack, each one timestep behind the one below.
//!
//! Timesteps of a layer wait for one another, and so do layers at a timestep; but a layer needs no more
//! of the one below than the timestep that it is at. So `T` timesteps of `L` layers take `T + L - 1`
//! launches of up to `L` layers each. A launch binds a buffer once: what layers have is stacked in it.

use super::Role;
use super::cut::{Cut, Pass};
use super::forward::{GATES_OF_A_CHUNK, State};
use super::workspace::Planner;
use crate::command::{Executor, Operation, Tier};
use crate::kernels::{Tile, lstm_step_backward, lstm_step_forward};

// What estimates rest on.

/// What a launch takes beside its work, in nanoseconds: on a GPU, waiting for the one before and starting;
/// this is an assumption. On a driver that computes on a CPU, as llvmpipe took it.
const LAUNCH: f64 = 5e3;
const LAUNCH_SOFTWARE: f64 = 35e3;

/// The workgroups that fill a device: about the multiprocessors of a large GPU; the cores that llvmpipe had.
const FULL: f64 = 128.0;
const FULL_SOFTWARE: f64 = 2.0;

/// Multiply-adds that a workgroup of a timestep makes in a nanosecond: what a slow GPU's multiprocessor is
/// taken to make, as for walks; what a core made under llvmpipe.
const RATE: f64 = 32.0;
const RATE_SOFTWARE: f64 = 4.0;

/// How much faster products over all timesteps are than those of a timestep, which mostly wait for memory;
/// under llvmpipe, as they were.
const PRODUCT_GAIN: f64 = 4.0;
const PRODUCT_GAIN_SOFTWARE: f64 = 1.25;

/// The sizes that an estimate takes.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    steps: usize,
    batch: usize,
    hidden: usize,
    layers: usize,
    /// How a timestep is cut into workgroups.
    tile: Tile,
}

impl Sizes {
    /// The workgroups of a layer's timestep, and the multiply-adds of each for a product; rows and units
    /// that aren't there take time as well.
    fn workgroups(&self) -> (f64, f64) {
        let (units, rows) = match self.tile {
            Tile::Split => (8, 4),
            Tile::Broadcast => (16, self.batch.next_multiple_of(8).min(24)),
            _ => (16, 16),
        };
        let count = self.hidden.div_ceil(units) * self.batch.div_ceil(rows);
        (count as f64, (4 * units * rows * self.hidden) as f64)
    }
}

/// About what a launch takes, in nanoseconds, given the multiply-adds of its longest workgroup and of all
/// together: until the device is full, no more than the longest.
fn launch_time(software: bool, longest: f64, all: f64) -> f64 {
    match software {
        true => LAUNCH_SOFTWARE + longest.max(all / FULL_SOFTWARE) / RATE_SOFTWARE,
        false => LAUNCH + longest.max(all / FULL) / RATE,
    }
}

/// About what the layers of a stack take one after the other, without the first one's input: a product
/// over all timesteps for each of the others, and a launch for each timestep.
fn layers_time(software: bool, sizes: &Sizes) -> f64 {
    let (count, each) = sizes.workgroups();
    let step = launch_time(software, each, count * each);
    // Tiles of 64 x 64.
    let rows = sizes.steps * sizes.batch;
    let tiles = (rows.div_ceil(64) * (4 * sizes.hidden).div_ceil(64)) as f64;
    let gain = if software { PRODUCT_GAIN_SOFTWARE } else { PRODUCT_GAIN };
    let tile = (64 * 64 * sizes.hidden) as f64 / gain;
    let product = launch_time(software, tile, tiles * tile);
    (sizes.layers * sizes.steps) as f64 * step + (sizes.layers - 1) as f64 * product
}

/// About what the same takes as a wavefront.
fn wavefront_time(software: bool, sizes: &Sizes) -> f64 {
    let (count, each) = sizes.workgroups();
    let time = |front: Front| {
        let products = (2 * front.layers - usize::from(front.layer == 0)) as f64;
        let longest = if front.layers > 1 || front.layer > 0 { 2.0 * each } else { each };
        launch_time(software, longest, products * count * each)
    };
    fronts(sizes.steps, sizes.layers).map(time).sum()
}

/// The layers of a launch.
#[derive(Clone, Copy, Debug)]
struct Front {
    /// The first of them.
    layer: usize,
    /// How many.
    layers: usize,
    /// The timestep of the first; each of the others has the one before that of the layer below.
    t: usize,
}

impl Front {
    /// The layers and their timesteps.
    fn steps(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.layers).map(move |n| (self.layer + n, self.t - n))
    }

    /// The launch in words.
    fn said(self, pass: &str) -> String {
        let Front { layer, t, .. } = self;
        let last = self.layers - 1;
        match last {
            0 => format!("layer {layer}{pass}, t = {t}"),
            _ => format!("layers {layer} to {}{pass}, t = {t} to {}", layer + last, t - last),
        }
    }
}

/// The launches of a forward pass; a backward pass has the same in reverse.
fn fronts(steps: usize, layers: usize) -> impl DoubleEndedIterator<Item = Front> {
    (0..steps + layers - 1).map(move |n| {
        let (layer, last) = (n.saturating_sub(steps - 1), n.min(layers - 1));
        Front { layer, layers: last + 1 - layer, t: n - layer }
    })
}

/// Whether there is a wavefront.
impl Planner<'_> {
    /// Whether the gates and states of all layers lie in one buffer each.
    pub(super) fn stacked(&self) -> bool {
        self.forward_cut.tier == Tier::Wavefront
    }

    /// How a forward pass is cut as a wavefront, or why it can't be.
    pub(super) fn wavefront(&self) -> Result<Cut, String> {
        let (shape, limits) = (&self.shape, self.limits);
        let (layers, slot) = (shape.layers, self.slot(0));
        if limits.executor == Executor::Cpu {
            return Err("rows walk through all timesteps on the CPU".to_owned());
        }
        let none = [
            (layers < 2, "a layer alone has none below it"),
            (shape.bidirectional, "a reverse direction begins where the layer below ends"),
            (shape.projection.is_some(), "a projection joins units at every timestep"),
            (self.dropout.is_some(), "dropout is between the layers"),
            (
                shape.cell.zoneout.is_some() || self.keep && shape.cell.is_random(),
                "zoneout and masks are of one layer",
            ),
            (!shape.sizes.is_empty(), "layers of different sizes don't lie in one buffer"),
        ];
        if let Some((_, why)) = none.into_iter().find(|(is, _)| *is) {
            return Err(why.to_owned());
        }
        let gates = (4 * self.steps).saturating_mul(slot);
        if !self.keep && gates > GATES_OF_A_CHUNK {
            return Err(
                "inference doesn't hold the first layer's gates of all timesteps".to_owned()
            );
        }
        let gates = if self.keep { layers.saturating_mul(gates) } else { gates };
        let states = layers.saturating_mul(self.steps + 1).saturating_mul(slot);
        if gates.max(states).max(self.table.len) > limits.max_binding.min(limits.max_buffer) {
            return Err("the buffers of all layers can't be bound whole".to_owned());
        }
        let most = [shape.hidden.div_ceil(8), self.batch.div_ceil(4), layers];
        if most.into_iter().any(|groups| groups > limits.max_workgroups as usize) {
            return Err("a grid doesn't have workgroups for all layers".to_owned());
        }
        let iterations = lstm_step_forward::iterations(shape.hidden);
        if limits.loop_budget.is_some_and(|budget| iterations > budget as usize) {
            return Err("a timestep is more than a launch may loop".to_owned());
        }
        let launches = self.steps + layers - 1;
        let reason = format!("{launches} launches run {layers} layers, each a timestep behind");
        Ok(Cut { tier: Tier::Wavefront, reason, walker: None })
    }

    /// The same, where it is estimated to be faster than layers one after the other. What a pass back
    /// takes is about twice that of the forward pass, of either.
    pub(super) fn faster_wavefront(&self, pass: Pass) -> Option<Cut> {
        if pass == Pass::Backward {
            return None;
        }
        let cut = self.wavefront().ok()?;
        let sizes = Sizes {
            steps: self.steps,
            batch: self.batch,
            hidden: self.shape.hidden,
            layers: self.shape.layers,
            tile: self.step_tile(),
        };
        let software = self.limits.software;
        let (layers, wave) = (layers_time(software, &sizes), wavefront_time(software, &sizes));
        (wave < layers).then(|| {
            let us = |ns: f64| (ns / 1e3).round();
            let estimate = format!("about {} instead of {} us", us(wave), us(layers));
            Cut { reason: format!("{}: {estimate}", cut.reason), ..cut }
        })
    }

    /// How the backward pass of a wavefront is cut.
    pub(super) fn wavefront_back(&self) -> Cut {
        let (tier, reason) = match self.shape.outputs() > 0 {
            true => (Tier::Wavefront, self.forward_cut.reason.clone()),
            false => (Tier::Step, "gradients of final states come from outside".to_owned()),
        };
        Cut { tier, reason, walker: None }
    }
}

/// Its launches.
impl Planner<'_> {
    /// Elements from a layer's gates to the next layer's in their buffer.
    pub(super) fn gates_stride(&self) -> usize {
        if self.stacked() { 4 * self.steps * self.slot(0) } else { 0 }
    }

    /// The same of hidden or cell states.
    pub(super) fn state_stride(&self) -> usize {
        if self.stacked() { (self.steps + 1) * self.slot(0) } else { 0 }
    }

    /// Where a parameter of a layer starts.
    fn start(&self, role: Role) -> usize {
        self.required(self.params, role).start
    }

    /// Every layer over every timestep.
    pub(super) fn wavefront_forward(&mut self) {
        let (layers, steps, batch) = (self.shape.layers, self.steps, self.batch);
        let hidden = self.shape.hidden;
        let gates = match self.keep {
            true => self.workspace("gates", "[L, T, B, H, 4]", &[layers, steps, batch, hidden, 4]),
            false => self.workspace("gates", "[T, B, H, 4]", &[steps, batch, hidden, 4]),
        };
        let [h, c] = ["h", "c"].map(|name| {
            self.workspace(name, "[L, T+1, B, H]", &[layers, steps + 1, batch, hidden])
        });
        if self.sequences.lengths {
            // Steps leave rows that have ended alone.
            for buffer in [h, c] {
                self.push("padding", Operation::Zero(self.whole(buffer)));
            }
        }
        for l in 0..layers {
            self.initial_state(State::Hidden, l, 0);
            self.initial_state(State::Cell, l, 0);
        }
        self.input_projection(0, 0);
        let (cell, terms) = (self.shape.cell, hidden);
        let (key, masked, h_row) = (None, 0, hidden);
        let shape = lstm_step_forward::Shape { cell, key, batch, hidden, terms, h_row, masked };
        let bound = lstm_step_forward::Bindings {
            u: self.whole(self.params),
            gates: self.whole(gates),
            h: self.whole(h),
            c: self.whole(c),
            // Without a projection nothing is written there, but a launch binds a buffer.
            z: self.whole(self.named("unused")),
            p: None,
        };
        for front in fronts(steps, layers) {
            let at: Vec<_> = front.steps().map(|(l, t)| self.step_of_layer(l, t)).collect();
            let padding = self.padding();
            let dispatch = lstm_step_forward::dispatch(&shape, &bound, &at, self.keep, padding);
            let dispatch = lstm_step_forward::with_tile(dispatch, self.step_tile());
            self.launch(front.said(""), dispatch);
        }
    }

    /// Where the operands of a layer's timestep start.
    fn step_of_layer(&self, l: usize, t: usize) -> lstm_step_forward::At {
        let slot = self.slot(0);
        let state = l * self.state_stride() + t * slot;
        let below = |l: usize| lstm_step_forward::InputAt {
            x: state + slot - self.state_stride(),
            w: self.start(Role::WeightIh(l, 0)),
            biases: [Role::BiasIh(l, 0), Role::BiasHh(l, 0)]
                .map(|role| self.parameter(self.params, role).map(|place| place.start)),
        };
        lstm_step_forward::At {
            t,
            u: self.start(Role::WeightHh(l, 0)),
            // Those of the layers above are only there where they are kept.
            gates: l * self.gates_stride() + 4 * t * slot,
            h_prev: state,
            h: state + slot,
            c_prev: state,
            c: state + slot,
            z: None,
            input: (l > 0).then(|| below(l)),
            p: self.peepholes_at(l, 0),
            place: 0,
        }
    }

    /// From `dh`, the gradient of the top layer's outputs, to the gradients of all gates.
    pub(super) fn wavefront_backward(&mut self) {
        let (layers, steps) = (self.shape.layers, self.steps);
        let dc = self.named("dc");
        self.push("cell states, gradient", Operation::Zero(self.whole(dc)));
        let (batch, hidden) = (self.batch, self.shape.hidden);
        let (cell, terms) = (self.shape.cell, hidden);
        let (key, zoned, dy_row) = (None, 0, hidden);
        let shape = lstm_step_backward::Shape { cell, key, batch, hidden, dy_row, terms, zoned };
        let bound = lstm_step_backward::Bindings {
            w: self.whole(self.params),
            c: self.whole(self.named("c")),
            dy: Some(self.whole(self.named("dh"))),
            dh: None,
            gates: self.whole(self.named("gates")),
            dc: self.whole(dc),
            p: None,
        };
        for front in fronts(steps, layers).rev() {
            let at: Vec<_> = front.steps().map(|(l, t)| self.step_back_of_layer(l, t)).collect();
            let dispatch = lstm_step_backward::dispatch(&shape, &bound, &at, self.padding());
            let dispatch = lstm_step_backward::with_tile(dispatch, self.step_tile());
            self.launch(front.said(", backward"), dispatch);
        }
    }

    /// Where the operands of a layer's timestep, back, start.
    fn step_back_of_layer(&self, l: usize, t: usize) -> lstm_step_backward::At {
        let slot = self.slot(0);
        let gates = l * self.gates_stride() + 4 * t * slot;
        let state = l * self.state_stride() + t * slot;
        let top = l + 1 == self.shape.layers;
        lstm_step_backward::At {
            t,
            w: self.start(Role::WeightHh(l, 0)),
            gates,
            incoming: (t + 1 < self.steps).then_some(gates + 4 * slot),
            c_prev: state,
            c: state + slot,
            dy: top.then_some(t * slot),
            dc: l * slot,
            above: (!top).then(|| lstm_step_backward::AboveAt {
                gates: gates + self.gates_stride(),
                w: self.start(Role::WeightIh(l + 1, 0)),
            }),
            p: self.peepholes_at(l, 0),
            place: 0,
        }
    }
}
