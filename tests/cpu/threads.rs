//! Results don't depend on how many threads there are.

use gatefold::cpu::Cpu;
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Dataset, Device, Error, Forecaster, LstmConfig};

use crate::common::random::normal;

fn trained(threads: usize) -> Vec<u32> {
    let device = Device::from_cpu(Cpu::with_threads(threads).unwrap());
    // Large enough for products to be split over threads.
    let model = Forecaster::new(&device, LstmConfig::new(9, 70).layers(2), 3).unwrap();
    let data = Dataset::new(
        Array::new(normal(40 * 12 * 9, 1.0, 1), &[40, 12, 9]).unwrap(),
        Array::new(normal(40 * 3, 1.0, 2), &[40, 3]).unwrap(),
    );
    let mut trainer =
        Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(16).epochs(2).shuffle(4);
    let report = trainer.fit(&data.unwrap(), None, |_| ()).unwrap();
    let state = trainer.model().state_dict().unwrap();
    let weights = state.into_iter().flat_map(|(_, array)| array.into_data());
    report.step_losses.into_iter().chain(weights).map(f32::to_bits).collect()
}

#[test]
fn one_thread_and_two_are_bit_equal() {
    assert_eq!(trained(1), trained(2));
}

#[test]
fn no_thread_is_refused() {
    assert!(matches!(Cpu::with_threads(0), Err(Error::Value { .. })));
}
