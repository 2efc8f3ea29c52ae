//! Medians, and an interval for one.

/// The middle of some numbers; of an even number of them, the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// An interval that holds the median of the distribution with at least 95 % probability, whatever the
/// distribution: between the `k`-th smallest and the `k`-th largest, where fewer than `k` of `n` tosses
/// of a coin are heads with at most 2.5 %. None for fewer than six numbers.
pub fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    let n = sorted.len();
    let (mut ways, mut below, mut k) = (1.0, 0.0, 0);
    loop {
        below += ways / 2_f64.powi(n as i32);
        if below > 0.025 {
            break;
        }
        ways *= (n - k) as f64 / (k + 1) as f64;
        k += 1;
    }
    (k > 0).then(|| (sorted[k - 1], sorted[n - k]))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    /// The ranks of the sign test's table.
    #[test]
    fn ranks() {
        let numbers = |n: usize| (1..=n).rev().map(|i| i as f64).collect::<Vec<_>>();
        assert_eq!(interval(&numbers(5)), None);
        assert_eq!(interval(&numbers(6)), Some((1.0, 6.0)));
        assert_eq!(interval(&numbers(15)), Some((4.0, 12.0)));
        assert_eq!(interval(&numbers(25)), Some((8.0, 18.0)));
    }
}
