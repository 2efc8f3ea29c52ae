//! Files: types, shapes, names.

use std::collections::HashMap;
use std::fs;

use gatefold::checkpoint::{Checkpoint, read, write};
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

#[test]
fn every_tensor_of_another_type_is_named() {
    let four = [0u8; 8];
    let whole = file(&[
        ("steps", Dtype::I64, &[1], &four),
        ("fine", Dtype::F32, &[2], &four),
        ("wide", Dtype::F64, &[1], &four),
        ("empty", Dtype::F32, &[0, 3], &[]),
    ]);
    let Err(Error::Checkpoint { problem, .. }) = read_bytes(&whole) else { panic!("no error") };
    assert_eq!(
        problem,
        "empty has shape [0, 3]; steps is I64, only F32, F16 and BF16 are read; \
         wide is F64, only F32, F16 and BF16 are read"
    );
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
