//! Tensors of other libraries in files of named arrays: cells found by what each library calls them, and the layers
//! around them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::cells::{CONVENTIONS, Convention, Named, Said, Sure, joined, plain};
use super::library::Library;
use super::stacks::{Found, stacks};
use super::{Read, clipped, paddle, some, transposed};
use crate::model::LoadOptions;
use crate::tensor::Array;

/// Brings the tensors of a library that isn't PyTorch into PyTorch's names and layouts; `said` is the library, where
/// the caller knows it.
pub(super) fn converted(read: &mut Read, said: Option<Library>) -> Said<()> {
    if said == Some(Library::Pytorch) {
        return Ok(());
    }
    let forget = said != Some(Library::Tensorflow1Zero);
    let said = if forget { said } else { Some(Library::Tensorflow1) };
    let mut named = Named::new();
    for (name, array) in std::mem::take(&mut read.file.tensors) {
        let plain = dotted(&name);
        if named.insert(plain, array).is_some() {
            return Err(format!("two of its tensors are called {} here", clipped(&dotted(&name))));
        }
    }
    let kept: Vec<String> = named.keys().filter(|name| is_slot(name, &named)).cloned().collect();
    if !kept.is_empty() {
        let names = some(kept.iter().map(String::as_str));
        read.left_out.push(format!("of optimizers and averages: {names}"));
        kept.iter().for_each(|name| drop(named.remove(name)));
    }
    let is_paddle = paddle::turned(&mut named, said, read)?;
    let mut found = Vec::new();
    for convention in &CONVENTIONS {
        if said.is_none_or(|library| library == convention.library) {
            of_convention(convention, (said, forget), &mut named, &mut found)?;
        }
    }
    if found.is_empty() && !is_paddle {
        unsure(&named)?;
    }
    let libraries: BTreeSet<Library> = found.iter().map(|cell| cell.convention.library).collect();
    let mut said_of = BTreeMap::<String, Vec<&str>>::new();
    for cell in &found {
        let module = if cell.module.is_empty() { "the cell" } else { &cell.module };
        said_of.entry(cell.convention.said(&cell.module, forget)).or_default().push(module);
    }
    for (said, modules) in said_of {
        read.converted.push(format!("{}: {said}", some(modules.into_iter())));
    }
    for note in libraries.iter().filter_map(|library| unsaid(*library)) {
        read.left_out.push(format!("what the file doesn't say: {note}"));
    }
    let linears = linear_layers(&mut named, &libraries)?;
    let tables = embeddings(&mut named, &libraries)?;
    if !linears.is_empty() {
        let names = some(linears.iter().map(String::as_str));
        read.converted.push(format!("kernels transposed: {names}"));
    }
    let cells = stacks(found);
    for lstm in cells.backward {
        read.converted.push(format!("{lstm} reads from the end, by its name"));
        let prefix = if lstm.is_empty() { lstm } else { format!("{lstm}.") };
        read.own.push((prefix, LoadOptions::new().reverse()));
    }
    let cells = cells.tensors;
    let lstms = super::lstms_of_names(cells.iter().map(|(name, _)| name.as_str()));
    // What is an embedding is known here.
    if let ([table], [(lstm, _)], [head]) = (&*tables, &*lstms, &*linears) {
        read.options = LoadOptions::new().lstm(lstm).embedding(table).head(head);
    }
    read.file.tensors = named.into_iter().chain(cells).collect();
    Ok(())
}

/// `params/lstm/kernel:0`, `['lstm']['kernel'].value` and `.lstm.kernel` with dots alone.
fn dotted(name: &str) -> String {
    let name = name.strip_suffix(":0").unwrap_or(name);
    let name = match name.strip_suffix(".value") {
        Some(path) if path.ends_with(']') => path,
        _ => name,
    };
    let plain = name.replace(['/', '['], ".").replace(['\'', '"', ']'], "");
    let parts: Vec<&str> = plain.split('.').filter(|part| !part.is_empty()).collect();
    parts.join(".")
}

/// Whether it is what an optimizer of TensorFlow 1 keeps, of a tensor or of itself.
fn is_slot(name: &str, named: &Named) -> bool {
    const SLOTS: [&str; 8] = [
        "Adam",
        "Momentum",
        "RMSProp",
        "Adagrad",
        "Adadelta",
        "Ftrl",
        "GradientDescent",
        "ExponentialMovingAverage",
    ];
    let (tensor, last) = name.rsplit_once('.').unwrap_or(("", name));
    let of_itself = ["beta1_power", "beta2_power", "global_step"].contains(&last);
    of_itself || SLOTS.contains(&plain(name)) && named.contains_key(tensor)
}

/// What plays a part in a library's model and is in no file of its weights.
fn unsaid(library: Library) -> Option<&'static str> {
    Some(match library {
        Library::Tensorflow1 => {
            "activations (sigmoid and tanh are taken), a forget_bias other than 1 (`--as tensorflow1-zero` for 0), \
             cell_clip, wrappers such as ResidualWrapper"
        }
        Library::Keras => {
            "activations (sigmoid and tanh are taken), go_backwards, merge_mode (concat is taken), what a head has \
             besides linear layers"
        }
        Library::Flax => {
            "activations (sigmoid and tanh are taken), reverse, what a head has besides linear layers"
        }
        _ => return None,
    })
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
    (said, forget): (Option<Library>, bool),
    named: &mut Named,
    found: &mut Vec<Found>,
) -> Said<()> {
    let rivals: Vec<Library> = CONVENTIONS
        .iter()
        .filter(|other| other.needs == convention.needs)
        .map(|other| other.library)
        .collect();
    for module in chosen(modules(named, convention), convention, said) {
        let get = |name: &str| named.get(&joined(&module, name));
        if let Sure::With(name) = convention.sure
            && (get("bias_ih").is_some()
                || get("bias_hh").is_some()
                || said.is_none() && get(name).is_none())
        {
            continue;
        }
        let cell = convention.cell(&module, forget, get);
        let Some(tensors) = cell.map_err(|error| format!("{}: {error}", clipped(&module)))? else {
            continue;
        };
        let own: BTreeSet<String> = convention
            .needs
            .iter()
            .chain(convention.may)
            .map(|name| joined(&module, name))
            .collect();
        let other = names_in(named, &module).find(|name| !own.contains(*name));
        match (convention.sure, other) {
            // A module that has other modules in it.
            (Sure::Module, Some(_)) => continue,
            (_, Some(other)) if !module.is_empty() => {
                let library = convention.library;
                return Err(format!("{} is no tensor of an LSTM of {library}'s", clipped(other)));
            }
            _ => {}
        }
        if said.is_none() && rivals.len() > 1 {
            let ways: Vec<String> =
                rivals.iter().map(|library| format!("{library} ({})", library.name())).collect();
            return Err(format!(
                "{} has tensors {}, bias as several libraries keep them, in other orders of gates: say which with \
                 import::open_as or `--as`: {}",
                if module.is_empty() { "it" } else { &module },
                convention.needs.join(", "),
                ways.join(" or ")
            ));
        }
        own.iter().for_each(|name| drop(named.remove(name)));
        found.push(Found { module, convention, tensors });
    }
    Ok(())
}

/// The modules that are taken for cells: those whose tensors tell, whose names do, or that may be, where the caller
/// says so.
fn chosen(mut modules: Vec<String>, convention: &Convention, said: Option<Library>) -> Vec<String> {
    if convention.sure != Sure::Module {
        return modules;
    }
    if said.is_none() {
        modules.retain(|module| convention.says_lstm(module));
        return modules;
    }
    modules.retain(|module| convention.may_be_lstm(module));
    // What dynamic_rnn runs stands in its scope; a linear layer rarely does.
    let in_rnn = |module: &String| {
        module.rsplit_once('.').is_some_and(|(outer, _)| {
            outer.split('.').any(|part| part.contains("rnn") || ["fw", "bw"].contains(&part))
        })
    };
    if convention.library == Library::Tensorflow1 && modules.iter().any(in_rnn) {
        modules.retain(|module| in_rnn(module) || convention.says_lstm(module));
    }
    modules
}

/// The names of the tensors of a module, or of all of the file.
fn names_in<'a>(named: &'a Named, module: &str) -> impl Iterator<Item = &'a String> {
    let start = if module.is_empty() { String::new() } else { format!("{module}.") };
    let from = (Bound::Included(start.clone()), Bound::Unbounded);
    named.range(from).map(|(name, _)| name).take_while(move |name| name.starts_with(&start))
}

/// An error that asks, where tensors may be an LSTM's and their names don't tell.
fn unsure(named: &Named) -> Said<()> {
    if !super::lstms_of_names(named.keys().map(String::as_str)).is_empty() {
        return Ok(());
    }
    if let Some(name) = named.keys().find(|name| name.ends_with("kernel.part_0")) {
        return Err(format!(
            "{} is a part of a kernel, which a partitioner has cut: join the parts along the axis that it was cut \
             along, under the name before `/part_0`",
            clipped(name)
        ));
    }
    for convention in CONVENTIONS.iter().filter(|convention| convention.sure == Sure::Module) {
        let maybe = |module: &String| {
            let get = |name: &str| named.get(&joined(module, name));
            let own = convention.needs.len()
                + convention.may.iter().filter(|name| get(name).is_some()).count();
            let alone = names_in(named, module).take(own + 1).count() == own;
            let cell = convention.cell(module, true, get);
            convention.may_be_lstm(module) && alone && matches!(cell, Ok(Some(_)))
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

/// Turns the kernels that stand beside the cells, and says of which modules they are.
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
            // A recurrent layer of another kind stays what it is.
            if named.contains_key(&joined(&module, "recurrent_kernel")) {
                continue;
            }
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
