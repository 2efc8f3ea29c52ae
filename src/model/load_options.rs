//! What a file doesn't say of a model.

use super::found;
use super::network::{described, named};
use super::state_dict::{Given, Names};
use crate::checkpoint::{Checkpoint, dotted};
use crate::error::{Error, Result};
use crate::plan::Readout;

/// How [`Forecaster::load_as`](crate::Forecaster::load_as) and
/// [`Forecaster::from_checkpoint`](crate::Forecaster::from_checkpoint) take a model out of what a file holds,
/// where the file doesn't say so itself or says something else.
///
/// ```no_run
/// use gatefold::{Device, Forecaster, LoadOptions, Readout};
/// let options = LoadOptions::new().lstm("rnn").head("classifier.out").readout(Readout::LastOutput);
/// let model = Forecaster::load_as(&Device::cpu(), "pytorch.safetensors", &options)?;
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    lstm: Option<String>,
    head: Option<String>,
    embedding: Option<String>,
    pub(super) readout: Option<Readout>,
    leave_others: bool,
}

impl LoadOptions {
    /// What the file says; where it says nothing, `lstm.`, `fc.` and `embedding.`, and nothing beside them.
    pub fn new() -> LoadOptions {
        LoadOptions::default()
    }

    /// What the names of the LSTM's tensors begin with, such as `rnn.`; the dot may be left away.
    pub fn lstm(self, prefix: &str) -> Self {
        LoadOptions { lstm: Some(prefix.to_owned()), ..self }
    }

    /// What the names of the linear layer's tensors begin with. Where there are none, what is read of the
    /// LSTM is the prediction.
    pub fn head(self, prefix: &str) -> Self {
        LoadOptions { head: Some(prefix.to_owned()), ..self }
    }

    /// What the name of the embedding's weight begins with, where there is one.
    pub fn embedding(self, prefix: &str) -> Self {
        LoadOptions { embedding: Some(prefix.to_owned()), ..self }
    }

    /// What the head reads of a sequence. A file that says nothing has to be told it where its LSTM has two
    /// directions; where it has one, the default is the final state.
    pub fn readout(self, readout: Readout) -> Self {
        LoadOptions { readout: Some(readout), ..self }
    }

    /// Leaves tensors alone that stand outside the three modules. Without it they are an error, since a model
    /// with more in it computes something else.
    pub fn leave_others(self) -> Self {
        LoadOptions { leave_others: true, ..self }
    }

    /// How the tensors of a file are called.
    pub(super) fn naming(&self, file: &Checkpoint) -> Result<Names> {
        let names = || Given::from(file).names();
        let said = named(&file.metadata);
        let given = [&self.lstm, &self.head, &self.embedding];
        let default = Names::new("lstm.", "fc.");
        // Files of this crate from before they said it hold the model, and nothing else.
        let refused = |problem: String| Error::StateDict { problem };
        let is_ours = described(&file.metadata).map_err(refused)?.is_some();
        let silent = said == [None; 3] && given == [&None; 3];
        if is_ours && silent && !names().any(|name| name.starts_with(&default.lstm)) {
            return Ok(found::naming(file).unwrap_or(default));
        }
        let or = |at: usize, default: &str| match (given[at], said[at]) {
            (Some(prefix), _) => dotted(prefix, names()).into_owned(),
            (None, Some(said)) => said.to_owned(),
            (None, None) => default.to_owned(),
        };
        let [lstm, head] = [or(0, &default.lstm), or(1, &default.head)];
        Ok(Names { lstm, head, embedding: or(2, &default.embedding), cell: false })
    }

    /// What of a file is to be the model's.
    pub(super) fn part(&self, file: &Checkpoint, naming: &Names) -> Option<Checkpoint> {
        let has = |name: &str| naming.has(name);
        self.leave_others.then(|| Checkpoint {
            tensors: file.tensors.iter().filter(|(name, _)| has(name)).cloned().collect(),
            metadata: file.metadata.clone(),
            left_out: file.left_out.iter().filter(|left| has(&left.name)).cloned().collect(),
            rounded: file.rounded.clone(),
        })
    }
}
