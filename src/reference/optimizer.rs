//! What the twins of all optimizers share: groups, their settings, and the status of a step.

use std::ops::Range;

use super::{Real, status};

/// Columns of a group's row of settings.
pub const SETTINGS: usize = 16;

/// Elements of a block, which belong to one group.
pub const GROUP_BLOCK: usize = 64;

/// From here on a bound is none.
pub(super) const UNBOUNDED: f32 = 3.4e38;

/// What a group tells every optimizer: columns 0 to 4 of its row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommonSettings {
    /// What the direction is multiplied with: the learning rate; for Adam `lr / (1 - beta1^step)`.
    pub rate: f32,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
    /// What parameters are multiplied with first: `1 - lr * weight_decay` where the decay is
    /// decoupled (AdamW), else 1.
    pub keep: f32,
    /// The largest absolute value of a gradient's element, before the penalty; `f32::MAX` for none.
    pub clip_value: f32,
    /// Whether the group is trained; else neither its parameters nor its states change.
    pub active: bool,
}

impl CommonSettings {
    /// Without decay or bound.
    pub fn new(rate: f32) -> CommonSettings {
        CommonSettings { rate, weight_decay: 0.0, keep: 1.0, clip_value: f32::MAX, active: true }
    }

    /// A row of settings, with those of the optimizer behind these.
    pub(super) fn row<const N: usize>(&self, own: [f32; N]) -> [f32; SETTINGS] {
        let mut row = [0.0; SETTINGS];
        let active = f32::from(u8::from(self.active));
        row[..5].copy_from_slice(&[
            self.rate,
            self.weight_decay,
            self.keep,
            self.clip_value,
            active,
        ]);
        row[5..5 + N].copy_from_slice(&own);
        row
    }

    /// These of a row, and the `N` columns behind them.
    pub(super) fn from_row<R: Real, const N: usize>(row: &[R]) -> (CommonSettings, [f32; N]) {
        let column = |i: usize| row[i].to_f32().unwrap_or(f32::NAN);
        let common = CommonSettings {
            rate: column(0),
            weight_decay: column(1),
            keep: column(2),
            clip_value: column(3),
            active: column(4) != 0.0,
        };
        (common, std::array::from_fn(|i| column(5 + i)))
    }

    /// The gradient as an update takes it: scaled, clipped, with the penalty on the parameter. NaN
    /// passes the bound, and infinity where there is none.
    #[inline(always)]
    pub(crate) fn gradient<R: Real>(&self, scale: R, g: R, p: R) -> R {
        let (scaled, bound) = (scale * g, R::of(self.clip_value));
        let free = self.clip_value >= UNBOUNDED || scaled.is_nan();
        let clipped = if free { scaled } else { scaled.max(-bound).min(bound) };
        clipped + R::of(self.weight_decay) * p
    }
}

/// Which elements belong to which group.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a, R> {
    /// `[G, 16]`: a row a group.
    pub settings: &'a [R],
    /// `[ceil(N / 64)]`: the group of each block.
    pub groups: &'a [R],
}

impl<'a, R: Real> Groups<'a, R> {
    /// The elements of neighbouring blocks of an active group and the group's settings, over `elements`,
    /// which start with a block.
    pub(crate) fn active(
        self,
        elements: Range<usize>,
    ) -> impl Iterator<Item = (Range<usize>, &'a [R])> {
        let Range { mut start, end } = elements;
        let blocks = &self.groups[..end.div_ceil(GROUP_BLOCK)];
        let runs = std::iter::from_fn(move || {
            let group = *blocks.get(start / GROUP_BLOCK).filter(|_| start < end)?;
            let first = start;
            let same = blocks[first / GROUP_BLOCK..].iter().take_while(|&&other| other == group);
            start = end.min(first + same.count().max(1) * GROUP_BLOCK);
            Some((first..start, group))
        });
        runs.filter_map(move |(run, group)| {
            let row = self.settings.chunks_exact(SETTINGS).nth(group.to_usize()?)?;
            let (common, []) = CommonSettings::from_row(row);
            common.active.then_some((run, row))
        })
    }

    /// The groups of what begins with element `first`, which starts a block.
    #[cfg(feature = "cpu")]
    pub(crate) fn from(self, first: usize) -> Self {
        Groups { groups: &self.groups[first / GROUP_BLOCK..], ..self }
    }
}

/// What a step of any optimizer reads beside gradients.
#[derive(Clone, Copy, Debug)]
pub struct OptimizerStep<'a, R> {
    /// The parameter groups.
    pub groups: Groups<'a, R>,
    /// `[16]`, as [`clip_scale`](super::clip_scale) leaves it; its places are in [`status`].
    pub status: &'a [R],
}

impl<'a, R: Real> OptimizerStep<'a, R> {
    /// The step for what begins with element `first`, which starts a block.
    #[cfg(feature = "cpu")]
    pub(crate) fn from(&self, first: usize) -> Self {
        OptimizerStep { groups: self.groups.from(first), ..*self }
    }

    /// What gradients are multiplied with.
    #[inline(always)]
    pub(crate) fn scale(&self) -> R {
        self.status[status::SCALE]
    }

    /// The runs of `len` elements that change, with their settings.
    pub(crate) fn updated(&self, len: usize) -> impl Iterator<Item = (Range<usize>, &'a [R])> {
        let applied = self.status[status::APPLY] != R::zero();
        self.groups.active(0..if applied { len } else { 0 })
    }
}
