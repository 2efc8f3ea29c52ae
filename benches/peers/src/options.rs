//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

use contestant::{Kind, Result, Shape};

use crate::peers::{PEERS, Peer};

pub const HELP: &str = "\
gatefold beside other LSTMs, interleaved in one run. See README.md; run.sh builds what this starts.

  --peer NAME      only this one; may be given several times:
                   pytorch, onnxruntime, candle, burn-flex (on the CPU);
                   burn-wgpu (on gatefold's adapter);
                   pytorch-cuda, pytorch-cuda-tf32, pytorch-cuda-f16 (beside gatefold on the GPU)
  --kind NAME      only inference, forward_backward or step; several times
  --shape T,B,I,H  this shape instead of the usual ones; several times
  --pairs N        turns of each, in pairs (default 15; below 6 there is no interval)
  --limit SECONDS  what takes longer than this, building, checking or a turn, isn't timed (default 120)
  --out FILE       writes the tables there too, after every row
  --help

GATEFOLD_DEVICE names the adapter; without it, the best GPU, else a software driver.
GATEFOLD_PEERS_PYTHON names the Python that has torch, onnxruntime, onnx and numpy (else python3).
";

/// The shapes of the record: T, B, I, H.
const SHAPES: [[usize; 4]; 12] = [
    [4, 2, 1, 1],
    [10, 16, 5, 8],
    [100, 1, 1, 50],
    [30, 64, 4, 32],
    [64, 32, 64, 128],
    [64, 64, 256, 256],
    [25, 64, 512, 512],
    [128, 32, 512, 512],
    [1, 1, 64, 128],
    // Long, wide and of many rows: where the limits show.
    [256, 1, 64, 512],
    [100, 1, 64, 1024],
    [32, 256, 64, 256],
];

pub struct Options {
    pub peers: Vec<&'static Peer>,
    pub kinds: Vec<Kind>,
    pub shapes: Vec<Shape>,
    /// Whether the shapes were asked for one by one.
    pub chosen: bool,
    pub pairs: usize,
    pub limit: Duration,
    pub out: Option<PathBuf>,
}

/// `None` where only help is wanted.
pub fn parse() -> Result<Option<Options>> {
    use lexopt::prelude::*;

    let (mut peers, mut kinds, mut shapes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pairs, mut limit, mut out) = (15, Duration::from_secs(120), None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("peer") => {
                let name = parser.value()?.string()?;
                let found = PEERS.iter().find(|peer| peer.name == name);
                peers.push(found.ok_or_else(|| format!("no peer is called {name}"))?);
            }
            Long("kind") => kinds.push(parser.value()?.string()?.parse()?),
            Long("shape") => shapes.push(parser.value()?.string()?.parse()?),
            Long("pairs") => pairs = parser.value()?.parse()?,
            Long("limit") => {
                let seconds = parser.value()?.parse()?;
                limit = Duration::try_from_secs_f64(seconds)?;
            }
            Long("out") => out = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected().into()),
        }
    }
    if pairs == 0 {
        return Err("at least one pair".into());
    }
    if peers.is_empty() {
        peers = PEERS.iter().collect();
    }
    if kinds.is_empty() {
        kinds = Kind::ALL.to_vec();
    }
    let chosen = !shapes.is_empty();
    if !chosen {
        let usual =
            |[steps, batch, input, hidden]: [usize; 4]| Shape { steps, batch, input, hidden };
        shapes = SHAPES.map(usual).to_vec();
    }
    Ok(Some(Options { peers, kinds, shapes, chosen, pairs, limit, out }))
}
