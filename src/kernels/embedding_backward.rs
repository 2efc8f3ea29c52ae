//! Host side of `embedding_backward`.

use super::{EMBEDDING_BACKWARD, View, flag, input, linear_grid, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Real, Segments, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows of the gradient that are written.
        pub tokens: u32,
        /// Elements of a row.
        pub width: u32,
        /// The token of the first of them.
        pub first_token: u32,
        /// The first of the sorted positions that count.
        pub first: u32,
        /// The one after the last.
        pub end: u32,
        /// Where the incoming gradient starts in its binding.
        pub dy_start: u32,
        /// Where the sorted positions start in their binding.
        pub order_start: u32,
        /// Where the offsets start in their binding.
        pub offsets_start: u32,
        /// Where the gradient starts in its binding.
        pub dweight_start: u32,
    }
}

/// The buffers of one launch; `order` and `offsets` are whole, from
/// [`sort_tokens`](reference::sort_tokens).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// The incoming gradient, `[R, K]`.
    pub dy: View,
    /// Its rows, sorted by their tokens, `[R]`.
    pub order: View,
    /// Where those of each token begin, `[V + 1]`.
    pub offsets: View,
    /// The gradient of the rows from the first token on, `[tokens, K]`.
    pub dweight: View,
}

/// The most sorted positions for which one invocation stays within `budget` loop iterations: one
/// each, and the test that ends the loop; the loop over the results takes 5.
pub fn positions_within(budget: usize) -> usize {
    budget.saturating_sub(6).max(1)
}

/// The gradient of the `tokens` rows of an embedding's weight from `first_token` on, written or added:
/// of each token's sorted positions, those in `first..end` are summed.
pub fn dispatch(
    (tokens, width): (usize, usize),
    first_token: usize,
    (first, end): (usize, usize),
    accumulate: bool,
    at: &Operands,
) -> Dispatch {
    let params = Params {
        tokens: tokens as u32,
        width: width as u32,
        first_token: first_token as u32,
        first: first as u32,
        end: end as u32,
        dy_start: at.dy.start(),
        order_start: at.order.start(),
        offsets_start: at.offsets.start(),
        dweight_start: at.dweight.start(),
    };
    Dispatch {
        kernel: EMBEDDING_BACKWARD,
        variant: 0,
        constants: vec![("ACCUMULATE", flag(accumulate))],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![at.dy.range, at.order.range, at.offsets.range, at.dweight.range],
        grid: linear_grid(tokens * width.div_ceil(4)),
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    let p: Params = call.params();
    let accumulate = call.dispatch.constant("ACCUMULATE") != 0.0;
    let [dy, order, offsets, dweight] = call.args else { unreachable!("four bindings") };
    let segments = Segments {
        order: input(order, p.order_start),
        offsets: input(offsets, p.offsets_start),
        positions: (p.first as usize, p.end as usize),
    };
    let width = p.width as usize;
    reference::embedding_backward(
        width,
        p.first_token as usize,
        segments,
        accumulate,
        input(dy, p.dy_start),
        &mut output(dweight, p.dweight_start)[..p.tokens as usize * width],
    );
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "embedding_backward",
        bindings: const {
            &[
                read("dy", "[R, K]"),
                read("order", "[R]"),
                read("offsets", "[V + 1]"),
                write("dweight", "[tokens, K]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "segments",
            concat!(
                include_str!("../../shaders/common/blocks.wgsl"),
                include_str!("../../shaders/embedding_backward.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        fast: None,
        scale: None,
        tolerance: |d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            // One more where the sum is added.
            Tolerance::Terms(p.end.saturating_sub(p.first) as usize + 1)
        },
    }
}
