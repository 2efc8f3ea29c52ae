//! Host side of `sequence_dropout`.

use super::{SEQUENCE_DROPOUT, View, cell, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, Range, params};
use crate::reference::{self, Draws, Dropout, Real, SequenceDropout, Strides, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Timesteps `T`.
        pub steps: u32,
        /// Rows `B`.
        pub batch: u32,
        /// Elements of a row.
        pub width: u32,
        /// Where the mask is drawn.
        pub place: u32,
        /// The word that is drawn.
        pub word: u32,
        /// Elements whose word is below are dropped.
        pub threshold: u32,
        /// What the others are multiplied by.
        pub scale: f32,
        /// Where the key starts in its binding.
        pub key_start: u32,
        /// Where what is read starts.
        pub from_start: u32,
        /// Where the results start.
        pub to_start: u32,
        /// Elements from one timestep to the next.
        pub step: u32,
        /// Elements from one row to the next.
        pub row: u32,
    }
}

/// What is masked: `[T, B, K]` somewhere in a buffer, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// The key `[4]`.
    pub key: View,
    /// The buffer.
    pub x: Range,
    /// Where what is read starts in it.
    pub from: usize,
    /// Where the results start, which may be the same place.
    pub to: usize,
    /// How both lie.
    pub strides: Strides,
}

/// The most timesteps of a launch for which an invocation stays within `budget` loop iterations: beside them there
/// are the ten rounds of the generator, and the tests that end both loops.
pub fn steps_within(budget: usize) -> usize {
    budget.saturating_sub(12).max(1)
}

/// Drops features of `[T, B, K]`, the same ones at all timesteps of a row: by the word of that number of what a
/// sequence draws at a place, see [`reference::sequence_dropout`].
pub fn dispatch(
    p: f64,
    (place, word): (usize, usize),
    (steps, batch, width): (usize, usize, usize),
    operands: &Operands,
) -> Dispatch {
    let drop = Dropout::new(p);
    let params = Params {
        steps: steps as u32,
        batch: batch as u32,
        width: width as u32,
        place: place as u32,
        word: word as u32,
        threshold: drop.threshold,
        scale: drop.scale,
        key_start: operands.key.start(),
        from_start: operands.from as u32,
        to_start: operands.to as u32,
        step: operands.strides.step as u32,
        row: operands.strides.row as u32,
    };
    Dispatch {
        kernel: SEQUENCE_DROPOUT,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![operands.key.range, operands.x],
        grid: linear_grid(batch * width),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let [key, x] = call.args else { unreachable!("two bindings") };
    let key = cell::words(input(key, p.key_start));
    let sequence = SequenceDropout {
        drop: Dropout { threshold: p.threshold, scale: p.scale },
        draws: Draws { key, place: p.place, t: 0, row: 0 },
        word: p.word as usize,
        from: p.from_start as usize,
        to: p.to_start as usize,
        strides: Strides { step: p.step as usize, row: p.row as usize },
    };
    let size = (p.steps as usize, p.batch as usize, p.width as usize);
    reference::sequence_dropout(&sequence, size, output(x, 0));
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "sequence_dropout",
        bindings: const { &[read("key", "[4]"), write("x", "[T, B, K]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "features",
            concat!(
                include_str!("../../shaders/common/philox.wgsl"),
                include_str!("../../shaders/sequence_dropout.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        // One multiplication; a wrong mask is wrong by the whole value.
        tolerance: |_| Tolerance::Mixed { absolute: 0.0, relative: 1e-7 },
    }
}
