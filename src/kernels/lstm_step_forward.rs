//! Host side of `lstm_step_forward`.

#[cfg(feature = "cpu")]
mod fast;

use super::{
    LSTM_STEP_FORWARD, Padding, Tile, View, apart, flag, groups, input, nth, output, progression,
    read, write,
};
use super::{cell, cut};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{
    self, Cell, Draws, Lengths, MaskedRows, Product, Real, StepForward, Tolerance,
};

params! {
    /// The block of constants; starts and distances of weights and gates count quads. What the n-th of a launch
    /// has starts at `start` + n `next`, which may wrap around; its weights, where it makes its input's
    /// share, at `others` + n `others_next`.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Units `H`.
        pub hidden: u32,
        /// Terms of a product.
        pub terms: u32,
        /// Elements from one row of a slot of `h` to the next.
        pub h_row: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// The timestep.
        pub t: u32,
        /// From one's timestep to the next one's.
        pub t_next: u32,
        /// Where the recurrent weights start.
        pub u_start: u32,
        /// From one's to the next one's.
        pub u_next: u32,
        /// Where the gates of the step start.
        pub gates_start: u32,
        /// From one's to the next one's.
        pub gates_next: u32,
        /// Where the hidden states before the step start.
        pub h_prev_start: u32,
        /// From one's to the next one's.
        pub h_prev_next: u32,
        /// Where the hidden states after the step start.
        pub h_start: u32,
        /// From one's to the next one's.
        pub h_next: u32,
        /// Where the cell states before the step start.
        pub c_prev_start: u32,
        /// From one's to the next one's.
        pub c_prev_next: u32,
        /// Where the cell states after the step start.
        pub c_start: u32,
        /// From one's to the next one's.
        pub c_next: u32,
        /// Where what is projected starts.
        pub z_start: u32,
        /// From one's to the next one's.
        pub z_next: u32,
        /// From which on they make their input's share; those before have it in their gates.
        pub input_from: u32,
        /// Where the input of the others starts.
        pub x_start: u32,
        /// From one's to the next one's.
        pub x_next: u32,
        /// Biases of the others, 0 to 2.
        pub biases: u32,
        /// From the parameters of one of the others to the next one's.
        pub others_next: u32,
        /// Where the recurrent weights of the others start.
        pub u_others: u32,
        /// Where their input's weights start.
        pub w_others: u32,
        /// Where their first bias starts.
        pub bias_1_others: u32,
        /// Where their second bias starts.
        pub bias_2_others: u32,
        /// Where the peepholes start.
        pub p_start: u32,
        /// From one's to the next one's.
        pub p_next: u32,
        /// Where the peepholes of the others start.
        pub p_others: u32,
        /// Where the key starts, in the binding of the lengths.
        pub key_start: u32,
        /// Where masks are drawn.
        pub place: u32,
        /// From one's to the next one's.
        pub place_next: u32,
        /// From a hidden state to what products take of it.
        pub masked: u32,
    }
}

/// Units and rows that a workgroup computes.
pub const TILE: usize = 16;

/// Units of a workgroup of [`Tile::Broadcast`].
const BROADCAST_UNITS: usize = 16;

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
    /// Terms of the recurrent product: `P` with a projection, else `H`.
    pub terms: usize,
    /// Elements from one row of a slot of `h` to the next.
    pub h_row: usize,
    /// Elements from a hidden state to its masked one, which products take, where training drops some of it; else
    /// 0.
    pub masked: usize,
}

/// What is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bindings {
    /// Recurrent weights, and what makes the input's share.
    pub u: Range,
    /// Gates.
    pub gates: Range,
    /// Hidden states.
    pub h: Range,
    /// Cell states.
    pub c: Range,
    /// What is projected, with a projection; else any buffer of its own.
    pub z: Range,
    /// Peepholes, in a cell that has some.
    pub p: Option<Range>,
}

/// Where the operands of a timestep start in what is bound.
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
    /// What the input's share is made of, where it isn't in the gates.
    pub input: Option<InputAt>,
    /// Peepholes, in a cell that has some.
    pub p: usize,
    /// Where masks are drawn: twice the layer, and 1 more in the reverse direction.
    pub place: usize,
}

/// Where an input as wide as the hidden state starts in what is bound, and its parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct InputAt {
    /// The input, among the hidden states.
    pub x: usize,
    /// Its weights, among the recurrent ones.
    pub w: usize,
    /// The biases, there as well.
    pub biases: [Option<usize>; 2],
}

/// The most loop iterations of an invocation for two products of so many terms, whichever the tile, the tests
/// that end loops included.
pub fn iterations(terms: usize) -> usize {
    // At most three iterations for two terms of either; then writing 24 rows.
    3 * terms + 256
}

/// A timestep each of some that don't wait for one another: the directions of a layer, or layers of a stack.
/// Where the activated gates aren't kept, the gates are left as they are.
///
/// # Panics
/// Where there is none; where those that make their input's share don't come last; where some have a projection or
/// a bias and others don't; where what several have doesn't lie at equal distances.
pub fn dispatch(
    shape: &Shape,
    bound: &Bindings,
    at: &[At],
    keep: bool,
    padding: Padding,
) -> Dispatch {
    let element = |v: usize| v as u32;
    let quad = |v: usize| element(v / 4);
    let input_from = at.iter().take_while(|at| at.input.is_none()).count();
    let all = |of: fn(&At) -> usize| progression(0, at.iter().map(|at| element(of(at))));
    let (t, h_prev, h) = (all(|at| at.t), all(|at| at.h_prev), all(|at| at.h));
    let (c_prev, c) = (all(|at| at.c_prev), all(|at| at.c));
    let (z, place) = (all(|at| at.z.unwrap_or(0)), all(|at| at.place));
    // Nothing touches the gates of those that neither find anything there nor leave anything.
    let touched = if keep { at } else { &at[..input_from] };
    let gates = progression(0, touched.iter().map(|at| quad(at.gates)));
    let u = progression(0, at[..input_from].iter().map(|at| quad(at.u)));
    let p = progression(0, at[..input_from].iter().map(|at| quad(at.p)));
    let p_others = progression(input_from, at[input_from..].iter().map(|at| quad(at.p)));
    let makes: Vec<(usize, InputAt)> =
        at[input_from..].iter().filter_map(|at| Some((at.u, at.input?))).collect();
    assert_eq!(input_from + makes.len(), at.len(), "those that make their input's share come last");
    let others =
        |of: &dyn Fn(&(usize, InputAt)) -> u32| progression(input_from, makes.iter().map(of));
    let bias = |i: usize| others(&|(_, input)| quad(input.biases[i].unwrap_or(0)));
    let (x, w) = (others(&|(_, input)| element(input.x)), others(&|(_, input)| quad(input.w)));
    let u_others = others(&|&(u, _)| quad(u));
    let biases = makes.first().map_or(0, |(_, input)| input.biases.iter().flatten().count());
    let alike = p_others.1 == u_others.1 || !shape.cell.peepholes;
    assert!(alike, "parameters lie at equal distances");
    for (i, (_, next)) in [w, bias(0), bias(1)].into_iter().enumerate() {
        assert!(i > biases || next == u_others.1, "parameters lie at equal distances");
    }
    let params = Params {
        batch: element(shape.batch),
        hidden: element(shape.hidden),
        terms: element(shape.terms),
        h_row: element(shape.h_row),
        lengths_start: padding.start(),
        t: t.0,
        t_next: t.1,
        u_start: u.0,
        u_next: u.1,
        gates_start: gates.0,
        gates_next: gates.1,
        h_prev_start: h_prev.0,
        h_prev_next: h_prev.1,
        h_start: h.0,
        h_next: h.1,
        c_prev_start: c_prev.0,
        c_prev_next: c_prev.1,
        c_start: c.0,
        c_next: c.1,
        z_start: z.0,
        z_next: z.1,
        input_from: element(input_from),
        x_start: x.0,
        x_next: x.1,
        biases: element(biases),
        others_next: u_others.1,
        u_others: u_others.0,
        w_others: w.0,
        bias_1_others: bias(0).0,
        bias_2_others: bias(1).0,
        p_start: p.0,
        p_next: p.1,
        p_others: p_others.0,
        key_start: shape.key.map_or(0, |key| key.start()),
        place: place.0,
        place_next: place.1,
        masked: element(shape.masked),
    };
    assert!(!at.is_empty(), "a launch without a timestep");
    let projection = at[0].z.is_some();
    assert!(at.iter().all(|at| at.z.is_some() == projection), "some have a projection");
    let has = |input: &InputAt, i: usize| input.biases[i].is_some() == (i < biases);
    let alike = makes.iter().all(|(_, input)| has(input, 0) && has(input, 1));
    assert!(alike, "some have other biases");
    Dispatch {
        kernel: LSTM_STEP_FORWARD,
        variant: 0,
        constants: vec![
            ("LENGTHS", padding.flag()),
            ("PROJECTION", flag(projection)),
            ("KEEP", flag(keep)),
            ("INPUT", flag(input_from < at.len())),
        ]
        .into_iter()
        .chain(cell::constants(&shape.cell, shape.key.is_some()))
        .collect(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![
            bound.u,
            cell::rows_of(padding, shape.key, bound.u),
            bound.gates,
            bound.h,
            bound.c,
            bound.z,
            bound.p.unwrap_or(bound.u),
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
        let others = |start: u32| 4 * of(start, self.others_next);
        let makes = n >= self.input_from;
        let bias = |i: u32, start: u32| (self.biases > i).then(|| others(start));
        At {
            t: of(self.t, self.t_next),
            u: if makes { others(self.u_others) } else { 4 * of(self.u_start, self.u_next) },
            gates: 4 * of(self.gates_start, self.gates_next),
            h_prev: of(self.h_prev_start, self.h_prev_next),
            h: of(self.h_start, self.h_next),
            c_prev: of(self.c_prev_start, self.c_prev_next),
            c: of(self.c_start, self.c_next),
            z: Some(of(self.z_start, self.z_next)),
            input: makes.then(|| InputAt {
                x: of(self.x_start, self.x_next),
                w: others(self.w_others),
                biases: [bias(0, self.bias_1_others), bias(1, self.bias_2_others)],
            }),
            p: if makes { others(self.p_others) } else { 4 * of(self.p_start, self.p_next) },
            place: of(self.place, self.place_next),
        }
    }
}

/// Calls `each` with the operands of every timestep, in the order that the twin takes.
fn with<R: Real>(
    call: Call<'_, '_, R>,
    each: impl Fn(&StepForward<'_, R>, &[R], &mut [R], &[R], &[R], &mut [R], &mut [R]),
) {
    let p: Params = call.params();
    let is = |constant| call.dispatch.constant(constant) != 0.0;
    let (projected, keep) = (is("PROJECTION"), is("KEEP"));
    let (batch, hidden) = (p.batch as usize, p.hidden as usize);
    let (terms, h_row, slot) = (p.terms as usize, p.h_row as usize, batch * hidden);
    // The last row of a slot may end before the next slot's first.
    let in_h = |width: usize| (batch - 1) * h_row + width;
    let [u, lengths, gates, h, c, z, p_all] = call.args else { unreachable!("seven bindings") };
    let (cell, peepholes) = (cell::of(call.dispatch), input(p_all, 0));
    let key = cell::key(call.dispatch, input(lengths, p.key_start));
    let (u, lengths) = (input(u, 0), input(lengths, p.lengths_start));
    let masked = p.masked as usize;
    let (gates, all_h, c, z) = (output(gates, 0), output(h, 0), output(c, 0), output(z, 0));
    for n in 0..call.dispatch.grid[2] {
        let at = p.at(n);
        let h = &mut *all_h;
        let draws = key.map(|key| Draws { key, place: at.place as u32, t: at.t as u32, row: 0 });
        // Copies, where a step reads hidden states in two ways.
        let copied =
            |from: usize, is: bool| if is { h[from..][..in_h(terms)].to_vec() } else { Vec::new() };
        let zoned = copied(at.h_prev, cell.zoneout.is_some() && !projected);
        let product = copied(at.h_prev + masked, masked > 0);
        let step = StepForward {
            cell,
            draws,
            zoned: &zoned,
            peepholes: if cell.peepholes { &peepholes[at.p..][..4 * hidden] } else { &[] },
            hidden,
            terms,
            h_prev_row: h_row,
            h_row: if projected { hidden } else { h_row },
            lengths: is("LENGTHS").then_some(Lengths { lengths, t: at.t }),
        };
        // Sums that aren't in the gates, or don't become activated gates there.
        let mut sums = Vec::new();
        if let Some(input) = at.input {
            sums.resize(4 * slot, R::zero());
            let biases: Vec<&[R]> = input.biases.iter().flatten().map(|&bias| &u[bias..]).collect();
            let product =
                Product { lda: h_row, ..Product::dense(batch, 4 * hidden, terms, false, false) };
            reference::matmul(&product, &h[input.x..], &u[input.w..], &biases, &mut sums);
        } else if !keep {
            sums.extend_from_slice(&gates[at.gates..][..4 * slot]);
        }
        let (c_prev, c) = apart(c, (at.c_prev, slot), (at.c, slot));
        let (h_prev, h) = match at.z.filter(|_| projected) {
            Some(z_start) => (&h[at.h_prev..][..in_h(terms)], &mut z[z_start..][..slot]),
            None => apart(h, (at.h_prev, in_h(hidden)), (at.h, in_h(hidden))),
        };
        let h_prev = if masked > 0 { &product } else { h_prev };
        let u = &u[at.u..];
        if at.input.is_none() && keep {
            each(&step, u, &mut gates[at.gates..][..4 * slot], h_prev, c_prev, h, c);
        } else {
            each(&step, u, &mut sums, h_prev, c_prev, h, c);
            for b in (0..batch).filter(|&b| keep && !step.lengths.is_some_and(|all| all.ended(b))) {
                let row = 4 * hidden;
                gates[at.gates + b * row..][..row].copy_from_slice(&sums[b * row..][..row]);
            }
        }
        if let Some(draws) = draws.filter(|_| masked > 0) {
            let after = MaskedRows { p: cell.recurrent_dropout, draws, lengths: step.lengths };
            after.write(all_h, (at.h, masked), (batch, h_row, terms));
        }
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
                write("gates", "[.., T, B, H] of (i, f, g, o)"),
                write("h", "[.., B, .., K]"),
                write("c", "[.., B, H]"),
                write("z", "[.., B, H]"),
                read("p", "[H] of (i, f, 0, o)"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: cut::step_variants!("lstm_step_forward", [8, 32, 1]),
        work: Some(|d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            let products =
                u64::from(d.grid[2]) + u64::from(d.grid[2] - p.input_from.min(d.grid[2]));
            4 * products * u64::from(p.batch) * u64::from(p.hidden) * u64::from(p.terms)
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
