//! How far a device's result may be from the reference's.

use std::fmt;

/// How far a result may be from the `f64` twin's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Of a sum of so many products: `(4 + sqrt(terms))` ulp of the same sum over absolute
    /// values. Rounding errors of a sum are a random walk over its terms; the 4 covers short
    /// sums, biases and the last rounding.
    Terms(usize),
    /// `absolute + relative * |want|`.
    Mixed {
        /// The part that doesn't grow.
        absolute: f64,
        /// The part that grows with the value.
        relative: f64,
    },
}

impl Tolerance {
    /// What is copied, counted or chosen: nothing is rounded.
    pub const EXACT: Tolerance = Tolerance::Mixed { absolute: 0.0, relative: 0.0 };
    /// The gates, cell and hidden state after one timestep. The pre-activation is a sum of
    /// `H + 1` terms, whose rounding the activations pass on with a slope of at most 1; the
    /// activations of drivers are within 1.5e-7 absolute (tanh of Mesa's llvmpipe). The relative
    /// part is for a cell state that has grown beyond 1.
    pub const STEP: Tolerance = Tolerance::Mixed { absolute: 2e-6, relative: 1e-6 };
    /// The gradients of one timestep, for an incoming gradient of 1, with whose largest element
    /// the absolute part is scaled ([`Kernel::scale`](crate::command::Kernel::scale)).
    pub const STEP_GRADIENT: Tolerance = Tolerance::Mixed { absolute: 1e-6, relative: 4e-6 };
    /// Probabilities, `exp(x) / sum` with x at most 0. The difference x is rounded, and so is its
    /// product with log2(e) where a driver takes exp2: `|x| / 2` ulp each, and 2 of exp2 itself. The
    /// sum is wrong by the mean of that over the shares, at most `2 + ln C`. With a division that is
    /// 30 ulp of a share above exp(-15); the absolute part is the same of that share.
    pub const PROBABILITY: Tolerance = Tolerance::Mixed { absolute: 1e-12, relative: 4e-6 };
    /// A function between linear layers, or its slope for a gradient of 1, with whose largest element the
    /// absolute part is scaled ([`Kernel::scale`](crate::command::Kernel::scale)): activations of drivers are
    /// within 1.5e-7 absolute (tanh of Mesa's llvmpipe), which a slope of tanh doubles; a product or two.
    pub const NONLINEARITY: Tolerance = Tolerance::Mixed { absolute: 5e-7, relative: 4e-6 };
    /// One optimizer update, from stored gradients: a few roundings, one square root and one
    /// division (2.5 ulp where a GPU divides).
    pub const OPTIMIZER: Tolerance = Tolerance::Mixed { absolute: 1e-9, relative: 2e-6 };
    /// Gates and states of some timesteps, each computed from the one before: [`OUTPUT`](Self::OUTPUT),
    /// and [`STEP`](Self::STEP)'s relative part.
    pub const SEQUENCE: Tolerance = Tolerance::Mixed { absolute: 1e-5, relative: 1e-6 };
    /// The gradients of some timesteps, each computed from the one before, for an incoming gradient of
    /// 1: a tenth of what the gradient of a tensor may be wrong by.
    pub const SEQUENCE_GRADIENT: Tolerance = Tolerance::Mixed { absolute: 1e-5, relative: 4e-6 };
    /// Outputs and states of a whole sequence of at most 100 steps.
    pub const OUTPUT: Tolerance = Tolerance::Mixed { absolute: 1e-5, relative: 0.0 };
    /// The same, with the absolute part for a result of another scale.
    pub fn scaled(self, scale: f64) -> Tolerance {
        match self {
            Tolerance::Mixed { absolute, relative } => {
                Tolerance::Mixed { absolute: absolute * scale, relative }
            }
            terms => terms,
        }
    }

    /// A training loss within ten optimizer steps.
    pub const LOSS: Tolerance = Tolerance::Mixed { absolute: 0.0, relative: 1e-4 };

    /// The gradient of one tensor through a whole sequence: 1e-4 of its largest element.
    pub fn gradient(want: &[f64]) -> Tolerance {
        let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        Tolerance::Mixed { absolute: 1e-4 * largest, relative: 0.0 }
    }
}

/// Why a result was refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    /// It has another number of elements.
    Length {
        /// The result's.
        got: usize,
        /// The reference's.
        want: usize,
    },
    /// An element is too far away, or not a number.
    Element {
        /// Its position.
        index: usize,
        /// The result's value.
        got: f32,
        /// The reference's value.
        want: f64,
        /// The distance that was allowed.
        allowed: f64,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Length { got, want } => write!(f, "{got} elements instead of {want}"),
            Mismatch::Element { index, got, want, allowed } => write!(
                f,
                "element {index} is {got:e}, the reference {want:e}: {:e} apart, {allowed:e} allowed",
                (f64::from(*got) - want).abs()
            ),
        }
    }
}

/// The element of a result that came nearest to being refused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worst {
    /// Its distance from the reference.
    pub error: f64,
    /// The distance that was allowed.
    pub allowed: f64,
}

impl Worst {
    /// The error as a share of what was allowed: 0 for none, at most 1.
    pub fn share(&self) -> f64 {
        if self.error > 0.0 { self.error / self.allowed } else { 0.0 }
    }

    /// Whichever of two is nearer to being refused.
    pub fn or(self, other: Worst) -> Worst {
        if other.share() > self.share() { other } else { self }
    }
}

/// Compares a device's result with the reference's. Returns the element that is nearest to being
/// refused, or the first that is outside of what is allowed.
///
/// `magnitude` is the reference's result on absolute values, which [`Tolerance::Terms`] scales
/// with; without it, or for the other tolerances, the value itself takes its place.
///
/// A NaN, on either side, is never close to anything.
///
/// ```
/// use gatefold::reference::{Tolerance, compare};
/// let tolerance = Tolerance::Mixed { absolute: 1e-6, relative: 0.0 };
/// assert!(compare(&[1.0], &[1.0 + 0.9e-6], None, tolerance).is_ok());
/// assert!(compare(&[1.0], &[1.0 + 1.1e-6], None, tolerance).is_err());
/// assert!(compare(&[f32::NAN], &[f64::NAN], None, tolerance).is_err());
/// ```
pub fn compare(
    got: &[f32],
    want: &[f64],
    magnitude: Option<&[f64]>,
    tolerance: Tolerance,
) -> Result<Worst, Mismatch> {
    compare_above(got, want, magnitude, tolerance, 0.0)
}

/// The same, where every element may be wrong by `least` at any rate.
pub(crate) fn compare_above(
    got: &[f32],
    want: &[f64],
    magnitude: Option<&[f64]>,
    tolerance: Tolerance,
    least: f64,
) -> Result<Worst, Mismatch> {
    if got.len() != want.len() || magnitude.is_some_and(|m| m.len() != want.len()) {
        return Err(Mismatch::Length { got: got.len(), want: want.len() });
    }
    let mut worst = Worst::default();
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        let allowed = match tolerance {
            Tolerance::Terms(terms) => {
                let scale = magnitude.map_or(want.abs(), |m| m[index].abs());
                (4.0 + (terms as f64).sqrt()) * f64::from(f32::EPSILON) * scale
            }
            Tolerance::Mixed { absolute, relative } => absolute + relative * want.abs(),
        };
        let allowed = allowed.max(least);
        let error = (f64::from(got) - want).abs();
        #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "negated, so that a NaN fails")]
        if !(error <= allowed) {
            return Err(Mismatch::Element { index, got, want, allowed });
        }
        worst = worst.or(Worst { error, allowed });
    }
    Ok(worst)
}
