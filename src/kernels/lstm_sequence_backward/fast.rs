//! The fast CPU form of `lstm_sequence_backward`, the mirror of that of `lstm_sequence_forward`: a task
//! owns some rows of the batch and walks back through all their timesteps. The transposed weights are
//! panels of 64 units.

use pulp::{Arch, Simd, WithSimd};

use crate::cpu::pack;
use crate::cpu::panel::{From, Left, ROWS, RowsTimesPanel, blocks};
use crate::cpu::simd::{by_gate, by_unit, load, store, tanh};
use crate::cpu::threads::{for_all, with_scratch, worth};
use crate::kernels::lstm_sequence_forward::fast::{SPLIT_FROM, task_rows};
use crate::reference::{Lengths, PANEL, Panels, SequenceBackward, panels};

/// Rows up to which a timestep is split over its units, where the weights are large.
const FEW_ROWS: usize = 4;

/// As [`reference::lstm_sequence_backward`](crate::reference::lstm_sequence_backward). Every sum is one
/// chain of multiply-adds, so that results don't depend on the split.
pub(super) fn lstm_sequence_backward(
    sequence: &SequenceBackward<'_, f32>,
    w: &[f32],
    c: &[f32],
    dy: &[f32],
    gates: &mut [f32],
    dc: &mut [f32],
) {
    let hidden = sequence.hidden;
    if !sequence.packed {
        let shape = Panels { k: 4 * hidden, n: hidden, transpose: true, ldb: 4 * hidden };
        return with_scratch(shape.len(), |packed| {
            pack(&shape, w, packed);
            let sequence = SequenceBackward { packed: true, ..*sequence };
            lstm_sequence_backward(&sequence, packed, c, dy, gates, dc);
        });
    }
    let w = &w[..panels(4 * hidden, hidden)];
    let (batch, walk) = (sequence.batch, sequence.walk);
    let slot = batch * hidden;
    let work = 4 * hidden * slot * walk.steps;
    let rows = task_rows(hidden);
    let incoming = usize::from(sequence.incoming);
    let mut tasks: Vec<Task<'_>> = dc
        .chunks_mut(hidden * rows)
        .enumerate()
        .map(|(i, dc)| Task {
            sequence,
            split: batch <= FEW_ROWS && worth(work) && 4 * hidden * slot >= SPLIT_FROM,
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
    let arch = Arch::new();
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
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Task { sequence: s, first, rows, w, c, dy, mut gates, dc, .. } = self;
        let (hidden, slot, walk) = (s.hidden, s.batch * s.hidden, s.walk);
        let before = usize::from(s.incoming);
        let mut tile = [0.0; ROWS * PANEL];
        for n in 0..walk.steps {
            let (done, rest) = gates.split_at_mut(n + before);
            let gates = &mut *rest[0];
            let own = first * hidden;
            let step = Step {
                hidden,
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
                let mut of_rows =
                    Rows { count: rows, gates: Default::default(), dc: Default::default() };
                let parts = gates.chunks_mut(4 * hidden).zip(dc.chunks_mut(hidden));
                for (r, (gates, dc)) in parts.enumerate() {
                    (of_rows.gates[r], of_rows.dc[r]) = (gates, dc);
                }
                split_units(&step, 0, of_rows);
                continue;
            }
            for unit in (0..hidden).step_by(PANEL) {
                let units = PANEL.min(hidden - unit);
                for (row, count) in blocks(rows) {
                    step.product(simd, unit, (row, count), &mut tile);
                    for (r, tile) in (row..row + count).zip(tile.chunks_exact(PANEL)) {
                        let at = r * hidden + unit;
                        let gates = &mut gates[4 * at..][..4 * units];
                        step.cells(simd, (r, unit), tile, gates, &mut dc[at..][..units]);
                    }
                }
            }
        }
    }
}

/// Products of a few rows and a panel.
type Tile = [f32; ROWS * PANEL];

/// What the units of a timestep share.
struct Step<'a> {
    hidden: usize,
    w: &'a [f32],
    incoming: Option<&'a [f32]>,
    c_prev: &'a [f32],
    c: &'a [f32],
    dy: Option<(&'a [f32], usize)>,
    lengths: Option<Lengths<'a, f32>>,
}

impl Step<'_> {
    /// What comes back to some rows of the panel of `unit` from the step that ran after this one.
    #[inline(always)]
    fn product<S: Simd>(
        &self,
        simd: S,
        unit: usize,
        (row, count): (usize, usize),
        tile: &mut Tile,
    ) {
        let terms = 4 * self.hidden;
        if let Some(incoming) = self.incoming {
            simd.vectorize(RowsTimesPanel {
                rows: count,
                columns: (self.hidden - unit).min(PANEL),
                left: Left::Rows(&incoming[row * terms..], terms),
                panel: &self.w[unit * terms..][..terms * PANEL],
                ldp: PANEL,
                terms,
                from: From::Zero,
                out: tile,
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
        dc: &mut [f32],
    ) {
        if self.lengths.is_some_and(|lengths| lengths.ended(r)) {
            return gates.fill(0.0);
        }
        let (lanes, units) = (S::F32_LANES, dc.len());
        let at = r * self.hidden + unit;
        let (c_prev, c) = (&self.c_prev[at..][..units], &self.c[at..][..units]);
        let dy = self.dy.map(|(dy, row)| &dy[r * row + unit..][..units]);
        let one = simd.splat_f32s(1.0);
        // 1 - x^2, and x (1 - x).
        let tanh_slope = |x| simd.negate_mul_add_f32s(x, x, one);
        let sigmoid_slope = |x| simd.negate_mul_add_f32s(x, x, x);
        for unit in (0..units).step_by(lanes) {
            let part = |v: usize| 4 * unit + v * lanes;
            let mut dh = load(simd, &tile[unit..]);
            if let Some(dy) = dy {
                dh = simd.add_f32s(dh, load(simd, &dy[unit..]));
            }
            let quads = std::array::from_fn(|v| load(simd, gates.get(part(v)..).unwrap_or(&[])));
            let [i, f, g, o] = by_gate(simd, quads);
            let tanh_c = tanh(simd, load(simd, &c[unit..]));
            let d_h_o = simd.mul_f32s(dh, o);
            let d_cell = simd.mul_add_f32s(d_h_o, tanh_slope(tanh_c), load(simd, &dc[unit..]));
            let d_i = simd.mul_f32s(simd.mul_f32s(d_cell, g), sigmoid_slope(i));
            let c_prev = load(simd, &c_prev[unit..]);
            let d_f = simd.mul_f32s(simd.mul_f32s(d_cell, c_prev), sigmoid_slope(f));
            let d_g = simd.mul_f32s(simd.mul_f32s(d_cell, i), tanh_slope(g));
            let d_o = simd.mul_f32s(simd.mul_f32s(dh, tanh_c), sigmoid_slope(o));
            store(simd, &mut dc[unit..], simd.mul_f32s(d_cell, f));
            for (v, quads) in by_unit(simd, [d_i, d_f, d_g, d_o]).into_iter().enumerate() {
                if let Some(gates) = gates.get_mut(part(v)..) {
                    store(simd, gates, quads);
                }
            }
        }
    }
}

/// Some units of a few rows.
struct Rows<'a> {
    count: usize,
    gates: [&'a mut [f32]; FEW_ROWS],
    dc: [&'a mut [f32]; FEW_ROWS],
}

/// Panels that are not split further.
const SPLIT: usize = 2;

/// A timestep of a few rows from `unit` on, in halves side by side.
fn split_units(step: &Step<'_>, unit: usize, mut rows: Rows<'_>) {
    let panels = rows.dc[0].len().div_ceil(PANEL);
    if panels <= SPLIT {
        return Arch::new().dispatch(Units { step, unit, rows });
    }
    let half = panels / 2 * PANEL;
    let mut right = Rows { count: rows.count, gates: Default::default(), dc: Default::default() };
    for r in 0..rows.count {
        let gates = std::mem::take(&mut rows.gates[r]);
        (rows.gates[r], right.gates[r]) = gates.split_at_mut(4 * half);
        (rows.dc[r], right.dc[r]) = std::mem::take(&mut rows.dc[r]).split_at_mut(half);
    }
    rayon::join(|| split_units(step, unit, rows), || split_units(step, unit + half, right));
}

/// Some units of a few rows, from `unit` on.
struct Units<'s, 'a> {
    step: &'s Step<'s>,
    unit: usize,
    rows: Rows<'a>,
}

impl WithSimd for Units<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Units { step, unit, rows } = self;
        let (all, mut tile) = (rows.dc[0].len(), [0.0; ROWS * PANEL]);
        for first in (0..all).step_by(PANEL) {
            let units = PANEL.min(all - first);
            step.product(simd, unit + first, (0, rows.count), &mut tile);
            for (r, tile) in tile.chunks_exact(PANEL).take(rows.count).enumerate() {
                let gates = &mut rows.gates[r][4 * first..][..4 * units];
                let dc = &mut rows.dc[r][first..][..units];
                step.cells(simd, (r, unit + first), tile, gates, dc);
            }
        }
    }
}
