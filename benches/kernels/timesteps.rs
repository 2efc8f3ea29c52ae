//! Timesteps: one, several layers' at once, walks, and what a cell's options need beside them.

use criterion::Throughput;
use gatefold::command::Limits;
use gatefold::kernels::{
    self, Directions, Padding, lstm_sequence_backward, lstm_sequence_forward, lstm_step_backward,
    lstm_step_forward,
};
use gatefold::plan::{tile, walkers};
use gatefold::reference::{Cell, Strides};

use super::case::{Builder, Case};

/// The launches, cut as plans for the device cut them.
pub fn cases(limits: &Limits) -> Vec<Case> {
    let tile = tile(limits);
    let mut cases = Vec::new();
    let new = Builder::default;

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
    cases
}
