//! The LSTM cell that people write first in NumPy, and the same cell on this crate: one timestep at
//! a time, with a state that is kept.
//!
//! `cell.rs` beside this file is the cell on the crate, `by_hand.rs` the one in plain loops.
//! `cargo run --example numpy_cell -- --help` shows the options.

mod by_hand;
mod cell;
#[path = "../common/mod.rs"]
mod common;

use std::process::ExitCode;

use by_hand::CellByHand;
use cell::Cell;
use common::number;
use gatefold::{Device, Result, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

const HELP: &str = "\
Runs an LSTM cell of per-gate NumPy arrays step by step, beside plain loops of the equations.

Usage: cargo run --example numpy_cell -- [OPTIONS]

Options:
  --steps N      Timesteps of the sequence [default: 5]
  --seed N       The seed of weights and inputs [default: 0]
  --help         This text

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

const INPUT_SIZE: usize = 3; // features of a timestep
const HIDDEN_SIZE: usize = 4; // hidden units

struct Options {
    steps: usize,
    seed: u64,
}

/// The options, or `None` where only help was wanted.
fn options() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options { steps: 5, seed: 0 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("steps") => options.steps = number(&mut parser, "--steps", 1..=1_000_000)?,
            Long("seed") => options.seed = number(&mut parser, "--seed", 0..=u64::MAX)?,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}

/// How far the states of one timestep are apart.
fn distance((h, c): &(Vec<f32>, Vec<f32>), (loops_h, loops_c): &(Vec<f64>, Vec<f64>)) -> f64 {
    let pairs = h.iter().chain(c).zip(loops_h.iter().chain(loops_c));
    pairs.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

fn run(options: &Options) -> Result<()> {
    let device = Device::from_env()?;
    println!("Running on {device}");

    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let arrays = cell::draw(INPUT_SIZE, HIDDEN_SIZE, &mut rng)?;
    let mut cell = Cell::new(&arrays, &device)?;
    let mut loops = CellByHand::new(&arrays, HIDDEN_SIZE);
    println!("\nAs in NumPy, x @ W + h @ U + b for each gate:");
    for (name, array) in &arrays[..3] {
        println!("  {name} {:?}, and so on for i, c, o", array.shape());
    }
    println!("In the layer, PyTorch's W @ x + U @ h + b with the gates i, f, g, o in one array:");
    for (name, array) in cell.lstm.state_dict()? {
        println!("  {name} {:?}", array.shape());
    }

    let normal = StandardNormal.sample_iter(&mut rng).take(options.steps * INPUT_SIZE);
    let sequence: Vec<f32> = normal.collect();
    let mut timesteps = sequence.chunks_exact(INPUT_SIZE).enumerate();
    let (mut apart, mut last) = (0.0f64, Vec::new());
    println!("\nOne timestep, from states of zero:");
    if let Some((_, x_t)) = timesteps.next() {
        let (states, by_loops) = (cell.forward(x_t)?, loops.forward(x_t));
        println!("  x_t           {x_t:9.6?}");
        println!("  hidden state  {:9.6?}", states.0);
        println!("    by loops    {:9.6?}", by_loops.0);
        println!("  cell state    {:9.6?}", states.1);
        println!("    by loops    {:9.6?}", by_loops.1);
        apart = distance(&states, &by_loops);
        last = states.0;
    }
    println!("\nThe cell has kept its states, and goes on from them:");
    println!("   t  hidden state");
    println!("   0  {last:9.6?}");
    for (t, x_t) in timesteps {
        let (states, by_loops) = (cell.forward(x_t)?, loops.forward(x_t));
        apart = apart.max(distance(&states, &by_loops));
        last = states.0;
        println!("  {t:2}  {last:9.6?}");
    }
    println!("In all timesteps, cell and loops are at most {apart:.1e} apart.");

    // The whole sequence in one call, T, B, I.
    let x = Tensor::from_slice(&device, &sequence, &[options.steps, 1, INPUT_SIZE])?;
    let (_, state) = cell.lstm.forward(&x, None)?;
    let same = if state.h.to_vec()? == last { "the same bits" } else { "other bits" };
    println!("The whole sequence in one call ends with {same}.");

    // The last input alone: what the cell says depends on what it has seen before.
    let alone = Cell::new(&arrays, &device)?.forward(&sequence[sequence.len() - INPUT_SIZE..])?;
    println!("Without the timesteps before, the last one gives\n      {:9.6?}", alone.0);
    Ok(())
}

fn main() -> ExitCode {
    common::main(HELP, options(), run)
}
