//! Paddle's files: PyTorch's names, over other tensors where a layer has a projection; and linear layers that are
//! `[in, out]`.

use std::collections::BTreeSet;

use super::cells::{Named, Said, joined};
use super::library::Library;
use super::{Read, clipped, some, transposed};

/// Turns what is Paddle's, if the file is: `said` where the caller says whose it is. Gives whether it is.
pub(super) fn turned(named: &mut Named, said: Option<Library>, read: &mut Read) -> Said<bool> {
    if said.is_some_and(|library| library != Library::Paddle) {
        return Ok(false);
    }
    let format = read.file.metadata.get("format").map(String::as_str);
    // The layers of an LSTM have two names each; cells in a list have one.
    let is_doubled = |cell: &Cell| named.contains_key(&joined(&cell.lstm, "weight_ih_l0"));
    let layers: Vec<Cell> = cells(named).into_iter().filter(is_doubled).collect();
    let projected = named.keys().any(|name| leaf(name) == "weight_ho");
    let is_paddle = said.is_some()
        || format.is_some_and(|format| ["pd", "paddle"].contains(&format))
        || !layers.is_empty()
        || projected;
    let lstms: BTreeSet<String> = layers.iter().map(|cell| cell.lstm.clone()).collect();
    // The names of the whole stand over other tensors where a cell has five.
    named.retain(|name, _| {
        let (module, last) = name.rsplit_once('.').unwrap_or(("", name));
        !(lstms.contains(module) && last.contains("_l"))
    });
    if !lstms.is_empty() {
        let names = some(lstms.iter().map(|lstm| if lstm.is_empty() { "LSTM" } else { lstm }));
        read.converted.push(format!("{names}: of Paddle's two names of a tensor the cell's"));
    }
    for Cell { module, lstm, end } in layers {
        for name in ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_ho"] {
            let Some(array) = named.remove(&joined(&module, name)) else { continue };
            let name = if name == "weight_ho" { "weight_hr" } else { name };
            let array = if name == "weight_hr" { transposed(&array)? } else { array };
            named.insert(joined(&lstm, &format!("{name}_{end}")), array);
        }
    }
    let projections: Vec<String> =
        named.keys().filter(|name| leaf(name) == "weight_ho").cloned().collect();
    for name in projections {
        let Some(array) = named.remove(&name) else { continue };
        let module = name.rsplit_once('.').map_or("", |(module, _)| module);
        named.insert(joined(module, "weight_hr"), transposed(&array)?);
    }
    both_directions(named, read);
    let is_flat_bias = |name: &str| leaf(name).starts_with("bias_ih_l");
    let other = named.iter().find(|(name, array)| is_flat_bias(name) && array.shape().len() == 2);
    if let Some((name, _)) = other {
        return Err(format!(
            "{} is a matrix: with proj_size Paddle's names of a whole LSTM stand over other tensors; save those of its \
             cells, such as lstm.0.cell.weight_ih, which state_dict() has too",
            clipped(name)
        ));
    }
    linear_layers(named, is_paddle, read)?;
    Ok(is_paddle)
}

fn leaf(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// A cell such as `lstm.0.cell_fw`.
struct Cell {
    module: String,
    /// What it would be a layer of.
    lstm: String,
    /// What the names of its tensors would end in.
    end: String,
}

fn cells(named: &Named) -> Vec<Cell> {
    let mut cells = Vec::new();
    for name in named.keys() {
        let Some(module) = name.strip_suffix(".weight_ih") else { continue };
        let Some((layer, kind)) = module.rsplit_once('.') else { continue };
        let reverse = match kind {
            "cell" | "cell_fw" => "",
            "cell_bw" => "_reverse",
            _ => continue,
        };
        let (lstm, number) = layer.rsplit_once('.').unwrap_or(("", layer));
        if number.parse::<u32>().is_ok() {
            let end = format!("l{number}{reverse}");
            cells.push(Cell { module: module.to_owned(), lstm: lstm.to_owned(), end });
        }
    }
    cells
}

/// Two cells `cell_fw` and `cell_bw` of a `BiRNN` are one layer.
fn both_directions(named: &mut Named, read: &mut Read) {
    let modules: Vec<String> = named
        .keys()
        .filter_map(|name| name.strip_suffix("cell_bw.weight_ih"))
        .map(|module| module.trim_end_matches('.').to_owned())
        .filter(|module| named.contains_key(&joined(module, "cell_fw.weight_ih")))
        .collect();
    for module in modules {
        for (cell, end) in [("cell_fw", "l0"), ("cell_bw", "l0_reverse")] {
            for name in ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"] {
                let from = joined(&module, &format!("{cell}.{name}"));
                let Some(array) = named.remove(&from) else { continue };
                named.insert(joined(&module, &format!("{name}_{end}")), array);
            }
        }
        read.converted.push(format!("{}: both directions, by their names", clipped(&module)));
    }
}

/// Turns weights `[in, out]`, which a bias `[out]` tells where both sizes differ.
fn linear_layers(named: &mut Named, is_paddle: bool, read: &mut Read) -> Said<()> {
    // Matrices with a bias as long as their columns; whether also as long as their rows.
    let mut columns = Vec::new();
    let mut without = Vec::new();
    for (name, array) in named.iter() {
        let Some(module) = name.strip_suffix(".weight") else { continue };
        match (array.shape(), named.get(&format!("{module}.bias"))) {
            (&[rows, width], Some(bias)) if *bias.shape() == [width] => {
                columns.push((name.clone(), rows == width));
            }
            (&[rows, width], None) => without.push((name.clone(), rows, width)),
            _ => {}
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
    if is_paddle {
        // Without a bias it may be an embedding, which stays as it is: that one is as wide as what an LSTM reads.
        let (reads, gives) = widths(named);
        for (name, rows, width) in without {
            match (reads.contains(&width), gives.contains(&rows)) {
                (false, true) => columns.push((name, false)),
                (true, true) => {
                    let problem = format!(
                        "{} [{rows}, {width}] may be an embedding or a linear layer without a bias",
                        clipped(&name)
                    );
                    read.no_forecaster.get_or_insert(problem);
                }
                _ => {}
            }
        }
    }
    if !seen && !is_paddle || columns.is_empty() {
        return Ok(());
    }
    for (name, _) in &columns {
        if let Some(array) = named.get_mut(name) {
            *array = transposed(array)?;
        }
    }
    let names = some(columns.iter().map(|(name, _)| name.as_str()));
    read.converted.push(format!("[in, out] transposed: {names}"));
    Ok(())
}

/// How wide what the LSTMs read is, and what they give.
fn widths(named: &Named) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let (mut reads, mut gives) = (BTreeSet::new(), BTreeSet::new());
    for (name, array) in named {
        let &[_, width] = array.shape() else { continue };
        let last = leaf(name);
        if last.starts_with("weight_ih") {
            reads.insert(width);
        } else if last.starts_with("weight_hh") {
            let both = named.contains_key(&format!("{name}_reverse"));
            gives.insert(if both { 2 * width } else { width });
        }
    }
    (reads, gives)
}
