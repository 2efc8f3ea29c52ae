//! Every kernel of a device against its f64 twin.

use std::collections::BTreeSet;
use std::sync::Arc;

use gatefold::Device;
use gatefold::command::{
    BufferId, BufferSpec, Command, Dispatch, Operation, Owner, Program, Range,
};
use gatefold::kernels::{self, View};
use gatefold::lockstep::lockstep;
use gatefold::reference::{AdamConstants, Product};

use super::CHECKS;
use super::random::{POISON, SIZES, gates, normal};

/// One launch over buffers with given contents.
pub struct Launch {
    pub program: Program,
    pub contents: Vec<Vec<f32>>,
}

impl Launch {
    pub fn new() -> Launch {
        Launch { program: Program::default(), contents: Vec::new() }
    }

    /// A buffer with these contents; the operand starts at `start`.
    pub fn buffer(&mut self, contents: Vec<f32>, start: usize) -> View {
        let (name, len) = (format!("buffer {}", self.contents.len()), contents.len());
        let shape = format!("[{len}]");
        let id =
            self.program.add(BufferSpec { name, shape, len, slots: 1, owner: Owner::Workspace });
        self.contents.push(contents);
        View { range: Range { buffer: id, start: 0, len }, start }
    }

    /// A buffer that has to be overwritten.
    pub fn poisoned(&mut self, len: usize) -> View {
        self.buffer(vec![POISON; len], 0)
    }

    /// Runs on the device and beside the twin; panics where they differ.
    pub fn check(mut self, device: &Device, dispatch: Dispatch, what: String) {
        self.program
            .commands
            .push(Command { label: what, operation: Operation::Dispatch(dispatch) });
        let names: Vec<String> = self.program.buffers.iter().map(|b| b.name.clone()).collect();
        let inputs: Vec<(&str, &[f32])> =
            names.iter().zip(&self.contents).map(|(n, c)| (n.as_str(), c.as_slice())).collect();
        let program = Arc::new(self.program.clone());
        if let Err(error) = lockstep(device, &program, &inputs) {
            panic!("{error}");
        }
        // The comparison itself: against zeros, something was written.
        let session = device.session(&program).unwrap();
        for (name, values) in &inputs {
            session.write(name, values).unwrap();
        }
        session.run().unwrap();
        let written =
            (0..names.len()).any(|i| session.read(&names[i]).unwrap() != self.contents[i]);
        assert!(written, "{}: the launch wrote nothing", self.program.commands[0].label);
    }
}

/// Sizes with awkward neighbours: at position `i` three that differ.
fn sizes(i: usize) -> (usize, usize, usize) {
    (SIZES[i % 12], SIZES[(i + 5) % 12], SIZES[(i + 9) % 12])
}

pub fn matmul(device: &Device) {
    let mut shapes: Vec<(usize, usize, usize)> = (0..12).map(sizes).collect();
    // Large enough for the CPU executor to use threads, with more than a tile each way.
    shapes.push((150, 90, 70));
    for (i, (m, n, k)) in shapes.into_iter().enumerate() {
        for flags in 0..24 {
            let (transpose_a, transpose_b) = (flags & 1 == 1, flags & 2 == 2);
            let (accumulate, biases) = (flags & 4 == 4, flags / 8);
            let mut p = Product { accumulate, ..Product::dense(m, n, k, transpose_a, transpose_b) };
            // Some operands have rows longer than they use.
            (p.lda, p.ldb, p.ldc) = (p.lda + i % 2, p.ldb + i % 3, p.ldc + i % 5);
            let (rows_a, rows_b) =
                (if transpose_a { k } else { m }, if transpose_b { n } else { k });
            let mut launch = Launch::new();
            let a = launch.buffer(normal(3 + rows_a * p.lda, 1.0, 1), 3);
            let b = launch.buffer(normal(2 + rows_b * p.ldb, 1.0, 2), 2);
            let bias: Vec<View> =
                (0..biases).map(|i| launch.buffer(normal(n + 1, 1.0, 5), i)).collect();
            let c = match accumulate {
                true => launch.buffer(normal(m * p.ldc, 1.0, 3), 0),
                false => launch.poisoned(m * p.ldc),
            };
            let what = format!("{p:?}, {biases} biases");
            launch.check(device, kernels::matmul::dispatch(&p, a, b, &bias, c), what);
        }
    }
}

pub fn lstm_step_forward(device: &Device) {
    // The last is large enough for the CPU executor to use threads.
    let shapes = (0..12).map(|i| (sizes(i).0, sizes(i).1)).chain([(37, 66)]);
    for (batch, hidden) in shapes {
        for step in 0..2 {
            let slot = batch * hidden;
            let mut launch = Launch::new();
            // The input's share and the recurrent product have standard deviation 2 together.
            let u = launch.buffer(normal(4 * hidden * hidden, 2.0 / (hidden as f32).sqrt(), 1), 0);
            let p = launch.buffer(normal(8 * slot, 2.0, 2), 4 * slot * step);
            let h = launch.buffer([normal(2 * slot, 0.7, 3), vec![POISON; slot]].concat(), slot);
            let c = launch.buffer([normal(2 * slot, 1.5, 4), vec![POISON; slot]].concat(), slot);
            let dispatch = kernels::lstm_step_forward::dispatch(batch, hidden, u, p, h, c);
            launch.check(device, dispatch, format!("B = {batch}, H = {hidden}"));
        }
    }
}

pub fn lstm_step_backward(device: &Device) {
    let shapes = (0..12).map(|i| (sizes(i).0, sizes(i).1)).chain([(37, 66)]);
    for (batch, hidden) in shapes {
        for flags in 0..8 {
            let slot = batch * hidden;
            let (last, has_dy, has_dh_n) = (flags & 1 == 1, flags & 2 == 2, flags & 4 == 4);
            // Gradients of real batches are small.
            let size = if flags < 4 { 1.0 } else { 1e-5 };
            let mut launch = Launch::new();
            let u = launch.buffer(normal(4 * hidden * hidden, 2.0 / (hidden as f32).sqrt(), 1), 0);
            let c = launch.buffer(normal(3 * slot, 1.5, 2), slot);
            let dy = launch.buffer(normal(2 * slot, size, 3), slot);
            let dh_n = launch.buffer(normal(slot, size, 4), 0);
            // Step 1 holds gates; step 2 the gradients, or, at the last step, what isn't to be
            // read.
            let next = if last { vec![POISON; 4 * slot] } else { normal(4 * slot, 0.3 * size, 5) };
            let before = vec![POISON; 4 * slot];
            let gates = launch.buffer([before, gates(4 * slot, 6), next].concat(), 4 * slot);
            let dc = launch.buffer(normal(slot, size, 7), 0);
            let (dy, dh_n) = (has_dy.then_some(dy), has_dh_n.then_some(dh_n));
            let operands = kernels::lstm_step_backward::Operands { u, c, dy, dh_n, gates, dc };
            let dispatch = kernels::lstm_step_backward::dispatch(batch, hidden, last, &operands);
            launch.check(device, dispatch, format!("B = {batch}, H = {hidden}, flags {flags}"));
        }
    }
}

pub fn column_sum(device: &Device) {
    for (i, rows) in SIZES.into_iter().chain([256, 257, 1000]).enumerate() {
        let columns = sizes(i).1;
        for chunk in [rows, rows.div_ceil(3)] {
            let mut launch = Launch::new();
            let a = launch.buffer(normal(7 + rows * columns, 1.0, 1), 7);
            let out = launch.poisoned(rows.div_ceil(chunk) * columns);
            let dispatch = kernels::column_sum::dispatch(rows, columns, chunk, a, out);
            launch.check(device, dispatch, format!("{rows} x {columns} by {chunk}"));
        }
    }
}

pub fn reduce_sum(device: &Device) {
    for len in SIZES.into_iter().chain([255, 256, 257, 1000, 70_000]) {
        for chunk in [len, 65_536, 300] {
            let mut launch = Launch::new();
            let a = launch.buffer(normal(3 + len, 1.0, 1), 3);
            let out = launch.poisoned(len.div_ceil(chunk));
            let dispatch = kernels::reduce_sum::dispatch(len, chunk, 0.125, a, out);
            launch.check(device, dispatch, format!("{len} by {chunk}"));
        }
    }
}

pub fn mse_loss(device: &Device) {
    for len in SIZES.into_iter().chain([1023, 1024, 1025, 5000]) {
        let mut launch = Launch::new();
        let y = launch.buffer(normal(len, 1.0, 1), 0);
        let target = launch.buffer(normal(1 + len, 1.0, 2), 1);
        let dy = launch.poisoned(len);
        let partials = launch.poisoned(len.div_ceil(1024));
        let dispatch = kernels::mse_loss::dispatch(len, y, target, dy, partials);
        launch.check(device, dispatch, format!("N = {len}"));
    }
}

pub fn adam(device: &Device) {
    for (i, len) in SIZES.into_iter().chain([255, 256, 257, 1000]).enumerate() {
        let mut launch = Launch::new();
        let scalars = launch.buffer(vec![0.02, 0.3], 0);
        let scale = 10f32.powi(i as i32 % 9 - 6);
        let g = launch.buffer(normal(len + 2, scale, 1), 2);
        let p = launch.buffer(normal(len + 2, 1.0, 2), 2);
        let m = launch.buffer(normal(len + 2, scale, 3), 2);
        let v = launch.buffer(normal(len + 2, scale, 4).into_iter().map(|x| x * x).collect(), 2);
        let constants = AdamConstants {
            beta2: 0.999,
            one_minus_beta1: 0.1,
            one_minus_beta2: 0.001,
            eps: 1e-8,
            weight_decay: if i % 2 == 0 { 0.0 } else { 0.1 },
        };
        let operands = kernels::adam::Operands { scalars, g, p, m, v };
        launch.check(
            device,
            kernels::adam::dispatch(len, &constants, &operands),
            format!("N = {len}"),
        );
    }
}

pub fn every_one_has_a_test(_: &Device) {
    let tested: BTreeSet<&str> =
        CHECKS.iter().filter_map(|(name, _)| name.strip_prefix("kernel::")).collect();
    for kernel in kernels::table().0 {
        assert!(tested.contains(kernel.name), "{} has no test", kernel.name);
    }
}

/// Sums of the gates at which naive activations overflow, or lose their sign.
pub fn gates_are_right_far_out(device: &Device) {
    let far =
        [0.0, -0.0, 1e-3, -1e-3, 15.0, -15.0, 88.0, -88.0, 89.0, -89.0, 100.0, -100.0, 1e4, -1e4];
    for value in far {
        let mut launch = Launch::new();
        let u = launch.buffer(vec![0.0; 4], 0);
        let p = launch.buffer(vec![value; 4], 0);
        let h = launch.buffer(vec![0.0, POISON], 0);
        let c = launch.buffer(vec![value, POISON], 0);
        let dispatch = kernels::lstm_step_forward::dispatch(1, 1, u, p, h, c);
        launch.check(device, dispatch, format!("all sums {value}"));
    }
}

/// A NaN in one row reaches that row's results, and no other row's.
pub fn nan_is_passed_on(device: &Device) {
    let (batch, hidden) = (5, 3);
    let slot = batch * hidden;
    let mut launch = Launch::new();
    let u = launch.buffer(normal(4 * hidden * hidden, 1.0, 1), 0);
    let mut p = normal(4 * slot, 1.0, 2);
    p[4 * (2 * hidden + 1)] = f32::NAN; // the input gate of row 2, unit 1
    let p = launch.buffer(p, 0);
    let h = launch.buffer([normal(slot, 0.5, 3), vec![POISON; slot]].concat(), 0);
    let c = launch.buffer([normal(slot, 0.5, 4), vec![POISON; slot]].concat(), 0);
    let dispatch = kernels::lstm_step_forward::dispatch(batch, hidden, u, p, h, c);
    let label = "NaN".to_owned();
    launch.program.commands.push(Command { label, operation: Operation::Dispatch(dispatch) });
    let session = device.session(&Arc::new(launch.program.clone())).unwrap();
    for (i, contents) in launch.contents.iter().enumerate() {
        let name = &launch.program.spec(BufferId(i as u32)).name;
        session.write(name, contents).unwrap();
    }
    session.run().unwrap();
    let h = session.read("buffer 2").unwrap();
    let nans: Vec<usize> = (0..slot).filter(|&i| h[slot + i].is_nan()).collect();
    assert_eq!(nans, [2 * hidden + 1]);
}
