//! What goes over sequences: copies, pools, dropout.

use criterion::Throughput;
use gatefold::kernels::{self, Padding};
use gatefold::reference::{Alignment, Dropout, Pool, SlotAtLength, Strides};

use super::case::{Builder, Case};

/// The launches, cut as plans for the device cut them.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let new = Builder::default;

    let (steps, batch, width) = (128, 64, 128);
    let shape = format!("{steps} x {batch} x {width}");
    let bytes = Throughput::Bytes(8 * (steps * batch * width) as u64);
    let mut b = new();
    let source = (Strides::batch_first(steps, width), b.buffer(steps * batch * width));
    let copied = (Strides::time_major(batch, width), b.buffer(steps * batch * width));
    let lengths = b.given((0..batch).map(|row| (row * steps / batch) as f32).collect());
    let padding = (Padding(Some(lengths)), 0);
    let size = (steps, batch, width);
    let launch = kernels::copy_sequence::dispatch(size, source, copied, padding, false);
    cases.push(b.case("copy_sequence", shape.clone(), bytes.clone(), launch));

    let mut b = new();
    let source = (Strides::time_major(batch, width), b.buffer(steps * batch * width));
    let copied = (Strides::time_major(batch, width), b.buffer(steps * batch * width));
    let lengths = b.given((0..batch).map(|row| (row * steps / batch) as f32).collect());
    let alignment = Alignment { from_right: true, to_right: false, reverse: true };
    let (all, size, padding) = ((0, steps, steps), (batch, width), Padding(Some(lengths)));
    let launch = kernels::align_sequence::dispatch(
        alignment,
        all,
        size,
        (0, steps),
        padding,
        source,
        copied,
    );
    cases.push(b.case("align_sequence", shape.clone(), bytes.clone(), launch));

    let mut b = new();
    let sequence = (Strides::time_major(batch, width), b.buffer(steps * batch * width));
    let lengths = b.given((0..batch).map(|row| (row * steps / batch) as f32).collect());
    let rows = (width, b.buffer(batch * width));
    let slot = SlotAtLength { longest: steps, offset: 0, first: 0, slots: steps };
    let way = kernels::copy_at_length::Way::Gather;
    let size = (batch, width);
    let launch = kernels::copy_at_length::dispatch(way, size, slot, lengths, sequence, rows, false);
    let few = Throughput::Bytes(8 * (batch * width) as u64);
    cases.push(b.case("copy_at_length", shape.clone(), few, launch));

    let elements = Throughput::Bytes(4 * (steps * batch * width) as u64);
    let mut b = new();
    let h = (Strides::time_major(batch, width), b.buffer(steps * batch * width));
    let pooled = b.buffer(2 * batch * width);
    let (some, size, none) = ((0, steps, steps), (batch, width), Padding(None));
    let launch = kernels::pool_over_time::dispatch(Pool::Max, some, size, none, h, pooled);
    cases.push(b.case("pool_over_time", shape.clone(), elements.clone(), launch));

    let mut b = new();
    let (d, pooled) = (b.buffer(batch * width), b.buffer(2 * batch * width));
    let dh = b.buffer(steps * batch * width);
    let mean = Pool::Mean;
    let launch =
        kernels::pool_over_time_backward::dispatch(mean, some, size, none, (d, pooled), dh);
    cases.push(b.case("pool_over_time_backward", shape.clone(), elements, launch));

    let mut b = new();
    let key = b.given(Dropout::halves([1, 2]).to_vec());
    let x = b.buffer(steps * batch * width);
    // Nothing is lost over many runs: the numbers stay what they are, or become zero.
    let drop = Dropout { scale: 1.0, ..Dropout::new(0.5) };
    let launch = kernels::dropout::dispatch(drop, [0; 4], (steps, batch, width), key, x);
    cases.push(b.case("dropout", shape, bytes, launch));
    cases
}
