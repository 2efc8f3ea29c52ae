//! Tokens, and rows of classes.

use criterion::Throughput;
use gatefold::kernels::{self, Padding};
use gatefold::reference::{Nonlinearity, sort_tokens};

use super::case::{Builder, Case};

/// The launches, cut as plans for the device cut them.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let new = Builder::default;

    let (rows, vocab, width) = (8192, 10_000, 128);
    let shape = format!("{rows} of {vocab} x {width}");
    let bytes = Throughput::Bytes(8 * (rows * width) as u64);
    // A few frequent tokens and many rare ones, as in text.
    let token = |r: usize| r * 7919 % vocab / (1 + r % 97);
    let tokens: Vec<f32> = (0..rows).map(|r| token(r) as f32).collect();
    let mut b = new();
    let (tokens, weight) = (b.given(tokens), b.buffer(vocab * width));
    let out = b.buffer(rows * width);
    let launch = kernels::embedding::dispatch((rows, vocab, width), tokens, weight, out);
    cases.push(b.case("embedding", shape.clone(), bytes.clone(), launch));

    let mut b = new();
    let (order, offsets) = sort_tokens((0..rows).map(|r| Some(token(r))), vocab);
    let operands = kernels::embedding_backward::Operands {
        dy: b.buffer(rows * width),
        order: b.given(order),
        offsets: b.given(offsets),
        dweight: b.buffer(vocab * width),
    };
    let launch =
        kernels::embedding_backward::dispatch((vocab, width), 0, (0, rows), false, &operands);
    let bytes = Throughput::Bytes(4 * ((rows + vocab) * width) as u64);
    cases.push(b.case("embedding_backward", shape, bytes, launch));

    let (rows, classes) = (2048, 1000);
    let shape = format!("{rows} x {classes}");
    let bytes = Throughput::Bytes(4 * (rows * classes) as u64);
    let classes_of_rows = || (0..rows).map(|r| (r * 7919 % classes) as f32).collect();
    let mut b = new();
    let (tokens, out) = (b.given(classes_of_rows()), b.buffer(rows * classes));
    let launch = kernels::one_hot::dispatch((rows, classes), tokens, out);
    cases.push(b.case("one_hot", shape.clone(), bytes.clone(), launch));

    let mut b = new();
    let (logits, probabilities) = (b.buffer(rows * classes), b.buffer(rows * classes));
    let launch = kernels::softmax::dispatch((rows, classes), logits, probabilities);
    let both = Throughput::Bytes(8 * (rows * classes) as u64);
    cases.push(b.case("softmax", shape.clone(), both, launch));

    let mut b = new();
    let (logits, out) = (b.buffer(rows * classes), b.buffer(rows));
    let launch = kernels::argmax::dispatch((rows, classes), logits, out);
    cases.push(b.case("argmax", shape.clone(), bytes.clone(), launch));

    let mut b = new();
    let (logits, targets) = (b.buffer(rows * classes), b.given(classes_of_rows()));
    let correct = b.buffer(rows);
    let padding = Padding(None);
    let operands = kernels::accuracy::Operands { logits, targets, padding, weights: None, correct };
    let launch = kernels::accuracy::dispatch((0, rows), (32, classes), -100.0, &operands);
    cases.push(b.case("accuracy", shape.clone(), bytes, launch));

    let mut b = new();
    let (logits, out) = (b.buffer(rows * classes), b.buffer(rows * classes));
    let sigmoid = Some(Nonlinearity::Sigmoid);
    let launch = kernels::nonlinearity::dispatch(rows * classes, sigmoid, logits, out);
    let both = Throughput::Bytes(8 * (rows * classes) as u64);
    cases.push(b.case("nonlinearity", shape.clone(), both, launch));

    let mut b = new();
    let (x, d) = (b.buffer(rows * classes), b.buffer(rows * classes));
    let relu = Nonlinearity::Relu;
    let launch = kernels::nonlinearity_backward::dispatch(rows * classes, relu, x, d);
    let read_and_written = Throughput::Bytes(12 * (rows * classes) as u64);
    cases.push(b.case("nonlinearity_backward", shape.clone(), read_and_written, launch));

    let mut b = new();
    let operands = kernels::binary_accuracy::Operands {
        logits: b.buffer(rows * classes),
        targets: b.buffer(rows * classes),
        padding,
        weights: None,
        correct: b.buffer(rows * classes),
    };
    let (all, size) = ((0, rows * classes), (32, classes));
    let launch = kernels::binary_accuracy::dispatch(all, size, &operands);
    let all = Throughput::Bytes(12 * (rows * classes) as u64);
    cases.push(b.case("binary_accuracy", shape, all, launch));
    cases
}
