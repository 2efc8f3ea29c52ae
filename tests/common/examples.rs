//! The examples that are there to be copied from.

#[path = "../../examples/autodiff_hook/main.rs"]
mod autodiff_hook;
#[path = "../../examples/streams/main.rs"]
mod streams;

use gatefold::reference::Tolerance;
use gatefold::{Device, Lstm, LstmConfig, Tensor};

use super::{assert_close, wide};

/// The layer learns, and the gradient through it is the difference's.
pub fn autodiff(device: &Device) {
    let (first, last, apart) = autodiff_hook::run(device).unwrap();
    assert!(apart < 1e-2, "the gradient is {apart} from a difference of losses in f32");
    assert!(last < 0.5 * first, "the loss went from {first} to {last}");
}

/// The first sensor's stream is the sequence of its readings.
pub fn sensors(device: &Device) {
    let (heard, first) = streams::run(device).unwrap();
    let due = |tick: usize| (0..100).filter(|i| tick.is_multiple_of(1 + i % 5)).count();
    assert_eq!(heard, (0..60).map(due).sum::<usize>());
    let lstm = Lstm::new(device, LstmConfig::new(2, 8).layers(2).seed(3)).unwrap();
    let readings = (0..60).flat_map(|tick| {
        let phase = tick as f32 * std::f32::consts::TAU / 10.0;
        [phase.sin(), phase.cos()]
    });
    let x = Tensor::from_slice(device, &readings.collect::<Vec<f32>>(), &[60, 1, 2]).unwrap();
    let want = lstm.forward(&x, None).unwrap().1.h.to_vec().unwrap();
    assert_close("the first sensor", &first, &wide(&want[8..]), Tolerance::OUTPUT);
}
