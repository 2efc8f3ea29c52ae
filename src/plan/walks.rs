//! Launches that walk through several timesteps of a layer.

use super::parameters::quads;
use super::workspace::{Planner, said};
use super::{Parameter, Role};
use crate::command::{BufferId, Dispatch, Range};
use crate::kernels::{Directions, Walker, lstm_sequence_backward, lstm_sequence_forward};

/// On the CPU, with weights in panels.
impl Planner<'_> {
    /// All timesteps of a chunk in one launch.
    pub(super) fn sequence_forward(&mut self, l: usize) {
        let (first, steps) = self.chunk;
        let (batch, hidden) = (self.batch, self.shape.units(l));
        let (x, width) = (self.layer_input(l), self.shape.layer_input(l));
        let input = self.fuses().then_some(width);
        let at = |d: usize| {
            let t = self.visit(d, first);
            lstm_sequence_forward::At {
                back: d == 1,
                t,
                u: self.packed(l, d).start,
                gates: self.gates_at(l, d, t),
                h_prev: self.h_around(l, d, t).0,
                c_prev: self.c_around(l, d, t).0,
                x: x.start + t * batch * width,
                p: self.peepholes_at(l, d),
                place: self.place_of_masks(l, d),
                ..Default::default()
            }
        };
        let label = |d: usize| {
            let (t, last) = (self.visit(d, first), self.visit(d, first + steps - 1));
            format!("layer {l}{}, t = {t} to {last}", said(d))
        };
        // Without gates to keep or to add to, none are touched, but a launch binds a buffer.
        let gates = match input.is_some() && !self.keep {
            true => self.named("unused"),
            false => self.gates(l),
        };
        let bound = |d: usize| lstm_sequence_forward::Bindings {
            u: self.whole(self.packed(l, d).buffer),
            x: input.map(|_| self.whole(x.buffer)),
            gates: self.whole(gates),
            h: self.whole(self.layer("h", l)),
            c: self.whole(self.layer("c", l)),
            w: self.shape.cell.peepholes.then(|| self.whole(self.params)),
            z: self.whole(self.named("no_projection")),
        };
        let (h_row, packed, keep) = (self.shape.layer_output(l), true, self.keep);
        let (padding, key) = self.rows();
        let shape = lstm_sequence_forward::Shape {
            cell: self.shape.cell,
            key,
            masked: self.masked(l),
            batch,
            hidden,
            steps,
            h_row,
            projection: None,
            packed,
            input,
            keep,
        };
        let launches: Vec<(String, Dispatch)> = (0..self.shape.directions())
            .map(|d| {
                let at = Directions::One(at(d));
                (label(d), lstm_sequence_forward::dispatch(&shape, &bound(d), at, padding))
            })
            .collect();
        for (label, dispatch) in launches {
            self.launch(label, dispatch);
        }
    }

    /// All timesteps in one launch.
    pub(super) fn sequence_backward(&mut self, l: usize) {
        let (batch, hidden, steps) = (self.batch, self.shape.units(l), self.steps);
        let features = self.shape.layer_output(l);
        let (packed, incoming) = (true, false);
        let (padding, key) = self.rows();
        let shape = lstm_sequence_backward::Shape {
            cell: self.shape.cell,
            key,
            zoned: self.zoned(),
            batch,
            hidden,
            steps,
            dy_row: features,
            projection: None,
            packed,
            incoming,
        };
        for d in 0..self.shape.directions() {
            let (t, last) = (self.visit_back(d, 0), self.visit_back(d, steps - 1));
            let weights = self.packed(l, d);
            let at = lstm_sequence_backward::At {
                back: d == 0,
                t,
                w: weights.start,
                gates: self.gates_at(l, d, t),
                c: self.c_around(l, d, t).1,
                dy: t * batch * features + d * hidden,
                dc: d * self.slot(l),
                p: self.peepholes_at(l, d),
                place: self.place_of_masks(l, d),
                ..Default::default()
            };
            let bound = lstm_sequence_backward::Bindings {
                w: self.whole(weights.buffer),
                c: self.whole(self.layer("c", l)),
                dy: Some(self.whole(self.named("dh"))),
                gates: self.whole(self.gates(l)),
                dc: self.whole(self.named("dc")),
                projection: self.shape.cell.peepholes.then(|| self.whole(self.params)),
                dp: self.whole(self.named("no_projection")),
            };
            let at = Directions::One(at);
            let dispatch = lstm_sequence_backward::dispatch(&shape, &bound, at, padding);
            self.launch(format!("layer {l}{}, backward, t = {t} to {last}", said(d)), dispatch);
        }
    }
}

/// Some timesteps of a pass, as it visits them.
#[derive(Clone, Copy, Debug)]
struct Visits {
    first: usize,
    count: usize,
}

impl Visits {
    /// Up to `most` at a time of those from `first` on.
    fn pieces(first: usize, count: usize, most: usize) -> impl Iterator<Item = Visits> {
        let end = first + count;
        (first..end)
            .step_by(most.max(1))
            .map(move |first| Visits { first, count: most.min(end - first) })
    }

    fn last(&self) -> usize {
        self.first + self.count - 1
    }
}

/// What is bound of one buffer: everything from the lowest to the highest place that is touched.
struct Window {
    range: Range,
    /// Where each direction's first timestep starts in it.
    starts: Vec<usize>,
}

impl Window {
    /// Of a buffer that a launch binds and doesn't use.
    fn unused(range: Range, directions: &[usize]) -> Window {
        Window { range, starts: vec![0; directions.len()] }
    }
}

/// What is bound of weights beside the recurrent ones, and where a direction's start in it.
struct OtherWeights {
    range: Option<Range>,
    projection: Vec<usize>,
    peepholes: Vec<usize>,
}

/// On a GPU.
impl Planner<'_> {
    /// The weights of a kind of some directions, each of `len` elements.
    fn walked_weights(
        &self,
        kind: fn(usize, usize) -> Role,
        l: usize,
        directions: &[usize],
        len: usize,
    ) -> Window {
        self.walked(directions, self.params, len, |d| {
            let start = self.required(self.params, kind(l, d)).start;
            (start, start)
        })
    }

    /// The projection's weights and the peepholes of some directions, where there are any, and where each starts.
    fn other_weights(&self, l: usize, directions: &[usize]) -> OtherWeights {
        let kinds = [Role::WeightHr as fn(usize, usize) -> Role, Role::WeightPeephole];
        let entries: Vec<Option<&Parameter>> = kinds
            .iter()
            .flat_map(|kind| directions.iter().map(|&d| self.table.get(kind(l, d))))
            .collect();
        let parts: Vec<(usize, usize)> =
            entries.iter().flatten().map(|entry| (entry.start, entry.len)).collect();
        if parts.is_empty() {
            return OtherWeights { range: None, projection: vec![0; 2], peepholes: vec![0; 2] };
        }
        let (range, starts) = self.windows(self.params, &parts);
        let mut starts = starts.into_iter();
        let mut starts: Vec<usize> =
            entries.iter().map(|entry| entry.and_then(|_| starts.next()).unwrap_or(0)).collect();
        let peepholes = starts.split_off(directions.len());
        OtherWeights { range: Some(range), projection: starts, peepholes }
    }

    /// A window of what some directions touch of a buffer: `around` gives where one starts with its first
    /// timestep and where with its last, each of `len` elements.
    fn walked(
        &self,
        directions: &[usize],
        buffer: BufferId,
        len: usize,
        around: impl Fn(usize) -> (usize, usize),
    ) -> Window {
        let touched = |&d: &usize| {
            let (first, last) = around(d);
            (first.min(last), first.abs_diff(last) + len)
        };
        let parts: Vec<(usize, usize)> = directions.iter().map(touched).collect();
        let (range, starts) = self.windows(buffer, &parts);
        let first =
            |((&d, part), start): ((&usize, &(usize, usize)), usize)| start + around(d).0 - part.0;
        let starts = directions.iter().zip(&parts).zip(starts).map(first).collect();
        Window { range, starts }
    }

    /// Some timesteps of both directions, or of one; `visit` says which one a direction visits when.
    fn launch_walk(
        &mut self,
        l: usize,
        pass: &str,
        visits: Visits,
        visit: fn(&Self, usize, usize) -> usize,
        dispatch: impl Fn(&[usize], &Self) -> Dispatch,
    ) {
        let span = |planner: &Self, d: usize| {
            let [t, last] = [visits.first, visits.last()].map(|n| visit(planner, d, n));
            format!("t = {t} to {last}")
        };
        let together = match self.shape.bidirectional {
            false => format!("layer {l}{pass}, {}", span(self, 0)),
            true => format!("layer {l}{pass}, {} and {}", span(self, 0), span(self, 1)),
        };
        let alone =
            |d: usize, planner: &Self| format!("layer {l}{}{pass}, {}", said(d), span(planner, d));
        self.launch_directions(&together, alone, dispatch);
    }

    /// The walk of a chunk, in launches as long as they may be.
    pub(super) fn walk_forward(&mut self, l: usize, walker: Walker) {
        let (first, count) = self.chunk;
        for visits in Visits::pieces(first, count, self.walk_steps(walker)) {
            self.launch_walk(l, "", visits, Self::visit, |directions, planner| {
                let dispatch = planner.walk_forward_dispatch(l, visits, directions);
                lstm_sequence_forward::with_walker(dispatch, walker)
            });
        }
    }

    fn walk_forward_dispatch(&self, l: usize, visits: Visits, directions: &[usize]) -> Dispatch {
        let (batch, hidden, slot) = (self.batch, self.shape.units(l), self.slot(l));
        let (features, terms) = (self.shape.layer_output(l), self.shape.state(l));
        let projection = self.shape.projection;
        let t = |d: usize| self.visit(d, visits.first);
        let last = |d: usize| self.visit(d, visits.last());
        let u = self.walked_weights(Role::WeightHh, l, directions, 4 * terms * hidden);
        let gates = self.walked(directions, self.gates(l), 4 * slot, |d| {
            (self.gates_at(l, d, t(d)), self.gates_at(l, d, last(d)))
        });
        let row = (batch - 1) * features + terms;
        let h = self.walked(directions, self.layer("h", l), row, |d| {
            (self.h_around(l, d, t(d)).0, self.h_around(l, d, last(d)).1)
        });
        let c = self.walked(directions, self.layer("c", l), slot, |d| {
            (self.c_around(l, d, t(d)).0, self.c_around(l, d, last(d)).1)
        });
        let others = self.other_weights(l, directions);
        // Without a projection nothing is written there, but a launch binds a buffer.
        let z = match projection {
            Some(_) => self.walked(directions, self.layer("z", l), slot, |d| {
                (self.z_at(l, d, t(d)), self.z_at(l, d, last(d)))
            }),
            None => Window::unused(self.whole(self.named("no_projection")), directions),
        };
        let at = |i: usize| lstm_sequence_forward::At {
            back: directions[i] == 1,
            t: t(directions[i]),
            u: u.starts[i],
            gates: gates.starts[i],
            h_prev: h.starts[i],
            c_prev: c.starts[i],
            x: 0,
            w: others.projection[i],
            z: z.starts[i],
            p: others.peepholes[i],
            place: self.place_of_masks(l, directions[i]),
        };
        let at = match directions.len() {
            1 => Directions::One(at(0)),
            _ => Directions::Both(at(0), at(1)),
        };
        let (padding, key) = self.rows();
        let shape = lstm_sequence_forward::Shape {
            cell: self.shape.cell,
            key,
            masked: self.masked(l),
            batch,
            hidden,
            steps: visits.count,
            h_row: features,
            projection,
            packed: false,
            input: None,
            keep: self.keep,
        };
        let bound = lstm_sequence_forward::Bindings {
            u: u.range,
            x: None,
            gates: gates.range,
            h: h.range,
            c: c.range,
            w: others.range,
            z: z.range,
        };
        lstm_sequence_forward::dispatch(&shape, &bound, at, padding)
    }

    /// The walk back through all timesteps, in launches as long as they may be.
    pub(super) fn walk_backward(&mut self, l: usize, walker: Walker) {
        for visits in Visits::pieces(0, self.steps, self.walk_steps(walker)) {
            self.launch_walk(l, ", backward", visits, Self::visit_back, |directions, planner| {
                let dispatch = planner.walk_backward_dispatch(l, visits, directions);
                lstm_sequence_backward::with_walker(dispatch, walker)
            });
        }
    }

    fn walk_backward_dispatch(&self, l: usize, visits: Visits, directions: &[usize]) -> Dispatch {
        let (batch, hidden, slot) = (self.batch, self.shape.units(l), self.slot(l));
        let (features, terms) = (self.shape.layer_output(l), self.shape.state(l));
        let projection = self.shape.projection;
        let incoming = visits.first > 0;
        let t = |d: usize| self.visit_back(d, visits.first);
        let last = |d: usize| self.visit_back(d, visits.last());
        let w = self.walked_weights(Role::WeightHh, l, directions, 4 * terms * hidden);
        // The gradients of the timestep visited before are read as well.
        let before = |d: usize| self.visit_back(d, visits.first - usize::from(incoming));
        let mut gates = self.walked(directions, self.gates(l), 4 * slot, |d| {
            (self.gates_at(l, d, before(d)), self.gates_at(l, d, last(d)))
        });
        for (&d, start) in directions.iter().zip(&mut gates.starts) {
            *start = *start + self.gates_at(l, d, t(d)) - self.gates_at(l, d, before(d));
        }
        let c = self.walked(directions, self.layer("c", l), slot, |d| {
            (self.c_around(l, d, t(d)).1, self.c_around(l, d, last(d)).0)
        });
        let row = (batch - 1) * features + hidden;
        let dy = projection.is_none().then(|| {
            self.walked(directions, self.named("dh"), row, |d| {
                let at = |t: usize| t * batch * features + d * hidden;
                (at(t(d)), at(last(d)))
            })
        });
        let others = self.other_weights(l, directions);
        let dp = match projection {
            Some(p) => self.walked(directions, self.named("dp"), batch * quads(p), |d| {
                (self.dp_at(d, t(d)), self.dp_at(d, last(d)))
            }),
            None => Window::unused(self.whole(self.named("no_projection")), directions),
        };
        let dc = self.walked(directions, self.named("dc"), slot, |d| (d * slot, d * slot));
        let at = |i: usize| lstm_sequence_backward::At {
            back: directions[i] == 0,
            t: t(directions[i]),
            w: w.starts[i],
            gates: gates.starts[i],
            c: c.starts[i],
            dy: dy.as_ref().map_or(0, |dy| dy.starts[i]),
            dc: dc.starts[i],
            projection: others.projection[i],
            dp: dp.starts[i],
            p: others.peepholes[i],
            place: self.place_of_masks(l, directions[i]),
        };
        let at = match directions.len() {
            1 => Directions::One(at(0)),
            _ => Directions::Both(at(0), at(1)),
        };
        let (padding, key) = self.rows();
        let shape = lstm_sequence_backward::Shape {
            cell: self.shape.cell,
            key,
            zoned: self.zoned(),
            batch,
            hidden,
            steps: visits.count,
            dy_row: features,
            projection,
            packed: false,
            incoming,
        };
        let bound = lstm_sequence_backward::Bindings {
            w: w.range,
            c: c.range,
            dy: dy.as_ref().map(|dy| dy.range),
            gates: gates.range,
            dc: dc.range,
            projection: others.range,
            dp: dp.range,
        };
        lstm_sequence_backward::dispatch(&shape, &bound, at, padding)
    }
}
