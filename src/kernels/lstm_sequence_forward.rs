//! Host side of `lstm_sequence_forward`.

#[cfg(feature = "cpu")]
pub(super) mod fast;

use super::{
    Directions, LSTM_SEQUENCE_FORWARD, Padding, View, Walker, flag, groups, input, output, read,
    write,
};
use super::{cell, cut};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{
    self, Cell, Draws, Lengths, Projection, Real, SequenceForward, Tolerance, Walk,
};

params! {
    /// The block of constants; starts are those of the first timestep, those of `u` and `gates` count
    /// quads, those of the second direction are named `_reverse`.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Timesteps.
        pub steps: u32,
        /// Elements from one row of a slot of `h` to the next.
        pub h_row: u32,
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
        /// Where the recurrent weights start.
        pub u_start: u32,
        /// Where the recurrent weights start.
        pub u_reverse: u32,
        /// Where the gates start.
        pub gates_start: u32,
        /// Where the gates start.
        pub gates_reverse: u32,
        /// Where the hidden states before the first timestep start.
        pub h_start: u32,
        /// Where the hidden states before the first timestep start.
        pub h_reverse: u32,
        /// Where the cell states before it start.
        pub c_start: u32,
        /// Where the cell states before it start.
        pub c_reverse: u32,
        /// Features `I` of the input.
        pub input: u32,
        /// Where the input starts.
        pub x_start: u32,
        /// Where the input starts.
        pub x_reverse: u32,
        /// Features of a hidden state: `P` with a projection, else `H`.
        pub features: u32,
        /// Where the projection's weights start.
        pub w_start: u32,
        /// Where the projection's weights start.
        pub w_reverse: u32,
        /// Where what is projected starts.
        pub z_start: u32,
        /// Where what is projected starts.
        pub z_reverse: u32,
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
        /// From a hidden state to what products take of it.
        pub masked: u32,
    }
}

/// The ways to cut a launch, in the order of the variants.
pub const WALKERS: [Walker; 13] = [
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
    Walker::Broadcast { units: 128, rows: 1 },
    Walker::Broadcast { units: 128, rows: 8 },
];

/// Bytes of memory of a workgroup.
pub fn memory(walker: Walker) -> usize {
    match walker {
        Walker::Rows => 0,
        Walker::Resident { units, rows } => 56 * rows * units,
        // The tile that isn't used has one element.
        Walker::Broadcast { units, rows: 1 } => 12 * units + 16,
        Walker::Broadcast { units, rows } => 12 * rows * units + 4,
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
    /// Elements from one row of a slot of `h` to the next.
    pub h_row: usize,
    /// Features `P` of a hidden state, with a projection. Not with weights in panels.
    pub projection: Option<usize>,
    /// Whether `u` is in panels.
    pub packed: bool,
    /// Features `I` of the input, where its share of the gates is still to be made; `u` is in panels
    /// then, below the bias and the input's weights.
    pub input: Option<usize>,
    /// Whether the activated gates are kept.
    pub keep: bool,
    /// Elements from a hidden state to its masked one, which products take, where training drops some of it; else
    /// 0.
    pub masked: usize,
}

/// What is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bindings {
    /// Recurrent weights, and with [`Shape::input`] those of the input.
    pub u: Range,
    /// The input, with [`Shape::input`].
    pub x: Option<Range>,
    /// Gates; without [`Shape::keep`] and with [`Shape::input`] any buffer of its own.
    pub gates: Range,
    /// Hidden states.
    pub h: Range,
    /// Cell states.
    pub c: Range,
    /// The projection's weights, with [`Shape::projection`], and the peepholes, in a cell that has some.
    pub w: Option<Range>,
    /// What is projected, with it; else any buffer of its own.
    pub z: Range,
}

/// Where one direction's operands start in what is bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct At {
    /// Whether the walk is from later timesteps to earlier ones.
    pub back: bool,
    /// The first timestep.
    pub t: usize,
    /// Recurrent weights.
    pub u: usize,
    /// Gates of the first timestep.
    pub gates: usize,
    /// Hidden states before it.
    pub h_prev: usize,
    /// Cell states before it.
    pub c_prev: usize,
    /// Its input, where there is one.
    pub x: usize,
    /// The projection's weights, with one.
    pub w: usize,
    /// What is projected at the first timestep, with one.
    pub z: usize,
    /// The peepholes, where they are bound.
    pub p: usize,
    /// Where masks are drawn: twice the layer, and 1 more in the reverse direction.
    pub place: usize,
}

/// Some timesteps of one direction or of both.
pub fn dispatch(shape: &Shape, bound: &Bindings, at: Directions<At>, padding: Padding) -> Dispatch {
    let [one, other] = at.both();
    let (element, quad) = (|v: usize| v as u32, |v: usize| (v / 4) as u32);
    let params = Params {
        batch: shape.batch as u32,
        hidden: shape.hidden as u32,
        steps: shape.steps as u32,
        h_row: shape.h_row as u32,
        lengths_start: padding.start(),
        back: one.back.into(),
        back_reverse: other.back.into(),
        t: one.t as u32,
        t_reverse: other.t as u32,
        u_start: quad(one.u),
        u_reverse: quad(other.u),
        gates_start: quad(one.gates),
        gates_reverse: quad(other.gates),
        h_start: element(one.h_prev),
        h_reverse: element(other.h_prev),
        c_start: element(one.c_prev),
        c_reverse: element(other.c_prev),
        input: element(shape.input.unwrap_or(0)),
        x_start: element(one.x),
        x_reverse: element(other.x),
        features: element(shape.projection.unwrap_or(shape.hidden)),
        w_start: element(one.w),
        w_reverse: element(other.w),
        z_start: element(one.z),
        z_reverse: element(other.z),
        p_start: element(one.p),
        p_reverse: element(other.p),
        key_start: shape.key.map_or(0, |key| key.start()),
        place: element(one.place),
        place_reverse: element(other.place),
        masked: element(shape.masked),
    };
    let x = bound.x.unwrap_or(bound.u);
    Dispatch {
        kernel: LSTM_SEQUENCE_FORWARD,
        variant: 0,
        constants: vec![
            ("LENGTHS", padding.flag()),
            ("PACKED", flag(shape.packed)),
            ("KEEP", flag(shape.keep)),
            ("INPUT", flag(shape.input.is_some())),
            ("PROJECTION", flag(shape.projection.is_some())),
        ]
        .into_iter()
        .chain(cell::constants(&shape.cell, shape.key.is_some()))
        .collect(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![
            bound.u,
            x,
            cell::rows_of(padding, shape.key, bound.u),
            bound.gates,
            bound.h,
            bound.c,
            bound.w.unwrap_or(bound.u),
            bound.z,
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
            u: 4 * either(self.u_start, self.u_reverse),
            gates: 4 * either(self.gates_start, self.gates_reverse),
            h_prev: either(self.h_start, self.h_reverse),
            c_prev: either(self.c_start, self.c_reverse),
            x: either(self.x_start, self.x_reverse),
            w: either(self.w_start, self.w_reverse),
            z: either(self.z_start, self.z_reverse),
            p: either(self.p_start, self.p_reverse),
            place: either(self.place, self.place_reverse),
        }
    }
}

/// Calls `each` with the operands of every direction, in the order that the twin takes.
fn with<R: Real>(
    call: Call<'_, '_, R>,
    each: impl Fn(&SequenceForward<'_, R>, &[R], &[R], &mut [R], (&mut [R], &mut [R], &mut [R])),
) {
    let p: Params = call.params();
    let is = |constant| call.dispatch.constant(constant) != 0.0;
    let (padded, packed, keep) = (is("LENGTHS"), is("PACKED"), is("KEEP"));
    let [u, x, lengths, gates, h, c, w, z] = call.args else { unreachable!("eight bindings") };
    let key = cell::key(call.dispatch, input(lengths, p.key_start));
    let lengths = input(lengths, p.lengths_start);
    let (cell, others, hidden) = (cell::of(call.dispatch), input(w, 0), p.hidden as usize);
    for direction in 0..call.dispatch.grid[2] {
        let at = p.at(direction == 1);
        let sequence = SequenceForward {
            cell,
            draws: key.map(|key| Draws { key, place: at.place as u32, t: at.t as u32, row: 0 }),
            masked: p.masked as usize,
            peepholes: if cell.peepholes { &others[at.p..][..4 * hidden] } else { &[] },
            batch: p.batch as usize,
            hidden,
            walk: Walk { steps: p.steps as usize, back: at.back },
            h_row: p.h_row as usize,
            projection: is("PROJECTION").then(|| Projection {
                features: p.features as usize,
                weight: &others[at.w..],
                start: at.z,
            }),
            packed,
            x: is("INPUT").then_some((p.input as usize, at.x)),
            keep,
            lengths: padded.then_some(Lengths { lengths, t: at.t }),
            gates: at.gates,
            h_prev: at.h_prev,
            c_prev: at.c_prev,
        };
        let u = &input(u, 0)[at.u..];
        let states = (output(h, 0), output(c, 0), output(z, 0));
        each(&sequence, u, input(x, 0), output(gates, 0), states);
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, reference::lstm_sequence_forward);
}

/// No plan for the CPU has a projection here.
#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    with(call, |s, u, x, gates, (h, c, z)| match s.projection {
        None => fast::lstm_sequence_forward(s, u, x, gates, h, c),
        Some(_) => reference::lstm_sequence_forward(s, u, x, gates, (h, c, z)),
    });
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "lstm_sequence_forward",
        bindings: const {
            &[
                read("u", "[K, H] of (i, f, g, o)"),
                read("x", "[T, B, I]"),
                read("lengths", "[B]"),
                write("gates", "[D, T, B, H] of (i, f, g, o)"),
                write("h", "[T+D, B, D, K]"),
                write("c", "[D, T+1, B, H]"),
                read("w", "[H, P], [H] of (i, f, 0, o)"),
                write("z", "[D, T, B, H]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: cut::walkers!("lstm_sequence_forward", &WALKERS),
        work: Some(|d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            let rows = u64::from(d.grid[2]) * u64::from(p.batch) * u64::from(p.steps);
            let projected = if d.constant("PROJECTION") != 0.0 { u64::from(p.features) } else { 0 };
            let terms = 4 * u64::from(p.features + p.input) + projected;
            rows * u64::from(p.hidden) * terms
        }),
        twin,
        twin_f64: twin,
        #[cfg(feature = "cpu")]
        fast: Some(fast),
        #[cfg(not(feature = "cpu"))]
        fast: None,
        scale: None,
        tolerance: |_| Tolerance::SEQUENCE,
    }
}
