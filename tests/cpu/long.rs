//! Sequences of millions of timesteps.

use gatefold::{Array, Device, Forecaster, Lstm, LstmConfig, Tensor};

/// More than twice as many timesteps as launches that a plan may have: the same bits as two halves, of which
/// the second goes on from the first.
#[test]
fn millions_of_timesteps() {
    let device = Device::cpu();
    let steps = 4_300_000;
    let x: Vec<f32> = (0..steps).map(|t| (t as f32 * 0.37).sin()).collect();
    let tensor = |x: &[f32]| Tensor::from_slice(&device, x, &[x.len(), 1, 1]).unwrap();
    let lstm = Lstm::new(&device, LstmConfig::new(1, 1).seed(1)).unwrap();
    let (y, last) = lstm.forward(&tensor(&x), None).unwrap();
    let (first, second) = x.split_at(steps / 2);
    let (y_first, state) = lstm.forward(&tensor(first), None).unwrap();
    let (y_second, end) = lstm.forward(&tensor(second), Some(&state)).unwrap();
    let halves = [y_first.to_vec().unwrap(), y_second.to_vec().unwrap()].concat();
    assert!(y.to_vec().unwrap() == halves, "outputs differ");
    assert_eq!(last.h.to_vec().unwrap(), end.h.to_vec().unwrap());
    assert_eq!(last.c.to_vec().unwrap(), end.c.to_vec().unwrap());

    let model = Forecaster::without_head(&device, LstmConfig::new(1, 1).seed(1)).unwrap();
    let predicted = model.predict(&Array::new(x, &[1, steps, 1]).unwrap()).unwrap();
    assert_eq!(predicted.data(), last.h.to_vec().unwrap());
}

/// A launch a timestep, where a projection joins units, and both directions: in pieces.
#[test]
fn a_plan_is_too_long() {
    let device = Device::cpu();
    let steps = 2_200_000;
    let x: Vec<f32> = (0..steps).map(|t| (t as f32 * 0.37).sin()).collect();
    let config = LstmConfig::new(1, 2).proj_size(1).bidirectional(true).seed(1);
    let lstm = Lstm::new(&device, config).unwrap();
    let tensor = |x: &[f32]| Tensor::from_slice(&device, x, &[x.len(), 1, 1]).unwrap();
    let (y, _) = lstm.forward(&tensor(&x), None).unwrap();
    let y = y.to_vec().unwrap();
    // After so many timesteps nobody knows how they began: both ends are those of short sequences.
    let (short, _) = lstm.forward(&tensor(&x[..500]), None).unwrap();
    let short = short.to_vec().unwrap();
    assert_eq!(y[..2 * 300], short[..2 * 300]);
    let (short, _) = lstm.forward(&tensor(&x[steps - 500..]), None).unwrap();
    let short = short.to_vec().unwrap();
    assert_eq!(y[2 * (steps - 300)..], short[2 * 200..]);
}
