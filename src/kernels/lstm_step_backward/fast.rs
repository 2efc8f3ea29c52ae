//! The fast CPU form of `lstm_step_backward`: a timestep of the walk of `lstm_sequence_backward`.

use pulp::{Simd, WithSimd};

use super::OneStep;
use crate::cpu::pack;
use crate::cpu::panel::Tile;
use crate::cpu::simd::arch;
use crate::cpu::threads::{for_all, with_scratch, worth};
use crate::kernels::cell::vectors::{Options, SequenceMasks};
use crate::kernels::lstm_sequence_backward::fast::Step;
use crate::kernels::lstm_sequence_forward::fast::task_rows;
use crate::reference::{Draws, Panels};

/// As [`reference::lstm_step_backward`](crate::reference::lstm_step_backward), a task some rows.
pub(super) fn lstm_step_backward(one: OneStep<'_, f32>) {
    let OneStep { step, w, gates, c_prev, c, dc, zoned } = one;
    let (hidden, terms) = (step.hidden, 4 * step.terms);
    let rows = task_rows(hidden, dc.len() / hidden, dc.len() * terms);
    let shape = Panels::dense(terms, hidden, true);
    // Where nothing comes back the weights aren't read.
    let len = if step.incoming.is_some() { shape.len() } else { 0 };
    let side_by_side = worth(dc.len() * terms);
    let draws = |first: usize| step.draws.map(|d| Draws { row: d.row + first as u32, ..d });
    let masks: Vec<SequenceMasks> = (0..dc.len().div_ceil(hidden * rows))
        .map(|i| SequenceMasks::new(&step.cell, draws(i * rows), (rows, hidden)))
        .collect();
    let mut zoned = zoned.chunks_mut(hidden * rows);
    with_scratch(len, |packed| {
        if len > 0 {
            pack(&shape, w, packed);
        }
        let rows_of = gates.chunks_mut(4 * hidden * rows).zip(dc.chunks_mut(hidden * rows));
        let tasks: Vec<Task<'_>> = rows_of
            .enumerate()
            .map(|(i, (gates, dc))| {
                let first = i * rows;
                let step = Step {
                    options: Options::new((&step.cell, step.peepholes), draws(first), &masks[i]),
                    hidden,
                    terms,
                    w: packed,
                    incoming: step.incoming.map(|all| &all[first * terms..]),
                    c_prev: &c_prev[first * hidden..],
                    c: &c[first * hidden..],
                    dy: step.dy.map(|(dy, row)| (&dy[first * row..], row)),
                    lengths: step.lengths.map(|lengths| lengths.rows_from(first)),
                };
                let zoned = zoned.next().unwrap_or_default();
                Task { rows: dc.len() / hidden, step, gates, dc, zoned }
            })
            .collect();
        let arch = arch();
        for_all(tasks, side_by_side, |task| arch.dispatch(task));
    });
}

/// Some rows.
struct Task<'a> {
    rows: usize,
    step: Step<'a>,
    gates: &'a mut [f32],
    dc: &'a mut [f32],
    zoned: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.step.rows(simd, self.rows, self.gates, (self.dc, self.zoned), &mut Tile::new());
    }
}
