//! Every kernel of a device against its f64 twin.

use std::collections::BTreeSet;
use std::sync::Arc;

use gatefold::Device;
use gatefold::command::{
    BufferId, BufferSpec, Command, Dispatch, Executor, Operation, Owner, Program, Range,
};
use gatefold::kernels::matmul::Sums;
use gatefold::kernels::{self, Directions, Padding, Tile, View, Walker, matmul};
use gatefold::lockstep::lockstep;
use gatefold::reference::{self, Cell, Dropout, Panels, Product, SlotAtLength, Strides, philox};

use super::CHECKS;
use super::cells::spread;
use super::random::{POISON, SIZES, gates, normal};

/// One launch over buffers with given contents.
#[derive(Clone, Default)]
pub struct Launch {
    pub program: Program,
    pub contents: Vec<Vec<f32>>,
}

impl Launch {
    pub fn new() -> Launch {
        Launch::default()
    }

    /// A buffer with these contents; the operand starts at `start`.
    pub fn buffer(&mut self, contents: Vec<f32>, start: usize) -> View {
        let (name, len) = (format!("buffer {}", self.contents.len()), contents.len());
        let shape = format!("[{len}]");
        let id =
            self.program.add(BufferSpec { name, shape, len, slots: 1, owner: Owner::Workspace });
        self.contents.push(contents);
        View { range: Range { buffer: id, start: 0, len }, start }
    }

    /// A buffer that has to be overwritten.
    pub fn poisoned(&mut self, len: usize) -> View {
        self.buffer(vec![POISON; len], 0)
    }

    /// What a buffer holds after one run.
    pub fn run(mut self, device: &Device, dispatch: Dispatch, buffer: u32) -> Vec<f32> {
        let (label, operation) = ("launch".to_owned(), Operation::Dispatch(dispatch));
        self.program.commands.push(Command { label, operation });
        let session = device.session(&Arc::new(self.program.clone())).unwrap();
        let name = |id: u32| &self.program.spec(BufferId(id)).name;
        for (id, contents) in (0..).zip(&self.contents) {
            session.write(name(id), contents).unwrap();
        }
        session.run().unwrap();
        session.read(name(buffer)).unwrap()
    }

    /// Runs on the device and beside the twin; panics where they differ.
    pub fn check(self, device: &Device, dispatch: Dispatch, what: String) {
        self.check_unless(device, dispatch, what, false);
    }

    /// The same; `idle` where it is right that nothing changes.
    pub fn check_unless(mut self, device: &Device, dispatch: Dispatch, what: String, idle: bool) {
        self.program
            .commands
            .push(Command { label: what, operation: Operation::Dispatch(dispatch) });
        let names: Vec<String> = self.program.buffers.iter().map(|b| b.name.clone()).collect();
        let inputs: Vec<(&str, &[f32])> =
            names.iter().zip(&self.contents).map(|(n, c)| (n.as_str(), c.as_slice())).collect();
        // SAFETY: what the checks of this file launch keeps to its buffers; on a device that compiles all
        // checks in, the same launches run with them.
        let program = Arc::new(unsafe { self.program.clone().trusted(device.table()) });
        if let Err(error) = lockstep(device, &program, &inputs) {
            panic!("{error}");
        }
        // The comparison itself: against zeros, something was written.
        let session = device.session(&program).unwrap();
        for (name, values) in &inputs {
            session.write(name, values).unwrap();
        }
        session.run().unwrap();
        let written =
            (0..names.len()).any(|i| session.read(&names[i]).unwrap() != self.contents[i]);
        assert!(written || idle, "{}: the launch wrote nothing", self.program.commands[0].label);
    }
}

/// Sizes with awkward neighbours: at position `i` three that differ.
pub fn sizes(i: usize) -> (usize, usize, usize) {
    (SIZES[i % 12], SIZES[(i + 5) % 12], SIZES[(i + 9) % 12])
}

pub fn matmul(device: &Device) {
    let mut shapes: Vec<(usize, usize, usize)> = (0..12).map(sizes).collect();
    // More than a tile each way; more terms than pass at a time, and with few rows.
    shapes.extend([(150, 90, 70), (14, 70, 530), (3, 130, 270)]);
    // Some that come in fours.
    shapes.extend([(44, 132, 20), (3, 131, 7), (8, 64, 4), (3, 130, 7), (28, 68, 100)]);
    if device.limits().executor == Executor::Cpu {
        // Large enough for threads; few enough rows for a split over columns, and too many.
        shapes.extend([(14, 300, 1030), (129, 257, 300), (513, 300, 300)]);
    }
    for (i, (m, n, k)) in shapes.into_iter().enumerate() {
        // Every other combination of a shape, and the others of the next.
        for flags in (0..24).filter(|flags| (flags + i) % 2 == 0) {
            let (transpose_a, transpose_b) = (flags & 1 == 1, flags & 2 == 2);
            let (accumulate, biases) = (flags & 4 == 4, flags / 8);
            // Each is compiled: a software driver has sums that are added with half of the others, in which
            // every two of the four meet in each way.
            let odd = (flags + flags / 2 + biases) % 2 == 1;
            if device.limits().software && accumulate != odd {
                continue;
            }
            let mut p = Product { accumulate, ..Product::dense(m, n, k, transpose_a, transpose_b) };
            // Some operands have rows longer than they use.
            (p.lda, p.ldb, p.ldc) = (p.lda + i % 2, p.ldb + i % 2 * 3, p.ldc + i % 2);
            let (rows_a, rows_b) =
                (if transpose_a { k } else { m }, if transpose_b { n } else { k });
            let mut launch = Launch::new();
            // Where everything else comes in fours, so do the starts.
            let (before_a, before_b) = if i % 2 == 0 { (4, 8) } else { (3, 2) };
            let a = launch.buffer(normal(before_a + rows_a * p.lda, 1.0, 1), before_a);
            let b = launch.buffer(normal(before_b + rows_b * p.ldb, 1.0, 2), before_b);
            let bias: Vec<View> =
                (0..biases).map(|i| launch.buffer(normal(n + 1, 1.0, 5), i)).collect();
            // Behind C the sums of B's columns or of A's rows.
            let most = m.max(n);
            let len = (m * p.ldc + 2 * most + 8).next_multiple_of(4);
            let sums = [m * p.ldc, (m * p.ldc + most + 4) / 4 * 4];
            let c = match accumulate {
                true => launch.buffer(normal(len, 1.0, 3), 0),
                false => launch.poisoned(len),
            };
            let what = format!("{p:?}, {biases} biases");
            let dispatch = kernels::matmul::dispatch(&p, a, b, &bias, c);
            let of = if flags & 4 == 4 { Sums::Rows } else { Sums::Columns };
            let dispatch = matmul::with_sums(dispatch, of, &sums[..(i + flags) % 3]);
            check_product(device, launch, dispatch, what);
            if biases == 0 {
                matmul_pair(device, &p, rows_a, rows_b);
                matmul_slices(device, &p, rows_a, rows_b, i);
            }
            if !transpose_b {
                matmul_packed(device, &p, biases);
            }
        }
    }
}

/// A product, cut in every way that the device can run.
fn check_product(device: &Device, launch: Launch, dispatch: Dispatch, what: String) {
    check_tiles(device, launch, dispatch, kernels::matmul::with_tile, what);
}

/// A launch, cut in every way that the device can run.
pub fn check_tiles(
    device: &Device,
    launch: Launch,
    dispatch: Dispatch,
    with_tile: fn(Dispatch, Tile) -> Dispatch,
    what: String,
) {
    // Not every way is for every launch.
    let mut variants = BTreeSet::new();
    for tile in Tile::ALL.into_iter().filter(|tile| tile.runs(&device.limits())) {
        let dispatch = with_tile(dispatch.clone(), tile);
        if !variants.insert(dispatch.variant) {
            continue;
        }
        let what = format!("{tile:?} ({}), {what}", dispatch.variant);
        launch.clone().check(device, dispatch, what);
    }
}

/// A walk, cut in every way that takes it and that the device can run.
fn check_walkers(
    device: &Device,
    launch: Launch,
    dispatch: Dispatch,
    (walkers, hidden): (&[Walker], usize),
    with_walker: fn(Dispatch, Walker) -> Dispatch,
    what: String,
) {
    let panels = dispatch.constant("PACKED") != 0.0 || dispatch.constant("INPUT") != 0.0;
    let projected = dispatch.constant("PROJECTION") != 0.0;
    let takes = |walker: Walker| match walker {
        // On the CPU the variants are all one.
        Walker::Rows => !projected || device.limits().executor == Executor::Cpu,
        _ => !panels && hidden <= walker.units() && walker.runs(&device.limits()),
    };
    // Of each kind the smallest, and of some all.
    let smallest = |walker: Walker| {
        let fits = |&&other: &&Walker| {
            let kinds = [walker, other].map(|walker| std::mem::discriminant(&walker));
            kinds[0] == kinds[1] && other.rows() == walker.rows() && hidden <= other.units()
        };
        walkers.iter().filter(fits).all(|other| walker.units() <= other.units())
    };
    for &walker in walkers.iter().filter(|&&w| takes(w) && (smallest(w) || hidden % 4 == 3)) {
        let dispatch = with_walker(dispatch.clone(), walker);
        launch.clone().check(device, dispatch, format!("{walker:?}, {what}"));
    }
}

/// The same with B in panels.
fn matmul_packed(device: &Device, p: &Product, biases: usize) {
    let p = Product { accumulate: p.accumulate, lda: p.lda, ldc: p.ldc, ..p.packed() };
    let panels = Panels::dense(p.k, p.n, false);
    let mut packed = vec![POISON; panels.len()];
    reference::pack_panels(&panels, &normal(p.k * p.n, 1.0, 2), &mut packed);
    let mut launch = Launch::new();
    let a = launch.buffer(normal(p.lda * if p.transpose_a { p.k } else { p.m }, 1.0, 1), 0);
    let b = launch.buffer([vec![POISON; 4], packed].concat(), 4);
    let bias: Vec<View> = (0..biases).map(|i| launch.buffer(normal(p.n + 1, 1.0, 5), i)).collect();
    let c = launch.buffer(normal(p.m * p.ldc, 1.0, 3), 0);
    let dispatch = kernels::matmul::dispatch(&p, a, b, &bias, c);
    launch.check(device, dispatch, format!("{p:?}, {biases} biases"));
}

/// The sums of a product in slices, with those of B's columns or A's rows behind them.
fn matmul_slices(device: &Device, p: &Product, rows_a: usize, rows_b: usize, i: usize) {
    let terms = matmul::TILE_K * (1 + i % 3);
    let (slices, stride) = (p.k.div_ceil(terms), (p.m * p.ldc).next_multiple_of(4));
    let mut launch = Launch::new();
    let a = launch.buffer(normal(rows_a * p.lda, 1.0, 1), 0);
    let b = launch.buffer(normal(rows_b * p.ldb, 1.0, 2), 0);
    let (of, count) = if i % 4 < 2 { (Sums::Rows, p.m) } else { (Sums::Columns, p.n) };
    let len = (slices * (stride + count) + 4).next_multiple_of(4);
    let c = launch.buffer(normal(len, 1.0, 3), 0);
    let dispatch = matmul::dispatch(p, a, b, &[], c);
    let dispatch = matmul::with_sums(dispatch, of, &[slices * stride][..i % 2]);
    let dispatch = matmul::with_slices(dispatch, terms, stride);
    check_product(device, launch, dispatch, format!("slices of {terms} of {p:?}"));
}

/// Two products in one launch, the second's operands before the first's in two of the buffers.
fn matmul_pair(device: &Device, p: &Product, rows_a: usize, rows_b: usize) {
    let (len_a, len_b, len_c) = (rows_a * p.lda, rows_b * p.ldb, p.m * p.ldc);
    let mut launch = Launch::new();
    let a = launch.buffer(normal(2 * len_a, 1.0, 1), len_a);
    let b = launch.buffer(normal(2 * len_b + 1, 1.0, 2), 0);
    let c = launch.buffer(normal(2 * len_c + 3, 1.0, 3), len_c + 3);
    let dispatch = kernels::matmul::dispatch_pair(p, a, b, c, [0, len_b + 1, 1]);
    check_product(device, launch, dispatch, format!("a pair of {p:?}"));
}

/// Which rows of a batch have ended before a step, in every mixture; `None` where none can.
pub fn lengths(launch: &mut Launch, batch: usize, padded: bool) -> Padding {
    let values = (0..batch).map(|b| ((b + 1) % 3 * 4) as f32).collect();
    Padding(padded.then(|| launch.buffer([vec![POISON; 2], values].concat(), 2)))
}

/// The same, and the key of what a cell draws in front of them, in one buffer.
fn rows(launch: &mut Launch, batch: usize, padded: bool, cell: Cell) -> (Padding, Option<View>) {
    if !draws(cell) {
        return (lengths(launch, batch, padded), None);
    }
    let key = Dropout::halves(Dropout::key(7, 1)).to_vec();
    let values = (0..batch).map(|b| ((b + 1) % 3 * 4) as f32).collect();
    let view = launch.buffer([vec![POISON; 2], key, values].concat(), 2);
    (Padding(padded.then_some(View { start: 6, ..view })), Some(view))
}

/// Hidden states, and behind them masked ones where a cell drops some: how far behind.
fn with_masked(h: Vec<f32>, cell: Cell) -> (Vec<f32>, usize) {
    if cell == cell.recurrent_dropout(0.0) {
        return (h, 0);
    }
    let (len, masked) = (h.len(), normal(h.len(), 0.7, 141));
    ([h, masked].concat(), len)
}

/// Gradients of cell states, and behind each of hidden states what a zoneout keeps: how far behind.
fn with_zoned(dc: Vec<f32>, cell: Cell, size: f32) -> (Vec<f32>, usize) {
    if !has_zoneout(cell) {
        return (dc, 0);
    }
    let (len, zoned) = (dc.len(), normal(dc.len(), size, 151));
    ([dc, zoned].concat(), len)
}

/// Whether timesteps of a cell draw anything.
pub fn draws(cell: Cell) -> bool {
    cell.input_dropout(0.0).is_random()
}

/// Whether a cell has a zoneout.
fn has_zoneout(cell: Cell) -> bool {
    cell.to_string().contains("zoneout")
}

/// What one direction or two find in their buffers: `parts` a direction, each as `contents` says.
fn parts(
    launch: &mut Launch,
    directions: usize,
    contents: impl Fn(u64) -> Vec<f32>,
) -> (Range, Vec<usize>) {
    let all: Vec<Vec<f32>> = (0..directions).map(|d| contents(d as u64)).collect();
    let start = |d: usize| 4 + all[..d].iter().map(Vec::len).sum::<usize>();
    let starts = (0..directions).map(start).collect();
    let view = launch.buffer([vec![POISON; 4], all.concat()].concat(), 0);
    (view.range, starts)
}

fn both<T: Copy>(at: impl Fn(usize) -> T, directions: usize) -> Directions<T> {
    if directions == 1 { Directions::One(at(0)) } else { Directions::Both(at(0), at(1)) }
}

pub fn lstm_step_forward(device: &Device) {
    // The last is large enough for the CPU executor to use threads.
    let shapes = (0..12).map(|i| (sizes(i).0, sizes(i).1)).chain([(37, 170)]);
    for (batch, hidden) in shapes {
        (0..8).for_each(|flags| step_forward(device, (batch, hidden), flags, Cell::new()));
    }
}

pub fn step_forward(device: &Device, (batch, hidden): (usize, usize), flags: usize, cell: Cell) {
    let (directions, padded, projected) =
        (1 + flags % 2, flags & 2 == 2, flags & 4 == 4 && hidden > 1 && !draws(cell));
    let terms = if projected { hidden.div_ceil(2) } else { hidden };
    let (slot, h_row) = (batch * hidden, directions * terms);
    let h_slot = batch * h_row;
    let mut launch = Launch::new();
    // The input's share and the recurrent product have standard deviation 2 together.
    let std = 2.0 / (terms as f32).sqrt();
    let (u, u_at) = parts(&mut launch, directions, |d| normal(4 * terms * hidden, std, 1 + d));
    let (gates, gates_at) =
        parts(&mut launch, directions, |d| normal(4 * slot, spread(cell), 11 + d));
    // Three slots: forward goes from 0 to 1, reverse from 2 to 1, as in a plan.
    let given = normal(h_slot, 0.7, 21);
    let (h, masked) = with_masked([given.clone(), vec![POISON; h_slot], given].concat(), cell);
    let h = launch.buffer(h, 0);
    let (c, c_at) = parts(&mut launch, directions, |d| {
        [normal(slot, 1.5, 31 + d), vec![POISON; slot]].concat()
    });
    let (z, z_at) = parts(&mut launch, directions, |_| vec![POISON; slot]);
    let (padding, key) = rows(&mut launch, batch, padded, cell);
    let (p, p_at) = peepholes(&mut launch, directions, hidden, cell);
    let at = |d: usize| kernels::lstm_step_forward::At {
        p: p_at[d],
        place: 2 + d,
        t: 3 + d,
        u: u_at[d],
        gates: gates_at[d],
        h_prev: 2 * d * h_slot + d * terms,
        h: h_slot + d * terms,
        c_prev: c_at[d],
        c: c_at[d] + slot,
        z: projected.then_some(z_at[d]),
        input: None,
    };
    let shape =
        kernels::lstm_step_forward::Shape { cell, key, batch, hidden, terms, h_row, masked };
    let h = h.range;
    let bound = kernels::lstm_step_forward::Bindings { u, gates, h, c, z, p };
    let at: Vec<_> = (0..directions).map(at).collect();
    // Every other one leaves the gates as they are.
    let keep = (batch + hidden + flags / 2).is_multiple_of(2);
    let dispatch = kernels::lstm_step_forward::dispatch(&shape, &bound, &at, keep, padding);
    let what = format!("B = {batch}, H = {hidden}, flags {flags}, {cell}");
    check_tiles(device, launch, dispatch, kernels::lstm_step_forward::with_tile, what);
}

/// Peepholes of a direction each, where the cell has some.
fn peepholes(
    launch: &mut Launch,
    directions: usize,
    hidden: usize,
    cell: Cell,
) -> (Option<Range>, Vec<usize>) {
    if !has_peepholes(cell) {
        return (None, vec![0; directions]);
    }
    let (range, starts) = parts(launch, directions, |d| peepholes_of(hidden, d));
    (Some(range), starts)
}

/// Whether a cell has peepholes.
pub fn has_peepholes(cell: Cell) -> bool {
    cell == cell.peepholes(true)
}

/// `[H]` of (i, f, 0, o).
fn peepholes_of(hidden: usize, d: u64) -> Vec<f32> {
    let mut all = normal(4 * hidden, 0.7, 131 + d);
    all.iter_mut().skip(2).step_by(4).for_each(|unused| *unused = 0.0);
    all
}

/// Kinds of a walk: one direction, two, padded, in panels, and the two ways that are both.
fn walks(i: usize) -> impl Iterator<Item = (usize, bool, bool, bool)> {
    (0..16)
        .filter(move |flags| (flags + i) % 3 != 1)
        .map(|flags| (1 + flags % 2, flags & 2 == 2, flags & 4 == 4, flags & 8 == 8))
}

/// The shapes of walks: awkward ones, some for the CPU executor's tasks (several; with more panels than
/// one that few rows share), each with a number of timesteps.
fn walk_shapes() -> impl Iterator<Item = (usize, usize, usize)> {
    let large = [(37, 66, 7), (3, 440, 3), (1, 730, 2), (7, 300, 2), (19, 16, 9)];
    (0..12).map(|i| (sizes(i).0, sizes(i).1, 1 + i % 4)).chain(large)
}

/// Recurrent weights for each direction, in panels where they are.
fn recurrent_weights(
    launch: &mut Launch,
    directions: usize,
    (terms, hidden): (usize, usize),
    (packed, transpose): (bool, bool),
    spread: f32,
) -> (Range, Vec<usize>) {
    let std = spread / (terms as f32).sqrt();
    parts(launch, directions, |d| {
        let weights = normal(4 * terms * hidden, std, 1 + d);
        if !packed {
            return weights;
        }
        let panels = match transpose {
            false => Panels::dense(hidden, 4 * hidden, transpose),
            true => Panels::dense(4 * hidden, hidden, transpose),
        };
        let mut out = vec![POISON; panels.len()];
        reference::pack_panels(&panels, &weights, &mut out);
        out
    })
}

/// A projection's weights for each direction, `[H, P]`, rows filled up to quads; a little where there is
/// none.
/// Behind each, its peepholes.
fn projection_weights(
    launch: &mut Launch,
    directions: usize,
    (hidden, projection): (usize, Option<usize>),
    cell: Cell,
) -> (Range, Vec<usize>, Vec<usize>) {
    let features = projection.unwrap_or(1);
    let row = features.next_multiple_of(4);
    let std = 1.0 / (hidden as f32).sqrt();
    let own = if has_peepholes(cell) { 4 * hidden } else { 0 };
    let (range, starts) = parts(launch, directions, |d| {
        let mut weights = normal(hidden * row, std, 101 + d);
        for filled in weights.chunks_mut(row) {
            filled[features..].fill(0.0);
        }
        weights.extend(&peepholes_of(hidden, d)[..own]);
        weights
    });
    let peepholes = starts.iter().map(|start| start + hidden * row).collect();
    (range, starts, peepholes)
}

pub fn pack_panels(device: &Device) {
    for (i, (k, n, extra)) in (0..12).map(sizes).chain([(66, 300, 1)]).enumerate() {
        for flags in 0..8 {
            let (transpose, among_others, accumulate) =
                (flags & 1 == 1, flags & 2 == 2, flags & 4 == 4);
            let dense = Panels::dense(k, n, transpose);
            let first = if among_others { 1 + extra } else { 0 };
            let rows = k + first + if among_others { i % 3 } else { 0 };
            let panels = Panels { ldb: dense.ldb + extra % 3, rows, first, accumulate, ..dense };
            let mut launch = Launch::new();
            let stored = if transpose { n } else { k };
            let b = launch.buffer(normal(i % 4 + stored * panels.ldb, 1.0, 1), i % 4);
            // What other matrices have left there stays.
            let out = launch.buffer(normal(panels.len(), 1.0, 2), 0);
            launch.check(
                device,
                kernels::pack_panels::dispatch(&panels, b, out),
                format!("{panels:?}"),
            );
        }
    }
}

pub fn lstm_sequence_forward(device: &Device) {
    for (i, (batch, hidden, steps)) in walk_shapes().enumerate() {
        for (directions, padded, packed, keep) in walks(i) {
            let flags = (directions, padded, packed, keep);
            walk_forward(device, (batch, hidden, steps), flags, (None, None), Cell::new());
            let projection = 1 + (hidden / 2 + i) % hidden;
            if !packed && projection < hidden && hidden <= 64 {
                walk_forward(
                    device,
                    (batch, hidden, steps),
                    flags,
                    (None, Some(projection)),
                    Cell::new(),
                );
            }
            if packed {
                let input = 1 + (i + directions) % 9 * 4;
                walk_forward(
                    device,
                    (batch, hidden, steps),
                    flags,
                    (Some(input), None),
                    Cell::new(),
                );
            }
        }
    }
}

/// With an input, its share of the gates is made on the way; with a projection, hidden states have as
/// many features.
pub fn walk_forward(
    device: &Device,
    (batch, hidden, steps): (usize, usize, usize),
    (directions, padded, packed, keep): (usize, bool, bool, bool),
    (input, projection): (Option<usize>, Option<usize>),
    cell: Cell,
) {
    let terms = projection.unwrap_or(hidden);
    let (slot, h_row) = (batch * hidden, directions * terms);
    let h_slot = batch * h_row;
    let spread = spread(cell);
    let mut launch = Launch::new();
    let (u, u_at) = match input {
        None => {
            recurrent_weights(&mut launch, directions, (terms, hidden), (packed, false), spread)
        }
        Some(input) => {
            let rows = input + 1 + hidden;
            let std = spread / (rows as f32).sqrt();
            parts(&mut launch, directions, |d| {
                let panels = Panels::dense(rows, 4 * hidden, false);
                let mut out = vec![POISON; panels.len()];
                let weights = normal(4 * hidden * rows, std, 1 + d);
                reference::pack_panels(&panels, &weights, &mut out);
                out
            })
        }
    };
    let x_slot = batch * input.unwrap_or(0);
    let x = input.map(|_| parts(&mut launch, directions, |d| normal(x_slot * steps, 1.0, 71 + d)));
    let (gates, gates_at) =
        parts(&mut launch, directions, |d| normal(4 * slot * steps, spread, 11 + d));
    // As in a plan: forward comes from slot 0, reverse from the last one. A row that begins in the
    // middle of a reverse walk finds what stood there.
    let before = |len: usize| if padded { normal(len, 0.7, 81) } else { vec![POISON; len] };
    let given = normal(h_slot, 0.7, 21);
    let between = before(h_slot * steps);
    let last = if directions == 2 { given.clone() } else { Vec::new() };
    let (h, masked) = with_masked([given, between, last].concat(), cell);
    let h = launch.buffer(h, 0);
    let (c, c_at) = parts(&mut launch, directions, |d| {
        let (given, rest) = (normal(slot, 1.5, 31 + d), before(slot * steps));
        if d == 0 { [given, rest].concat() } else { [rest, given].concat() }
    });
    let (padding, key) = rows(&mut launch, batch, padded, cell);
    let (w, w_at, p_at) = projection_weights(&mut launch, directions, (hidden, projection), cell);
    // A row that has ended leaves what stands there.
    let (z, z_at) = parts(&mut launch, directions, |d| normal(slot * steps, 0.7, 91 + d));
    let at = |d: usize| kernels::lstm_sequence_forward::At {
        back: d == 1,
        // Some rows end before the walk, some in it, some not at all.
        t: if d == 0 { 3 } else { 2 + steps },
        u: u_at[d],
        gates: gates_at[d] + d * (steps - 1) * 4 * slot,
        h_prev: d * ((steps + 1) * h_slot + terms),
        c_prev: c_at[d] + d * steps * slot,
        x: x.as_ref().map_or(0, |(_, at)| at[d] + d * (steps - 1) * x_slot),
        w: w_at[d],
        z: z_at[d] + d * (steps - 1) * slot,
        p: p_at[d],
        place: 2 + d,
    };
    let shape = kernels::lstm_sequence_forward::Shape {
        cell,
        key,
        masked,
        batch,
        hidden,
        steps,
        h_row,
        projection,
        packed,
        input,
        keep,
    };
    let x = x.as_ref().map(|(range, _)| *range);
    let w = (projection.is_some() || has_peepholes(cell)).then_some(w);
    let bound = kernels::lstm_sequence_forward::Bindings { u, x, gates, h: h.range, c, w, z };
    let dispatch =
        kernels::lstm_sequence_forward::dispatch(&shape, &bound, both(at, directions), padding);
    let what = format!(
        "B = {batch}, I = {input:?}, H = {hidden}, T = {steps}, D = {directions}, padded {padded}, packed {packed}, kept {keep}, projection {projection:?}, {cell}"
    );
    use kernels::lstm_sequence_forward::{WALKERS, with_walker};
    check_walkers(device, launch, dispatch, (&WALKERS, hidden), with_walker, what);
}

pub fn lstm_sequence_backward(device: &Device) {
    for (i, (batch, hidden, steps)) in walk_shapes().enumerate() {
        for (directions, padded, packed, incoming) in walks(i) {
            let flags = (directions, padded, packed, incoming);
            walk_backward(device, i, (batch, hidden, steps), flags, None, Cell::new());
            let projection = 1 + (hidden / 2 + i) % hidden;
            if !packed && projection < hidden && hidden <= 64 {
                walk_backward(
                    device,
                    i,
                    (batch, hidden, steps),
                    flags,
                    Some(projection),
                    Cell::new(),
                );
            }
        }
    }
}

pub fn walk_backward(
    device: &Device,
    i: usize,
    (batch, hidden, steps): (usize, usize, usize),
    (directions, padded, packed, incoming): (usize, bool, bool, bool),
    projection: Option<usize>,
    cell: Cell,
) {
    let terms = projection.unwrap_or(hidden);
    let (slot, dy_row) = (batch * hidden, directions * hidden + i % 2);
    let before = usize::from(incoming);
    let mut launch = Launch::new();
    let (w, w_at) =
        recurrent_weights(&mut launch, directions, (terms, hidden), (packed, true), spread(cell));
    let (c, c_at) = parts(&mut launch, directions, |d| normal(slot * (steps + 1), 1.0, 31 + d));
    let dy = launch.buffer(normal(steps * batch * dy_row, 1.0, 41), 0);
    // Gradients where a step ran before the walk, activated gates elsewhere.
    let (gates, gates_at) = parts(&mut launch, directions, |d| {
        let given = normal(4 * slot * before, 0.5, 51 + d);
        let rest = gates(4 * slot * steps, 55 + d);
        if d == 0 { [rest, given].concat() } else { [given, rest].concat() }
    });
    let dc_of = |d: u64| with_zoned(normal(slot, 1.0, 61 + d), cell, 1.0);
    let zoned = dc_of(0).1;
    let (dc, dc_at) = parts(&mut launch, directions, |d| dc_of(d).0);
    let (padding, key) = rows(&mut launch, batch, padded, cell);
    let (weights, weights_at, p_at) =
        projection_weights(&mut launch, directions, (hidden, projection), cell);
    let p_row = terms.next_multiple_of(4);
    let (dp, dp_at) = parts(&mut launch, directions, |d| {
        let mut dp = normal(steps * batch * p_row, 1.0, 111 + d);
        dp.chunks_mut(p_row).for_each(|row| row[terms..].fill(0.0));
        dp
    });
    // Of the forward direction, the walk is back.
    let last = steps - 1;
    let at = |d: usize| kernels::lstm_sequence_backward::At {
        back: d == 0,
        t: if d == 0 { 3 + last } else { 3 },
        w: w_at[d],
        gates: gates_at[d] + if d == 0 { last } else { before } * 4 * slot,
        c: c_at[d] + if d == 0 { steps * slot } else { 0 },
        dy: d * hidden + if d == 0 { last } else { 0 } * batch * dy_row,
        dc: dc_at[d],
        projection: weights_at[d],
        dp: dp_at[d] + if d == 0 { last } else { 0 } * batch * p_row,
        p: p_at[d],
        place: 2 + d,
    };
    let shape = kernels::lstm_sequence_backward::Shape {
        cell,
        key,
        zoned,
        batch,
        hidden,
        steps,
        dy_row,
        projection,
        packed,
        incoming,
    };
    let dy = (projection.is_none() && !(i + directions).is_multiple_of(4)).then_some(dy.range);
    let bound = kernels::lstm_sequence_backward::Bindings {
        w,
        c,
        dy,
        gates,
        dc,
        projection: (projection.is_some() || has_peepholes(cell)).then_some(weights),
        dp,
    };
    let at = both(at, directions);
    let dispatch = kernels::lstm_sequence_backward::dispatch(&shape, &bound, at, padding);
    let what = format!(
        "B = {batch}, H = {hidden}, T = {steps}, D = {directions}, padded {padded}, packed {packed}, incoming {incoming}, projection {projection:?}, {cell}"
    );
    use kernels::lstm_sequence_backward::{WALKERS, with_walker};
    check_walkers(device, launch, dispatch, (&WALKERS, hidden), with_walker, what);
}

pub fn lstm_step_backward(device: &Device) {
    let shapes = (0..12).map(|i| (sizes(i).0, sizes(i).1)).chain([(37, 66)]);
    for (batch, hidden) in shapes {
        (0..32).for_each(|flags| step_backward(device, (batch, hidden), flags, Cell::new()));
    }
}

pub fn step_backward(device: &Device, (batch, hidden): (usize, usize), flags: usize, cell: Cell) {
    let (directions, padded, projected) =
        (1 + flags % 2, flags & 2 == 2, flags & 4 == 4 && hidden > 1 && !draws(cell));
    let (last, small) = (flags & 8 == 8, flags & 16 == 16);
    // Gradients of real batches are small.
    let size = if small { 1e-5 } else { 1.0 };
    let terms = if projected { hidden.div_ceil(8) } else { hidden };
    let (slot, dy_row) = (batch * hidden, directions * hidden);
    let mut launch = Launch::new();
    let std = 2.0 / (terms as f32).sqrt();
    let (w, w_at) = parts(&mut launch, directions, |d| normal(4 * terms * hidden, std, 1 + d));
    let (c, c_at) = parts(&mut launch, directions, |d| normal(2 * slot, 1.5, 11 + d));
    let dy = launch.buffer(normal(batch * dy_row, size, 21), 0);
    let (dh, dh_at) = parts(&mut launch, directions, |d| normal(4 * batch * terms, size, 31 + d));
    // What ran after the step has left its gradients; at the last step, nothing did.
    let after = |d: u64| match last || projected {
        true => vec![POISON; 4 * slot],
        false => normal(4 * slot, 0.3 * size, 41 + d),
    };
    let (gates, gates_at) =
        parts(&mut launch, directions, |d| [gates(4 * slot, 51 + d), after(d)].concat());
    let dc_of = |d: u64| with_zoned(normal(slot, size, 61 + d), cell, size);
    let zoned = dc_of(0).1;
    let (dc, dc_at) = parts(&mut launch, directions, |d| dc_of(d).0);
    let (padding, key) = rows(&mut launch, batch, padded, cell);
    let (p, p_at) = peepholes(&mut launch, directions, hidden, cell);
    let at = |d: usize| kernels::lstm_step_backward::At {
        p: p_at[d],
        place: 2 + d,
        t: 3 + d,
        w: w_at[d],
        gates: gates_at[d],
        incoming: match projected {
            true => Some(dh_at[d]),
            false => (!last).then_some(gates_at[d] + 4 * slot),
        },
        c_prev: c_at[d],
        c: c_at[d] + slot,
        dy: (!projected && !flags.is_multiple_of(3)).then_some(d * hidden),
        dc: dc_at[d],
        above: None,
    };
    let shape =
        kernels::lstm_step_backward::Shape { cell, key, batch, hidden, dy_row, terms, zoned };
    let bound = kernels::lstm_step_backward::Bindings {
        w,
        c,
        dy: (!projected).then_some(dy.range),
        dh: projected.then_some(dh),
        gates,
        dc,
        p,
    };
    let at: Vec<_> = (0..directions).map(at).collect();
    let dispatch = kernels::lstm_step_backward::dispatch(&shape, &bound, &at, padding);
    let what = format!("B = {batch}, H = {hidden}, flags {flags}, {cell}");
    check_tiles(device, launch, dispatch, kernels::lstm_step_backward::with_tile, what);
}

pub fn copy_sequence(device: &Device) {
    for i in 0..12 {
        let (steps, batch, width) = sizes(i);
        let (steps, batch) = (steps.min(33), batch.min(33));
        for flags in 0..8 {
            let (padded, accumulate, broadcast) =
                (flags & 1 == 1, flags & 2 == 2, flags & 4 == 4 && flags & 1 == 0);
            let mut launch = Launch::new();
            let mut source = normal(3 + steps * batch * width, 1.0, 1);
            let mut from = Strides::batch_first(steps, width);
            // Rows with gaps between them.
            let mut to = Strides::time_major(batch, width + 2);
            if flags & 3 == 1 {
                std::mem::swap(&mut from, &mut to);
                source = normal(3 + steps * batch * (width + 2), 1.0, 1);
            }
            if broadcast {
                from = Strides { step: 0, row: 0 };
            }
            let values: Vec<f32> = (0..batch).map(|b| (b % (steps + 2)) as f32).collect();
            if padded {
                // What stands after a row's end is nobody's.
                for t in 0..steps {
                    for b in (0..batch).filter(|&b| 1.0 + t as f32 >= values[b]) {
                        source[3 + t * from.step + b * from.row..][..width].fill(f32::NAN);
                    }
                }
            }
            let source = launch.buffer(source, 3);
            let copied = normal(steps * batch * (width + 2), 1.0, 2);
            let copied = launch.buffer(copied, 0);
            let lengths = launch.buffer(values, 0);
            let dispatch = kernels::copy_sequence::dispatch(
                (steps, batch, width),
                (from, source),
                (to, copied),
                (Padding(padded.then_some(lengths)), 1),
                accumulate,
            );
            let what = format!("T = {steps}, B = {batch}, K = {width}, flags {flags}");
            // With a single row of length 1 nothing is added.
            let written = !(padded && accumulate && batch.min(steps + 1) <= 2);
            launch.check_unless(device, dispatch, what, !written);
        }
    }
}

pub fn copy_at_length(device: &Device) {
    use kernels::copy_at_length::Way;

    for i in 0..12 {
        let (slots, batch, width) = sizes(i);
        let slots = slots.min(33);
        for flags in 0..4 {
            for (offset, first) in [(0, 0), (-1, 0), (1, 0), (0, slots / 2)] {
                let accumulate = flags & 1 == 1;
                let way = if flags & 2 == 2 { Way::Scatter } else { Way::Gather };
                let mut launch = Launch::new();
                let strides = Strides::time_major(batch, width + 1);
                let sequence = launch.buffer(normal(slots * strides.step, 1.0, 1), 0);
                let rows = launch.buffer(normal(2 + batch * width, 1.0, 2), 2);
                let lengths: Vec<f32> = (0..batch).map(|b| (b % (slots + 1)) as f32).collect();
                let lengths = launch.buffer(lengths, 0);
                // The longest rows count as shorter ones.
                let longest = slots.saturating_sub(1).max(1);
                let slot = SlotAtLength { longest, offset, first, slots: slots - first };
                let dispatch = kernels::copy_at_length::dispatch(
                    way,
                    (batch, width),
                    slot,
                    lengths,
                    (strides, sequence),
                    (width, rows),
                    accumulate,
                );
                let what = format!("slots {slots}, B = {batch}, K = {width}, {way:?}, {slot:?}");
                // Short sequences may have no slot for any row.
                launch.check_unless(device, dispatch, what, batch < slots || slots < 3);
            }
        }
    }
}

pub fn dropout(device: &Device) {
    for i in 0..12 {
        let (steps, batch, width) = sizes(i);
        let (steps, batch) = (steps.min(7), batch.min(33));
        for probability in [0.0, 0.3, 0.999_999] {
            let mut launch = Launch::new();
            let key = Dropout::halves(Dropout::key(u64::MAX - i as u64, 1 << 40));
            let key = launch.buffer([vec![POISON], key.to_vec()].concat(), 1);
            let x = launch.buffer(normal(5 + steps * batch * width, 1.0, 2), 5);
            let at = [u32::MAX - 1, 7, u32::MAX, 2];
            let size = (steps, batch, width);
            let drop = Dropout::new(probability);
            let dispatch = kernels::dropout::dispatch(drop, at, size, key, x);
            let what = format!("T = {steps}, B = {batch}, K = {width}, p = {probability}");
            launch.check_unless(device, dispatch, what, probability == 0.0);
        }
    }
}

/// The known answers of the generator's authors, word by word: an element is dropped at a
/// threshold just above its word, and kept at the word itself.
pub fn philox_gives_the_known_answers(device: &Device) {
    let answers: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, words) in answers {
        assert_eq!(philox(counter, key), words);
        for (lane, word) in words.into_iter().enumerate() {
            for (threshold, kept) in [(word, true), (word + 1, false)] {
                let mut launch = Launch::new();
                let key = launch.buffer(Dropout::halves(key).to_vec(), 0);
                let x = launch.buffer(vec![1.0; 4], 0);
                let drop = Dropout { threshold, scale: 2.0 };
                let dispatch = kernels::dropout::dispatch(drop, counter, (1, 1, 4), key, x);
                let result = launch.run(device, dispatch, 1)[lane];
                assert_eq!(result, if kept { 2.0 } else { 0.0 }, "{counter:x?}, word {lane}");
            }
        }
    }
}

/// Where sums go: to be overwritten, or added to.
fn summed(launch: &mut Launch, len: usize, add: bool) -> View {
    if add { launch.buffer(normal(len, 1.0, 9), 0) } else { launch.poisoned(len) }
}

pub fn column_sum(device: &Device) {
    for (i, rows) in SIZES.into_iter().chain([256, 257, 1000]).enumerate() {
        let columns = sizes(i).1;
        for chunk in [rows, rows.div_ceil(3)] {
            let mut launch = Launch::new();
            let a = launch.buffer(normal(7 + rows * columns, 1.0, 1), 7);
            let add = i % 2 == 1;
            let out = summed(&mut launch, rows.div_ceil(chunk) * columns, add);
            let dispatch = kernels::column_sum::dispatch((rows, columns), chunk, (a, out), add);
            launch.check(device, dispatch, format!("{rows} x {columns} by {chunk}"));
        }
    }
}

pub fn reduce_sum(device: &Device) {
    for len in SIZES.into_iter().chain([255, 256, 257, 1000, 70_000]) {
        for chunk in [len, 65_536, 300] {
            let mut launch = Launch::new();
            let a = launch.buffer(normal(3 + len, 1.0, 1), 3);
            let add = len % 2 == 1;
            let out = summed(&mut launch, len.div_ceil(chunk), add);
            let dispatch = kernels::reduce_sum::dispatch(len, chunk, 0.125, (a, out), add);
            launch.check(device, dispatch, format!("{len} by {chunk}"));
        }
    }
}

pub fn every_one_has_a_test(_: &Device) {
    let tested: BTreeSet<&str> =
        CHECKS.iter().filter_map(|(name, _)| name.strip_prefix("kernel::")).collect();
    for kernel in kernels::table().0 {
        assert!(tested.contains(kernel.name), "{} has no test", kernel.name);
    }
}

/// One step in one direction, from slot 0 to slot 1.
fn plain_step(
    launch: &mut Launch,
    batch: usize,
    hidden: usize,
    [u, gates, h, c]: [View; 4],
) -> Dispatch {
    let slot = batch * hidden;
    let z = launch.poisoned(1).range;
    let (cell, terms) = (Cell::new(), hidden);
    let (key, masked, h_row) = (None, 0, hidden);
    let shape =
        kernels::lstm_step_forward::Shape { cell, key, batch, hidden, terms, h_row, masked };
    let bound = kernels::lstm_step_forward::Bindings {
        u: u.range,
        gates: gates.range,
        h: h.range,
        c: c.range,
        z,
        p: None,
    };
    let at = kernels::lstm_step_forward::At { h: slot, c: slot, ..Default::default() };
    kernels::lstm_step_forward::dispatch(&shape, &bound, &[at], true, Padding(None))
}

/// Sums of the gates at which naive activations overflow, or lose their sign.
pub fn gates_are_right_far_out(device: &Device) {
    let far =
        [0.0, -0.0, 1e-3, -1e-3, 15.0, -15.0, 88.0, -88.0, 89.0, -89.0, 100.0, -100.0, 1e4, -1e4];
    for value in far {
        let mut launch = Launch::new();
        let u = launch.buffer(vec![0.0; 4], 0);
        let p = launch.buffer(vec![value; 4], 0);
        let h = launch.buffer(vec![0.0, POISON], 0);
        let c = launch.buffer(vec![value, POISON], 0);
        let dispatch = plain_step(&mut launch, 1, 1, [u, p, h, c]);
        launch.check(device, dispatch, format!("all sums {value}"));
    }
}

/// A NaN in one row reaches that row's results, and no other row's.
pub fn nan_is_passed_on(device: &Device) {
    let (batch, hidden) = (5, 3);
    let slot = batch * hidden;
    let mut launch = Launch::new();
    let u = launch.buffer(normal(4 * hidden * hidden, 1.0, 1), 0);
    let mut p = normal(4 * slot, 1.0, 2);
    p[4 * (2 * hidden + 1)] = f32::NAN; // the input gate of row 2, unit 1
    let p = launch.buffer(p, 0);
    let h = launch.buffer([normal(slot, 0.5, 3), vec![POISON; slot]].concat(), 0);
    let c = launch.buffer([normal(slot, 0.5, 4), vec![POISON; slot]].concat(), 0);
    let dispatch = plain_step(&mut launch, batch, hidden, [u, p, h, c]);
    let h = launch.run(device, dispatch, 2);
    let nans: Vec<usize> = (0..slot).filter(|&i| h[slot + i].is_nan()).collect();
    assert_eq!(nans, [2 * hidden + 1]);
}
