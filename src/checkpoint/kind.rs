//! What a file is that isn't a safetensors file, and how to make one of it.

use std::io::{Read, Result, Seek, SeekFrom};

/// Bytes that are looked at from a file's start: HDF5 may begin this far in.
const START: u64 = 2048 + 8;

/// Bytes that are looked at from its end, where a zip archive lists what it holds.
const END: u64 = 1 << 16;

/// The kinds of files that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Empty,
    /// What torch.jit.save writes.
    TorchScript,
    /// What torch.save writes.
    Pytorch,
    /// What torch.save wrote until 2020, and with `_use_new_zipfile_serialization=False`.
    PytorchLegacy,
    /// `.keras`.
    Keras,
    Npz,
    Zip,
    Npy,
    Hdf5,
    Gguf,
    Tflite,
    Parquet,
    Compressed,
    Tar,
    Pickle,
    Onnx,
    /// A text: what it is, and what to do.
    Text(&'static str, &'static str),
}

/// The first and the last bytes of a file of `len` bytes, by which its kind is told.
pub(crate) fn ends(mut file: impl Read + Seek, len: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut part = |from: u64, most: u64| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.by_ref().take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    Ok((part(0, START)?, part(len.saturating_sub(END), END)?))
}

/// Says what a file of `len` bytes is, by its content, and how its tensors get into a safetensors file;
/// `None` where that can't be told. `name` is the file's.
pub(super) fn of(file: impl Read + Seek, len: u64, name: &str) -> Result<Option<String>> {
    let (start, end) = ends(file, len)?;
    Ok(Kind::of(&start, &end).map(|kind| {
        let (what, how) = kind.said(name);
        format!("it is {what}, not a safetensors file; {how}")
    }))
}

impl Kind {
    /// By a file's first and last bytes.
    pub(crate) fn of(start: &[u8], end: &[u8]) -> Option<Kind> {
        Some(match () {
            () if start.is_empty() => Kind::Empty,
            () if start.starts_with(b"PK\x03\x04") => Kind::of_archive(start, end),
            () if start.starts_with(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20") => {
                Kind::PytorchLegacy
            }
            () if start.starts_with(b"\x93NUMPY") => Kind::Npy,
            () if hdf5(start) => Kind::Hdf5,
            () if start.starts_with(b"GGUF") => Kind::Gguf,
            () if start.get(4..8) == Some(b"TFL3") => Kind::Tflite,
            () if start.starts_with(b"PAR1") => Kind::Parquet,
            () if compressed(start) => Kind::Compressed,
            () if start.get(257..262) == Some(b"ustar") => Kind::Tar,
            () if pickle(start, end) => Kind::Pickle,
            () if onnx(start) => Kind::Onnx,
            () => return text(start),
        })
    }

    /// Whether it is a library's own format, which says how its tensors stand.
    pub(crate) fn is_of_library(self) -> bool {
        use Kind::{Hdf5, Keras, Onnx, Pickle, Pytorch, PytorchLegacy, Tar, TorchScript};
        matches!(self, Hdf5 | Keras | Onnx | Pickle | Pytorch | PytorchLegacy | Tar | TorchScript)
    }

    /// A zip archive, by the names of what it holds.
    fn of_archive(start: &[u8], end: &[u8]) -> Kind {
        let holds = |name: &[u8]| has(start, name) || has(end, name);
        match () {
            () if holds(b"constants.pkl") => Kind::TorchScript,
            () if holds(b"data.pkl") => Kind::Pytorch,
            () if holds(b".weights.h5") => Kind::Keras,
            () if holds(b".npy") => Kind::Npz,
            () => Kind::Zip,
        }
    }

    /// What it is, and how its tensors get into a safetensors file. `name` is the file's.
    pub(crate) fn said(self, name: &str) -> (&'static str, String) {
        let script = format!("torch.jit.load(\"{name}\", map_location=\"cpu\").state_dict()");
        let initializers = format!(
            "{{t.name: onnx.numpy_helper.to_array(t) for t in \
             onnx.load(\"{name}\").graph.initializer}}"
        );
        match self {
            Kind::Empty => ("empty, 0 bytes", "a download or a save was cut short".to_owned()),
            Kind::TorchScript => ("a TorchScript archive", saved("torch", &script)),
            Kind::Pytorch => ("a PyTorch checkpoint (.pt, .pth)", of_pytorch(name)),
            Kind::PytorchLegacy => {
                ("a PyTorch checkpoint of the old kind, a pickle", of_pytorch(name))
            }
            Kind::Keras => ("a Keras model (.keras)", of_keras(name)),
            Kind::Npz => (
                "an archive of NumPy arrays (.npz)",
                saved("numpy", &format!("dict(numpy.load(\"{name}\"))")),
            ),
            Kind::Zip => ("a zip archive", "unpack it first".to_owned()),
            Kind::Npy => (
                "a NumPy array (.npy)",
                saved("numpy", &format!("{{\"NAME\": numpy.load(\"{name}\")}}")),
            ),
            Kind::Hdf5 => ("an HDF5 file, as Keras writes (.h5)", of_keras(name)),
            Kind::Gguf => (
                "a GGUF file",
                "the Python package gguf reads its tensors; save them with \
                 safetensors.numpy.save_file"
                    .to_owned(),
            ),
            Kind::Tflite => {
                ("a TFLite model", "save the weights of the model that it was made from".to_owned())
            }
            Kind::Parquet => ("a Parquet table", "it holds no model".to_owned()),
            Kind::Compressed => ("a compressed file", "unpack it first".to_owned()),
            Kind::Tar => ("a tar archive", "unpack it first".to_owned()),
            Kind::Pickle => (
                "a Python pickle",
                format!(
                    "a pickle runs code: only if you trust it, load it in Python (where PyTorch has \
                     written it, with torch.load(\"{name}\", weights_only=True)) and save its tensors \
                     with safetensors"
                ),
            ),
            Kind::Onnx => (
                "an ONNX model",
                format!(
                    "in Python, {}, and make layers of them with checkpoint::from_onnx",
                    save("numpy", &initializers)
                ),
            ),
            Kind::Text(what, how) => (what, how.to_owned()),
        }
    }
}

/// The line of Python that writes `tensors`.
fn save(library: &str, tensors: &str) -> String {
    format!("safetensors.{library}.save_file({tensors}, \"model.safetensors\")")
}

fn saved(library: &str, tensors: &str) -> String {
    format!("convert it in Python: {}", save(library, tensors))
}

fn of_pytorch(name: &str) -> String {
    let load = format!("torch.load(\"{name}\", map_location=\"cpu\", weights_only=True)");
    format!(
        "{}, where that is a state dict and not a dictionary with one in it",
        saved("torch", &load)
    )
}

fn of_keras(name: &str) -> String {
    format!(
        "in Python, load \"{name}\" with Keras, save layer.get_weights() under names with \
         safetensors.numpy.save_file, and make layers of them with checkpoint::from_keras"
    )
}

/// The signature, which may stand behind a block of the writer's.
fn hdf5(start: &[u8]) -> bool {
    [0, 512, 1024, 2048].iter().any(|&at| start.get(at..at + 8) == Some(b"\x89HDF\r\n\x1a\n"))
}

/// gzip, Zstandard, xz, bzip2, 7z.
fn compressed(start: &[u8]) -> bool {
    let signatures: [&[u8]; 5] =
        [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh", b"7z\xbc\xaf\x27\x1c"];
    signatures.iter().any(|signature| start.starts_with(signature))
}

/// The protocol, at the start, and the last instruction.
fn pickle(start: &[u8], end: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..]) && end.last() == Some(&b'.')
}

/// The version of the format, a small number, and another field of a model behind it.
fn onnx(start: &[u8]) -> bool {
    // producer_name, producer_version, domain, model_version, doc_string, graph, opset_import.
    matches!(start, [0x08, 1..=0x20, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..])
}

/// A text of some kind.
fn text(start: &[u8]) -> Option<Kind> {
    let lower = start.to_ascii_lowercase();
    let begun = lower.trim_ascii_start();
    let (what, how) = if begun.starts_with(b"version https://git-lfs") {
        ("a pointer of Git LFS to a file that isn't here", "fetch it with `git lfs pull`")
    } else if has(start, b"/annex/objects/") {
        ("a pointer of git-annex to a file that isn't here", "fetch it with `git annex get`")
    } else if begun.starts_with(b"<!doctype html") || begun.starts_with(b"<html") {
        (
            "an HTML page",
            "download the file itself, whose address is another one (on Hugging Face it has \
          `resolve` where the page's has `blob`)",
        )
    } else if begun.starts_with(b"<") && has(&lower, b"<net name=") {
        (
            "a model of OpenVINO",
            "its weights are in another file, cut and renamed: take the model that it was made of, an ONNX file or \
             a checkpoint",
        )
    } else if begun.starts_with(b"<") {
        ("an XML text", "it holds no tensors")
    } else if begun.starts_with(b"7767517") {
        (
            "a model of ncnn",
            "its weights are in another file: take the model that it was made of, an ONNX file or a checkpoint",
        )
    } else if begun.starts_with(b"{") && has(start, b"weight_map") {
        ("the index of a model in several files", "read those that it names")
    } else if begun.starts_with(b"{")
        && (has(start, b"modelTopology") || has(start, b"weightsManifest"))
    {
        (
            "a model of TensorFlow.js",
            "make a file of Keras of it: tensorflowjs_converter --input_format tfjs_layers_model --output_format \
             keras model.json model.h5",
        )
    } else if begun.starts_with(b"{") && has(start, b"\"in_shape\"") && has(start, b"\"layers\"") {
        (
            "a model of RTNeural",
            "save what it lists as `weights` of an LSTM, a kernel, a recurrent kernel and a bias, as lstm/kernel, \
             lstm/recurrent_kernel and lstm/bias with numpy.savez, and a dense layer's as dense/kernel and dense/bias",
        )
    } else if begun.starts_with(b"{") && has(start, b"\"architecture\"") {
        (
            "a model of Neural Amp Modeler, or another JSON text",
            "take the checkpoint that it was exported from",
        )
    } else if begun.starts_with(b"{") || begun.starts_with(b"[") {
        ("a JSON text", "it holds no tensors that are read here")
    } else {
        return None;
    };
    Some(Kind::Text(what, how))
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
