//! Training for minutes at changing shapes: memory has to stay as it is, on the host and on the device.
//!
//! README.md beside this file says what a round does and what is compared.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gatefold::data::Batch;
use gatefold::train::{Adam, Loss, Optimizer, RmsProp, Sgd, Trainer};
use gatefold::{Array, Bias, Dataset, Device, Forecaster, Lstm, LstmConfig, Result, Tensor};
use lexopt::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const HELP: &str = "\
cargo bench --bench soak -- [--minutes M]

--minutes M     how long; without it two seconds, of which nothing is judged

GATEFOLD_DEVICE names the device; else it is the best GPU, else the CPU.";

/// What the host may grow by after a third of the time.
const HOST: u64 = 16 << 20;

/// What the device may: a model keeps schedules of some shapes beside its workspace.
const DEVICE: u64 = 1 << 20;

/// A run that is shorter says nothing: kernels of a new shape are still being compiled.
const JUDGED: Duration = Duration::from_secs(60);

/// Rows that are printed.
const ROWS: u32 = 20;

/// The largest sizes of a round.
const STEPS: usize = 24;
const ROWS_OF_A_BATCH: usize = 24;
const INPUT: usize = 3;

/// Bytes at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// Of the process, where the system says it.
    host: Option<u64>,
    /// Of the device's buffers, as gatefold counts them.
    device: u64,
    /// The same as wgpu counts them, with their number; none on the CPU.
    wgpu: (u64, u64),
}

impl Memory {
    fn of(device: &Device) -> Memory {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        let wgpu = device.as_gpu().map_or((0, 0), |gpu| {
            let hal = gpu.wgpu_device().get_internal_counters().hal;
            (hal.buffer_memory.read() as u64, hal.buffers.read() as u64)
        });
        Memory { host: kib.map(|kib| kib << 10), device: device.allocated_bytes(), wgpu }
    }

    fn max(self, other: Memory) -> Memory {
        Memory {
            host: self.host.max(other.host),
            device: self.device.max(other.device),
            wgpu: (self.wgpu.0.max(other.wgpu.0), self.wgpu.1.max(other.wgpu.1)),
        }
    }

    /// What of it has grown since then, by more than it may.
    fn grown(self, before: Memory) -> Vec<String> {
        let host = self.host.zip(before.host);
        let values = [
            ("the host's memory", host.map_or(0, |(now, _)| now), host.map_or(0, |(_, b)| b), HOST),
            ("the device's memory", self.device, before.device, DEVICE),
            ("the device's memory, as wgpu counts it", self.wgpu.0, before.wgpu.0, DEVICE),
            ("the number of wgpu's buffers", self.wgpu.1, before.wgpu.1, 64),
        ];
        let grown = values.into_iter().filter(|(_, now, before, most)| *now > before + most);
        grown.map(|(what, now, before, _)| format!("{what} was {before} and is {now}")).collect()
    }
}

/// Seeded choices.
struct Random(ChaCha8Rng);

impl Random {
    /// In `0..n`.
    fn below(&mut self, n: usize) -> usize {
        self.0.next_u32() as usize % n
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// In `-1..1`.
    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.0.next_u32() as f32 / (1u32 << 31) as f32 - 1.0).collect()
    }
}

/// Sequences of any number and length.
fn data(random: &mut Random, steps: usize, rows: usize) -> Result<Dataset> {
    let x = Array::new(random.values(rows * steps * INPUT), &[rows, steps, INPUT])?;
    let y = Array::new(random.values(rows), &[rows, 1])?;
    let data = Dataset::new(x, y)?;
    if random.coin() {
        return Ok(data);
    }
    let lengths: Vec<usize> = (0..rows).map(|_| 1 + random.below(steps)).collect();
    data.with_lengths(&lengths)
}

/// Sizes of a round; of the first few, the largest.
fn sizes(random: &mut Random, round: u64) -> (usize, usize) {
    let (steps, rows) = (1 + random.below(STEPS), 1 + random.below(ROWS_OF_A_BATCH));
    if round < 8 { (STEPS, ROWS_OF_A_BATCH) } else { (steps, rows) }
}

/// What lives from the first round to the last.
struct Kept {
    trainer: Trainer,
    lstm: Lstm,
}

impl Kept {
    fn new(device: &Device) -> Result<Kept> {
        let config = LstmConfig::new(INPUT, 24).layers(2).dropout(0.1);
        let model = Forecaster::new(device, config, 1)?;
        let trainer = Trainer::new(model, Loss::mse(), Adam::new(1e-3)).epochs(1);
        Ok(Kept { trainer, lstm: Lstm::new(device, LstmConfig::new(INPUT, 20))? })
    }

    /// Batches of several shapes, predictions, a pass by hand.
    fn round(&mut self, random: &mut Random, round: u64) -> Result<()> {
        let batches = (0..4).map(|_| {
            let (steps, rows) = sizes(random, round);
            data(random, steps, rows)
        });
        let batches: Vec<Dataset> = batches.collect::<Result<_>>()?;
        let given = |_| batches.iter().map(|data| Ok(Batch::from(data.clone())));
        self.trainer.fit_batches(given, None, |_| ())?;
        self.trainer.evaluate(&batches[0])?;
        self.trainer.model().predict(batches[1].x())?;

        let (steps, rows) = sizes(random, round);
        let x = random.values(steps * rows * INPUT);
        let x = Tensor::from_slice(self.lstm.device(), &x, &[steps, rows, INPUT])?;
        let (y, _) = self.lstm.forward(&x, None)?;
        self.lstm.forward_training(&x, None, None, 1)?.backward(Some(&y), None)?.flat().to_vec()?;
        y.to_vec()?;
        Ok(())
    }
}

/// A model of any size that is trained, saved, loaded, resumed and dropped.
fn passing(device: &Device, random: &mut Random, folder: &Path, round: u64) -> Result<()> {
    let hidden = [4, 9, 16, 33][random.below(4)];
    let bias = [Bias::None, Bias::Single, Bias::Double][random.below(3)];
    let config = LstmConfig::new(INPUT, hidden).layers(1 + random.below(3)).bias(bias);
    let config = config.bidirectional(random.coin()).dropout(0.1);
    let config = if random.coin() { config.proj_size(3) } else { config };
    let optimizer: Optimizer = match random.below(3) {
        0 => Adam::new(1e-3).into(),
        1 => Sgd::new(1e-3).momentum(0.9).into(),
        _ => RmsProp::new(1e-3).into(),
    };
    let batch = 1 + random.below(8);
    let accumulate = 1 + random.below(2);
    let trainer = || -> Result<Trainer> {
        let model = Forecaster::new(device, config.clone(), 1)?;
        let trainer = Trainer::new(model, Loss::l1(), optimizer).epochs(2).shuffle(1);
        Ok(trainer.batch_size(batch).accumulate(accumulate).clip_norm(1.0))
    };
    let (steps, rows) = sizes(random, round);
    let data = data(random, steps, rows)?;
    let mut first = trainer()?.max_steps(1 + random.below(3) as u64);
    first.fit(&data, Some(&data), |_| ())?;
    first.save(folder)?;
    let mut second = trainer()?.keep_best();
    second.resume(folder)?;
    second.fit(&data, Some(&data), |_| ())?;
    let path = folder.join("model.safetensors");
    second.model().save(&path)?;
    Forecaster::load(device, &path)?.predict(data.x())?;
    Ok(())
}

/// Rounds for so long; says what has grown.
fn soak(device: &Device, time: Duration) -> Result<Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder for models");
    let mut random = Random(ChaCha8Rng::seed_from_u64(7));
    let mut kept = Kept::new(device)?;
    let (start, mut round, mut printed) = (Instant::now(), 0, 0);
    // The most of each third.
    let mut thirds = [Memory::default(); 3];
    println!(
        "{:>6} {:>8} {:>10} {:>12}  wgpu: bytes, buffers",
        "s", "rounds", "host KiB", "device bytes"
    );
    while start.elapsed() < time {
        kept.round(&mut random, round)?;
        passing(device, &mut random, folder.path(), round)?;
        round += 1;
        device.wait()?;
        let (now, share) = (Memory::of(device), start.elapsed().as_secs_f64() / time.as_secs_f64());
        let third = &mut thirds[((3.0 * share) as usize).min(2)];
        *third = third.max(now);
        if share * f64::from(ROWS) >= f64::from(printed) {
            printed += 1;
            let host = now.host.map_or("?".to_owned(), |host| (host >> 10).to_string());
            let (bytes, buffers) = now.wgpu;
            let seconds = start.elapsed().as_secs();
            println!("{seconds:>6} {round:>8} {host:>10} {:>12}  {bytes}, {buffers}", now.device);
        }
    }
    let [_, before, after] = thirds;
    println!(
        "{round} rounds; the most of the second third and of the last:\n{before:?}\n{after:?}"
    );
    if time < JUDGED {
        println!("too short to be judged");
        return Ok(Vec::new());
    }
    Ok(after.grown(before))
}

/// How long; nothing where the command line asks for help.
fn parse() -> std::result::Result<Option<Duration>, lexopt::Error> {
    let mut time = Duration::from_secs(2);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            // What `cargo bench` and `cargo test` say.
            Long("bench" | "test") => {}
            Long("minutes") => {
                let minutes: f64 = arguments.value()?.parse()?;
                time = Duration::try_from_secs_f64(60.0 * minutes)
                    .map_err(|error| lexopt::Error::Custom(Box::new(error)))?;
            }
            Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(time))
}

fn main() -> ExitCode {
    let time = match parse() {
        Ok(Some(time)) => time,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::FAILURE;
        }
    };
    let run = || {
        let device = Device::from_env()?;
        println!("{device}");
        soak(&device, time)
    };
    match run() {
        Ok(grown) if grown.is_empty() => ExitCode::SUCCESS,
        Ok(grown) => {
            eprintln!("memory grows: {}", grown.join("; "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
