//! Where a run's batches come from, cut into the pieces that a plan takes.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::data::{Batch, Batches, Dataset};
use crate::error::{Error, Result};
use crate::plan::StackShape;
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

    /// The data and the batches of every epoch, where they are known.
    fn whole(&self) -> Option<(&Dataset, usize)> {
        None
    }

    /// Whether the epoch has no more batches; `None` where that shows only when the next one is asked for.
    fn is_over(&self) -> Option<bool>;
}

/// Sequences in memory, in the order of [`Batches`].
pub(super) struct Memory<'a> {
    pub(super) data: &'a Dataset,
    /// Batches of an epoch.
    batches: usize,
    epoch: std::vec::IntoIter<Vec<usize>>,
}

impl<'a> Memory<'a> {
    pub(super) fn new(data: &'a Dataset) -> Memory<'a> {
        Memory { data, batches: 0, epoch: Vec::new().into_iter() }
    }
}

impl<'a> Source<'a> for Memory<'a> {
    fn begin(&mut self, _: usize, batches: &Batches) {
        let epoch: Vec<Vec<usize>> = batches.current().map(<[usize]>::to_vec).collect();
        (self.batches, self.epoch) = (epoch.len(), epoch.into_iter());
    }

    fn whole(&self) -> Option<(&Dataset, usize)> {
        Some((self.data, self.batches))
    }

    fn next(&mut self) -> Option<Result<Unit<'a>>> {
        let rows = self.epoch.next()?;
        Some(Ok(Unit { data: Cow::Borrowed(self.data), rows, continues: None }))
    }

    fn is_over(&self) -> Option<bool> {
        Some(self.epoch.len() == 0)
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
        let Some(batch) = self.epoch.as_mut()?.next() else {
            self.epoch = None;
            return None;
        };
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

    fn is_over(&self) -> Option<bool> {
        match self.epoch.as_ref().map_or((0, Some(0)), Iterator::size_hint) {
            (_, Some(0)) => Some(true),
            (0, _) => None,
            _ => Some(false),
        }
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

    /// Whether there is nothing to do for it: no row has a timestep or a target, and the state of none
    /// begins anew for a batch that goes on from it.
    pub(super) fn is_over(&self, shape: &StackShape) -> bool {
        let continues = self.unit.continues.as_ref();
        let begins = self.steps.start == 0 && continues.is_some_and(|rows| rows.contains(&false));
        !begins && self.micro().is_over(shape)
    }
}

/// Cuts the batches of a source into pieces.
pub(super) struct Feeder<'a, S> {
    source: S,
    /// Timesteps of a piece, where gradients are truncated.
    truncate: Option<usize>,
    current: Option<(Arc<Unit<'a>>, usize)>,
    /// Pieces that were cut already.
    ahead: VecDeque<Result<Piece<'a>>>,
}

impl<'a, S: Source<'a>> Feeder<'a, S> {
    pub(super) fn new(source: S, truncate: Option<usize>) -> Self {
        Feeder { source, truncate, current: None, ahead: VecDeque::new() }
    }

    pub(super) fn begin(&mut self, epoch: usize, batches: &Batches) {
        self.current = None;
        self.ahead.clear();
        self.source.begin(epoch, batches);
    }

    /// Pieces of every epoch, where that is known: not where there may be some that nothing is done for.
    pub(super) fn pieces(&self, shape: &StackShape) -> Option<usize> {
        let (data, batches) = self.source.whole()?;
        let least = data.lengths().and_then(|lengths| lengths.iter().min());
        if shape.every_step()
            && least.is_some_and(|&least| least == 0 || self.truncate.is_some_and(|k| least <= k))
        {
            return None;
        }
        let steps = data.steps();
        Some(batches * steps.div_ceil(self.truncate.unwrap_or(steps)))
    }

    /// Whether nothing is left to do in the epoch, as far as that shows without waiting for a batch; where
    /// `ask` says so, a source that doesn't know is asked for its next one.
    pub(super) fn is_over(&mut self, shape: &StackShape, ask: bool) -> bool {
        loop {
            let idle =
                |piece: &Result<Piece<'_>>| matches!(piece, Ok(piece) if piece.is_over(shape));
            if self.ahead.iter().any(|piece| !idle(piece)) {
                return false;
            }
            if self.current.is_none() {
                match self.source.is_over() {
                    Some(true) => return true,
                    None if !ask => return false,
                    _ => {}
                }
            }
            match self.cut() {
                Some(piece) => self.ahead.push_back(piece),
                None => return true,
            }
        }
    }

    /// The error that looking ahead has met, if that is what comes next.
    pub(super) fn error(&mut self) -> Option<Error> {
        match self.ahead.pop_front()? {
            Err(error) => Some(error),
            piece => {
                self.ahead.push_front(piece);
                None
            }
        }
    }

    pub(super) fn next(&mut self) -> Option<Result<Piece<'a>>> {
        self.ahead.pop_front().or_else(|| self.cut())
    }

    fn cut(&mut self) -> Option<Result<Piece<'a>>> {
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
