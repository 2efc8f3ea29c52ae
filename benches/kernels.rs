//! Every kernel on every executor that is there, each verified against its f64 twin first.
//!
//! `cargo bench` prints the time of one launch, with submission and wait on a GPU. A missing
//! adapter is said, not invented. README.md beside this file says what is and is not timed.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use gatefold::Device;
use gatefold::command::{BufferSpec, Command, Dispatch, Operation, Owner, Program, Range};
use gatefold::gpu::Adapter;
use gatefold::kernels::{self, Directions, Padding, View, lstm_step_backward, lstm_step_forward};
use gatefold::lockstep::lockstep;
use gatefold::reference::{AdamConstants, Dropout, Product, SlotAtLength, Strides};

/// One launch and what it moves.
struct Case {
    kernel: &'static str,
    shape: String,
    program: Program,
    /// What the buffers hold at first.
    contents: Vec<Vec<f32>>,
    /// Floating-point operations, or bytes where a kernel hardly computes.
    throughput: Throughput,
}

#[derive(Default)]
struct Builder {
    program: Program,
    contents: Vec<Vec<f32>>,
}

impl Builder {
    /// A buffer of numbers in (0, 1), since second moments must not be negative.
    fn buffer(&mut self, len: usize) -> View {
        let seed = self.contents.len() + 7;
        self.given((1..=len).map(|i| (i * seed * 7919 % 10_007) as f32 / 10_008.0 + 5e-5).collect())
    }

    fn given(&mut self, contents: Vec<f32>) -> View {
        let (name, len) = (format!("buffer {}", self.contents.len()), contents.len());
        let shape = format!("[{len}]");
        let spec = BufferSpec { name, shape, len, slots: 1, owner: Owner::Workspace };
        self.contents.push(contents);
        View::of(Range { buffer: self.program.add(spec), start: 0, len })
    }

    fn case(
        mut self,
        kernel: &'static str,
        shape: String,
        throughput: Throughput,
        launch: Dispatch,
    ) -> Case {
        let operation = Operation::Dispatch(launch);
        self.program.commands.push(Command { label: kernel.to_owned(), operation });
        Case { kernel, shape, program: self.program, contents: self.contents, throughput }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let new = Builder::default;

    let (m, n, k) = (768, 512, 128);
    let mut b = new();
    let (x, w, y) = (b.buffer(m * k), b.buffer(k * n), b.buffer(m * n));
    let launch = kernels::matmul::dispatch(&Product::dense(m, n, k, false, false), x, w, &[], y);
    let flop = Throughput::Elements(2 * (m * n * k) as u64);
    cases.push(b.case("matmul", format!("{m} x {n} x {k}"), flop, launch));

    let (batch, hidden) = (32, 128);
    let slot = batch * hidden;
    let flop = Throughput::Elements((8 * slot * hidden) as u64);
    let mut b = new();
    let (u, gates) = (b.buffer(4 * hidden * hidden), b.buffer(4 * slot));
    let (h, c, z) = (b.buffer(2 * slot), b.buffer(2 * slot), b.buffer(1));
    let sizes = lstm_step_forward::Shape { batch, hidden, terms: hidden, h_row: hidden };
    let bound = lstm_step_forward::Bindings {
        u: u.range,
        gates: gates.range,
        h: h.range,
        c: c.range,
        z: z.range,
    };
    let at = lstm_step_forward::At { h: slot, c: slot, ..Default::default() };
    let launch = lstm_step_forward::dispatch(&sizes, &bound, Directions::One(at), Padding(None));
    let shape = format!("B {batch}, H {hidden}");
    cases.push(b.case("lstm_step_forward", shape.clone(), flop.clone(), launch));

    let mut b = new();
    let w = b.buffer(4 * hidden * hidden);
    let (c, dy, gates, dc) =
        (b.buffer(2 * slot), b.buffer(slot), b.buffer(8 * slot), b.buffer(slot));
    let sizes = lstm_step_backward::Shape { batch, hidden, dy_row: hidden, terms: hidden };
    let bound = lstm_step_backward::Bindings {
        w: w.range,
        c: c.range,
        dy: Some(dy.range),
        dh: None,
        gates: gates.range,
        dc: dc.range,
    };
    let at = lstm_step_backward::At { incoming: Some(4 * slot), c: slot, ..Default::default() };
    let launch = lstm_step_backward::dispatch(&sizes, &bound, Directions::One(at), Padding(None));
    cases.push(b.case("lstm_step_backward", shape, flop, launch));

    let (rows, columns) = (2048, 512);
    let mut b = new();
    let (a, out) = (b.buffer(rows * columns), b.buffer(rows / 256 * columns));
    let launch = kernels::column_sum::dispatch(rows, columns, 256, a, out);
    let bytes = Throughput::Bytes(4 * (rows * columns) as u64);
    cases.push(b.case("column_sum", format!("{rows} x {columns}"), bytes, launch));

    let len = 1 << 20;
    let mut b = new();
    let (a, out) = (b.buffer(len), b.buffer(len / 65_536));
    let launch = kernels::reduce_sum::dispatch(len, 65_536, 1.0, a, out);
    cases.push(b.case("reduce_sum", format!("{len}"), Throughput::Bytes(4 * len as u64), launch));

    let mut b = new();
    let (y, target, dy) = (b.buffer(len), b.buffer(len), b.buffer(len));
    let partials = b.buffer(len / kernels::mse_loss::CHUNK);
    let launch = kernels::mse_loss::dispatch(len, y, target, dy, partials);
    cases.push(b.case("mse_loss", format!("{len}"), Throughput::Bytes(12 * len as u64), launch));

    let mut b = new();
    let scalars = b.given(vec![1e-3, 0.5]); // a usual step
    let [g, p, m, v] = [(); 4].map(|()| b.buffer(len));
    let constants = AdamConstants {
        beta2: 0.999,
        one_minus_beta1: 0.1,
        one_minus_beta2: 0.001,
        eps: 1e-8,
        weight_decay: 0.0,
    };
    let operands = kernels::adam::Operands { scalars, g, p, m, v };
    let launch = kernels::adam::dispatch(len, &constants, &operands);
    cases.push(b.case("adam", format!("{len}"), Throughput::Bytes(28 * len as u64), launch));

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
    let sequence = (Strides::time_major(batch, width), b.buffer(steps * batch * width));
    let lengths = b.given((0..batch).map(|row| (row * steps / batch) as f32).collect());
    let rows = (width, b.buffer(batch * width));
    let slot = SlotAtLength { longest: steps, offset: 0, first: 0, slots: steps };
    let way = kernels::copy_at_length::Way::Gather;
    let size = (batch, width);
    let launch = kernels::copy_at_length::dispatch(way, size, slot, lengths, sequence, rows, false);
    let few = Throughput::Bytes(8 * (batch * width) as u64);
    cases.push(b.case("copy_at_length", shape.clone(), few, launch));

    let mut b = new();
    let key = b.given(Dropout::halves([1, 2]).to_vec());
    let x = b.buffer(steps * batch * width);
    // Nothing is lost over many runs: the numbers stay what they are, or become zero.
    let drop = Dropout { scale: 1.0, ..Dropout::new(0.5) };
    let launch = kernels::dropout::dispatch(drop, [0; 4], (steps, batch, width), key, x);
    cases.push(b.case("dropout", shape, bytes, launch));
    cases
}

fn main() {
    let mut executors = vec![("cpu".to_owned(), Device::cpu())];
    match Adapter::all().first().map(|a| (a.name().to_owned(), a.open())) {
        None => println!("GPU: skipped, no adapter on this machine"),
        Some((name, Err(error))) => println!("{name}: skipped, {error}"),
        Some((name, Ok(gpu))) => {
            let short = name.split([' ', '(']).next().unwrap_or("gpu").to_lowercase();
            executors.push((short, Device::from_gpu(gpu)));
        }
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    for (name, device) in &executors {
        println!("{name}: {device}");
    }
    for case in cases() {
        let program = Arc::new(case.program);
        let names = program.buffers.iter().map(|spec| spec.name.as_str());
        let inputs: Vec<(&str, &[f32])> =
            names.zip(case.contents.iter().map(Vec::as_slice)).collect();
        let mut group = criterion.benchmark_group(case.kernel);
        group.throughput(case.throughput);
        for (name, device) in &executors {
            // A kernel that is wrong isn't timed.
            if let Err(error) = lockstep(device, &program, &inputs) {
                panic!("{error}");
            }
            let session = device.session(&program).expect("the case fits every device");
            for (name, values) in &inputs {
                session.write(name, values).expect("the case's own buffer");
            }
            group.bench_function(format!("{name}/{}", case.shape), |bencher| {
                bencher.iter_custom(|iterations| {
                    let start = std::time::Instant::now();
                    for _ in 0..iterations {
                        session.run().expect("the device runs");
                    }
                    session.wait().expect("the device runs");
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
