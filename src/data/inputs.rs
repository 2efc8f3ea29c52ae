//! What a model is asked about.

use std::borrow::Cow;
use std::ops::Range;

use super::padding::{Padded, pad};
use super::{Dataset, Values};
use crate::error::{Error, Result};
use crate::tensor::Array;

/// The sequences that [`Forecaster::predict`](crate::Forecaster::predict) and its like take: an [`Array`], of
/// features or of tokens, one with the length of each of its rows, or a [`Dataset`].
///
/// ```
/// use gatefold::data::Inputs;
/// use gatefold::{Array, Device, Forecaster, LstmConfig};
/// let model = Forecaster::new(&Device::cpu(), LstmConfig::new(1, 4), 2)?;
/// let x = Array::new(vec![0.3, 0.0, 0.0, 0.8, 0.5, 0.1], &[2, 3, 1])?;
/// let all = model.predict(&x)?; // each of 3 timesteps
/// let y = model.predict((&x, &[1, 3]))?; // the first of one
/// // Sequences without targets, padded.
/// let same = Inputs::from_sequences([vec![0.3], vec![0.8, 0.5, 0.1]])?;
/// assert_eq!(model.predict(same)?, y);
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Debug)]
pub struct Inputs<'a> {
    x: Result<Cow<'a, Array>>,
    lengths: Option<Cow<'a, [usize]>>,
    late: bool,
}

impl<'a> Inputs<'a> {
    /// Rows that start late instead of ending early, as [`Dataset::right_aligned`].
    pub fn right_aligned(x: impl Into<Inputs<'a>>, lengths: &'a [usize]) -> Inputs<'a> {
        Inputs { lengths: Some(lengths.into()), late: true, ..x.into() }
    }

    /// Sequences of different lengths, as [`Dataset::from_sequences`] takes them, without targets.
    ///
    /// # Errors
    /// As there.
    pub fn from_sequences<S: Into<Values>>(
        sequences: impl IntoIterator<Item = S>,
    ) -> Result<Inputs<'static>> {
        let Padded { array, lengths } = pad("Inputs::from_sequences", sequences)?;
        Ok(Inputs { x: Ok(Cow::Owned(array)), lengths: Some(lengths.into()), late: false })
    }

    /// The sequences, and what is known of their rows.
    pub(crate) fn parts(self) -> Result<(Cow<'a, Array>, Rows<'a>)> {
        Ok((self.x?, Rows { lengths: self.lengths, late: self.late }))
    }
}

/// Which timesteps of `T` the rows have.
pub(crate) struct Rows<'a> {
    pub(crate) lengths: Option<Cow<'a, [usize]>>,
    late: bool,
}

impl Rows<'_> {
    pub(crate) fn range(&self, row: usize, steps: usize) -> Range<usize> {
        let length = self.lengths.as_ref().map_or(steps, |lengths| lengths[row]);
        let start = if self.late { steps - length } else { 0 };
        start..start + length
    }
}

impl<'a> From<&'a Array> for Inputs<'a> {
    fn from(x: &'a Array) -> Inputs<'a> {
        Inputs { x: Ok(Cow::Borrowed(x)), lengths: None, late: false }
    }
}

impl<'a> From<&'a Array<u32>> for Inputs<'a> {
    fn from(x: &'a Array<u32>) -> Inputs<'a> {
        let x = Values::from(x).array("Inputs::from", "x");
        Inputs { x: x.map(Cow::Owned), lengths: None, late: false }
    }
}

impl<'a> From<&'a Dataset> for Inputs<'a> {
    fn from(data: &'a Dataset) -> Inputs<'a> {
        let lengths = data.lengths().map(Cow::Borrowed);
        Inputs { x: Ok(Cow::Borrowed(data.x())), lengths, late: data.is_right_aligned() }
    }
}

impl<'a, T, L: AsRef<[usize]> + ?Sized> From<(&'a Array<T>, &'a L)> for Inputs<'a>
where
    Inputs<'a>: From<&'a Array<T>>,
{
    fn from((x, lengths): (&'a Array<T>, &'a L)) -> Inputs<'a> {
        Inputs { lengths: Some(lengths.as_ref().into()), ..Inputs::from(x) }
    }
}

/// Checks the lengths of some rows, where they are given.
pub(crate) fn expect_lengths(
    operation: &'static str,
    lengths: Option<&[usize]>,
    rows: usize,
    steps: usize,
) -> Result<()> {
    let Some(lengths) = lengths else { return Ok(()) };
    let refused = |expected: String, got: String| {
        Err(Error::Value { operation, name: "lengths".to_owned(), expected, got })
    };
    if lengths.len() != rows {
        let expected = format!("one for each of {rows} sequences");
        return refused(expected, lengths.len().to_string());
    }
    match lengths.iter().position(|&length| length > steps) {
        Some(row) => {
            refused(format!("from 0 to {steps}"), format!("{} in sequence {row}", lengths[row]))
        }
        None => Ok(()),
    }
}

/// `[B, T, K]` as `[T, B, K]`, for some timesteps and rows of the first. Timesteps are counted from where each
/// row starts; there are zeros where that leads beyond `T`.
pub(crate) fn time_major(
    x: &[f32],
    (steps, width): (usize, usize),
    some: Range<usize>,
    rows: &[usize],
    start: impl Fn(usize) -> usize,
    out: &mut Vec<f32>,
) {
    let starts: Vec<usize> = rows.iter().map(|&row| start(row)).collect();
    for t in some {
        for (&row, start) in rows.iter().zip(&starts) {
            match start + t {
                at if at < steps => {
                    out.extend_from_slice(&x[(row * steps + at) * width..][..width]);
                }
                _ => out.resize(out.len() + width, 0.0),
            }
        }
    }
}
