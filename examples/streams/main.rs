//! A hundred sensors that report at rates of their own, each a stream with a state of its own: all
//! that are due advance together. One goes silent and leaves, another takes its place.

#[path = "../common/mod.rs"]
mod common;

use std::f32::consts::TAU;

use gatefold::{Device, Lstm, LstmConfig, Result, Stream, StreamPool};

const HELP: &str = "\
A hundred sensors at rates of their own, in one pool of streams. There are no options.

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

const SENSORS: usize = 100;
const TICKS: usize = 60;

/// What a sensor says at a tick.
fn reading(sensor: usize, tick: usize) -> [f32; 2] {
    let phase = tick as f32 * TAU / (10 + sensor) as f32;
    [phase.sin(), phase.cos()]
}

/// Returns how often a sensor was heard, and the last output of the first.
pub fn run(device: &Device) -> Result<(usize, Vec<f32>)> {
    println!("running on {device}");
    let lstm = Lstm::new(device, LstmConfig::new(2, 8).layers(2).seed(3))?;
    let mut pool = StreamPool::new(&lstm, 128)?;
    let mut sensors = Vec::new();
    for _ in 0..SENSORS {
        sensors.push(pool.join()?);
    }
    let (mut heard, mut first) = (0, Vec::new());
    for tick in 0..TICKS {
        // Sensor i reports every 1 + i % 5 ticks.
        let due: Vec<usize> = (0..SENSORS).filter(|i| tick.is_multiple_of(1 + i % 5)).collect();
        let readings: Vec<[f32; 2]> = due.iter().map(|&i| reading(i, tick)).collect();
        let inputs: Vec<(Stream, &[f32])> =
            due.iter().zip(&readings).map(|(&i, reading)| (sensors[i], &reading[..])).collect();
        let y = pool.feed(&inputs)?; // [due, 8], in the order of the inputs
        heard += due.len();
        first = y.data()[..8].to_vec();
        if tick == TICKS / 2 {
            // The last sensor is exchanged: the new one starts from nothing.
            pool.leave(sensors[SENSORS - 1])?;
            sensors[SENSORS - 1] = pool.join()?;
        }
        if tick % 20 == 0 {
            println!("tick {tick:>2}: {:>3} of {} were due", due.len(), pool.len());
        }
    }
    // A stream can be kept, and go on elsewhere.
    let kept = pool.save(sensors[0])?;
    let fork = pool.join()?;
    pool.restore(fork, &kept)?;
    println!("heard {heard} readings; the first sensor's last output: {first:.4?}");
    Ok((heard, first))
}

#[allow(dead_code, reason = "the suite calls `run`")]
fn main() -> std::process::ExitCode {
    common::main(HELP, common::no_options(), |()| run(&Device::from_env()?).map(|_| ()))
}
