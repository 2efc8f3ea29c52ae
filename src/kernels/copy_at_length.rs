//! Host side of `copy_at_length`.

use super::{COPY_AT_LENGTH, View, flag, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, SlotAtLength, Strides, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Elements of a row.
        pub width: u32,
        /// Slots of the sequence that are bound.
        pub slots: u32,
        /// What is added to a row's length to get its slot.
        pub offset: i32,
        /// What longer lengths count as.
        pub longest: i32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// Where what is copied starts.
        pub source_start: u32,
        /// Elements from one of its rows to the next.
        pub source_row: u32,
        /// Where the copy starts.
        pub copied_start: u32,
        /// Elements from one of its rows to the next.
        pub copied_row: u32,
        /// Elements from one slot of the sequence to the next.
        pub step: u32,
    }
}

/// Which way rows are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the sequence.
    Gather,
    /// To the sequence.
    Scatter,
}

/// Copies a row `[B, K]` from or to the slot that belongs to its length, or adds it. `sequence`
/// shows slot `slot.first` and those after it.
pub fn dispatch(
    way: Way,
    (batch, width): (usize, usize),
    slot: SlotAtLength,
    lengths: View,
    (strides, sequence): (Strides, View),
    (row, rows): (usize, View),
    accumulate: bool,
) -> Dispatch {
    let (sequence, rows) = ((strides.row, sequence), (row, rows));
    let (source, copied) = match way {
        Way::Gather => (sequence, rows),
        Way::Scatter => (rows, sequence),
    };
    let params = Params {
        batch: batch as u32,
        width: width as u32,
        slots: slot.slots as u32,
        offset: (slot.offset - slot.first as isize) as i32,
        longest: slot.longest as i32,
        lengths_start: lengths.start(),
        source_start: source.1.start(),
        source_row: source.0 as u32,
        copied_start: copied.1.start(),
        copied_row: copied.0 as u32,
        step: strides.step as u32,
    };
    Dispatch {
        kernel: COPY_AT_LENGTH,
        variant: 0,
        constants: vec![("SCATTER", flag(way == Way::Scatter)), ("ACCUMULATE", flag(accumulate))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![source.1.range, lengths.range, copied.1.range],
        grid: linear_grid(batch * width.div_ceil(4)),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let scatter = call.dispatch.constant("SCATTER") != 0.0;
    let accumulate = call.dispatch.constant("ACCUMULATE") != 0.0;
    let slot = SlotAtLength {
        longest: p.longest as usize,
        offset: p.offset as isize,
        first: 0,
        slots: p.slots as usize,
    };
    let size = (p.batch as usize, p.width as usize);
    let [source, lengths, copied] = call.args else { unreachable!("three bindings") };
    let (lengths, source) = (input(lengths, p.lengths_start), input(source, p.source_start));
    let copied = output(copied, p.copied_start);
    let (source_row, copied_row, step) =
        (p.source_row as usize, p.copied_row as usize, p.step as usize);
    if scatter {
        let to = Strides { step, row: copied_row };
        reference::scatter_at_length(
            size,
            slot,
            lengths,
            (source_row, source),
            (to, copied),
            accumulate,
        );
    } else {
        let from = Strides { step, row: source_row };
        reference::gather_at_length(
            size,
            slot,
            lengths,
            (from, source),
            (copied_row, copied),
            accumulate,
        );
    }
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "copy_at_length",
        bindings: const {
            &[
                read("source", "[B, K] or [slots, B, K]"),
                read("lengths", "[B]"),
                write("copied", "[slots, B, K] or [B, K]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            concat!(
                include_str!("../../shaders/common/blocks.wgsl"),
                include_str!("../../shaders/copy_at_length.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        // One addition at most.
        tolerance: |_| Tolerance::Mixed { absolute: 0.0, relative: 1e-7 },
    }
}
