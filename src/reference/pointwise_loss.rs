//! Twin of `pointwise_loss`.

use super::{Lengths, Real, sigmoid};

/// A loss of one prediction `y` and one target `t` each, where `d = y - t`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pointwise {
    /// `d^2`, as `torch.nn.MSELoss`.
    Squared,
    /// `|d|`, as `torch.nn.L1Loss`.
    Absolute,
    /// `d^2 / 2` up to `|d| = delta`, then `delta (|d| - delta / 2)`, as `torch.nn.HuberLoss`
    /// (Huber, 1964).
    Huber {
        /// Where it becomes straight; above 0.
        delta: f32,
    },
    /// `d^2 / (2 beta)` below `|d| = beta`, then `|d| - beta / 2`, as `torch.nn.SmoothL1Loss`.
    SmoothAbsolute {
        /// Where it becomes straight; 0 makes it the absolute loss.
        beta: f32,
    },
    /// `-t log(p) - (1 - t) log(1 - p)` for `p = sigmoid(y)`, as `torch.nn.BCEWithLogitsLoss`.
    BinaryLogits,
}

impl Pointwise {
    /// The value of the pipeline constant KIND, and the threshold.
    pub fn code(self) -> (u8, f32) {
        match self {
            Pointwise::Squared => (0, 0.0),
            Pointwise::Absolute => (1, 0.0),
            Pointwise::Huber { delta } => (2, delta),
            Pointwise::SmoothAbsolute { beta } => (3, beta),
            Pointwise::BinaryLogits => (4, 0.0),
        }
    }

    /// What has this code; all unknown ones are squared.
    pub fn of_code(code: u8, threshold: f32) -> Pointwise {
        match code {
            1 => Pointwise::Absolute,
            2 => Pointwise::Huber { delta: threshold },
            3 => Pointwise::SmoothAbsolute { beta: threshold },
            4 => Pointwise::BinaryLogits,
            _ => Pointwise::Squared,
        }
    }

    /// The loss of one prediction, and its derivative by it.
    pub fn at<R: Real>(self, y: R, target: R) -> (R, R) {
        let d = y - target;
        let (half, two) = (R::of(0.5), R::of(2.0));
        let sign = if d > R::zero() {
            R::one()
        } else if d < R::zero() {
            -R::one()
        } else {
            d
        };
        match self {
            Pointwise::Squared => (d * d, two * d),
            Pointwise::Absolute => (d.abs(), sign),
            Pointwise::Huber { delta } if d.abs() > R::of(delta) => {
                let delta = R::of(delta);
                (delta * (d.abs() - half * delta), delta * sign)
            }
            Pointwise::Huber { .. } => (half * d * d, d),
            Pointwise::SmoothAbsolute { beta } if d.abs() >= R::of(beta) => {
                (d.abs() - half * R::of(beta), sign)
            }
            Pointwise::SmoothAbsolute { beta } => (half * d * d / R::of(beta), d / R::of(beta)),
            Pointwise::BinaryLogits => {
                // max(y, 0) - y t + log(1 + e^-|y|), which overflows nowhere.
                let value = y.max(R::zero()) - y * target + (-y.abs()).exp().ln_1p();
                (value, sigmoid(y) - target)
            }
        }
    }
}

/// A pointwise loss over `[T, B, O]`, or over the elements from `first` on: `dy[n] = scale w f'(y[n],
/// target[n])`, and `partials[p]`, `scale` times the sum of `w f` over each `chunk` elements, with the
/// weight `w` of the element's row, 1 without. Rows that have ended and those of weight 0 count nothing,
/// whatever stands there.
///
/// # Shapes
/// `y`, `target`, `dy` `[N]`, element `n` being `first + n` of `[T, B, width]`;
/// `partials [ceil(N / chunk)]`; `lengths` count from timestep 0 on; `weights` of the rows of `[T, B]`, from
/// that of element `first` on.
pub fn pointwise_loss<R: Real>(
    loss: Pointwise,
    (first, batch, width, chunk): (usize, usize, usize, usize),
    scale: R,
    lengths: Option<Lengths<'_, R>>,
    weights: Option<&[R]>,
    (y, target): (&[R], &[R]),
    (dy, partials): (&mut [R], &mut [R]),
) {
    partials.fill(R::zero());
    for (n, (&y, &target)) in y.iter().zip(target).enumerate() {
        let row = (first + n) / width;
        let weight = weights.map_or(R::one(), |weights| weights[row - first / width]);
        let ended = lengths.is_some_and(|lengths| lengths.after(row / batch).ended(row % batch));
        if ended || weight == R::zero() {
            dy[n] = R::zero();
            continue;
        }
        let (value, slope) = loss.at(y, target);
        dy[n] = scale * weight * slope;
        partials[n / chunk] += weight * value;
    }
    partials.iter_mut().for_each(|sum| *sum = scale * *sum);
}
