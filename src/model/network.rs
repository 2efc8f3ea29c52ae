//! What all models share: parameters on a device and the plans that ran last.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use super::LstmConfig;
use super::sessions::{InUse, SessionCache};
#[cfg(feature = "gpu")]
use super::sessions::{Ready, RecordedSessions};
use crate::checkpoint::{self, Checkpoint};
use crate::device::{Buffer, Device, Wait};
use crate::error::{Error, Result};
use crate::plan::{
    Activation, Answer, Bias, Encoding, Head, Parameter, ParameterTable, Plan, Readout, Role,
    Sequences, StackShape, norm_chunk,
};
use crate::tensor::Array;

/// How a model's parameters are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// What stands before the LSTM's names.
    pub(crate) lstm: String,
    /// What stands before the linear layer's.
    pub(crate) head: String,
    /// Whether the LSTM is a `torch.nn.LSTMCell`, whose names have no `_l0`.
    pub(crate) cell: bool,
}

impl Names {
    pub(crate) fn new(lstm: &str, head: &str) -> Names {
        Names { lstm: lstm.to_owned(), head: head.to_owned(), cell: false }
    }

    /// Whether a tensor of that name is a parameter.
    pub(super) fn has(&self, name: &str) -> bool {
        let of_lstm = name.strip_prefix(&self.lstm).is_some_and(|rest| {
            let kinds = ["weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"];
            kinds.iter().any(|kind| rest.starts_with(kind)) || ["h_0", "c_0"].contains(&rest)
        });
        let of_head = [Role::HeadWeight, Role::HeadBias].iter().any(|&role| self.of(role) == name);
        of_lstm || of_head || name == self.of(Role::Embedding)
    }

    /// The parameter's name in PyTorch.
    fn of(&self, role: Role) -> String {
        let Names { lstm, head, cell } = self;
        let of_layer = |kind: &str, layer: usize, direction: usize| match cell {
            true => format!("{lstm}{kind}"),
            false => {
                format!("{lstm}{kind}_l{layer}{}", if direction == 0 { "" } else { "_reverse" })
            }
        };
        match role {
            Role::WeightIh(l, d) => of_layer("weight_ih", l, d),
            Role::WeightHh(l, d) => of_layer("weight_hh", l, d),
            Role::BiasIh(l, d) => of_layer("bias_ih", l, d),
            Role::BiasHh(l, d) => of_layer("bias_hh", l, d),
            Role::WeightHr(l, d) => of_layer("weight_hr", l, d),
            Role::InitialH => format!("{lstm}h_0"),
            Role::InitialC => format!("{lstm}c_0"),
            Role::HeadWeight => format!("{head}weight"),
            Role::HeadBias => format!("{head}bias"),
            Role::Embedding => "embedding.weight".to_owned(),
        }
    }
}

pub(crate) struct Network {
    pub(crate) device: Device,
    pub(crate) config: LstmConfig,
    pub(crate) shape: StackShape,
    pub(crate) table: ParameterTable,
    /// The names of the table's entries.
    pub(crate) names: Vec<String>,
    naming: Names,
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

/// Parameters that are written at a time, where one tensor hasn't more.
const PART: usize = 1 << 18;

impl Network {
    pub(crate) fn new(
        device: &Device,
        config: &LstmConfig,
        head: Head,
        naming: Names,
    ) -> Result<Network> {
        // Before the values are drawn: a model that is too large is known at once.
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

    /// The same parameters, read and written in another layout.
    pub(crate) fn with_batch_first(&self, batch_first: bool) -> Network {
        Network {
            device: self.device.clone(),
            config: self.config.clone().batch_first(batch_first),
            shape: self.shape,
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
            ..StackShape::lstm(self.shape.layer_input(l), self.shape.hidden)
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
        let network = self.with_batch_first(self.config.batch_first);
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
        self.named(&flat)
    }

    pub(crate) fn load_state_dict(&self, tensors: &[(String, Array)]) -> Result<()> {
        let mut given: HashMap<&str, &Array> = HashMap::with_capacity(tensors.len());
        let mut problems = Vec::new();
        for (name, array) in tensors {
            if given.insert(name, array).is_some() {
                problems.push(format!("{name} stands twice"));
            }
        }
        let mut found = Vec::with_capacity(self.table.entries.len());
        for (entry, name) in self.table.entries.iter().zip(&self.names) {
            let Some(array) = given.remove(name.as_str()) else {
                problems.push(format!("{name} {:?} is missing", entry.shape));
                continue;
            };
            // A model with one bias takes a pair, and adds it.
            let second = match (self.shape.bias, entry.role) {
                (Bias::Single, Role::BiasIh(l, d)) => {
                    given.remove(self.naming.of(Role::BiasHh(l, d)).as_str())
                }
                _ => None,
            };
            let of_second = second.and_then(|array| problem(entry, array));
            if let Some(problem) = problem(entry, array) {
                problems.push(format!("{name} {problem}"));
            } else if let Some(problem) = of_second {
                problems.push(format!("{name} with its bias_hh {problem}"));
            } else {
                found.push((entry, array, second));
            }
        }
        let mut unexpected: Vec<&str> = given.into_keys().collect();
        unexpected.sort_unstable();
        problems.extend(unexpected.into_iter().map(|name| format!("{name} is unexpected")));
        if !problems.is_empty() {
            return Err(Error::StateDict { problem: problems.join("; ") });
        }
        found.sort_unstable_by_key(|(entry, ..)| entry.start);
        self.write_tensors(&found)
    }

    /// Replaces all parameters, between calls. On a GPU parts are put together elsewhere and copied at once,
    /// so that what the caller submits meanwhile sees the old ones or the new.
    fn write_tensors(&self, tensors: &[(&Parameter, &Array, Option<&Array>)]) -> Result<()> {
        let whole = self.device.is_cpu() || self.table.len <= PART;
        let elsewhere = match whole {
            true => None,
            false => Some(self.device.create_buffer("new parameters", self.table.len)?),
        };
        if let Some(to) = &elsewhere {
            self.write_parts(tensors, to)?;
        }
        let mut replaced = self.replaced.write().unwrap_or_else(|e| e.into_inner());
        match &elsewhere {
            None => self.write_parts(tensors, &self.params)?,
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
    fn write_parts(
        &self,
        tensors: &[(&Parameter, &Array, Option<&Array>)],
        to: &Buffer,
    ) -> Result<()> {
        // All the memory that it takes: nothing is written where that isn't there.
        let largest = tensors.iter().map(|(entry, ..)| entry.len).max().unwrap_or(0);
        let most = largest.max(PART.min(self.table.len));
        let (mut part, mut start) = (room(most)?, 0);
        for (entry, array, second) in tensors {
            // Between the last one and this there are zeros.
            let mut at = entry.start - start;
            if at + entry.len > most {
                self.device.write(to, start, &part)?;
                part.clear();
                (start, at) = (entry.start, 0);
            }
            part.resize(at + entry.len, 0.0);
            let values = &mut part[at..];
            entry.reorder(|from, to| values[to] = array.data()[from]);
            if let Some(second) = second {
                entry.reorder(|from, to| values[to] += second.data()[from]);
            }
        }
        self.device.write(to, start, &part)
    }

    /// What its files say of it.
    pub(crate) fn description(&self) -> HashMap<String, String> {
        metadata(&self.shape, &self.config)
    }

    /// Elements of a chunk in which the gradients' norm is taken.
    pub(crate) fn norm_chunk(&self) -> usize {
        norm_chunk(&self.device.limits())
    }

    /// The flat buffer of the tensors under the parameters' names with `prefix` before them, all of them.
    pub(crate) fn flat(&self, tensors: &[(String, Array)], prefix: &str) -> Result<Vec<f32>> {
        let given: HashMap<&str, &Array> = tensors
            .iter()
            .filter_map(|(name, array)| Some((name.strip_prefix(prefix)?, array)))
            .collect();
        let mut flat = room(self.table.len)?;
        flat.resize(self.table.len, 0.0);
        for (entry, name) in self.table.entries.iter().zip(&self.names) {
            let found = given.get(name.as_str()).filter(|array| array.shape() == entry.shape);
            let Some(array) = found else {
                let problem = format!("{prefix}{name} {:?} is missing", entry.shape);
                return Err(Error::StateDict { problem });
            };
            let values = &mut flat[entry.start..][..entry.len];
            entry.reorder(|from, to| values[to] = array.data()[from]);
        }
        Ok(flat)
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
        self.write(self.named(&flat)?, path, entries)
    }

    fn write(
        &self,
        mut tensors: Vec<(String, Array)>,
        path: &Path,
        entries: &HashMap<String, String>,
    ) -> Result<()> {
        if self.shape.bias == Bias::Single {
            // PyTorch has two biases or none.
            let rows = 4 * self.shape.hidden;
            for l in 0..self.shape.layers {
                for d in 0..self.shape.directions() {
                    let zeros = Array::new(vec![0.0; rows], &[rows])?;
                    tensors.push((self.naming.of(Role::BiasHh(l, d)), zeros));
                }
            }
        }
        let mut all = entries.clone();
        all.extend(metadata(&self.shape, &self.config));
        all.extend(self.activation.entry());
        checkpoint::write(path, &tensors, &all)
    }

    /// Reads a file that [`save`](Self::save) or PyTorch has written, and its metadata.
    pub(crate) fn load(
        device: &Device,
        path: &Path,
        naming: Names,
        default_head: Head,
    ) -> Result<(Network, HashMap<String, String>)> {
        let Checkpoint { tensors, metadata, .. } = checkpoint::read(path)?;
        let network = Network::of_file(device, path, &tensors, &metadata, naming, default_head)?;
        Ok((network, metadata))
    }

    /// A network for tensors that a file holds beside its metadata.
    pub(super) fn of_file(
        device: &Device,
        path: &Path,
        tensors: &[(String, Array)],
        metadata: &HashMap<String, String>,
        naming: Names,
        default_head: Head,
    ) -> Result<Network> {
        let refused = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
        let activation = Activation::described(metadata).map_err(refused)?;
        let described = described(metadata).map_err(refused)?;
        match Network::of(device, tensors, naming, described, default_head) {
            Ok(network) => Ok(Network { activation, ..network }),
            Err(Error::StateDict { problem }) => Err(refused(problem)),
            // Sizes that no model has are the file's.
            Err(e @ (Error::Value { .. } | Error::Overflow { .. })) => Err(refused(e.to_string())),
            other => other,
        }
    }

    /// A network for tensors: of the settings that are described, or that names and shapes imply.
    pub(crate) fn of(
        device: &Device,
        tensors: &[(String, Array)],
        naming: Names,
        described: Option<(LstmConfig, Head)>,
        default_head: Head,
    ) -> Result<Network> {
        let refused = |problem: String| Error::StateDict { problem };
        let (config, head) = match described {
            Some(described) => described,
            None => {
                let shape = inferred(tensors, &naming, default_head).map_err(refused)?;
                (LstmConfig::of(&shape), shape.head)
            }
        };
        let shape = config.shape(head);
        // Before anything of the size is made, the tensors have to say the same as the description.
        config.check("load")?;
        shape.check("load", 1, 1)?;
        let count = ParameterTable::count(&shape);
        if count > tensors.len() {
            let stored = tensors.len();
            return Err(refused(format!("they describe {count} tensors and are {stored}")));
        }
        let promised: usize = ParameterTable::new(&shape).entries.iter().map(|e| e.numel()).sum();
        let stored: usize = tensors.iter().map(|(_, array)| array.data().len()).sum();
        if promised > stored {
            return Err(refused(format!("they describe {promised} parameters and hold {stored}")));
        }
        let network = Network::zeros(device, &config, head, naming)?;
        network.load_state_dict(tensors)?;
        Ok(network)
    }
}

impl Activation {
    const KEY: &'static str = "gatefold.activation";

    /// What a file says of it: nothing for the softmax, as in files that are older than the choice.
    fn entry(self) -> Option<(String, String)> {
        (self == Activation::Sigmoid).then(|| (Activation::KEY.to_owned(), "sigmoid".to_owned()))
    }

    fn described(metadata: &HashMap<String, String>) -> std::result::Result<Activation, String> {
        match metadata.get(Activation::KEY).map(String::as_str) {
            None | Some("softmax") => Ok(Activation::Softmax),
            Some("sigmoid") => Ok(Activation::Sigmoid),
            Some(other) => Err(format!("{} is {other:?}", Activation::KEY)),
        }
    }
}

/// What is wrong with the tensor of a parameter.
fn problem(entry: &Parameter, array: &Array) -> Option<String> {
    if array.shape() != entry.shape {
        return Some(format!("has shape {:?} instead of {:?}", array.shape(), entry.shape));
    }
    let at = array.data().iter().position(|v| !v.is_finite())?;
    Some(format!("has {} at element {at}", array.data()[at]))
}

/// A vector with room for so many parameters, where there is memory for it.
fn room(len: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory {
        adapter: "the host".to_owned(),
        operation: format!("gathering {len} parameters"),
    })?;
    Ok(values)
}

/// What a file says of a model.
fn metadata(shape: &StackShape, config: &LstmConfig) -> HashMap<String, String> {
    let head = match shape.head {
        Head::Sequence => "sequence".to_owned(),
        Head::Identity => "identity".to_owned(),
        Head::Linear(outputs) => outputs.to_string(),
    };
    let encoding = match shape.encoding {
        Encoding::Values => "values".to_owned(),
        Encoding::OneHot => "one_hot".to_owned(),
        Encoding::Embedding(vocabulary) => format!("embedding: {vocabulary}"),
    };
    let bias = match shape.bias {
        Bias::None => "none",
        Bias::Single => "single: bias_hh is written as zero",
        Bias::Double => "double",
    };
    let entries = [
        ("input_size", shape.input.to_string()),
        ("hidden_size", shape.hidden.to_string()),
        ("num_layers", shape.layers.to_string()),
        ("bias", bias.to_owned()),
        ("head", head),
        ("encoding", encoding),
        ("bidirectional", shape.bidirectional.to_string()),
        ("proj_size", config.proj_size.to_string()),
        ("batch_first", config.batch_first.to_string()),
        ("learned_state", shape.learned_state.to_string()),
        ("readout", shape.readout.name().to_owned()),
        ("dropout", config.dropout.to_string()),
        ("seed", config.seed.to_string()),
    ];
    entries.into_iter().map(|(key, value)| (format!("gatefold.{key}"), value)).collect()
}

/// The settings that the metadata give, where they give any; of what is newer than a file, the defaults.
fn described(
    metadata: &HashMap<String, String>,
) -> std::result::Result<Option<(LstmConfig, Head)>, String> {
    let get = |key: &str| metadata.get(&format!("gatefold.{key}")).map(String::as_str);
    let refused = |key: &str| match get(key) {
        Some(text) => format!("gatefold.{key} is {text:?}"),
        None => format!("gatefold.{key} is missing"),
    };
    fn parsed<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
        text?.parse().ok()
    }
    let required = ["input_size", "hidden_size", "num_layers", "bias", "head"];
    if required.iter().all(|key| get(key).is_none()) {
        return Ok(None);
    }
    let number = |key: &str| parsed(get(key)).ok_or_else(|| refused(key));
    let flag = |key: &str| parsed(get(key).or(Some("false"))).ok_or_else(|| refused(key));
    let or_zero = |key: &str| get(key).or(Some("0"));
    let bias = match get("bias").and_then(|text| text.split(':').next()) {
        Some("none") => Bias::None,
        Some("single") => Bias::Single,
        Some("double") => Bias::Double,
        _ => return Err(refused("bias")),
    };
    let config = LstmConfig::new(number("input_size")?, number("hidden_size")?)
        .layers(number("num_layers")?)
        .bias(bias)
        .bidirectional(flag("bidirectional")?)
        .proj_size(parsed(or_zero("proj_size")).ok_or_else(|| refused("proj_size"))?)
        .batch_first(flag("batch_first")?)
        .learned_state(flag("learned_state")?)
        .dropout(parsed(or_zero("dropout")).ok_or_else(|| refused("dropout"))?)
        .seed(parsed(or_zero("seed")).ok_or_else(|| refused("seed"))?);
    let outputs = |text: &str| text.parse().map_err(|_| refused("head"));
    let text = get("head").ok_or_else(|| refused("head"))?;
    // Files from before there was a choice say so with the head, which read the last output.
    let every_step = text.strip_prefix("every step: ");
    let head = match text {
        "sequence" => Head::Sequence,
        "identity" | "last_hidden" => Head::Identity,
        text => Head::Linear(outputs(every_step.unwrap_or(text))?),
    };
    let readout = match (get("readout"), every_step) {
        (Some(name), _) => Readout::named(name).ok_or_else(|| refused("readout"))?,
        (None, Some(_)) => Readout::EveryStep,
        (None, None) if head != Head::Sequence && config.bidirectional => Readout::LastOutput,
        (None, None) => Readout::FinalStates,
    };
    let config = config.readout(readout);
    let config = match get("encoding").unwrap_or("values") {
        "values" => config,
        "one_hot" => config.one_hot(),
        text => {
            let vocabulary = parsed(text.strip_prefix("embedding: "));
            config.embedding(vocabulary.ok_or_else(|| refused("encoding"))?)
        }
    };
    Ok(Some((config, head)))
}

/// The shape that names and sizes imply, as in a file that PyTorch has written.
fn inferred(
    tensors: &[(String, Array)],
    naming: &Names,
    default_head: Head,
) -> std::result::Result<StackShape, String> {
    // There may be as many layers as tensors.
    let shapes: HashMap<&str, &[usize]> =
        tensors.iter().map(|(name, array)| (name.as_str(), array.shape())).collect();
    let find = |role: Role| shapes.get(naming.of(role).as_str()).copied();
    let has = |role: Role| find(role).is_some();
    let layers = match naming.cell {
        true => usize::from(has(Role::WeightIh(0, 0))),
        false => (0..).take_while(|&l| has(Role::WeightIh(l, 0))).count(),
    };
    let head = match find(Role::HeadWeight) {
        Some(&[outputs, _]) => Head::Linear(outputs),
        Some(other) => return Err(format!("the head's weight has shape {other:?}")),
        None => default_head,
    };
    let bias = match (has(Role::BiasIh(0, 0)), has(Role::BiasHh(0, 0))) {
        (false, false) => Bias::None,
        (true, false) => Bias::Single,
        _ => Bias::Double,
    };
    let projection = match find(Role::WeightHr(0, 0)) {
        Some(&[projection, _]) => Some(projection),
        Some(other) => return Err(format!("weight_hr_l0 has shape {other:?}, which isn't [P, H]")),
        None => None,
    };
    let plain = |input: usize, hidden: usize| StackShape::lstm(input, hidden);
    match (find(Role::WeightIh(0, 0)), find(Role::HeadWeight)) {
        (Some(&[rows, input]), _) if rows % 4 == 0 => Ok(StackShape {
            layers,
            bias,
            head,
            bidirectional: !naming.cell && has(Role::WeightIh(0, 1)),
            projection,
            learned_state: has(Role::InitialH),
            encoding: match find(Role::Embedding) {
                Some(&[vocabulary, _]) => Encoding::Embedding(vocabulary),
                _ => Encoding::Values,
            },
            ..plain(input, rows / 4)
        }),
        (None, Some(&[_, input])) => {
            Ok(StackShape { layers: 0, bias: Bias::None, head, ..plain(input, input) })
        }
        (Some(other), _) => Err(format!("weight_ih_l0 has shape {other:?}, which isn't [4H, I]")),
        _ => {
            let all: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
            let name = naming.of(Role::WeightIh(0, 0));
            Err(format!("{name} isn't among them: {}", all.join(", ")))
        }
    }
}

/// `[B, T, K]` as `[T, B, K]`, for some timesteps and rows of the first.
pub(crate) fn time_major(
    x: &[f32],
    (steps, width): (usize, usize),
    some: std::ops::Range<usize>,
    rows: &[usize],
    out: &mut Vec<f32>,
) {
    for t in some {
        for &b in rows {
            out.extend_from_slice(&x[(b * steps + t) * width..][..width]);
        }
    }
}
