//! Sequences with targets.

use super::padding::{Padded, pad, pad_targets};
use super::values::Values;
use super::windows::cut;
use super::{Batches, expect_lengths};
use crate::error::{Error, Result};
use crate::tensor::{Array, expect_shape};

/// Sequences with a target each, or one for each of their timesteps.
///
/// ```
/// use gatefold::Dataset;
/// // Three sequences of timesteps with two features, and a class each.
/// let x = vec![vec![[0.1, 0.2], [0.3, 0.1]], vec![[0.5, 0.4]], vec![[0.2, 0.2], [0.1, 0.7]]];
/// let data = Dataset::from_sequences(x, [0, 1, 1])?;
/// assert_eq!((data.x().shape(), data.y().shape()), (&[3, 2, 2][..], &[3][..]));
/// assert_eq!(data.lengths(), Some(&[2, 1, 2][..]));
///
/// // The same of tokens: the sequences are vectors of integers.
/// let data = Dataset::from_sequences([vec![3, 1, 4, 1], vec![5, 9]], [1, 0])?;
/// assert_eq!(data.x().shape(), [2, 4]);
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "TensorDataset")]
pub struct Dataset {
    x: Array,
    y: Array,
    lengths: Option<Vec<usize>>,
    /// Whether rows start late instead of ending early.
    late: bool,
    /// `[N]` or `[N, T]`, not all 1.
    weights: Option<Array>,
}

impl Dataset {
    /// `x [N, T, I]`, or `[N, T]` of tokens; `y` with a row for each of them, whose shape the model and
    /// the loss say: `[N, O]` and `[N, T, O]`, or, of classes, `[N]` and `[N, T]`. Tokens and classes may be
    /// integers.
    ///
    /// ```
    /// use gatefold::{Array, Dataset};
    /// let x = Array::new(vec![0.1, 0.5, 0.9, 0.4, 0.2, 0.7], &[3, 2, 1])?;
    /// let data = Dataset::new(x, [0, 2, 1])?;
    /// assert_eq!(data.y().data(), [0.0, 2.0, 1.0]);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Value`] for an integer that `f32` doesn't hold.
    pub fn new(x: impl Into<Values>, y: impl Into<Values>) -> Result<Dataset> {
        let operation = "Dataset::new";
        let x = x.into().array(operation, "x")?;
        let y = y.into().array(operation, "y")?;
        let dims = [("N", None), ("T", None), ("I", None)];
        let tokens = usize::from(x.shape().len() == 2);
        expect_shape(operation, "x", x.shape(), &dims[..3 - tokens])?;
        if y.shape().first() != Some(&x.shape()[0]) {
            return Err(Error::Shape {
                operation,
                tensor: "y".to_owned(),
                expected: format!("[N = {}, ..]", x.shape()[0]),
                got: format!("{:?}", y.shape()),
            });
        }
        Ok(Dataset { x, y, lengths: None, late: false, weights: None })
    }

    /// From sequences of different lengths and a target for each, or for each of its timesteps;
    /// [`Values`] says what both may be. Shorter sequences are padded with zeros behind their end, which
    /// count nothing, and so are targets of timesteps. A sequence without timesteps has length 0.
    ///
    /// ```
    /// use gatefold::Dataset;
    /// let x: [&[f32]; 2] = [&[0.5, 0.7, 0.9], &[0.1]]; // one feature
    /// let y: [&[f32]; 2] = [&[0.7, 0.9, 1.1], &[0.3]]; // a number for each timestep
    /// let data = Dataset::from_sequences(x, y)?;
    /// assert_eq!((data.x().shape(), data.y().shape()), (&[2, 3, 1][..], &[2, 3, 1][..]));
    /// assert_eq!(data.lengths(), Some(&[3, 1][..]));
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where sequences have different features or targets different sizes;
    /// [`Error::Value`] for none, for another number of targets than of sequences, for an integer that
    /// `f32` doesn't hold, and where no sequence has a timestep.
    #[doc(alias = "pad_sequence")]
    #[doc(alias = "collate_fn")]
    pub fn from_sequences<S: Into<Values>, Y: Into<Values>>(
        sequences: impl IntoIterator<Item = S>,
        targets: impl IntoIterator<Item = Y>,
    ) -> Result<Dataset> {
        let operation = "Dataset::from_sequences";
        let Padded { array: x, lengths } = pad(operation, sequences)?;
        let y = pad_targets(operation, targets, &lengths, x.shape()[1])?;
        let data = Dataset { x, y, lengths: None, late: false, weights: None };
        let whole = lengths.iter().all(|&length| length == data.steps());
        Ok(Dataset { lengths: (!whole).then_some(lengths), ..data })
    }

    /// Sequences that end before the longest does: timesteps of each, at most `T`. What stands behind a
    /// sequence's end, in `x` and in `y`, counts nothing. One of length 0 is its initial state alone: its one
    /// target is compared with the prediction from there, and of a target for each timestep it has none.
    ///
    /// # Errors
    /// [`Error::Value`] for another number of lengths, and for one that is out of range.
    #[doc(alias("PackedSequence", "pack_padded_sequence"))]
    pub fn with_lengths(self, lengths: &[usize]) -> Result<Dataset> {
        expect_lengths("Dataset::with_lengths", Some(lengths), self.len(), self.steps())?;
        Ok(Dataset { lengths: Some(lengths.to_vec()), late: false, ..self })
    }

    /// Sequences that start late instead of ending early, as rows that are padded on the left: each is the
    /// last so many of its `T` timesteps. What stands before counts nothing, in `x`, `y` and
    /// [weights](Self::with_weights) alike. Everything is as of the sequence alone, and predictions at every
    /// timestep come back where its timesteps stand, with zeros before.
    ///
    /// ```
    /// use gatefold::{Array, Dataset, Device, Forecaster, LstmConfig};
    /// let late = Array::new(vec![0.0, 0.0, 0.3, 0.8, 0.5, 0.1], &[2, 3, 1])?;
    /// let early = Array::new(vec![0.3, 0.0, 0.0, 0.8, 0.5, 0.1], &[2, 3, 1])?;
    /// let late = Dataset::new(late, [0, 1])?.right_aligned(&[1, 3])?;
    /// let early = Dataset::new(early, [0, 1])?.with_lengths(&[1, 3])?;
    /// let model = Forecaster::new(&Device::cpu(), LstmConfig::new(1, 4), 2)?;
    /// assert_eq!(model.predict(&late)?, model.predict(&early)?);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`with_lengths`](Self::with_lengths).
    #[doc(alias = "padding_side")]
    pub fn right_aligned(self, lengths: &[usize]) -> Result<Dataset> {
        expect_lengths("Dataset::right_aligned", Some(lengths), self.len(), self.steps())?;
        Ok(Dataset { lengths: Some(lengths.to_vec()), late: true, ..self })
    }

    /// How much targets count: a weight for each sequence, `[N]`, or for each of its timesteps, `[N, T]`,
    /// where there is a target for each. A mean loss becomes the sum of weights times losses over the sum of
    /// weights, and so does the share of what is predicted right; a sum is that of weights times losses.
    /// What a weight belongs to is a prediction, whose outputs share it; class weights are multiplied with it.
    ///
    /// A target of weight 0 is a gap: it may be NaN, or any number where targets are classes, and reaches
    /// neither the loss nor a gradient. Weights that are all 1 are as none.
    ///
    /// ```
    /// use gatefold::{Array, Dataset};
    /// // Of the second sequence the second timestep wasn't measured.
    /// let x = Array::new(vec![0.5, 0.7, 0.2, 0.4], &[2, 2, 1])?;
    /// let y = Array::new(vec![0.7, 0.9, 0.4, f32::NAN], &[2, 2, 1])?;
    /// let data = Dataset::new(x, y)?.with_weights(Array::new(vec![1.0, 1.0, 1.0, 0.0], &[2, 2])?)?;
    /// assert_eq!(data.weight(1, 1), 0.0);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Value`] for a weight that is negative, infinite or NaN.
    pub fn with_weights(self, weights: Array) -> Result<Dataset> {
        let operation = "Dataset::with_weights";
        let dims = [("N", Some(self.len())), ("T", Some(self.steps()))];
        let dims = &dims[..weights.shape().len().clamp(1, 2)];
        expect_shape(operation, "weights", weights.shape(), dims)?;
        let valid = |w: f32| w.is_finite() && w >= 0.0;
        if let Some(at) = weights.data().iter().position(|&w| !valid(w)) {
            let each = weights.data().len() / self.len();
            let place = match weights.shape().len() {
                1 => String::new(),
                _ => format!(", timestep {}", at % each),
            };
            return Err(Error::Value {
                operation,
                name: format!("weights, sequence {}{place}", at / each),
                expected: "finite, at least 0".to_owned(),
                got: weights.data()[at].to_string(),
            });
        }
        if weights.data().iter().all(|&w| w == 1.0) {
            return Ok(Dataset { weights: None, ..self });
        }
        // Some devices take numbers this small for 0, and then all have to.
        let flushed = |&w: &f32| if w < f32::MIN_POSITIVE { 0.0 } else { w };
        let values = weights.data().iter().map(flushed).collect();
        Ok(Dataset { weights: Some(Array::new(values, weights.shape())?), ..self })
    }

    /// The sequences, `[N, T, I]` or `[N, T]`.
    pub fn x(&self) -> &Array {
        &self.x
    }

    /// The targets, `[N, ..]`.
    pub fn y(&self) -> &Array {
        &self.y
    }

    /// Sequences.
    #[allow(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.x.shape()[0]
    }

    /// Timesteps of the longest.
    pub fn steps(&self) -> usize {
        self.x.shape()[1]
    }

    /// Timesteps of each sequence; `None` where each has all of them.
    pub fn lengths(&self) -> Option<&[usize]> {
        self.lengths.as_deref()
    }

    /// Whether sequences start late instead of ending early: [`right_aligned`](Self::right_aligned).
    pub fn is_right_aligned(&self) -> bool {
        self.late
    }

    /// How much targets count, `[N]` or `[N, T]`; `None` where all weights are 1.
    pub fn weights(&self) -> Option<&Array> {
        self.weights.as_ref()
    }

    /// How much the target of a timestep counts, or that of the whole sequence, whatever the timestep.
    ///
    /// # Panics
    /// Where there is no such sequence or timestep.
    pub fn weight(&self, row: usize, step: usize) -> f32 {
        match &self.weights {
            None => 1.0,
            Some(of_rows) if of_rows.shape().len() == 1 => of_rows.data()[row],
            Some(of_steps) => of_steps.data()[row * self.steps()..][..self.steps()][step],
        }
    }

    /// Timesteps of a sequence.
    ///
    /// # Panics
    /// Where there is no such sequence.
    pub fn length(&self, row: usize) -> usize {
        self.lengths.as_ref().map_or(self.steps(), |lengths| lengths[row])
    }

    /// The first timestep of a sequence.
    pub(crate) fn start(&self, row: usize) -> usize {
        if self.late { self.steps() - self.length(row) } else { 0 }
    }

    /// Some of the sequences, in this order; one may be there more than once.
    ///
    /// # Errors
    /// [`Error::Value`] for none, and for one that isn't there.
    #[doc(alias = "Subset")]
    pub fn subset(&self, rows: &[usize]) -> Result<Dataset> {
        self.some("Dataset::subset", rows)
    }

    /// The first `count` sequences, and the others.
    ///
    /// # Errors
    /// [`Error::Value`] where one of both would be empty.
    pub fn split_at(&self, count: usize) -> Result<(Dataset, Dataset)> {
        let operation = "Dataset::split_at";
        if count == 0 || count >= self.len() {
            return Err(Error::Value {
                operation,
                name: "count".to_owned(),
                expected: format!("from 1 to {}, so that both have a sequence", self.len() - 1),
                got: count.to_string(),
            });
        }
        let rows: Vec<usize> = (0..self.len()).collect();
        Ok((self.some(operation, &rows[..count])?, self.some(operation, &rows[count..])?))
    }

    /// Parts with these shares of the sequences, in their order, such as for training, validation and test.
    /// Where the order says something, [shuffle](Self::shuffled) first; where it is that of time, don't.
    ///
    /// ```
    /// use gatefold::{Array, Dataset};
    /// let x = Array::new((0..20).map(|i| i as f32).collect(), &[20, 1, 1])?;
    /// let data = Dataset::new(x, vec![0; 20])?;
    /// let [train, validation, test] = data.shuffled(7).split([0.7, 0.15, 0.15])?;
    /// assert_eq!([train.len(), validation.len(), test.len()], [14, 3, 3]);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where a share is negative or not a number, they don't sum to 1, or a part would be
    /// empty.
    #[doc(alias = "random_split")]
    #[doc(alias = "train_test_split")]
    pub fn split<const N: usize>(&self, shares: [f64; N]) -> Result<[Dataset; N]> {
        let operation = "Dataset::split";
        let parts = cut(operation, self.len(), shares)?;
        if let Some(at) = parts.iter().position(std::ops::Range::is_empty) {
            return Err(Error::Value {
                operation,
                name: format!("share {at}"),
                expected: format!("enough for a sequence of {}", self.len()),
                got: shares[at].to_string(),
            });
        }
        let part = |rows: std::ops::Range<usize>| {
            let rows: Vec<usize> = rows.collect();
            self.gathered(&rows)
        };
        Ok(parts.map(part))
    }

    /// The sequences in another order, drawn from this seed.
    pub fn shuffled(&self, seed: u64) -> Dataset {
        let mut order = Batches::new(self.len(), self.len()).shuffle(seed);
        let rows: Vec<usize> = order.epoch().flatten().copied().collect();
        self.gathered(&rows)
    }

    fn some(&self, operation: &'static str, rows: &[usize]) -> Result<Dataset> {
        let refused = |expected: String, got: String| {
            Err(Error::Value { operation, name: "rows".to_owned(), expected, got })
        };
        if rows.is_empty() {
            return refused("at least 1".to_owned(), "none".to_owned());
        }
        match rows.iter().find(|&&row| row >= self.len()) {
            Some(row) => refused(format!("from 0 to {}", self.len() - 1), row.to_string()),
            None => Ok(self.gathered(rows)),
        }
    }

    /// Some of the sequences, at least one, which are all there.
    fn gathered(&self, rows: &[usize]) -> Dataset {
        let of = |array: &Array| array.rows(rows);
        let weights = self.weights.as_ref().map(of);
        Dataset {
            x: of(&self.x),
            y: of(&self.y),
            lengths: self.lengths.as_ref().map(|all| rows.iter().map(|&row| all[row]).collect()),
            late: self.late,
            // Those that are all 1 are as none.
            weights: weights.filter(|weights| weights.data().iter().any(|&w| w != 1.0)),
        }
    }
}
