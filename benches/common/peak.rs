//! What an executor can do at best, measured in the same run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatefold::command::{BufferSpec, Command, Operation, Owner, Program};
use gatefold::kernels::{self, View};
use gatefold::plan::product_tile;
use gatefold::reference::Product;
use gatefold::{Device, Result};

/// What shares are shares of.
pub struct Peak {
    /// Floating-point operations a second; a multiply-add is two.
    pub flops: f64,
    /// What it is, for a sentence.
    pub what: String,
    /// The same behind a share of it.
    pub short: &'static str,
}

impl Peak {
    /// Of a GPU the best of a few large products of this crate: a share of it says how a sequence
    /// compares with a plain product, not with what the device could do.
    pub fn measure(device: &Device) -> Result<Peak> {
        if device.as_gpu().is_none() {
            let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
            let what = format!("multiply-adds in registers on {threads} threads");
            return Ok(Peak { flops: gatefold::cpu::peak_flops(threads), what, short: "peak" });
        }
        let mut best = (0.0, 0);
        for size in [256, 512, 1024, 2048, 4096] {
            let (flops, taken) = product(device, size)?;
            if flops > best.0 {
                best = (flops, size);
            }
            // The next size takes eight times as long.
            if taken > Duration::from_millis(50) {
                break;
            }
        }
        let (flops, size) = best;
        let what = format!("the best product of this crate, {size} x {size} x {size}");
        Ok(Peak { flops, what, short: "best product" })
    }
}

/// The fastest of a few products of square matrices.
fn product(device: &Device, size: usize) -> Result<(f64, Duration)> {
    let mut program = Program::default();
    let mut view = |name: &str| {
        let (name, shape, len) = (name.to_owned(), format!("[{size}, {size}]"), size * size);
        let buffer =
            program.add(BufferSpec { name, shape, len, slots: 1, owner: Owner::Workspace });
        View::of(program.whole(buffer))
    };
    let (a, b, c) = (view("a"), view("b"), view("c"));
    let shape = Product::dense(size, size, size, false, false);
    let launch = kernels::matmul::dispatch(&shape, a, b, &[], c);
    let launch = kernels::matmul::with_tile(launch, product_tile(&device.limits(), &shape));
    let operation = Operation::Dispatch(launch);
    program.commands.push(Command { label: "product".to_owned(), operation });
    // SAFETY: a product of three whole matrices.
    let session = device.session(&Arc::new(unsafe { program.trusted(device.table()) }))?;
    let ones = vec![1.0; size * size];
    session.write("a", &ones)?;
    session.write("b", &ones)?;
    let mut fastest = Duration::MAX;
    // The first compiles the kernel.
    for _ in 0..4 {
        let start = Instant::now();
        session.run()?;
        session.wait()?;
        fastest = fastest.min(start.elapsed());
    }
    assert!(session.read("c")?.iter().all(|&c| c == size as f32), "the product is wrong");
    Ok((2.0 * (size as f64).powi(3) / fastest.as_secs_f64(), fastest))
}
