//! What all models share: parameters on a device and the plans that ran last.

use std::collections::HashMap;
use std::path::Path;

use super::LstmConfig;
use super::sessions::{InUse, SessionCache};
use crate::checkpoint::{self, Checkpoint};
use crate::device::{Buffer, Device};
use crate::error::{Error, Result};
use crate::plan::{Bias, Head, Parameter, ParameterTable, Plan, Role, StackShape};
use crate::tensor::Array;

/// The names that a model's parts have, before the dot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefixes {
    /// Of the LSTM.
    pub(crate) lstm: &'static str,
    /// Of the linear layer.
    pub(crate) head: &'static str,
}

pub(crate) struct Network {
    pub(crate) device: Device,
    pub(crate) shape: StackShape,
    pub(crate) table: ParameterTable,
    /// The names of the table's entries.
    pub(crate) names: Vec<String>,
    prefixes: Prefixes,
    pub(crate) params: Buffer,
    sessions: SessionCache,
}

impl Network {
    pub(crate) fn new(
        device: &Device,
        config: &LstmConfig,
        head: Head,
        prefixes: Prefixes,
    ) -> Result<Network> {
        let shape = config.shape(head);
        shape.check("model", 1, 1)?;
        shape.fits("model", 1, 1, &device.limits())?;
        let table = ParameterTable::new(&shape);
        let names: Vec<String> =
            table.entries.iter().map(|entry| name(entry.role, &prefixes)).collect();
        // Before the values are drawn: a model that is too large is known at once.
        let params = device.create_buffer("parameters", table.len)?;
        device.write(&params, 0, &config.initial(&shape, &table, &names)?)?;
        let (device, sessions) = (device.clone(), SessionCache::default());
        Ok(Network { device, shape, table, names, prefixes, params, sessions })
    }

    /// The inference session of a shape, for this caller alone.
    pub(crate) fn forward_session(&self, steps: usize, batch: usize) -> Result<InUse<'_>> {
        self.sessions.take((steps, batch), || {
            let plan = Plan::forward(&self.shape, steps, batch, &self.device.limits())?;
            self.device.bind(&plan.program, &[("params", &self.params)])
        })
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

    pub(crate) fn state_dict(&self) -> Result<Vec<(String, Array)>> {
        self.named(&self.device.read(&self.params, 0, self.table.len)?)
    }

    pub(crate) fn load_state_dict(&mut self, tensors: &[(String, Array)]) -> Result<()> {
        let mut given: HashMap<&str, &Array> = HashMap::new();
        let mut problems = Vec::new();
        for (name, array) in tensors {
            if given.insert(name, array).is_some() {
                problems.push(format!("{name} stands twice"));
            }
        }
        let mut flat = vec![0.0; self.table.len];
        for (entry, name) in self.table.entries.iter().zip(&self.names) {
            match given.remove(name.as_str()) {
                None => problems.push(format!("{name} {:?} is missing", entry.shape)),
                Some(array) => match self.values(entry, array, &mut given) {
                    Ok(values) => flat[entry.start..][..entry.len].copy_from_slice(&values),
                    Err(problem) => problems.push(format!("{name} {problem}")),
                },
            }
        }
        let mut unexpected: Vec<&str> = given.into_keys().collect();
        unexpected.sort_unstable();
        problems.extend(unexpected.into_iter().map(|name| format!("{name} is unexpected")));
        if !problems.is_empty() {
            return Err(Error::StateDict { problem: problems.join("; ") });
        }
        self.device.write(&self.params, 0, &flat)
    }

    /// The values of one entry in the device's layout.
    fn values(
        &self,
        entry: &Parameter,
        array: &Array,
        given: &mut HashMap<&str, &Array>,
    ) -> std::result::Result<Vec<f32>, String> {
        let misshapen =
            |array: &Array| format!("has shape {:?} instead of {:?}", array.shape(), entry.shape);
        if array.shape() != entry.shape {
            return Err(misshapen(array));
        }
        let mut values = array.data().to_vec();
        // A model with one bias takes a pair, and adds it.
        if let (Bias::Single, Role::BiasIh(l)) = (self.shape.bias, entry.role)
            && let Some(second) = given.remove(name(Role::BiasHh(l), &self.prefixes).as_str())
        {
            if second.shape() != entry.shape {
                return Err(format!("with its bias_hh {}", misshapen(second)));
            }
            values.iter_mut().zip(second.data()).for_each(|(a, b)| *a += b);
        }
        Ok(entry.from_pytorch(&values))
    }

    pub(crate) fn save(&self, path: &Path, entries: &HashMap<String, String>) -> Result<()> {
        let mut tensors = self.state_dict()?;
        if self.shape.bias == Bias::Single {
            // PyTorch has two biases or none.
            for l in 0..self.shape.layers {
                let zeros = Array::new(vec![0.0; 4 * self.shape.hidden], &[4 * self.shape.hidden])?;
                tensors.push((name(Role::BiasHh(l), &self.prefixes), zeros));
            }
        }
        let mut all = entries.clone();
        all.extend(metadata(&self.shape));
        checkpoint::write(path, &tensors, &all)
    }

    /// Reads a file that [`save`](Self::save) or PyTorch has written, and its metadata.
    pub(crate) fn load(
        device: &Device,
        path: &Path,
        prefixes: Prefixes,
        default_head: Head,
    ) -> Result<(Network, HashMap<String, String>)> {
        let refused = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
        let Checkpoint { tensors, metadata } = checkpoint::read(path)?;
        let shape = match described(&metadata) {
            Some(shape) => shape,
            None => inferred(&tensors, &prefixes, default_head).map_err(refused)?,
        };
        // Before anything of the size is made, the tensors have to say the same as the description.
        shape.check("load", 1, 1)?;
        if shape.layers > tensors.len() {
            return Err(refused(format!(
                "it describes {} layers and holds fewer tensors",
                shape.layers
            )));
        }
        let promised: usize = ParameterTable::new(&shape).entries.iter().map(|e| e.len).sum();
        let stored: usize = tensors.iter().map(|(_, array)| array.data().len()).sum();
        if promised > stored {
            return Err(refused(format!("it describes {promised} parameters and holds {stored}")));
        }
        let config =
            LstmConfig::new(shape.input, shape.hidden).layers(shape.layers).bias(shape.bias);
        let mut network = Network::new(device, &config, shape.head, prefixes)?;
        match network.load_state_dict(&tensors) {
            Ok(()) => Ok((network, metadata)),
            Err(Error::StateDict { problem }) => Err(refused(problem)),
            Err(other) => Err(other),
        }
    }
}

/// The parameter's name in PyTorch.
fn name(role: Role, prefixes: &Prefixes) -> String {
    let Prefixes { lstm, head } = prefixes;
    match role {
        Role::WeightIh(l) => format!("{lstm}weight_ih_l{l}"),
        Role::WeightHh(l) => format!("{lstm}weight_hh_l{l}"),
        Role::BiasIh(l) => format!("{lstm}bias_ih_l{l}"),
        Role::BiasHh(l) => format!("{lstm}bias_hh_l{l}"),
        Role::HeadWeight => format!("{head}weight"),
        Role::HeadBias => format!("{head}bias"),
    }
}

fn metadata(shape: &StackShape) -> HashMap<String, String> {
    let head = match shape.head {
        Head::Sequence => "sequence".to_owned(),
        Head::LastHidden => "last_hidden".to_owned(),
        Head::Linear(outputs) => outputs.to_string(),
    };
    let bias = match shape.bias {
        Bias::None => "none",
        Bias::Single => "single: bias_hh is written as zero",
        Bias::Double => "double",
    };
    HashMap::from([
        ("gatefold.input_size".to_owned(), shape.input.to_string()),
        ("gatefold.hidden_size".to_owned(), shape.hidden.to_string()),
        ("gatefold.num_layers".to_owned(), shape.layers.to_string()),
        ("gatefold.bias".to_owned(), bias.to_owned()),
        ("gatefold.head".to_owned(), head),
    ])
}

/// The shape that the metadata give, where they are whole.
fn described(metadata: &HashMap<String, String>) -> Option<StackShape> {
    let get = |key: &str| metadata.get(&format!("gatefold.{key}"));
    let number = |key: &str| get(key)?.parse().ok();
    Some(StackShape {
        input: number("input_size")?,
        hidden: number("hidden_size")?,
        layers: number("num_layers")?,
        bias: match get("bias")?.split(':').next()? {
            "none" => Bias::None,
            "single" => Bias::Single,
            "double" => Bias::Double,
            _ => return None,
        },
        head: match get("head")?.as_str() {
            "sequence" => Head::Sequence,
            "last_hidden" => Head::LastHidden,
            outputs => Head::Linear(outputs.parse().ok()?),
        },
    })
}

/// The shape that names and sizes imply, as in a file that PyTorch has written.
fn inferred(
    tensors: &[(String, Array)],
    prefixes: &Prefixes,
    default_head: Head,
) -> std::result::Result<StackShape, String> {
    let find = |role: Role| {
        let name = name(role, prefixes);
        tensors.iter().find(|(n, _)| *n == name).map(|(_, array)| array.shape())
    };
    let layers = (0..).take_while(|&l| find(Role::WeightIh(l)).is_some()).count();
    let head = match find(Role::HeadWeight) {
        Some(&[outputs, _]) => Head::Linear(outputs),
        Some(other) => return Err(format!("the head's weight has shape {other:?}")),
        None => default_head,
    };
    let bias = match (find(Role::BiasIh(0)), find(Role::BiasHh(0))) {
        (None, None) => Bias::None,
        (Some(_), None) => Bias::Single,
        _ => Bias::Double,
    };
    match (find(Role::WeightIh(0)), find(Role::HeadWeight)) {
        (Some(&[rows, input]), _) if rows % 4 == 0 => {
            Ok(StackShape { input, hidden: rows / 4, layers, bias, head })
        }
        (None, Some(&[_, input])) => {
            Ok(StackShape { input, hidden: input, layers: 0, bias: Bias::None, head })
        }
        (Some(other), _) => Err(format!("weight_ih_l0 has shape {other:?}, which isn't [4H, I]")),
        _ => Err(format!("it has no {}", name(Role::WeightIh(0), prefixes))),
    }
}

/// `[B, T, I]` as `[T, B, I]`, for the rows `rows` of the first.
pub(crate) fn time_major(x: &Array, rows: &[usize], out: &mut Vec<f32>) {
    let (steps, input) = (x.shape()[1], x.shape()[2]);
    for t in 0..steps {
        for &b in rows {
            out.extend_from_slice(&x.data()[(b * steps + t) * input..][..input]);
        }
    }
}
