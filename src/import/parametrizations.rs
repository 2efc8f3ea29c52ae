//! Weights that a module computes from other tensors: weight norm, spectral norm, pruning, DropConnect.

use std::collections::BTreeMap;

use crate::checkpoint::StateDict;
use crate::tensor::Array;

/// A kind of parametrization: what it is called, and the endings of the tensors that it keeps in the place of
/// one, of whose name something else stands in between.
struct Kind {
    said: &'static str,
    /// The name of the tensor that is computed, from the name of the first that is kept.
    of: fn(&str) -> Option<String>,
    /// The names of all that are kept, from that.
    kept: fn(&str) -> Vec<String>,
    /// What is computed.
    value: fn(&[&Array]) -> Option<Array>,
}

/// In the order in which they are tried: of what begins alike, the longer first.
const KINDS: [Kind; 6] = [
    Kind {
        said: "weight norm (parametrizations)",
        of: |name| parametrized(name, "original1"),
        kept: |name| vec![inside(name, "original0"), inside(name, "original1")],
        value: |kept| weight_norm(kept[0], kept[1]),
    },
    Kind {
        said: "spectral norm (parametrizations)",
        of: |name| parametrized(name, "original"),
        kept: |name| ["original", "0._u", "0._v"].map(|part| inside(name, part)).into(),
        value: |kept| spectral_norm(kept[0], kept[1], kept[2]),
    },
    Kind {
        said: "weight norm",
        of: |name| name.strip_suffix("_v").filter(|name| is_weight(name)).map(str::to_owned),
        kept: |name| ["_g", "_v"].map(|ending| format!("{name}{ending}")).into(),
        value: |kept| weight_norm(kept[0], kept[1]),
    },
    Kind {
        said: "pruning",
        of: |name| name.strip_suffix("_orig").map(str::to_owned),
        kept: |name| ["_orig", "_mask"].map(|ending| format!("{name}{ending}")).into(),
        value: |kept| pruned(kept[0], kept[1]),
    },
    Kind {
        said: "spectral norm",
        of: |name| name.strip_suffix("_orig").map(str::to_owned),
        kept: |name| ["_orig", "_u", "_v"].map(|ending| format!("{name}{ending}")).into(),
        value: |kept| spectral_norm(kept[0], kept[1], kept[2]),
    },
    Kind {
        // The wrapper keeps the weight, and the module inside of it a copy of which some was dropped.
        said: "DropConnect of AWD-LSTM",
        of: |name| {
            let name = name.strip_suffix("_raw").filter(|name| is_weight(name))?;
            let (module, kind) = name.rsplit_once('.').unwrap_or(("", name));
            let module = if module.is_empty() { String::new() } else { format!("{module}.") };
            Some(format!("{module}module.{kind}"))
        },
        kept: |name| {
            let at = name.rfind("module.").unwrap_or(0);
            let rest = name[at..].strip_prefix("module.").unwrap_or(name);
            vec![format!("{}{rest}_raw", &name[..at])]
        },
        value: |kept| Some(kept[0].clone()),
    },
];

/// Computes weights from what modules keep in their place, and says of how many; an error for a
/// parametrization that isn't known.
pub(super) fn undone(tensors: StateDict, converted: &mut Vec<String>) -> Result<StateDict, String> {
    let mut tensors: BTreeMap<String, Array> = tensors.into_iter().collect();
    for kind in &KINDS {
        let names: Vec<String> = tensors.keys().filter_map(|name| (kind.of)(name)).collect();
        let mut done = Vec::new();
        for name in names {
            let kept = (kind.kept)(&name);
            let found: Option<Vec<&Array>> = kept.iter().map(|kept| tensors.get(kept)).collect();
            let Some(found) = found else { continue };
            let value = (kind.value)(&found).ok_or_else(|| {
                let shapes: Vec<String> =
                    found.iter().map(|a| format!("{:?}", a.shape())).collect();
                format!("{}: shapes {} don't go together", kept.join(", "), shapes.join(", "))
            })?;
            for kept in &kept {
                tensors.remove(kept);
            }
            tensors.insert(name.clone(), value);
            done.push(name);
        }
        if !done.is_empty() {
            let names = super::some(done.iter().map(String::as_str));
            converted.push(format!("{} undone: {names}", kind.said));
        }
    }
    match tensors.keys().find(|name| name.contains("parametrizations.")) {
        None => Ok(tensors.into_iter().collect()),
        Some(name) => Err(format!(
            "{name} is of a parametrization that isn't known here: in PyTorch, \
             torch.nn.utils.parametrize.remove_parametrizations(module, name) and save again"
        )),
    }
}

/// Whether a name is a weight's, of which a module has others beside it.
fn is_weight(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.starts_with("weight"))
}

/// `lstm.weight_hh_l0` of `lstm.parametrizations.weight_hh_l0.original1`.
fn parametrized(name: &str, part: &str) -> Option<String> {
    let rest = name.strip_suffix(part)?.strip_suffix('.')?;
    let (module, kind) = rest.rsplit_once("parametrizations.")?;
    (!kind.contains('.')).then(|| format!("{module}{kind}"))
}

/// The reverse of it.
fn inside(name: &str, part: &str) -> String {
    let (module, kind) = name.rsplit_once('.').unwrap_or(("", name));
    let module = if module.is_empty() { String::new() } else { format!("{module}.") };
    format!("{module}parametrizations.{kind}.{part}")
}

/// `g v / |v|` (Salimans and Kingma, 2016), where the norm is over all dimensions but that of `g`, or over all.
fn weight_norm(g: &Array, v: &Array) -> Option<Array> {
    let shape = v.shape();
    let kept = match g.data().len() {
        1 => None,
        len => {
            let wide: Vec<usize> =
                (0..shape.len()).filter(|&d| g.shape().get(d) == Some(&len)).collect();
            let [dim] = *wide else { return None };
            (g.shape().len() == shape.len() && shape[dim] == len).then_some(dim).map(Some)?
        }
    };
    // Of an element, the place of its norm.
    let (len, inner) = match kept {
        None => (1, usize::MAX),
        Some(dim) => (shape[dim], shape[dim + 1..].iter().product::<usize>().max(1)),
    };
    let at = |i: usize| i / inner % len;
    let mut squares = vec![0.0f64; len];
    for (i, &v) in v.data().iter().enumerate() {
        squares[at(i)] += f64::from(v) * f64::from(v);
    }
    let scale = |n: usize| (f64::from(g.data()[n]) / squares[n].sqrt()) as f32;
    let scales: Vec<f32> = (0..len).map(scale).collect();
    let values = v.data().iter().enumerate().map(|(i, &v)| v * scales[at(i)]).collect();
    Array::new(values, shape).ok()
}

/// `W / (u^T W v)` (Miyato et al., 2018), `W` as a matrix of its first dimension, as a module in evaluation has
/// it.
fn spectral_norm(w: &Array, u: &Array, v: &Array) -> Option<Array> {
    let (rows, columns) = (u.data().len(), v.data().len());
    if w.shape().first() != Some(&rows) || rows * columns != w.data().len() {
        return None;
    }
    let row = |row: &[f32]| -> f64 {
        row.iter().zip(v.data()).map(|(w, v)| f64::from(*w) * f64::from(*v)).sum()
    };
    let rows = w.data().chunks(columns.max(1)).zip(u.data());
    let sigma: f64 = rows.map(|(w, u)| row(w) * f64::from(*u)).sum();
    let values = w.data().iter().map(|w| (f64::from(*w) / sigma) as f32).collect();
    Array::new(values, w.shape()).ok()
}

/// The weight where the mask is 1, and 0 elsewhere.
fn pruned(weight: &Array, mask: &Array) -> Option<Array> {
    if weight.shape() != mask.shape() {
        return None;
    }
    let values = weight.data().iter().zip(mask.data()).map(|(w, m)| w * m).collect();
    Array::new(values, weight.shape()).ok()
}
