//! A model in a file whose naming nobody has said.

use std::collections::HashMap;
use std::path::Path;

use super::Network;
use super::network::Names;
use crate::checkpoint::{self, Checkpoint, StateDict};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::plan::Head;

impl Network {
    /// Reads the LSTM that a file holds, the linear layer on it and its embedding: those whose names
    /// begin as given, or else whatever they are called. Also the names of the tensors that are none of
    /// these. Files of this crate say what the model is; of others names and shapes tell.
    pub(crate) fn find(
        device: &Device,
        path: &Path,
        named: Option<(&str, &str)>,
    ) -> Result<(Network, Vec<String>)> {
        let Checkpoint { tensors, metadata, .. } = checkpoint::read(path)?;
        let refused = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
        let naming = match named {
            Some((lstm, head)) => Names::new(lstm, head),
            None => naming(&tensors).map_err(refused)?,
        };
        let (own, others): (StateDict, StateDict) =
            tensors.into_iter().partition(|(name, _)| naming.has(name));
        let network = Network::of_file(device, path, &own, &metadata, naming, Head::Sequence)?;
        Ok((network, others.into_iter().map(|(name, _)| name).collect()))
    }
}

/// How the tensors of one LSTM and of the linear layer on it are called.
fn naming(tensors: &StateDict) -> std::result::Result<Names, String> {
    let names = || tensors.iter().map(|(name, _)| name.as_str());
    let before = |ending: &str| -> Vec<&str> {
        names().filter_map(|name| name.strip_suffix(ending)).collect()
    };
    let (lstms, cells) = (before("weight_ih_l0"), before("weight_ih"));
    let (lstm, cell) = match (lstms.as_slice(), cells.as_slice()) {
        ([lstm], []) => (*lstm, false),
        ([], [cell]) => (*cell, true),
        ([], []) => {
            let all: Vec<&str> = names().collect();
            return Err(format!("no weight_ih_l0 is among its tensors: {}", all.join(", ")));
        }
        _ => {
            let all: Vec<&str> = lstms.iter().chain(&cells).copied().collect();
            return Err(format!("it holds several LSTMs, {}; name one of them", all.join(", ")));
        }
    };
    // A linear layer: a weight of two dimensions with a bias beside it.
    let dimensions: HashMap<&str, usize> =
        tensors.iter().map(|(name, array)| (name.as_str(), array.shape().len())).collect();
    let has = |prefix: &str, kind: &str, dims: usize| {
        dimensions.get(format!("{prefix}{kind}").as_str()) == Some(&dims)
    };
    let is_linear = |prefix: &&str| has(prefix, "weight", 2) && has(prefix, "bias", 1);
    let heads: Vec<&str> = before("weight").into_iter().filter(is_linear).collect();
    match heads.as_slice() {
        [] => Ok(Names { cell, ..Names::new(lstm, "fc.") }),
        [head] => Ok(Names { cell, ..Names::new(lstm, head) }),
        _ => Err(format!("it holds several linear layers, {}; name one of them", heads.join(", "))),
    }
}
