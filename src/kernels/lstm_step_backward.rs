//! Host side of `lstm_step_backward`.

#[cfg(feature = "cpu")]
mod fast;

use super::{
    Directions, LSTM_STEP_BACKWARD, Padding, SUBGROUP, Tile, apart, flag, groups, in_parts,
    in_subgroups, input, output, read, split, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{self, Lengths, Real, StepBackward, Tolerance};

params! {
    /// The block of constants; starts of `w`, `gates` and `incoming` count quads, those of the
    /// second direction are named `_reverse`.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Quads of the product: those of a row, or 0 where nothing ran after.
        pub terms: u32,
        /// Quads of a row of `w` and of what comes in.
        pub w_row: u32,
        /// 1 where `dy` counts.
        pub has_dy: u32,
        /// Elements from one row of `dy` to the next.
        pub dy_row: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// The timestep.
        pub t: u32,
        /// The timestep.
        pub t_reverse: u32,
        /// Where the weights start.
        pub w_start: u32,
        /// Where the weights start.
        pub w_reverse: u32,
        /// Where the gates of the step start.
        pub gates_start: u32,
        /// Where the gates of the step start.
        pub gates_reverse: u32,
        /// Where what comes in starts, in `gates` or, with a projection, in `dh`.
        pub incoming_start: u32,
        /// Where what comes in starts.
        pub incoming_reverse: u32,
        /// Where the cell states before the step start.
        pub c_prev_start: u32,
        /// Where the cell states before the step start.
        pub c_prev_reverse: u32,
        /// Where the cell states after the step start.
        pub c_start: u32,
        /// Where the cell states after the step start.
        pub c_reverse: u32,
        /// Where the gradient of the step's output starts.
        pub dy_start: u32,
        /// Where the gradient of the step's output starts.
        pub dy_reverse: u32,
        /// Where the cell state's gradient starts.
        pub dc_start: u32,
        /// Where the cell state's gradient starts.
        pub dc_reverse: u32,
    }
}

/// Units of a workgroup of [`Tile::Broadcast`].
const BROADCAST_UNITS: usize = 64;

/// The sizes that a launch has.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// Elements from one row of `dy` to the next.
    pub dy_row: usize,
    /// Quads of the product, whether or not the step has one.
    pub terms: usize,
}

/// What is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bindings {
    /// Recurrent weights, or, with a projection, its weights.
    pub w: Range,
    /// Cell states.
    pub c: Range,
    /// The gradient of the outputs, without a projection.
    pub dy: Option<Range>,
    /// The gradient of the projection's results, with one.
    pub dh: Option<Range>,
    /// Gates and their gradients.
    pub gates: Range,
    /// The cell state's gradient.
    pub dc: Range,
}

/// Where one direction's operands start in what is bound.
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
    /// The gradient of the step's output.
    pub dy: usize,
    /// The cell state's gradient.
    pub dc: usize,
}

/// One timestep of one direction or of both.
pub fn dispatch(shape: &Shape, bound: &Bindings, at: Directions<At>, padding: Padding) -> Dispatch {
    let [one, other] = at.both();
    let (element, quad) = (|v: usize| v as u32, |v: usize| (v / 4) as u32);
    // What isn't there is bound to the weights, which are read-only as well, and never read.
    let unused = bound.w;
    let params = Params {
        batch: shape.batch as u32,
        hidden: shape.hidden as u32,
        terms: if one.incoming.is_some() { shape.terms as u32 } else { 0 },
        w_row: shape.terms as u32,
        has_dy: bound.dy.is_some().into(),
        dy_row: shape.dy_row as u32,
        lengths_start: padding.start(),
        t: one.t as u32,
        t_reverse: other.t as u32,
        w_start: quad(one.w),
        w_reverse: quad(other.w),
        gates_start: quad(one.gates),
        gates_reverse: quad(other.gates),
        incoming_start: quad(one.incoming.unwrap_or(one.gates)),
        incoming_reverse: quad(other.incoming.unwrap_or(other.gates)),
        c_prev_start: element(one.c_prev),
        c_prev_reverse: element(other.c_prev),
        c_start: element(one.c),
        c_reverse: element(other.c),
        dy_start: element(one.dy),
        dy_reverse: element(other.dy),
        dc_start: element(one.dc),
        dc_reverse: element(other.dc),
    };
    let projection = flag(bound.dh.is_some());
    Dispatch {
        kernel: LSTM_STEP_BACKWARD,
        variant: 0,
        constants: vec![("LENGTHS", padding.flag()), ("PROJECTION", projection)],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![
            bound.w,
            bound.c,
            bound.dy.unwrap_or(unused),
            bound.dh.unwrap_or(unused),
            padding.range(unused),
            bound.gates,
            bound.dc,
        ],
        grid: [groups(shape.hidden, 16), groups(shape.batch, 16), at.count()],
    }
}

/// The same launch cut in another way.
pub fn with_tile(dispatch: Dispatch, tile: Tile) -> Dispatch {
    let p: Params = bytemuck::pod_read_unaligned(&dispatch.params);
    match tile {
        Tile::Workgroup | Tile::Quads64 | Tile::Quads128 => dispatch,
        Tile::Broadcast => in_parts(dispatch, (p.hidden, BROADCAST_UNITS), p.batch),
        Tile::Split => split(dispatch, p.hidden, p.batch),
    }
}

impl Params {
    /// Where the operands of a launch's first or second direction start.
    fn at(&self, second: bool) -> At {
        let either = |one: u32, other: u32| if second { other } else { one } as usize;
        let incoming = 4 * either(self.incoming_start, self.incoming_reverse);
        At {
            t: either(self.t, self.t_reverse),
            w: 4 * either(self.w_start, self.w_reverse),
            gates: 4 * either(self.gates_start, self.gates_reverse),
            incoming: (self.terms > 0).then_some(incoming),
            c_prev: either(self.c_prev_start, self.c_prev_reverse),
            c: either(self.c_start, self.c_reverse),
            dy: either(self.dy_start, self.dy_reverse),
            dc: either(self.dc_start, self.dc_reverse),
        }
    }
}

/// One direction's operands, as the CPU forms take them.
struct OneDirection<'s, R> {
    step: StepBackward<'s, R>,
    w: &'s [R],
    gates: &'s mut [R],
    c_prev: &'s [R],
    c: &'s [R],
    dc: &'s mut [R],
}

/// Calls `each` with the operands of every direction.
fn with<R: Real>(call: Call<'_, '_, R>, mut each: impl FnMut(OneDirection<'_, R>)) {
    let p: Params = call.params();
    let padded = call.dispatch.constant("LENGTHS") != 0.0;
    let projected = call.dispatch.constant("PROJECTION") != 0.0;
    let (hidden, batch) = (p.hidden as usize, p.batch as usize);
    let (slot, row) = (batch * hidden, 4 * p.w_row as usize);
    let [w, c, dy, dh, lengths, gates, dc] = call.args else { unreachable!("seven bindings") };
    let (w, c, dy, dh) = (input(w, 0), input(c, 0), input(dy, 0), input(dh, 0));
    let (gates, dc) = (output(gates, 0), output(dc, 0));
    let lengths = input(lengths, p.lengths_start);
    for direction in 0..call.dispatch.grid[2] {
        let at = p.at(direction == 1);
        let own = (at.gates, 4 * slot);
        let (incoming, gates) = match at.incoming {
            None => (None, &mut gates[own.0..][..own.1]),
            Some(from) if projected => (Some(&dh[from..]), &mut gates[own.0..][..own.1]),
            Some(from) => {
                let (incoming, gates) = apart(gates, (from, batch * row), own);
                (Some(incoming), gates)
            }
        };
        each(OneDirection {
            step: StepBackward {
                hidden,
                incoming,
                terms: p.w_row as usize,
                dy: (p.has_dy == 1).then(|| (&dy[at.dy..], p.dy_row as usize)),
                lengths: padded.then_some(Lengths { lengths, t: at.t }),
            },
            w: &w[at.w..],
            gates,
            c_prev: &c[at.c_prev..],
            c: &c[at.c..],
            dc: &mut dc[at.dc..][..slot],
        });
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, |o| reference::lstm_step_backward(&o.step, o.w, o.gates, o.c_prev, o.c, o.dc));
}

/// The largest sum of absolute values of what makes up `dh` and `dc`: what the results scale with.
fn incoming(call: Call<'_, '_, f64>) -> f64 {
    let mut largest = 0.0f64;
    with(call, |o| {
        let (hidden, row) = (o.step.hidden, 4 * o.step.terms);
        for at in 0..o.dc.len() {
            let (b, unit) = (at / hidden, at % hidden);
            if o.step.lengths.is_some_and(|lengths| lengths.ended(b)) {
                continue;
            }
            let mut sum = o.dc[at].abs();
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
    with(call, fast::lstm_step_backward);
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "lstm_step_backward",
        bindings: const {
            &[
                read("w", "[H, K] quads"),
                read("c", "[D, T+1, B, H]"),
                read("dy", "[T, B, D, H]"),
                read("dh", "[D, T, B, K] quads"),
                read("lengths", "[B]"),
                write("gates", "[D, T, B, H] of (i, f, g, o)"),
                write("dc", "[D, B, H]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![
            variant(
                "tiled",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/lstm_step_backward/step.wgsl"),
                    include_str!("../../shaders/lstm_step_backward/tiled.wgsl")
                ),
                [16, 4, 1],
            ),
            in_subgroups(variant(
                "broadcast",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/common/eight_rows.wgsl"),
                    include_str!("../../shaders/lstm_step_backward/step.wgsl"),
                    include_str!("../../shaders/lstm_step_backward/broadcast.wgsl")
                ),
                [SUBGROUP, 1, 1],
            )),
            variant(
                "split",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/lstm_step_backward/step.wgsl"),
                    include_str!("../../shaders/lstm_step_backward/split.wgsl")
                ),
                [32, 8, 1],
            ),
        ],
        work: Some(|d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            let rows = u64::from(d.grid[2]) * u64::from(p.batch);
            4 * rows * u64::from(p.hidden) * u64::from(p.terms)
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
