//! The tensors of an HDF5 file of Keras', by layer.

use std::collections::{BTreeMap, HashMap};

use hdf5_reader::error::Error as Hdf5Error;
use hdf5_reader::group::Group;
use hdf5_reader::messages::datatype::Datatype;
use hdf5_reader::{Dataset, Hdf5File, OpenOptions};

use crate::checkpoint::{LeftOut, Reason};
use crate::import::clipped;
use crate::tensor::Array;

/// Groups in groups, at most.
const DEPTH: usize = 24;

/// Tensors of a file, at most.
const TENSORS: usize = 1 << 16;

/// What a tensor is to its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Kernel,
    Recurrent,
    Bias,
    /// By its number alone.
    Variable(usize),
}

/// The tensors of a layer in one direction.
pub(super) type Tensors = BTreeMap<Kind, Array>;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// By layer and direction.
    pub(super) layers: BTreeMap<(String, usize), Tensors>,
    /// Layers whose tensors are those of a recurrent cell.
    pub(super) cells: std::collections::BTreeSet<String>,
    /// Layers with several tensors of one name: cells in a cell.
    pub(super) twice: std::collections::BTreeSet<String>,
    pub(super) left_out: Vec<LeftOut>,
    /// The model's description, and the version of Keras, where it has them.
    pub(super) config: Option<String>,
    pub(super) version: Option<String>,
    /// How many tensors of optimizers and others there are.
    pub(super) others: usize,
}

/// Where a tensor stands: the layer, its direction, what it is, and whether a cell has it.
struct Place {
    layer: String,
    direction: usize,
    kind: Kind,
    cell: bool,
}

/// A group's own name, and what the layer is called whose group it is.
type Named = (String, String);

/// How tensors are found.
struct Walk<'a> {
    place: fn(&[Named], &str) -> Option<Place>,
    names: &'a HashMap<String, String>,
}

impl Weights {
    /// Of a whole file in memory. `names` are those of layers by the paths of their groups, for files that don't
    /// say them.
    pub(super) fn of(bytes: Vec<u8>, names: &HashMap<String, String>) -> Result<Weights, String> {
        let most = bytes.len().saturating_mul(2).saturating_add(1 << 20);
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_chunk_bytes(most)
            .with_max_read_bytes(most)
            .with_max_object_header_bytes(1 << 22);
        let file = Hdf5File::from_vec_with_options(bytes, options).map_err(said)?;
        let root = file.root_group().map_err(said)?;
        let text = |group: &Group, name: &str| group.attribute(name).ok()?.read_string().ok();
        let mut weights = Weights {
            config: text(&root, "model_config"),
            version: text(&root, "keras_version"),
            ..Weights::default()
        };
        match root.group("model_weights") {
            Ok(group) => weights.legacy(&group, most)?,
            // Weights alone, by the older writer.
            Err(_) if root.attribute("layer_names").is_ok() => weights.legacy(&root, most)?,
            Err(_) => {
                let (mut left, walk) = (most, Walk { place, names });
                weights.walk(&root, &mut Vec::new(), &mut left, &walk)?;
            }
        }
        Ok(weights)
    }

    /// A file of Keras 2 and of `.h5`: a group a layer, in it paths of names.
    fn legacy(&mut self, group: &Group, most: usize) -> Result<(), String> {
        let mut left = most;
        if self.version.is_none() {
            let version = group.attribute("keras_version").ok();
            self.version = version.and_then(|version| version.read_string().ok());
        }
        let walk = Walk { place: legacy_place, names: &HashMap::new() };
        self.walk(group, &mut Vec::new(), &mut left, &walk)
    }

    /// All tensors under a group. `left` are the bytes that may still be read.
    fn walk(
        &mut self,
        group: &Group,
        path: &mut Vec<Named>,
        left: &mut usize,
        walk: &Walk<'_>,
    ) -> Result<(), String> {
        if path.len() > DEPTH {
            return Err("its groups stand too deep in each other".to_owned());
        }
        let (groups, datasets) = group.members().map_err(said)?;
        for dataset in datasets {
            let name = dataset.name().rsplit('/').next().unwrap_or_default().to_owned();
            match (walk.place)(path, &name) {
                Some(place) => self.read(place, &dataset, left)?,
                None => self.others += 1,
            }
        }
        for group in groups {
            let own = group.name().rsplit('/').next().unwrap_or_default().to_owned();
            if path.is_empty() && ["optimizer", "optimizer_weights"].contains(&own.as_str()) {
                self.others += 1;
                continue;
            }
            // What a layer is called stands beside its variables.
            let vars = group.group("vars").ok();
            let attribute = vars.and_then(|vars| vars.attribute("name").ok()?.read_string().ok());
            path.push((own.clone(), own));
            let whole = || path.iter().map(|(own, _)| own.as_str()).collect::<Vec<_>>().join("/");
            let named = attribute.or_else(|| walk.names.get(&whole()).cloned());
            if let (Some(named), Some(last)) = (named, path.last_mut()) {
                last.1 = named;
            }
            self.walk(&group, path, left, walk)?;
            path.pop();
        }
        Ok(())
    }

    fn read(&mut self, place: Place, dataset: &Dataset, left: &mut usize) -> Result<(), String> {
        let name = format!("{} {:?}", place.layer, place.kind);
        let sizes = dataset.shape().iter().map(|&size| usize::try_from(size).ok());
        let shape = sizes.collect::<Option<Vec<usize>>>().unwrap_or_default();
        let elements = shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        let failed = |error: Hdf5Error| format!("{}: {}", clipped(&name), said(error));
        let skip = |reason: Reason| LeftOut {
            name: clipped(&name),
            dtype: format!("{:?}", dataset.dtype()).chars().take(60).collect(),
            shape: shape.clone(),
            reason,
        };
        let width = match dataset.dtype() {
            Datatype::FloatingPoint { size, .. } if [4, 8].contains(size) => *size as usize,
            _ => {
                self.left_out.push(skip(Reason::Type));
                return Ok(());
            }
        };
        if elements == Some(0) || shape.is_empty() {
            self.left_out.push(skip(Reason::Empty));
            return Ok(());
        }
        let bytes = elements.and_then(|elements| elements.checked_mul(width));
        *left = bytes.and_then(|bytes| left.checked_sub(bytes)).ok_or_else(|| {
            format!("{}: its tensors take more than twice the file", clipped(&name))
        })?;
        if self.layers.len() > TENSORS {
            return Err(format!("it has more than {TENSORS} layers"));
        }
        let values: Vec<f32> = match width {
            4 => {
                let mut values = vec![0f32; elements.unwrap_or(0)];
                dataset.read_into(&mut values).map_err(failed)?;
                values
            }
            _ => {
                let wide = dataset.read_array::<f64>().map_err(failed)?;
                wide.iter().map(|&value| value as f32).collect()
            }
        };
        let array = Array::new(values, &shape).map_err(|error| error.to_string())?;
        if place.cell {
            self.cells.insert(place.layer.clone());
        }
        let key = (place.layer, place.direction);
        if self.layers.entry(key.clone()).or_default().insert(place.kind, array).is_some() {
            self.twice.insert(key.0);
        }
        Ok(())
    }
}

/// In a file of Keras 3: `layers/bidirectional/forward_layer/cell/vars/0`.
fn place(path: &[Named], name: &str) -> Option<Place> {
    let number: usize = name.parse().ok()?;
    let (last, mut path) = path.split_last()?;
    if last.0 != "vars" {
        return None;
    }
    let ends = |path: &[Named], with: &str| path.last().is_some_and(|l| l.0 == with);
    let cell = path.iter().any(|part| part.0 == "cell");
    if ends(path, "cell") && path.len() > 1 {
        path = &path[..path.len() - 1];
    }
    // Of a layer's, not an attribute of the model's of that name.
    let inner = path.len() > 1;
    let direction = usize::from(inner && ends(path, "backward_layer"));
    if inner && (direction == 1 || ends(path, "forward_layer") || ends(path, "layer")) {
        path = &path[..path.len() - 1];
    }
    // A layer in a list has the name of its own, and an attribute that of the attribute.
    let mut names = Vec::new();
    for (at, (own, named)) in path.iter().enumerate() {
        let listed = at > 0 && path[at - 1].0 == "layers";
        match own.as_str() {
            "layers" | "cell" | "cells" if path.len() > 1 => {}
            _ => names.push(if listed { named.as_str() } else { own }),
        }
    }
    let kind = match (cell, number) {
        (true, 0) => Kind::Kernel,
        (true, 1) => Kind::Recurrent,
        (true, 2) => Kind::Bias,
        _ => Kind::Variable(number),
    };
    Some(Place { layer: module(&names), direction, kind, cell })
}

/// In an older file: `lstm/model/lstm/lstm_cell/kernel:0`.
fn legacy_place(path: &[Named], name: &str) -> Option<Place> {
    let name = name.split(':').next().unwrap_or(name);
    let (first, rest) = path.split_first()?;
    let kind = match name {
        "kernel" => Kind::Kernel,
        "recurrent_kernel" => Kind::Recurrent,
        "bias" => Kind::Bias,
        "embeddings" => Kind::Variable(0),
        _ => return None,
    };
    let mut parts: Vec<&str> = rest.iter().map(|(own, _)| own.as_str()).collect();
    // Between the layer's group and its name may stand the model's; behind it stand layers of a model in the model.
    if let Some(at) = parts.iter().rposition(|part| *part == first.0) {
        parts.drain(..=at);
    }
    parts.retain(|part| !part.starts_with("lstm_cell"));
    let direction = usize::from(parts.last().is_some_and(|part| part.starts_with("backward_")));
    if direction == 1 || parts.last().is_some_and(|part| part.starts_with("forward_")) {
        parts.pop();
    }
    let names = [vec![first.0.as_str()], parts].concat();
    let cell = kind == Kind::Recurrent;
    Some(Place { layer: module(&names), direction, kind, cell })
}

/// A module's name of those of layers in layers.
fn module(names: &[&str]) -> String {
    let plain = |name: &&str| name.replace(['/', '.'], "_");
    clipped(&names.iter().map(plain).collect::<Vec<_>>().join("."))
}

fn said(error: Hdf5Error) -> String {
    clipped(&format!("it isn't a whole HDF5 file: {error}"))
}
