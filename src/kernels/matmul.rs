//! Host side of `matmul`.

use super::{MATMUL, View, flag, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Product, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Rows of C.
        pub m: u32,
        /// Columns of C.
        pub n: u32,
        /// Terms of a sum.
        pub k: u32,
        /// Elements from one stored row of A to the next.
        pub lda: u32,
        /// Elements from one stored row of B to the next.
        pub ldb: u32,
        /// Elements from one row of C to the next.
        pub ldc: u32,
        /// Where A starts in its binding.
        pub a_start: u32,
        /// Where B starts in its binding.
        pub b_start: u32,
        /// Where C starts in its binding.
        pub c_start: u32,
        /// Where the first bias starts in its binding.
        pub bias_1_start: u32,
        /// Where the second bias starts in its binding.
        pub bias_2_start: u32,
        /// How many biases count.
        pub biases: u32,
        /// 1 where the product is added to C.
        pub accumulate: u32,
        /// Where the A of a pair's second product starts.
        pub a_second: u32,
        /// Where its B starts.
        pub b_second: u32,
        /// Where its C starts.
        pub c_second: u32,
    }
}

/// Rows and columns of C that a workgroup computes.
pub const TILE: usize = 64;

/// Terms of a tile of K.
const TILE_K: usize = 16;

/// The most terms of a sum for which one invocation stays within `budget` loop iterations. A
/// tile takes 16, and one more of each of the two loops, since the test that ends a loop counts
/// as well; the loops over the results at the end take 26.
pub fn terms_within(budget: usize) -> usize {
    (budget.saturating_sub(32) / (TILE_K + 2) * TILE_K).max(TILE_K)
}

/// `c = (c +) op(a) . op(b) (+ biases)`, with at most two biases.
pub fn dispatch(p: &Product, a: View, b: View, biases: &[View], c: View) -> Dispatch {
    // A bias that isn't there is bound to B, which is read-only as well, and never read.
    let bias = |i: usize| biases.get(i).copied().unwrap_or(View { range: b.range, start: 0 });
    let params = Params {
        m: p.m as u32,
        n: p.n as u32,
        k: p.k as u32,
        lda: p.lda as u32,
        ldb: p.ldb as u32,
        ldc: p.ldc as u32,
        a_start: a.start(),
        b_start: b.start(),
        c_start: c.start(),
        bias_1_start: bias(0).start(),
        bias_2_start: bias(1).start(),
        biases: biases.len() as u32,
        accumulate: p.accumulate.into(),
        a_second: a.start(),
        b_second: b.start(),
        c_second: c.start(),
    };
    Dispatch {
        kernel: MATMUL,
        variant: 0,
        constants: vec![
            ("TRANSPOSE_A", flag(p.transpose_a)),
            ("TRANSPOSE_B", flag(p.transpose_b)),
            ("PACKED_B", flag(p.packed_b)),
        ],
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![a.range, b.range, bias(0).range, bias(1).range, c.range],
        grid: [groups(p.n, TILE), groups(p.m, TILE), 1],
    }
}

/// A pair of products of one shape, without biases: `second` are the starts of the second's A, B
/// and C in the ranges of the first's.
pub fn dispatch_pair(p: &Product, a: View, b: View, c: View, second: [usize; 3]) -> Dispatch {
    let mut dispatch = dispatch(p, a, b, &[], c);
    let mut params: Params = bytemuck::pod_read_unaligned(&dispatch.params);
    [params.a_second, params.b_second, params.c_second] = second.map(|start| start as u32);
    dispatch.params = bytemuck::bytes_of(&params).to_vec();
    dispatch.grid[2] = 2;
    dispatch
}

/// The product that a launch asks for.
fn product(d: &Dispatch, p: &Params) -> Product {
    Product {
        m: p.m as usize,
        n: p.n as usize,
        k: p.k as usize,
        transpose_a: d.constant("TRANSPOSE_A") != 0.0,
        transpose_b: d.constant("TRANSPOSE_B") != 0.0,
        packed_b: d.constant("PACKED_B") != 0.0,
        lda: p.lda as usize,
        ldb: p.ldb as usize,
        ldc: p.ldc as usize,
        accumulate: p.accumulate == 1,
    }
}

fn with<R: Real>(call: Call<'_, '_, R>, form: impl Fn(&Product, &[R], &[R], &[&[R]], &mut [R])) {
    let p: Params = call.params();
    let shape = product(call.dispatch, &p);
    let [a, b, bias_1, bias_2, c] = call.args else { unreachable!("five bindings") };
    let biases = [input(bias_1, p.bias_1_start), input(bias_2, p.bias_2_start)];
    let biases = &biases[..p.biases as usize];
    form(&shape, input(a, p.a_start), input(b, p.b_start), biases, output(c, p.c_start));
    if call.dispatch.grid[2] == 2 {
        let (a, b) = (input(a, p.a_second), input(b, p.b_second));
        form(&shape, a, b, biases, output(c, p.c_second));
    }
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, reference::matmul);
}

#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    with(call, crate::cpu::matmul);
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "matmul",
        bindings: const {
            &[
                read("a", "[M, K]"),
                read("b", "[K, N]"),
                read("bias_1", "[N]"),
                read("bias_2", "[N]"),
                write("c", "[M, N]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "tiled",
            concat!(
                include_str!("../../shaders/common/panels.wgsl"),
                include_str!("../../shaders/matmul.wgsl")
            ),
            [16, 16, 1],
        )],
        work: Some(|d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            u64::from(d.grid[2]) * u64::from(p.m) * u64::from(p.n) * u64::from(p.k)
        }),
        twin,
        twin_f64: twin,
        #[cfg(feature = "cpu")]
        fast: Some(fast),
        #[cfg(not(feature = "cpu"))]
        fast: None,
        scale: None,
        tolerance: |d| {
            Tolerance::Terms(bytemuck::pod_read_unaligned::<Params>(&d.params).k as usize)
        },
    }
}
