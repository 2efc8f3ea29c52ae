//! What is done with bytes from anybody: every public reader of files, and what a program would do next
//! with what was read. The suite drives these functions with seeded mutations, and cargo-fuzz with its own
//! (`fuzz_targets/`).
//!
//! A body returns whether the bytes were accepted. What must not be is a panic.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gatefold::checkpoint::{self, GateNames};
use gatefold::data::Table;
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{
    Array, Dataset, Device, Error, Forecaster, Linear, LoadOptions, Lstm, LstmCell, LstmConfig,
    LstmState, Result, Tensor,
};

/// Parameters of a model that is also run.
const RUN: usize = 1 << 14;

static DEVICE: LazyLock<Device> = LazyLock::new(Device::cpu);

/// A folder of this thread's, in memory where there is such a file system; it goes with the thread.
pub fn folder() -> PathBuf {
    thread_local! {
        static FOLDER: tempfile::TempDir = {
            let memory = Path::new("/dev/shm");
            let folder = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
            tempfile::tempdir_in(folder).expect("a folder")
        };
    }
    FOLDER.with(|folder| folder.path().to_owned())
}

/// A file of these bytes.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// The value, where there is one; an error has to say which file and what is wrong with it.
fn accepted<T>(result: Result<T>, path: &Path) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let problem = match &error {
        Error::Checkpoint { problem, .. }
        | Error::Data { problem, .. }
        | Error::Import { problem, .. } => problem,
        other => panic!("an error of another kind: {other}"),
    };
    let said = error.to_string();
    assert!(said.contains(&*path.to_string_lossy()) && !problem.is_empty(), "{said}");
    None
}

/// A file of tensors: read, loaded as each kind of model, converted; models run.
pub fn checkpoint(bytes: &[u8]) -> bool {
    let name = Path::new("fuzzed.safetensors");
    let Some(file_of) = accepted(checkpoint::parse(name, bytes), name) else { return false };
    let path = file("model.safetensors", bytes);
    let again = checkpoint::read(&path).expect("the same bytes");
    let bits = |tensors: &[(String, Array)]| -> Vec<u32> {
        tensors.iter().flat_map(|(_, array)| array.data()).map(|v| v.to_bits()).collect()
    };
    assert_eq!(bits(&again.tensors), bits(&file_of.tensors));
    // `NaN` is no problem here: names, types, shapes.
    assert_eq!(format!("{:?}", again.left_out), format!("{:?}", file_of.left_out));
    let part = checkpoint::read_part(&path, |name| name.len() % 2 == 0).expect("the same bytes");
    let count = |file: &checkpoint::Checkpoint| file.tensors.len() + file.left_out.len();
    assert_eq!(count(&part), count(&file_of), "a tensor is lost");
    let said: String = file_of.left_out.iter().map(|left| left.to_string()).collect();
    assert!(said.is_empty() == file_of.left_out.is_empty());
    for options in [LoadOptions::new().lstm("rnn").leave_others(), LoadOptions::new().head("")] {
        let made = Forecaster::from_checkpoint(&DEVICE, &file_of, &options);
        let loaded = accepted(Forecaster::load_as(&DEVICE, &path, &options), &path);
        assert_eq!(made.is_ok(), loaded.is_some());
    }
    let _ = Lstm::from_checkpoint(&DEVICE, &file_of.with_prefix("lstm"));
    accepted(gatefold::verify::Model::load(&DEVICE, &path, 1, 1), &path);
    let tensors = file_of.tensors;
    let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(names.len(), tensors.len(), "a name twice");

    // What they say of the tensors doesn't name a file, which they don't know.
    let _ = checkpoint::to_keras(&tensors, "l0");
    let _ = checkpoint::to_onnx(&tensors, "l0");
    for names in [GateNames::MATRICES_BIG_C, GateNames::SCALARS_ABCD] {
        let _ = checkpoint::to_gates(&tensors, &names, "l0");
        let _ = checkpoint::from_gates(&tensors, &names, "l0");
    }
    if let [(_, kernel), (_, recurrent), rest @ ..] = &tensors[..] {
        let bias = rest.first().map(|(_, bias)| bias);
        let _ = checkpoint::from_keras(kernel, recurrent, bias, "l0");
        let _ = checkpoint::from_onnx(kernel, recurrent, bias, "l0");
    }

    let small = tensors.iter().map(|(_, array)| array.data().len()).sum::<usize>() < RUN;
    let forecaster = accepted(Forecaster::load(&DEVICE, &path), &path);
    let lstm = accepted(Lstm::load(&DEVICE, &path), &path);
    let cell = accepted(LstmCell::load(&DEVICE, &path), &path);
    let linear = accepted(Linear::load(&DEVICE, &path), &path);
    let any = forecaster.is_some() || lstm.is_some() || cell.is_some() || linear.is_some();
    if small {
        run(forecaster, lstm, cell, linear).expect("a model that was loaded runs");
    }
    any
}

/// A file of another library: opened, each of its LSTMs built, and all of it as one model.
pub fn import(bytes: &[u8]) -> bool {
    let path = file("model", bytes);
    let Some(model) = accepted(gatefold::import::open(&path), &path) else { return false };
    let said = model.to_string();
    assert!(!said.is_empty() && !model.all().is_empty());
    for lstm in model.all() {
        let elements = lstm.state_dict().iter().map(|(_, array)| array.data().len()).sum::<usize>();
        let found = model.lstm(lstm.name()).expect("it is one of all");
        assert_eq!(found.name(), lstm.name());
        // Numbers that aren't finite are refused.
        if let Ok(built) = lstm.build(&DEVICE)
            && elements < RUN
        {
            run(None, Some(built), None, None).expect("a model that was loaded runs");
        }
    }
    let forecaster = model.forecaster(&DEVICE).ok();
    if model.checkpoint().tensors.iter().map(|(_, a)| a.data().len()).sum::<usize>() < RUN {
        run(forecaster, None, None, None).expect("a model that was loaded runs");
    }
    true
}

/// Two timesteps of one row; what a weight of 1e38 comes to doesn't matter.
fn run(
    forecaster: Option<Forecaster>,
    lstm: Option<Lstm>,
    cell: Option<LstmCell>,
    linear: Option<Linear>,
) -> Result<()> {
    let features = |dict: &[(String, Array)], suffix: &str| {
        let weight = dict.iter().find(|(name, _)| name.ends_with(suffix));
        weight.map_or(1, |(_, array)| array.shape()[1])
    };
    if let Some(model) = forecaster {
        let dict = model.state_dict()?;
        let (input, tokens) = (features(&dict, "weight_ih_l0"), Array::new(vec![0.0; 2], &[1, 2])?);
        let values = Array::new(vec![0.5; 2 * input], &[1, 2, input])?;
        // Which of them it takes isn't asked here.
        assert!(model.predict(&tokens).is_ok() != model.predict(&values).is_ok());
    }
    let input = |len: usize, shape: &[usize]| Tensor::from_slice(&DEVICE, &vec![0.5; len], shape);
    if let Some(model) = lstm {
        let i = features(&model.state_dict()?, "weight_ih_l0");
        // One timestep of two rows, or the other way round.
        model.forward(&input(2 * i, &[1, 2, i])?, None)?.0.to_vec()?;
    }
    if let Some(model) = cell {
        let i = features(&model.state_dict()?, "weight_ih");
        let state: LstmState = model.forward(&input(i, &[1, i])?, None)?;
        state.h.to_vec()?;
    }
    if let Some(model) = linear {
        let i = features(&model.state_dict()?, "weight");
        model.forward(&input(i, &[1, i])?)?.to_vec()?;
    }
    Ok(())
}

/// The trainer that resumes.
pub fn trainer() -> Trainer {
    let config = LstmConfig::new(2, 3).layers(2).dropout(0.1);
    let model = Forecaster::every_step(&DEVICE, config, 1).expect("a model");
    let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.1)).epochs(3);
    trainer.batch_size(2).shuffle(1).truncate(2).keep_best().validate_every_steps(2)
}

/// What it trains on.
pub fn data() -> Dataset {
    let wave = |len: usize| (0..len).map(|i| (i as f32 * 0.7).sin()).collect();
    let x = Array::new(wave(6 * 5 * 2), &[6, 5, 2]).expect("an array");
    let y = Array::new(wave(6 * 5), &[6, 5, 1]).expect("an array");
    Dataset::new(x, y).expect("a data set")
}

/// A file of a run: resumed, gone on with, saved.
pub fn trainer_state(bytes: &[u8]) -> bool {
    let path = file("trainer.safetensors", bytes);
    let mut trainer = trainer().max_steps(3);
    if accepted(trainer.resume(folder()), &path).is_none() {
        assert_eq!(trainer.steps(), 0, "it was refused");
        return false;
    }
    let data = data();
    match trainer.fit(&data, Some(&data), |_| ()) {
        // Of other data, or of numbers such as 1e38.
        Ok(_) | Err(Error::Value { .. } | Error::NonFinite { .. }) => {}
        Err(other) => panic!("an error of another kind: {other}"),
    }
    trainer.save(folder().join("after")).expect("a run can be saved");
    trainer.model().predict(data.x()).expect("a model that was trained runs");
    true
}

/// A reader that gives a byte at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = into.len().min(1);
        self.0.read(&mut into[..len])
    }
}

/// A table: read, each of its columns as text, numbers and dates.
pub fn csv(bytes: &[u8]) -> bool {
    let path = Path::new("fuzzed.csv");
    let table = Table::parse(path, bytes);
    let slow = Table::parse(path, Slow(bytes));
    match (&table, &slow) {
        (Ok(table), Ok(slow)) => assert!(table == slow, "in pieces it is another table"),
        (Err(error), Err(slow)) => assert_eq!(error.to_string(), slow.to_string()),
        _ => panic!("in pieces it isn't a table, or only then"),
    }
    let Some(table) = accepted(table, path) else { return false };
    assert!(!table.is_empty() && !table.header().is_empty());
    let missing = accepted(table.text("a column that isn't there"), path);
    assert!(missing.is_none() || table.find("a column that isn't there").is_some());
    for column in table.header().iter().take(8) {
        if let Some(cells) = accepted(table.text(column), path) {
            assert_eq!(cells.len(), table.len());
        }
        for numbers in [table.numbers(column), table.positive(column)] {
            if let Some(numbers) = accepted(numbers, path) {
                assert!(numbers.iter().all(|v| v.is_finite()));
            }
        }
        accepted(table.dates(column), path);
        let last: Result<()> = Err(table.error(table.len() - 1, column, "is the last"));
        assert!(accepted(last, path).is_none());
    }
    true
}
