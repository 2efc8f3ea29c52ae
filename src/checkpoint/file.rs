//! Named tensors in a safetensors file.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, Read};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::TensorView;

use super::StateDict;
use super::header::{Dtype, Entry, Header, MAX_DIMENSIONS, MAX_TEXTS, METADATA};
use super::replace::replace;
use crate::error::{Error, Result, open};
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
/// such a process has left is removed when the file is written next. A symbolic link stays one: what it leads
/// to is replaced, or the link itself where that isn't there. On Unix the new file can be read and written by
/// whom the old one could; its owner is who writes.
///
/// # Errors
/// [`Error::Io`] where the file can't be written, or something that is no regular file stands there;
/// [`Error::Value`] with every name that stands
/// twice or that the format keeps for itself, and for what [`read`] refuses: more than 16,384 entries of
/// metadata, or a shape of more than 64 sizes.
pub fn write(
    path: impl AsRef<Path>,
    tensors: &[(String, Array)],
    metadata: &HashMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let refused = |name: &str, expected: String, got: String| {
        Err(Error::Value { operation: "checkpoint::write", name: name.to_owned(), expected, got })
    };
    let mut seen = HashSet::from([METADATA]);
    let names: Vec<&str> =
        tensors.iter().map(|(name, _)| name.as_str()).filter(|name| !seen.insert(name)).collect();
    if !names.is_empty() {
        let expected = format!("different, and none `{METADATA}`");
        return refused("the tensors' names", expected, names.join(", "));
    }
    if metadata.len() > MAX_TEXTS {
        let expected = format!("of at most {MAX_TEXTS} entries");
        return refused("the metadata", expected, metadata.len().to_string());
    }
    let large = |(_, array): &&(String, Array)| array.shape().len() > MAX_DIMENSIONS;
    if let Some((name, array)) = tensors.iter().find(large) {
        let expected = format!("at most {MAX_DIMENSIONS}");
        return refused(&format!("the sizes of {name}"), expected, array.shape().len().to_string());
    }

    let failed = |source| Error::Io { path: path.to_owned(), source };
    let bytes: Vec<(&String, &Array, Vec<u8>)> = tensors
        .iter()
        .map(|(name, array)| {
            (name, array, array.data().iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let refused = |e: safetensors::SafeTensorError| failed(io::Error::other(e));
    let views = bytes
        .iter()
        .map(|(name, array, bytes)| {
            Ok((
                *name,
                TensorView::new(safetensors::Dtype::F32, array.shape().to_vec(), bytes)
                    .map_err(refused)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let file = safetensors::serialize(views, Some(metadata.clone())).map_err(refused)?;
    replace(path, &file).map_err(failed)
}

/// Bytes of a header, at most: the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Elements that are read at a time.
const CHUNK: usize = 1 << 14;

/// Reads every tensor of a file, in the order of their names. F16 and BF16 become f32, which holds
/// each of their values exactly.
///
/// A tensor of PyTorch without dimensions has the shape `[]` and one element. NaN and infinities
/// are read as they are.
///
/// The file may come from anybody: what it claims is checked before memory is taken for it. A call holds
/// at most eight times the file's bytes and 4 MiB.
///
/// # Errors
/// [`Error::Io`], also for what isn't a regular file, and where there is no memory for a tensor (of the
/// kind [`OutOfMemory`](io::ErrorKind::OutOfMemory)); [`Error::Checkpoint`] where the file isn't whole,
/// where a name stands twice or tensors overlap, for more than 16,384 entries of metadata, and with every
/// tensor of another type or without elements.
pub fn read(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref();
    let (file, len) = open(path)?;
    read_from(path, BufReader::with_capacity(4 * CHUNK, file), len)
}

/// Reads the bytes of a file, such as those of `include_bytes!`; `path` is what errors call it.
///
/// ```
/// use gatefold::checkpoint;
/// let file = *b"\x08\0\0\0\0\0\0\0{}      ";
/// assert!(checkpoint::parse("model.safetensors", &file)?.tensors.is_empty());
/// assert!(checkpoint::parse("model.safetensors", &file[..9]).is_err());
/// # Ok::<(), gatefold::Error>(())
/// ```
///
/// # Errors
/// As [`read`].
pub fn parse(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Checkpoint> {
    read_from(path.as_ref(), bytes, bytes.len() as u64)
}

/// Reads a file of `len` bytes.
fn read_from(path: &Path, mut reader: impl Read, len: u64) -> Result<Checkpoint> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let refused = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
    let unreadable =
        |problem: String| refused(format!("it is cut short or not a safetensors file ({problem})"));
    let mut said = [0; 8];
    let Some(rest) = len.checked_sub(said.len() as u64) else {
        return Err(unreadable(format!("it has {len} bytes")));
    };
    reader.read_exact(&mut said).map_err(failed)?;
    let said = u64::from_le_bytes(said);
    if said > rest.min(MAX_HEADER) {
        let most = rest.min(MAX_HEADER);
        return Err(unreadable(format!("it claims a header of {said} bytes, of at most {most}")));
    }
    let mut text = room(said as usize, || "the header".to_owned()).map_err(failed)?;
    text.resize(said as usize, 0);
    reader.read_exact(&mut text).map_err(failed)?;
    let Header { tensors: mut entries, metadata } =
        Header::parse(&text, rest - said).map_err(unreadable)?;
    drop(text);

    let problem = |Entry { name, dtype, shape, .. }: &Entry| match dtype {
        Dtype::Other(dtype) => Some(format!("{name} is {dtype}, only F32, F16 and BF16 are read")),
        _ => shape.contains(&0).then(|| format!("{name} has shape {shape:?}")),
    };
    let problems: Vec<String> = entries.iter().filter_map(problem).collect();
    if !problems.is_empty() {
        return Err(refused(problems.join("; ")));
    }
    // As they stand in the file.
    entries.sort_by_key(|entry| entry.bytes);
    let mut tensors = Vec::with_capacity(entries.len());
    for Entry { name, dtype, shape, .. } in entries {
        let values = values(&mut reader, &name, &dtype, shape.iter().product()).map_err(failed)?;
        tensors.push((name, Array::new(values, &shape)?));
    }
    tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Checkpoint { tensors, metadata })
}

/// A vector with room for what a file holds, where there is memory for it: a file may be larger than that
/// and, with holes, take next to nothing of a disk.
fn room<T>(len: usize, what: impl Fn() -> String) -> io::Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| {
        let problem = format!("no memory for {}", what());
        io::Error::new(io::ErrorKind::OutOfMemory, problem)
    })?;
    Ok(values)
}

/// The next elements of a file, those of a tensor.
fn values(reader: &mut impl Read, name: &str, dtype: &Dtype, count: usize) -> io::Result<Vec<f32>> {
    let width = if *dtype == Dtype::F32 { 4 } else { 2 };
    let mut bytes = vec![0; width * count.min(CHUNK)];
    let mut values = room(count, || format!("{name}, {count} elements"))?;
    while values.len() < count {
        let part = &mut bytes[..width * (count - values.len()).min(CHUNK)];
        reader.read_exact(part)?;
        let pairs = part.chunks_exact(2).map(|b| [b[0], b[1]]);
        let fours = part.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
        match dtype {
            Dtype::F16 => values.extend(pairs.map(|b| f16::from_le_bytes(b).to_f32())),
            Dtype::Bf16 => values.extend(pairs.map(|b| bf16::from_le_bytes(b).to_f32())),
            _ => values.extend(fours.map(f32::from_le_bytes)),
        }
    }
    Ok(values)
}
