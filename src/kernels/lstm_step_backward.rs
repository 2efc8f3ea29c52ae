//! Host side of `lstm_step_backward`.

#[cfg(feature = "cpu")]
mod fast;

use super::{
    LSTM_STEP_BACKWARD, Padding, Tile, View, apart, flag, groups, input, nth, output, progression,
    read, write,
};
use super::{cell, cut};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{self, Cell, Draws, Lengths, Product, Real, StepBackward, Tolerance};

params! {
    /// The block of constants; starts and distances of weights, `gates`, `incoming` and `above` count quads.
    /// What the n-th of a launch has starts at `start` + n `next`, which may wrap around.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Quads of a row of `w` and of what comes in: the terms of a product.
        pub w_row: u32,
        /// From which on something ran after them.
        pub incoming_from: u32,
        /// Up to which they have a layer above them.
        pub above_until: u32,
        /// From which on `dy` counts.
        pub dy_from: u32,
        /// Elements from one row of `dy` to the next.
        pub dy_row: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// The timestep.
        pub t: u32,
        /// From one's timestep to the next one's.
        pub t_next: u32,
        /// Where the weights of the first start.
        pub w_first: u32,
        /// Where those of the others start.
        pub w_start: u32,
        /// From one's to the next one's.
        pub w_next: u32,
        /// Where the gates of the step start.
        pub gates_start: u32,
        /// From one's to the next one's.
        pub gates_next: u32,
        /// Where what comes in starts, in `gates` or, with a projection, in `dh`.
        pub incoming_start: u32,
        /// From one's to the next one's.
        pub incoming_next: u32,
        /// Where the cell states before the step start.
        pub c_prev_start: u32,
        /// From one's to the next one's.
        pub c_prev_next: u32,
        /// Where the cell states after the step start.
        pub c_start: u32,
        /// From one's to the next one's.
        pub c_next: u32,
        /// Where the gradient of the step's output starts.
        pub dy_start: u32,
        /// From one's to the next one's.
        pub dy_next: u32,
        /// Where the cell state's gradient starts.
        pub dc_start: u32,
        /// From one's to the next one's.
        pub dc_next: u32,
        /// Where the gate gradients of the layer above start.
        pub above_start: u32,
        /// From one's to the next one's.
        pub above_next: u32,
        /// Where the input's weights of the layer above start.
        pub above_w_start: u32,
        /// From one's to the next one's.
        pub above_w_next: u32,
        /// Where the peepholes of the first start.
        pub p_first: u32,
        /// Where those of the others start.
        pub p_start: u32,
        /// From one's to the next one's.
        pub p_next: u32,
        /// Where the key starts, in the binding of the lengths.
        pub key_start: u32,
        /// Where masks are drawn.
        pub place: u32,
        /// From one's to the next one's.
        pub place_next: u32,
        /// From a cell state's gradient to what a zoneout keeps of the hidden state's.
        pub zoned: u32,
    }
}

/// Units and rows that a workgroup computes.
pub const TILE: usize = 16;

/// Units of a workgroup of [`Tile::Broadcast`].
const BROADCAST_UNITS: usize = 64;

/// The sizes that a launch has.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Which cell.
    pub cell: Cell,
    /// The key `[4]` of what training draws, where it does: in the buffer of the lengths, if there are any.
    pub key: Option<View>,
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// Elements from one row of `dy` to the next.
    pub dy_row: usize,
    /// Quads of the product, whether or not the step has one.
    pub terms: usize,
    /// Elements from a cell state's gradient to what a zoneout keeps of the hidden state's; 0 without one.
    pub zoned: usize,
}

/// What is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bindings {
    /// Recurrent weights, or, with a projection, its weights; and those of the input of layers above.
    pub w: Range,
    /// Cell states.
    pub c: Range,
    /// The gradient of the outputs, without a projection, where one counts.
    pub dy: Option<Range>,
    /// The gradient of the projection's results, with one.
    pub dh: Option<Range>,
    /// Gates and their gradients.
    pub gates: Range,
    /// The cell state's gradient.
    pub dc: Range,
    /// Peepholes, in a cell that has some.
    pub p: Option<Range>,
}

/// Where the operands of a timestep start in what is bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct At {
    /// The timestep.
    pub t: usize,
    /// Weights.
    pub w: usize,
    /// Gates of the step.
    pub gates: usize,
    /// What the product takes its rows from: the gate gradients of the step that ran after, or,
    /// with a projection, this step's `dh`. `None` where nothing ran after.
    pub incoming: Option<usize>,
    /// Cell states before the step.
    pub c_prev: usize,
    /// Cell states after the step.
    pub c: usize,
    /// The gradient of the step's output, where it comes from outside.
    pub dy: Option<usize>,
    /// The cell state's gradient.
    pub dc: usize,
    /// What comes from the layer above, where there is one.
    pub above: Option<AboveAt>,
    /// Peepholes, in a cell that has some.
    pub p: usize,
    /// Where masks are drawn: twice the layer, and 1 more in the reverse direction.
    pub place: usize,
}

/// Where the gate gradients of the layer above start in the gates, and the weights of its input.
#[derive(Clone, Copy, Debug, Default)]
pub struct AboveAt {
    /// The gate gradients, `[B, H]` of (i, f, g, o).
    pub gates: usize,
    /// The weights, among the others.
    pub w: usize,
}

/// A timestep each, back, of some that don't wait for one another: the directions of a layer, or layers of a
/// stack.
///
/// # Panics
/// Where there is none; where those after which nothing ran, those with a layer above them and those without a
/// gradient from outside don't come first; where something that counts isn't bound, or comes both from a layer
/// above and from outside or a projection; where what several have doesn't lie at equal distances.
pub fn dispatch(shape: &Shape, bound: &Bindings, at: &[At], padding: Padding) -> Dispatch {
    let element = |v: usize| v as u32;
    let all = |of: fn(&At) -> usize| progression(0, at.iter().map(|at| element(of(at))));
    let (t, c_prev, c, dc) = (all(|at| at.t), all(|at| at.c_prev), all(|at| at.c), all(|at| at.dc));
    let (gates, place) = (all(|at| at.gates / 4), all(|at| at.place));
    // Those that some have: the first so many, or the last.
    let incoming_from = at.iter().take_while(|at| at.incoming.is_none()).count();
    let above_until = at.iter().take_while(|at| at.above.is_some()).count();
    let dy_from = at.iter().take_while(|at| at.dy.is_none()).count();
    let some = |first: usize, of: &dyn Fn(&At) -> Option<usize>| {
        let values: Vec<u32> = at.iter().filter_map(of).map(element).collect();
        (values.len(), progression(first, values.into_iter()))
    };
    let (after, incoming) = some(incoming_from, &|at| at.incoming.map(|start| start / 4));
    let (outer, dy) = some(dy_from, &|at| at.dy);
    let (higher, above) = some(0, &|at| at.above.map(|above| above.gates / 4));
    let (_, above_w) = some(0, &|at| at.above.map(|above| above.w / 4));
    assert_eq!(incoming_from + after, at.len(), "the last timesteps come first");
    assert_eq!(dy_from + outer, at.len(), "those without an outer gradient come first");
    assert_eq!(above_until, higher, "those with a layer above come first");
    assert!(!at.is_empty(), "a launch without a timestep");
    assert!(above_until <= dy_from, "gradients come from a layer above or from outside");
    assert!(outer == 0 || bound.dy.is_some(), "gradients from outside are bound");
    let plain = bound.dh.is_none() && shape.terms == shape.hidden;
    assert!(above_until == 0 || plain, "a layer above one with a projection");
    let others =
        |of: fn(&At) -> usize| progression(1, at.iter().skip(1).map(|at| element(of(at) / 4)));
    let (w, p) = (others(|at| at.w), others(|at| at.p));
    // What isn't there is bound to the weights, which are read-only as well, and never read.
    let unused = bound.w;
    let params = Params {
        batch: element(shape.batch),
        hidden: element(shape.hidden),
        w_row: element(shape.terms),
        incoming_from: element(incoming_from),
        above_until: element(above_until),
        dy_from: element(dy_from),
        dy_row: element(shape.dy_row),
        lengths_start: padding.start(),
        t: t.0,
        t_next: t.1,
        w_first: at.first().map_or(0, |at| element(at.w / 4)),
        w_start: w.0,
        w_next: w.1,
        gates_start: gates.0,
        gates_next: gates.1,
        incoming_start: incoming.0,
        incoming_next: incoming.1,
        c_prev_start: c_prev.0,
        c_prev_next: c_prev.1,
        c_start: c.0,
        c_next: c.1,
        dy_start: dy.0,
        dy_next: dy.1,
        dc_start: dc.0,
        dc_next: dc.1,
        above_start: above.0,
        above_next: above.1,
        above_w_start: above_w.0,
        above_w_next: above_w.1,
        p_first: at.first().map_or(0, |at| element(at.p / 4)),
        p_start: p.0,
        p_next: p.1,
        key_start: shape.key.map_or(0, |key| key.start()),
        place: place.0,
        place_next: place.1,
        zoned: element(shape.zoned),
    };
    Dispatch {
        kernel: LSTM_STEP_BACKWARD,
        variant: 0,
        constants: vec![
            ("LENGTHS", padding.flag()),
            ("PROJECTION", flag(bound.dh.is_some())),
            ("HIGHER", flag(above_until > 0)),
        ]
        .into_iter()
        .chain(cell::constants(&shape.cell, shape.key.is_some()))
        .collect(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![
            bound.w,
            bound.c,
            bound.dy.unwrap_or(unused),
            bound.dh.unwrap_or(unused),
            cell::rows_of(padding, shape.key, unused),
            bound.gates,
            bound.dc,
            bound.p.unwrap_or(unused),
        ],
        grid: [groups(shape.hidden, TILE), groups(shape.batch, TILE), element(at.len())],
    }
}

/// The same launch cut in another way.
pub fn with_tile(dispatch: Dispatch, tile: Tile) -> Dispatch {
    let p: Params = bytemuck::pod_read_unaligned(&dispatch.params);
    cut::with_step_tile(dispatch, tile, (p.hidden, BROADCAST_UNITS), p.batch)
}

impl Params {
    /// Where the operands of the n-th timestep of a launch start.
    fn at(&self, n: u32) -> At {
        let of = |start: u32, next: u32| nth(start, next, n);
        let own = |first: u32, start: u32, next: u32| match n {
            0 => 4 * first as usize,
            _ => 4 * of(start, next),
        };
        let incoming = 4 * of(self.incoming_start, self.incoming_next);
        At {
            t: of(self.t, self.t_next),
            w: own(self.w_first, self.w_start, self.w_next),
            p: own(self.p_first, self.p_start, self.p_next),
            place: of(self.place, self.place_next),
            gates: 4 * of(self.gates_start, self.gates_next),
            incoming: (n >= self.incoming_from).then_some(incoming),
            c_prev: of(self.c_prev_start, self.c_prev_next),
            c: of(self.c_start, self.c_next),
            dy: (n >= self.dy_from).then(|| of(self.dy_start, self.dy_next)),
            dc: of(self.dc_start, self.dc_next),
            above: (n < self.above_until).then(|| AboveAt {
                gates: 4 * of(self.above_start, self.above_next),
                w: 4 * of(self.above_w_start, self.above_w_next),
            }),
        }
    }
}

/// The operands of one of the timesteps, as the CPU forms take them.
struct OneStep<'s, R> {
    step: StepBackward<'s, R>,
    w: &'s [R],
    gates: &'s mut [R],
    c_prev: &'s [R],
    c: &'s [R],
    dc: &'s mut [R],
    /// What a zoneout keeps of the hidden state's gradient, with one.
    zoned: &'s mut [R],
}

/// Calls `each` with the operands of every timestep. What comes from a layer above is made of its gate
/// gradients and weights as `seen` has them.
fn with<R: Real>(call: Call<'_, '_, R>, seen: fn(R) -> R, mut each: impl FnMut(OneStep<'_, R>)) {
    let p: Params = call.params();
    let is = |constant| call.dispatch.constant(constant) != 0.0;
    let (hidden, batch) = (p.hidden as usize, p.batch as usize);
    let (slot, row) = (batch * hidden, 4 * p.w_row as usize);
    let [w, c, dy, dh, lengths, gates, dc, p_all] = call.args else {
        unreachable!("eight bindings")
    };
    let (cell, peepholes) = (cell::of(call.dispatch), input(p_all, 0));
    let (w, c, dy, dh) = (input(w, 0), input(c, 0), input(dy, 0), input(dh, 0));
    let (gates, dc) = (output(gates, 0), output(dc, 0));
    let key = cell::key(call.dispatch, input(lengths, p.key_start));
    let lengths = input(lengths, p.lengths_start);
    for n in 0..call.dispatch.grid[2] {
        let at = p.at(n);
        let from_above = at.above.map(|above| {
            let seen = |all: &[R], len: usize| all[..len].iter().map(|&v| seen(v)).collect();
            let d_gates: Vec<R> = seen(&gates[above.gates..], 4 * slot);
            let weights: Vec<R> = seen(&w[above.w..], 4 * hidden * hidden);
            let mut sums = vec![R::zero(); slot];
            let product = Product::dense(batch, hidden, 4 * hidden, false, true);
            reference::matmul(&product, &d_gates, &weights, &[], &mut sums);
            sums
        });
        let dy = match (&from_above, at.dy) {
            (Some(sums), _) => Some((&sums[..], hidden)),
            (None, start) => start.map(|start| (&dy[start..], p.dy_row as usize)),
        };
        let own = (at.gates, 4 * slot);
        let (incoming, gates) = match at.incoming {
            None => (None, &mut gates[own.0..][..own.1]),
            Some(from) if is("PROJECTION") => (Some(&dh[from..]), &mut gates[own.0..][..own.1]),
            Some(from) => {
                let (incoming, gates) = apart(gates, (from, batch * row), own);
                (Some(incoming), gates)
            }
        };
        let (own_dc, rest) = dc[at.dc..].split_at_mut(slot);
        let zoned: &mut [R] = match cell.zoneout {
            None => &mut [],
            Some(_) => &mut rest[p.zoned as usize - slot..][..slot],
        };
        each(OneStep {
            step: StepBackward {
                cell,
                draws: key.map(|key| Draws { key, place: at.place as u32, t: at.t as u32, row: 0 }),
                peepholes: if cell.peepholes { &peepholes[at.p..][..4 * hidden] } else { &[] },
                hidden,
                incoming,
                terms: p.w_row as usize,
                dy,
                lengths: is("LENGTHS").then_some(Lengths { lengths, t: at.t }),
            },
            w: &w[at.w..],
            gates,
            c_prev: &c[at.c_prev..],
            c: &c[at.c..],
            dc: own_dc,
            zoned,
        });
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(
        call,
        |v| v,
        |o| {
            let written = (o.dc, o.zoned);
            reference::lstm_step_backward(&o.step, o.w, o.gates, o.c_prev, o.c, written);
        },
    );
}

/// The largest sum of absolute values of what makes up `dh` and `dc`: what the results scale with.
fn incoming(call: Call<'_, '_, f64>) -> f64 {
    let mut largest = 0.0f64;
    with(call, f64::abs, |o| {
        let (hidden, row) = (o.step.hidden, 4 * o.step.terms);
        for at in 0..o.dc.len() {
            let (b, unit) = (at / hidden, at % hidden);
            if o.step.lengths.is_some_and(|lengths| lengths.ended(b)) {
                continue;
            }
            let mut sum = o.dc[at].abs() + o.zoned.get(at).map_or(0.0, |zoned| zoned.abs());
            if let Some((dy, dy_row)) = o.step.dy {
                sum += dy[b * dy_row + unit].abs();
            }
            if let Some(incoming) = o.step.incoming {
                let terms = incoming[b * row..][..row].iter().zip(&o.w[unit * row..]);
                sum += terms.map(|(d, w)| (d * w).abs()).sum::<f64>();
            }
            largest = largest.max(sum);
        }
    });
    largest
}

#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    with(call, |v| v, fast::lstm_step_backward);
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "lstm_step_backward",
        bindings: const {
            &[
                read("w", "[H, K] quads"),
                read("c", "[.., B, H]"),
                read("dy", "[T, B, .., H]"),
                read("dh", "[.., B, K] quads"),
                read("lengths", "[B]"),
                write("gates", "[.., T, B, H] of (i, f, g, o)"),
                write("dc", "[.., B, H]"),
                read("p", "[H] of (i, f, 0, o)"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: cut::step_variants!("lstm_step_backward", [32, 8, 1]),
        work: Some(|d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            let products =
                u64::from(d.grid[2] - p.incoming_from.min(d.grid[2])) + u64::from(p.above_until);
            4 * products * u64::from(p.batch) * u64::from(p.hidden) * u64::from(p.w_row)
        }),
        twin,
        twin_f64: twin,
        #[cfg(feature = "cpu")]
        fast: Some(fast),
        #[cfg(not(feature = "cpu"))]
        fast: None,
        tolerance: |_| Tolerance::STEP_GRADIENT,
        scale: Some(incoming),
    }
}
