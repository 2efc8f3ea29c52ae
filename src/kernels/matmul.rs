//! Host side of `matmul`.

use super::cut::{PART, SUBGROUP, in_subgroups, parts};
use super::{MATMUL, Tile, View, flag, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, Variant, params};
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
        /// How often the sums of B's columns are wanted.
        pub sums: u32,
        /// Where they go first, in C's binding.
        pub sum_1_start: u32,
        /// Where they go second.
        pub sum_2_start: u32,
        /// Terms of a slice, 0 where there is one.
        pub slice: u32,
        /// Elements from the result of one slice to the next's.
        pub slice_stride: u32,
    }
}

/// Columns of C that a workgroup computes, and rows at most.
pub const TILE: usize = 64;

/// Rows of C that a workgroup computes at least.
pub const FEWEST_ROWS: usize = PART;

/// Terms of a tile of K.
pub const TILE_K: usize = 16;

/// The most terms of a sum for which one invocation stays within `budget` loop iterations, where the
/// driver unrolls nothing; the test that ends a loop counts as well. Through workgroup memory 16 terms take
/// two loops over them; in quads of 128 x 128, 2 x (4 + 2 x (3 + 6) + 3 + 2 x 3); through broadcasts, four
/// of the one loop. The loops over the results at the end take up to 60.
pub fn terms_within(budget: usize, tile: Tile) -> usize {
    let each = match tile {
        Tile::Quads64 | Tile::Quads128 => 4 * TILE_K,
        Tile::Workgroup | Tile::Split => 2 * TILE_K + 3,
        Tile::Broadcast => TILE_K / 4,
    };
    (budget.saturating_sub(64) / each * TILE_K).max(TILE_K)
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
        sums: 0,
        sum_1_start: 0,
        sum_2_start: 0,
        slice: 0,
        slice_stride: 0,
    };
    Dispatch {
        kernel: MATMUL,
        variant: 0,
        constants: vec![
            ("TRANSPOSE_A", flag(p.transpose_a)),
            ("TRANSPOSE_B", flag(p.transpose_b)),
            ("PACKED_B", flag(p.packed_b)),
            ("COLUMN_SUMS", 0.0),
            ("ROW_SUMS", 0.0),
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

/// What a product adds up beside itself: where it is the gradient of a weight, that is a bias's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// B's columns.
    Columns,
    /// The rows of op(A).
    Rows,
}

/// The same launch, which also puts other sums, or adds them where it adds the product, at one or two
/// places of C's range.
///
/// # Panics
/// For more places than two.
pub fn with_sums(mut dispatch: Dispatch, of: Sums, starts: &[usize]) -> Dispatch {
    assert!(starts.len() <= 2, "sums for {} places", starts.len());
    let mut params: Params = bytemuck::pod_read_unaligned(&dispatch.params);
    params.sums = starts.len() as u32;
    let start = |i: usize| starts.get(i).map_or(0, |&start| start as u32);
    (params.sum_1_start, params.sum_2_start) = (start(0), start(1));
    dispatch.params = bytemuck::bytes_of(&params).to_vec();
    set(&mut dispatch, "COLUMN_SUMS", flag(!starts.is_empty() && of == Sums::Columns));
    set(&mut dispatch, "ROW_SUMS", flag(!starts.is_empty() && of == Sums::Rows));
    dispatch
}

/// The same sums in slices of so many terms, a multiple of [`TILE_K`]: their results stand `stride`
/// elements apart, their other sums N or M.
pub fn with_slices(mut dispatch: Dispatch, terms: usize, stride: usize) -> Dispatch {
    let mut params: Params = bytemuck::pod_read_unaligned(&dispatch.params);
    (params.slice, params.slice_stride) = (terms as u32, stride as u32);
    dispatch.params = bytemuck::bytes_of(&params).to_vec();
    dispatch.grid[2] = groups(params.k as usize, terms);
    dispatch
}

/// The same launch cut in another way. It stays as it is with B in panels, and where the way isn't for
/// it: broadcasts for slices, quads for operands that don't come in fours.
pub fn with_tile(mut dispatch: Dispatch, tile: Tile) -> Dispatch {
    if dispatch.constant("PACKED_B") != 0.0 {
        return dispatch;
    }
    let p: Params = bytemuck::pod_read_unaligned(&dispatch.params);
    let quads = in_fours(&dispatch, &p);
    let size = match tile {
        Tile::Quads64 => 64,
        Tile::Quads128 => 128,
        _ => 0,
    };
    if size > 0 && quads {
        dispatch.constants.retain(|(name, _)| *name != "PACKED_B");
        dispatch.variant = if size == 64 { TILED_QUADS_64 } else { TILED_QUADS_128 };
        (dispatch.grid[0], dispatch.grid[1]) =
            (groups(p.n as usize, size), groups(p.m as usize, size));
    }
    if tile != Tile::Broadcast || p.slice > 0 {
        return dispatch;
    }
    let parts = parts(p.m as usize);
    dispatch.variant = if quads { QUADS } else { ELEMENTS };
    dispatch.constants.retain(|(name, _)| *name != "PACKED_B");
    dispatch.constants.push(("PARTS", parts as f64));
    dispatch.grid[1] = groups(p.m as usize, PART * parts);
    dispatch
}

/// Whether all operands of a launch come in fours, as `quads.wgsl` says.
fn in_fours(dispatch: &Dispatch, p: &Params) -> bool {
    let is = |name: &str| dispatch.constant(name) != 0.0;
    let (transpose_a, transpose_b) = (is("TRANSPOSE_A"), is("TRANSPOSE_B"));
    let along_k = if transpose_a && !transpose_b { 0 } else { p.k };
    let along_m = if transpose_a || is("ROW_SUMS") { p.m } else { 0 };
    let starts = [p.a_start, p.b_start, p.c_start, p.a_second, p.b_second, p.c_second];
    let others =
        [p.bias_1_start, p.bias_2_start, p.sum_1_start, p.sum_2_start, p.slice, p.slice_stride];
    let sizes = [p.n, p.lda, p.ldb, p.ldc, along_k, along_m];
    // A binding that is no multiple of four numbers shows fewer quads than it has.
    let ranges = dispatch.bindings.iter().all(|range| range.start % 4 == 0 && range.len % 4 == 0);
    ranges && starts.iter().chain(&others).chain(&sizes).all(|n| n % 4 == 0)
}

/// Gives a pipeline constant another value.
fn set(dispatch: &mut Dispatch, name: &str, value: f64) {
    for constant in dispatch.constants.iter_mut().filter(|constant| constant.0 == name) {
        constant.1 = value;
    }
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

/// Each slice as a product of its own.
fn slices<R: Real>(
    (p, whole, of): (&Params, &Product, Sums),
    (a, b): (&[R], &[R]),
    c: &mut [R],
    form: impl Fn(&Product, &[R], &[R], &[&[R]], &mut [R]),
) {
    let terms = p.slice as usize;
    for (slice, k) in (0..whole.k).step_by(terms).enumerate() {
        let part = Product { k: terms.min(whole.k - k), ..*whole };
        let a = &a[k * if whole.transpose_a { whole.lda } else { 1 }..];
        let b = &b[k * if whole.transpose_b { 1 } else { whole.ldb }..];
        let stride = slice * p.slice_stride as usize;
        form(&part, a, b, &[], &mut c[p.c_start as usize + stride..]);
        sums((p, &part, of), (a, b), c, slice);
    }
}

/// The other sums of a slice.
fn sums<R: Real>(
    (p, part, of): (&Params, &Product, Sums),
    (a, b): (&[R], &[R]),
    c: &mut [R],
    slice: usize,
) {
    for start in [p.sum_1_start, p.sum_2_start].into_iter().take(p.sums as usize) {
        let start = start as usize;
        match of {
            Sums::Columns => reference::column_sums(part, b, &mut c[start + slice * part.n..]),
            Sums::Rows => reference::row_sums(part, a, &mut c[start + slice * part.m..]),
        }
    }
}

fn with<R: Real>(call: Call<'_, '_, R>, form: impl Fn(&Product, &[R], &[R], &[&[R]], &mut [R])) {
    let p: Params = call.params();
    let shape = product(call.dispatch, &p);
    let [a, b, bias_1, bias_2, c] = call.args else { unreachable!("five bindings") };
    let of = match call.dispatch.constant("ROW_SUMS") != 0.0 {
        true => Sums::Rows,
        false => Sums::Columns,
    };
    let first = (input(a, p.a_start), input(b, p.b_start));
    if p.slice > 0 {
        return slices((&p, &shape, of), first, output(c, 0), form);
    }
    let biases = [input(bias_1, p.bias_1_start), input(bias_2, p.bias_2_start)];
    let biases = &biases[..p.biases as usize];
    form(&shape, first.0, first.1, biases, output(c, p.c_start));
    sums((&p, &shape, of), first, output(c, 0), 0);
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

/// The variants of [`Tile::Broadcast`].
const QUADS: usize = 1;
const ELEMENTS: usize = 2;

/// The variants of [`Tile::Quads64`] and [`Tile::Quads128`].
const TILED_QUADS_64: usize = 3;
const TILED_QUADS_128: usize = 4;

fn tiled_quads(name: &'static str, tile: &str) -> Variant {
    let rest = concat!(
        include_str!("../../shaders/matmul/params.wgsl"),
        include_str!("../../shaders/matmul/quads.wgsl"),
        include_str!("../../shaders/matmul/tiled_quads.wgsl")
    );
    Variant::own(name, [tile, "\n", rest].concat(), [16, 16, 1])
}

fn broadcast(name: &'static str, source: &'static str) -> Variant {
    in_subgroups(variant(name, source, [SUBGROUP, 1, 1]))
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
        variants: vec![
            variant(
                "tiled",
                concat!(
                    include_str!("../../shaders/common/panels.wgsl"),
                    include_str!("../../shaders/matmul/params.wgsl"),
                    include_str!("../../shaders/matmul/tiled.wgsl")
                ),
                [16, 16, 1],
            ),
            broadcast(
                "broadcast, quads",
                concat!(
                    include_str!("../../shaders/common/eight_rows.wgsl"),
                    include_str!("../../shaders/matmul/params.wgsl"),
                    include_str!("../../shaders/matmul/quads.wgsl"),
                    include_str!("../../shaders/matmul/quads_rows.wgsl"),
                    include_str!("../../shaders/matmul/broadcast.wgsl")
                ),
            ),
            broadcast(
                "broadcast, elements",
                concat!(
                    include_str!("../../shaders/common/eight_rows.wgsl"),
                    include_str!("../../shaders/matmul/params.wgsl"),
                    include_str!("../../shaders/matmul/elements.wgsl"),
                    include_str!("../../shaders/matmul/elements_rows.wgsl"),
                    include_str!("../../shaders/matmul/broadcast.wgsl")
                ),
            ),
            tiled_quads("tiled, quads, 64", "const TILE = 64u;"),
            tiled_quads("tiled, quads, 128", "const TILE = 128u;"),
        ],
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
