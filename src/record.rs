//! Work in a caller's encoder, over a caller's buffers.
//!
//! A call copies from the caller's buffers into a workspace, runs there, and copies back; all of it
//! in the caller's encoder. So a buffer needs no more than a copy's alignment and flags, and after
//! the first call of a shape nothing is created: no bind group names a caller's buffer.

use wgpu::{BufferSlice, BufferUsages, CommandEncoder};

use crate::device::{Device, Session};
use crate::error::{Error, Result};

/// A part of a caller's buffer, and what it is for.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    /// Its name in errors.
    pub(crate) name: &'static str,
    pub(crate) slice: BufferSlice<'a>,
    /// Elements (f32) that are read or written.
    pub(crate) len: usize,
}

/// Checks what a caller gives: `inputs` are read, `outputs` written, `states` both.
pub(crate) fn expect(
    operation: &'static str,
    device: &Device,
    inputs: &[Given<'_>],
    outputs: &[Given<'_>],
    states: &[Given<'_>],
) -> Result<()> {
    let refused = |given: &Given<'_>, expected: &str, got: String| {
        Err(Error::Value {
            operation,
            name: given.name.to_owned(),
            expected: expected.to_owned(),
            got,
        })
    };
    let Some(gpu) = device.as_gpu() else {
        return Err(Error::Value {
            operation,
            name: "device".to_owned(),
            expected: "a GPU, since it records into an encoder of wgpu".to_owned(),
            got: device.to_string(),
        });
    };
    gpu.expect_alive(operation)?;
    let needs = [
        (inputs, BufferUsages::COPY_SRC),
        (outputs, BufferUsages::COPY_DST),
        (states, BufferUsages::COPY_SRC | BufferUsages::COPY_DST),
    ];
    for (given, usage) in needs.iter().flat_map(|(all, usage)| all.iter().map(|g| (g, *usage))) {
        let (buffer, offset) = (given.slice.buffer(), given.slice.offset());
        if !offset.is_multiple_of(4) {
            return refused(given, "at an offset of whole f32, 4 bytes", format!("at {offset}"));
        }
        if given.slice.size() < 4 * given.len as u64 {
            return Err(Error::Shape {
                operation,
                tensor: given.name.to_owned(),
                expected: format!("at least {} bytes", 4 * given.len),
                got: format!("{} bytes", given.slice.size()),
            });
        }
        if !buffer.usage().contains(usage) {
            let missing = usage - buffer.usage();
            return refused(
                given,
                &format!("with {}", said(usage)),
                format!("without {}", said(missing)),
            );
        }
        if !gpu.owns(buffer)? {
            return Err(Error::OtherDevice { operation, tensor: given.name.to_owned() });
        }
    }
    // What is written has a buffer that nothing else is read from; results of one kind may share one,
    // side by side.
    let kinds = [inputs, outputs, states];
    for (kind, written) in kinds.iter().enumerate().skip(1) {
        for (i, one) in written.iter().enumerate() {
            for (other_kind, others) in kinds.iter().enumerate() {
                for (j, other) in others.iter().enumerate() {
                    let itself = kind == other_kind && i == j;
                    let apart = kind == other_kind && !overlap(one, other);
                    if itself || apart || one.slice.buffer() != other.slice.buffer() {
                        continue;
                    }
                    let got = format!("in the buffer of {}", other.name);
                    return refused(one, "in a buffer of its own", got);
                }
            }
        }
    }
    Ok(())
}

fn overlap(a: &Given<'_>, b: &Given<'_>) -> bool {
    let range =
        |given: &Given<'_>| given.slice.offset()..given.slice.offset() + 4 * given.len as u64;
    let (a, b) = (range(a), range(b));
    a.start < b.end && b.start < a.end
}

/// Records copies from the caller's buffers to a session's.
pub(crate) fn copy_in(
    encoder: &mut CommandEncoder,
    session: &Session,
    given: &[(Given<'_>, &str)],
) {
    for (given, name) in given {
        let (to, start) = session.known_part(name);
        if let Some(to) = to.as_wgpu() {
            let (from, size) = (given.slice.buffer(), 4 * given.len as u64);
            let (offset, start) = (given.slice.offset(), 4 * start as u64);
            encoder.copy_buffer_to_buffer(from, offset, to, start, Some(size));
        }
    }
}

/// Records a copy from a session's buffer, from element `start` on, to the caller's.
pub(crate) fn copy_out(
    encoder: &mut CommandEncoder,
    session: &Session,
    name: &str,
    start: usize,
    given: &Given<'_>,
) {
    if let Some(from) = session.known(name).as_wgpu() {
        let (to, size) = (given.slice.buffer(), 4 * given.len as u64);
        let offset = given.slice.offset();
        encoder.copy_buffer_to_buffer(from, 4 * start as u64, to, offset, Some(size));
    }
}

/// Usages by wgpu's names of them.
fn said(usages: BufferUsages) -> String {
    usages.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" and ")
}
