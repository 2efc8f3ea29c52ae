//! Paddle's files: PyTorch's names, over other tensors where a layer has a projection; and linear layers that are
//! `[in, out]`.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::Said;
use super::library::Library;
use super::{clipped, transposed};
use crate::tensor::Array;

/// The tensors by name, a module's behind a dot.
type Named = BTreeMap<String, Array>;

/// Turns what is Paddle's, if the file is: `said` where the caller says whose it is, `format` what the file does.
pub(super) fn turned(
    named: &mut Named,
    said: Option<Library>,
    format: Option<&str>,
    converted: &mut Vec<String>,
) -> Said<()> {
    if said.is_some_and(|library| library != Library::Paddle) {
        return Ok(());
    }
    let layers = layers(named);
    let doubled = |lstm: &&String| named.contains_key(&format!("{lstm}.weight_ih_l0"));
    let by_cells: BTreeSet<String> = layers.keys().filter(doubled).cloned().collect();
    let projected = named.keys().any(|name| name.ends_with(".weight_ho"));
    let is_paddle = said.is_some()
        || format.is_some_and(|format| ["pd", "paddle"].contains(&format))
        || !by_cells.is_empty()
        || projected;
    for (lstm, cells) in &layers {
        if !is_paddle {
            continue;
        }
        // The names of the whole stand over other tensors where a cell has five.
        let flat = |name: &String| {
            let rest = name.strip_prefix(lstm.as_str()).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|rest| !rest.contains('.') && rest.contains("_l"))
        };
        named.retain(|name, _| !flat(name));
        for (cell, end) in cells {
            for (from, to) in [
                ("weight_ih", "weight_ih"),
                ("weight_hh", "weight_hh"),
                ("bias_ih", "bias_ih"),
                ("bias_hh", "bias_hh"),
                ("weight_ho", "weight_hr"),
            ] {
                let Some(array) = named.remove(&format!("{cell}.{from}")) else { continue };
                let array = if from == "weight_ho" { transposed(&array)? } else { array };
                named.insert(format!("{lstm}.{to}_{end}"), array);
            }
        }
        converted.push(format!("{}: of Paddle's two names of a tensor the cell's", clipped(lstm)));
    }
    let is_flat_bias =
        |name: &str| name.rsplit('.').next().is_some_and(|n| n.starts_with("bias_ih_l"));
    let other = named.iter().find(|(name, array)| is_flat_bias(name) && array.shape().len() == 2);
    if let Some((name, _)) = other {
        return Err(format!(
            "{} is a matrix: with proj_size Paddle's names of a whole LSTM stand over other tensors; save those of its \
             cells, such as lstm.0.cell.weight_ih, which state_dict() has too",
            clipped(name)
        ));
    }
    linear_layers(named, is_paddle, said, converted)
}

/// The cells of LSTMs, such as `lstm.0.cell_fw`, and what the names of their tensors end in.
fn layers(named: &Named) -> BTreeMap<String, Vec<(String, String)>> {
    let mut layers = BTreeMap::<String, Vec<(String, String)>>::new();
    for name in named.keys() {
        let Some(cell) = name.strip_suffix(".weight_ih") else { continue };
        let Some((layer, kind)) = cell.rsplit_once('.') else { continue };
        let reverse = match kind {
            "cell" | "cell_fw" => "",
            "cell_bw" => "_reverse",
            _ => continue,
        };
        let Some((lstm, number)) = layer.rsplit_once('.') else { continue };
        if number.parse::<u32>().is_ok() {
            let end = format!("l{number}{reverse}");
            layers.entry(lstm.to_owned()).or_default().push((cell.to_owned(), end));
        }
    }
    layers
}

/// Turns weights `[in, out]`, which a bias `[out]` tells where both sizes differ.
fn linear_layers(
    named: &mut Named,
    is_paddle: bool,
    said: Option<Library>,
    converted: &mut Vec<String>,
) -> Said<()> {
    // Matrices with a bias as long as their columns; whether also as long as their rows.
    let mut columns = Vec::new();
    for (name, array) in named.iter() {
        let Some(module) = name.strip_suffix(".weight") else { continue };
        let bias = named.get(&format!("{module}.bias"));
        if let (&[rows, width], Some(bias)) = (array.shape(), bias)
            && *bias.shape() == [width]
        {
            columns.push((name.clone(), rows == width));
        }
    }
    let seen = columns.iter().any(|(_, square)| !square);
    let unsure = columns.iter().find(|(_, square)| *square);
    if let (true, false, Some((name, _))) = (seen, is_paddle, unsure) {
        return Err(format!(
            "some of its linear layers are [in, out], as Paddle's are, and {} may be either: say which with \
             import::open_as or `--as`: Paddle (paddle) or PyTorch (pytorch)",
            clipped(name)
        ));
    }
    if !seen && !is_paddle || columns.is_empty() || said == Some(Library::Pytorch) {
        return Ok(());
    }
    for (name, _) in &columns {
        if let Some(array) = named.get_mut(name) {
            *array = transposed(array)?;
        }
    }
    converted.push(format!("linear layers transposed, which are [in, out]: {}", columns.len()));
    Ok(())
}
