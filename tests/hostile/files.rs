//! Files that the library has written, files written by hand, and mutations of both.

use std::collections::BTreeMap;

use gatefold::checkpoint::Checkpoint;
use gatefold::{Array, Bias, Device, Forecaster, Linear, Lstm, LstmCell, LstmConfig, checkpoint};

use crate::bodies;
use crate::random::Random;

/// A safetensors file with this header and these bytes of data.
pub fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The header's entry of a tensor.
pub fn entry(name: &str, dtype: &str, shape: &str, offsets: (u64, u64)) -> String {
    let (start, end) = offsets;
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

/// A file of such tensors and texts, the same bytes at every call.
fn plain(Checkpoint { tensors, metadata, .. }: &Checkpoint) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, array) in tensors {
        let start = data.len() as u64;
        data.extend(array.data().iter().flat_map(|v| v.to_le_bytes()));
        let shape = format!("{:?}", array.shape());
        entries.push(entry(name, "F32", &shape, (start, data.len() as u64)));
    }
    let texts: BTreeMap<&String, &String> = metadata.iter().collect();
    let texts: Vec<String> = texts.iter().map(|(key, text)| format!("{key:?}:{text:?}")).collect();
    entries.push(format!(r#""__metadata__":{{{}}}"#, texts.join(",")));
    raw(&format!("{{{}}}", entries.join(",")), &data)
}

/// A file that something has written.
fn written(write: impl FnOnce(&std::path::Path) -> gatefold::Result<()>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path).unwrap();
    plain(&checkpoint::read(&path).unwrap())
}

/// Models of each kind, as the library and PyTorch write them.
pub fn checkpoints() -> Vec<Vec<u8>> {
    let device = Device::cpu();
    let config = || LstmConfig::new(2, 3);
    let forecasters = [
        Forecaster::new(&device, config().bias(Bias::Single), 2),
        Forecaster::every_step(&device, config().embedding(4).learned_state(true), 2),
        Forecaster::without_head(&device, config().one_hot().bidirectional(true).proj_size(2)),
        Forecaster::new(&device, config().layers(3).dropout(0.5).batch_first(true), 1),
    ];
    let mut files: Vec<Vec<u8>> =
        forecasters.into_iter().map(|model| written(|path| model?.save(path))).collect();
    let bidirectional = config().bidirectional(true).proj_size(1).bias(Bias::None);
    files.push(written(|path| Lstm::new(&device, bidirectional)?.save(path)));
    files.push(written(|path| LstmCell::new(&device, config())?.save(path)));
    files.push(written(|path| Linear::new(&device, 2, 3, 0)?.save(path)));
    // Without a description, as PyTorch's.
    let lstm = Lstm::new(&device, config().layers(2)).unwrap();
    let tensors = lstm.state_dict().unwrap();
    files.push(plain(&Checkpoint::from(tensors)));
    // Of half and of twice as many bits, with what is no weight beside them.
    let shapes = [("weight_ih_l0", "[4,1]"), ("weight_hh_l0", "[4,1]"), ("bias_ih_l0", "[4]")];
    for (dtype, width) in [("F16", 2), ("BF16", 2), ("F64", 8)] {
        let of = |(i, (name, shape)): (usize, &(&str, &str))| {
            let bytes = 4 * width;
            entry(name, dtype, shape, (bytes * i as u64, bytes * (i as u64 + 1)))
        };
        let mut entries: Vec<String> = shapes.iter().enumerate().map(of).collect();
        let end = 12 * width;
        entries.push(entry("steps", "I64", "[]", (end, end + 8)));
        entries.push(entry("none", "F32", "[0,4]", (end + 8, end + 8)));
        entries.push(entry("mask", "F4", "[2,3]", (end + 8, end + 11)));
        files.push(raw(&format!("{{{}}}", entries.join(",")), &vec![0x3c; end as usize + 11]));
    }
    // A cell with a tensor for each gate.
    let gates =
        ["wa1", "wa2", "ba1", "wb1", "wb2", "bb1", "wc1", "wc2", "bc1", "wd1", "wd2", "bd1"];
    let tensors = gates.map(|name| (name.to_owned(), Array::new(vec![0.5], &[]).unwrap())).to_vec();
    files.push(plain(&Checkpoint::from(tensors)));
    files
}

/// Runs that were stopped after some steps.
pub fn states() -> Vec<Vec<u8>> {
    let data = bodies::data();
    let stopped = |steps: u64| {
        let mut trainer = bodies::trainer().max_steps(steps);
        trainer.fit(&data, Some(&data), |_| ()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        trainer.save(folder.path()).unwrap();
        plain(&checkpoint::read(folder.path().join("trainer.safetensors")).unwrap())
    };
    [1, 2, 5, 9, 1000].map(stopped).to_vec()
}

/// Tables.
pub fn tables() -> Vec<Vec<u8>> {
    let texts = [
        "Date,Open,Close\n2013-03-01,1.5,2\n2013-03-04,1e3,-0.25\n",
        "\u{feff}a,B\r\n1,2\r\n\r\n3,4",
        "name,\"with, comma\",x\n\"a \"\"b\"\"\",\"two\nlines\", 3 \nx,y,NaN\n",
        "n\n1\n2\n3\n4\n5\n6\n7\n8\n9\n",
        "é,ü\n¼,中\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Files of other libraries.
pub fn imports() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/import/pytorch");
    let names = ["legacy", "legacy_lightning", "legacy_weight_norm", "legacy_two", "pruned"];
    names.map(|name| std::fs::read(folder.join(format!("{name}.pth"))).unwrap()).to_vec()
}

/// ONNX models, in which there are few bytes of weights.
pub fn onnx_models() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/import/onnx");
    let names =
        ["one_layer", "final_new", "words", "learned", "branches", "joined", "quantized", "hard"];
    names.map(|name| std::fs::read(folder.join(format!("{name}.onnx"))).unwrap()).to_vec()
}

/// Files of Keras.
pub fn keras_files() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/import");
    let names = [
        "keras/one_layer.keras",
        "keras/one_layer.h5",
        "keras/own.weights.h5",
        "keras/cudnn.h5",
        "tf_keras/both.h5",
    ];
    names.map(|name| std::fs::read(folder.join(name)).unwrap()).to_vec()
}

/// Archives of arrays, and safetensors with the names of other libraries.
pub fn named_arrays() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/import");
    let names = [
        "jax_libraries/haiku_lstm.npz",
        "jax_libraries/flax_bidirectional.safetensors",
        "mlx/mlx_nobias.npz",
        "npz/compressed.npz",
        "npz/fortran.npz",
        "npz_claims/odd.npz",
        "paddle/paddle_projected.safetensors",
        "tf1/tf1_bidirectional.npz",
        "tf1/tf1_projected.npz",
    ];
    names.map(|name| std::fs::read(folder.join(name)).unwrap()).to_vec()
}

/// Some bytes changed, taken out, said again or put in.
pub fn mutated_bytes(random: &mut Random, file: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        let len = (1 + random.below(16)).min(bytes.len() - at);
        match random.below(6) {
            0 => drop(bytes.drain(at..at + len)),
            1 => {
                let part = bytes[at..at + len].to_vec();
                bytes.splice(at..at, part);
            }
            2 if len > 0 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 if len > 0 => bytes[at] ^= 1 << random.below(8),
            4 if len > 0 => {
                // Another byte of the file, as those of instructions are.
                let from = random.below(bytes.len());
                bytes[at] = bytes[from];
            }
            _ => bytes.truncate(bytes.len() - random.below(bytes.len() / 64 + 1)),
        }
    }
    bytes
}

const NUMBERS: [&str; 22] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "8",
    "12",
    "-1",
    "255",
    "65537",
    "2147483648",
    "4294967296",
    "1000000000000",
    "9007199254740992",
    "9007199254740993",
    "2305843009213693952",
    "9223372036854775807",
    "18446744073709551608",
    "18446744073709551615",
    "1000000000000000000000000000000",
    "1.5",
    "1e9",
];

const WORDS: [&str; 32] = [
    "",
    "F32",
    "F4",
    "F64",
    "BOOL",
    "identity",
    "final_states",
    "mean_over_time",
    "lstm.",
    "rnn.",
    "F16",
    "BF16",
    "I64",
    "F8_E4M3",
    "true",
    "false",
    "NaN",
    "inf",
    "-inf",
    "none",
    "single",
    "double",
    "sequence",
    "last_hidden",
    "every step: 3",
    "every step: 1000000000000",
    "embedding: 4",
    "embedding: 9007199254740993",
    "one_hot",
    "__metadata__",
    "\\u0000",
    "1e-3",
];

fn any<'a>(random: &mut Random, of: &[&'a str]) -> &'a str {
    of[random.below(of.len())]
}

/// The entries of a JSON object: each key as it stands there, and the text of its value.
fn entries(object: &str) -> Vec<(String, String)> {
    let inner = object.trim().trim_start_matches('{');
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut parts, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0, false, false);
    for c in inner.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            ',' | ':' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn object(entries: &[(String, String)]) -> String {
    let entries: Vec<String> =
        entries.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("{{{}}}", entries.join(","))
}

/// Puts another number, or something else, in the place of one of a text.
fn another_number(random: &mut Random, text: &str) -> String {
    let is_digit = |i: &usize| text.as_bytes()[*i].is_ascii_digit();
    let starts: Vec<usize> =
        (0..text.len()).filter(|i| is_digit(i) && (*i == 0 || !is_digit(&(i - 1)))).collect();
    let Some(&start) = starts.get(random.below(starts.len().max(1))) else {
        return text.to_owned();
    };
    let end = (start..text.len()).find(|i| !is_digit(i)).unwrap_or(text.len());
    let number: Option<u64> = text[start..end].parse().ok();
    let new = match (random.below(8), number) {
        (0, Some(n)) => (n.wrapping_add(1)).to_string(),
        (1, Some(n)) => n.saturating_sub(1).to_string(),
        (2, Some(n)) => n.saturating_mul(4).to_string(),
        (3, _) => {
            let depth = 1 << random.below(12);
            format!("{}{}", "[".repeat(depth), "]".repeat(depth))
        }
        _ => any(random, &NUMBERS).to_owned(),
    };
    format!("{}{new}{}", &text[..start], &text[end..])
}

/// One change of a list of entries.
fn change(random: &mut Random, list: &mut Vec<(String, String)>) {
    if list.is_empty() {
        return;
    }
    let (i, j) = (random.below(list.len()), random.below(list.len()));
    match random.below(8) {
        0 => list.push(list[i].clone()),
        1 => drop(list.remove(i)),
        2 => list[i].0 = list[j].0.clone(),
        3 => list[i].1 = list[j].1.clone(),
        4 if list[i].1.starts_with('"') => list[i].1 = format!("\"{}\"", any(random, &WORDS)),
        5 if list[i].1.starts_with('"') => list[i].1 = format!("\"{}\"", any(random, &NUMBERS)),
        6 => {
            for dtype in ["F32", "F16", "BF16", "F64", "I64"] {
                let new = any(random, &["F16", "BF16", "F32", "F64", "U8", "F6_E2M3"]);
                list[i].1 = list[i].1.replacen(dtype, new, 1);
            }
        }
        _ => list[i].1 = another_number(random, &list[i].1),
    }
}

/// A change of any bytes.
fn change_bytes(random: &mut Random, bytes: &mut Vec<u8>, words: &[&[u8]]) {
    let at = random.below(bytes.len() + 1);
    let end = (at + random.below(16)).min(bytes.len());
    match random.below(6) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let copy = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        4 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        _ => {
            let word = words[random.below(words.len())];
            bytes.splice(at..at, word.iter().copied());
        }
    }
}

/// A safetensors file with some changes, most of them to what its header says.
pub fn mutated(random: &mut Random, file: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&file[8..8 + length]).unwrap();
    let (mut list, mut data) = (entries(header), file[8 + length..].to_vec());
    let mut said = None;
    let mut whole = true;
    for _ in 0..1 + random.below(3) {
        match random.below(16) {
            0 => said = any(random, &NUMBERS).parse::<u64>().ok(),
            1 => whole = false,
            2..=4 => change_bytes(random, &mut data, &[&[0; 4], &[0, 0, 0xc0, 0x7f], &[0xff; 8]]),
            5..=10 => match list.iter().position(|(key, _)| key == "\"__metadata__\"") {
                Some(at) => {
                    let mut texts = entries(&list[at].1);
                    change(random, &mut texts);
                    list[at].1 = object(&texts);
                }
                None => change(random, &mut list),
            },
            _ => change(random, &mut list),
        }
    }
    let mut file = raw(&object(&list), &data);
    if let Some(said) = said {
        file[..8].copy_from_slice(&said.to_le_bytes());
    }
    if !whole {
        change_bytes(random, &mut file, &[b"{", b"\"", b"\\", b"[[", &[0xff], &[0]]);
    }
    file
}

/// A table with some changes.
pub fn mutated_table(random: &mut Random, table: &[u8]) -> Vec<u8> {
    const WORDS: [&[u8]; 18] = [
        b"\"",
        b"\"\"",
        b",",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xef\xbb\xbf",
        b",,,,,,,,",
        b"1e999",
        b"-0",
        b"2013-02-30",
        b"NaN",
        b" \t",
        b"\n\n\n",
        b"\"a\nb\"",
    ];
    let mut table = table.to_vec();
    for _ in 0..1 + random.below(4) {
        change_bytes(random, &mut table, &WORDS);
    }
    table
}
