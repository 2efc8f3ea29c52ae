//! Checkpoints of `torch.save`, through the crate `pytorch-reader`, which runs nothing.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pytorch_reader::{DType, FileFormat, PickleValue, PytorchError, PytorchReader, Tensor};

use super::{Read, some};
use crate::checkpoint::{Checkpoint, LeftOut, Reason, floats};
use crate::error::{Error, Result};
use crate::tensor::Array;

/// What people call the state dict in a dictionary of their own.
const KEYS: [&str; 12] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "ema",
    "model_ema",
    "state",
];

/// How many times a file's bytes its tensors may take: several may share a storage.
const SHARED: u64 = 4;

/// Reads the tensors of a checkpoint of `len` bytes.
pub(super) fn read(path: &Path, len: u64) -> Result<Read> {
    let failed = |error: PytorchError| refused(path, error);
    let reader = PytorchReader::new(path).map_err(failed)?;
    let kind = match reader.metadata().format_type {
        FileFormat::Zip => "a PyTorch checkpoint",
        FileFormat::Tar => "a PyTorch checkpoint, a tar archive",
        FileFormat::Legacy => "a PyTorch checkpoint of the old kind",
        FileFormat::Pickle => "a Python pickle",
    };
    let root = PytorchReader::read_pickle_data(path, None).map_err(failed)?;
    let tensors: BTreeMap<_, _> = reader.into_tensors().into_iter().collect();

    // Of a dictionary of dictionaries, the one with an LSTM in it.
    let dicts: HashSet<&str> = match &root {
        PickleValue::Dict(entries) => {
            let is_dict = |value: &PickleValue| matches!(value, PickleValue::Dict(_));
            entries.iter().filter(|(_, v)| is_dict(v)).map(|(key, _)| key.as_str()).collect()
        }
        _ => HashSet::new(),
    };
    let key = |name: &str| name.split_once('.').map(|(key, _)| key.to_owned());
    let is_lstm = |name: &str| super::lstms_of_names([name]).len() == 1 || is_hidden(name);
    let with_lstm: HashSet<String> =
        tensors.keys().filter(|name| is_lstm(name)).filter_map(|name| key(name)).collect();
    let own = match with_lstm.iter().collect::<Vec<_>>().as_slice() {
        [own] if dicts.contains(own.as_str()) && KEYS.contains(&own.as_str()) => {
            format!("{own}.")
        }
        _ => String::new(),
    };

    let mut found = Read { kind: kind.to_owned(), ..Read::of(Checkpoint::default()) };
    let (mut total, mut others) = (0u64, BTreeMap::<String, usize>::new());
    let mut wanted = Vec::new();
    for (full, tensor) in tensors {
        let Some(name) = full.strip_prefix(&own).map(str::to_owned) else {
            *others.entry(key(&full).unwrap_or(full)).or_default() += 1;
            continue;
        };
        let shape = tensor.shape().to_vec();
        let dtype = match tensor.dtype() {
            DType::F32 => "F32",
            DType::F16 => "F16",
            DType::BF16 => "BF16",
            DType::F64 => "F64",
            // A mask of pruning may be one.
            DType::Bool | DType::U8 if name.ends_with("_mask") => MASK,
            other => {
                let dtype = format!("{other:?}");
                found.file.left_out.push(LeftOut { name, dtype, shape, reason: Reason::Type });
                continue;
            }
        };
        if tensor.num_elements() == 0 {
            let (dtype, reason) = (dtype.to_owned(), Reason::Empty);
            found.file.left_out.push(LeftOut { name, dtype, shape, reason });
            continue;
        }
        total = total.saturating_add(tensor.byte_len() as u64);
        if total > len.saturating_mul(SHARED) {
            let problem = format!(
                "its tensors take more than {SHARED} times its {len} bytes, for many share one storage"
            );
            return Err(Error::Import { path: path.to_owned(), problem });
        }
        wanted.push(Wanted { name, dtype, tensor });
    }
    for (Wanted { name, dtype, tensor }, values) in read_all(wanted) {
        match values.map_err(|error| failed(PytorchError::Io(error)))? {
            Ok(array) => {
                if dtype == "F64" {
                    found.file.rounded.push(name.clone());
                }
                found.file.tensors.push((name, array?));
            }
            Err(reason) => {
                let (dtype, shape) = (dtype.to_owned(), tensor.shape().to_vec());
                found.file.left_out.push(LeftOut { name, dtype, shape, reason });
            }
        }
    }
    if !own.is_empty() {
        found
            .converted
            .push(format!("{} taken out of the file's dictionary", own.trim_end_matches('.')));
    }
    if !others.is_empty() {
        let said: Vec<String> =
            others.iter().map(|(key, count)| format!("{key} ({count} tensors)")).collect();
        found.left_out.push(some(said.iter().map(String::as_str)));
    }
    Ok(found)
}

/// A mask's type, one byte an element.
const MASK: &str = "U8";

/// A tensor that is read, and its type.
struct Wanted {
    name: String,
    dtype: &'static str,
    tensor: Tensor,
}

/// A tensor's numbers, or why it hasn't any, or why it couldn't be read.
type Values = io::Result<std::result::Result<Result<Array>, Reason>>;

impl Wanted {
    fn values(&self) -> Values {
        let Wanted { name, dtype, tensor } = self;
        let bytes = tensor.read()?;
        Ok(match *dtype {
            "F32" => Ok(Array::of_bytes(bytes, tensor.shape())),
            MASK => {
                let values = bytes.iter().map(|&byte| f32::from(byte)).collect();
                Ok(Array::new(values, tensor.shape()))
            }
            _ => floats(name, dtype, bytes).map(|values| Array::new(values, tensor.shape())),
        })
    }
}

/// Bytes from which a second thread reads.
const LARGE: usize = 1 << 22;

/// Reads tensors, large ones on two threads: half of the time the system clears memory for them.
fn read_all(wanted: Vec<Wanted>) -> Vec<(Wanted, Values)> {
    let bytes: usize = wanted.iter().map(|wanted| wanted.tensor.byte_len()).sum();
    let threads = if bytes < LARGE { 1 } else { 2 };
    let queue = Mutex::new(wanted.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut read = Vec::new();
        while let Some((place, wanted)) = next() {
            let values = wanted.values();
            read.push((place, (wanted, values)));
        }
        read
    };
    let mut read = std::thread::scope(|scope| {
        // Where the system starts none, this one does it all.
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..threads).filter_map(start).collect();
        let mut read = work();
        for helper in helpers {
            read.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        read
    });
    read.sort_unstable_by_key(|(place, _)| *place);
    read.into_iter().map(|(_, read)| read).collect()
}

/// Whether a name is that of an LSTM's tensor that something stands in the place of.
fn is_hidden(name: &str) -> bool {
    ["weight_ih_l0", "weight_hh_l0", "weight_ih", "weight_hh"]
        .iter()
        .any(|kind| name.contains(kind))
}

/// What the reader says, as an error of the file.
fn refused(path: &Path, error: PytorchError) -> Error {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof, Unsupported};
    // What the reader says of a file; any other kind is the system's.
    let of_file = [InvalidData, InvalidInput, Other, UnexpectedEof, Unsupported];
    match error {
        PytorchError::Io(source) if !of_file.contains(&source.kind()) => {
            Error::Io { path: path.to_owned(), source }
        }
        error => {
            let said = error.to_string();
            let quantized = ["torch.QInt8Storage", "torch.QUInt8Storage", "torch.QInt32Storage"];
            let problem = match quantized.iter().any(|storage| said.contains(storage)) {
                true => "it is a quantized model, whose weights are packed: save the state dict of the model \
                         that it was made from"
                    .to_owned(),
                false => said,
            };
            Error::Import { path: path.to_owned(), problem }
        }
    }
}
