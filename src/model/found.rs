//! A model in a file whose naming nobody has said.

use std::collections::HashMap;
use std::path::Path;

use super::config::Said;
use super::description::{Named, described, named};
use super::names::{Names, lstms};
use super::network::{model_of, of_path};
use super::state_dict::{Given, Only, Wanted};
use super::{LoadOptions, LstmConfig, Network};
use crate::checkpoint::{self, Checkpoint, dotted};
use crate::device::Device;
use crate::error::{Error, Result};

impl Network {
    /// Reads the LSTM that a file holds, the linear layer on it and its embedding: those whose names
    /// begin as given, or else whatever they are called. Also the names of the tensors that are none of
    /// these. Files of this crate say what the model is; of others names and shapes tell.
    pub(crate) fn find(
        device: &Device,
        path: &Path,
        given: Option<(&str, &str)>,
    ) -> Result<(Network, Vec<String>)> {
        let file = checkpoint::read(path)?;
        of_path(path, Network::found(device, file, given))
    }

    fn found(
        device: &Device,
        file: Checkpoint,
        given: Option<(&str, &str)>,
    ) -> Result<(Network, Vec<String>)> {
        let names = || Given::from(&file).names();
        let refused = |problem: String| Error::StateDict { problem };
        let naming = match (given, named(&file.metadata).map_err(refused)?) {
            (Some((lstm, head)), _) => {
                let naming = Names::new(&dotted(lstm, names()), &dotted(head, names()));
                match described(&file.metadata).map_err(refused)? {
                    Some((config, head)) => {
                        config.shape(head.clone()).check("load", 1, 1)?;
                        let modules = config.is_of_modules();
                        naming.of_model(&config.shape(head), modules)
                    }
                    None => naming,
                }
            }
            (None, Named { lstm: Some(lstm), head: Some(head), embedding: Some(embedding) }) => {
                let is_cell = |prefix: &str| lstms(names()).contains(&(prefix, true));
                let cell = matches!(&*lstm, [module] if is_cell(&module.prefix));
                Names { lstm, head, embedding, cell }
            }
            _ => naming(&file)?,
        };
        let Checkpoint { tensors, metadata, mut left_out, rounded } = file;
        let (own, others): (Vec<_>, Vec<_>) =
            tensors.into_iter().partition(|(name, _)| naming.is_of_model(name));
        let mut ignored: Vec<String> = others.into_iter().map(|(name, _)| name).collect();
        let is_other = |name: &str| !naming.is_of_model(name);
        ignored.extend(left_out.iter().map(|left| left.name.clone()).filter(|name| is_other(name)));
        ignored.sort_unstable();
        left_out.retain(|left| naming.is_of_model(&left.name));
        let own = Checkpoint { tensors: own, metadata, left_out, rounded };
        let network = Network::of_file(device, &own, naming, Wanted::Any, &Said::default())?;
        Ok((network, ignored))
    }
}

/// What stands before the names of the LSTMs of a file, and whether each is a cell.
pub(crate) fn lstms_of(file: &Checkpoint) -> Vec<(String, bool)> {
    lstms_of_names(Given::from(file).names())
}

/// The same of names.
pub(crate) fn lstms_of_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, bool)> {
    lstms(names).into_iter().map(|(prefix, cell)| (prefix.to_owned(), cell)).collect()
}

/// One of the LSTMs of a file.
#[derive(Clone, Copy)]
pub(crate) struct OneOf<'a> {
    pub(crate) file: &'a Checkpoint,
    /// What its names begin with.
    pub(crate) prefix: &'a str,
    /// Whether they are those of an `nn.LSTMCell`.
    pub(crate) cell: bool,
    pub(crate) options: &'a LoadOptions,
}

impl OneOf<'_> {
    /// Its names, where a head and an embedding have none.
    fn naming(self) -> Names {
        let nothing = "\0";
        let embedding = nothing.to_owned();
        Names { cell: self.cell, embedding, ..Names::new(self.prefix, nothing) }
    }

    fn said(self) -> Said {
        Said { head: None, leave_others: false, one_hot: false, ..self.options.said.clone() }
    }

    /// Its settings.
    pub(crate) fn config(self) -> Result<LstmConfig> {
        let naming = self.naming();
        // The numbers are looked at where a model is made of them.
        let only = Only::OfModel(&naming);
        let given = Given { only, any_numbers: true, ..self.file.into() };
        Ok(model_of(given, &naming, None, Wanted::Lstm, &self.said())?.0)
    }

    /// The model, whose parameters have PyTorch's names.
    pub(crate) fn build(self, device: &Device) -> Result<Network> {
        let naming = self.naming();
        let given = Given { only: Only::OfModel(&naming), ..self.file.into() };
        let network = Network::of(device, given, naming.clone(), None, Wanted::Lstm, &self.said())?;
        Ok(network.named_as(Names::new("", "")))
    }
}

/// How the tensors of one LSTM and of the linear layer on it are called.
pub(super) fn naming(file: &Checkpoint) -> Result<Names> {
    let refused = |problem: String| Err(Error::StateDict { problem });
    let names = || Given::from(file).names();
    let (lstm, cell) = match lstms(names()).as_slice() {
        [lstm] => *lstm,
        [] => {
            let all: Vec<&str> = names().collect();
            return refused(format!("no weight_ih_l0 is among its tensors: {}", all.join(", ")));
        }
        several => {
            let all: Vec<&str> = several.iter().map(|(prefix, _)| *prefix).collect();
            return refused(format!(
                "it holds several LSTMs, {}; name one of them",
                all.join(", ")
            ));
        }
    };
    // A linear layer: a weight of two dimensions with a bias beside it.
    let left_out = file.left_out.iter().map(|left| (left.name.as_str(), left.shape.len()));
    let dimensions: HashMap<&str, usize> = file
        .tensors
        .iter()
        .map(|(name, array)| (name.as_str(), array.shape().len()))
        .chain(left_out)
        .collect();
    let has = |prefix: &str, kind: &str, dims: usize| {
        dimensions.get(format!("{prefix}{kind}").as_str()) == Some(&dims)
    };
    let is_linear = |prefix: &&str| has(prefix, "weight", 2) && has(prefix, "bias", 1);
    let heads: Vec<&str> =
        names().filter_map(|name| name.strip_suffix("weight")).filter(is_linear).collect();
    match heads.as_slice() {
        [] => Ok(Names { cell, ..Names::new(lstm, "fc.") }),
        [head] => Ok(Names { cell, ..Names::new(lstm, head) }),
        _ => refused(format!(
            "it holds several linear layers, {}; name one of them",
            heads.join(", ")
        )),
    }
}
