//! Host side of `projection_clip`.

use super::{
    PROJECTION_CLIP, Padding, View, flag, input, linear_grid, output, read, variant, write,
};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Lengths, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows `B`.
        pub batch: u32,
        /// Features `P`.
        pub width: u32,
        /// The bound.
        pub bound: f32,
        /// Where the hidden states start, back.
        pub h_start: u32,
        /// Elements from one row of them to the next.
        pub h_row: u32,
        /// Where what is changed starts.
        pub x_start: u32,
        /// Elements from one row of it to the next.
        pub x_row: u32,
        /// Where the lengths start.
        pub lengths_start: u32,
        /// The timestep.
        pub t: u32,
    }
}

/// Bounds the hidden states `x [B, P]`, or with those that were bounded, as a view and the elements from one row to
/// the next, drops the gradients `x` of what the bound has changed. `x` is a view and the elements from one row to
/// the next as well. Rows that have ended before a timestep, if there are any, stay.
pub fn dispatch(
    bound: f32,
    (batch, width): (usize, usize),
    h: Option<(View, usize)>,
    (x, x_row): (View, usize),
    (padding, t): (Padding, usize),
    unused: View,
) -> Dispatch {
    let (shown, h_row) = h.unwrap_or((unused, 0));
    let params = Params {
        batch: batch as u32,
        width: width as u32,
        bound,
        h_start: shown.start(),
        h_row: h_row as u32,
        x_start: x.start(),
        x_row: x_row as u32,
        lengths_start: padding.start(),
        t: t as u32,
    };
    Dispatch {
        kernel: PROJECTION_CLIP,
        variant: 0,
        constants: vec![("BACKWARD", flag(h.is_some())), ("LENGTHS", padding.flag())],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![shown.range, padding.range(shown.range), x.range],
        grid: linear_grid(batch * width),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let backward = call.dispatch.constant("BACKWARD") != 0.0;
    let padded = call.dispatch.constant("LENGTHS") != 0.0;
    let [h, lengths, x] = call.args else { unreachable!("three bindings") };
    let lengths = input(lengths, p.lengths_start);
    let lengths = padded.then_some(Lengths { lengths, t: p.t as usize });
    let h = backward.then(|| (input(h, p.h_start), p.h_row as usize));
    let size = (p.batch as usize, p.width as usize);
    let x = (output(x, p.x_start), p.x_row as usize);
    reference::projection_clip(R::of(p.bound), size, lengths, h, x);
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "projection_clip",
        bindings: const { &[read("h", "[B, P]"), read("lengths", "[B]"), write("x", "[B, P]")] },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "elements",
            concat!(
                include_str!("../../shaders/common/lengths.wgsl"),
                include_str!("../../shaders/common/finite.wgsl"),
                include_str!("../../shaders/projection_clip.wgsl")
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
