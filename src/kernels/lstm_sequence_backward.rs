//! Host side of `lstm_sequence_backward`.

#[cfg(feature = "cpu")]
pub(super) mod fast;

use super::{
    Directions, LSTM_SEQUENCE_BACKWARD, Padding, View, Walker, flag, groups, input, output, read,
    write,
};
use super::{cell, cut};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{
    self, Cell, Draws, Lengths, Projection, Real, SequenceBackward, SequenceGradients, Tolerance,
    Walk,
};

params! {
    /// The block of constants; starts are those of the first timestep of the walk, those of `w` and
    /// `gates` count quads, those of the second direction are named `_reverse`.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Timesteps.
        pub steps: u32,
        /// 1 where `dy` counts.
        pub has_dy: u32,
        /// Elements from one row of `dy` to the next.
        pub dy_row: u32,
        /// 1 where something comes back to the first timestep.
        pub incoming: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// 1 where the walk is from later timesteps to earlier ones.
        pub back: u32,
        /// 1 where the walk is from later timesteps to earlier ones.
        pub back_reverse: u32,
        /// The first timestep.
        pub t: u32,
        /// The first timestep.
        pub t_reverse: u32,
        /// Where the weights start.
        pub w_start: u32,
        /// Where the weights start.
        pub w_reverse: u32,
        /// Where the gates start.
        pub gates_start: u32,
        /// Where the gates start.
        pub gates_reverse: u32,
        /// Where the cell states after the first timestep start.
        pub c_start: u32,
        /// Where the cell states after the first timestep start.
        pub c_reverse: u32,
        /// Where the gradient of its output starts.
        pub dy_start: u32,
        /// Where the gradient of its output starts.
        pub dy_reverse: u32,
        /// Where the cell state's gradient starts.
        pub dc_start: u32,
        /// Where the cell state's gradient starts.
        pub dc_reverse: u32,
        /// Features of a hidden state: `P` with a projection, else `H`.
        pub features: u32,
        /// Where the projection's weights start.
        pub projection_start: u32,
        /// Where the projection's weights start.
        pub projection_reverse: u32,
        /// Where the gradients of what they make start.
        pub dp_start: u32,
        /// Where the gradients of what they make start.
        pub dp_reverse: u32,
        /// Where the peepholes start.
        pub p_start: u32,
        /// Where the peepholes start.
        pub p_reverse: u32,
        /// Where the key starts, in the binding of the lengths.
        pub key_start: u32,
        /// Where masks are drawn.
        pub place: u32,
        /// Where masks are drawn.
        pub place_reverse: u32,
        /// From a cell state's gradient to what a zoneout keeps of the hidden state's.
        pub zoned: u32,
    }
}

/// The ways to cut a launch, in the order of the variants.
pub const WALKERS: [Walker; 11] = [
    Walker::Rows,
    Walker::Resident { units: 16, rows: 1 },
    Walker::Resident { units: 16, rows: 4 },
    Walker::Resident { units: 32, rows: 1 },
    Walker::Resident { units: 32, rows: 4 },
    Walker::Resident { units: 64, rows: 1 },
    Walker::Resident { units: 64, rows: 4 },
    Walker::Broadcast { units: 32, rows: 1 },
    Walker::Broadcast { units: 32, rows: 8 },
    Walker::Broadcast { units: 64, rows: 1 },
    Walker::Broadcast { units: 64, rows: 8 },
];

/// Bytes of memory of a workgroup.
pub fn memory(walker: Walker) -> usize {
    match walker {
        Walker::Rows => 0,
        Walker::Resident { units, rows } => 32 * rows * units,
        Walker::Broadcast { units, rows } => 36 * rows * units,
    }
}

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
    /// Timesteps.
    pub steps: usize,
    /// Elements from one row of `dy` to the next.
    pub dy_row: usize,
    /// Features `P` of a hidden state, with a projection. Not with weights in panels.
    pub projection: Option<usize>,
    /// Whether `w` is its transpose in panels.
    pub packed: bool,
    /// Whether something comes back to the first timestep from one that ran after it.
    pub incoming: bool,
    /// Elements from a cell state's gradient to what a zoneout keeps of the hidden state's; 0 without one.
    pub zoned: usize,
}

/// What is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bindings {
    /// Recurrent weights.
    pub w: Range,
    /// Cell states.
    pub c: Range,
    /// The gradient of the outputs.
    pub dy: Option<Range>,
    /// Gates and their gradients.
    pub gates: Range,
    /// The cell state's gradient.
    pub dc: Range,
    /// The projection's weights, with [`Shape::projection`], and the peepholes, in a cell that has some.
    pub projection: Option<Range>,
    /// The gradient of what they make, with it; else any buffer of its own.
    pub dp: Range,
}

/// Where one direction's operands start in what is bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct At {
    /// Whether the walk is from later timesteps to earlier ones.
    pub back: bool,
    /// The first timestep.
    pub t: usize,
    /// Weights.
    pub w: usize,
    /// Gates of the first timestep.
    pub gates: usize,
    /// Cell states after it.
    pub c: usize,
    /// The gradient of its output.
    pub dy: usize,
    /// The cell state's gradient.
    pub dc: usize,
    /// The projection's weights, with one.
    pub projection: usize,
    /// The gradient of what they make at the first timestep, with one.
    pub dp: usize,
    /// The peepholes, where they are bound.
    pub p: usize,
    /// Where masks are drawn: twice the layer, and 1 more in the reverse direction.
    pub place: usize,
}

/// Some timesteps of one direction or of both.
pub fn dispatch(shape: &Shape, bound: &Bindings, at: Directions<At>, padding: Padding) -> Dispatch {
    let [one, other] = at.both();
    let (element, quad) = (|v: usize| v as u32, |v: usize| (v / 4) as u32);
    // What isn't there is bound to the weights, which are read-only as well, and never read.
    let unused = bound.w;
    let params = Params {
        batch: shape.batch as u32,
        hidden: shape.hidden as u32,
        steps: shape.steps as u32,
        has_dy: bound.dy.is_some().into(),
        dy_row: shape.dy_row as u32,
        incoming: shape.incoming.into(),
        lengths_start: padding.start(),
        back: one.back.into(),
        back_reverse: other.back.into(),
        t: one.t as u32,
        t_reverse: other.t as u32,
        w_start: quad(one.w),
        w_reverse: quad(other.w),
        gates_start: quad(one.gates),
        gates_reverse: quad(other.gates),
        c_start: element(one.c),
        c_reverse: element(other.c),
        dy_start: element(one.dy),
        dy_reverse: element(other.dy),
        dc_start: element(one.dc),
        dc_reverse: element(other.dc),
        features: element(shape.projection.unwrap_or(shape.hidden)),
        projection_start: element(one.projection),
        projection_reverse: element(other.projection),
        dp_start: element(one.dp),
        dp_reverse: element(other.dp),
        p_start: element(one.p),
        p_reverse: element(other.p),
        key_start: shape.key.map_or(0, |key| key.start()),
        place: element(one.place),
        place_reverse: element(other.place),
        zoned: element(shape.zoned),
    };
    Dispatch {
        kernel: LSTM_SEQUENCE_BACKWARD,
        variant: 0,
        constants: vec![
            ("LENGTHS", padding.flag()),
            ("PACKED", flag(shape.packed)),
            ("PROJECTION", flag(shape.projection.is_some())),
        ]
        .into_iter()
        .chain(cell::constants(&shape.cell, shape.key.is_some()))
        .collect(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![
            bound.w,
            bound.c,
            bound.dy.unwrap_or(unused),
            cell::rows_of(padding, shape.key, unused),
            bound.gates,
            bound.dc,
            bound.projection.unwrap_or(unused),
            bound.dp,
        ],
        grid: [groups(shape.batch, Walker::Rows.rows()), 1, at.count()],
    }
}

/// The same launch cut in another way. Only [`Walker::Rows`] takes weights in panels.
///
/// # Panics
/// Where the walker isn't one of [`WALKERS`].
pub fn with_walker(dispatch: Dispatch, walker: Walker) -> Dispatch {
    let p: Params = bytemuck::pod_read_unaligned(&dispatch.params);
    cut::with_walker(dispatch, &WALKERS, walker, p.batch)
}

impl Params {
    /// Where the operands of a launch's first or second direction start.
    fn at(&self, second: bool) -> At {
        let either = |one: u32, other: u32| if second { other } else { one } as usize;
        At {
            back: either(self.back, self.back_reverse) == 1,
            t: either(self.t, self.t_reverse),
            w: 4 * either(self.w_start, self.w_reverse),
            gates: 4 * either(self.gates_start, self.gates_reverse),
            c: either(self.c_start, self.c_reverse),
            dy: either(self.dy_start, self.dy_reverse),
            dc: either(self.dc_start, self.dc_reverse),
            projection: either(self.projection_start, self.projection_reverse),
            dp: either(self.dp_start, self.dp_reverse),
            p: either(self.p_start, self.p_reverse),
            place: either(self.place, self.place_reverse),
        }
    }
}

/// One direction's operands, as the CPU forms take them.
struct OneDirection<'s, R> {
    sequence: SequenceBackward<'s, R>,
    w: &'s [R],
    c: &'s [R],
    dy: &'s [R],
    written: SequenceGradients<'s, R>,
}

/// Calls `each` with the operands of every direction.
fn with<R: Real>(call: Call<'_, '_, R>, mut each: impl FnMut(OneDirection<'_, R>)) {
    let p: Params = call.params();
    let is = |constant| call.dispatch.constant(constant) != 0.0;
    let (padded, packed) = (is("LENGTHS"), is("PACKED"));
    let (batch, hidden) = (p.batch as usize, p.hidden as usize);
    let [w, c, dy, lengths, gates, dc, projection, dp] = call.args else {
        unreachable!("eight bindings")
    };
    let key = cell::key(call.dispatch, input(lengths, p.key_start));
    let lengths = input(lengths, p.lengths_start);
    let (cell, others) = (cell::of(call.dispatch), input(projection, 0));
    for direction in 0..call.dispatch.grid[2] {
        let at = p.at(direction == 1);
        let slot = batch * hidden;
        let (own_dc, rest) = output(dc, 0)[at.dc..].split_at_mut(slot);
        let zoned: &mut [R] = match cell.zoneout {
            None => &mut [],
            Some(_) => &mut rest[p.zoned as usize - slot..][..slot],
        };
        each(OneDirection {
            sequence: SequenceBackward {
                cell,
                draws: key.map(|key| Draws { key, place: at.place as u32, t: at.t as u32, row: 0 }),
                peepholes: if cell.peepholes { &others[at.p..][..4 * hidden] } else { &[] },
                batch,
                hidden,
                walk: Walk { steps: p.steps as usize, back: at.back },
                projection: is("PROJECTION").then(|| Projection {
                    features: p.features as usize,
                    weight: &others[at.projection..],
                    start: at.dp,
                }),
                packed,
                incoming: p.incoming == 1,
                lengths: padded.then_some(Lengths { lengths, t: at.t }),
                gates: at.gates,
                c: at.c,
                dy: (p.has_dy == 1).then_some((at.dy, p.dy_row as usize)),
            },
            w: &input(w, 0)[at.w..],
            c: input(c, 0),
            dy: input(dy, 0),
            written: SequenceGradients {
                gates: output(gates, 0),
                dc: own_dc,
                zoned,
                dp: output(dp, 0),
            },
        });
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, |o| {
        let written = o.written;
        reference::lstm_sequence_backward(&o.sequence, o.w, o.c, o.dy, written);
    });
}

/// The largest gradient that reaches a unit in any of the steps, in absolute terms: what the results
/// scale with.
fn incoming(call: Call<'_, '_, f64>) -> f64 {
    let mut largest = 0.0f64;
    with(call, |o| {
        // One step after the other, on copies; after each, what it leaves to the one before it.
        let before = &o.written;
        let (mut gates, mut dc) = (before.gates.to_vec(), before.dc.to_vec());
        let (mut zoned, mut dp) = (before.zoned.to_vec(), before.dp.to_vec());
        let s = &o.sequence;
        let largest_of = |weights: &[f64]| weights.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        let features = s.projection.map_or(s.hidden, |projection| projection.features);
        let weight = largest_of(&o.w[..features * 4 * s.hidden]);
        for n in 0..s.walk.steps {
            let slot = s.batch * s.hidden;
            let one = SequenceBackward {
                walk: Walk { steps: 1, ..s.walk },
                incoming: s.incoming || n > 0,
                lengths: s.lengths.map(|lengths| s.walk.lengths(lengths, n)),
                draws: s.draws.map(|draws| s.walk.draws(draws, n)),
                gates: s.walk.at(s.gates, 4 * slot, n),
                c: s.walk.at(s.c, slot, n),
                dy: s.dy.map(|(start, row)| (s.walk.at(start, s.batch * row, n), row)),
                projection: s.projection.map(|projection| Projection {
                    start: s.walk.at(projection.start, s.batch * projection.row(), n),
                    ..projection
                }),
                ..*s
            };
            largest = largest.max(largest_of(&dc)).max(largest_of(&zoned));
            if let Some((start, row)) = one.dy {
                let rows = o.dy[start..].chunks(row).take(s.batch);
                largest = rows.fold(largest, |m, row| m.max(largest_of(&row[..s.hidden])));
            }
            if one.incoming {
                let before = s.walk.before(s.gates, 4 * slot, n);
                for row in gates[before..][..4 * slot].chunks(4 * s.hidden) {
                    largest = largest.max(weight * row.iter().map(|d| d.abs()).sum::<f64>());
                }
            }
            let written = SequenceGradients {
                gates: &mut gates,
                dc: &mut dc,
                zoned: &mut zoned,
                dp: &mut dp,
            };
            reference::lstm_sequence_backward(&one, o.w, o.c, o.dy, written);
            if let Some(projection) = one.projection {
                let weight = largest_of(&projection.weight[..s.hidden * projection.row()]);
                let rows = dp[projection.start..].chunks(projection.row()).take(s.batch);
                largest = rows.fold(largest, |m, row| {
                    m.max(weight * row.iter().map(|d| d.abs()).sum::<f64>())
                });
            }
        }
    });
    largest
}

/// No plan for the CPU has a projection here.
#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    with(call, |o| match o.sequence.projection {
        None => {
            fast::lstm_sequence_backward(&o.sequence, o.w, o.c, o.dy, o.written);
        }
        Some(_) => {
            let written = o.written;
            reference::lstm_sequence_backward(&o.sequence, o.w, o.c, o.dy, written);
        }
    });
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "lstm_sequence_backward",
        bindings: const {
            &[
                read("w", "[K, H] quads"),
                read("c", "[D, T+1, B, H]"),
                read("dy", "[T, B, D, H]"),
                read("lengths", "[B]"),
                write("gates", "[D, T, B, H] of (i, f, g, o)"),
                write("dc", "[D, B, H]"),
                read("projection", "[H, P], [H] of (i, f, 0, o)"),
                write("dp", "[D, T, B, P]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: cut::walkers!("lstm_sequence_backward", &WALKERS),
        work: Some(|d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            let rows = u64::from(d.grid[2]) * u64::from(p.batch) * u64::from(p.steps);
            let projected = if d.constant("PROJECTION") != 0.0 { u64::from(p.features) } else { 0 };
            rows * u64::from(p.hidden) * (4 * u64::from(p.features) + projected)
        }),
        twin,
        twin_f64: twin,
        #[cfg(feature = "cpu")]
        fast: Some(fast),
        #[cfg(not(feature = "cpu"))]
        fast: None,
        tolerance: |_| Tolerance::SEQUENCE_GRADIENT,
        scale: Some(incoming),
    }
}
