//! Tensors of other libraries in files of named arrays: cells found by what each library calls them, the layers
//! around them, and stacks that their names say.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::{CONVENTIONS, Convention, Said};
use super::library::Library;
use super::{Read, clipped, paddle, some, transposed};
use crate::checkpoint::StateDict;
use crate::model::LoadOptions;
use crate::tensor::Array;

/// The tensors by name, a module's behind a dot.
type Named = BTreeMap<String, Array>;

/// A cell that was found: its module, whose it is, and its tensors under PyTorch's names without an end.
struct Found {
    module: String,
    convention: &'static Convention,
    tensors: StateDict,
}

/// Brings the tensors of a library that isn't PyTorch into PyTorch's names and layouts; `said` is the library, where
/// the caller knows it.
pub(super) fn converted(read: &mut Read, said: Option<Library>) -> Said<()> {
    if said == Some(Library::Pytorch) {
        return Ok(());
    }
    let mut named = Named::new();
    for (name, array) in std::mem::take(&mut read.file.tensors) {
        let plain = dotted(&name);
        if named.insert(plain, array).is_some() {
            return Err(format!("two of its tensors are called {} here", clipped(&dotted(&name))));
        }
    }
    // What an optimizer keeps of a tensor stands behind that one's name.
    let of_tensor =
        |name: &String| name.match_indices('.').any(|(at, _)| named.contains_key(&name[..at]));
    let kept: Vec<String> = named.keys().filter(|name| of_tensor(name)).cloned().collect();
    // TensorFlow 1 keeps those beside the others: beta1_power, global_step.
    let scalars = named.iter().filter(|(_, array)| array.shape().is_empty());
    let kept: Vec<String> = kept.into_iter().chain(scalars.map(|(name, _)| name.clone())).collect();
    if !kept.is_empty() {
        read.left_out.push(format!("of optimizers: {}", some(kept.iter().map(String::as_str))));
        named.retain(|name, _| !kept.contains(name));
    }
    let format = read.file.metadata.get("format").map(String::as_str);
    paddle::turned(&mut named, said, format, &mut read.converted)?;
    let mut found = Vec::new();
    for convention in &CONVENTIONS {
        if said.is_none_or(|library| library == convention.library) {
            of_convention(convention, said, &mut named, &mut found)?;
        }
    }
    if found.is_empty() && said != Some(Library::Paddle) {
        unsure(&named)?;
    }
    let libraries: BTreeSet<Library> = found.iter().map(|cell| cell.convention.library).collect();
    let mut said_of = BTreeMap::<String, Vec<&str>>::new();
    for cell in &found {
        let module = if cell.module.is_empty() { "the cell" } else { &cell.module };
        said_of.entry(cell.convention.said(&cell.module)).or_default().push(module);
    }
    for (said, modules) in said_of {
        read.converted.push(format!("{}: {said}", some(modules.into_iter())));
    }
    if libraries.contains(&Library::Keras) || libraries.contains(&Library::Tensorflow1) {
        let note = "activations, of which the file says nothing: sigmoid and tanh are taken";
        read.left_out.push(note.to_owned());
    }
    let linears = linear_layers(&mut named, &libraries)?;
    let tables = embeddings(&mut named, &libraries)?;
    if !linears.is_empty() {
        read.converted.push(format!("{} linear layers transposed", linears.len()));
    }
    let cells = stacks(found);
    let lstms = super::lstms_of_names(cells.iter().map(|(name, _)| name.as_str()));
    // What is an embedding is known here.
    if let ([table], [(lstm, _)], [head]) = (&*tables, &*lstms, &*linears) {
        read.options = LoadOptions::new().lstm(lstm).embedding(table).head(head);
    }
    read.file.tensors = named.into_iter().chain(cells).collect();
    Ok(())
}

/// `params/lstm/kernel:0`, `['lstm']['kernel']` and `.lstm.kernel` with dots alone.
fn dotted(name: &str) -> String {
    let name = name.strip_suffix(":0").unwrap_or(name);
    let plain = name.replace(['/', '['], ".").replace(['\'', '"', ']'], "");
    let parts: Vec<&str> = plain.split('.').filter(|part| !part.is_empty()).collect();
    parts.join(".")
}

/// A name in a module.
fn joined(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}.{name}") }
}

/// The modules that have all tensors of a convention, by name.
fn modules(named: &Named, convention: &Convention) -> Vec<String> {
    let mut modules = modules_with(named, convention.needs[0]);
    modules.retain(|module| {
        convention.needs.iter().all(|need| named.contains_key(&joined(module, need)))
    });
    modules
}

/// Takes the cells of a convention out of the tensors.
fn of_convention(
    convention: &'static Convention,
    said: Option<Library>,
    named: &mut Named,
    found: &mut Vec<Found>,
) -> Said<()> {
    let rivals: Vec<Library> = CONVENTIONS
        .iter()
        .filter(|other| other.needs == convention.needs)
        .map(|other| other.library)
        .collect();
    let mut modules = modules(named, convention);
    if convention.shared {
        // Where some say so by their names, those are all.
        let by_name: Vec<String> =
            modules.iter().filter(|module| convention.says_lstm(module)).cloned().collect();
        if !by_name.is_empty() || said.is_none() {
            modules = by_name;
        }
    }
    for module in modules {
        let cell = convention.cell(&module, |name| named.get(&joined(&module, name)));
        let Some(tensors) = cell.map_err(|error| format!("{}: {error}", clipped(&module)))? else {
            continue;
        };
        let own: BTreeSet<String> = convention
            .needs
            .iter()
            .chain(convention.may)
            .map(|name| joined(&module, name))
            .collect();
        if let Some(other) = named.keys().find(|name| is_in(name, &module) && !own.contains(*name))
        {
            // A module with an LSTM's name that has other modules in it.
            if convention.shared && !convention.says_lstm(&module) {
                continue;
            }
            let library = convention.library;
            return Err(format!("{} is no tensor of an LSTM of {library}'s", clipped(other)));
        }
        if said.is_none() && rivals.len() > 1 {
            let ways: Vec<String> =
                rivals.iter().map(|library| format!("{library} ({})", library.name())).collect();
            return Err(format!(
                "{} has tensors {} as several libraries keep them, in other orders of gates: say which with \
                 import::open_as or `--as`: {}",
                if module.is_empty() { "it" } else { &module },
                convention.needs.join(", "),
                ways.join(" or ")
            ));
        }
        named.retain(|name, _| !own.contains(name));
        found.push(Found { module, convention, tensors });
    }
    Ok(())
}

/// Whether a tensor is of a module that is not all of the file.
fn is_in(name: &str, module: &str) -> bool {
    !module.is_empty() && name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

/// An error that asks, where tensors may be an LSTM's and their names don't tell.
fn unsure(named: &Named) -> Said<()> {
    if !super::lstms_of_names(named.keys().map(String::as_str)).is_empty() {
        return Ok(());
    }
    for convention in CONVENTIONS.iter().filter(|convention| convention.shared) {
        let maybe = |module: &String| {
            let cell = convention.cell(module, |name| named.get(&joined(module, name)));
            matches!(cell, Ok(Some(_)))
        };
        let modules: Vec<String> = modules(named, convention).into_iter().filter(maybe).collect();
        if !modules.is_empty() {
            let library = convention.library;
            return Err(format!(
                "no name in it says that there is an LSTM, and by their shapes these may be LSTMs of {library}'s, or \
                 linear layers: {}; if they are, say so with import::open_as or `--as {}`",
                some(modules.iter().map(String::as_str)),
                library.name()
            ));
        }
    }
    Ok(())
}

/// Turns the linear layers that stand beside the cells, and says which they are.
fn linear_layers(named: &mut Named, libraries: &BTreeSet<Library>) -> Said<Vec<String>> {
    let mut linears = Vec::new();
    for library in libraries {
        let (weight, bias) = match library {
            Library::Flax | Library::Keras | Library::Tensorflow1 => ("kernel", "bias"),
            Library::Haiku => ("w", "b"),
            _ => continue,
        };
        for module in modules_with(named, weight) {
            let name = joined(&module, weight);
            let Some(array) = named.get(&name).filter(|array| array.shape().len() == 2) else {
                continue;
            };
            let array = transposed(array)?;
            named.remove(&name);
            put(named, joined(&module, "weight"), array)?;
            if let Some(bias) = named.remove(&joined(&module, bias)) {
                put(named, joined(&module, "bias"), bias)?;
            }
            linears.push(module);
        }
    }
    Ok(linears)
}

/// Gives embeddings PyTorch's name, and says which they are.
fn embeddings(named: &mut Named, libraries: &BTreeSet<Library>) -> Said<Vec<String>> {
    let mut tables = Vec::new();
    for library in libraries {
        let table = match library {
            Library::Flax => "embedding",
            Library::Haiku | Library::Keras => "embeddings",
            _ => continue,
        };
        for module in modules_with(named, table) {
            let Some(array) = named.remove(&joined(&module, table)) else { continue };
            put(named, joined(&module, "weight"), array)?;
            tables.push(module);
        }
    }
    Ok(tables)
}

/// The modules that have a tensor of that name.
fn modules_with(named: &Named, leaf: &str) -> Vec<String> {
    let module = |name: &String| {
        let module = name.strip_suffix(leaf)?;
        Some(if module.is_empty() { module } else { module.strip_suffix('.')? }.to_owned())
    };
    named.keys().filter_map(module).collect()
}

fn put(named: &mut Named, name: String, array: Array) -> Said<()> {
    match named.insert(name.clone(), array) {
        None => Ok(()),
        Some(_) => Err(format!("two of its tensors would be {}", clipped(&name))),
    }
}

/// Where a cell stands in its LSTM.
struct Place {
    lstm: String,
    layer: usize,
    reverse: bool,
}

impl Place {
    /// By the names of TensorFlow 1, Keras and Flax, where a part of them says it: `rnn.multi_rnn_cell.cell_1.lstm_cell`,
    /// `bidirectional_rnn.bw.lstm_cell`, `bidirectional.backward_lstm.lstm_cell`.
    fn of(module: &str, library: Library) -> Option<Place> {
        let parts: Vec<&str> = module.split('.').collect();
        let at = |name: &str| parts.iter().position(|part| *part == name);
        let number = |part: &str| part.strip_prefix("cell_")?.parse::<usize>().ok();
        match library {
            Library::Tensorflow1 => {
                let direction = parts
                    .iter()
                    .position(|part| ["fw", "bw"].contains(part))
                    .filter(|&n| n > 0 && parts[n - 1].starts_with("bidirectional_rnn"));
                let multi = at("multi_rnn_cell").filter(|n| n + 2 < parts.len());
                let stack = at("stack_bidirectional_rnn").filter(|n| n + 2 < parts.len());
                match (direction, multi, stack) {
                    // Of a bidirectional stack each layer reads both directions of the one below.
                    (Some(d), None, Some(s)) => Some(Place {
                        lstm: parts[..=s].join("."),
                        layer: number(parts[s + 1])?,
                        reverse: parts[d] == "bw",
                    }),
                    // A stack in each direction, of which neither reads the other, isn't one of PyTorch's.
                    (_, Some(m), None) => Some(Place {
                        lstm: parts[..=m].join("."),
                        layer: number(parts[m + 1])?,
                        reverse: false,
                    }),
                    (Some(d), None, None) => Some(Place {
                        lstm: parts[..d].join("."),
                        layer: 0,
                        reverse: parts[d] == "bw",
                    }),
                    _ => None,
                }
            }
            Library::Keras | Library::Flax => {
                let directions =
                    |part: &&str| part.starts_with("forward_") || part.starts_with("backward_");
                let n = parts.iter().position(directions)?;
                let reverse = parts[n].starts_with("backward_");
                Some(Place { lstm: parts[..n].join("."), layer: 0, reverse })
            }
            _ => None,
        }
    }
}

/// The cells as LSTMs: those whose names say that they belong together and whose sizes let them as one, the others
/// each alone.
fn stacks(found: Vec<Found>) -> StateDict {
    let mut stacks = BTreeMap::<String, BTreeMap<(usize, bool), Found>>::new();
    let mut alone = Vec::new();
    for cell in found {
        match Place::of(&cell.module, cell.convention.library) {
            Some(Place { lstm, layer, reverse }) if !lstm.is_empty() => {
                let twice = stacks.entry(lstm).or_default().insert((layer, reverse), cell);
                alone.extend(twice);
            }
            _ => alone.push(cell),
        }
    }
    let mut tensors = StateDict::new();
    for (lstm, cells) in stacks {
        if !is_stack(&cells) {
            alone.extend(cells.into_values());
            continue;
        }
        for ((layer, reverse), cell) in cells {
            let end = format!("_l{layer}{}", if reverse { "_reverse" } else { "" });
            tensors.extend(under(&lstm, &end, cell.tensors));
        }
    }
    for cell in alone {
        tensors.extend(under(&cell.module, "_l0", cell.tensors));
    }
    tensors
}

fn under(module: &str, end: &str, tensors: StateDict) -> impl Iterator<Item = (String, Array)> {
    tensors.into_iter().map(move |(name, array)| (joined(module, &format!("{name}{end}")), array))
}

/// Whether cells are the layers of one LSTM: none missing, of the same tensors and sizes, each reading what the one
/// below gives.
fn is_stack(cells: &BTreeMap<(usize, bool), Found>) -> bool {
    let both = cells.keys().any(|(_, reverse)| *reverse);
    let directions = if both { 2 } else { 1 };
    let places = cells.keys().enumerate();
    let whole = places.into_iter().all(|(n, &(layer, reverse))| {
        (layer, usize::from(reverse)) == (n / directions, n % directions)
    });
    let shapes = |cell: &Found| -> Vec<(String, Vec<usize>)> {
        let shape = |(name, array): &(String, Array)| (name.clone(), array.shape().to_vec());
        cell.tensors.iter().map(shape).collect()
    };
    let Some(first) = cells.values().next().map(shapes) else { return false };
    // The width of the state: R of `weight_hh [4H, R]`.
    let state = first.iter().find(|(name, _)| name == "weight_hh").map_or(0, |(_, shape)| shape[1]);
    let fits = |(&(layer, _), cell): (&(usize, bool), &Found)| {
        shapes(cell).iter().zip(&first).all(|((name, shape), (as_first, first))| {
            let input = if layer == 0 { first[first.len() - 1] } else { directions * state };
            name == as_first
                && match name.as_str() {
                    "weight_ih" => *shape == [first[0], input],
                    _ => shape == first,
                }
        }) && cell.tensors.len() == first.len()
    };
    whole && cells.len() % directions == 0 && cells.iter().all(fits)
}
