//! Host side of `align_sequence`.

use super::{
    ALIGN_SEQUENCE, Padding, View, flag, input, linear_grid, output, read, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Alignment, Lengths, Real, Strides, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Timesteps that are written.
        pub steps: u32,
        /// Rows `B`.
        pub batch: u32,
        /// Elements of a row.
        pub width: u32,
        /// The first timestep that is written.
        pub first: u32,
        /// Timesteps `T` of the longest row.
        pub longest: u32,
        /// The first timestep that can be read.
        pub shown_first: u32,
        /// How many there are.
        pub shown: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// Where what is copied starts.
        pub from_start: u32,
        /// Elements from one of its timesteps to the next.
        pub from_step: u32,
        /// Elements from one of its rows to the next.
        pub from_row: u32,
        /// Where the copy starts.
        pub to_start: u32,
        /// Elements from one of its timesteps to the next.
        pub to_step: u32,
        /// Elements from one of its rows to the next.
        pub to_row: u32,
    }
}

/// Writes timesteps `first` to `first + steps` of a `[T, B, K]`, `longest` timesteps long, from those of
/// another that are `shown`: the first one, and how many.
pub fn dispatch(
    alignment: Alignment,
    (first, steps, longest): (usize, usize, usize),
    (batch, width): (usize, usize),
    (shown_first, shown): (usize, usize),
    padding: Padding,
    (from, source): (Strides, View),
    (to, copied): (Strides, View),
) -> Dispatch {
    let params = Params {
        steps: steps as u32,
        batch: batch as u32,
        width: width as u32,
        first: first as u32,
        longest: longest as u32,
        shown_first: shown_first as u32,
        shown: shown as u32,
        lengths_start: padding.start(),
        from_start: source.start(),
        from_step: from.step as u32,
        from_row: from.row as u32,
        to_start: copied.start(),
        to_step: to.step as u32,
        to_row: to.row as u32,
    };
    Dispatch {
        kernel: ALIGN_SEQUENCE,
        variant: 0,
        constants: vec![
            ("LENGTHS", padding.flag()),
            ("FROM_RIGHT", flag(alignment.from_right)),
            ("TO_RIGHT", flag(alignment.to_right)),
            ("REVERSE", flag(alignment.reverse)),
        ],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![source.range, padding.range(source.range), copied.range],
        grid: linear_grid(steps * batch * width.div_ceil(4)),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let is = |name: &str| call.dispatch.constant(name) != flag(false);
    let alignment = Alignment {
        from_right: is("FROM_RIGHT"),
        to_right: is("TO_RIGHT"),
        reverse: is("REVERSE"),
    };
    let padded = is("LENGTHS");
    let strides = |step: u32, row: u32| Strides { step: step as usize, row: row as usize };
    let [source, lengths, copied] = call.args else { unreachable!("three bindings") };
    let lengths = Lengths { lengths: input(lengths, p.lengths_start), t: 0 };
    reference::align_sequence(
        alignment,
        (p.first as usize, p.steps as usize, p.longest as usize),
        (p.batch as usize, p.width as usize),
        (p.shown_first as usize, p.shown as usize),
        padded.then_some(lengths),
        (strides(p.from_step, p.from_row), input(source, p.from_start)),
        (strides(p.to_step, p.to_row), output(copied, p.to_start)),
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "align_sequence",
        bindings: const {
            &[read("source", "[T, B, K]"), read("lengths", "[B]"), write("copied", "[T, B, K]")]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            concat!(
                include_str!("../../shaders/common/blocks.wgsl"),
                include_str!("../../shaders/common/lengths.wgsl"),
                include_str!("../../shaders/align_sequence.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |_| Tolerance::EXACT,
    }
}
