//! Host side of `lstm_step_forward`.

#[cfg(feature = "cpu")]
mod fast;

use super::{
    Directions, LSTM_STEP_FORWARD, Padding, SUBGROUP, Tile, apart, flag, groups, in_parts,
    in_subgroups, input, output, read, split, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{self, Lengths, Real, StepForward, Tolerance};

params! {
    /// The block of constants; starts of `u` and `gates` count quads, those of the second
    /// direction are named `_reverse`.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Terms of the recurrent product.
        pub terms: u32,
        /// Elements from one row of a slot of `h` to the next.
        pub h_row: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// The timestep.
        pub t: u32,
        /// The timestep.
        pub t_reverse: u32,
        /// Where the recurrent weights start.
        pub u_start: u32,
        /// Where the recurrent weights start.
        pub u_reverse: u32,
        /// Where the gates of the step start.
        pub gates_start: u32,
        /// Where the gates of the step start.
        pub gates_reverse: u32,
        /// Where the hidden states before the step start.
        pub h_prev_start: u32,
        /// Where the hidden states before the step start.
        pub h_prev_reverse: u32,
        /// Where the hidden states after the step start.
        pub h_start: u32,
        /// Where the hidden states after the step start.
        pub h_reverse: u32,
        /// Where the cell states before the step start.
        pub c_prev_start: u32,
        /// Where the cell states before the step start.
        pub c_prev_reverse: u32,
        /// Where the cell states after the step start.
        pub c_start: u32,
        /// Where the cell states after the step start.
        pub c_reverse: u32,
        /// Where what is projected starts.
        pub z_start: u32,
        /// Where what is projected starts.
        pub z_reverse: u32,
    }
}

/// Units and rows that a workgroup computes.
pub const TILE: usize = 16;

/// Units of a workgroup of [`Tile::Broadcast`].
const BROADCAST_UNITS: usize = 16;

/// The sizes that a launch has, whichever the step.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows `B`.
    pub batch: usize,
    /// Units `H`.
    pub hidden: usize,
    /// Terms of the recurrent product: `P` with a projection, else `H`.
    pub terms: usize,
    /// Elements from one row of a slot of `h` to the next.
    pub h_row: usize,
}

/// What is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bindings {
    /// Recurrent weights.
    pub u: Range,
    /// Gates.
    pub gates: Range,
    /// Hidden states.
    pub h: Range,
    /// Cell states.
    pub c: Range,
    /// What is projected, with a projection; else any buffer of its own.
    pub z: Range,
}

/// Where one direction's operands start in what is bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct At {
    /// The timestep.
    pub t: usize,
    /// Recurrent weights.
    pub u: usize,
    /// Gates of the step.
    pub gates: usize,
    /// Hidden states before the step.
    pub h_prev: usize,
    /// Hidden states after the step.
    pub h: usize,
    /// Cell states before the step.
    pub c_prev: usize,
    /// Cell states after the step.
    pub c: usize,
    /// What is projected, with a projection.
    pub z: Option<usize>,
}

/// One timestep of one direction or of both.
pub fn dispatch(shape: &Shape, bound: &Bindings, at: Directions<At>, padding: Padding) -> Dispatch {
    let [one, other] = at.both();
    let (element, quad) = (|v: usize| v as u32, |v: usize| (v / 4) as u32);
    let params = Params {
        batch: shape.batch as u32,
        hidden: shape.hidden as u32,
        terms: shape.terms as u32,
        h_row: shape.h_row as u32,
        lengths_start: padding.start(),
        t: one.t as u32,
        t_reverse: other.t as u32,
        u_start: quad(one.u),
        u_reverse: quad(other.u),
        gates_start: quad(one.gates),
        gates_reverse: quad(other.gates),
        h_prev_start: element(one.h_prev),
        h_prev_reverse: element(other.h_prev),
        h_start: element(one.h),
        h_reverse: element(other.h),
        c_prev_start: element(one.c_prev),
        c_prev_reverse: element(other.c_prev),
        c_start: element(one.c),
        c_reverse: element(other.c),
        z_start: element(one.z.unwrap_or(0)),
        z_reverse: element(other.z.unwrap_or(0)),
    };
    let projection = flag(one.z.is_some());
    Dispatch {
        kernel: LSTM_STEP_FORWARD,
        variant: 0,
        constants: vec![("LENGTHS", padding.flag()), ("PROJECTION", projection)],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![bound.u, padding.range(bound.u), bound.gates, bound.h, bound.c, bound.z],
        grid: [groups(shape.hidden, TILE), groups(shape.batch, TILE), at.count()],
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
        At {
            t: either(self.t, self.t_reverse),
            u: 4 * either(self.u_start, self.u_reverse),
            gates: 4 * either(self.gates_start, self.gates_reverse),
            h_prev: either(self.h_prev_start, self.h_prev_reverse),
            h: either(self.h_start, self.h_reverse),
            c_prev: either(self.c_prev_start, self.c_prev_reverse),
            c: either(self.c_start, self.c_reverse),
            z: Some(either(self.z_start, self.z_reverse)),
        }
    }
}

/// Calls `each` with the operands of every direction, in the order that the twin takes.
fn with<R: Real>(
    call: Call<'_, '_, R>,
    each: impl Fn(&StepForward<'_, R>, &[R], &mut [R], &[R], &[R], &mut [R], &mut [R]),
) {
    let p: Params = call.params();
    let padded = call.dispatch.constant("LENGTHS") != 0.0;
    let projected = call.dispatch.constant("PROJECTION") != 0.0;
    let (batch, hidden) = (p.batch as usize, p.hidden as usize);
    let (terms, h_row, slot) = (p.terms as usize, p.h_row as usize, batch * hidden);
    // The last row of a slot may end before the next slot's first.
    let in_h = |width: usize| (batch - 1) * h_row + width;
    let [u, lengths, gates, h, c, z] = call.args else { unreachable!("six bindings") };
    let lengths = input(lengths, p.lengths_start);
    let (gates, h, c, z) = (output(gates, 0), output(h, 0), output(c, 0), output(z, 0));
    for direction in 0..call.dispatch.grid[2] {
        let at = p.at(direction == 1);
        let step = StepForward {
            hidden,
            terms,
            h_prev_row: h_row,
            h_row: if projected { hidden } else { h_row },
            lengths: padded.then_some(Lengths { lengths, t: at.t }),
        };
        let (c_prev, c) = apart(c, (at.c_prev, slot), (at.c, slot));
        let (h_prev, h) = match at.z.filter(|_| projected) {
            Some(z_start) => (&h[at.h_prev..][..in_h(terms)], &mut z[z_start..][..slot]),
            None => apart(h, (at.h_prev, in_h(hidden)), (at.h, in_h(hidden))),
        };
        each(&step, &input(u, 0)[at.u..], &mut gates[at.gates..][..4 * slot], h_prev, c_prev, h, c);
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, reference::lstm_step_forward);
}

#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    with(call, fast::lstm_step_forward);
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "lstm_step_forward",
        bindings: const {
            &[
                read("u", "[K, H] of (i, f, g, o)"),
                read("lengths", "[B]"),
                write("gates", "[D, T, B, H] of (i, f, g, o)"),
                write("h", "[T+D, B, D, K]"),
                write("c", "[D, T+1, B, H]"),
                write("z", "[D, T, B, H]"),
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
                    include_str!("../../shaders/lstm_step_forward/step.wgsl"),
                    include_str!("../../shaders/lstm_step_forward/tiled.wgsl")
                ),
                [16, 4, 1],
            ),
            in_subgroups(variant(
                "broadcast",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/common/eight_rows.wgsl"),
                    include_str!("../../shaders/lstm_step_forward/step.wgsl"),
                    include_str!("../../shaders/lstm_step_forward/broadcast.wgsl")
                ),
                [SUBGROUP, 1, 1],
            )),
            variant(
                "split",
                concat!(
                    include_str!("../../shaders/common/activations.wgsl"),
                    include_str!("../../shaders/common/lengths.wgsl"),
                    include_str!("../../shaders/lstm_step_forward/step.wgsl"),
                    include_str!("../../shaders/lstm_step_forward/split.wgsl")
                ),
                [8, 32, 1],
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
        scale: None,
        tolerance: |_| Tolerance::STEP,
    }
}
