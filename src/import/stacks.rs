//! Cells that are the layers and directions of one LSTM, by what libraries call them.

use std::collections::BTreeMap;

use super::cells::Convention;
use super::library::Library;
use crate::checkpoint::StateDict;
use crate::tensor::Array;

/// A cell that was found: its module, whose it is, and its tensors under PyTorch's names without an end.
pub(super) struct Found {
    pub(super) module: String,
    pub(super) convention: &'static Convention,
    pub(super) tensors: StateDict,
}

/// The cells as LSTMs.
#[derive(Default)]
pub(super) struct Stacks {
    pub(super) tensors: StateDict,
    /// Those that go through a sequence from its end, and aren't half of another one.
    pub(super) backward: Vec<String>,
}

/// Where a cell stands in its LSTM.
struct Place {
    lstm: String,
    /// What has to be the same of cells of one LSTM besides.
    rest: String,
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
        let named = |end: usize| parts[..end].join(".");
        match library {
            Library::Tensorflow1 => {
                let direction = parts.iter().rposition(|part| ["fw", "bw"].contains(part));
                let reverse = direction.is_some_and(|d| parts[d] == "bw");
                let multi = at("multi_rnn_cell").filter(|m| m + 2 < parts.len());
                let stack = at("stack_bidirectional_rnn").filter(|s| s + 2 < parts.len());
                // One kind of cell alone is in an LSTM.
                let rest = parts.last().map(|part| (*part).to_owned()).unwrap_or_default();
                Some(match (direction, multi, stack) {
                    // Of a bidirectional stack each layer reads both directions of the one below.
                    (Some(_), None, Some(s)) => {
                        Place { lstm: named(s + 1), rest, layer: number(parts[s + 1])?, reverse }
                    }
                    // A stack in each direction, of which neither reads the other, isn't one of PyTorch's.
                    (_, Some(m), None) => {
                        Place { lstm: named(m + 1), rest, layer: number(parts[m + 1])?, reverse }
                    }
                    (Some(d), None, None) => Place { lstm: named(d), rest, layer: 0, reverse },
                    _ => return None,
                })
            }
            Library::Keras | Library::Flax => {
                let way = |part: &&str| {
                    let forward =
                        part.strip_prefix("forward_").map(|rest| (rest.to_owned(), false));
                    forward.or_else(|| Some((part.strip_prefix("backward_")?.to_owned(), true)))
                };
                let n = parts.iter().position(|part| way(part).is_some())?;
                let (plain, reverse) = way(&parts[n])?;
                let rest = [vec![plain.as_str()], parts[n + 1..].to_vec()].concat().join(".");
                Some(Place { lstm: named(n), rest, layer: 0, reverse })
            }
            _ => None,
        }
    }
}

/// The cells as LSTMs: those whose names say that they belong together and whose sizes let them as one, the others
/// each alone.
pub(super) fn stacks(found: Vec<Found>) -> Stacks {
    let mut groups = BTreeMap::<(String, Option<bool>), Vec<(Place, Found)>>::new();
    let mut made = Stacks::default();
    for cell in found {
        match Place::of(&cell.module, cell.convention.library) {
            // A stack in each direction is two.
            Some(place) if cell.module.contains("multi_rnn_cell") => {
                let key = (place.lstm.clone(), Some(place.reverse));
                groups.entry(key).or_default().push((place, cell));
            }
            Some(place) => {
                groups.entry((place.lstm.clone(), None)).or_default().push((place, cell))
            }
            None => made.alone(cell, false),
        }
    }
    for ((lstm, way), mut cells) in groups {
        cells.sort_by_key(|(place, _)| (place.layer, place.reverse));
        if !is_stack(&cells, way.is_some()) {
            cells.into_iter().for_each(|(place, cell)| made.alone(cell, place.reverse));
            continue;
        }
        if way == Some(true) {
            made.backward.push(lstm.clone());
        }
        for (Place { layer, reverse, .. }, cell) in cells {
            let end = if reverse && way.is_none() { "_reverse" } else { "" };
            made.under(&lstm, &format!("_l{layer}{end}"), cell.tensors);
        }
    }
    made
}

impl Stacks {
    fn alone(&mut self, cell: Found, reverse: bool) {
        if reverse {
            self.backward.push(cell.module.clone());
        }
        self.under(&cell.module, "_l0", cell.tensors);
    }

    fn under(&mut self, module: &str, end: &str, tensors: StateDict) {
        let dot = if module.is_empty() { "" } else { "." };
        let named = |(name, array): (String, Array)| (format!("{module}{dot}{name}{end}"), array);
        self.tensors.extend(tensors.into_iter().map(named));
    }
}

/// A tensor's name and its sizes.
type Shaped = (String, Vec<usize>);

/// Whether cells, in the order of layers, are those of one LSTM: none missing or twice, of the same tensors and sizes,
/// each reading what the one below gives. `one_way`: all in one direction, whichever.
fn is_stack(cells: &[(Place, Found)], one_way: bool) -> bool {
    let both = !one_way && cells.iter().any(|(place, _)| place.reverse);
    let directions = if both { 2 } else { 1 };
    let layers = cells.iter().map(|(place, _)| place.layer).max().map_or(0, |last| last + 1);
    let whole = cells.iter().enumerate().all(|(n, (place, _))| {
        let reverse = if one_way { 0 } else { usize::from(place.reverse) };
        (place.layer, reverse) == (n / directions, n % directions)
    });
    // One cell of two directions, or of a stack, is none of these.
    if !whole || cells.len() != directions * layers || cells.len() < 2 && !one_way {
        return false;
    }
    let shapes = |cell: &Found| -> Vec<Shaped> {
        let shape = |(name, array): &(String, Array)| (name.clone(), array.shape().to_vec());
        cell.tensors.iter().map(shape).collect()
    };
    let Some((place, first)) = cells.first().map(|(place, cell)| (place, shapes(cell))) else {
        return false;
    };
    // The width of the state: R of `weight_hh [4H, R]`.
    let state = first.iter().find(|(name, _)| name == "weight_hh").map_or(0, |(_, shape)| shape[1]);
    cells.iter().all(|(other, cell)| {
        let fits = |(own, first): (&Shaped, &Shaped)| {
            let rows = first.1[0];
            let input =
                if other.layer == 0 { first.1[first.1.len() - 1] } else { directions * state };
            own.0 == first.0
                && match own.0.as_str() {
                    "weight_ih" => own.1 == [rows, input],
                    _ => own.1 == first.1,
                }
        };
        let own = shapes(cell);
        other.rest == place.rest && own.len() == first.len() && own.iter().zip(&first).all(fits)
    })
}
