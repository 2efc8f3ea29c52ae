//! The comparer refuses what it has to refuse.

use gatefold::reference::{Mismatch, Tolerance, Worst, compare};

const TOLERANCE: Tolerance = Tolerance::Mixed { absolute: 1e-6, relative: 0.0 };

#[test]
fn equal_values_agree() {
    let worst = Worst::default();
    assert_eq!(compare(&[1.0, -2.0], &[1.0, -2.0], None, TOLERANCE), Ok(worst));
    assert_eq!(
        compare(&[0.0], &[-0.0], None, Tolerance::Mixed { absolute: 0.0, relative: 0.0 }),
        Ok(worst)
    );
}

#[test]
fn nan_never_agrees() {
    for (got, want) in [(f32::NAN, 1.0), (1.0, f64::NAN), (f32::NAN, f64::NAN)] {
        assert!(matches!(
            compare(&[0.0, got], &[0.0, want], None, TOLERANCE),
            Err(Mismatch::Element { index: 1, .. })
        ));
    }
    // Infinity minus infinity is NaN.
    assert!(compare(&[f32::INFINITY], &[f64::INFINITY], None, TOLERANCE).is_err());
}

#[test]
fn a_wrong_length_is_refused() {
    let wrong = Err(Mismatch::Length { got: 1, want: 2 });
    assert_eq!(compare(&[1.0], &[1.0, 1.0], None, TOLERANCE), wrong);
    assert!(compare(&[1.0], &[1.0], Some(&[]), Tolerance::Terms(1)).is_err());
}

#[test]
fn an_unwritten_element_is_found() {
    let poison = crate::common::random::POISON;
    assert!(compare(&[1.0, poison], &[1.0, 0.5], None, TOLERANCE).is_err());
}

#[test]
fn a_value_just_outside_is_refused() {
    assert!(compare(&[0.99e-6], &[0.0], None, TOLERANCE).is_ok());
    assert!(compare(&[1.01e-6], &[0.0], None, TOLERANCE).is_err());
    assert!(compare(&[-1.01e-6], &[0.0], None, TOLERANCE).is_err());
    // (4 + sqrt(16)) ulp of 2.
    let allowed = 8.0 * f64::from(f32::EPSILON) * 2.0;
    let outcome =
        |share: f64| compare(&[0.0], &[share * allowed], Some(&[2.0]), Tolerance::Terms(16));
    assert!(outcome(0.99).is_ok());
    assert!(outcome(1.01).is_err());
}

#[test]
fn the_worst_share_is_reported() {
    let worst = compare(&[0.0, 0.0], &[0.25e-6, -0.5e-6], None, TOLERANCE).unwrap();
    assert!((worst.share() - 0.5).abs() < 1e-9);
    assert_eq!(worst, Worst { error: 0.5e-6, allowed: 1e-6 });
}
