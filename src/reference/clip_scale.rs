//! Twin of `clip_scale`, and the status that it keeps.

use super::Real;
use super::optimizer::UNBOUNDED;

/// The places of a step's status, an f32 each; the rest is zero.
pub mod status {
    /// Elements.
    pub const LEN: usize = 16;
    /// What gradients are multiplied with.
    pub const SCALE: usize = 0;
    /// The norm of the gradients, before that.
    pub const NORM: usize = 1;
    /// 1 where the step is applied; at 0 nothing changes.
    pub const APPLY: usize = 2;
    /// 1 from the first bad step on, under [`policy::ERROR`](super::policy::ERROR).
    pub const HALTED: usize = 3;
    /// What was not finite: a [`kind`](super::kind).
    pub const KIND: usize = 4;
    /// Its chunk of the gradients.
    pub const CHUNK: usize = 5;
    /// Its element in the chunk.
    pub const OFFSET: usize = 6;
    /// Steps since it halted, with that one.
    pub const SINCE: usize = 7;
    /// Steps that were left out under [`policy::SKIP`](super::policy::SKIP).
    pub const SKIPPED: usize = 8;
}

/// What was the first thing in a step that is NaN or infinite.
pub mod kind {
    /// Nothing.
    pub const NONE: f32 = 0.0;
    /// The loss.
    pub const LOSS: f32 = 1.0;
    /// A gradient, under a finite loss.
    pub const GRADIENT: f32 = 2.0;
}

/// What becomes of a bad step: one whose loss or gradients aren't finite.
pub mod policy {
    /// It is applied.
    pub const PASS: f32 = 0.0;
    /// It is left out and counted.
    pub const SKIP: f32 = 1.0;
    /// It is left out, and so is every later one.
    pub const ERROR: f32 = 2.0;
}

/// The places of what the host says to a step.
pub mod scalars {
    /// Elements.
    pub const LEN: usize = 4;
    /// The largest norm of the gradients, `f32::MAX` for none.
    pub const MAX_NORM: usize = 1;
    /// A [`policy`](super::policy).
    pub const POLICY: usize = 2;
}

/// Joins what [`gradient_norm`](super::gradient_norm) has found in chunks of so many elements: the
/// scale as `torch.nn.utils.clip_grad_norm_` computes it, and whether the step is applied.
///
/// ```text
/// norm  = sqrt(sum of partials[c][0])
/// scale = max_norm is none ? 1 : min(1, max_norm / (norm + 1e-6))
/// ```
///
/// The kind, chunk and offset of what is bad are kept from the latest step that was left out
/// (skip), or from the first bad one (error).
///
/// # Shapes
/// `scalars [4]`, `partials [chunks, 2]`, `status [16]`.
pub fn clip_scale<R: Real>(scalars: &[R], loss: R, partials: &[R], chunk: usize, status: &mut [R]) {
    let (max_norm, policy) = (scalars[scalars::MAX_NORM], scalars[scalars::POLICY]);
    let norm = partials.iter().step_by(2).fold(R::zero(), |sum, &part| sum + part).sqrt();
    let share = max_norm / (norm + R::of(1e-6));
    // `min` would swallow a NaN.
    let scale = if share > R::one() { R::one() } else { share };
    status[status::SCALE] = if max_norm >= R::of(UNBOUNDED) { R::one() } else { scale };
    status[status::NORM] = norm;

    let chunk = R::of(chunk as f32);
    let bad_chunk = partials.chunks_exact(2).enumerate().find(|(_, part)| part[1] < chunk);
    let bad = match bad_chunk {
        _ if !loss.is_finite() => Some([R::of(kind::LOSS), R::zero(), R::zero()]),
        Some((c, part)) => Some([R::of(kind::GRADIENT), R::of(c as f32), part[1]]),
        None => None,
    };
    let mut applied = true;
    if policy == R::of(policy::SKIP)
        && let Some(bad) = bad
    {
        status[status::KIND..=status::OFFSET].copy_from_slice(&bad);
        status[status::SKIPPED] += R::one();
        applied = false;
    }
    if policy == R::of(policy::ERROR) {
        if status[status::HALTED] == R::zero()
            && let Some(bad) = bad
        {
            status[status::KIND..=status::OFFSET].copy_from_slice(&bad);
            status[status::HALTED] = R::one();
            status[status::SINCE] = R::zero();
        }
        if status[status::HALTED] != R::zero() {
            status[status::SINCE] += R::one();
            applied = false;
        }
    }
    status[status::APPLY] = if applied { R::one() } else { R::zero() };
}
