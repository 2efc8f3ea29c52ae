//! The weights of an LSTM written by hand, with tensors for each gate, in the layer.

use std::collections::HashMap;
use std::path::Path;

use gatefold::checkpoint::{self, GateNames, StateDict};
use gatefold::{Array, Bias, Device, Forecaster, LstmConfig, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use super::wave::HIDDEN;

/// The gates in PyTorch's order, by the letters of the program written by hand: input gate, forget
/// gate, candidate, output gate.
const GATES: [&str; 4] = ["i", "f", "C", "o"];

/// `W [H, 1]`, `U [H, H]` and `b [H]` of each gate: normal weights with this standard deviation, zero
/// biases. The output's weights are standard normal ones.
pub fn draw(seed: u64, std: f32) -> Result<StateDict> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = |name: String, shape: [usize; 2], std: f32| {
        let draws = StandardNormal.sample_iter(&mut rng).take(shape[0] * shape[1]);
        let values = draws.map(|z: f32| std * z).collect();
        Ok((name, Array::new(values, &shape)?))
    };
    let zeros = |name: String, len: usize| Ok((name, Array::new(vec![0.0; len], &[len])?));
    let mut tensors = Vec::new();
    for gate in GATES {
        tensors.push(normal(format!("W_{gate}"), [HIDDEN, 1], std)?);
        tensors.push(normal(format!("U_{gate}"), [HIDDEN, HIDDEN], std)?);
        tensors.push(zeros(format!("b_{gate}"), HIDDEN)?);
    }
    tensors.push(normal("W_out".to_owned(), [1, HIDDEN], 1.0)?);
    tensors.push(zeros("b_out".to_owned(), 1)?);
    Ok(tensors)
}

fn find<'a>(tensors: &'a StateDict, name: &str) -> Result<&'a Array> {
    let found = tensors.iter().find(|(n, _)| n == name).map(|(_, array)| array);
    let missing = || gatefold::Error::StateDict { problem: format!("{name} is missing") };
    found.ok_or_else(missing)
}

/// An LSTM with one bias a gate, as in the program written by hand; nn.LSTM has two, which are
/// added, and both of which Adam would move.
fn model(device: &Device, tensors: &StateDict) -> Result<Forecaster> {
    let config = LstmConfig::new(1, HIDDEN).bias(Bias::Single);
    let mut model = Forecaster::new(device, config, 1)?;
    model.load_state_dict(tensors)?;
    Ok(model)
}

/// One way: the library puts the gates together.
pub fn converted(device: &Device, gates: &StateDict) -> Result<Forecaster> {
    let layer = checkpoint::from_gates(gates, &GateNames::MATRICES_BIG_C, "l0")?;
    let mut tensors = checkpoint::prefixed(&layer, "lstm.");
    tensors.push(("fc.weight".to_owned(), find(gates, "W_out")?.clone()));
    tensors.push(("fc.bias".to_owned(), find(gates, "b_out")?.clone()));
    model(device, &tensors)
}

/// The other way: what nn.LSTM's state dict would be, with the gates one below the other and zeros
/// as the second bias, written to a file and read from it.
pub fn from_file(device: &Device, gates: &StateDict, path: &Path) -> Result<Forecaster> {
    let stacked = |letter: &str, shape: &[usize]| {
        let parts = GATES.map(|gate| find(gates, &format!("{letter}_{gate}")));
        let mut values = Vec::new();
        for part in parts {
            values.extend_from_slice(part?.data());
        }
        Array::new(values, shape)
    };
    let rows = 4 * HIDDEN;
    let tensors = [
        ("lstm.weight_ih_l0", stacked("W", &[rows, 1])?),
        ("lstm.weight_hh_l0", stacked("U", &[rows, HIDDEN])?),
        ("lstm.bias_ih_l0", stacked("b", &[rows])?),
        ("lstm.bias_hh_l0", Array::new(vec![0.0; rows], &[rows])?),
        ("fc.weight", find(gates, "W_out")?.clone()),
        ("fc.bias", find(gates, "b_out")?.clone()),
    ];
    let tensors: StateDict = tensors.map(|(name, array)| (name.to_owned(), array)).into();
    checkpoint::write(path, &tensors, &HashMap::new())?;
    model(device, &checkpoint::read(path)?.tensors)
}
