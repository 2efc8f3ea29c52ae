//! The fast CPU form of `lstm_sequence_forward`.
//!
//! A task owns some rows of the batch and walks through all their timesteps: rows never meet, so
//! tasks never wait. Up to four rows with large weights are split over their units instead, and the parts
//! wait for each other at every timestep. The weights are panels of 16 units; the four gates of a unit come
//! out of a product side by side and become states while they are in registers.

use pulp::{Simd, WithSimd};

use crate::cpu::pack;
use crate::cpu::panel::{From, Left, RowsTimesPanel, Tile, blocks};
use crate::cpu::simd::{arch, by_field, by_quad, load, store};
use crate::cpu::threads::{
    PARALLEL_FROM, for_all, for_all_from, give_scratch, take_scratch, with_scratch, worth,
};
use crate::kernels::cell::vectors::{Options, SequenceMasks, any_forward, cell_forward};
use crate::reference::{Draws, Lengths, PANEL, Panels, SequenceForward, panels};

/// Units of a panel.
const UNITS: usize = PANEL / 4;

/// Rows of a task, of so many multiply-adds in all. Weights that a core keeps beside it may pass for few rows
/// at a time; larger ones have to be worth their way. What two threads can share has two tasks at least.
pub(in crate::kernels) fn task_rows(hidden: usize, batch: usize, work: usize) -> usize {
    let most = if hidden <= 256 { 8 } else { 16 };
    let halves = batch > FEW_ROWS && work >= PARALLEL_FROM;
    if halves { most.min(batch.div_ceil(2)) } else { most }
}

/// Rows up to which a timestep is split over its units, where the weights are large: such a batch waits
/// for them alone.
pub(in crate::kernels) const FEW_ROWS: usize = 4;

/// Multiply-adds of a timestep from which on it is split over its units.
const SPLIT_FROM: usize = 1 << 19;

/// Whether timesteps are split over their units, in a walk of so many multiply-adds.
pub(in crate::kernels) fn splits(hidden: usize, batch: usize, work: usize) -> bool {
    batch <= FEW_ROWS && worth(work) && 4 * hidden * hidden * batch >= SPLIT_FROM
}

/// As [`reference::lstm_sequence_forward`](crate::reference::lstm_sequence_forward). Every sum is one chain
/// of multiply-adds, so that results don't depend on the split.
pub(super) fn lstm_sequence_forward(
    sequence: &SequenceForward<'_, f32>,
    u: &[f32],
    x: &[f32],
    gates: &mut [f32],
    h: &mut [f32],
    c: &mut [f32],
) {
    let hidden = sequence.hidden;
    if !sequence.packed {
        let shape = Panels::dense(hidden, 4 * hidden, false);
        return with_scratch(shape.len(), |packed| {
            pack(&shape, u, packed);
            let sequence = SequenceForward { packed: true, ..*sequence };
            lstm_sequence_forward(&sequence, packed, x, gates, h, c);
        });
    }
    let above = sequence.x.map_or(0, |(input, _)| input + 1);
    let u = &u[..panels(above + hidden, 4 * hidden)];
    // Gates that are neither read nor written may be any buffer.
    let touched = sequence.x.is_none() || sequence.keep;
    let (batch, steps) = (sequence.batch, sequence.walk.steps);
    let (slot, h_slot) = (batch * hidden, batch * sequence.h_row);
    let work = 4 * (hidden + above) * slot * steps;
    let rows = task_rows(hidden, batch, work);
    let mut tasks: Vec<Task<'_>> = (0..batch.div_ceil(rows))
        .map(|i| Task {
            sequence,
            split: splits(hidden, batch, work),
            first: i * rows,
            rows: rows.min(batch - i * rows),
            u,
            x,
            gates: Vec::with_capacity(steps),
            h: Vec::with_capacity(steps + 1),
            masked: Vec::new(),
            c: Vec::with_capacity(steps + 1),
        })
        .collect();
    let walk = sequence.walk;
    let lowest = |start: usize, slot: usize, count: usize| match walk.back {
        true => start - (count - 1) * slot,
        false => start,
    };
    let first = if touched { lowest(sequence.gates, 4 * slot, steps) } else { gates.len() };
    for slot in gates[first..].chunks_mut(4 * slot).take(steps) {
        let parts = slot.chunks_mut(4 * hidden * rows);
        tasks.iter_mut().zip(parts).for_each(|(task, part)| task.gates.push(part));
    }
    let first = lowest(sequence.h_prev, h_slot, steps + 1);
    let (h, masked) = match sequence.masked {
        0 => (h, Default::default()),
        masked => h.split_at_mut(masked),
    };
    for slot in h[first..].chunks_mut(h_slot).take(steps + 1) {
        let parts = slot.chunks_mut(sequence.h_row * rows);
        tasks.iter_mut().zip(parts).for_each(|(task, part)| task.h.push(part));
    }
    if !masked.is_empty() {
        for slot in masked[first..].chunks_mut(h_slot).take(steps + 1) {
            let parts = slot.chunks_mut(sequence.h_row * rows);
            tasks.iter_mut().zip(parts).for_each(|(task, part)| task.masked.push(part));
        }
    }
    for slot in c[lowest(sequence.c_prev, slot, steps + 1)..].chunks_mut(slot).take(steps + 1) {
        let parts = slot.chunks_mut(hidden * rows);
        tasks.iter_mut().zip(parts).for_each(|(task, part)| task.c.push(part));
    }
    if walk.back {
        for task in &mut tasks {
            task.gates.reverse();
            task.h.reverse();
            task.masked.reverse();
            task.c.reverse();
        }
    }
    let side_by_side = tasks.len() > 1 && worth(work);
    let arch = arch();
    for_all(tasks, side_by_side, |task| arch.dispatch(task));
}

/// Some rows, with a slice of theirs from every slot in the order of the walk.
struct Task<'a> {
    sequence: &'a SequenceForward<'a, f32>,
    split: bool,
    /// The first row in the batch.
    first: usize,
    rows: usize,
    u: &'a [f32],
    x: &'a [f32],
    gates: Vec<&'a mut [f32]>,
    h: Vec<&'a mut [f32]>,
    /// What products take of `h`, where that is something else.
    masked: Vec<&'a mut [f32]>,
    c: Vec<&'a mut [f32]>,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Task { sequence: s, split, first, rows, u, x, mut gates, mut h, mut masked, mut c } =
            self;
        let draws = s.draws.map(|draws| Draws { row: draws.row + first as u32, ..draws });
        let masks = SequenceMasks::new(&s.cell, draws, (rows, s.hidden));
        let options = Options::new((&s.cell, s.peepholes), None, &masks);
        let (hidden, h_row, walk) = (s.hidden, s.h_row, s.walk);
        let mut tile = Tile::new();
        // Hidden and cell states before a timestep and after it, apart from those of other rows: where a
        // core reads, it fetches what stands behind as well, which another core is about to write.
        let own = rows * hidden;
        let mut scratch = take_scratch(4 * own);
        let (now, rest) = scratch.split_at_mut(2 * own);
        let (mut now, mut next) = (now.split_at_mut(own), rest[..2 * own].split_at_mut(own));
        let taken = masked.first().unwrap_or(&h[0]);
        for (own, h) in now.0.chunks_exact_mut(hidden).zip(taken.chunks(h_row)) {
            own.copy_from_slice(&h[..hidden]);
        }
        now.1.copy_from_slice(c[0]);
        for n in 0..walk.steps {
            let gates: &mut [f32] = gates.get_mut(n).map_or(&mut [], |gates| gates);
            let (h_prev, h) = h.split_at_mut(n + 1);
            let (c_prev, c) = c.split_at_mut(n + 1);
            let (h_prev, c_prev, h, c) = (&*h_prev[n], &*c_prev[n], &mut *h[0], &mut *c[0]);
            let (taken, mut left) = match masked.split_at_mut_checked(n + 1) {
                Some((taken, left)) => (&*taken[n], left.first_mut()),
                None => (h_prev, None),
            };
            let zoned = (if s.cell.zoneout.is_some() { h_prev } else { &[] }, h_row);
            let lengths = s.lengths.map(|lengths| walk.lengths(lengths.rows_from(first), n));
            let x = s.x.map(|(input, start)| {
                (&x[walk.at(start, s.batch * input, n) + first * input..], input)
            });
            let (h_prev, h_row_here) = if split { (taken, h_row) } else { (&*now.0, hidden) };
            let step = Step {
                options: options.at(draws.map(|draws| walk.draws(draws, n))),
                zoned,
                hidden,
                terms: hidden,
                h_row: h_row_here,
                h_prev_row: h_row_here,
                keep: s.keep,
                u,
                x,
                h_prev,
                lengths,
            };
            if split {
                split_units(
                    &step,
                    n % 2 == 1,
                    Rows::of(rows, States { gates, c_prev, c, h: &mut *h }, &step),
                );
                if let Some(left) = &mut left {
                    for (r, (h, left)) in h.chunks(h_row).zip(left.chunks_mut(h_row)).enumerate() {
                        let goes_on = !lengths.is_some_and(|lengths| lengths.ended(r));
                        if let Some(mask) = masks.recurrent(r).filter(|_| goes_on) {
                            let features = left.iter_mut().zip(h).zip(mask);
                            features.for_each(|((left, h), mask)| *left = h * mask);
                        }
                    }
                }
                continue;
            }
            let states = States { gates, c_prev: now.1, c: next.1, h: next.0 };
            step.rows(simd, rows, n % 2 == 1, states, &mut tile);
            let states = h.chunks_mut(h_row).zip(c.chunks_exact_mut(hidden));
            let own = next.0.chunks_exact_mut(hidden).zip(next.1.chunks_exact_mut(hidden));
            for (r, ((h, c), (own_h, own_c))) in states.zip(own).enumerate() {
                let left = left.as_mut().map(|left| &mut left[r * h_row..][..hidden]);
                if lengths.is_some_and(|lengths| lengths.ended(r)) {
                    own_h.copy_from_slice(left.as_deref().unwrap_or(&h[..hidden]));
                    own_c.copy_from_slice(c);
                } else {
                    h[..hidden].copy_from_slice(own_h);
                    c.copy_from_slice(own_c);
                    if let (Some(left), Some(mask)) = (left, masks.recurrent(r)) {
                        own_h.iter_mut().zip(mask).for_each(|(h, mask)| *h *= mask);
                        left.copy_from_slice(own_h);
                    }
                }
            }
            std::mem::swap(&mut now, &mut next);
        }
        give_scratch(scratch);
    }
}

/// Some elements, or none where there are none.
#[inline(always)]
fn part_of(all: &mut [f32], start: usize, len: usize) -> &mut [f32] {
    if all.is_empty() { all } else { &mut all[start..][..len] }
}

/// What the units of a timestep share.
pub(in crate::kernels) struct Step<'a> {
    pub(in crate::kernels) options: Options<'a>,
    /// The hidden states before the timestep that a zoneout keeps, and the elements from one row to the next;
    /// empty without one.
    pub(in crate::kernels) zoned: (&'a [f32], usize),
    pub(in crate::kernels) hidden: usize,
    /// Terms of the recurrent product.
    pub(in crate::kernels) terms: usize,
    pub(in crate::kernels) h_row: usize,
    pub(in crate::kernels) h_prev_row: usize,
    pub(in crate::kernels) keep: bool,
    pub(in crate::kernels) u: &'a [f32],
    /// The input from the first row on and its features, where its share isn't in the gates.
    pub(in crate::kernels) x: Option<(&'a [f32], usize)>,
    pub(in crate::kernels) h_prev: &'a [f32],
    pub(in crate::kernels) lengths: Option<Lengths<'a, f32>>,
}

/// Some rows of what a timestep reads and writes.
pub(in crate::kernels) struct States<'a> {
    pub(in crate::kernels) gates: &'a mut [f32],
    pub(in crate::kernels) c_prev: &'a [f32],
    pub(in crate::kernels) c: &'a mut [f32],
    pub(in crate::kernels) h: &'a mut [f32],
}

impl Step<'_> {
    /// What a zoneout keeps of some units of a row.
    #[inline(always)]
    fn zoned(&self, row: usize, unit: usize, units: usize) -> &[f32] {
        let at = row * self.zoned.1 + unit;
        self.zoned.0.get(at..at + units).unwrap_or_default()
    }

    /// The pointwise part for some units of row `r`, from `unit` on.
    #[inline(always)]
    fn cells<S: Simd>(&self, simd: S, r: usize, unit: usize, cells: Cells<'_>) {
        if self.options.plain {
            return cells.run(simd);
        }
        let units = cells.c.len();
        let options = self.options.of_units(r, unit, units);
        let zoned = self.zoned(r, unit, units);
        match options.has_usual_functions() {
            true => simd.vectorize(AnyCells::<true> { options, zoned, cells }),
            false => simd.vectorize(AnyCells::<false> { options, zoned, cells }),
        }
    }

    /// Some rows, from the first panel to the last or back: a core that comes from where it was finds what
    /// its cache still holds.
    #[inline(always)]
    pub(in crate::kernels) fn rows<S: Simd>(
        &self,
        simd: S,
        rows: usize,
        back: bool,
        states: States<'_>,
        tile: &mut Tile,
    ) {
        let States { gates, c_prev, c, h } = states;
        let hidden = self.hidden;
        let panels = hidden.div_ceil(UNITS);
        for i in 0..panels {
            let unit = if back { panels - 1 - i } else { i } * UNITS;
            let units = UNITS.min(hidden - unit);
            for (row, count) in blocks(rows) {
                if self.x.is_none() {
                    let of_rows = gates[4 * row * hidden..].chunks(4 * hidden).take(count);
                    for (tile, gates) in tile.0.chunks_exact_mut(PANEL).zip(of_rows) {
                        tile[..4 * units].copy_from_slice(&gates[4 * unit..][..4 * units]);
                    }
                }
                self.product(simd, unit, (row, count), tile);
                for (r, tile) in (row..row + count).zip(tile.0.chunks_exact(PANEL)) {
                    if self.lengths.is_some_and(|lengths| lengths.ended(r)) {
                        continue;
                    }
                    let at = r * hidden + unit;
                    let cells = Cells {
                        keep: self.keep,
                        tile,
                        gates: part_of(gates, 4 * at, 4 * units),
                        c_prev: &c_prev[at..][..units],
                        c: &mut c[at..][..units],
                        h: &mut h[r * self.h_row + unit..][..units],
                    };
                    self.cells(simd, r, unit, cells);
                }
            }
        }
    }

    /// The products of some rows for the panel of `unit`.
    #[inline(always)]
    fn product<S: Simd>(
        &self,
        simd: S,
        unit: usize,
        (row, count): (usize, usize),
        tile: &mut Tile,
    ) {
        let columns = (4 * (self.hidden - unit)).min(PANEL);
        let above = self.x.map_or(0, |(_, input)| 1 + input);
        let panel = &self.u[4 * unit * (above + self.terms)..];
        let (h, h_row) = (&self.h_prev[row * self.h_prev_row..], self.h_prev_row);
        let (left, panel, terms, from) = match self.x {
            None => (Left::Rows(h, h_row), panel, self.terms, From::Out),
            Some((x, input)) => {
                let (bias, panel) = panel.split_at(PANEL);
                let left = Left::Beside((&x[row * input..], input, input), (h, h_row));
                (left, panel, input + self.terms, From::Rows(bias, 0))
            }
        };
        let (ldp, ldo, out) = (PANEL, PANEL, &mut tile.0[..]);
        simd.vectorize(RowsTimesPanel {
            rows: count,
            columns,
            left,
            panel,
            ldp,
            terms,
            from,
            out,
            ldo,
        });
    }
}

/// The pointwise part for some units of a row.
struct Cells<'a> {
    keep: bool,
    tile: &'a [f32],
    gates: &'a mut [f32],
    c_prev: &'a [f32],
    c: &'a mut [f32],
    h: &'a mut [f32],
}

impl Cells<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (lanes, units) = (S::F32_LANES, self.c.len());
        let mut unit = 0;
        while unit < units {
            let mut sums = [simd.splat_f32s(0.0); 4];
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = load(simd, &self.tile[4 * unit + v * lanes..]);
            }
            let c_prev = load(simd, &self.c_prev[unit..]);
            let cells = cell_forward(simd, by_field(simd, sums), c_prev);
            store(simd, &mut self.c[unit..], cells.c);
            store(simd, &mut self.h[unit..], cells.h);
            if self.keep {
                let quads = by_quad(simd, cells.gates);
                for (v, &quads) in quads.iter().enumerate() {
                    let at = (4 * unit + v * lanes).min(4 * units);
                    store(simd, &mut self.gates[at..], quads);
                }
            }
            unit += lanes;
        }
    }
}

/// The same of a cell that isn't PyTorch's: a function of its own, so that the code around it stays as it is.
struct AnyCells<'a, const USUAL: bool> {
    options: Options<'a>,
    /// The hidden states that a zoneout keeps, with one.
    zoned: &'a [f32],
    cells: Cells<'a>,
}

impl<const USUAL: bool> WithSimd for AnyCells<'_, USUAL> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let AnyCells { options, zoned, cells } = self;
        let (lanes, units) = (S::F32_LANES, cells.c.len());
        let mut unit = 0;
        while unit < units {
            let mut sums = [simd.splat_f32s(0.0); 4];
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = load(simd, &cells.tile[4 * unit + v * lanes..]);
            }
            let h_prev = load(simd, zoned.get(unit..).unwrap_or_default());
            let before = (h_prev, load(simd, &cells.c_prev[unit..]));
            let after = any_forward::<S, USUAL>(simd, options, unit, by_field(simd, sums), before);
            store(simd, &mut cells.c[unit..], after.c);
            store(simd, &mut cells.h[unit..], after.h);
            if cells.keep {
                let quads = by_quad(simd, after.gates);
                for (v, &quads) in quads.iter().enumerate() {
                    let at = (4 * unit + v * lanes).min(4 * units);
                    store(simd, &mut cells.gates[at..], quads);
                }
            }
            unit += lanes;
        }
    }
}

/// Some units of a few rows.
#[derive(Default)]
struct Rows<'a> {
    count: usize,
    gates: [&'a mut [f32]; FEW_ROWS],
    c_prev: [&'a [f32]; FEW_ROWS],
    c: [&'a mut [f32]; FEW_ROWS],
    h: [&'a mut [f32]; FEW_ROWS],
}

impl<'a> Rows<'a> {
    /// Each row of a timestep's states by itself.
    fn of(count: usize, states: States<'a>, step: &Step<'_>) -> Rows<'a> {
        let (States { gates, c_prev, c, h }, hidden) = (states, step.hidden);
        let mut rows = Rows { count, ..Rows::default() };
        for (row, gates) in rows.gates.iter_mut().zip(gates.chunks_mut(4 * hidden)) {
            *row = gates;
        }
        let states = c.chunks_mut(hidden).zip(h.chunks_mut(step.h_row));
        for (r, (c_prev, (c, h))) in c_prev.chunks(hidden).zip(states).enumerate() {
            (rows.c_prev[r], rows.c[r], rows.h[r]) = (c_prev, c, &mut h[..hidden]);
        }
        rows
    }
}

/// Panels of a part.
const SPLIT: usize = 8;

/// A timestep of a few rows, in parts side by side, to or fro.
fn split_units(step: &Step<'_>, back: bool, mut rows: Rows<'_>) {
    let hidden = rows.c[0].len();
    let parts = (0..hidden).step_by(SPLIT * UNITS).map(|unit| {
        let units = (SPLIT * UNITS).min(hidden - unit);
        let mut part = Rows { count: rows.count, ..Rows::default() };
        for r in 0..rows.count {
            part.gates[r] = first_of(&mut rows.gates[r], 4 * units);
            part.c[r] = first_of(&mut rows.c[r], units);
            part.h[r] = first_of(&mut rows.h[r], units);
            (part.c_prev[r], rows.c_prev[r]) = rows.c_prev[r].split_at(units);
        }
        Units { step, back, unit, rows: part }
    });
    let arch = arch();
    for_all_from(parts.collect(), back, true, |part: Units<'_, '_>| arch.dispatch(part));
}

/// Takes the first elements of a slice, or none where there are none.
fn first_of<'a>(slice: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    slice.split_off_mut(..len.min(slice.len())).unwrap_or_default()
}

/// Some units of a few rows, from `unit` on.
struct Units<'s, 'a> {
    step: &'s Step<'s>,
    back: bool,
    unit: usize,
    rows: Rows<'a>,
}

impl WithSimd for Units<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Units { step, back, unit, rows } = self;
        let (all, mut tile) = (rows.c[0].len(), Tile::new());
        let panels = all.div_ceil(UNITS);
        for i in 0..panels {
            let first = if back { panels - 1 - i } else { i } * UNITS;
            let units = UNITS.min(all - first);
            if step.x.is_none() {
                for (tile, gates) in tile.0.chunks_exact_mut(PANEL).zip(&rows.gates[..rows.count]) {
                    tile[..4 * units].copy_from_slice(&gates[4 * first..][..4 * units]);
                }
            }
            step.product(simd, unit + first, (0, rows.count), &mut tile);
            for (r, tile) in tile.0.chunks_exact(PANEL).take(rows.count).enumerate() {
                if step.lengths.is_some_and(|lengths| lengths.ended(r)) {
                    continue;
                }
                let cells = Cells {
                    keep: step.keep,
                    tile,
                    gates: part_of(rows.gates[r], 4 * first, 4 * units),
                    c_prev: &rows.c_prev[r][first..][..units],
                    c: &mut rows.c[r][first..][..units],
                    h: &mut rows.h[r][first..][..units],
                };
                step.cells(simd, r, unit + first, cells);
            }
        }
    }
}
