//! Every kernel on every executor that is there, each verified against its f64 twin first.
//!
//! `cargo bench` prints the time of one launch, with submission and wait on a GPU. A missing
//! adapter is said, not invented. README.md beside this file says what is and is not timed.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use gatefold::Device;
use gatefold::command::{BufferSpec, Command, Dispatch, Limits, Operation, Owner, Program, Range};
use gatefold::gpu::Adapter;
use gatefold::kernels::matmul::Sums;
use gatefold::kernels::{
    self, Directions, Padding, Tile, View, lstm_sequence_backward, lstm_sequence_forward,
    lstm_step_backward, lstm_step_forward, training_step,
};
use gatefold::lockstep::lockstep;
use gatefold::plan::{product_tile, tile, walkers};
use gatefold::reference::{
    AdamSettings, Alignment, Cell, CommonSettings, CrossEntropy, Dropout, GROUP_BLOCK,
    Nonlinearity, Panels, Pointwise, Pool, Product, RmsPropSettings, SETTINGS, SgdSettings,
    SlotAtLength, Strides, policy, sort_tokens, status,
};

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
        // SAFETY: every case below launches a kernel over whole buffers of its shape.
        let program = unsafe { self.program.trusted(&kernels::table()) };
        Case { kernel, shape, program, contents: self.contents, throughput }
    }
}

/// The launches, cut as plans for the device cut them.
fn cases(limits: &Limits) -> Vec<Case> {
    let tile = tile(limits);
    let mut cases = Vec::new();
    let new = Builder::default;

    // As they stand, and as a gradient of the input and of the weights has them; those with a bias's.
    let products = [
        ((768, 512, 128), "", None),
        ((2304, 1024, 256), "", None),
        ((768, 128, 512), "B transposed", None),
        ((128, 512, 768), "A transposed", Some(Sums::Columns)),
        ((512, 128, 768), "A transposed", Some(Sums::Rows)),
        ((768, 512, 128), "", Some(Sums::Rows)),
    ];
    for ((m, n, k), how, sums) in products {
        let mut b = new();
        let (x, w, y) = (b.buffer(m * k), b.buffer(k * n), b.buffer(m * n + m.max(n)));
        let transposed = (how == "A transposed", how == "B transposed");
        let shape = Product::dense(m, n, k, transposed.0, transposed.1);
        let launch = kernels::matmul::dispatch(&shape, x, w, &[], y);
        let launch = match sums {
            None => launch,
            Some(of) => kernels::matmul::with_sums(launch, of, &[m * n]),
        };
        let launch = kernels::matmul::with_tile(launch, product_tile(limits, &shape));
        let flop = Throughput::Elements(2 * (m * n * k) as u64);
        let said = [format!("{m} x {n} x {k}"), how.to_owned()];
        let said = said.into_iter().chain(sums.map(|of| format!("{of:?}").to_lowercase()));
        let said: Vec<String> = said.filter(|part| !part.is_empty()).collect();
        cases.push(b.case("matmul", said.join(", "), flop, launch));
    }

    let (batch, hidden) = (32, 128);
    let slot = batch * hidden;
    let flop = Throughput::Elements((8 * slot * hidden) as u64);
    let mut b = new();
    let (u, gates) = (b.buffer(4 * hidden * hidden), b.buffer(4 * slot));
    let (h, c, z) = (b.buffer(2 * slot), b.buffer(2 * slot), b.buffer(1));
    let sizes = lstm_step_forward::Shape {
        key: None,
        masked: 0,
        cell: Cell::new(),
        batch,
        hidden,
        terms: hidden,
        h_row: hidden,
    };
    let bound = lstm_step_forward::Bindings {
        p: None,
        u: u.range,
        gates: gates.range,
        h: h.range,
        c: c.range,
        z: z.range,
    };
    let at = lstm_step_forward::At { h: slot, c: slot, ..Default::default() };
    let launch = lstm_step_forward::dispatch(&sizes, &bound, &[at], true, Padding(None));
    let launch = lstm_step_forward::with_tile(launch, tile);
    let shape = format!("B {batch}, H {hidden}");
    cases.push(b.case("lstm_step_forward", shape.clone(), flop.clone(), launch));

    let mut b = new();
    let w = b.buffer(4 * hidden * hidden);
    let (c, dy, gates, dc) =
        (b.buffer(2 * slot), b.buffer(slot), b.buffer(8 * slot), b.buffer(slot));
    let sizes = lstm_step_backward::Shape {
        key: None,
        zoned: 0,
        cell: Cell::new(),
        batch,
        hidden,
        dy_row: hidden,
        terms: hidden,
    };
    let bound = lstm_step_backward::Bindings {
        p: None,
        w: w.range,
        c: c.range,
        dy: Some(dy.range),
        dh: None,
        gates: gates.range,
        dc: dc.range,
    };
    let at = lstm_step_backward::At {
        incoming: Some(4 * slot),
        c: slot,
        dy: Some(0),
        ..Default::default()
    };
    let launch = lstm_step_backward::dispatch(&sizes, &bound, &[at], Padding(None));
    let launch = lstm_step_backward::with_tile(launch, tile);
    cases.push(b.case("lstm_step_backward", shape, flop, launch));

    let (hidden, steps) = (64, 20);
    for batch in [32, 1] {
        let slot = batch * hidden;
        let (shape, flop) = (
            format!("T {steps}, B {batch}, H {hidden}"),
            Throughput::Elements((8 * steps * slot * hidden) as u64),
        );
        let mut b = new();
        let (u, gates) = (b.buffer(4 * hidden * hidden), b.buffer(4 * slot * steps));
        let (h, c) = (b.buffer((steps + 1) * slot), b.buffer((steps + 1) * slot));
        let z = b.buffer(1);
        let (packed, keep) = (false, true);
        let sizes = lstm_sequence_forward::Shape {
            key: None,
            masked: 0,
            cell: Cell::new(),
            batch,
            hidden,
            steps,
            h_row: hidden,
            projection: None,
            packed,
            input: None,
            keep,
        };
        let bound = lstm_sequence_forward::Bindings {
            u: u.range,
            x: None,
            gates: gates.range,
            h: h.range,
            c: c.range,
            w: None,
            z: z.range,
        };
        let at = Directions::One(lstm_sequence_forward::At::default());
        let launch = lstm_sequence_forward::dispatch(&sizes, &bound, at, Padding(None));
        let (forward, backward) = walkers(limits, hidden, batch);
        let launch = match forward {
            Some(walker) => lstm_sequence_forward::with_walker(launch, walker),
            None => launch,
        };
        cases.push(b.case("lstm_sequence_forward", shape.clone(), flop.clone(), launch));

        let mut b = new();
        let w = b.buffer(4 * hidden * hidden);
        let (c, dy) = (b.buffer((steps + 1) * slot), b.buffer(steps * slot));
        let (gates, dc, dp) = (b.buffer(4 * slot * steps), b.buffer(slot), b.buffer(1));
        let (dy_row, incoming, projection) = (hidden, false, None);
        let sizes = lstm_sequence_backward::Shape {
            key: None,
            zoned: 0,
            cell: Cell::new(),
            batch,
            hidden,
            steps,
            dy_row,
            projection,
            packed,
            incoming,
        };
        let bound = lstm_sequence_backward::Bindings {
            w: w.range,
            c: c.range,
            dy: Some(dy.range),
            gates: gates.range,
            dc: dc.range,
            projection: None,
            dp: dp.range,
        };
        let at = Directions::One(lstm_sequence_backward::At::default());
        let launch = lstm_sequence_backward::dispatch(&sizes, &bound, at, Padding(None));
        let launch = match backward {
            Some(walker) => lstm_sequence_backward::with_walker(launch, walker),
            None => launch,
        };
        cases.push(b.case("lstm_sequence_backward", shape, flop, launch));
    }

    // The last timestep of the first of three layers, and what runs beside it.
    let (batch, hidden, layers, steps) = (32, 128, 3, 3);
    let (slot, square) = (batch * hidden, 4 * hidden * hidden);
    let shape = format!("L {layers}, B {batch}, H {hidden}");
    let above = |l: usize| (2 * l - 1) * square;
    let u = |l: usize| if l == 0 { 0 } else { above(l) + square };
    let (gates_layer, layer) = (4 * steps * slot, (steps + 1) * slot);
    let mut b = new();
    let (params, gates) = (b.buffer(5 * square), b.buffer(layers * gates_layer));
    let (h, c, z) = (b.buffer(layers * layer), b.buffer(layers * layer), b.buffer(1));
    let sizes = lstm_step_forward::Shape {
        key: None,
        masked: 0,
        cell: Cell::new(),
        batch,
        hidden,
        terms: hidden,
        h_row: hidden,
    };
    let bound = lstm_step_forward::Bindings {
        p: None,
        u: params.range,
        gates: gates.range,
        h: h.range,
        c: c.range,
        z: z.range,
    };
    let at = |l: usize| {
        let t = 2 - l;
        let state = l * layer + t * slot;
        lstm_step_forward::At {
            place: 0,
            p: 0,
            t,
            u: u(l),
            gates: l * gates_layer + 4 * t * slot,
            h_prev: state,
            h: state + slot,
            c_prev: state,
            c: state + slot,
            z: None,
            input: (l > 0).then(|| lstm_step_forward::InputAt {
                x: state + slot - layer,
                w: above(l),
                biases: [None; 2],
            }),
        }
    };
    let at: Vec<_> = (0..layers).map(at).collect();
    let launch = lstm_step_forward::dispatch(&sizes, &bound, &at, true, Padding(None));
    let launch = lstm_step_forward::with_tile(launch, tile);
    let flop = Throughput::Elements(((2 * layers - 1) * 8 * slot * hidden) as u64);
    cases.push(b.case("lstm_step_forward", shape.clone(), flop, launch));

    let mut b = new();
    let (params, c) = (b.buffer(5 * square), b.buffer(layers * layer));
    let (dy, gates) = (b.buffer(steps * slot), b.buffer(layers * gates_layer));
    let dc = b.buffer(layers * slot);
    let sizes = lstm_step_backward::Shape {
        key: None,
        zoned: 0,
        cell: Cell::new(),
        batch,
        hidden,
        dy_row: hidden,
        terms: hidden,
    };
    let bound = lstm_step_backward::Bindings {
        p: None,
        w: params.range,
        c: c.range,
        dy: Some(dy.range),
        dh: None,
        gates: gates.range,
        dc: dc.range,
    };
    let at = |l: usize| {
        let t = 2 - l;
        let (own, state) = (l * gates_layer + 4 * t * slot, l * layer + t * slot);
        lstm_step_backward::At {
            place: 0,
            p: 0,
            t,
            w: u(l),
            gates: own,
            incoming: (t + 1 < steps).then_some(own + 4 * slot),
            c_prev: state,
            c: state + slot,
            dy: (l + 1 == layers).then_some(t * slot),
            dc: l * slot,
            above: (l + 1 < layers)
                .then(|| lstm_step_backward::AboveAt { gates: own + gates_layer, w: above(l + 1) }),
        }
    };
    let at: Vec<_> = (0..layers).map(at).collect();
    let launch = lstm_step_backward::dispatch(&sizes, &bound, &at, Padding(None));
    let launch = lstm_step_backward::with_tile(launch, tile);
    // Nothing ran after the first layer's last timestep, and nothing is above the top layer.
    let flop = Throughput::Elements(((2 * layers - 2) * 8 * slot * hidden) as u64);
    cases.push(b.case("lstm_step_backward", shape, flop, launch));

    let (rows, columns) = (512, 2048);
    let mut b = new();
    let panels = Panels::dense(rows, columns, true);
    let (from, out) = (b.buffer(rows * columns), b.buffer(rows * columns));
    let launch = kernels::pack_panels::dispatch(&panels, from, out);
    let bytes = Throughput::Bytes(8 * (rows * columns) as u64);
    cases.push(b.case("pack_panels", format!("{rows} x {columns}"), bytes, launch));

    let (rows, columns) = (2048, 512);
    let mut b = new();
    let (a, out) = (b.buffer(rows * columns), b.buffer(rows / 256 * columns));
    let launch = kernels::column_sum::dispatch((rows, columns), 256, (a, out), false);
    let bytes = Throughput::Bytes(4 * (rows * columns) as u64);
    cases.push(b.case("column_sum", format!("{rows} x {columns}"), bytes, launch));

    let (rows, hidden) = (2048, 128);
    let mut b = new();
    let (d_gates, states) = (b.buffer(4 * rows * hidden), b.buffer(2 * rows * hidden));
    let operands = kernels::peephole_gradient::Operands {
        d_gates,
        c: states.range,
        c_prev_start: 0,
        c_start: rows * hidden,
        out: b.buffer(rows / 256 * 4 * hidden),
    };
    let launch = kernels::peephole_gradient::dispatch((rows, hidden), 256, &operands, false);
    let bytes = Throughput::Bytes(24 * (rows * hidden) as u64);
    cases.push(b.case("peephole_gradient", format!("{rows} x {hidden}"), bytes, launch));

    let (steps, batch, width) = (64, 32, 256);
    let mut masked = new();
    let key = masked.buffer(4);
    let x = masked.buffer(steps * batch * width).range;
    let strides = Strides::time_major(batch, width);
    let in_place = kernels::sequence_dropout::Operands { key, x, from: 0, to: 0, strides };
    let size = (steps, batch, width);
    let in_place = kernels::sequence_dropout::dispatch(0.3, (0, 0), size, &in_place);
    let bytes = Throughput::Bytes(8 * (steps * batch * width) as u64);
    let shape = format!("{steps} x {batch} x {width}");
    cases.push(masked.case("sequence_dropout", shape, bytes, in_place));

    let mut clipped = new();
    let (h, x) = (clipped.buffer(batch * width), clipped.buffer(batch * width));
    let launch = kernels::projection_clip::dispatch(
        1.0,
        (batch, width),
        None,
        (x, width),
        (Padding(None), 0),
        h,
    );
    let bytes = Throughput::Bytes(8 * (batch * width) as u64);
    cases.push(clipped.case("projection_clip", format!("{batch} x {width}"), bytes, launch));

    let len = 1 << 20;
    let mut b = new();
    let (a, out) = (b.buffer(len), b.buffer(len / 65_536));
    let launch = kernels::reduce_sum::dispatch(len, 65_536, 1.0, (a, out), false);
    cases.push(b.case("reduce_sum", format!("{len}"), Throughput::Bytes(4 * len as u64), launch));

    let mut b = new();
    let (y, target, dy) = (b.buffer(len), b.buffer(len), b.buffer(len));
    let partials = b.buffer(len / kernels::pointwise_loss::CHUNK);
    let (scale, padding) = (b.given(vec![1e-6]), Padding(None));
    let weights = None;
    let operands =
        kernels::pointwise_loss::Operands { y, target, padding, weights, scale, dy, partials };
    let launch =
        kernels::pointwise_loss::dispatch(Pointwise::Squared, (0, len), (len, 1), &operands);
    let moved = Throughput::Bytes(12 * len as u64);
    cases.push(b.case("pointwise_loss", format!("{len}"), moved, launch));

    let (rows, classes) = (4096, 128);
    let mut b = new();
    let [logits, dy] = [(); 2].map(|()| b.buffer(rows * classes));
    let (target, losses) = (b.given(vec![3.0; rows]), b.buffer(rows));
    let (scale, padding) = (b.given(vec![1e-3]), Padding(None));
    let operands = kernels::cross_entropy_loss::Operands {
        logits,
        target,
        padding,
        weights: None,
        row_weights: None,
        scale,
        dy,
        losses,
    };
    let settings = CrossEntropy { ignore_index: -100.0, label_smoothing: 0.0 };
    let launch =
        kernels::cross_entropy_loss::dispatch(settings, (0, rows), (rows, classes), &operands);
    let moved = Throughput::Bytes(16 * (rows * classes) as u64);
    cases.push(b.case("cross_entropy_loss", format!("{rows} x {classes}"), moved, launch));

    let common = CommonSettings::new(1e-3);
    let usual = |b: &mut Builder, row: [f32; SETTINGS]| {
        let (settings, groups) = (b.given(row.to_vec()), b.given(vec![0.0; len / GROUP_BLOCK]));
        let mut status = vec![0.0; status::LEN];
        (status[status::SCALE], status[status::APPLY]) = (1.0, 1.0);
        (settings, groups, b.given(status))
    };
    let bytes = |elements: usize| Throughput::Bytes(4 * (elements * len) as u64);

    let mut b = new();
    let adam_row = AdamSettings {
        common,
        one_minus_beta1: 0.1,
        beta2: 0.999,
        one_minus_beta2: 0.001,
        eps: 1e-8,
        root_correction: 0.5,
    };
    let (settings, groups, status) = usual(&mut b, adam_row.row());
    let [g, p, m, v] = [(); 4].map(|()| b.buffer(len));
    let operands = kernels::adam::Operands { settings, groups, status, g, p, m, v };
    let launch = kernels::adam::dispatch(len, &operands);
    cases.push(b.case("adam", format!("{len}"), bytes(7), launch));

    let mut b = new();
    let row = SgdSettings { common, momentum: 0.9, gradient_share: 1.0, nesterov: false };
    let (settings, groups, status) = usual(&mut b, row.row());
    let [g, p, momentum] = [(); 3].map(|()| b.buffer(len));
    let operands = kernels::sgd::Operands { settings, groups, status, g, p, momentum };
    let launch = kernels::sgd::dispatch(len, true, &operands);
    cases.push(b.case("sgd", format!("{len}"), bytes(5), launch));

    let mut b = new();
    let row =
        RmsPropSettings { common, alpha: 0.99, one_minus_alpha: 0.01, eps: 1e-8, momentum: 0.9 };
    let (settings, groups, status) = usual(&mut b, row.row());
    let [g, p, square_avg, momentum] = [(); 4].map(|()| b.buffer(len));
    let grad_avg = b.buffer(1);
    let operands = kernels::rmsprop::Operands {
        settings,
        groups,
        status,
        g,
        p,
        square_avg,
        momentum,
        grad_avg,
    };
    let flags = kernels::rmsprop::Flags { momentum: true, centered: false };
    let launch = kernels::rmsprop::dispatch(len, flags, &operands);
    cases.push(b.case("rmsprop", format!("{len}"), bytes(7), launch));

    let chunks = len / kernels::gradient_norm::CHUNK;
    let mut b = new();
    let (settings, groups, _) = usual(&mut b, row.row());
    let (g, partials) = (b.buffer(len), b.buffer(2 * chunks));
    let operands = kernels::gradient_norm::Operands { settings, groups, g, partials };
    let chunk = kernels::gradient_norm::CHUNK;
    let launch = kernels::gradient_norm::dispatch(len, (chunk, 0), &operands);
    cases.push(b.case("gradient_norm", format!("{len}"), bytes(1), launch));

    let chunks = 1024; // of 16 million gradients
    let mut b = new();
    let (scalars, loss) = (b.given(vec![1.0, 1.0, policy::SKIP, 0.0]), b.buffer(1));
    let partials = b.given([1.0, kernels::gradient_norm::CHUNK as f32].repeat(chunks));
    let status = b.given(vec![0.0; status::LEN]);
    let operands = kernels::clip_scale::Operands { scalars, loss, partials, status };
    let launch = kernels::clip_scale::dispatch(chunks, &operands);
    let moved = Throughput::Bytes(8 * chunks as u64);
    cases.push(b.case("clip_scale", format!("{chunks} chunks"), moved, launch));

    for [steps, batch, input, hidden] in [[4, 1, 1, 1], [10, 16, 5, 8]] {
        let tensors = [4 * input * hidden, 4 * hidden * hidden, 4 * hidden, hidden, 1];
        let starts: Vec<usize> = tensors
            .iter()
            .scan(0_usize, |len, tensor| {
                let start = *len;
                *len = (start + tensor).next_multiple_of(GROUP_BLOCK);
                Some(start)
            })
            .collect();
        let step = training_step::Shape {
            steps,
            batch,
            input,
            hidden,
            outputs: 1,
            every: false,
            len: starts[4] + GROUP_BLOCK,
            x: Strides::time_major(batch, input),
            w: starts[0],
            u: starts[1],
            biases: vec![starts[2]],
            head: Some((starts[3], starts[4])),
            loss: Pointwise::Squared,
            norm: true,
        };
        let mut b = new();
        let [target, scale, said, settings] = step.fed();
        let mut fed = vec![0.5; step.fed_len()];
        fed[target..scale].fill(1.0);
        fed[scale] = 1.0 / step.predictions() as f32;
        fed[said..settings].copy_from_slice(&[0.0, f32::MAX, policy::SKIP, 0.0]);
        fed[settings..].copy_from_slice(&adam_row.row());
        let fed = b.given(fed).range;
        // Weights of less than 1 in all, so that gates are no constants; padding is zero.
        let mut weights = vec![0.0; step.len];
        for (start, len) in starts.iter().zip(tensors) {
            weights[*start..start + len].fill(0.5 / hidden as f32);
        }
        let operands = training_step::Operands {
            fed,
            params: b.given(weights).range,
            grads: b.given(vec![0.0; step.len]).range,
            m: b.given(vec![0.0; step.len]).range,
            v: b.given(vec![0.1; step.len]).range,
            status: b.given(vec![0.0; status::LEN]).range,
            loss: b.buffer(1).range,
            scratch: b.buffer(step.scratch_len()).range,
        };
        let variant = usize::from(tile == Tile::Workgroup);
        let launch = training_step::dispatch(&step, variant, &operands);
        let flop = Throughput::Elements(2 * step.work());
        let shape = format!("T {steps}, B {batch}, I {input}, H {hidden}");
        cases.push(b.case("training_step", shape, flop, launch));
    }

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

/// The environment variable with which launches are cut as for another kind of device.
const LIMITS_VARIABLE: &str = "GATEFOLD_BENCH_LIMITS";

/// What launches for a device keep to: its limits, or, with `GATEFOLD_BENCH_LIMITS=hardware`, those that it would
/// have as hardware without subgroups, so that a software driver runs what a GPU would.
fn limits(device: &Device) -> Limits {
    match std::env::var(LIMITS_VARIABLE).as_deref() {
        Ok("hardware") => Limits { software: false, subgroup: None, ..device.limits() },
        Ok(other) => panic!("{LIMITS_VARIABLE} may be `hardware`, and is {other:?}"),
        Err(_) => device.limits(),
    }
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
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    for (name, device) in &executors {
        println!("{name}: {device}");
    }
    let of_each: Vec<Vec<Case>> =
        executors.iter().map(|(_, device)| cases(&limits(device))).collect();
    for i in 0..of_each[0].len() {
        let mut group = criterion.benchmark_group(of_each[0][i].kernel);
        for ((name, device), cases) in executors.iter().zip(&of_each) {
            let case = &cases[i];
            let program = Arc::new(case.program.clone());
            let names = program.buffers.iter().map(|spec| spec.name.as_str());
            let inputs: Vec<(&str, &[f32])> =
                names.zip(case.contents.iter().map(Vec::as_slice)).collect();
            // A kernel that is wrong isn't timed.
            if let Err(error) = lockstep(device, &program, &inputs) {
                panic!("{error}");
            }
            let session = device.session(&program).expect("the case fits every device");
            for (name, values) in &inputs {
                session.write(name, values).expect("the case's own buffer");
            }
            group.throughput(case.throughput.clone());
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
