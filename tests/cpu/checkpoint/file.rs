//! Files: types, shapes, names.

use std::collections::HashMap;
use std::fs;

use gatefold::checkpoint::{
    Checkpoint, LeftOut, Reason, parse, prefixed, read, read_part, with_prefix, write,
};
use gatefold::{Array, Error};
use safetensors::tensor::{Dtype, TensorView};

use super::{counted, dict, get};

/// Reads what a file of these bytes holds.
fn read_bytes(bytes: &[u8]) -> Result<Checkpoint, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    read(&path)
}

fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let views = tensors.iter().map(|&(name, dtype, shape, bytes)| {
        (name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()
}

fn bytes(patterns: &[u16]) -> Vec<u8> {
    patterns.iter().flat_map(|p| p.to_le_bytes()).collect()
}

/// A number of 16 bits from its definition: `2^(exponent - bias) * 1.mantissa`, or without the 1
/// where the exponent is zero. f64 holds all of them, and f32 too.
fn defined(pattern: u16, mantissa_bits: i32, bias: i32) -> f32 {
    let sign = if pattern >> 15 == 1 { -1.0 } else { 1.0 };
    let mantissa = f64::from(pattern & ((1 << mantissa_bits) - 1));
    let one = 2f64.powi(mantissa_bits);
    let value = match i32::from((pattern & 0x7fff) >> mantissa_bits) {
        0 => mantissa * 2f64.powi(1 - bias - mantissa_bits),
        exponent => (one + mantissa) * 2f64.powi(exponent - bias - mantissa_bits),
    };
    (sign * value) as f32
}

#[test]
fn every_finite_number_of_16_bits_is_read_exactly() {
    for (dtype, mantissa_bits, bias, infinity) in
        [(Dtype::F16, 10, 15, 0x7c00), (Dtype::BF16, 7, 127, 0x7f80)]
    {
        let finite: Vec<u16> = (0..=u16::MAX).filter(|p| p & 0x7fff < infinity).collect();
        let whole = file(&[("w", dtype, &[2, finite.len() / 2], &bytes(&finite))]);
        let tensors = read_bytes(&whole).unwrap().tensors;
        let read = get(&tensors, "w");
        assert_eq!(read.shape(), [2, finite.len() / 2]);
        for (&pattern, got) in finite.iter().zip(read.data()) {
            let want = defined(pattern, mantissa_bits, bias);
            // Bits, so that -0 isn't 0.
            assert_eq!(got.to_bits(), want.to_bits(), "{dtype:?} {pattern:#06x}: {got}, {want}");
        }
    }
}

#[test]
fn numbers_of_16_bits_by_hand() {
    let half = bytes(&[0x3c00, 0xc000, 0x8000, 0x0001, 0x83ff, 0x7bff, 0x7c00, 0x3555]);
    let brain = bytes(&[0x3f80, 0xc000, 0x8000, 0x0001, 0x3eab]);
    let whole = file(&[("half", Dtype::F16, &[8], &half), ("brain", Dtype::BF16, &[5], &brain)]);
    let tensors = read_bytes(&whole).unwrap().tensors;
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["brain", "half"]);

    let read = get(&tensors, "half").data();
    let smallest = 2f32.powi(-24);
    let want = [1.0, -2.0, -0.0, smallest, -1023.0 * smallest, 65504.0, f32::INFINITY];
    assert_eq!(read[..7], want);
    assert!(read[2].is_sign_negative());
    assert_eq!(read[7], 0.333_251_95);

    let read = get(&tensors, "brain").data();
    assert_eq!(read, [1.0, -2.0, -0.0, f32::from_bits(0x0001_0000), 0.333_984_38]);
    assert!(read[2].is_sign_negative());
}

/// `torch.tensor(0.25)` has no dimensions; here its bytes stand at an odd address as well.
#[test]
fn a_scalar_of_any_type_is_read_wherever_it_stands() {
    let types =
        [("F32", &0.25f32.to_le_bytes()[..]), ("F16", &[0x00, 0x34]), ("BF16", &[0x80, 0x3e])];
    for (dtype, data) in types {
        for spaces in 0..8 {
            let header = format!(
                r#"{{"wa1":{{"dtype":"{dtype}","shape":[],"data_offsets":[0,{}]}}}}{}"#,
                data.len(),
                " ".repeat(spaces)
            );
            let length = (header.len() as u64).to_le_bytes();
            let read = read_bytes(&[&length, header.as_bytes(), data].concat()).unwrap();
            assert_eq!(read.tensors, dict(&[("wa1", Array::new(vec![0.25], &[]).unwrap())]));
            assert!(read.metadata.is_empty());
        }
    }
}

/// What a file left out says why.
fn left(name: &str, dtype: &str, shape: &[usize], reason: Reason) -> LeftOut {
    let (name, dtype, shape) = (name.to_owned(), dtype.to_owned(), shape.to_vec());
    LeftOut { name, dtype, shape, reason }
}

/// A batch norm's counter, a mask, an empty tensor: the numbers beside them are read.
#[test]
fn tensors_of_other_types_are_left_out() {
    let eight = [1u8; 8];
    let whole = file(&[
        ("steps", Dtype::I64, &[1], &eight),
        ("fine", Dtype::F32, &[2], &eight),
        ("mask", Dtype::BOOL, &[2, 4], &eight),
        ("empty", Dtype::F32, &[0, 3], &[]),
        ("none", Dtype::I64, &[0], &[]),
        ("late", Dtype::BF16, &[1, 4], &eight),
    ]);
    let read = read_bytes(&whole).unwrap();
    let number = f32::from_le_bytes([1; 4]);
    assert_eq!(get(&read.tensors, "fine").data(), [number; 2]);
    // Behind what is left out, too.
    assert_eq!(get(&read.tensors, "late").data(), [f32::from_bits(0x0101_0000); 4]);
    assert_eq!(read.tensors.len(), 2);
    assert_eq!(
        read.left_out,
        [
            left("empty", "F32", &[0, 3], Reason::Empty),
            left("mask", "BOOL", &[2, 4], Reason::Type),
            left("none", "I64", &[0], Reason::Type),
            left("steps", "I64", &[1], Reason::Type),
        ]
    );
    let said: Vec<String> = read.left_out.iter().map(LeftOut::to_string).collect();
    assert_eq!(said[0], "empty [0, 3] has no elements");
    assert_eq!(said[1], "mask [2, 4] is BOOL, and weights are F32, F16, BF16 or F64");
    assert_eq!(parse("model", &whole).unwrap(), read);
}

#[test]
fn numbers_of_64_bits_are_rounded() {
    let one = 1f64;
    let half_up = one + f64::from(f32::EPSILON) / 2.0;
    let cases = [
        (one / 3.0, 1.0 / 3.0f32),
        (-0.1, -0.1f32),
        // Halfway between two: to the even one; a little more: up.
        (half_up, 1.0),
        (half_up + 1e-12, 1.0 + f32::EPSILON),
        (f64::from(f32::MAX), f32::MAX),
        // Rounds to the largest, not to infinity.
        (f64::from(f32::MAX) * (1.0 + 1e-9), f32::MAX),
        (1e-45, 1e-45f32),
        (1e-60, 0.0),
        (f64::INFINITY, f32::INFINITY),
        (f64::NEG_INFINITY, f32::NEG_INFINITY),
        (f64::NAN, f32::NAN),
    ];
    let wide: Vec<u8> = cases.iter().flat_map(|(wide, _)| wide.to_le_bytes()).collect();
    let whole =
        file(&[("wide", Dtype::F64, &[11], &wide), ("fine", Dtype::F32, &[1], &[0, 0, 128, 63])]);
    let read = read_bytes(&whole).unwrap();
    for ((wide, want), got) in cases.iter().zip(get(&read.tensors, "wide").data()) {
        let same = got == want || got.is_nan() && want.is_nan();
        assert!(same, "{wide:e} became {got:e}, not {want:e}");
    }
    assert_eq!(read.rounded, ["wide"]);

    // More elements than are read at a time, the first that is too large among them.
    let mut many = vec![0.5f64; 40_000];
    (many[33_000], many[39_000]) = (-1e39, 1e300);
    let many: Vec<u8> = many.iter().flat_map(|v| v.to_le_bytes()).collect();
    let whole = file(&[
        ("many", Dtype::F64, &[200, 200], &many),
        ("after", Dtype::F32, &[1], &[0, 0, 128, 63]),
    ]);
    let read = read_bytes(&whole).unwrap();
    let reason = Reason::TooLarge { element: 33_000, value: -1e39 };
    assert_eq!(read.left_out, [left("many", "F64", &[200, 200], reason)]);
    let said = read.left_out[0].to_string();
    assert_eq!(said, "many [200, 200] has -1e39 at element 33000, too large for f32");
    assert_eq!(read.tensors, dict(&[("after", Array::new(vec![1.0], &[1]).unwrap())]));
}

/// Each by its name and its size in bits, those of less than a byte too.
#[test]
fn every_type_of_the_format_is_known() {
    let types = [
        ("F64", 64),
        ("F32", 32),
        ("F16", 16),
        ("BF16", 16),
        ("I64", 64),
        ("I32", 32),
        ("I16", 16),
        ("I8", 8),
        ("U64", 64),
        ("U32", 32),
        ("U16", 16),
        ("U8", 8),
        ("BOOL", 8),
        ("C64", 64),
        ("F8_E4M3", 8),
        ("F8_E5M2", 8),
        ("F8_E8M0", 8),
        ("F8_E4M3FNUZ", 8),
        ("F8_E5M2FNUZ", 8),
        ("F6_E2M3", 6),
        ("F6_E3M2", 6),
        ("F4", 4),
    ];
    let of = |dtype: &str, count: usize, bytes: usize| {
        let header = format!(
            r#"{{"w":{{"dtype":"{dtype}","shape":[{count}],"data_offsets":[0,{bytes}]}}}}"#
        );
        let length = (header.len() as u64).to_le_bytes();
        parse("model", &[&length, header.as_bytes(), &vec![0; bytes]].concat())
    };
    for (dtype, bits) in types {
        let read = of(dtype, 8, bits).unwrap();
        if ["F64", "F32", "F16", "BF16"].contains(&dtype) {
            assert_eq!(get(&read.tensors, "w").data(), [0.0; 8]);
        } else {
            assert_eq!(read.left_out, [left("w", dtype, &[8], Reason::Type)]);
        }
        for bytes in [bits - 1, bits + 1] {
            let problem = of(dtype, 8, bytes).unwrap_err().to_string();
            let expected = format!("isn't of its shape [8] of {dtype}");
            assert!(problem.contains(&expected), "{problem}");
        }
        // Elements that aren't whole bytes.
        if bits < 8 {
            assert!(of(dtype, 1, 1).unwrap_err().to_string().contains("of its shape [1]"));
        }
        // The crate of the format's makers says the same.
        let known: Dtype = serde_json::from_str(&format!("\"{dtype}\"")).unwrap();
        assert_eq!(known.bitsize(), bits);
    }
    // A type of a later time.
    assert_eq!(of("F2_LATER", 8, 3).unwrap().left_out[0].dtype, "F2_LATER");
}

#[test]
fn a_part_of_a_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let tensors = dict(&[
        ("decoder.weight", counted(0, &[3])),
        ("encoder.weight", counted(3, &[2, 2])),
        ("encoder2.weight", counted(7, &[1])),
    ]);
    write(&path, &tensors, &HashMap::new()).unwrap();
    let part = read_part(&path, |name| name.starts_with("encoder.")).unwrap();
    assert_eq!(part.tensors, tensors[1..2]);
    assert_eq!(
        part.left_out,
        [
            left("decoder.weight", "F32", &[3], Reason::NotAsked),
            left("encoder2.weight", "F32", &[1], Reason::NotAsked),
        ]
    );
    // With the dot or without.
    for prefix in ["encoder.", "encoder"] {
        let whole = read(&path).unwrap();
        let stripped = dict(&[("weight", counted(3, &[2, 2]))]);
        assert_eq!(with_prefix(&whole.tensors, prefix), stripped);
        assert_eq!(whole.with_prefix(prefix).tensors, stripped);
        assert_eq!(prefixed(&stripped, prefix), tensors[1..2]);
        let part = part.with_prefix("decoder");
        assert_eq!(part.left_out, [left("weight", "F32", &[3], Reason::NotAsked)]);
    }
    // Names that go on with something else.
    let flat = dict(&[("lstm_weight", counted(0, &[1]))]);
    assert_eq!(with_prefix(&flat, "lstm_")[0].0, "weight");
    assert_eq!(with_prefix(&flat, "lstm")[0].0, "_weight");
    assert_eq!(prefixed(&flat, "a_")[0].0, "a_lstm_weight");
    assert_eq!(with_prefix(&flat, ""), flat);
}

/// One model is one file, whatever a hash map's order is this time.
#[test]
fn the_same_content_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut tensors: Vec<(String, Array)> =
        (0..9).map(|i| (format!("w{i}"), counted(i, &[i + 1]))).collect();
    let texts = |i: usize| (format!("key \"{i}\" é"), format!("text\n{i}"));
    let mut first = None;
    for turn in 0..9 {
        let mut metadata = HashMap::new();
        metadata.extend((0..20).map(|i| texts((i + 7 * turn) % 20)));
        tensors.rotate_left(turn);
        write(&path, &tensors, &metadata).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "turn {turn}");
        assert_eq!(read(&path).unwrap().metadata, metadata);
        // The format's own crate reads it.
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("w8").unwrap().shape(), [9]);
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref(), Some(&metadata));
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert!(length.is_multiple_of(8), "data is aligned");
    }
}

#[test]
fn nothing_is_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path, &[], &HashMap::new()).unwrap();
    assert_eq!(read(&path).unwrap(), Checkpoint::default());
    assert_eq!(parse("it", &fs::read(&path).unwrap()).unwrap(), Checkpoint::default());
}

/// A file of another kind says what it is and how to make a safetensors file of it.
#[test]
fn files_of_other_kinds_are_named() {
    let zip = |first: &str, others: &str| {
        let mut bytes = b"PK\x03\x04\x14\0\0\0\0\0".to_vec();
        bytes.resize(30, 0);
        bytes.extend(first.as_bytes());
        bytes.resize(9000, 7);
        [&bytes, others.as_bytes(), b"PK\x05\x06", &[0; 18]].concat()
    };
    let hdf5 = b"\x89HDF\r\n\x1a\n\0\0\0\0";
    let text = |text: &str| text.as_bytes().to_vec();
    let cases: [(Vec<u8>, &[&str]); 31] = [
        (Vec::new(), &["empty", "cut short"]),
        (
            zip("archive/data.pkl", "archive/data/0"),
            &["PyTorch", "torch.load(\"it.bin\"", "save_file"],
        ),
        (zip("m/.format_version", "m/data.pkl"), &["PyTorch", "save_file"]),
        (zip("m/data.pkl", "m/code/m.pym/constants.pkl"), &["TorchScript", "torch.jit.load"]),
        (zip("arr_0.npy", "arr_1.npy"), &[".npz", "numpy.load(\"it.bin\")"]),
        (zip("metadata.json", "config.jsonmodel.weights.h5"), &["Keras", "from_keras"]),
        (zip("word/document.xml", ""), &["zip archive"]),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(), &["PyTorch", "torch.load"]),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}.".to_vec(), &["pickle", "trust"]),
        (b"\x93NUMPY\x01\0v\0{'descr': '<f4'".to_vec(), &[".npy", "numpy.load"]),
        (hdf5.to_vec(), &["HDF5", "Keras", "from_keras"]),
        ([&[0; 512], &hdf5[..]].concat(), &["HDF5"]),
        (b"\x08\x0a\x12\x07pytorch\x1a\x052.9.1:".to_vec(), &["ONNX", "onnx.load", "from_onnx"]),
        (b"\x08\x07:\xff\x01graph".to_vec(), &["ONNX"]),
        (b"GGUF\x03\0\0\0\x01\0\0\0\0".to_vec(), &["GGUF"]),
        (b"\x1c\0\0\0TFL3\x14\0 \0".to_vec(), &["TFLite"]),
        (b"PAR1\x15\x04\x15\x10".to_vec(), &["Parquet"]),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), &["compressed", "unpack"]),
        (
            text("{\"modelTopology\": {}, \"weightsManifest\": []}"),
            &["TensorFlow.js", "tensorflowjs_converter"],
        ),
        (text("{\"in_shape\": [null, 1], \"layers\": []}"), &["RTNeural", "lstm/recurrent_kernel"]),
        (
            text("{\"version\": \"0.5.4\", \"architecture\": \"LSTM\"}"),
            &["Neural Amp Modeler", "checkpoint"],
        ),
        (
            text("<?xml version=\"1.0\"?>\n<net name=\"m\" version=\"11\">"),
            &["OpenVINO", "an ONNX file"],
        ),
        (text("7767517\n3 3\nInput in 0 1 in\n"), &["ncnn", "an ONNX file"]),
        (
            text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1234\n"),
            &["Git LFS", "git lfs pull"],
        ),
        (text("/annex/objects/SHA256E-s1--ab.safetensors\n"), &["git-annex"]),
        (text("\n<!DOCTYPE html>\n<html><body>Sign in</body>"), &["HTML page", "download"]),
        (text("<html lang=\"en\">a page</html>"), &["HTML page"]),
        (text("<?xml version=\"1.0\"?><Error/>"), &["XML"]),
        (
            text("{\"metadata\": {}, \"weight_map\": {\"w\": \"1.safetensors\"}}"),
            &["index", "several"],
        ),
        (text("{\"layers\": [1, 2, 3]}"), &["JSON"]),
        (text("a text, not tensors"), &["cut short or not a safetensors file"]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.bin");
    for (bytes, words) in cases {
        fs::write(&path, &bytes).unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{said}: not {words:?}");
        assert!(said.contains("not a safetensors file"), "{said}");
        assert!(
            said.contains("it.bin") && !said.contains("claims a header")
                || words[0] == "cut short or not a safetensors file",
            "{said}"
        );
        assert_eq!(parse(&path, &bytes).unwrap_err().to_string(), said);
        let loaded = gatefold::Forecaster::load(&gatefold::Device::cpu(), &path);
        assert_eq!(loaded.err().unwrap().to_string(), said);
    }
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let odd = [f32::NAN, f32::NEG_INFINITY, -0.0, f32::MIN_POSITIVE / 2.0];
    let tensors = dict(&[
        ("b", counted(0, &[2, 3, 4])),
        ("a", counted(50, &[])),
        ("odd", Array::new(odd.to_vec(), &[4]).unwrap()),
    ]);
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write(&path, &tensors, &metadata).unwrap();
    let read = read(&path).unwrap();
    assert_eq!(read.metadata, metadata);
    assert_eq!(read.tensors[..2], [tensors[1].clone(), tensors[0].clone()]);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(read.tensors[2].1.data()), bits(&odd));
}

#[test]
fn names_that_a_file_cant_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let one = counted(0, &[1]);
    let names = ["a", "b", "a", "__metadata__", "c", "c"];
    let tensors = dict(&names.map(|name| (name, one.clone())));
    let Err(error) = write(&path, &tensors, &HashMap::new()) else { panic!("no error") };
    assert!(matches!(error, Error::Value { .. }));
    assert!(error.to_string().ends_with("got a, __metadata__, c"), "{error}");
    assert!(!path.exists());
    assert!(matches!(read(&path), Err(Error::Io { .. })));
    let nowhere = folder.path().join("missing").join("model.safetensors");
    assert!(matches!(write(nowhere, &dict(&[("a", one)]), &HashMap::new()), Err(Error::Io { .. })));
}
