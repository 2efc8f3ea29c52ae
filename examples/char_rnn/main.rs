//! A model that reads a text character by character and learns to write like it.
//!
//! `cargo run --example char_rnn -- --help` shows the options, `README.md` beside this file the
//! story.

#[path = "../common/mod.rs"]
mod common;
mod text;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use common::number;
use gatefold::train::{AdamW, Loss, Progress, Schedule, StopHandle, Trainer};
use gatefold::{Cell, Dataset, Device, Error, Forecaster, LstmConfig, Result, checkpoint};
use indicatif::{ProgressBar, ProgressStyle};
use text::Text;
use writer::Writer;

const ALICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/char_rnn/alice.txt");

const HELP: &str = "\
Trains an LSTM to predict a text's next character, and lets it write.

Usage: cargo run --example char_rnn -- [OPTIONS]

Options:
  --text FILE      A text of your own, in UTF-8 [default: Alice's Adventures in Wonderland]
  --epochs N       Passes over the text [default: 10]
  --hidden N       Units of a layer [default: 128]
  --layers N       LSTM layers [default: 1]
  --batch N        Parts of the text that are read side by side [default: 32]
  --seed N         The seed of weights, masks and samples [default: 0]
  --zoneout X      Training leaves a unit's cell state as it was with probability X, and its hidden state
                   with X / 10 [default: 0]
  --recurrent-dropout X
                   Training drops a unit of the hidden state for a piece with probability X [default: 0]
  --temperature X  How daring samples are; 0 for the likeliest character always [default: 0.5]
  --prompt TEXT    What samples go on from [default: \"The \" where the text has its characters]
  --out DIR        Where model.safetensors and trainer.safetensors go [default: target/char_rnn]
  --resume         Goes on with the run that is saved there; ctrl-C stops and saves one
  --sample N       Writes N characters with the model that is saved there, and trains nothing
  --help           This text

GATEFOLD_DEVICE=gpu|cpu|<part of an adapter's name> chooses the device.
";

/// Timesteps that gradients go back through. The state goes on from piece to piece, so that the
/// model remembers more than it was taught at a time.
const PIECE: usize = 32;

/// Numbers that stand for a character inside the model.
const EMBEDDING: usize = 32;

const RATE: f64 = 0.01;

/// Samples that a run shows on its way, and how long they are.
const SAMPLES: u64 = 10;
const SAMPLE: usize = 50;

/// How long the last one is.
const LAST_SAMPLE: usize = 500;

/// What a run is. One that is resumed has to have the same.
#[derive(Clone, Debug, PartialEq)]
struct Settings {
    text: PathBuf,
    epochs: usize,
    hidden: usize,
    layers: usize,
    batch: usize,
    seed: u64,
    zoneout: f64,
    recurrent_dropout: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            text: ALICE.into(),
            epochs: 10,
            hidden: 128,
            layers: 1,
            batch: 32,
            seed: 0,
            zoneout: 0.0,
            recurrent_dropout: 0.0,
        }
    }
}

struct Options {
    settings: Settings,
    temperature: f64,
    prompt: Option<String>,
    out: PathBuf,
    resume: bool,
    sample: Option<usize>,
}

/// The options, or `None` where only help was wanted.
fn options() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        settings: Settings::default(),
        temperature: 0.5,
        prompt: None,
        out: "target/char_rnn".into(),
        resume: false,
        sample: None,
    };
    let settings = &mut options.settings;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("text") => settings.text = parser.value()?.into(),
            Long("epochs") => settings.epochs = number(&mut parser, "--epochs", 1..=1_000_000)?,
            Long("hidden") => settings.hidden = number(&mut parser, "--hidden", 1..=1_000_000)?,
            Long("layers") => settings.layers = number(&mut parser, "--layers", 1..=1_000)?,
            Long("batch") => settings.batch = number(&mut parser, "--batch", 1..=usize::MAX)?,
            Long("seed") => settings.seed = number(&mut parser, "--seed", 0..=u64::MAX)?,
            Long("zoneout") => settings.zoneout = number(&mut parser, "--zoneout", 0.0..=0.99)?,
            Long("recurrent-dropout") => {
                settings.recurrent_dropout =
                    number(&mut parser, "--recurrent-dropout", 0.0..=0.99)?;
            }
            Long("temperature") => {
                options.temperature = number(&mut parser, "--temperature", 0.0..=1000.0)?;
            }
            Long("prompt") => options.prompt = Some(parser.value()?.string()?),
            Long("out") => options.out = parser.value()?.into(),
            Long("resume") => options.resume = true,
            Long("sample") => {
                options.sample = Some(number(&mut parser, "--sample", 0..=10_000_000)?);
            }
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    if options.resume && options.sample.is_some() {
        return Err("--resume and --sample exclude each other".into());
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<ExitCode> {
    let device = Device::from_env()?;
    println!("Running on {device}");
    match options.sample {
        Some(count) => {
            let (model, saved) = Forecaster::load_with(&device, options.out.join(MODEL))?;
            let Some(characters) = saved.get(CHARACTERS) else {
                return Err(not_ours(&options.out, format!("{CHARACTERS} is missing")));
            };
            let vocabulary: Vec<char> = characters.chars().collect();
            println!("{}", sample(&model, &vocabulary, options, count)?);
            Ok(ExitCode::SUCCESS)
        }
        None => learn(&device, options),
    }
}

/// Trains, measures and writes.
fn learn(device: &Device, options: &Options) -> Result<ExitCode> {
    let settings = &options.settings;
    let text = Text::read(&settings.text, least_characters(settings.batch))?;
    let (train, held_out) = (text.streams(settings.batch)?, text.held_out_sequence()?);
    let bigram = text.bigram_loss();
    println!(
        "{}: {} characters, {} of them distinct; the last {} are held out",
        Path::new(settings.text.file_name().unwrap_or_default()).display(),
        text.training().len() + text.held_out().len(),
        text.vocabulary.len(),
        text.held_out().len(),
    );
    println!("Bigram model: held-out loss {bigram:.4} nats a character");

    let steps = (train.steps().div_ceil(PIECE) as u64).saturating_mul(settings.epochs as u64);
    let mut trainer = trainer(device, settings, &text, steps)?;
    // Before any work: what can't be gone on from or written to is known at once.
    sample(trainer.model(), &text.vocabulary, options, 0)?;
    common::folder(&options.out)?;
    let description = description(settings, &text);
    if options.resume {
        expect_saved(&options.out, &description)?;
        trainer.resume(&options.out)?;
        println!("Going on after step {} of {steps}", trainer.steps());
    }

    let show = |trainer: &Trainer| -> Result<()> {
        let (step, loss) = (trainer.steps(), trainer.evaluate(&held_out)?);
        let sample = sample(trainer.model(), &text.vocabulary, options, SAMPLE)?;
        println!("  step {step:>5}, held-out loss {loss:.4}: {}", one_line(&sample));
        Ok(())
    };
    let save = |trainer: &Trainer| -> Result<()> {
        // With what a model of characters needs to be of use.
        trainer.save_with(&options.out, &description)
    };
    let start = Instant::now();
    let trainer = train_in_slices(trainer, &train, steps, show, save)?;
    let folder = options.out.display();
    if trainer.steps() < steps {
        println!("Stopped after step {} of {steps} and saved in {folder}", trainer.steps());
        println!("The same command with --resume goes on");
        return Ok(ExitCode::SUCCESS);
    }
    println!("Trained in {:.1} s; saved in {folder}", start.elapsed().as_secs_f64());

    println!("\n{}\n", sample(trainer.model(), &text.vocabulary, options, LAST_SAMPLE)?);
    let loss = f64::from(trainer.evaluate(&held_out)?);
    println!("Held-out loss {loss:.4} nats a character, perplexity {:.2}", loss.exp());
    println!("Bigram model  {bigram:.4} nats a character, perplexity {:.2}", bigram.exp());
    let better = loss < bigram;
    println!("The LSTM is {} than the bigram model", if better { "better" } else { "not better" });
    // What README.md promises of the default settings.
    let broken = !better && *settings == Settings::default();
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Characters that a text needs, so that each of so many streams fills a piece.
fn least_characters(streams: usize) -> usize {
    let training = streams.saturating_mul(PIECE).saturating_add(1);
    training.saturating_mul(10) / 9 + 1
}

/// A fresh model with all that trains it, for so many optimizer steps.
fn trainer(device: &Device, settings: &Settings, text: &Text, steps: u64) -> Result<Trainer> {
    let characters = text.vocabulary.len();
    let mut cell = Cell::new().recurrent_dropout(settings.recurrent_dropout);
    if settings.zoneout > 0.0 {
        // The proportion of Krueger et al., who kept half of the cell states and a twentieth of the hidden ones.
        cell = cell.zoneout(settings.zoneout / 10.0, settings.zoneout);
    }
    let config = LstmConfig::new(EMBEDDING, settings.hidden)
        .cell(cell)
        .embedding(characters)
        .layers(settings.layers)
        .forget_bias(1.0) // remember, until taught to forget
        .seed(settings.seed);
    // A prediction of the next character after every character.
    let model = Forecaster::every_step(device, config, characters)?;
    let warmup = steps.min(200) / 10;
    Ok(Trainer::new(model, Loss::cross_entropy(), AdamW::new(RATE))
        // All streams in one batch, piece by piece: states go on from one to the next.
        .batch_size(settings.batch)
        .truncate(PIECE)
        .epochs(settings.epochs)
        .clip_norm(1.0) // one odd passage can't throw the model off
        .schedule(Schedule::Cosine { warmup, total: steps, min_factor: 0.02 })
        .report_every_steps(10))
}

/// Trains to the end, or to ctrl-C; shows and saves every now and then.
fn train_in_slices(
    mut trainer: Trainer,
    data: &Dataset,
    steps: u64,
    show: impl Fn(&Trainer) -> Result<()>,
    save: impl Fn(&Trainer) -> Result<()>,
) -> Result<Trainer> {
    let style = "  step {pos}/{len} [{bar:30}] {msg}";
    let bar = ProgressBar::new(steps).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let stopped = on_ctrl_c(trainer.stop_handle())?;
    let slice = steps.div_ceil(SAMPLES);
    show(&trainer)?;
    while trainer.steps() < steps {
        // From multiples of `slice` on, so that a run that is resumed shows the same samples.
        let here = slice - trainer.steps() % slice;
        trainer = trainer.max_steps(here);
        trainer.fit(data, None, |p| {
            let speed = p.samples_per_second * PIECE as f64;
            let Progress { loss, lr, .. } = p;
            bar.set_message(format!("loss {loss:.4}, rate {lr:.5}, {speed:.0} characters/s"));
            bar.set_position(p.step);
        })?;
        save(&trainer)?;
        bar.suspend(|| show(&trainer))?;
        if stopped.load(Ordering::Relaxed) {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(trainer)
}

/// Stops with ctrl-C, and tells.
fn on_ctrl_c(stop: StopHandle) -> Result<Arc<AtomicBool>> {
    let stopped = Arc::new(AtomicBool::new(false));
    let told = stopped.clone();
    let handler = move || {
        told.store(true, Ordering::Relaxed);
        stop.stop();
    };
    let refused = |error| Error::Io { path: "ctrl-C".into(), source: std::io::Error::other(error) };
    ctrlc::set_handler(handler).map_err(refused)?;
    Ok(stopped)
}

/// The prompt, and what the model writes after it.
fn sample(
    model: &Forecaster,
    vocabulary: &[char],
    options: &Options,
    count: usize,
) -> Result<String> {
    let prompt = prompt(options, vocabulary);
    let writer = Writer::new(model, vocabulary)?;
    Ok(prompt.clone()
        + &writer.write(&prompt, count, options.temperature, options.settings.seed)?)
}

/// What samples go on from.
fn prompt(options: &Options, vocabulary: &[char]) -> String {
    let usual = "The ";
    let first = || match usual.chars().all(|c| vocabulary.contains(&c)) {
        true => usual.to_owned(),
        false => vocabulary[..1].iter().collect(),
    };
    options.prompt.clone().unwrap_or_else(first)
}

/// A text in one line of a terminal.
fn one_line(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_debug().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// The file of the model.
const MODEL: &str = "model.safetensors";

/// The entry of its metadata that holds the characters.
const CHARACTERS: &str = "char_rnn.characters";

/// What a file of this example says besides the model.
fn description(settings: &Settings, text: &Text) -> HashMap<String, String> {
    let Settings { epochs, hidden, layers, batch, seed, zoneout, recurrent_dropout, text: _ } =
        settings;
    HashMap::from([
        (CHARACTERS.to_owned(), text.vocabulary.iter().collect()),
        ("char_rnn.text".to_owned(), text.checksum().to_string()),
        ("char_rnn.epochs".to_owned(), epochs.to_string()),
        ("char_rnn.hidden".to_owned(), hidden.to_string()),
        ("char_rnn.layers".to_owned(), layers.to_string()),
        ("char_rnn.batch".to_owned(), batch.to_string()),
        ("char_rnn.seed".to_owned(), seed.to_string()),
        ("char_rnn.zoneout".to_owned(), zoneout.to_string()),
        ("char_rnn.recurrent_dropout".to_owned(), recurrent_dropout.to_string()),
    ])
}

/// Checks that a saved run is the one that the settings ask for.
fn expect_saved(folder: &Path, description: &HashMap<String, String>) -> Result<()> {
    let saved = checkpoint::read(folder.join(MODEL))?.metadata;
    for (key, value) in description {
        let stored = saved.get(key).map_or("missing", String::as_str);
        if stored != value {
            return Err(not_ours(folder, format!("{key} is {stored} there and {value} here")));
        }
    }
    Ok(())
}

fn not_ours(folder: &Path, problem: String) -> Error {
    Error::Checkpoint { path: folder.join(MODEL), problem }
}

fn main() -> ExitCode {
    common::main(HELP, options(), run)
}
