//! The table of kernels: a row is one kernel with its WGSL, its host file, its CPU twin and,
//! where there is one, a faster CPU form.
//!
//! A kernel file here knows the block of constants and how to fill a launch; which kernel runs
//! when is the [`plan`](crate::plan)'s to say.

pub mod accuracy;
pub mod adam;
pub mod align_sequence;
pub mod argmax;
pub mod binary_accuracy;
mod cell;
pub mod clip_scale;
pub mod column_sum;
pub mod copy_at_length;
pub mod copy_sequence;
pub mod cross_entropy_loss;
mod cut;
pub mod dropout;
pub mod embedding;
pub mod embedding_backward;
pub mod gradient_norm;
pub mod lstm_sequence_backward;
pub mod lstm_sequence_forward;
pub mod lstm_step_backward;
pub mod lstm_step_forward;
pub mod matmul;
pub mod nonlinearity;
pub mod nonlinearity_backward;
pub mod one_hot;
pub mod pack_panels;
pub mod peephole_gradient;
pub mod pointwise_loss;
pub mod pool_over_time;
pub mod pool_over_time_backward;
pub mod projection_clip;
pub mod reduce_sum;
pub mod rmsprop;
pub mod sequence_dropout;
pub mod sgd;
pub mod softmax;
pub mod training_step;

use std::sync::LazyLock;

pub use cut::{Tile, Walker};

use crate::command::{
    Access, Arg, Binding, Dispatch, KernelId, KernelTable, Range, Variant, params,
};
use crate::reference::{Groups, OptimizerStep, Real, apart};

/// `matmul` in the [`table`].
pub const MATMUL: KernelId = KernelId(0);
/// `lstm_step_forward` in the [`table`].
pub const LSTM_STEP_FORWARD: KernelId = KernelId(1);
/// `lstm_step_backward` in the [`table`].
pub const LSTM_STEP_BACKWARD: KernelId = KernelId(2);
/// `column_sum` in the [`table`].
pub const COLUMN_SUM: KernelId = KernelId(3);
/// `reduce_sum` in the [`table`].
pub const REDUCE_SUM: KernelId = KernelId(4);
/// `pointwise_loss` in the [`table`].
pub const POINTWISE_LOSS: KernelId = KernelId(5);
/// `adam` in the [`table`].
pub const ADAM: KernelId = KernelId(6);
/// `copy_sequence` in the [`table`].
pub const COPY_SEQUENCE: KernelId = KernelId(7);
/// `copy_at_length` in the [`table`].
pub const COPY_AT_LENGTH: KernelId = KernelId(8);
/// `dropout` in the [`table`].
pub const DROPOUT: KernelId = KernelId(9);
/// `sgd` in the [`table`].
pub const SGD: KernelId = KernelId(10);
/// `rmsprop` in the [`table`].
pub const RMSPROP: KernelId = KernelId(11);
/// `gradient_norm` in the [`table`].
pub const GRADIENT_NORM: KernelId = KernelId(12);
/// `clip_scale` in the [`table`].
pub const CLIP_SCALE: KernelId = KernelId(13);
/// `embedding` in the [`table`].
pub const EMBEDDING: KernelId = KernelId(14);
/// `embedding_backward` in the [`table`].
pub const EMBEDDING_BACKWARD: KernelId = KernelId(15);
/// `one_hot` in the [`table`].
pub const ONE_HOT: KernelId = KernelId(16);
/// `softmax` in the [`table`].
pub const SOFTMAX: KernelId = KernelId(17);
/// `argmax` in the [`table`].
pub const ARGMAX: KernelId = KernelId(18);
/// `accuracy` in the [`table`].
pub const ACCURACY: KernelId = KernelId(19);
/// `cross_entropy_loss` in the [`table`].
pub const CROSS_ENTROPY_LOSS: KernelId = KernelId(20);
/// `pack_panels` in the [`table`].
pub const PACK_PANELS: KernelId = KernelId(21);
/// `lstm_sequence_forward` in the [`table`].
pub const LSTM_SEQUENCE_FORWARD: KernelId = KernelId(22);
/// `lstm_sequence_backward` in the [`table`].
pub const LSTM_SEQUENCE_BACKWARD: KernelId = KernelId(23);
/// `training_step` in the [`table`].
pub const TRAINING_STEP: KernelId = KernelId(24);
/// `pool_over_time` in the [`table`].
pub const POOL_OVER_TIME: KernelId = KernelId(25);
/// `pool_over_time_backward` in the [`table`].
pub const POOL_OVER_TIME_BACKWARD: KernelId = KernelId(26);
/// `nonlinearity` in the [`table`].
pub const NONLINEARITY: KernelId = KernelId(27);
/// `binary_accuracy` in the [`table`].
pub const BINARY_ACCURACY: KernelId = KernelId(28);
/// `nonlinearity_backward` in the [`table`].
pub const NONLINEARITY_BACKWARD: KernelId = KernelId(29);
/// `align_sequence` in the [`table`].
pub const ALIGN_SEQUENCE: KernelId = KernelId(30);
/// `peephole_gradient` in the [`table`].
pub const PEEPHOLE_GRADIENT: KernelId = KernelId(31);
/// `sequence_dropout` in the [`table`].
pub const SEQUENCE_DROPOUT: KernelId = KernelId(32);
/// `projection_clip` in the [`table`].
pub const PROJECTION_CLIP: KernelId = KernelId(33);

/// Every kernel, in the order of the constants above.
pub fn table() -> KernelTable {
    static TABLE: LazyLock<KernelTable> = LazyLock::new(rows);
    TABLE.clone()
}

fn rows() -> KernelTable {
    KernelTable(vec![
        matmul::row(),
        lstm_step_forward::row(),
        lstm_step_backward::row(),
        column_sum::row(),
        reduce_sum::row(),
        pointwise_loss::row(),
        adam::row(),
        copy_sequence::row(),
        copy_at_length::row(),
        dropout::row(),
        sgd::row(),
        rmsprop::row(),
        gradient_norm::row(),
        clip_scale::row(),
        embedding::row(),
        embedding_backward::row(),
        one_hot::row(),
        softmax::row(),
        argmax::row(),
        accuracy::row(),
        cross_entropy_loss::row(),
        pack_panels::row(),
        lstm_sequence_forward::row(),
        lstm_sequence_backward::row(),
        training_step::row(),
        pool_over_time::row(),
        pool_over_time_backward::row(),
        nonlinearity::row(),
        binary_accuracy::row(),
        nonlinearity_backward::row(),
        align_sequence::row(),
        peephole_gradient::row(),
        sequence_dropout::row(),
        projection_clip::row(),
    ])
}

/// The range that is bound for an operand, and where in it the operand starts. They differ where
/// the operand doesn't start at a multiple of the device's binding alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// What is bound.
    pub range: Range,
    /// The operand's first element, from the range's start.
    pub start: usize,
}

impl View {
    /// A view whose operand starts with the range.
    pub fn of(range: Range) -> View {
        View { range, start: 0 }
    }

    pub(crate) fn start(&self) -> u32 {
        self.start as u32
    }
}

/// The lengths of a padded batch, where it is one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Padding(pub Option<View>);

impl Padding {
    fn start(&self) -> u32 {
        self.0.map_or(0, |view| view.start())
    }

    /// The value of the pipeline constant LENGTHS.
    fn flag(&self) -> f64 {
        flag(self.0.is_some())
    }

    /// The lengths, or `unused`, which isn't read then.
    fn range(&self, unused: Range) -> Range {
        self.0.map_or(unused, |view| view.range)
    }
}

/// Where operands of a launch's timesteps start, from the `first`-th on, as a start and a distance: the n-th at
/// `start` + n `next`, modulo 2^32. Of one alone the distance is 0.
///
/// # Panics
/// Where they don't lie at equal distances.
fn progression(first: usize, mut values: impl Iterator<Item = u32>) -> (u32, u32) {
    let start = values.next().unwrap_or(0);
    let second = values.next();
    let next = second.map_or(0, |second| second.wrapping_sub(start));
    let mut last = second.unwrap_or(start);
    for value in values {
        assert_eq!(value.wrapping_sub(last), next, "operands lie at equal distances");
        last = value;
    }
    (start.wrapping_sub(next.wrapping_mul(first as u32)), next)
}

/// The n-th of such.
fn nth(start: u32, next: u32, n: u32) -> usize {
    start.wrapping_add(next.wrapping_mul(n)) as usize
}

/// What one direction of a launch needs, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions<T> {
    /// One direction, whichever.
    One(T),
    /// Forward and reverse.
    Both(T, T),
}

impl<T: Copy> Directions<T> {
    /// Two, of which the second may be the first again.
    fn both(self) -> [T; 2] {
        match self {
            Directions::One(one) => [one, one],
            Directions::Both(forward, reverse) => [forward, reverse],
        }
    }

    fn count(&self) -> u32 {
        match self {
            Directions::One(_) => 1,
            Directions::Both(..) => 2,
        }
    }
}

params! {
    /// The block of constants of every optimizer.
    pub struct UpdateParams {
        /// Elements to update.
        pub len: u32,
        /// The first of them in the gradients, the parameters and the states.
        pub start: u32,
        /// Where the settings start in their binding.
        pub settings_start: u32,
        /// Where the group of the first block is in its binding.
        pub groups_start: u32,
        /// Where the status starts in its binding.
        pub status_start: u32,
    }
}

/// Invocations of an optimizer's workgroup, an element each.
pub const UPDATE_TILE: usize = 256;

impl UpdateParams {
    /// What a step of any optimizer reads beside gradients.
    fn step<'a, R: Real>(
        &self,
        settings: &'a Arg<'_, R>,
        groups: &'a Arg<'_, R>,
        status: &'a Arg<'_, R>,
    ) -> OptimizerStep<'a, R> {
        let groups = Groups {
            settings: input(settings, self.settings_start),
            groups: input(groups, self.groups_start),
        };
        OptimizerStep { groups, status: input(status, self.status_start) }
    }
}

/// A launch of an optimizer over `len` elements: it reads settings, groups, status and gradients, and
/// writes parameters and states.
fn update(
    kernel: KernelId,
    len: usize,
    constants: Vec<(&'static str, f64)>,
    read: [View; 4],
    written: &[View],
) -> Dispatch {
    let [settings, blocks, status, g] = read;
    let params = UpdateParams {
        len: len as u32,
        start: g.start(),
        settings_start: settings.start(),
        groups_start: blocks.start(),
        status_start: status.start(),
    };
    Dispatch {
        kernel,
        variant: 0,
        constants,
        params: bytemuck::bytes_of(&params).to_vec(),
        bindings: read.iter().chain(written).map(|view| view.range).collect(),
        grid: [groups(len, UPDATE_TILE), 1, 1],
    }
}

/// What an optimizer's twin goes over: the step, gradients, and what is written.
type UpdateShare<'a, R, const N: usize> = (OptimizerStep<'a, R>, &'a [R], [&'a mut [R]; N]);

/// A twin of an optimizer that writes `N` things, of which those that it doesn't have are empty. It has to be
/// always inlined: the CPU executor compiles it for wide vectors.
trait Update<const N: usize> {
    fn step<R: Real>(share: UpdateShare<'_, R, N>);
}

/// Elements of an update that a task of the CPU executor takes.
#[cfg(feature = "cpu")]
const UPDATE_SHARE: usize = 256 * crate::reference::GROUP_BLOCK;

/// An update as the CPU executor does it, in shares of the elements.
#[cfg(feature = "cpu")]
fn update_shares<U: Update<N>, const N: usize>((step, g, mut written): UpdateShare<'_, f32, N>) {
    use crate::cpu::threads::{for_all, worth};

    struct Share<'a, U, const N: usize>(UpdateShare<'a, f32, N>, std::marker::PhantomData<U>);

    impl<U: Update<N>, const N: usize> pulp::WithSimd for Share<'_, U, N> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) {
            U::step(self.0);
        }
    }

    let shares: Vec<_> = (0..g.len())
        .step_by(UPDATE_SHARE)
        .map(|first| {
            let share = written.each_mut().map(|all| {
                let len = UPDATE_SHARE.min(all.len());
                all.split_off_mut(..len).unwrap_or_default()
            });
            (first, share)
        })
        .collect();
    let arch = crate::cpu::simd::arch();
    // Memory is what an update waits for.
    for_all(shares, worth(4 * g.len()), |(first, share)| {
        let g = &g[first..g.len().min(first + UPDATE_SHARE)];
        arch.dispatch(Share((step.from(first), g, share), std::marker::PhantomData::<U>));
    });
}

/// What the results of a loss's launch scale with: its scale, times the largest weight of its rows.
fn loss_scale<R: Real>(scale: R, weights: Option<&[R]>) -> R {
    let weights = weights.into_iter().flatten();
    scale.abs() * weights.fold(R::one(), |most, &weight| most.max(weight))
}

/// The value of a pipeline constant that is a bool.
fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// `ceil(n / tile)`, as a grid's size; saturates, so that the check against the limit fails.
pub(crate) fn groups(n: usize, tile: usize) -> u32 {
    u32::try_from(n.div_ceil(tile)).unwrap_or(u32::MAX)
}

/// The grid of a kernel with 256 invocations a workgroup, one for each of `n` elements: a second
/// dimension where the first is full.
fn linear_grid(n: usize) -> [u32; 3] {
    folded(n.div_ceil(256))
}

/// A grid of at least so many workgroups, in two dimensions where they are many.
fn folded(total: usize) -> [u32; 3] {
    const WIDEST: usize = 32_768;
    [total.min(WIDEST) as u32, groups(total, WIDEST), 1]
}

/// Invocations of a workgroup of the kernels over rows of classes (`shaders/common/rows.wgsl`).
const ROW_INVOCATIONS: usize = 64;

/// How many of them share a row, the value of the pipeline constant LANES: at most 32 classes each,
/// until all share one row. It depends on the classes alone, and with it the order of sums.
pub fn row_lanes(classes: usize) -> usize {
    classes.div_ceil(32).clamp(1, ROW_INVOCATIONS).next_power_of_two()
}

/// The grid of a kernel over rows of classes.
pub fn row_grid(rows: usize, classes: usize) -> [u32; 3] {
    folded(rows.div_ceil(ROW_INVOCATIONS / row_lanes(classes)))
}

/// The most classes for which one invocation of a kernel that passes a row `passes` times stays
/// within `budget` loop iterations. The test that ends a loop counts as well; a tree takes 7.
pub fn classes_within(budget: usize, passes: usize) -> usize {
    (budget / passes).saturating_sub(8).max(1) * ROW_INVOCATIONS
}

const fn read(name: &'static str, shape: &'static str) -> Binding {
    Binding { name, shape, access: Access::Read }
}

const fn write(name: &'static str, shape: &'static str) -> Binding {
    Binding { name, shape, access: Access::ReadWrite }
}

fn variant(name: &'static str, source: &'static str, workgroup: [u32; 3]) -> Variant {
    Variant::own(name, source, workgroup)
}

/// The elements of a read-only argument from `start` on.
fn input<'s, R>(arg: &'s Arg<'_, R>, start: u32) -> &'s [R] {
    match arg {
        Arg::Read(slice) => &slice[start as usize..],
        Arg::Write(slice) => &slice[start as usize..],
    }
}

/// The elements of a written argument from `start` on.
fn output<'s, R>(arg: &'s mut Arg<'_, R>, start: u32) -> &'s mut [R] {
    match arg {
        Arg::Write(slice) => &mut slice[start as usize..],
        // The executor builds arguments from the same list of bindings.
        Arg::Read(_) => unreachable!("a read-only binding has no output"),
    }
}
