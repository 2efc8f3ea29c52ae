//! Named tensors in a safetensors file.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::StateDict;
use super::replace::replace;
use crate::error::{Error, Result};
use crate::tensor::Array;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The tensors, by name.
    pub tensors: StateDict,
    /// The texts that came with them.
    pub metadata: HashMap<String, String>,
}

/// Writes tensors as F32, in the [format](https://huggingface.co/docs/safetensors) that PyTorch's
/// `safetensors.torch.load_file` reads.
///
/// The file is written under a temporary name beside `path`, `.name.XXXXXX.tmp`, and then renamed:
/// whoever reads finds the old one or the new one, whole, also where a process was killed on the way. What
/// such a process has left is removed when the file is written next.
///
/// # Errors
/// [`Error::Io`] where the file can't be written; [`Error::Value`] with every name that stands
/// twice or that the format keeps for itself.
pub fn write(
    path: impl AsRef<Path>,
    tensors: &[(String, Array)],
    metadata: &HashMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let mut seen = HashSet::from(["__metadata__"]);
    let refused: Vec<&str> =
        tensors.iter().map(|(name, _)| name.as_str()).filter(|name| !seen.insert(name)).collect();
    if !refused.is_empty() {
        return Err(Error::Value {
            operation: "checkpoint::write",
            name: "the tensors' names".to_owned(),
            expected: "different, and none `__metadata__`".to_owned(),
            got: refused.join(", "),
        });
    }

    let io = |source| Error::Io { path: path.to_owned(), source };
    let bytes: Vec<(&String, &Array, Vec<u8>)> = tensors
        .iter()
        .map(|(name, array)| {
            (name, array, array.data().iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let refused = |e: safetensors::SafeTensorError| io(std::io::Error::other(e));
    let views = bytes
        .iter()
        .map(|(name, array, bytes)| {
            Ok((
                *name,
                TensorView::new(Dtype::F32, array.shape().to_vec(), bytes).map_err(refused)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let file = safetensors::serialize(views, Some(metadata.clone())).map_err(refused)?;
    replace(path, &file).map_err(io)
}

/// Reads every tensor of a file, in the order of their names. F16 and BF16 become f32, which holds
/// each of their values exactly.
///
/// A tensor of PyTorch without dimensions has the shape `[]` and one element. NaN and infinities
/// are read as they are.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] where the file isn't whole, and with every tensor of
/// another type or without elements.
pub fn read(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref();
    let bytes =
        std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let refused = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
    let unreadable = |e: safetensors::SafeTensorError| {
        refused(format!("it is cut short or not a safetensors file ({e})"))
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(unreadable)?;
    let file = SafeTensors::deserialize(&bytes).map_err(unreadable)?;
    let mut views: Vec<(&str, TensorView<'_>)> = file.iter().collect();
    views.sort_unstable_by_key(|(name, _)| *name);
    let mut tensors = Vec::new();
    let mut problems = Vec::new();
    for (name, view) in views {
        let Some(values) = values(&view) else {
            problems.push(format!("{name} is {:?}, only F32, F16 and BF16 are read", view.dtype()));
            continue;
        };
        match Array::new(values, view.shape()) {
            Ok(array) => tensors.push((name.to_owned(), array)),
            Err(_) => problems.push(format!("{name} has shape {:?}", view.shape())),
        }
    }
    if !problems.is_empty() {
        return Err(refused(problems.join("; ")));
    }
    Ok(Checkpoint { tensors, metadata: header.metadata().clone().unwrap_or_default() })
}

/// The elements, where their type is read. The bytes may stand at any address.
fn values(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let pairs = || view.data().chunks_exact(2).map(|b| [b[0], b[1]]);
    let fours = || view.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
    match view.dtype() {
        Dtype::F32 => Some(fours().map(f32::from_le_bytes).collect()),
        Dtype::F16 => Some(pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}
