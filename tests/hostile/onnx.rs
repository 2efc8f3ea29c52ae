//! ONNX models that somebody has thought of.

use std::path::{Path, PathBuf};

use gatefold::{Error, import};

use crate::bodies::folder;
use crate::files::onnx_models;
use crate::memory::peak;

/// A field of a message.
fn field(tag: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A model of a graph of these fields, of operators of version 20.
fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    let version = field(8, &number(2, 20));
    [number(1, 8), field(7, &graph.concat()), version].concat()
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str], rest: &[Vec<u8>]) -> Vec<u8> {
    let texts = |tag, all: &[&str]| -> Vec<u8> {
        all.iter().flat_map(|text| field(tag, text.as_bytes())).collect()
    };
    let own = [texts(1, inputs), texts(2, outputs), field(4, operator.as_bytes()), rest.concat()];
    field(1, &own.concat())
}

/// A tensor of f32, whose data somewhere else may have.
fn tensor(name: &str, dims: &[u64], rest: &[Vec<u8>]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&size| number(1, size)).collect();
    field(5, &[dims, number(2, 1), field(8, name.as_bytes()), rest.concat()].concat())
}

/// An LSTM of one unit over one input, of tensors `W`, `R`.
fn lstm() -> Vec<u8> {
    let hidden = field(5, &[field(1, b"hidden_size"), number(3, 1), number(20, 2)].concat());
    node("LSTM", &["x", "W", "R"], &["y"], &[hidden])
}

fn raw(values: usize) -> Vec<u8> {
    field(9, &vec![0; 4 * values])
}

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Refused with these words and in little memory.
fn refused(bytes: &[u8], words: &str) {
    let path = written("model.onnx", bytes);
    let (result, most) = peak(|| import::open(&path).map(drop));
    let Err(Error::Import { problem, .. }) = result else { panic!("{words}: {result:?}") };
    assert!(problem.contains(words), "{words}: {problem}");
    assert!(most <= 10 * bytes.len() + (66 << 20), "{words}: {most} bytes for {}", bytes.len());
}

#[test]
fn claims_are_checked() {
    let w = |dims: &[u64], rest: &[Vec<u8>]| {
        model(&[lstm(), tensor("W", dims, rest), tensor("R", &[1, 4, 1], &[raw(4)])])
    };
    assert!(import::open(written("model.onnx", &w(&[1, 4, 1], &[raw(4)]))).is_ok());
    refused(&w(&[1, 4, 1 << 40], &[raw(4)]), "W has 16 bytes");
    refused(&w(&[1 << 40, 1 << 40], &[raw(4)]), "W has shape");
    refused(&w(&[1; 100], &[raw(1)]), "axes");
    refused(&w(&[1, 4, u64::MAX], &[raw(4)]), "W has shape");
    refused(&w(&[1, 4, 1], &[raw(3)]), "W has 12 bytes");
    refused(&w(&[1, 4, 1], &[number(4, 0)]), "it isn't a whole ONNX model");
    refused(&w(&[0, 4, 1], &[]), "none of its LSTMs can be brought in");
    refused(&[&w(&[1, 4, 1], &[raw(4)])[..60], &[255; 40]].concat(), "it isn't a whole ONNX model");
    refused(&[number(1, 8), vec![0x3a, 255, 255, 255, 127]].concat(), "behind the file");
}

#[test]
fn many_parts_take_little() {
    let empty = [0x0a, 0].repeat(1 << 20);
    refused(&model(&[empty]), "so many parts");
    let texts = [0x0a, 0].repeat(1 << 22);
    refused(&model(&[field(1, &texts)]), "so many parts");
    let dims = field(5, &field(1, &[1; 1 << 24]));
    refused(&model(&[dims]), "so many parts");
    // Graphs in graphs.
    let mut inner = Vec::new();
    for _ in 0..1000 {
        let branch = field(5, &[field(1, b"then_branch"), field(6, &inner)].concat());
        inner = node("If", &["c"], &["y"], &[branch]);
    }
    refused(&model(&[inner]), "too deep");
}

#[test]
fn constants_are_computed_within_bounds() {
    let number_of = |name: &str, values: &[u64]| {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = number(1, values.len() as u64);
        field(5, &[dims, number(2, 7), field(8, name.as_bytes()), field(9, &data)].concat())
    };
    let two = field(9, &[0, 0, 0, 0, 0, 0, 128, 63]);
    let wide = node("Expand", &["two", "size"], &["W"], &[]);
    let sizes = number_of("size", &[1 << 20, 1 << 14, 2]);
    let r = tensor("R", &[1, 4, 1], &[raw(4)]);
    refused(
        &model(&[wide, lstm(), tensor("two", &[2], std::slice::from_ref(&two)), sizes, r.clone()]),
        "many times the size of the file",
    );
    // Each twice as long as the one before it.
    let mut graph = vec![tensor("n0", &[2], &[two]), r];
    for n in 0..60 {
        let (from, to) = (format!("n{n}"), format!("n{}", n + 1));
        let axis = field(5, &[field(1, b"axis"), number(3, 0), number(20, 2)].concat());
        graph.insert(n, node("Concat", &[&from, &from], &[&to], &[axis]));
    }
    refused(&model(&graph), "many times the size of the file");
}

#[test]
fn only_files_beside_a_model_are_read() {
    let entry = |key: &str, value: &str| {
        field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
    };
    let beside = |location: &str, offset: &str| {
        let rest = [entry("location", location), entry("offset", offset), number(14, 1)];
        model(&[lstm(), tensor("W", &[1, 4, 1], &rest), tensor("R", &[1, 4, 1], &[raw(4)])])
    };
    written("w.data", &[0; 20]);
    assert!(import::open(written("model.onnx", &beside("w.data", "4"))).is_ok());
    assert!(import::open(written("model.onnx", &beside("./w.data", "4"))).is_ok());
    let inner = folder().join("inner");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("w.data"), [0; 20]).unwrap();
    let whole = folder().join("w.data").display().to_string();
    for elsewhere in
        ["../w.data", "inner/w.data", "inner/../w.data", whole.as_str(), "", ".", "..", "a\\b"]
    {
        refused(&beside(elsewhere, "4"), "only files in the model's own folder");
    }
    refused(&beside("inner", "4"), "a link or no file");
    refused(&beside("nothing.data", "4"), "nothing.data");
    refused(&beside("w.data", "5"), "behind the end");
    refused(&beside("w.data", "18446744073709551615"), "behind the end");
    refused(&beside("w.data", "-4"), "offset");
    #[cfg(unix)]
    {
        let link = folder().join("link.data");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(Path::new("w.data"), &link).unwrap();
        refused(&beside("link.data", "4"), "a link or no file");
    }
}

#[test]
fn long_names_end_in_messages() {
    let name = "n".repeat(1 << 20);
    for bytes in
        [model(&[node(&name, &[], &["y"], &[])]), model(&[lstm(), tensor(&name, &[1], &[raw(1)])])]
    {
        let path = written("model.onnx", &bytes);
        let error = import::open(path).map(drop).unwrap_err().to_string();
        assert!(error.len() < 2000, "{} bytes", error.len());
    }
    assert!(!onnx_models().is_empty());
}
