//! The contestants: how each is started, and what it may differ by.

use std::path::Path;

use contestant::{Kind, Result, Shape, THREADS};
use gatefold::DEVICE_VARIABLE;
use gatefold::gpu::Adapter;

use crate::child::Child;

/// Outputs are below 1, and a sum of a thousand products in f32 over a hundred timesteps, in another
/// order, is apart by some 1e-6. Gradients are held against their tensor's largest element, losses
/// against themselves.
const F32: f64 = 1e-4;

/// TF32 and f16 keep eleven bits of a factor, 5e-4, which a recurrence passes on and adds to.
const ELEVEN_BITS: f64 = 2e-2;

/// Where it runs, and so whom of ours it meets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Cpu,
    /// The same adapter.
    Adapter,
    /// A GPU, which ours has to be on as well.
    Cuda,
}

enum Program {
    /// Arguments of `python/contestant.py`.
    Python(&'static [&'static str]),
    /// A binary beside this one, and its argument; an empty one is the adapter's name.
    Binary(&'static str, &'static str),
}

pub struct Peer {
    pub name: &'static str,
    pub place: Place,
    program: Program,
    /// Whether it trains.
    trains: bool,
    /// What its numbers may be apart from ours.
    pub tolerance: f64,
}

pub static PEERS: [Peer; 8] = [
    Peer {
        name: "pytorch",
        place: Place::Cpu,
        program: Program::Python(&["pytorch"]),
        trains: true,
        tolerance: F32,
    },
    Peer {
        name: "onnxruntime",
        place: Place::Cpu,
        program: Program::Python(&["onnxruntime"]),
        trains: false,
        tolerance: F32,
    },
    Peer {
        name: "candle",
        place: Place::Cpu,
        program: Program::Binary("peers-candle", "cpu"),
        trains: true,
        tolerance: F32,
    },
    Peer {
        name: "burn-flex",
        place: Place::Cpu,
        program: Program::Binary("peers-burn", "flex"),
        trains: true,
        tolerance: F32,
    },
    Peer {
        name: "burn-wgpu",
        place: Place::Adapter,
        program: Program::Binary("peers-burn", ""),
        trains: true,
        tolerance: F32,
    },
    Peer {
        name: "pytorch-cuda",
        place: Place::Cuda,
        program: Program::Python(&["pytorch", "cuda", "f32"]),
        trains: true,
        tolerance: F32,
    },
    Peer {
        name: "pytorch-cuda-tf32",
        place: Place::Cuda,
        program: Program::Python(&["pytorch", "cuda", "tf32"]),
        trains: true,
        tolerance: ELEVEN_BITS,
    },
    Peer {
        name: "pytorch-cuda-f16",
        place: Place::Cuda,
        program: Program::Python(&["pytorch", "cuda", "f16"]),
        trains: true,
        tolerance: ELEVEN_BITS,
    },
];

/// Shapes that Burn runs on a software adapter unasked. It tunes its kernels for each shape, which takes
/// half a minute there, and the large ones take seconds a run.
const ON_SOFTWARE: [Shape; 2] = [
    Shape { steps: 100, batch: 1, input: 1, hidden: 50 },
    Shape { steps: 64, batch: 32, input: 64, hidden: 128 },
];

impl Peer {
    /// Starts it and ours.
    pub fn start(&self, adapter: Option<&Adapter>) -> Result<Pair> {
        let adapter = match self.place {
            Place::Cpu => None,
            Place::Adapter => Some(adapter.ok_or("no adapter on this machine")?),
            Place::Cuda => {
                let hardware = adapter.filter(|adapter| !adapter.is_software());
                Some(hardware.ok_or("gatefold finds no hardware GPU to meet it on")?)
            }
        };
        let device = adapter.map_or("cpu", Adapter::name);
        let peer = match self.program {
            Program::Binary(name, "") => binary(name, device)?,
            Program::Binary(name, argument) => binary(name, argument)?,
            Program::Python(arguments) => {
                let python = std::env::var_os("GATEFOLD_PEERS_PYTHON");
                let beside_source = || Path::new(env!("CARGO_MANIFEST_DIR")).join("python/contestant.py");
                let script = std::env::var_os("GATEFOLD_PEERS_SCRIPT")
                    .map_or_else(beside_source, std::path::PathBuf::from);
                let threads = THREADS.to_string();
                let mut all = vec![script.as_os_str(), threads.as_ref()];
                all.extend(arguments.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
                Child::start(python.unwrap_or_else(|| "python3".into()).as_ref(), &all)?
            }
        };
        Ok(Pair { ours: binary("peers-gatefold", device)?, peer })
    }

    /// Why a task isn't tried.
    pub fn refuses(
        &self,
        kind: Kind,
        shape: Shape,
        chosen: bool,
        software: bool,
    ) -> Option<String> {
        if kind != Kind::Inference && !self.trains {
            return Some("it doesn't train".to_owned());
        }
        if self.place == Place::Adapter && software && !chosen && !ON_SOFTWARE.contains(&shape) {
            return Some("left out on a software adapter; `--shape` runs it".to_owned());
        }
        None
    }
}

/// The two of a row.
pub struct Pair {
    pub ours: Child,
    pub peer: Child,
}

fn binary(name: &str, argument: &str) -> Result<Child> {
    let path = std::env::current_exe()?
        .with_file_name(name)
        .with_extension(std::env::consts::EXE_EXTENSION);
    if !path.exists() {
        return Err(format!("{name} isn't built").into());
    }
    Child::start(&path, &[argument.as_ref()])
}

/// The adapter that `GATEFOLD_DEVICE` names; without it, or where that isn't one, the best GPU, else a
/// software driver.
pub fn adapter() -> Option<Adapter> {
    let wanted = std::env::var(DEVICE_VARIABLE).unwrap_or_default().trim().to_lowercase();
    let named = |adapter: &Adapter| adapter.name().to_lowercase().contains(&wanted);
    let mut all = Adapter::all();
    let at = match wanted.as_str() {
        "" | "cpu" | "gpu" => all.iter().position(|adapter| !adapter.is_software()).or(Some(0)),
        _ => all.iter().position(named),
    };
    at.filter(|&at| at < all.len()).map(|at| all.swap_remove(at))
}
