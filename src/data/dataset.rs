//! Sequences with targets.

use crate::error::{Error, Result};
use crate::tensor::{Array, expect_shape};

/// Sequences with a target each.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    x: Array,
    y: Array,
}

impl Dataset {
    /// `x [N, T, I]` and `y [N, O]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn new(x: Array, y: Array) -> Result<Dataset> {
        let dims = [("N", None), ("T", None), ("I", None)];
        expect_shape("Dataset::new", "x", x.shape(), &dims)?;
        let dims = [("N", Some(x.shape()[0])), ("O", None)];
        expect_shape("Dataset::new", "y", y.shape(), &dims)?;
        Ok(Dataset { x, y })
    }

    /// The sequences, `[N, T, I]`.
    pub fn x(&self) -> &Array {
        &self.x
    }

    /// The targets, `[N, O]`.
    pub fn y(&self) -> &Array {
        &self.y
    }

    /// Sequences.
    #[allow(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.x.shape()[0]
    }

    /// Checks that a model can learn from it.
    pub(crate) fn expect(
        &self,
        operation: &'static str,
        name: &str,
        input: usize,
        outputs: usize,
    ) -> Result<()> {
        let expected = [("N", None), ("T", None), ("I", Some(input))];
        expect_shape(operation, &format!("x of {name}"), self.x.shape(), &expected)?;
        let expected = [("N", None), ("O", Some(outputs))];
        expect_shape(operation, &format!("y of {name}"), self.y.shape(), &expected)?;
        for (part, array) in [("x", &self.x), ("y", &self.y)] {
            if let Some(at) = array.data().iter().position(|v| !v.is_finite()) {
                return Err(Error::Value {
                    operation,
                    name: format!("{part} of {name}, element {at}"),
                    expected: "finite".to_owned(),
                    got: array.data()[at].to_string(),
                });
            }
        }
        Ok(())
    }
}
