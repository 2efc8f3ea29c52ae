//! What all models share: parameters on a device and the plans that ran last.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use super::LstmConfig;
use super::config::Said;
use super::description::{Named, described, description};
use super::names::Names;
use super::sessions::{InUse, SessionCache};
#[cfg(feature = "gpu")]
use super::sessions::{Ready, RecordedSessions};
use super::state_dict::{Found, Given, Only, Sorted, Wanted};
use crate::checkpoint::{self, Checkpoint};
use crate::device::{Buffer, Device, FILLED, Wait, room};
use crate::error::{Error, Result};
use crate::plan::{
    Activation, Answer, Bias, Head, Parameter, ParameterTable, Plan, Role, Sequences, StackShape,
    norm_chunk,
};
use crate::tensor::Array;

pub(crate) struct Network {
    pub(crate) device: Device,
    pub(crate) config: LstmConfig,
    pub(crate) shape: StackShape,
    pub(crate) table: ParameterTable,
    /// The names of the table's entries.
    pub(crate) names: Vec<String>,
    pub(crate) naming: Names,
    /// What makes probabilities of several outputs.
    pub(crate) activation: Activation,
    pub(crate) params: Buffer,
    /// How often all parameters were replaced. Calls hold it while they compute, so that all of one is
    /// computed with the same ones.
    replaced: Arc<RwLock<u64>>,
    pub(crate) sessions: SessionCache,
    #[cfg(feature = "gpu")]
    pub(crate) recorded: RecordedSessions,
}

/// A parameter and its tensor.
type Placed<'a> = (&'a Parameter, Found<'a>);

impl Network {
    pub(crate) fn new(
        device: &Device,
        config: &LstmConfig,
        head: Head,
        naming: Names,
    ) -> Result<Network> {
        // Before the values are drawn: a model that is too large is known at once.
        let naming = match &config.names {
            Some(names) => names.over(naming),
            None => naming,
        };
        let network = Network::zeros(device, config, head, naming)?;
        let initial = config.initial(&network.shape, &network.table, &network.names)?;
        device.write(&network.params, 0, &initial)?;
        Ok(network)
    }

    /// With zeros for parameters.
    fn zeros(device: &Device, config: &LstmConfig, head: Head, naming: Names) -> Result<Network> {
        let shape = config.shape(head);
        config.check("model")?;
        shape.check("model", 1, 1)?;
        shape.fits("model", 1, 1, &device.limits())?;
        let naming = naming.of_model(&shape, config.is_of_modules());
        naming.expect(&shape)?;
        let table = ParameterTable::new(&shape);
        let names: Vec<String> = table.entries.iter().map(|entry| naming.of(entry.role)).collect();
        let params = device.create_buffer("parameters", table.len)?;
        Ok(Network {
            device: device.clone(),
            config: config.clone(),
            shape,
            table,
            names,
            naming,
            activation: Activation::default(),
            params,
            replaced: Arc::default(),
            sessions: SessionCache::new(device),
            #[cfg(feature = "gpu")]
            recorded: RecordedSessions::default(),
        })
    }

    /// The same parameters, for a model of its own.
    pub(crate) fn share(&self) -> Network {
        self.with_config(self.config.clone())
    }

    /// The same with other settings, of what a call looks like.
    pub(super) fn with_config(&self, config: LstmConfig) -> Network {
        Network {
            device: self.device.clone(),
            config,
            shape: self.shape.clone(),
            table: self.table.clone(),
            names: self.names.clone(),
            naming: self.naming.clone(),
            activation: self.activation,
            params: self.params.clone(),
            replaced: self.replaced.clone(),
            sessions: SessionCache::new(&self.device),
            #[cfg(feature = "gpu")]
            recorded: RecordedSessions::default(),
        }
    }

    /// With other names for its parameters.
    pub(super) fn named_as(self, naming: Names) -> Network {
        let names = self.table.entries.iter().map(|entry| naming.of(entry.role)).collect();
        Network { names, naming, ..self }
    }

    /// Calls the modules something else.
    pub(super) fn rename(&mut self, names: &super::ModuleNames) -> Result<()> {
        let modules = self.naming.lstm.len() > 1;
        let mut naming = names.over(self.naming.clone());
        if naming.lstm.len() == self.naming.lstm.len() {
            // Each has as many layers as before.
            for (new, old) in naming.lstm.iter_mut().zip(&self.naming.lstm) {
                new.layers = old.layers;
            }
        }
        let naming = naming.of_model(&self.shape, modules);
        naming.expect(&self.shape)?;
        self.names = self.table.entries.iter().map(|entry| naming.of(entry.role)).collect();
        self.naming = naming;
        Ok(())
    }

    /// Keeps the parameters from being replaced; how often they were.
    pub(super) fn parameters(&self) -> RwLockReadGuard<'_, u64> {
        self.replaced.read().unwrap_or_else(|e| e.into_inner())
    }

    /// A model of layer `l` alone, without a head, with a copy of its parameters.
    pub(super) fn layer(&self, l: usize) -> Result<Network> {
        let shape = StackShape {
            bias: self.shape.bias,
            bidirectional: self.shape.bidirectional,
            projection: self.shape.projection,
            cell: self.shape.cell,
            ..StackShape::lstm(self.shape.layer_input(l), self.shape.units(l))
        };
        let config = LstmConfig::of(&shape);
        let layer = Network::zeros(&self.device, &config, Head::Sequence, self.naming.clone())?;
        let mut recorder = self.device.recorder();
        for entry in &layer.table.entries {
            let of_stack = self.table.get(entry.role.of_layer(l));
            let from = of_stack.unwrap_or_else(|| unreachable!("a layer's own parameters")).start;
            recorder.copy((&self.params, from), (&layer.params, entry.start), entry.len);
        }
        recorder.submit()?;
        Ok(layer)
    }

    /// The same model with a copy of these parameters.
    pub(crate) fn with_parameters(&self, params: &Buffer) -> Result<Network> {
        let copy = self.device.create_buffer("parameters", params.len())?;
        let mut recorder = self.device.recorder();
        recorder.copy((params, 0), (&copy, 0), params.len());
        recorder.submit()?;
        let network = self.share();
        Ok(Network { params: copy, replaced: Arc::default(), ..network })
    }

    /// The inference session of a call, for this caller alone.
    pub(crate) fn forward_session(&self, sequences: &Sequences) -> Result<InUse> {
        let plan = || Plan::forward(&self.shape, sequences, &self.device.limits());
        let caller = [("params", &self.params)];
        self.sessions.take((*sequences, "forward"), &self.device, plan, &caller)
    }

    /// The session of a call that answers with predictions in some form.
    pub(crate) fn prediction_session(
        &self,
        sequences: &Sequences,
        answer: Answer,
    ) -> Result<InUse> {
        let name = match answer {
            Answer::Outputs => return self.forward_session(sequences),
            Answer::Probabilities(Activation::Softmax) => "probabilities",
            Answer::Probabilities(Activation::Sigmoid) => "probabilities of yes",
            Answer::Classes(Activation::Softmax) => "classes",
            Answer::Classes(Activation::Sigmoid) => "yes or no",
        };
        let plan = || Plan::prediction(&self.shape, sequences, answer, &self.device.limits());
        let caller = [("params", &self.params)];
        self.sessions.take((*sequences, name), &self.device, plan, &caller)
    }

    /// The session of a call that is recorded for a caller.
    #[cfg(feature = "gpu")]
    pub(crate) fn recorded_session(&self, sequences: &Sequences) -> Result<Arc<Ready>> {
        let plan = || Plan::forward(&self.shape, sequences, &self.device.limits());
        let caller = [("params", &self.params)];
        self.recorded.get((*sequences, "forward"), &self.device, plan, &caller)
    }

    /// The tensors of a flat buffer under their names, in PyTorch's layout.
    pub(crate) fn named(&self, flat: &[f32]) -> Result<Vec<(String, Array)>> {
        let entries = self.table.entries.iter().zip(&self.names);
        entries
            .map(|(entry, name)| {
                let values = entry.to_pytorch(&flat[entry.start..][..entry.len]);
                Ok((name.clone(), Array::new(values, &entry.shape)?))
            })
            .collect()
    }

    pub(crate) async fn state_dict(&self, wait: Wait) -> Result<Vec<(String, Array)>> {
        let len = self.table.len;
        let flat = match self.device.is_cpu() {
            true => {
                let _parameters = self.parameters();
                self.device.read(&self.params, 0, len)?
            }
            // One copy, in its place among what is submitted.
            false => self.device.read_as(&self.params, 0, len, wait).await?,
        };
        self.all_named(&flat)
    }

    /// The same with a tensor under both of its names, where two are tied.
    fn all_named(&self, flat: &[f32]) -> Result<Vec<(String, Array)>> {
        let mut tensors = self.named(flat)?;
        let number = self.shape.head.linears(self.shape.features()).len().checked_sub(1);
        if let Some(number) = number.filter(|_| self.shape.tied) {
            let places = self.table.entries.iter();
            let embedding = places.clone().position(|entry| entry.role == Role::Embedding);
            let bias = places.clone().position(|entry| entry.role == Role::HeadBias(number));
            if let Some(array) = embedding.map(|at| tensors[at].1.clone()) {
                let name = self.naming.of(Role::HeadWeight(number));
                tensors.insert(bias.unwrap_or(tensors.len()), (name, array));
            }
        }
        Ok(tensors)
    }

    pub(crate) fn load_state_dict(&self, tensors: &[(String, Array)]) -> Result<()> {
        let sorted = Sorted::new(tensors.into(), &self.naming, Wanted::Any);
        let roles = self.table.entries.iter().map(|entry| entry.role);
        self.write_tensors(sorted.found(&self.shape, "", roles)?)
    }

    /// Replaces all parameters, between calls. On a GPU parts are put together elsewhere and copied at once,
    /// so that what the caller submits meanwhile sees the old ones or the new.
    fn write_tensors(&self, tensors: Vec<Found<'_>>) -> Result<()> {
        let mut tensors: Vec<Placed<'_>> = self.table.entries.iter().zip(tensors).collect();
        tensors.sort_unstable_by_key(|(entry, _)| entry.start);
        let whole = self.device.is_cpu() || self.table.len <= FILLED;
        let elsewhere = match whole {
            true => None,
            false => Some(self.device.create_buffer("new parameters", self.table.len)?),
        };
        if let Some(to) = &elsewhere {
            self.write_parts(&tensors, to)?;
        }
        let mut replaced = self.replaced.write().unwrap_or_else(|e| e.into_inner());
        match &elsewhere {
            None => self.write_parts(&tensors, &self.params)?,
            Some(from) => {
                let mut recorder = self.device.recorder();
                recorder.copy((from, 0), (&self.params, 0), self.table.len);
                recorder.submit()?;
            }
        }
        *replaced += 1;
        Ok(())
    }

    /// Writes all parameters, in their order in the flat buffer: in parts, since a whole one more on the
    /// host would be as large as the model.
    fn write_parts(&self, tensors: &[Placed<'_>], to: &Buffer) -> Result<()> {
        let mut parts = Vec::new();
        for &(entry, (_, first, second)) in tensors {
            let mut start = entry.start;
            for (columns, len) in entry.parts(FILLED) {
                parts.push((start..start + len, (entry, columns, first, second)));
                start += len;
            }
        }
        self.device.fill(to, parts, |(entry, columns, first, second), part| {
            entry.put(columns.clone(), first.data(), part);
            if let Some(second) = second {
                entry.add(columns, second.data(), part);
            }
        })
    }

    /// What its files say of it.
    pub(crate) fn description(&self) -> HashMap<String, String> {
        let names = Named::said(&self.naming);
        let names = names.map(|(key, name)| (format!("gatefold.prefix.{key}"), name));
        let entries = description(&self.shape, &self.config).into_iter();
        entries.map(|(key, value)| (format!("gatefold.{key}"), value)).chain(names).collect()
    }

    /// In what a file's model differs from this one, whose parameters may be called something else.
    pub(crate) fn differs(&self, metadata: &HashMap<String, String>) -> Option<String> {
        let stored = match described(metadata) {
            // With what is newer than the file as it was then.
            Ok(Some((config, head))) => description(&config.shape(head), &config),
            Ok(None) => return Some("it doesn't say of which model it is".to_owned()),
            Err(problem) => return Some(problem),
        };
        let own = description(&self.shape, &self.config);
        own.into_iter().zip(stored).find_map(|((key, own), (_, stored))| {
            // Two models of one shape may have been drawn from different seeds, but dropout goes by it.
            let free = key == "seed" && !self.drops();
            let differs = own != stored && !free;
            differs.then(|| format!("gatefold.{key} is {stored}, the model's is {own}"))
        })
    }

    /// Whether training drops anything.
    pub(crate) fn drops(&self) -> bool {
        let of_layers = self.config.drops().is_some() || self.shape.cell.is_random();
        of_layers || self.shape.head.drops()
    }

    /// Elements of a chunk in which the gradients' norm is taken.
    pub(crate) fn norm_chunk(&self) -> usize {
        norm_chunk(&self.device.limits())
    }

    /// Checks the tensors under the parameters' names with `prefix` before them, and their numbers where
    /// these have to be `finite`.
    pub(crate) fn expect(&self, file: &Checkpoint, prefix: &str, finite: bool) -> Result<()> {
        self.behind(file, prefix, finite, |_| Ok(()))
    }

    /// The flat buffer of the tensors under the parameters' names with `prefix` before them.
    pub(crate) fn flat(&self, file: &Checkpoint, prefix: &str) -> Result<Vec<f32>> {
        self.behind(file, prefix, false, |found| {
            let mut flat = room(self.table.len)?;
            flat.resize(self.table.len, 0.0);
            for (entry, (_, array, _)) in self.table.entries.iter().zip(found) {
                let values = &mut flat[entry.start..][..entry.len];
                entry.put(0..entry.numel() / entry.shape[0], array.data(), values);
            }
            Ok(flat)
        })
    }

    fn behind<T>(
        &self,
        file: &Checkpoint,
        prefix: &str,
        finite: bool,
        then: impl FnOnce(Vec<Found<'_>>) -> Result<T>,
    ) -> Result<T> {
        let naming = self.naming.behind(prefix);
        let sorted = Sorted::new(Given { within: prefix, ..file.into() }, &naming, Wanted::Any);
        let sorted = if finite { sorted } else { sorted.any_numbers() };
        then(sorted.found(&self.shape, "", self.table.entries.iter().map(|entry| entry.role))?)
    }

    pub(crate) async fn save(
        &self,
        path: &Path,
        entries: &HashMap<String, String>,
        wait: Wait,
    ) -> Result<()> {
        self.write(self.state_dict(wait).await?, path, entries)
    }

    /// Saves the model with other parameters.
    pub(crate) async fn save_parameters(
        &self,
        params: &Buffer,
        path: &Path,
        entries: &HashMap<String, String>,
        wait: Wait,
    ) -> Result<()> {
        let flat = self.device.read_as(params, 0, self.table.len, wait).await?;
        self.write(self.all_named(&flat)?, path, entries)
    }

    fn write(
        &self,
        mut tensors: Vec<(String, Array)>,
        path: &Path,
        entries: &HashMap<String, String>,
    ) -> Result<()> {
        if self.shape.bias == Bias::Single {
            // PyTorch has two biases or none.
            for l in 0..self.shape.layers {
                let rows = 4 * self.shape.units(l);
                for d in 0..self.shape.directions() {
                    let zeros = Array::new(vec![0.0; rows], &[rows])?;
                    tensors.push((self.naming.of(Role::BiasHh(l, d)), zeros));
                }
            }
        }
        let mut all = entries.clone();
        all.extend(self.description());
        all.extend(self.activation.entry());
        checkpoint::write(path, &tensors, &all)
    }

    /// Reads a file that [`save`](Self::save) or PyTorch has written, and its metadata.
    pub(crate) fn load(
        device: &Device,
        path: &Path,
        naming: Names,
        wanted: Wanted,
    ) -> Result<(Network, HashMap<String, String>)> {
        let file = checkpoint::read(path)?;
        let network = Network::of_file(device, &file, naming, wanted, &Said::default());
        Ok((of_path(path, network)?, file.metadata))
    }

    /// A network for what a file holds, under these names. Its metadata say what it is, where they say it,
    /// but for what the caller says.
    pub(super) fn of_file(
        device: &Device,
        file: &Checkpoint,
        naming: Names,
        wanted: Wanted,
        said: &Said,
    ) -> Result<Network> {
        let refused = |problem: String| Error::StateDict { problem };
        let activation = Activation::described(&file.metadata).map_err(refused)?;
        let described = described(&file.metadata).map_err(refused)?;
        let network = Network::of(device, file.into(), naming, described, wanted, said)?;
        Ok(Network { activation, ..network })
    }

    /// A network for tensors: of the settings that are described, or that names and shapes imply.
    pub(crate) fn of(
        device: &Device,
        given: Given<'_>,
        naming: Names,
        described: Option<(LstmConfig, Head)>,
        wanted: Wanted,
        said: &Said,
    ) -> Result<Network> {
        let (config, head, found) = model_of(given, &naming, described, wanted, said)?;
        let network = Network::zeros(device, &config, head, naming.clone())?;
        network.write_tensors(found)?;
        Ok(network)
    }
}

/// The settings of the model that tensors are of, and what each of them is to it.
pub(super) fn model_of<'a>(
    given: Given<'a>,
    naming: &'a Names,
    described: Option<(LstmConfig, Head)>,
    wanted: Wanted,
    said: &Said,
) -> Result<(LstmConfig, Head, Vec<Found<'a>>)> {
    let only = if said.leave_others { Only::InModules(naming) } else { given.only };
    let mut sorted = Sorted::new(Given { only, ..given }, naming, wanted);
    if said.tied {
        sorted.tie(naming.head.len() - 1);
    }
    let is_described = described.is_some();
    let (config, head, unknown) = match described {
        Some((config, head)) => (config, said.head.clone().unwrap_or(head), String::new()),
        None => {
            let (shape, unknown) = sorted.implied(wanted, said.head.as_ref())?;
            (LstmConfig::of(&shape), shape.head, unknown)
        }
    };
    let config = config.with_said(said);
    let shape = config.shape(head.clone());
    config.check("load")?;
    wanted.expect(&shape)?;
    // Before anything of the size is made, the tensors have to say the same as the description.
    if unknown.is_empty() {
        shape.check("load", 1, 1)?;
    }
    let found = sorted.found(&shape, &unknown, ParameterTable::roles(&shape))?;
    if !unknown.is_empty() {
        return Err(Error::StateDict { problem: format!("nothing tells the sizes {unknown}") });
    }
    let predicts = wanted == Wanted::Forecaster;
    if predicts && shape.bidirectional && !is_described && said.readout.is_none() {
        let problem = "nothing says what is read of two directions: `Readout::FinalStates`, \
                       torch.cat([h_n[-2], h_n[-1]], 1), or `Readout::LastOutput`, out[:, -1]? Say it \
                       with `LoadOptions::readout`";
        return Err(Error::StateDict { problem: problem.to_owned() });
    }
    Ok((config, head, found))
}

/// What was made of the file `path`; what is wrong with it is the file's, its sizes too.
pub(super) fn of_path<T>(path: &Path, made: Result<T>) -> Result<T> {
    let refused = |problem: String| Err(Error::Checkpoint { path: path.to_owned(), problem });
    match made {
        Err(Error::StateDict { problem }) => refused(problem),
        Err(e @ (Error::Value { .. } | Error::Overflow { .. })) => refused(e.to_string()),
        other => other,
    }
}
