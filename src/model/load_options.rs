//! What a file doesn't say of a model.

use super::config::Said;
use super::description::{Named, described, named};
use super::found;
use super::module_names::{ModuleNames, Prefixes};
use super::names::{Names, lstms_in, numbered};
use super::state_dict::Given;
use crate::checkpoint::{Checkpoint, dotted};
use crate::error::{Error, Result};
use crate::plan::{Activation, Cell, Head, Readout};

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
    names: ModuleNames,
    pub(super) said: Said,
}

impl LoadOptions {
    /// What the file says; where it says nothing, `lstm.`, `fc.` and `embedding.`, and nothing beside them.
    pub fn new() -> LoadOptions {
        LoadOptions::default()
    }

    /// What the modules are called.
    pub fn names(self, names: ModuleNames) -> Self {
        LoadOptions { names, ..self }
    }

    /// What the names of the LSTM's tensors begin with, such as `rnn.`; the dot may be left away.
    pub fn lstm(self, prefix: &str) -> Self {
        LoadOptions { names: self.names.lstm(prefix), ..self }
    }

    /// What the names of the linear layer's tensors begin with. Where there are none, what is read of the
    /// LSTM is the prediction.
    pub fn head(self, prefix: &str) -> Self {
        LoadOptions { names: self.names.head(prefix), ..self }
    }

    /// What the name of the embedding's weight begins with, where there is one.
    pub fn embedding(self, prefix: &str) -> Self {
        LoadOptions { names: self.names.embedding(prefix), ..self }
    }

    /// The modules of the head, of which a file of PyTorch's says the linear layers alone.
    pub fn modules(self, head: Head) -> Self {
        LoadOptions { said: Said { head: Some(head), ..self.said }, ..self }
    }

    /// The weight of the last linear layer is the embedding's, and stays so in training. Files that have it
    /// once, and name it in their metadata, say so themselves.
    pub fn tie_weights(self) -> Self {
        LoadOptions { said: Said { tied: true, ..self.said }, ..self }
    }

    /// The token whose row of the embedding isn't learned from being read, as
    /// [`LstmConfig::padding_idx`](crate::LstmConfig::padding_idx).
    pub fn padding_idx(self, token: usize) -> Self {
        LoadOptions { said: Said { padding_idx: Some(token), ..self.said }, ..self }
    }

    /// Inputs are tokens, each of which becomes a one among zeros, as
    /// [`LstmConfig::one_hot`](crate::LstmConfig::one_hot).
    pub fn one_hot(self) -> Self {
        LoadOptions { said: Said { one_hot: true, ..self.said }, ..self }
    }

    /// The layers run from the end of a sequence to its beginning alone.
    pub fn reverse(self) -> Self {
        LoadOptions { said: Said { reverse: true, ..self.said }, ..self }
    }

    /// What inference makes of the outputs, as
    /// [`LstmConfig::output_activation`](crate::LstmConfig::output_activation).
    pub fn output_activation(self, activation: Activation) -> Self {
        LoadOptions { said: Said { output: Some(activation), ..self.said }, ..self }
    }

    /// Which cell the layers have, of which tensors tell the peepholes alone.
    pub fn cell(self, cell: Cell) -> Self {
        LoadOptions { said: Said { cell: Some(cell), ..self.said }, ..self }
    }

    /// What the head reads of a sequence. A file that says nothing has to be told it where its LSTM has two
    /// directions; where it has one, the default is the final state.
    pub fn readout(self, readout: Readout) -> Self {
        LoadOptions { said: Said { readout: Some(readout), ..self.said }, ..self }
    }

    /// Leaves tensors alone that stand outside the model's modules. Without it they are an error, since a model
    /// with more in it computes something else.
    pub fn leave_others(self) -> Self {
        LoadOptions { said: Said { leave_others: true, ..self.said }, ..self }
    }

    /// These, and where they say nothing what others do.
    pub(crate) fn over(&self, others: &LoadOptions) -> LoadOptions {
        let (own, other) = (self.said.clone(), others.said.clone());
        LoadOptions {
            names: self.names.clone().or(&others.names),
            said: Said {
                leave_others: own.leave_others || other.leave_others,
                one_hot: own.one_hot || other.one_hot,
                readout: own.readout.or(other.readout),
                head: own.head.or(other.head),
                tied: own.tied || other.tied,
                padding_idx: own.padding_idx.or(other.padding_idx),
                reverse: own.reverse || other.reverse,
                output: own.output.or(other.output),
                cell: own.cell.or(other.cell),
            },
        }
    }

    /// Whether they say how modules are called.
    pub(super) fn says_names(&self) -> bool {
        self.names != ModuleNames::default()
    }

    /// How the tensors of a file are called.
    pub(super) fn naming(&self, file: &Checkpoint) -> Result<Names> {
        let refused = |problem: String| Error::StateDict { problem };
        let names: Vec<&str> = Given::from(file).names().collect();
        let said = named(&file.metadata).map_err(refused)?;
        let described = described(&file.metadata).map_err(refused)?;
        let default = Names::new("lstm.", "fc.");
        // Files of this crate from before they said it hold the model, and nothing else.
        let silent = said == Named::default() && self.names == ModuleNames::default();
        if described.is_some() && silent {
            let inside = |name: &&str| name.starts_with(&default.lstm[0].prefix);
            if !names.iter().any(inside) {
                return Ok(found::naming(file).unwrap_or(default));
            }
        }
        let head = self.said.head.clone().or(described.map(|(_, head)| head));
        self.names_among(&names, said, head.as_ref())
    }

    /// How tensors are called that nothing says anything of.
    pub(super) fn naming_of(&self, names: &[&str]) -> Result<Names> {
        self.names_among(names, Named::default(), self.said.head.as_ref())
    }

    fn names_among(&self, names: &[&str], said: Named, head: Option<&Head>) -> Result<Names> {
        let default = Names::new("lstm.", "fc.");
        let with_dot = |prefix: &str| dotted(prefix, names.iter().copied()).into_owned();
        let each = |prefixes: &Prefixes| -> Vec<String> {
            prefixes.all().iter().map(|prefix| with_dot(prefix)).collect()
        };
        let lstm = match (&self.names.lstm, said.lstm) {
            (Some(prefixes), _) => lstms_in(&each(prefixes), names),
            (None, Some(said)) => said,
            (None, None) => default.lstm,
        };
        let linears = head.map(|head| head.linears(1)).unwrap_or_default();
        let heads = match (&self.names.head, said.head) {
            (Some(prefixes), _) => each(prefixes),
            (None, Some(said)) => said,
            (None, None) => default.head,
        };
        // Of a list the linear layers have its name and the numbers of their modules; of one it is seldom a list.
        let listed = |prefix: &str| numbered(prefix, &linears);
        let has = |prefix: &str| names.contains(&format!("{prefix}weight").as_str());
        let heads = match &*heads {
            [prefix] if linears.len() > 1 => listed(prefix),
            [prefix] if linears.len() == 1 && !has(prefix) && has(&listed(prefix)[0]) => {
                listed(prefix)
            }
            _ => heads,
        };
        if lstm.is_empty() {
            return Err(Error::Value {
                operation: "LoadOptions",
                name: "lstms".to_owned(),
                expected: "at least one name".to_owned(),
                got: "none".to_owned(),
            });
        }
        if heads.len() != linears.len().max(1) {
            return Err(Error::Value {
                operation: "LoadOptions",
                name: "heads".to_owned(),
                expected: format!("the names of {} linear layers", linears.len().max(1)),
                got: heads.len().to_string(),
            });
        }
        let embedding = match (&self.names.embedding, said.embedding) {
            (Some(prefix), _) => with_dot(prefix),
            (None, Some(said)) => said,
            (None, None) => default.embedding,
        };
        Ok(Names { lstm, head: heads, embedding, cell: false })
    }
}
