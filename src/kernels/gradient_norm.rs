//! Host side of `gradient_norm`.

use super::{GRADIENT_NORM, View, groups, input, output, read, variant, write};
use crate::command::{Call, Dispatch, Kernel, params};
use crate::reference::{self, Groups, Real, Tolerance};

params! {
    /// The block of constants.
    pub struct Params {
        /// Elements.
        pub len: u32,
        /// The chunk that the launch writes first.
        pub first_chunk: u32,
        /// Elements of a chunk.
        pub chunk: u32,
        /// Where the gradients start in their binding.
        pub g_start: u32,
        /// Where the settings start in their binding.
        pub settings_start: u32,
        /// Where the group of the first block is in its binding.
        pub groups_start: u32,
        /// Where chunk 0 is in its binding.
        pub partials_start: u32,
    }
}

/// Elements that one workgroup goes over at most, 64 an invocation.
pub const CHUNK: usize = 16_384;

/// The buffers of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[G, 16]`: a row of settings a group.
    pub settings: View,
    /// `[ceil(len / 64)]`: the group of each block.
    pub groups: View,
    /// Gradients.
    pub g: View,
    /// `[chunks, 2]`: a sum of squares, and the offset of the first element that isn't finite
    /// ([`CHUNK`] where all are).
    pub partials: View,
}

/// What `len` elements come to in chunks of `chunk`, a multiple of 64 up to [`CHUNK`]; the first starts
/// chunk `first_chunk`.
pub fn dispatch(len: usize, (chunk, first_chunk): (usize, usize), at: &Operands) -> Dispatch {
    let params = Params {
        len: len as u32,
        first_chunk: first_chunk as u32,
        chunk: chunk as u32,
        g_start: at.g.start(),
        settings_start: at.settings.start(),
        groups_start: at.groups.start(),
        partials_start: at.partials.start(),
    };
    Dispatch {
        kernel: GRADIENT_NORM,
        variant: 0,
        constants: Vec::new(),
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: vec![at.settings.range, at.groups.range, at.g.range, at.partials.range],
        grid: [groups(len, chunk), 1, 1],
    }
}

fn with<R: Real>(call: Call<'_, '_, R>, form: impl Fn(Groups<'_, R>, usize, &[R], &mut [R])) {
    let p: Params = call.params();
    let [settings, groups, g, partials] = call.args else { unreachable!("four bindings") };
    let groups = Groups {
        settings: input(settings, p.settings_start),
        groups: input(groups, p.groups_start),
    };
    let g = &input(g, p.g_start)[..p.len as usize];
    let partials = &mut output(partials, p.partials_start)[2 * p.first_chunk as usize..];
    form(groups, p.chunk as usize, g, partials);
}

fn twin<R: Real>(call: Call<'_, '_, R>) {
    with(call, |groups, chunk, g, partials| {
        reference::gradient_norm(groups, (chunk, CHUNK), g, partials);
    });
}

/// A task a chunk.
#[cfg(feature = "cpu")]
fn fast(call: Call<'_, '_, f32>) {
    use crate::cpu::threads::{for_chunks, worth};
    with(call, |groups, chunk, g, partials| {
        let arch = crate::cpu::simd::arch();
        let partials = &mut partials[..2 * g.len().div_ceil(chunk)];
        for_chunks(partials, 2, worth(g.len()), |i, partial| {
            let first = i * chunk;
            let (groups, g) = (groups.from(first), &g[first..g.len().min(first + chunk)]);
            let sum = arch.dispatch(SumOfSquares { groups, g });
            partial.copy_from_slice(&[sum, CHUNK as f32]);
            // Where the sum is finite each element is; few chunks come to anything else.
            if !sum.is_finite() {
                reference::gradient_norm(groups, (chunk, CHUNK), g, partial);
            }
        });
    });
}

/// The sum of squares of a chunk, as sums side by side: enough to hide how long an addition takes, and as
/// many on every processor.
#[cfg(feature = "cpu")]
struct SumOfSquares<'a> {
    groups: Groups<'a, f32>,
    g: &'a [f32],
}

#[cfg(feature = "cpu")]
impl pulp::WithSimd for SumOfSquares<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> f32 {
        let mut sums = [0.0f32; 64];
        for (at, _) in self.groups.active(0..self.g.len()) {
            let (blocks, rest) = self.g[at].as_chunks::<64>();
            for block in blocks {
                for i in 0..64 {
                    sums[i] += block[i] * block[i];
                }
            }
            for (sum, g) in sums.iter_mut().zip(rest) {
                *sum += g * g;
            }
        }
        sums.iter().sum()
    }
}

/// The row of the table.
pub fn row() -> Kernel {
    Kernel {
        name: "gradient_norm",
        bindings: const {
            &[
                read("settings", "[G, 16]"),
                read("groups", "[ceil(N / 64)]"),
                read("g", "[N]"),
                write("partials", "[chunks, 2]"),
            ]
        },
        fields: Params::FIELDS,
        params_size: size_of::<Params>(),
        variants: vec![variant(
            "tree",
            concat!(
                include_str!("../../shaders/common/finite.wgsl"),
                include_str!("../../shaders/common/settings.wgsl"),
                include_str!("../../shaders/common/groups.wgsl"),
                include_str!("../../shaders/common/status.wgsl"),
                include_str!("../../shaders/common/workgroup_sum.wgsl"),
                include_str!("../../shaders/gradient_norm.wgsl")
            ),
            [256, 1, 1],
        )],
        work: None,
        twin,
        twin_f64: twin,
        #[cfg(feature = "cpu")]
        fast: Some(fast),
        #[cfg(not(feature = "cpu"))]
        fast: None,
        scale: None,
        // At the most, a quarter for an offset: a wrong one shows.
        tolerance: |d| {
            let p: Params = bytemuck::pod_read_unaligned(&d.params);
            Tolerance::Terms(p.chunk.min(p.len) as usize)
        },
    }
}
