//! Windows over time that look at the past alone.

use std::ops::Range;

use crate::error::{Error, Result};

/// The windows of a period: `length` steps of past up to and with step `t`, and a target over the
/// `horizon` steps after it. Past and target lie wholly inside the period.
///
/// ```
/// use gatefold::data::Windows;
/// let windows = Windows { length: 3, horizon: 2 };
/// // Steps 10 to 16: pasts 10-12, 11-13 and 12-14, with targets 13-14, 14-15 and 15-16.
/// assert_eq!(windows.ends(10..17), 12..15);
/// assert_eq!(windows.past(12), 10..13);
/// assert_eq!(windows.future(12), 13..15);
/// assert!(windows.ends(10..14).is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Steps of past, with the present.
    pub length: usize,
    /// Steps of future that the target needs.
    pub horizon: usize,
}

impl Windows {
    /// The last steps `t` of all windows inside `period`; empty where it is too short for one.
    pub fn ends(&self, period: Range<usize>) -> Range<usize> {
        let first = period.start.saturating_add(self.length.max(1) - 1);
        first..period.end.saturating_sub(self.horizon).max(first)
    }

    /// The steps that a window shows.
    pub fn past(&self, t: usize) -> Range<usize> {
        let end = t.saturating_add(1);
        end.saturating_sub(self.length.max(1))..end
    }

    /// The steps that its target is made of, up to the last that can be counted.
    pub fn future(&self, t: usize) -> Range<usize> {
        let start = t.saturating_add(1);
        start..start.saturating_add(self.horizon)
    }
}

/// Cuts `steps` into consecutive periods with these shares, such as `[0.7, 0.15, 0.15]`.
///
/// # Errors
/// [`Error::Value`] where a share is negative or not a number, or they don't sum to 1.
pub fn split_by_time<const N: usize>(steps: usize, shares: [f64; N]) -> Result<[Range<usize>; N]> {
    cut("split_by_time", steps, shares)
}

/// Cuts so many into consecutive ranges with these shares.
pub(super) fn cut<const N: usize>(
    operation: &'static str,
    count: usize,
    shares: [f64; N],
) -> Result<[Range<usize>; N]> {
    let sum: f64 = shares.iter().sum();
    if shares.iter().any(|s| s.is_nan() || *s < 0.0) || (sum - 1.0).abs() > 1e-9 {
        return Err(Error::Value {
            operation,
            name: "shares".to_owned(),
            expected: "at least 0, with the sum 1".to_owned(),
            got: format!("{shares:?}"),
        });
    }
    let (mut start, mut share) = (0, 0.0);
    Ok(shares.map(|s| {
        share += s;
        let end = ((count as f64 * share).round() as usize).clamp(start, count);
        let part = start..end;
        start = end;
        part
    }))
}
