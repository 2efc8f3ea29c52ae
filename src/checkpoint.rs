//! Named tensors in a safetensors file.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::tensor::Array;

/// What a file holds.
pub(crate) struct Checkpoint {
    pub(crate) tensors: Vec<(String, Array)>,
    pub(crate) metadata: HashMap<String, String>,
}

/// Writes tensors under a temporary name beside `path`, then renames the file: whoever reads
/// finds the old one or the new one.
pub(crate) fn write(
    path: &Path,
    tensors: &[(String, Array)],
    metadata: &HashMap<String, String>,
) -> Result<()> {
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

    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // A temporary file is for its owner alone; this one becomes a file like any other.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder).map_err(io)?;
    temporary.write_all(&file).map_err(io)?;
    temporary.as_file().sync_all().map_err(io)?;
    temporary.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

/// Reads every tensor of a file.
pub(crate) fn read(path: &Path) -> Result<Checkpoint> {
    let bytes =
        std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let refused = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
    let unreadable = |e: safetensors::SafeTensorError| {
        refused(format!("it is cut short or not a safetensors file ({e})"))
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(unreadable)?;
    let file = SafeTensors::deserialize(&bytes).map_err(unreadable)?;
    let mut tensors = Vec::new();
    let mut problems = Vec::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            problems.push(format!("{name} is {:?}, only F32 is read", view.dtype()));
            continue;
        }
        let values =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        match Array::new(values.collect(), view.shape()) {
            Ok(array) => tensors.push((name.to_owned(), array)),
            Err(_) => problems.push(format!("{name} has shape {:?}", view.shape())),
        }
    }
    if !problems.is_empty() {
        return Err(refused(problems.join("; ")));
    }
    Ok(Checkpoint { tensors, metadata: header.metadata().clone().unwrap_or_default() })
}
