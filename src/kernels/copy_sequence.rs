//! Host side of `copy_sequence`.

use super::{COPY_SEQUENCE, Padding, View, flag, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Lengths, Real, Strides, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Timesteps `T`.
        pub steps: u32,
        /// Rows `B`.
        pub batch: u32,
        /// Elements of a row.
        pub width: u32,
        /// The first timestep, where lengths count.
        pub t: u32,
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

/// Copies `[T, B, K]` from one layout to another, or adds it; timestep 0 is `t` of the lengths.
pub fn dispatch(
    (steps, batch, width): (usize, usize, usize),
    (from, source): (Strides, View),
    (to, copied): (Strides, View),
    (padding, t): (Padding, usize),
    accumulate: bool,
) -> Dispatch {
    let params = Params {
        steps: steps as u32,
        batch: batch as u32,
        width: width as u32,
        t: t as u32,
        lengths_start: padding.start(),
        from_start: source.start(),
        from_step: from.step as u32,
        from_row: from.row as u32,
        to_start: copied.start(),
        to_step: to.step as u32,
        to_row: to.row as u32,
    };
    Dispatch {
        kernel: COPY_SEQUENCE,
        variant: 0,
        constants: vec![("LENGTHS", padding.flag()), ("ACCUMULATE", flag(accumulate))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![source.range, padding.range(source.range), copied.range],
        grid: linear_grid(steps * batch * width.div_ceil(4)),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let padded = call.dispatch.constant("LENGTHS") != 0.0;
    let accumulate = call.dispatch.constant("ACCUMULATE") != 0.0;
    let strides = |step: u32, row: u32| Strides { step: step as usize, row: row as usize };
    let [source, lengths, copied] = call.args else { unreachable!("three bindings") };
    let lengths = Lengths { lengths: input(lengths, p.lengths_start), t: p.t as usize };
    reference::copy_sequence(
        (p.steps as usize, p.batch as usize, p.width as usize),
        (strides(p.from_step, p.from_row), input(source, p.from_start)),
        (strides(p.to_step, p.to_row), output(copied, p.to_start)),
        padded.then_some(lengths),
        accumulate,
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "copy_sequence",
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
                include_str!("../../shaders/copy_sequence.wgsl")
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
