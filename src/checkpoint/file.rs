//! Named tensors in a safetensors file.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype as Known;

use super::header::{Dtype, Entry, Header, MAX_DIMENSIONS, MAX_TEXTS, METADATA, Written};
use super::replace::replace;
use super::{StateDict, dotted, kind};
use crate::error::{Error, Result, open};
use crate::tensor::Array;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The tensors of numbers, by name.
    pub tensors: StateDict,
    /// The texts that came with them.
    pub metadata: HashMap<String, String>,
    /// The other tensors: what they are, without their elements.
    pub left_out: Vec<LeftOut>,
    /// The names of the tensors that are F64 in the file, each element of which was rounded to f32.
    pub rounded: Vec<String>,
}

impl From<StateDict> for Checkpoint {
    /// Tensors alone.
    fn from(tensors: StateDict) -> Checkpoint {
        Checkpoint { tensors, ..Checkpoint::default() }
    }
}

impl Checkpoint {
    /// The part of it whose names start with `prefix`, without that, as
    /// [`with_prefix`](super::with_prefix) takes it out of tensors. The metadata are the whole's, and stay
    /// with it.
    pub fn with_prefix(&self, prefix: &str) -> Checkpoint {
        let names = self.names().chain(self.left_out.iter().map(|left| left.name.as_str()));
        let prefix = &*dotted(prefix, names);
        let stripped = |name: &str| name.strip_prefix(prefix).map(str::to_owned);
        let left = |left: &LeftOut| Some(LeftOut { name: stripped(&left.name)?, ..left.clone() });
        let tensor = |(name, array): &(String, Array)| Some((stripped(name)?, array.clone()));
        Checkpoint {
            tensors: self.tensors.iter().filter_map(tensor).collect(),
            metadata: HashMap::new(),
            left_out: self.left_out.iter().filter_map(left).collect(),
            rounded: self.rounded.iter().filter_map(|name| stripped(name)).collect(),
        }
    }

    /// The names of the tensors that were read.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(name, _)| name.as_str())
    }
}

/// A tensor of a file that isn't among those that were read.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// The type of its elements, as the format calls it, such as `I64`.
    pub dtype: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Why it wasn't read.
    pub reason: Reason,
}

/// Why a tensor wasn't read.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Its elements aren't F32, F16, BF16 or F64.
    Type,
    /// It has no elements.
    Empty,
    /// An element is an f64 that is finite and too large for f32.
    TooLarge {
        /// The first such element's place.
        element: usize,
        /// The element.
        value: f64,
    },
    /// Nobody asked for it.
    NotAsked,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeftOut { name, dtype, shape, reason } = self;
        match reason {
            Reason::Type => {
                write!(f, "{name} {shape:?} is {dtype}, and weights are F32, F16, BF16 or F64")
            }
            Reason::Empty => write!(f, "{name} {shape:?} has no elements"),
            Reason::TooLarge { element, value } => {
                write!(f, "{name} {shape:?} has {value:e} at element {element}, too large for f32")
            }
            Reason::NotAsked => write!(f, "{name} {shape:?} wasn't asked for"),
        }
    }
}

/// Writes tensors as F32, in the [format](https://huggingface.co/docs/safetensors) that PyTorch's
/// `safetensors.torch.load_file` reads. The same tensors and texts are the same bytes every time: both stand
/// in the order of their names.
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
/// metadata, or a shape of more than 64 sizes, and names and texts of more than 100 MB.
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
    // By name, whatever order they are given in: one model is one file.
    let mut sorted: Vec<(&str, &Array)> =
        tensors.iter().map(|(name, array)| (name.as_str(), array)).collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    let header = serde_json::to_vec(&Written { tensors: &sorted, metadata });
    let mut header = header.map_err(|e| failed(e.into()))?;
    // What follows is aligned.
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    if header.len() as u64 > MAX_HEADER {
        let expected = format!("short enough for a header of {MAX_HEADER} bytes");
        return refused("names, shapes and metadata", expected, format!("{} bytes", header.len()));
    }
    let elements: usize = sorted.iter().map(|(_, array)| array.data().len()).sum();
    let bytes = LENGTH + header.len() + 4 * elements;
    let mut file = room(bytes, || "the file's bytes".to_owned()).map_err(failed)?;
    file.extend((header.len() as u64).to_le_bytes());
    file.append(&mut header);
    for (_, array) in sorted {
        file.extend(array.data().iter().flat_map(|v| v.to_le_bytes()));
    }
    replace(path, &file).map_err(failed)
}

/// Bytes of the number that says how long the header is.
const LENGTH: usize = 8;

/// Bytes of a header, at most: the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Elements that are read at a time.
const CHUNK: usize = 1 << 14;

/// Reads the tensors of a file, in the order of their names. F16 and BF16 become f32, which holds
/// each of their values exactly, and F64 is rounded to it.
///
/// A tensor of PyTorch without dimensions has the shape `[]` and one element. NaN and infinities
/// are read as they are. Tensors of another type, such as `num_batches_tracked`, those without elements
/// and those whose numbers f32 doesn't hold are [left out](Checkpoint::left_out): whoever needs one of them
/// says so.
///
/// The file may come from anybody: what it claims is checked before memory is taken for it. A call holds
/// at most eight times the file's bytes and 4 MiB.
///
/// # Errors
/// [`Error::Io`], also for what isn't a regular file, and where there is no memory for a tensor (of the
/// kind [`OutOfMemory`](io::ErrorKind::OutOfMemory)); [`Error::Checkpoint`] where the file isn't whole,
/// where it is of another kind, with what it is, where a name stands twice or tensors overlap, and for more
/// than 16,384 entries of metadata.
pub fn read(path: impl AsRef<Path>) -> Result<Checkpoint> {
    read_part(path, |_| true)
}

/// As [`read`], of the tensors alone whose names are `wanted`: the others cost neither time nor memory, and
/// are [left out](Checkpoint::left_out).
///
/// ```no_run
/// use gatefold::checkpoint;
/// let file = checkpoint::read_part("model.safetensors", |name| name.starts_with("encoder.lstm."))?;
/// # Ok::<(), gatefold::Error>(())
/// ```
///
/// # Errors
/// As [`read`].
pub fn read_part(path: impl AsRef<Path>, wanted: impl FnMut(&str) -> bool) -> Result<Checkpoint> {
    let path = path.as_ref();
    let (file, len) = open(path)?;
    read_from(path, BufReader::with_capacity(4 * CHUNK, file), len, wanted)
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
    read_from(path.as_ref(), Cursor::new(bytes), bytes.len() as u64, |_| true)
}

/// Reads a file of `len` bytes.
fn read_from(
    path: &Path,
    mut reader: impl Read + Seek,
    len: u64,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<Checkpoint> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let refused = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
    let unreadable =
        |problem: String| refused(format!("it is cut short or not a safetensors file ({problem})"));
    let text = match header(&mut reader, len).map_err(failed)? {
        Ok(text) => text,
        Err(problem) => {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            let kind = kind::of(&mut reader, len, &name).map_err(failed)?;
            return Err(kind.map_or_else(|| unreadable(problem), refused));
        }
    };
    let data = len - (LENGTH + text.len()) as u64;
    let Header { tensors: mut entries, metadata } =
        Header::parse(&text, data).map_err(unreadable)?;
    drop(text);

    // As they stand in the file.
    entries.sort_by_key(|entry| entry.bytes);
    let mut file = Checkpoint { metadata, ..Checkpoint::default() };
    for Entry { name, dtype, shape, bytes: (start, end) } in entries {
        let count = shape.iter().product();
        let reason = match dtype.read() {
            _ if !wanted(&name) => Reason::NotAsked,
            None => Reason::Type,
            Some(_) if count == 0 => Reason::Empty,
            Some(width) => {
                match values(&mut reader, &name, &dtype, width, count).map_err(failed)? {
                    Ok(values) => {
                        if dtype == Dtype::Known(Known::F64) {
                            file.rounded.push(name.clone());
                        }
                        file.tensors.push((name, Array::new(values, &shape)?));
                        continue;
                    }
                    Err(reason) => reason,
                }
            }
        };
        if !matches!(reason, Reason::TooLarge { .. }) {
            // Less than the file has, and a file has at most so many.
            reader.seek_relative((end - start) as i64).map_err(failed)?;
        }
        file.left_out.push(LeftOut { name, dtype: dtype.to_string(), shape, reason });
    }
    file.tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    file.left_out.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    file.rounded.sort_unstable();
    Ok(file)
}

/// Takes the header off, where the file can have one: where it says how long it is, within the file and
/// the format's limit, and begins as one.
fn header(reader: &mut impl Read, len: u64) -> io::Result<std::result::Result<Vec<u8>, String>> {
    let mut said = [0; LENGTH];
    let Some(rest) = len.checked_sub(LENGTH as u64) else {
        return Ok(Err(format!("it has {len} bytes")));
    };
    reader.read_exact(&mut said)?;
    let said = u64::from_le_bytes(said);
    let most = rest.min(MAX_HEADER);
    if said > most {
        return Ok(Err(format!("it claims a header of {said} bytes, of at most {most}")));
    }
    let mut text = room(said as usize, || "the header".to_owned())?;
    text.resize(said as usize, 0);
    reader.read_exact(&mut text)?;
    match text.first() {
        Some(b'{') => Ok(Ok(text)),
        _ => Ok(Err("its header isn't a JSON object".to_owned())),
    }
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

/// The elements that bytes of this machine's order are, of a tensor of F32, F16, BF16 or F64; or why they can't
/// be f32.
#[cfg(any(feature = "import-npz", feature = "import-pytorch"))]
pub(crate) fn floats(
    name: &str,
    dtype: &str,
    mut bytes: Vec<u8>,
) -> std::result::Result<Vec<f32>, Reason> {
    let (dtype, width) = match dtype {
        "F16" => (Known::F16, 2),
        "BF16" => (Known::BF16, 2),
        "F64" => (Known::F64, 8),
        _ => (Known::F32, 4),
    };
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    let count = bytes.len() / width;
    // Bytes that are there can be read.
    values(&mut &*bytes, name, &Dtype::Known(dtype), width, count).unwrap_or(Err(Reason::Type))
}

/// The next elements of a file, those of a tensor, `width` bytes each; or why they can't be read as f32.
fn values(
    reader: &mut impl Read,
    name: &str,
    dtype: &Dtype,
    width: usize,
    count: usize,
) -> io::Result<std::result::Result<Vec<f32>, Reason>> {
    let mut bytes = vec![0; width * count.min(CHUNK)];
    let mut values: Vec<f32> = room(count, || format!("{name}, {count} elements"))?;
    let mut too_large = None;
    while values.len() < count {
        let part = &mut bytes[..width * (count - values.len()).min(CHUNK)];
        reader.read_exact(part)?;
        match dtype {
            Dtype::Known(Known::F16) => {
                values.extend(elements(part, |b| f16::from_le_bytes(b).to_f32()))
            }
            Dtype::Known(Known::BF16) => {
                values.extend(elements(part, |b| bf16::from_le_bytes(b).to_f32()))
            }
            Dtype::Known(Known::F64) => {
                for value in elements(part, f64::from_le_bytes) {
                    let rounded = value as f32;
                    if rounded.is_infinite() && value.is_finite() {
                        too_large.get_or_insert(Reason::TooLarge { element: values.len(), value });
                    }
                    values.push(rounded);
                }
            }
            _ => values.extend(elements(part, f32::from_le_bytes)),
        }
    }
    Ok(too_large.map_or(Ok(values), Err))
}

/// The elements that bytes are, `N` each.
fn elements<const N: usize, T>(
    bytes: &[u8],
    from: impl Fn([u8; N]) -> T,
) -> impl Iterator<Item = T> {
    bytes.as_chunks::<N>().0.iter().map(move |&bytes| from(bytes))
}
