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
        Ok(Dataset { x, y, lengths: None })
    }

    /// Sequences that end before the longest does: timesteps of each, at least 1 and at most `T`. What
    /// stands behind a sequence's end, in `x` and in `y`, counts nothing.
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
        if let Some(at) = lengths.iter().position(|&length| length == 0 || length > self.steps()) {
            let expected = format!("from 1 to {}", self.steps());
            return refused(expected, format!("{} in sequence {at}", lengths[at]));
        }
        Ok(Dataset { lengths: Some(lengths.to_vec()), ..self })
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

    /// Timesteps of a sequence.
    ///
    /// # Panics
    /// Where there is no such sequence.
    pub fn length(&self, row: usize) -> usize {
        self.lengths.as_ref().map_or(self.steps(), |lengths| lengths[row])
    }
}
