//! Twin of `mse_loss`.

use super::Real;

/// `torch.nn.MSELoss` with its mean over `N` elements, value and gradient in one pass:
/// `dy[n] = 2 (y[n] - target[n]) / N`, and the squares summed in chunks,
/// `partial[p] = sum((y - target)^2)`, which `reduce_sum` brings to the mean.
///
/// # Shapes
/// `y`, `target`, `dy` `[N]`; `partial [ceil(N / chunk)]`.
pub fn mse_loss<R: Real>(chunk: usize, y: &[R], target: &[R], dy: &mut [R], partial: &mut [R]) {
    let scale = R::of_f64(2.0 / y.len() as f64);
    partial.fill(R::zero());
    for (n, (&y, &target)) in y.iter().zip(target).enumerate() {
        let difference = y - target;
        dy[n] = scale * difference;
        partial[n / chunk] += difference * difference;
    }
}
