//! Sequences with targets.

use crate::error::{Error, Result};
use crate::tensor::{Array, expect_shape};

/// Sequences with a target each, or one for each of their timesteps.
///
/// ```
/// use gatefold::{Array, Dataset};
/// // Three sequences of at most four tokens, and a class each.
/// let x = Array::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0], &[3, 4])?;
/// let y = Array::new(vec![0.0, 1.0, 1.0], &[3])?;
/// let data = Dataset::new(x, y)?.lengths(&[4, 2, 1])?;
/// assert_eq!(data.len(), 3);
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    x: Array,
    y: Array,
    lengths: Option<Vec<usize>>,
    /// `[N]` or `[N, T]`, not all 1.
    weights: Option<Array>,
}

impl Dataset {
    /// `x [N, T, I]`, or `[N, T]` of tokens; `y` with a row for each of them, whose shape the model and
    /// the loss say: `[N, O]` and `[N, T, O]`, or, of classes, `[N]` and `[N, T]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn new(x: Array, y: Array) -> Result<Dataset> {
        let dims = [("N", None), ("T", None), ("I", None)];
        let tokens = usize::from(x.shape().len() == 2);
        expect_shape("Dataset::new", "x", x.shape(), &dims[..3 - tokens])?;
        if y.shape().first() != Some(&x.shape()[0]) {
            return Err(Error::Shape {
                operation: "Dataset::new",
                tensor: "y".to_owned(),
                expected: format!("[N = {}, ..]", x.shape()[0]),
                got: format!("{:?}", y.shape()),
            });
        }
        Ok(Dataset { x, y, lengths: None, weights: None })
    }

    /// Sequences that end before the longest does: timesteps of each, at most `T`. What stands behind a
    /// sequence's end, in `x` and in `y`, counts nothing. One of length 0 is its initial state alone: its one
    /// target is compared with the prediction from there, and of a target for each timestep it has none.
    ///
    /// # Errors
    /// [`Error::Value`] for another number of lengths, and for one that is out of range.
    pub fn lengths(self, lengths: &[usize]) -> Result<Dataset> {
        let refused = |expected: String, got: String| {
            Err(Error::Value {
                operation: "Dataset::lengths",
                name: "lengths".to_owned(),
                expected,
                got,
            })
        };
        if lengths.len() != self.len() {
            return refused(format!("{}", self.len()), format!("{} of them", lengths.len()));
        }
        if let Some(at) = lengths.iter().position(|&length| length > self.steps()) {
            let expected = format!("from 0 to {}", self.steps());
            return refused(expected, format!("{} in sequence {at}", lengths[at]));
        }
        Ok(Dataset { lengths: Some(lengths.to_vec()), ..self })
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
    /// let data = Dataset::new(x, y)?.weights(Array::new(vec![1.0, 1.0, 1.0, 0.0], &[2, 2])?)?;
    /// assert_eq!(data.weight(1, 1), 0.0);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Value`] for a weight that is negative, infinite or NaN.
    pub fn weights(self, weights: Array) -> Result<Dataset> {
        let operation = "Dataset::weights";
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

    /// Whether sequences have lengths of their own.
    pub fn has_lengths(&self) -> bool {
        self.lengths.is_some()
    }

    /// Whether targets count differently: not where all weights are 1.
    pub fn has_weights(&self) -> bool {
        self.weights.is_some()
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

    /// The weights, where they aren't all 1.
    pub(crate) fn given_weights(&self) -> Option<&Array> {
        self.weights.as_ref()
    }

    /// Timesteps of a sequence.
    ///
    /// # Panics
    /// Where there is no such sequence.
    pub fn length(&self, row: usize) -> usize {
        self.lengths.as_ref().map_or(self.steps(), |lengths| lengths[row])
    }
}
