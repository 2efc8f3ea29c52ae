//! The fast CPU form of `lstm_sequence_backward`, the mirror of that of `lstm_sequence_forward`: a task
//! owns some rows of the batch and walks back through all their timesteps. The transposed weights are
//! panels of 64 units.

use pulp::{Simd, WithSimd};

use crate::cpu::pack;
use crate::cpu::panel::{From, Left, RowsTimesPanel, Tile, blocks};
use crate::cpu::simd::{arch, by_field, by_quad, load, store};
use crate::cpu::threads::{for_all, for_all_from, with_scratch, worth};
use crate::kernels::cell::vectors::{Options, SequenceMasks, any_backward, cell_backward};
use crate::kernels::lstm_sequence_forward::fast::{FEW_ROWS, splits, task_rows};
use crate::reference::{
    Draws, Lengths, PANEL, Panels, SequenceBackward, SequenceGradients, panels,
};

/// As [`reference::lstm_sequence_backward`](crate::reference::lstm_sequence_backward). Every sum is one
/// chain of multiply-adds, so that results don't depend on the split.
pub(super) fn lstm_sequence_backward(
    sequence: &SequenceBackward<'_, f32>,
    w: &[f32],
    c: &[f32],
    dy: &[f32],
    written: SequenceGradients<'_, f32>,
) {
    let hidden = sequence.hidden;
    if !sequence.packed {
        let shape = Panels::dense(4 * hidden, hidden, true);
        return with_scratch(shape.len(), |packed| {
            pack(&shape, w, packed);
            let sequence = SequenceBackward { packed: true, ..*sequence };
            lstm_sequence_backward(&sequence, packed, c, dy, written);
        });
    }
    let SequenceGradients { gates, dc, zoned, .. } = written;
    let w = &w[..panels(4 * hidden, hidden)];
    let (batch, walk) = (sequence.batch, sequence.walk);
    let slot = batch * hidden;
    let work = 4 * hidden * slot * walk.steps;
    let rows = task_rows(hidden, batch, work);
    let incoming = usize::from(sequence.incoming);
    let mut zoned = zoned.chunks_mut(hidden * rows);
    let mut tasks: Vec<Task<'_>> = dc
        .chunks_mut(hidden * rows)
        .enumerate()
        .map(|(i, dc)| Task {
            zoned: zoned.next().unwrap_or_default(),
            sequence,
            split: splits(hidden, batch, work),
            first: i * rows,
            rows: rows.min(batch - i * rows),
            w,
            c,
            dy,
            gates: Vec::with_capacity(walk.steps + incoming),
            dc,
        })
        .collect();
    // The slot that ran before the walk, where there is one, and those of the walk.
    let count = walk.steps + incoming;
    let lowest = match (walk.back, sequence.incoming) {
        (true, _) => sequence.gates - (walk.steps - 1) * 4 * slot,
        (false, true) => sequence.gates - 4 * slot,
        (false, false) => sequence.gates,
    };
    for slot in gates[lowest..].chunks_mut(4 * slot).take(count) {
        let parts = slot.chunks_mut(4 * hidden * rows);
        tasks.iter_mut().zip(parts).for_each(|(task, part)| task.gates.push(part));
    }
    if walk.back {
        tasks.iter_mut().for_each(|task| task.gates.reverse());
    }
    let side_by_side = tasks.len() > 1 && worth(work);
    let arch = arch();
    for_all(tasks, side_by_side, |task| arch.dispatch(task));
}

/// Some rows, with a slice of theirs from every slot of gates in the order of the walk.
struct Task<'a> {
    sequence: &'a SequenceBackward<'a, f32>,
    split: bool,
    /// The first row in the batch.
    first: usize,
    rows: usize,
    w: &'a [f32],
    c: &'a [f32],
    dy: &'a [f32],
    gates: Vec<&'a mut [f32]>,
    dc: &'a mut [f32],
    /// What a zoneout keeps of the hidden states' gradient, with one.
    zoned: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Task { sequence: s, first, rows, w, c, dy, mut gates, dc, zoned, .. } = self;
        let draws = s.draws.map(|draws| Draws { row: draws.row + first as u32, ..draws });
        let masks = SequenceMasks::new(&s.cell, draws, (rows, s.hidden));
        let options = Options::new((&s.cell, s.peepholes), None, &masks);
        let (hidden, slot, walk) = (s.hidden, s.batch * s.hidden, s.walk);
        let before = usize::from(s.incoming);
        let mut tile = Tile::new();
        for n in 0..walk.steps {
            let (done, rest) = gates.split_at_mut(n + before);
            let gates = &mut *rest[0];
            let own = first * hidden;
            let step = Step {
                options: options.at(draws.map(|draws| walk.draws(draws, n))),
                hidden,
                terms: 4 * hidden,
                w,
                incoming: done.last().map(|rows| &**rows),
                c_prev: &c[walk.at(s.c, slot, n + 1) + own..],
                c: &c[walk.at(s.c, slot, n) + own..],
                dy: s.dy.map(|(start, row)| {
                    (&dy[walk.at(start, s.batch * row, n) + first * row..], row)
                }),
                lengths: s.lengths.map(|lengths| walk.lengths(lengths.rows_from(first), n)),
            };
            if self.split {
                let mut of_rows = Rows { count: rows, ..Rows::default() };
                let parts = gates.chunks_mut(4 * hidden).zip(dc.chunks_mut(hidden));
                let mut zoned = zoned.chunks_mut(hidden);
                for (r, (gates, dc)) in parts.enumerate() {
                    (of_rows.gates[r], of_rows.dc[r]) = (gates, dc);
                    of_rows.zoned[r] = zoned.next().unwrap_or_default();
                }
                split_units(&step, n % 2 == 1, of_rows);
                continue;
            }
            step.rows(simd, rows, gates, (dc, zoned), &mut tile);
        }
    }
}

/// What the units of a timestep share.
pub(in crate::kernels) struct Step<'a> {
    pub(in crate::kernels) options: Options<'a>,
    pub(in crate::kernels) hidden: usize,
    /// Elements of a row of what comes back.
    pub(in crate::kernels) terms: usize,
    pub(in crate::kernels) w: &'a [f32],
    pub(in crate::kernels) incoming: Option<&'a [f32]>,
    pub(in crate::kernels) c_prev: &'a [f32],
    pub(in crate::kernels) c: &'a [f32],
    pub(in crate::kernels) dy: Option<(&'a [f32], usize)>,
    pub(in crate::kernels) lengths: Option<Lengths<'a, f32>>,
}

impl Step<'_> {
    /// Some rows.
    #[inline(always)]
    pub(in crate::kernels) fn rows<S: Simd>(
        &self,
        simd: S,
        rows: usize,
        gates: &mut [f32],
        (dc, zoned): (&mut [f32], &mut [f32]),
        tile: &mut Tile,
    ) {
        for unit in (0..self.hidden).step_by(PANEL) {
            let units = PANEL.min(self.hidden - unit);
            for (row, count) in blocks(rows) {
                self.product(simd, unit, (row, count), tile);
                for (r, tile) in (row..row + count).zip(tile.0.chunks_exact(PANEL)) {
                    let at = r * self.hidden + unit;
                    let gates = &mut gates[4 * at..][..4 * units];
                    let zoned = zoned.get_mut(at..at + units).unwrap_or_default();
                    self.cells(simd, (r, unit), tile, gates, (&mut dc[at..][..units], zoned));
                }
            }
        }
    }

    /// What comes back to some rows of the panel of `unit` from the step that ran after this one.
    #[inline(always)]
    fn product<S: Simd>(
        &self,
        simd: S,
        unit: usize,
        (row, count): (usize, usize),
        tile: &mut Tile,
    ) {
        let terms = self.terms;
        if let Some(incoming) = self.incoming {
            simd.vectorize(RowsTimesPanel {
                rows: count,
                columns: (self.hidden - unit).min(PANEL),
                left: Left::Rows(&incoming[row * terms..], terms),
                panel: &self.w[unit * terms..][..terms * PANEL],
                ldp: PANEL,
                terms,
                from: From::Zero,
                out: &mut tile.0,
                ldo: PANEL,
            });
        }
    }

    /// The pointwise part for some units of row `r` from `unit` on.
    #[inline(always)]
    fn cells<S: Simd>(
        &self,
        simd: S,
        (r, unit): (usize, usize),
        tile: &[f32],
        gates: &mut [f32],
        (dc, zoned): (&mut [f32], &mut [f32]),
    ) {
        if self.lengths.is_some_and(|lengths| lengths.ended(r)) {
            return gates.fill(0.0);
        }
        let units = dc.len();
        let at = r * self.hidden + unit;
        let cells = Cells {
            tile,
            gates,
            c_prev: &self.c_prev[at..][..units],
            c: &self.c[at..][..units],
            dy: match self.dy {
                Some((dy, row)) => &dy[r * row + unit..][..units],
                None => &[],
            },
            dc,
        };
        if self.options.plain {
            return cells.run(simd);
        }
        let options = self.options.of_units(r, unit, units);
        let mask = options.masks.recurrent(r).map(|mask| &mask[unit..][..units]);
        match options.has_usual_functions() {
            true => simd.vectorize(AnyCells::<true> { options, mask, zoned, cells }),
            false => simd.vectorize(AnyCells::<false> { options, mask, zoned, cells }),
        }
    }
}

/// The pointwise part for some units of a row.
struct Cells<'a> {
    tile: &'a [f32],
    gates: &'a mut [f32],
    c_prev: &'a [f32],
    c: &'a [f32],
    dy: &'a [f32],
    dc: &'a mut [f32],
}

impl Cells<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (lanes, units) = (S::F32_LANES, self.dc.len());
        let mut unit = 0;
        while unit < units {
            let mut dh = load(simd, &self.tile[unit..]);
            if !self.dy.is_empty() {
                dh = simd.add_f32s(dh, load(simd, &self.dy[unit..]));
            }
            let mut quads = [dh; 4];
            for (v, quads) in quads.iter_mut().enumerate() {
                *quads = load(simd, &self.gates[(4 * unit + v * lanes).min(4 * units)..]);
            }
            let cells = (load(simd, &self.c_prev[unit..]), load(simd, &self.c[unit..]));
            let above = (dh, load(simd, &self.dc[unit..]));
            let gradients = cell_backward(simd, by_field(simd, quads), cells, above);
            store(simd, &mut self.dc[unit..], gradients.c_prev);
            let quads = by_quad(simd, gradients.sums);
            for (v, &quads) in quads.iter().enumerate() {
                store(simd, &mut self.gates[(4 * unit + v * lanes).min(4 * units)..], quads);
            }
            unit += lanes;
        }
    }
}

/// The same of a cell that isn't PyTorch's: a function of its own, so that the code around it stays as it is.
struct AnyCells<'a, const USUAL: bool> {
    options: Options<'a>,
    /// What the hidden state that came in was multiplied with, where it was.
    mask: Option<&'a [f32]>,
    /// What a zoneout keeps of the hidden state's gradient, with one.
    zoned: &'a mut [f32],
    cells: Cells<'a>,
}

impl<const USUAL: bool> WithSimd for AnyCells<'_, USUAL> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let AnyCells { options, mask, zoned, cells } = self;
        let (lanes, units) = (S::F32_LANES, cells.dc.len());
        let mut unit = 0;
        while unit < units {
            let mut dh = load(simd, &cells.tile[unit..]);
            if let Some(mask) = mask {
                dh = simd.mul_f32s(dh, load(simd, &mask[unit..]));
            }
            for others in [&*zoned, cells.dy] {
                if !others.is_empty() {
                    dh = simd.add_f32s(dh, load(simd, &others[unit..]));
                }
            }
            let mut quads = [dh; 4];
            for (v, quads) in quads.iter_mut().enumerate() {
                *quads = load(simd, &cells.gates[(4 * unit + v * lanes).min(4 * units)..]);
            }
            let states = (load(simd, &cells.c_prev[unit..]), load(simd, &cells.c[unit..]));
            let above = (dh, load(simd, &cells.dc[unit..]));
            let quads = by_field(simd, quads);
            let gradients = any_backward::<S, USUAL>(simd, options, unit, quads, states, above);
            store(simd, &mut cells.dc[unit..], gradients.c_prev);
            if !zoned.is_empty() {
                store(simd, &mut zoned[unit..], gradients.h_prev);
            }
            let quads = by_quad(simd, gradients.sums);
            for (v, &quads) in quads.iter().enumerate() {
                store(simd, &mut cells.gates[(4 * unit + v * lanes).min(4 * units)..], quads);
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
    dc: [&'a mut [f32]; FEW_ROWS],
    zoned: [&'a mut [f32]; FEW_ROWS],
}

/// Panels of a part.
const SPLIT: usize = 2;

/// A timestep of a few rows, in parts side by side, to or fro.
fn split_units(step: &Step<'_>, back: bool, mut rows: Rows<'_>) {
    let hidden = rows.dc[0].len();
    let parts = (0..hidden).step_by(SPLIT * PANEL).map(|unit| {
        let units = (SPLIT * PANEL).min(hidden - unit);
        let mut part = Rows { count: rows.count, ..Rows::default() };
        for r in 0..rows.count {
            part.gates[r] = rows.gates[r].split_off_mut(..4 * units).unwrap_or_default();
            part.dc[r] = rows.dc[r].split_off_mut(..units).unwrap_or_default();
            part.zoned[r] = rows.zoned[r].split_off_mut(..units).unwrap_or_default();
        }
        Units { step, back, unit, rows: part }
    });
    let arch = arch();
    for_all_from(parts.collect(), back, true, |part: Units<'_, '_>| arch.dispatch(part));
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
        let (all, mut tile) = (rows.dc[0].len(), Tile::new());
        let panels = all.div_ceil(PANEL);
        for i in 0..panels {
            let first = if back { panels - 1 - i } else { i } * PANEL;
            let units = PANEL.min(all - first);
            step.product(simd, unit + first, (0, rows.count), &mut tile);
            for (r, tile) in tile.0.chunks_exact(PANEL).take(rows.count).enumerate() {
                let gates = &mut rows.gates[r][4 * first..][..4 * units];
                let dc = &mut rows.dc[r][first..][..units];
                let zoned = rows.zoned[r].get_mut(first..first + units).unwrap_or_default();
                step.cells(simd, (r, unit + first), tile, gates, (dc, zoned));
            }
        }
    }
}
