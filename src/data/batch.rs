//! Batches that a program makes itself.

use super::Dataset;
use crate::error::{Error, Result};

/// A batch for [`Trainer::fit_batches`](crate::train::Trainer::fit_batches): sequences that are trained
/// on together, and which of them go on from those of the batch before.
///
/// ```
/// use gatefold::{Array, Dataset, data::Batch};
/// let part = |x: [f32; 4]| {
///     Dataset::new(Array::new(x.to_vec(), &[2, 2, 1])?, Array::new(vec![0.0; 2], &[2, 1])?)
/// };
/// let first = Batch::from(part([1.0, 2.0, 5.0, 6.0])?);
/// let second = Batch::from(part([3.0, 4.0, 9.0, 8.0])?).continues(&[true, false])?;
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    data: Dataset,
    continues: Option<Vec<bool>>,
}

impl From<Dataset> for Batch {
    /// Sequences that all begin.
    fn from(data: Dataset) -> Batch {
        Batch { data, continues: None }
    }
}

impl Batch {
    /// Which sequences start from the state that the batch before has left in the same row; the
    /// others begin anew. Gradients stop there.
    ///
    /// # Errors
    /// [`Error::Value`] for another number of rows.
    pub fn continues(self, rows: &[bool]) -> Result<Batch> {
        if rows.len() != self.data.len() {
            return Err(Error::Value {
                operation: "Batch::continues",
                name: "rows".to_owned(),
                expected: self.data.len().to_string(),
                got: rows.len().to_string(),
            });
        }
        Ok(Batch { continues: Some(rows.to_vec()), ..self })
    }

    /// The sequences.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// Whether a sequence goes on; `None` where none does.
    pub fn continuing(&self) -> Option<&[bool]> {
        self.continues.as_deref()
    }

    pub(crate) fn into_parts(self) -> (Dataset, Option<Vec<bool>>) {
        (self.data, self.continues)
    }
}
