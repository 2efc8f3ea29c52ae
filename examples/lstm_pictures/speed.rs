//! The chart of speed, drawn from a committed record of `benches/peers`.

use std::path::Path;
use std::{fs, io};

use super::svg::{Anchor, QUIET, Svg};

/// What the chart shows.
pub const RECORD: &str = "benches/record/amd-epyc-cpu-2-threads-avx-512/2026-11-21-peers.md";

/// The file that it is drawn into.
pub const NAME: &str = "speed.svg";

/// A row of a record that was timed.
#[derive(Clone, Debug)]
pub struct Row {
    /// The title of the table that it stands in: `inference`, `forward_backward` or `step`.
    pub kind: String,
    /// `T, B, I, H`.
    pub shape: String,
    pub peer: String,
    /// gatefold's time by the peer's, as it is written there.
    pub ratio: String,
}

impl Row {
    /// How many times as fast as the peer gatefold is.
    pub fn times(&self) -> f64 {
        1.0 / self.ratio.parse::<f64>().expect("a number, since the row was read")
    }
}

/// The rows of a record of `benches/peers`. Those that weren't timed are left out.
pub fn rows(record: &str) -> Vec<Row> {
    let mut kind = "";
    let mut rows = Vec::new();
    for line in record.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            kind = title;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, shape, peer, _, _, _, ratio, ..] = cells[..] else { continue };
        if ratio.parse::<f64>().is_ok() {
            let [kind, shape, peer, ratio] = [kind, shape, peer, ratio].map(str::to_owned);
            rows.push(Row { kind, shape, peer, ratio });
        }
    }
    rows
}

/// The chart of the record in this repository, with the name of its file.
pub fn drawn(root: &Path) -> io::Result<(&'static str, String)> {
    Ok((NAME, chart(&rows(&fs::read_to_string(root.join(RECORD))?))))
}

/// The name in records, the name here, the colour, and where it stands above the chart.
const PEERS: [(&str, &str, &str, f64); 4] = [
    ("pytorch", "PyTorch", "#cf222e", 230.0),
    ("onnxruntime", "ONNX Runtime", "#bf8700", 330.0),
    ("burn-flex", "Burn", "#0969da", 470.0),
    ("candle", "candle", "#57606a", 550.0),
];

/// Where the first row of shapes stands, how far apart they are, and how wide a panel is.
const TOP: f64 = 96.0;
const STEP: f64 = 23.0;
const WIDTH: f64 = 350.0;

/// A point for each shape and each other library; to the right of 1 gatefold is faster.
fn chart(rows: &[Row]) -> String {
    let mut shapes: Vec<&str> = Vec::new();
    for row in rows {
        if !shapes.contains(&row.shape.as_str()) {
            shapes.push(&row.shape);
        }
    }
    let bottom = TOP + STEP * (shapes.len() - 1) as f64 + 14.0;
    let size = (890, bottom as u32 + 60);
    let title = "How many times as fast as other libraries gatefold is, on a CPU";
    let mut s = Svg::new(size, title);
    s.text((20.0, 26.0), 14, Anchor::Start, "gatefold, times as fast as");
    for (_, name, ink, x) in PEERS {
        s.dot((x, 21.0), ink);
        s.ink_text((x + 10.0, 26.0), 14, Anchor::Start, ink, name);
    }
    s.ink_text((20.0, 66.0), 12, Anchor::Start, QUIET, "T, B, I, H");
    for (n, shape) in shapes.iter().enumerate() {
        s.text((20.0, TOP + STEP * n as f64 + 4.0), 12, Anchor::Start, shape);
    }
    for (n, (kind, title)) in
        [("inference", "Inference"), ("step", "Training step")].iter().enumerate()
    {
        let left = 140.0 + (WIDTH + 30.0) * n as f64;
        panel(&mut s, rows, &shapes, (kind, title), left, bottom);
    }
    let text = "T timesteps, B sequences, I inputs, H units. On a CPU, two threads each, in one run. \
                To the right of 1 gatefold is faster.";
    s.ink_text((20.0, bottom + 48.0), 12, Anchor::Start, QUIET, text);
    s.finish()
}

/// One kind of work, on an axis of factors.
fn panel(s: &mut Svg, rows: &[Row], shapes: &[&str], kind: (&str, &str), left: f64, bottom: f64) {
    let x = |times: f64| left + WIDTH * (times / 0.7).ln() / (200.0f64 / 0.7).ln();
    s.text((left, 66.0), 14, Anchor::Start, kind.1);
    for times in [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        let (ink, width) = if times == 1.0 { (QUIET, 1.6) } else { ("#d0d7de", 1.0) };
        s.line(&[(x(times), TOP - 14.0), (x(times), bottom)], ink, width);
        s.ink_text((x(times), bottom + 18.0), 12, Anchor::Middle, QUIET, &times.to_string());
    }
    for row in rows.iter().filter(|row| row.kind == kind.0) {
        let peer = PEERS.iter().find(|(peer, ..)| *peer == row.peer);
        let n = shapes.iter().position(|shape| *shape == row.shape);
        if let (Some((_, _, ink, _)), Some(n)) = (peer, n) {
            s.dot((x(row.times()), TOP + STEP * n as f64), ink);
        }
    }
}
