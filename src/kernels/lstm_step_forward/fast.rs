//! The fast CPU form of `lstm_step_forward`: a timestep of the walk of `lstm_sequence_forward`.

use pulp::{Simd, WithSimd};

use crate::cpu::pack;
use crate::cpu::panel::Tile;
use crate::cpu::simd::arch;
use crate::cpu::threads::{for_all, with_scratch, worth};
use crate::kernels::cell::vectors::{Options, SequenceMasks};
use crate::kernels::lstm_sequence_forward::fast::{States, Step, task_rows};
use crate::reference::{Draws, Panels, StepForward};

/// As [`reference::lstm_step_forward`](crate::reference::lstm_step_forward), a task some rows.
pub(super) fn lstm_step_forward(
    step: &StepForward<'_, f32>,
    u: &[f32],
    gates: &mut [f32],
    h_prev: &[f32],
    c_prev: &[f32],
    h: &mut [f32],
    c: &mut [f32],
) {
    let (hidden, work) = (step.hidden, gates.len() * step.terms);
    let rows = task_rows(hidden, c.len() / hidden, work);
    let shape = Panels::dense(step.terms, 4 * hidden, false);
    let side_by_side = worth(work);
    let draws = |first: usize| step.draws.map(|d| Draws { row: d.row + first as u32, ..d });
    let masks: Vec<SequenceMasks> = (0..c.len().div_ceil(hidden * rows))
        .map(|i| SequenceMasks::new(&step.cell, draws(i * rows), (rows, hidden)))
        .collect();
    with_scratch(shape.len(), |packed| {
        pack(&shape, u, packed);
        let states = gates
            .chunks_mut(4 * hidden * rows)
            .zip(c_prev.chunks(hidden * rows))
            .zip(c.chunks_mut(hidden * rows).zip(h.chunks_mut(step.h_row * rows)));
        let tasks: Vec<Task<'_>> = states
            .enumerate()
            .map(|(i, ((gates, c_prev), (c, h)))| Task {
                rows: gates.len() / (4 * hidden),
                step: Step {
                    options: Options::new((&step.cell, step.peepholes), draws(i * rows), &masks[i]),
                    zoned: (
                        step.zoned.get(i * rows * step.h_prev_row..).unwrap_or_default(),
                        step.h_prev_row,
                    ),
                    hidden,
                    terms: step.terms,
                    h_row: step.h_row,
                    h_prev_row: step.h_prev_row,
                    keep: true,
                    u: packed,
                    x: None,
                    h_prev: &h_prev[i * rows * step.h_prev_row..],
                    lengths: step.lengths.map(|lengths| lengths.rows_from(i * rows)),
                },
                states: States { gates, c_prev, c, h },
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
    states: States<'a>,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.step.rows(simd, self.rows, false, self.states, &mut Tile::new());
    }
}
