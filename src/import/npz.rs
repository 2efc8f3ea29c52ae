//! Archives of NumPy arrays, `.npz`, through the crate `zip`. The header of an array is one line of a fixed form
//! ([NEP 1](https://numpy.org/neps/nep-0001-npy-format.html)); it is read here, since readers of the format take
//! sizes whose product is too large, and nested text of any depth.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use super::{Read, clipped};
use crate::checkpoint::{Checkpoint, LeftOut, Reason, floats};
use crate::error::{Error, Result};
use crate::tensor::Array;

/// What is said of something, or why not.
type Said<T> = std::result::Result<T, String>;

/// How many times an archive's bytes its arrays may take together, and what they may in any case: zeros of an
/// optimizer or of pruning pack well.
const UNPACKED: (u64, u64) = (16, 16 << 20);

/// Bytes of a header, at most.
const MAX_HEADER: u32 = 4096;

/// Sizes of a shape, at most: what NumPy has.
const MAX_DIMENSIONS: usize = 64;

/// Reads the arrays of an archive of `len` bytes.
pub(super) fn read(path: &Path, len: u64) -> Result<Read> {
    let refused = |problem: String| Error::Import { path: path.to_owned(), problem };
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let broken =
        |error: zip::result::ZipError| refused(format!("it isn't a whole archive: {error}"));
    let file = fs::File::open(path).map_err(failed)?;
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    let mut room = len.saturating_mul(UNPACKED.0).saturating_add(UNPACKED.1);
    let mut read = Read::of(Checkpoint::default());
    "an archive of NumPy arrays".clone_into(&mut read.kind);
    for index in 0..archive.len() {
        let name = archive.name_for_index(index).map(|name| name.map(|name| name.into_owned()));
        let name = name.transpose().map_err(broken)?.unwrap_or_default();
        let mut entry = match archive.by_index(index) {
            Ok(entry) => entry,
            Err(error @ zip::result::ZipError::UnsupportedArchive(_)) => {
                read.left_out.push(format!("{}: {error}", clipped(&name)));
                continue;
            }
            Err(error) => return Err(broken(error)),
        };
        let Some(name) = name.strip_suffix(".npy") else {
            read.left_out.push(format!("{}, which is no array", clipped(&name)));
            continue;
        };
        let size = entry.size();
        let problem = match one(name, &mut entry, (size, &mut room), &mut read.file) {
            Ok(()) => continue,
            Err(problem) => problem,
        };
        let problem = format!("{}: {problem}", clipped(name));
        if room == 0 {
            return Err(refused(problem));
        }
        read.left_out.push(problem);
    }
    Ok(read)
}

/// What a header says.
struct Header {
    /// The type, as NumPy writes it: `<f4`.
    dtype: String,
    /// Whether columns stand one after another.
    fortran: bool,
    shape: Vec<usize>,
}

/// An array's header; what is read next are its elements.
fn header(entry: &mut impl io::Read) -> Said<Header> {
    let not_whole = |error: io::Error| format!("it isn't whole: {error}");
    let mut start = [0; 8];
    entry.read_exact(&mut start).map_err(not_whole)?;
    let [0x93, b'N', b'U', b'M', b'P', b'Y', version @ 1..=3, _] = start else {
        return Err("it is no NumPy array".to_owned());
    };
    let mut len = [0; 4];
    let bytes = if version == 1 { 2 } else { 4 };
    entry.read_exact(&mut len[..bytes]).map_err(not_whole)?;
    let len = u32::from_le_bytes(len);
    if len > MAX_HEADER {
        return Err(format!("its header has {len} bytes, and {MAX_HEADER} may be"));
    }
    let mut text = Vec::new();
    entry.take(u64::from(len)).read_to_end(&mut text).map_err(not_whole)?;
    let text = String::from_utf8_lossy(&text);
    described(&text).ok_or_else(|| format!("its header is {:?}", clipped(&text)))
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, or another type than one of numbers as its text.
fn described(text: &str) -> Option<Header> {
    let value = |key: &str| {
        // The key itself, not a field of that name.
        Some(text.split_once(&format!("'{key}':"))?.1.trim_start())
    };
    let dtype = value("descr")?;
    let dtype = match dtype.strip_prefix('\'') {
        Some(plain) => plain.split_once('\'')?.0.to_owned(),
        None => "a type of several fields".to_owned(),
    };
    let fortran = value("fortran_order")?;
    let fortran = match (fortran.starts_with("True"), fortran.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return None,
    };
    let sizes = value("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    // Python 2 wrote a long number as 3L.
    let shape = sizes.map(|size| size.trim_end_matches('L').parse().ok());
    let shape = shape.collect::<Option<Vec<usize>>>()?;
    (shape.len() <= MAX_DIMENSIONS).then_some(Header { dtype, fortran, shape })
}

/// Takes an array of numbers in, an entry of so many bytes, or says why not: where `room` is used up then, its
/// archive is too large.
fn one(
    name: &str,
    entry: &mut impl io::Read,
    (size, room): (u64, &mut u64),
    file: &mut Checkpoint,
) -> Said<()> {
    let Header { dtype, fortran, shape } = header(entry)?;
    let mut left = |reason: Reason| {
        let (name, dtype, shape) = (name.to_owned(), clipped(&dtype), shape.clone());
        file.left_out.push(LeftOut { name, dtype, shape, reason });
        Ok(())
    };
    let (known, width) = match dtype.as_str() {
        "<f4" | ">f4" => ("F32", 4),
        "<f2" | ">f2" => ("F16", 2),
        "<f8" | ">f8" => ("F64", 8),
        // What ml_dtypes' bfloat16 becomes in a file: two bytes of no type.
        "|V2" | "<V2" | "bfloat16" => ("BF16", 2),
        _ => return left(Reason::Type),
    };
    let elements = shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
    let wanted = elements.and_then(|elements| elements.checked_mul(width));
    let wanted = wanted.ok_or_else(|| format!("its shape is {shape:?}"))?;
    if wanted == 0 {
        return left(Reason::Empty);
    }
    if wanted as u64 > size {
        return Err(format!("{shape:?} of {dtype} isn't what its {size} bytes hold"));
    }
    if wanted as u64 > *room {
        *room = 0;
        return Err(format!("arrays unpack to more than {} times the archive", UNPACKED.0));
    }
    let mut bytes = Vec::with_capacity(wanted.min(usize::try_from(size).unwrap_or(0)));
    let whole = entry.take(wanted as u64 + 1).read_to_end(&mut bytes);
    whole.map_err(|error| format!("it isn't whole: {error}"))?;
    if wanted != bytes.len() {
        return Err(format!("{shape:?} of {dtype} isn't what its bytes hold"));
    }
    *room -= wanted as u64;
    // In this machine's order.
    if dtype.starts_with('>') != cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    let values = match floats(name, known, bytes) {
        Ok(values) => values,
        Err(reason) => return left(reason),
    };
    if known == "F64" {
        file.rounded.push(name.to_owned());
    }
    let values = if fortran { by_rows(&values, &shape) } else { values };
    let array = Array::new(values, &shape).map_err(|error| error.to_string())?;
    file.tensors.push((name.to_owned(), array));
    Ok(())
}

/// Elements whose first index runs fastest, as those whose last one does.
fn by_rows(values: &[f32], shape: &[usize]) -> Vec<f32> {
    // The same elements in a shape turned round, then that shape's axes turned.
    let strides: Vec<usize> = shape
        .iter()
        .scan(1, |stride, &size| Some(std::mem::replace(stride, *stride * size)))
        .collect();
    let at = |mut index: usize| {
        let mut place = 0;
        for (&size, &stride) in shape.iter().zip(&strides).rev() {
            place += index % size * stride;
            index /= size;
        }
        values[place]
    };
    (0..values.len()).map(at).collect()
}
