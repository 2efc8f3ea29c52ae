//! Where a run's batches come from, cut into the pieces that a plan takes.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::data::{Batch, Batches, Dataset};
use crate::error::Result;
use crate::train::micro::Micro;

/// Sequences that are trained on together.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    data: Cow<'a, Dataset>,
    rows: Vec<usize>,
    /// Whether rows go on from the batch before; `None` where states aren't carried from batch to
    /// batch.
    continues: Option<Vec<bool>>,
}

/// Where the batches of a run come from.
pub(super) trait Source<'a> {
    /// Begins an epoch.
    fn begin(&mut self, epoch: usize, batches: &Batches);

    /// The next batch of the epoch.
    fn next(&mut self) -> Option<Result<Unit<'a>>>;
}

/// Sequences in memory, in the order of [`Batches`].
pub(super) struct Memory<'a> {
    pub(super) data: &'a Dataset,
    epoch: std::vec::IntoIter<Vec<usize>>,
}

impl<'a> Memory<'a> {
    pub(super) fn new(data: &'a Dataset) -> Memory<'a> {
        Memory { data, epoch: Vec::new().into_iter() }
    }
}

impl<'a> Source<'a> for Memory<'a> {
    fn begin(&mut self, _: usize, batches: &Batches) {
        let epoch: Vec<Vec<usize>> = batches.current().map(<[usize]>::to_vec).collect();
        self.epoch = epoch.into_iter();
    }

    fn next(&mut self) -> Option<Result<Unit<'a>>> {
        let rows = self.epoch.next()?;
        Some(Ok(Unit { data: Cow::Borrowed(self.data), rows, continues: None }))
    }
}

/// Batches that a program makes itself; `check` looks at each.
pub(super) struct Given<F, I, C> {
    make: F,
    epoch: Option<I>,
    check: C,
    /// Whether states go from batch to batch.
    carries: bool,
    number: usize,
}

impl<F, I, C> Given<F, I, C> {
    pub(super) fn new(make: F, carries: bool, check: C) -> Self {
        Given { make, epoch: None, check, carries, number: 0 }
    }
}

impl<'a, F, I, C, J> Source<'a> for Given<F, I, C>
where
    F: FnMut(usize) -> J,
    J: IntoIterator<IntoIter = I>,
    I: Iterator<Item = Result<Batch>>,
    C: Fn(&Batch, usize) -> Result<()>,
{
    fn begin(&mut self, epoch: usize, _: &Batches) {
        (self.epoch, self.number) = (Some((self.make)(epoch).into_iter()), 0);
    }

    fn next(&mut self) -> Option<Result<Unit<'a>>> {
        let batch = self.epoch.as_mut()?.next()?;
        self.number += 1;
        let checked = batch.and_then(|batch| (self.check)(&batch, self.number).map(|()| batch));
        Some(checked.map(|batch| {
            let (data, continues) = batch.into_parts();
            let rows: Vec<usize> = (0..data.len()).collect();
            let continues = match self.carries {
                true => Some(continues.unwrap_or_else(|| vec![false; rows.len()])),
                false => None,
            };
            Unit { data: Cow::Owned(data), rows, continues }
        }))
    }
}

/// Some timesteps of a batch.
pub(super) struct Piece<'a> {
    unit: Arc<Unit<'a>>,
    steps: Range<usize>,
    keep: Option<Vec<bool>>,
}

impl Piece<'_> {
    pub(super) fn micro(&self) -> Micro<'_> {
        Micro {
            data: &self.unit.data,
            rows: &self.unit.rows,
            steps: self.steps.clone(),
            keep: self.keep.clone(),
        }
    }
}

/// Cuts the batches of a source into pieces.
pub(super) struct Feeder<'a, S> {
    source: S,
    /// Timesteps of a piece, where gradients are truncated.
    truncate: Option<usize>,
    current: Option<(Arc<Unit<'a>>, usize)>,
}

impl<'a, S: Source<'a>> Feeder<'a, S> {
    pub(super) fn new(source: S, truncate: Option<usize>) -> Self {
        Feeder { source, truncate, current: None }
    }

    pub(super) fn begin(&mut self, epoch: usize, batches: &Batches) {
        self.current = None;
        self.source.begin(epoch, batches);
    }

    pub(super) fn next(&mut self) -> Option<Result<Piece<'a>>> {
        let (unit, start) = match self.current.take() {
            Some(current) => current,
            None => match self.source.next()? {
                Ok(unit) => (Arc::new(unit), 0),
                Err(error) => return Some(Err(error)),
            },
        };
        let all = unit.data.steps();
        let end = self.truncate.map_or(all, |steps| all.min(start.saturating_add(steps)));
        if end < all {
            self.current = Some((unit.clone(), end));
        }
        let rows = unit.rows.len();
        let keep = match (start, self.truncate) {
            (0, None) => unit.continues.clone(),
            (0, Some(_)) => Some(unit.continues.clone().unwrap_or_else(|| vec![false; rows])),
            _ => Some(vec![true; rows]),
        };
        Some(Ok(Piece { unit, steps: start..end, keep }))
    }
}
