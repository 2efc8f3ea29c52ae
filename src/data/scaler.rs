//! Columns with mean 0 and standard deviation 1.

use crate::error::{Error, Result};

/// The mean and standard deviation of each column, fitted on some rows and applied to others.
///
/// ```
/// use gatefold::data::Scaler;
/// let scaler = Scaler::fit([[1.0, 10.0], [3.0, 10.0]])?;
/// let mut row = [5.0, 10.0];
/// scaler.transform(&mut row);
/// assert_eq!(row, [3.0, 0.0]); // a column without spread is only centred
/// scaler.inverse(&mut row);
/// assert_eq!(row, [5.0, 10.0]);
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scaler {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Scaler {
    /// Fits on `rows` of one length.
    ///
    /// # Errors
    /// [`Error::Value`] without rows, for NaN or infinity, and where a column's spread is more than `f64`
    /// holds; [`Error::Shape`] where one has another length.
    pub fn fit<R: AsRef<[f64]>>(rows: impl IntoIterator<Item = R>) -> Result<Scaler> {
        let operation = "Scaler::fit";
        let refused = |name: String, expected: &str, got: f64| {
            let (expected, got) = (expected.to_owned(), got.to_string());
            Err(Error::Value { operation, name, expected, got })
        };
        let (mut count, mut mean, mut squares) = (0.0f64, Vec::new(), Vec::new());
        for (number, row) in rows.into_iter().enumerate() {
            let row = row.as_ref();
            if let Some(column) = row.iter().position(|x| !x.is_finite()) {
                let name = format!("row {number}, column {column}");
                return refused(name, "finite", row[column]);
            }
            if count == 0.0 {
                (mean, squares) = (vec![0.0; row.len()], vec![0.0; row.len()]);
            }
            if row.len() != mean.len() {
                return Err(Error::Shape {
                    operation,
                    tensor: "a row".to_owned(),
                    expected: format!("[{}]", mean.len()),
                    got: format!("[{}]", row.len()),
                });
            }
            // Welford (1962): no large sums to subtract.
            count += 1.0;
            for ((&x, mean), squares) in row.iter().zip(&mut mean).zip(&mut squares) {
                let before = x - *mean;
                *mean += before / count;
                *squares += before * (x - *mean);
            }
        }
        if count == 0.0 {
            return Err(Error::Value {
                operation,
                name: "rows".to_owned(),
                expected: "at least 1".to_owned(),
                got: "0".to_owned(),
            });
        }
        // Of finite numbers the differences may be none.
        if let Some(column) = squares.iter().position(|s: &f64| !s.is_finite()) {
            let name = format!("column {column}");
            return refused(name, "of numbers whose variance is finite", squares[column]);
        }
        let std = |s: &f64| if *s > 0.0 { (s / count).sqrt() } else { 1.0 };
        Ok(Scaler { std: squares.iter().map(std).collect(), mean })
    }

    /// From numbers that [`Scaler::mean`] and [`Scaler::std`] gave.
    ///
    /// # Errors
    /// [`Error::Value`] where they aren't finite, positive where they have to be, and equally many.
    pub fn from_parts(mean: Vec<f64>, std: Vec<f64>) -> Result<Scaler> {
        let refused = |name: String, expected: &str, got: String| {
            let (operation, expected) = ("Scaler::from_parts", expected.to_owned());
            Err(Error::Value { operation, name, expected, got })
        };
        if mean.len() != std.len() {
            let got = format!("{} and {}", mean.len(), std.len());
            return refused("mean and std".to_owned(), "equally many", got);
        }
        if let Some(at) = mean.iter().position(|m| !m.is_finite()) {
            return refused(format!("mean {at}"), "finite", mean[at].to_string());
        }
        if let Some(at) = std.iter().position(|s| !(s.is_finite() && *s > 0.0)) {
            return refused(format!("std {at}"), "finite and above 0", std[at].to_string());
        }
        Ok(Scaler { mean, std })
    }

    /// The mean of each column.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The standard deviation of each column, 1 where there is no spread.
    pub fn std(&self) -> &[f64] {
        &self.std
    }

    /// Scales a row in place; columns beyond the fitted ones stay. NaN and infinity stay what they are: a
    /// [`Dataset`](crate::Dataset) with them is an error where it is trained on.
    pub fn transform(&self, row: &mut [f64]) {
        for ((x, mean), std) in row.iter_mut().zip(&self.mean).zip(&self.std) {
            *x = (*x - mean) / std;
        }
    }

    /// Takes [`transform`](Self::transform) back.
    pub fn inverse(&self, row: &mut [f64]) {
        for ((x, mean), std) in row.iter_mut().zip(&self.mean).zip(&self.std) {
            *x = *x * std + mean;
        }
    }
}
