//! The pictures of docs/lstm.md, and the numbers that stand in them.

use gatefold::reference::{
    Cell, Pointwise, StepBackward, StepForward, lstm_step_backward, lstm_step_forward, sigmoid,
};

use super::svg::{Anchor, INK, PLAIN, QUIET, Svg};

/// A colour of line and one of area for each gate.
const I: (&str, &str) = ("#1a7f37", "#dafbe1");
const F: (&str, &str) = ("#0969da", "#ddf4ff");
const G: (&str, &str) = ("#bc4c00", "#fff1e5");
const O: (&str, &str) = ("#8250df", "#fbefff");

/// The weights of `lstm_by_hand`, of the hidden state, of the input and the bias; i, f, g, o.
const WEIGHTS: [[f64; 3]; 4] =
    [[2.0, 1.65, 0.62], [2.7, 1.63, 1.62], [1.41, 0.94, -0.32], [4.38, -0.19, 0.59]];
const H_PREV: f64 = 1.0;
const C_PREV: f64 = 2.0;
const X: f64 = 1.0;
const TARGET: f64 = 0.5;

/// One cell, worked through: what is multiplied and added, by the twins of the kernels.
pub struct Worked {
    /// What the gates are made of; i, f, g, o, as all that follows.
    pub sums: [f64; 4],
    pub gates: [f64; 4],
    pub c: f64,
    pub h: f64,
    pub loss: f64,
    /// The gradient of the hidden state.
    pub dh: f64,
    /// Of the sums.
    pub d_sums: [f64; 4],
    /// Of the cell state before.
    pub dc_prev: f64,
}

pub fn worked() -> Worked {
    let shares = WEIGHTS.map(|[_, of_x, bias]| of_x * X + bias);
    let of_h = WEIGHTS.map(|[of_h, ..]| of_h);
    let (mut gates, mut h, mut c) = (shares, [0.0], [0.0]);
    let step = StepForward {
        cell: Cell::new(),
        draws: None,
        zoned: &[],
        peepholes: &[],
        hidden: 1,
        terms: 1,
        h_prev_row: 1,
        h_row: 1,
        lengths: None,
    };
    lstm_step_forward(&step, &of_h, &mut gates, &[H_PREV], &[C_PREV], &mut h, &mut c);
    let (loss, dh) = Pointwise::Squared.at(h[0], TARGET);
    let (mut d_sums, mut dc) = (gates, [0.0]);
    let back = StepBackward {
        cell: Cell::new(),
        draws: None,
        peepholes: &[],
        hidden: 1,
        incoming: None,
        terms: 1,
        dy: Some((&[dh], 1)),
        lengths: None,
    };
    lstm_step_backward(&back, &[0.0; 4], &mut d_sums, &[C_PREV], &c, (&mut dc, &mut []));
    let sums = [0, 1, 2, 3].map(|q| shares[q] + of_h[q] * H_PREV);
    Worked { sums, gates, c: c[0], h: h[0], loss, dh, d_sums, dc_prev: dc[0] }
}

impl Worked {
    /// What docs/lstm.md shows, under the names that it uses.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        let (s, [i, f, g, o], d) = (self.sums, self.gates, self.d_sums);
        let tanh_c = self.c.tanh();
        vec![
            ("s_f", s[1]),
            ("f", f),
            ("s_i", s[0]),
            ("i", i),
            ("s_g", s[2]),
            ("g", g),
            ("f * c_prev", f * C_PREV),
            ("i * g", i * g),
            ("c", self.c),
            ("s_o", s[3]),
            ("o", o),
            ("tanh(c)", tanh_c),
            ("h", self.h),
            ("loss", self.loss),
            ("dh", self.dh),
            ("dc", self.dh * o * (1.0 - tanh_c * tanh_c)),
            ("dG_i", d[0]),
            ("dG_f", d[1]),
            ("dG_g", d[2]),
            ("dG_o", d[3]),
            ("dc_prev", self.dc_prev),
        ]
    }
}

/// Every picture and the name of its file.
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("cell.svg", cell()),
        ("unrolled.svg", unrolled()),
        ("layout.svg", layout()),
        ("fused.svg", fused()),
        ("gates.svg", gates()),
        ("vanishing.svg", vanishing()),
    ]
}

/// One cell, with the numbers of `lstm_by_hand`.
fn cell() -> String {
    let w = worked();
    let [i, f, g, _] = w.gates;
    let mut s = Svg::new((890, 420), "One LSTM cell with twelve numbers");
    let pill = |s: &mut Svg, x: f64, y: f64, width: f64, text: String| {
        s.labelled([x, y - 15.0, width, 30.0], PLAIN, 13, &[&text]);
    };
    // The cell state's line.
    s.arrow(&[(105.0, 90.0), (172.0, 90.0)], INK);
    s.arrow(&[(198.0, 90.0), (434.0, 90.0)], INK);
    s.arrow(&[(460.0, 90.0), (780.0, 90.0)], INK);
    pill(&mut s, 15.0, 90.0, 90.0, format!("c_prev = {C_PREV}"));
    pill(&mut s, 780.0, 90.0, 100.0, format!("c = {:.4}", w.c));
    s.text((316.0, 78.0), 13, Anchor::Middle, &format!("f * c_prev = {:.4}", f * C_PREV));
    s.ink_text((15.0, 30.0), 13, Anchor::Start, QUIET, "long-term memory: the cell state");
    s.ink_text((880.0, 252.0), 13, Anchor::End, QUIET, "short-term");
    s.ink_text((880.0, 269.0), 13, Anchor::End, QUIET, "memory");
    // The gates, in the order in which they are used.
    let boxes = [
        ("forget gate f", 1, F, "sigmoid"),
        ("input gate i", 0, I, "sigmoid"),
        ("candidate g", 2, G, "tanh"),
        ("output gate o", 3, O, "sigmoid"),
    ];
    for (n, (name, q, colours, function)) in boxes.into_iter().enumerate() {
        let x = 107.0 + 172.0 * n as f64;
        let [of_h, of_x, bias] = WEIGHTS[q];
        let sign = |v: f64| if v < 0.0 { '-' } else { '+' };
        let (sx, sb) = (sign(of_x), sign(bias));
        let product = format!("{of_h} h_prev {sx} {} x", of_x.abs());
        let sum = format!("{sb} {} = {:.2}", bias.abs(), w.sums[q]);
        let value = format!("{function}({:.2}) = {:.4}", w.sums[q], w.gates[q]);
        let lines = [name, &product, &sum, &value];
        s.labelled([x, 236.0, 160.0, 98.0], colours, 12, &lines);
        let middle = x + 80.0;
        s.arrow(&[(middle, 378.0), (middle, 335.0)], INK);
    }
    pill(&mut s, 15.0, 378.0, 140.0, format!("h_prev = {H_PREV}, x = {X}"));
    s.line(&[(155.0, 378.0), (703.0, 378.0)], INK, 1.6);
    // Forget, then add.
    s.arrow(&[(187.0, 236.0), (187.0, 104.0)], F.0);
    s.line(&[(359.0, 236.0), (359.0, 185.0)], I.0, 1.6);
    s.arrow(&[(359.0, 185.0), (433.0, 185.0)], I.0);
    s.line(&[(531.0, 236.0), (531.0, 185.0)], G.0, 1.6);
    s.arrow(&[(531.0, 185.0), (461.0, 185.0)], G.0);
    s.arrow(&[(447.0, 172.0), (447.0, 104.0)], INK);
    s.text((458.0, 145.0), 13, Anchor::Start, &format!("i * g = {:.4}", i * g));
    // What is shown of it.
    s.line(&[(703.0, 90.0), (703.0, 118.0)], INK, 1.6);
    s.labelled([633.0, 118.0, 140.0, 28.0], PLAIN, 13, &[&format!("tanh(c) = {:.4}", w.c.tanh())]);
    s.arrow(&[(703.0, 146.0), (703.0, 184.0)], INK);
    s.arrow(&[(703.0, 236.0), (703.0, 212.0)], O.0);
    s.arrow(&[(716.0, 198.0), (780.0, 198.0)], INK);
    pill(&mut s, 780.0, 198.0, 100.0, format!("h = {:.4}", w.h));
    for (at, sign) in
        [((187.0, 90.0), "×"), ((447.0, 90.0), "+"), ((447.0, 185.0), "×"), ((703.0, 198.0), "×")]
    {
        s.node(at, sign);
    }
    s.finish()
}

/// The time loop, with its states in slots.
fn unrolled() -> String {
    let mut s = Svg::new((890, 430), "The cell over three timesteps, its states in T + 1 slots");
    for slot in 0..4 {
        let x = 15.0 + 260.0 * f64::from(slot);
        let (c, h) = (format!("slot {slot}"), format!("slot {slot}"));
        s.labelled([x, 48.0, 80.0, 44.0], PLAIN, 13, &["c", &c]);
        s.labelled([x, 118.0, 80.0, 44.0], PLAIN, 13, &["h", &h]);
    }
    s.ink_text((15.0, 28.0), 13, Anchor::Start, QUIET, "slot 0: the initial state");
    s.ink_text((875.0, 28.0), 13, Anchor::End, QUIET, "slot T: the final state");
    for t in 0..3 {
        let x = 15.0 + 260.0 * f64::from(t);
        let middle = x + 170.0;
        let step = format!("t = {t}");
        s.labelled([x + 115.0, 42.0, 110.0, 126.0], F, 13, &["lstm_step", "_forward", &step]);
        for y in [70.0, 140.0] {
            s.arrow(&[(x + 80.0, y), (x + 114.0, y)], INK);
            s.arrow(&[(x + 225.0, y), (x + 259.0, y)], INK);
        }
        s.labelled([x + 115.0, 210.0, 110.0, 36.0], G, 13, &[&format!("gates[{t}]")]);
        s.arrow(&[(middle - 18.0, 210.0), (middle - 18.0, 169.0)], INK);
        s.arrow(&[(middle + 18.0, 169.0), (middle + 18.0, 209.0)], INK);
        s.ink_text((middle - 26.0, 194.0), 12, Anchor::End, QUIET, "P");
        s.ink_text((middle + 26.0, 194.0), 12, Anchor::Start, QUIET, "i, f, g, o");
        s.arrow(&[(middle, 286.0), (middle, 247.0)], INK);
        s.labelled([x + 115.0, 366.0, 110.0, 32.0], PLAIN, 13, &[&format!("x[{t}]")]);
        s.arrow(&[(middle, 366.0), (middle, 323.0)], INK);
    }
    let text = "input projection: P = x . W_ih + b_ih + b_hh, one matmul for all timesteps";
    s.labelled([130.0, 286.0, 630.0, 36.0], I, 13, &[text]);
    let text = "Slots 1 to T of h are the layer's outputs; slot t + 1 is what timestep t has made.";
    s.ink_text((445.0, 420.0), 13, Anchor::Middle, QUIET, text);
    s.finish()
}

/// How PyTorch and the device order one matrix of weights.
fn layout() -> String {
    const UNITS: usize = 3;
    const TERMS: usize = 2;
    let colours = [I, F, G, O];
    let mut s = Svg::new((890, 390), "The rows of PyTorch and the quads of the device");
    s.text((30.0, 28.0), 14, Anchor::Start, "PyTorch: weight_hh [4H, K]");
    s.text((360.0, 28.0), 14, Anchor::Start, "On the device: [K, H] of (i, f, g, o)");
    for k in 0..TERMS {
        let x = 90.0 + 70.0 * k as f64;
        s.ink_text((x + 35.0, 54.0), 12, Anchor::Middle, QUIET, &format!("k = {k}"));
        for q in 0..4 {
            for unit in 0..UNITS {
                let y = 62.0 + 25.0 * (q * UNITS + unit) as f64;
                let name = format!("{}{unit}", ["i", "f", "g", "o"][q]);
                s.labelled([x, y, 70.0, 25.0], colours[q], 13, &[&name]);
            }
        }
    }
    for (q, gate) in ["i", "f", "g", "o"].into_iter().enumerate() {
        let y = 62.0 + 25.0 * (q as f64 + 0.5) * UNITS as f64;
        s.ink_text((80.0, y + 5.0), 12, Anchor::End, QUIET, &format!("gate {gate}"));
    }
    for k in 0..TERMS {
        let y = 112.0 + 60.0 * k as f64;
        s.ink_text((350.0, y + 20.0), 12, Anchor::End, QUIET, &format!("k = {k}"));
        for unit in 0..UNITS {
            for (q, colour) in colours.into_iter().enumerate() {
                let x = 360.0 + 172.0 * unit as f64 + 41.0 * q as f64;
                let name = format!("{}{unit}", ["i", "f", "g", "o"][q]);
                s.labelled([x, y, 41.0, 30.0], colour, 13, &[&name]);
            }
        }
    }
    for unit in 0..UNITS {
        let x = 360.0 + 172.0 * unit as f64;
        s.ink_text((x + 82.0, 98.0), 12, Anchor::Middle, QUIET, &format!("unit {unit}"));
        s.rect([x - 3.0, 109.0, 170.0, 36.0], (INK, "none"));
        s.rect([x - 3.0, 169.0, 170.0, 36.0], (INK, "none"));
    }
    for (n, line) in [
        "A frame is one vec4<f32>: 16 bytes, one load, the weights of one unit.",
        "The thread that owns the unit adds up its four sums in one vec4.",
        "Neighbouring threads own neighbouring units and read neighbouring frames.",
        "In PyTorch's order the four stand H rows apart (here H = 3, K = 2).",
    ]
    .into_iter()
    .enumerate()
    {
        s.ink_text((360.0, 250.0 + 24.0 * n as f64), 13, Anchor::Start, QUIET, line);
    }
    s.finish()
}

/// What one launch of `lstm_step_forward` does.
fn fused() -> String {
    let mut s = Svg::new((890, 450), "One launch of lstm_step_forward");
    // The grid.
    s.text((20.0, 28.0), 14, Anchor::Start, "The launch: one timestep");
    s.ink_text((20.0, 48.0), 12, Anchor::Start, QUIET, "[B, H] cells, here 48 rows, 64 units");
    for row in 0..3 {
        for column in 0..4 {
            let place = [42.0 + 44.0 * f64::from(column), 84.0 + 44.0 * f64::from(row), 40.0, 40.0];
            let chosen = (row, column) == (1, 3);
            s.labelled(place, if chosen { F } else { PLAIN }, 11, &["16", "x 16"]);
        }
    }
    s.ink_text((128.0, 76.0), 12, Anchor::Middle, QUIET, "ceil(H / 16) workgroups");
    s.ink_text((34.0, 234.0), 12, Anchor::Start, QUIET, "ceil(B / 16) down; a second such");
    s.ink_text((34.0, 250.0), 12, Anchor::Start, QUIET, "grid for the reverse direction");
    s.dashed(&[(214.0, 128.0), (280.0, 64.0)], F.0);
    s.dashed(&[(214.0, 168.0), (280.0, 246.0)], F.0);
    // A workgroup.
    s.text((280.0, 28.0), 14, Anchor::Start, "A workgroup: 16 x 4 threads");
    s.ink_text((280.0, 48.0), 12, Anchor::Start, QUIET, "16 units across, four rows a thread");
    s.rect([280.0, 62.0, 240.0, 186.0], (F.0, "#fff"));
    for group in 0..4 {
        for unit in 0..16 {
            let place =
                [288.0 + 14.0 * f64::from(unit), 70.0 + 24.0 * f64::from(group), 12.0, 22.0];
            s.rect(place, if (group, unit) == (1, 15) { O } else { F });
        }
    }
    let lines = ["h_tile: 16 rows x 16 k of h_prev", "workgroup memory, shared by all"];
    s.labelled([288.0, 178.0, 224.0, 60.0], G, 12, &lines);
    s.dashed(&[(510.0, 94.0), (570.0, 64.0)], O.0);
    s.dashed(&[(510.0, 116.0), (570.0, 246.0)], O.0);
    // A thread.
    s.text((570.0, 28.0), 14, Anchor::Start, "A thread: one unit of four rows");
    s.ink_text((570.0, 48.0), 12, Anchor::Start, QUIET, "the four sums never leave its registers");
    s.rect([570.0, 62.0, 305.0, 186.0], (O.0, "#fff"));
    s.text((582.0, 86.0), 13, Anchor::Start, "for each k, in order:");
    let lines = ["weight = u[k][unit]", "(i, f, g, o): one load serves four rows"];
    s.labelled([590.0, 98.0, 275.0, 46.0], I, 12, &lines);
    for row in 0..4 {
        let y = 152.0 + 23.0 * f64::from(row);
        let text = format!("sum_{row} += h_prev[row + {row}][k] * weight");
        s.labelled([590.0, y, 275.0, 20.0], PLAIN, 12, &[&text]);
    }
    // Its end.
    s.arrow(&[(722.0, 249.0), (722.0, 284.0)], O.0);
    let text = "then, for each of its four rows, in the same thread:";
    s.text((20.0, 302.0), 14, Anchor::Start, text);
    let stages: [(&str, &str, _); 5] = [
        ("sum + P", "P: the input's share", G),
        ("sigmoid, tanh", "i, f, g, o", I),
        ("c", "f * c_prev + i * g", F),
        ("h", "o * tanh(c)", O),
        ("store", "gates, c, h", PLAIN),
    ];
    for (n, (name, formula, colours)) in stages.into_iter().enumerate() {
        let x = 20.0 + 173.0 * n as f64;
        s.labelled([x, 322.0, 150.0, 52.0], colours, 13, &[name, formula]);
        if n < 4 {
            s.arrow(&[(x + 150.0, 348.0), (x + 172.0, 348.0)], INK);
        }
    }
    for (n, line) in [
        "One launch: nothing between the product and the new states goes through memory.",
        "gates[t] held P and now holds the activated gates, which the backward pass will want.",
    ]
    .into_iter()
    .enumerate()
    {
        s.ink_text((20.0, 412.0 + 22.0 * n as f64), 13, Anchor::Start, QUIET, line);
    }
    s.finish()
}

/// Axes, and a way from what is drawn to where.
struct Axes {
    place: [f64; 4],
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [left, top, width, height] = self.place;
        let share = |v: f64, (from, to): (f64, f64)| (v - from) / (to - from);
        (left + width * share(x, self.x), top + height * (1.0 - share(y, self.y)))
    }

    fn grid(&self, s: &mut Svg, xs: &[(f64, &str)], ys: &[(f64, &str)]) {
        for &(x, label) in xs {
            let (from, to) = (self.at((x, self.y.0)), self.at((x, self.y.1)));
            s.line(&[from, to], "#d0d7de", 1.0);
            s.ink_text((from.0, from.1 + 18.0), 12, Anchor::Middle, QUIET, label);
        }
        for &(y, label) in ys {
            let (from, to) = (self.at((self.x.0, y)), self.at((self.x.1, y)));
            s.line(&[from, to], "#d0d7de", 1.0);
            s.ink_text((from.0 - 8.0, from.1 + 4.0), 12, Anchor::End, QUIET, label);
        }
    }

    fn curve(&self, s: &mut Svg, ink: &str, points: impl Iterator<Item = (f64, f64)>) {
        let points: Vec<_> = points.map(|point| self.at(point)).collect();
        s.line(&points, ink, 2.2);
    }
}

/// The two functions that gates are made with.
fn gates() -> String {
    let mut s = Svg::new((890, 300), "sigmoid and tanh");
    let axes = Axes { place: [60.0, 30.0, 560.0, 230.0], x: (-6.0, 6.0), y: (-1.0, 1.0) };
    let xs =
        [(-6.0, "-6"), (-4.0, "-4"), (-2.0, "-2"), (0.0, "0"), (2.0, "2"), (4.0, "4"), (6.0, "6")];
    axes.grid(&mut s, &xs, &[(-1.0, "-1"), (-0.5, "-0.5"), (0.0, "0"), (0.5, "0.5"), (1.0, "1")]);
    let points =
        |f: fn(f64) -> f64| (-48..=48).map(move |n| (f64::from(n) / 8.0, f(f64::from(n) / 8.0)));
    axes.curve(&mut s, F.0, points(sigmoid));
    axes.curve(&mut s, G.0, points(f64::tanh));
    for (y, ink, name, lines) in [
        (60.0, F.0, "sigmoid", ["from 0 to 1: how much passes", "f, i and o"]),
        (
            160.0,
            G.0,
            "tanh",
            ["from -1 to 1: what is written", "g, and the cell state as it is shown"],
        ),
    ] {
        s.ink_text((650.0, y), 15, Anchor::Start, ink, name);
        for (n, line) in lines.into_iter().enumerate() {
            s.text((650.0, y + 22.0 + 19.0 * n as f64), 12, Anchor::Start, line);
        }
    }
    s.finish()
}

/// What is left of the cell state's gradient after each of so many steps back, by the kernel's twin,
/// along the cell state alone.
fn kept(forget: f64, steps: usize) -> Vec<f64> {
    let step = StepBackward {
        cell: Cell::new(),
        draws: None,
        peepholes: &[],
        hidden: 1,
        incoming: None,
        terms: 1,
        dy: None,
        lengths: None,
    };
    let mut dc = [1.0];
    let mut all = vec![1.0];
    for _ in 0..steps {
        lstm_step_backward(
            &step,
            &[0.0; 4],
            &mut [1.0, forget, 0.0, 1.0],
            &[0.0],
            &[0.0],
            (&mut dc, &mut []),
        );
        all.push(dc[0]);
    }
    all
}

/// What is left of a gradient, step by step back in time.
fn vanishing() -> String {
    const STEPS: usize = 100;
    let mut s = Svg::new((890, 390), "What is left of a gradient after 100 steps back");
    let axes = Axes { place: [70.0, 30.0, 520.0, 300.0], x: (0.0, 100.0), y: (-14.0, 6.0) };
    let ys: Vec<(f64, String)> =
        (-3..=1).map(|n| (f64::from(4 * n), format!("1e{}", 4 * n))).collect();
    let ys: Vec<(f64, &str)> =
        ys.iter().map(|(y, label)| (*y, if *y == 0.0 { "1" } else { label.as_str() })).collect();
    axes.grid(&mut s, &[(0.0, "0"), (25.0, "25"), (50.0, "50"), (75.0, "75"), (100.0, "100")], &ys);
    s.ink_text((330.0, 372.0), 13, Anchor::Middle, QUIET, "steps back in time");
    s.ink_text((20.0, 20.0), 13, Anchor::Start, QUIET, "gradient that is left");
    // A plain recurrent unit, h = tanh(w h_prev + x), passes on w (1 - h^2).
    let plain = |w: f64, h: f64| {
        let factor = w * (1.0 - h * h);
        (0..=STEPS as i32).map(|n| factor.powi(n)).collect::<Vec<f64>>()
    };
    let curves = [
        ("plain, w = 1.5, h = 0.5", "#cf222e", plain(1.5, 0.5), 0.0),
        ("cell, f = 1", F.0, kept(1.0, STEPS), -6.0),
        ("cell, f = 0.99", I.0, kept(0.99, STEPS), 12.0),
        ("cell, f = 0.9", O.0, kept(0.9, STEPS), 0.0),
        ("plain, w = 1, h = 0.5", G.0, plain(1.0, 0.5), 0.0),
    ];
    for (name, ink, values, shift) in curves {
        let logarithms = values.iter().enumerate().map(|(n, v)| (n as f64, v.log10()));
        axes.curve(&mut s, ink, logarithms);
        let last = values[STEPS];
        let said =
            if (0.01..10.0).contains(&last) { format!("{last:.3}") } else { format!("{last:.1e}") };
        let (x, y) = axes.at((STEPS as f64, last.log10()));
        s.ink_text((x + 10.0, y + 5.0 + shift), 13, Anchor::Start, ink, &format!("{name}: {said}"));
    }
    s.finish()
}
