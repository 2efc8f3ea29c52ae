//! What every contestant shares: the task, and how it talks to the driver.
//!
//! The driver writes a task's numbers to a folder, as raw little-endian f32, and talks to a contestant
//! in lines. Requests, one a line on the standard input:
//!
//! - `load KIND T,B,I,H FOLDER`: build the model and put its input where it is computed on.
//! - `check FILE`: compute once, and write what [`Task::results`] names to the file.
//! - `go N`: compute N times, and say how long it took.
//!
//! Answers begin with `= `, since a library may print as well: first `= hello ABOUT`, or `= missing
//! REASON` where the contestant can't be had; then one of `= ready`, `= took SECONDS` and `= error
//! REASON` for each request.

use std::any::Any;
use std::fmt;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

pub type Error = Box<dyn std::error::Error>;
pub type Result<T> = std::result::Result<T, Error>;

/// The threads that each contestant gets, a software GPU driver's among them.
pub const THREADS: usize = 2;

/// Optimizer steps whose losses are compared.
pub const LOSSES: usize = 5;

/// The optimizer's step size.
pub const LEARNING_RATE: f64 = 1e-3;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The outputs of all timesteps.
    Inference,
    /// The outputs of all timesteps, and the gradients of the parameters and of the input from given
    /// gradients of the outputs.
    ForwardBackward,
    /// A step of training: the mean squared error of the last hidden state, its gradients, Adam.
    Step,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Inference, Kind::ForwardBackward, Kind::Step];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Inference => "inference",
            Kind::ForwardBackward => "forward_backward",
            Kind::Step => "step",
        })
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kind> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.to_string() == text);
        kind.ok_or_else(|| format!("no kind is called {text}").into())
    }
}

/// The sizes of a task: an LSTM of one layer, in one direction, with two biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Timesteps, `T`.
    pub steps: usize,
    /// Rows, `B`.
    pub batch: usize,
    /// Features of the input, `I`.
    pub input: usize,
    /// Units, `H`.
    pub hidden: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { steps, batch, input, hidden } = self;
        write!(f, "{steps},{batch},{input},{hidden}")
    }
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Shape> {
        let sizes: Vec<usize> = text
            .split(',')
            .map(|size| size.trim().parse())
            .collect::<std::result::Result<_, _>>()?;
        match sizes[..] {
            [steps, batch, input, hidden] if !sizes.contains(&0) => {
                Ok(Shape { steps, batch, input, hidden })
            }
            _ => Err(format!("a shape is four sizes T,B,I,H, not {text}").into()),
        }
    }
}

/// What every contestant computes from: PyTorch's names, shapes and order of gates.
#[derive(Clone, Debug)]
pub struct Task {
    pub kind: Kind,
    pub shape: Shape,
    /// `[T, B, I]`.
    pub x: Vec<f32>,
    /// `[4H, I]`.
    pub weight_ih: Vec<f32>,
    /// `[4H, H]`.
    pub weight_hh: Vec<f32>,
    /// `[4H]`.
    pub bias_ih: Vec<f32>,
    /// `[4H]`.
    pub bias_hh: Vec<f32>,
    /// Gradients of the outputs, `[T, B, H]`.
    pub dy: Vec<f32>,
    /// What the last hidden state is trained towards, `[B, H]`.
    pub target: Vec<f32>,
}

impl Task {
    /// A task of uniform numbers; parameters as PyTorch draws them, within `1 / sqrt(H)`.
    pub fn new(kind: Kind, shape: Shape) -> Task {
        let Shape { steps, batch, input, hidden } = shape;
        // Steele, Lea and Flood's SplitMix64.
        let mut state = 7_u64;
        let mut uniform = |len: usize, bound: f32| -> Vec<f32> {
            let mut draw = || {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
            };
            (0..len).map(|_| bound * draw()).collect()
        };
        let bound = (hidden as f32).sqrt().recip();
        Task {
            kind,
            shape,
            x: uniform(steps * batch * input, 1.0),
            weight_ih: uniform(4 * hidden * input, bound),
            weight_hh: uniform(4 * hidden * hidden, bound),
            bias_ih: uniform(4 * hidden, bound),
            bias_hh: uniform(4 * hidden, bound),
            dy: uniform(steps * batch * hidden, 1.0),
            target: uniform(batch * hidden, 0.9),
        }
    }

    fn parts(&mut self) -> [(&'static str, &mut Vec<f32>); 7] {
        [
            ("x", &mut self.x),
            ("weight_ih", &mut self.weight_ih),
            ("weight_hh", &mut self.weight_hh),
            ("bias_ih", &mut self.bias_ih),
            ("bias_hh", &mut self.bias_hh),
            ("dy", &mut self.dy),
            ("target", &mut self.target),
        ]
    }

    /// Writes each tensor to a file of its own.
    pub fn write(mut self, folder: &Path) -> Result<()> {
        for (name, values) in self.parts() {
            write_numbers(&folder.join(name).with_extension("f32"), values)?;
        }
        Ok(())
    }

    /// Reads what [`write`](Self::write) has written.
    pub fn read(kind: Kind, shape: Shape, folder: &Path) -> Result<Task> {
        let none = Vec::new;
        let mut task = Task {
            kind,
            shape,
            x: none(),
            weight_ih: none(),
            weight_hh: none(),
            bias_ih: none(),
            bias_hh: none(),
            dy: none(),
            target: none(),
        };
        for (name, values) in task.parts() {
            *values = read_numbers(&folder.join(name).with_extension("f32"))?;
        }
        Ok(task)
    }

    /// What a contestant shows before it is timed, in this order: each tensor's name and elements.
    pub fn results(kind: Kind, shape: Shape) -> Vec<(&'static str, usize)> {
        let Shape { steps, batch, input, hidden } = shape;
        match kind {
            Kind::Inference => vec![("y", steps * batch * hidden)],
            Kind::ForwardBackward => vec![
                ("dx", steps * batch * input),
                ("dweight_ih", 4 * hidden * input),
                ("dweight_hh", 4 * hidden * hidden),
                ("dbias_ih", 4 * hidden),
                ("dbias_hh", 4 * hidden),
            ],
            Kind::Step => vec![("losses", LOSSES)],
        }
    }
}

/// The version of a package that this is built with.
pub fn version(package: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let found = lock.split_once(&format!("name = \"{package}\"\nversion = \""));
    found.and_then(|(_, rest)| rest.split('"').next()).unwrap_or("of an unknown version")
}

/// Swaps the first two dimensions of `[rows, columns, width]`: between time-major and batch-major.
pub fn swap(values: &[f32], rows: usize, columns: usize, width: usize) -> Vec<f32> {
    let mut swapped = Vec::with_capacity(values.len());
    for column in 0..columns {
        for row in 0..rows {
            swapped.extend_from_slice(&values[(row * columns + column) * width..][..width]);
        }
    }
    swapped
}

/// Writes raw little-endian f32.
pub fn write_numbers(path: &Path, values: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(std::fs::write(path, bytes)?)
}

/// Reads raw little-endian f32.
pub fn read_numbers(path: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    let (numbers, rest) = bytes.as_chunks();
    match rest {
        [] => Ok(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()),
        _ => Err(format!("{} isn't of whole f32", path.display()).into()),
    }
}

/// A model that is built, with its input where it is computed on.
pub trait Run {
    /// Computes once, and returns what [`Task::results`] names, one after the other. Of training it
    /// takes the first steps.
    fn check(&mut self) -> Result<Vec<f32>>;

    /// Computes so many times, and returns once all is done. Inference and gradients wait for the
    /// device every time; training waits once, at the end.
    fn run(&mut self, times: usize) -> Result<()>;
}

/// Tells the driver that the contestant can't be had.
pub fn missing(reason: &str) {
    say("missing", reason);
}

/// Answers the driver until it ends. `about` is the contestant in words: its version, its device.
///
/// # Errors
/// Where the driver's end is closed; what goes wrong in a contestant is told to the driver.
pub fn serve(about: &str, build: impl Fn(Task) -> Result<Box<dyn Run>>) -> Result<()> {
    say("hello", about);
    let mut model: Option<Box<dyn Run>> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        // Some libraries panic where a device fails.
        let answer = catch_unwind(AssertUnwindSafe(|| answer(&line, &mut model, &build)));
        match answer {
            Ok(Ok((word, rest))) => say(word, &rest),
            Ok(Err(error)) => say("error", &error.to_string()),
            Err(panic) => say("error", &format!("a panic: {}", message(&*panic))),
        }
    }
    Ok(())
}

fn answer(
    line: &str,
    model: &mut Option<Box<dyn Run>>,
    build: impl Fn(Task) -> Result<Box<dyn Run>>,
) -> Result<(&'static str, String)> {
    let (request, rest) = line.split_once(' ').ok_or("a request of one word")?;
    if request == "load" {
        // The one before goes first: a device may not hold two.
        *model = None;
        let [kind, shape, folder] =
            rest.splitn(3, ' ').collect::<Vec<_>>().try_into().map_err(|_| "load what?")?;
        let task = Task::read(kind.parse()?, shape.parse()?, Path::new(folder))?;
        *model = Some(build(task)?);
        return Ok(("ready", String::new()));
    }
    let model = model.as_mut().ok_or("nothing is loaded")?;
    match request {
        "check" => {
            write_numbers(Path::new(rest), &model.check()?)?;
            Ok(("ready", String::new()))
        }
        "go" => {
            let times = rest.parse()?;
            let start = Instant::now();
            model.run(times)?;
            Ok(("took", format!("{:e}", start.elapsed().as_secs_f64())))
        }
        _ => Err(format!("what is {request}?").into()),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned()
}

/// A driver that has gone is noticed at its next request.
fn say(word: &str, rest: &str) {
    let line = format!("= {word} {}", rest.replace('\n', " "));
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", line.trim_end()).and_then(|()| out.flush());
}
