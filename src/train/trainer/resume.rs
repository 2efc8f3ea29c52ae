//! Runs in files.
//!
//! `trainer.safetensors` holds all that a run goes on with, the parameters too, so that one rename
//! makes it whole: tensors under the parameters' names with `params.`, `moment_0.` and so on before
//! them, and the rest as numbers in the metadata, under `gatefold.trainer.`.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;

use super::place::{Place, StepLoss};
use super::settings::{NonFinite, Settings};
use super::state::{BatchesOf, Parameters, State};
use super::{Best, Trainer};
use crate::checkpoint::{self, Checkpoint};
use crate::data::Batches;
use crate::device::Wait;
use crate::error::{Error, Result};
use crate::plan::Rule;
use crate::tensor::Array;
use crate::train::schedule::Seen;

/// The file of the run, beside the model's.
const TRAINER: &str = "trainer.safetensors";

/// The file of the model.
const MODEL: &str = "model.safetensors";

/// The file of the best model of the run.
const BEST: &str = "best.safetensors";

/// What entries of the metadata start with.
const PREFIX: &str = "gatefold.trainer.";

/// A part of a number that f32 holds exactly: numbers are stored as two of them.
const PART: usize = 1 << 24;

impl Trainer {
    /// Writes the model as `model.safetensors` and the run as `trainer.safetensors` into a folder,
    /// which is made where it isn't there: parameters, moments, steps, the generator of the shuffle
    /// and where it stands, the best parameters, carried states. Where the best model of the run is
    /// [kept](Self::keep_best), it is written as `best.safetensors` as soon as there is one; one of an earlier
    /// run is removed until then. `model.safetensors` is what [`model`](Self::model) is: within a call of
    /// [`fit`](Self::fit) where the run stands, after it [what it leaves](Self#what-fit-leaves).
    ///
    /// Each file is written under a temporary name and then renamed, so that a reader finds the old one or
    /// the new one; where a process is killed between them, the run's is the newest.
    /// [`resume`](Self::resume) reads that alone.
    ///
    /// # Errors
    /// [`Error::Io`] where a file can't be written, [`Error::Gpu`] where the device fails.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        pollster::block_on(self.save_current(folder.as_ref(), &HashMap::new(), Wait::Blocking))
    }

    /// As [`save`](Self::save), with entries of the caller's, such as scalers, in the metadata of
    /// `model.safetensors` and `best.safetensors`.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_with(
        &self,
        folder: impl AsRef<Path>,
        entries: &HashMap<String, String>,
    ) -> Result<()> {
        pollster::block_on(self.save_current(folder.as_ref(), entries, Wait::Blocking))
    }

    /// The asynchronous form of [`save`](Self::save): the future polls a GPU of our own, a caller's
    /// GPU is polled by the caller (see [who polls](crate::Device#who-polls)).
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn save_async(&self, folder: impl AsRef<Path>) -> Result<()> {
        self.save_current(folder.as_ref(), &HashMap::new(), Wait::Pending).await
    }

    async fn save_current(
        &self,
        folder: &Path,
        entries: &HashMap<String, String>,
        wait: Wait,
    ) -> Result<()> {
        match &self.state {
            Some(state) => self.save_as(state, folder, entries, wait).await,
            None => {
                let state = State::new(&self.model, &self.settings)?;
                self.save_as(&state, folder, entries, wait).await
            }
        }
    }

    pub(super) async fn save_as(
        &self,
        state: &State,
        folder: &Path,
        of_the_caller: &HashMap<String, String>,
        wait: Wait,
    ) -> Result<()> {
        let io = |source| Error::Io { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        let network = &self.model.network;
        let mut tensors = Vec::new();
        let Parameters { last, best } = state.parameters(&self.model);
        let mut flat = vec![("params", last)];
        flat.extend(state.device.moments.iter().map(|(name, buffer)| (*name, buffer)));
        flat.extend(best.map(|buffer| ("best", buffer)));
        for (kind, buffer) in flat {
            let values = network.device.read_as(buffer, 0, network.table.len, wait).await?;
            tensors.extend(checkpoint::prefixed(&network.named(&values)?, &format!("{kind}.")));
        }
        let rows = state.place.carried;
        if let (Some((h, c)), true) = (&state.device.carried, rows > 0) {
            let sizes = network.shape.state_sizes(rows);
            for ((name, buffer), size) in [("h", h), ("c", c)].into_iter().zip(sizes) {
                let len = size.iter().product();
                let values = network.device.read_as(buffer, 0, len, wait).await?;
                tensors.push((name.to_owned(), Array::new(values, &size)?));
            }
        }
        let (order, generator) = state.batches.place();
        if !order.is_empty() {
            let parts = order.iter().flat_map(|&row| [(row % PART) as f32, (row / PART) as f32]);
            tensors.push(("order".to_owned(), Array::new(parts.collect(), &[order.len(), 2])?));
        }
        for (name, losses) in [("losses", &state.place.losses), ("untold", &state.place.untold)] {
            if !losses.is_empty() {
                let pairs = losses.iter().flat_map(|&(loss, weight)| [loss, weight]).collect();
                tensors.push((name.to_owned(), Array::new(pairs, &[losses.len(), 2])?));
            }
        }
        let mut entries = network.description();
        entries.extend(said(state, &self.settings, generator));
        checkpoint::write(folder.join(TRAINER), &tensors, &entries)?;
        network.save(&folder.join(MODEL), of_the_caller, wait).await?;
        let path = folder.join(BEST);
        match best {
            Some(best) => network.save_parameters(best, &path, of_the_caller, wait).await,
            None if self.settings.keeps_best() => match std::fs::remove_file(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    Err(Error::Io { path, source })
                }
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Takes over the run that [`save`](Self::save) has written into a folder: the next call of `fit`
    /// goes on with it. The trainer has to be set up as the one that was saved; rates, schedules,
    /// clipping and the like may differ, and count from here on.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] for the run of another model, with another kind of
    /// optimizer, and for a file that isn't whole. Nothing has changed then.
    pub fn resume(&mut self, folder: impl AsRef<Path>) -> Result<()> {
        let path = folder.as_ref().join(TRAINER);
        let file = checkpoint::read(&path)?;
        let Checkpoint { tensors, metadata, .. } = &file;
        let refused = |problem: String| Error::Checkpoint { path: path.clone(), problem };
        let network = &self.model.network;
        if let Some(problem) = network.differs(metadata) {
            return Err(refused(problem));
        }
        let said = Said { metadata };
        let rule = self.settings.optimizer.rule();
        let stored: String = said.get("optimizer").map_err(refused)?;
        // Older files have it as it stands in a program.
        let is = |rule: &Rule| rule.to_string() == stored || format!("{rule:?}") == stored;
        match Rule::ALL.into_iter().find(is) {
            Some(stored) if stored == rule => {}
            Some(stored) => {
                return Err(refused(format!("its optimizer is {stored}, the trainer's is {rule}")));
            }
            None => return Err(refused(format!("its optimizer is none, the trainer's is {rule}"))),
        }
        let mut state = State::new(&self.model, &self.settings)?;
        state.place = said.place(&self.settings).map_err(refused)?;
        let find = |name: &str| tensors.iter().find(|(n, _)| n == name).map(|(_, array)| array);
        let rows = state.place.carried;
        let shape = &network.shape;
        // Everything that is wrong with the tensors, before one of them is taken.
        let mut problems = Vec::new();
        let finite = self.settings.non_finite != NonFinite::Pass;
        let moments = state.device.moments.iter().map(|(name, _)| *name);
        let best = state.place.best.map(|_| "best");
        for kind in ["params"].into_iter().chain(moments).chain(best) {
            match network.expect(&file, &format!("{kind}."), finite) {
                Err(Error::StateDict { problem }) => problems.push(problem),
                other => other?,
            }
        }
        for (name, expected) in ["h", "c"].into_iter().zip(shape.state_sizes(rows)) {
            match find(name) {
                _ if rows == 0 => {}
                Some(array) if array.shape() == expected => {}
                Some(array) => {
                    let shape = array.shape();
                    problems.push(format!("{name} has shape {shape:?} instead of {expected:?}"));
                }
                None => problems.push(format!("{name} {expected:?} is missing")),
            }
        }
        let known = ["params.", "moment_0.", "moment_1.", "moment_2.", "best."];
        let others = ["h", "c", "order", "losses", "untold"];
        let unexpected = tensors.iter().map(|(name, _)| name.as_str()).filter(|name| {
            !known.iter().any(|kind| name.starts_with(kind)) && !others.contains(name)
        });
        let unexpected: Vec<&str> = unexpected.take(100).collect();
        problems.extend(unexpected.iter().map(|name| format!("{name} is unexpected")));
        if !problems.is_empty() {
            return Err(refused(problems.join("; ")));
        }
        let flat = |kind: &str| network.flat(&file, &format!("{kind}."));
        let params = flat("params")?;
        let device = &network.device;
        for (name, buffer) in &state.device.moments {
            device.write(buffer, 0, &flat(name)?)?;
        }
        if state.place.best.is_some() {
            let best = device.create_buffer("best parameters", network.table.len)?;
            device.write(&best, 0, &flat("best")?)?;
            state.best = Some(best);
        }
        if let (Some(h), Some(c), true) = (find("h"), find("c"), rows > 0) {
            // As much as the next call may want: where there is more room, the states are gone.
            state.device.carry(&self.model, rows.max(self.settings.batch_size))?;
            if let Some((to_h, to_c)) = &state.device.carried {
                device.write(to_h, 0, h.data())?;
                device.write(to_c, 0, c.data())?;
            }
        }
        let losses = |name| find(name).map_or(Ok(Vec::new()), |array| step_losses(name, array));
        state.place.losses = losses("losses").map_err(refused)?;
        state.place.untold = losses("untold").map_err(refused)?;
        let order = match find("order") {
            Some(array) => order(array).ok_or_else(|| refused("its order is none".to_owned()))?,
            None => Vec::new(),
        };
        (state.batches_of, state.batches) = said.batches(order).map_err(refused)?;
        state.resumed = true;
        device.write(&network.params, 0, &params)?;
        let mut recorder = device.recorder();
        if state.show_best(&self.model, &self.settings, &mut recorder) {
            recorder.submit()?;
        }
        self.state = Some(state);
        Ok(())
    }
}

/// The losses of steps and how much each counts; in files of a time before there were weights, all alike.
fn step_losses(name: &str, array: &Array) -> std::result::Result<Vec<StepLoss>, String> {
    match array.shape() {
        [_] => Ok(array.data().iter().map(|&loss| (loss, 1.0)).collect()),
        [_, 2] => Ok(array.data().chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()),
        other => Err(format!("{name} has shape {other:?}, which isn't [steps, 2]")),
    }
}

/// The numbers that are stored in two parts each.
fn order(array: &Array) -> Option<Vec<usize>> {
    let &[count, 2] = array.shape() else { return None };
    let part = |v: f32| (v >= 0.0 && v < PART as f32 && v.fract() == 0.0).then_some(v as usize);
    // As large as it will be: a file's order may be all of the file.
    let mut order = Vec::with_capacity(count);
    for pair in array.data().chunks_exact(2) {
        order.push(part(pair[0])? + part(pair[1])?.checked_mul(PART)?);
    }
    Some(order)
}

/// What a state comes to, apart from tensors.
fn said(state: &State, settings: &Settings, generator: Option<u128>) -> HashMap<String, String> {
    let (place, seen) = (&state.place, &state.place.scheduler.seen);
    let of = &state.batches_of;
    let optional = |value: Option<&dyn Display>| value.map_or(String::new(), |v| v.to_string());
    let best = place.best.as_ref();
    let entries = [
        ("optimizer", settings.optimizer.rule().to_string()),
        ("step", place.step.to_string()),
        ("step.first", place.first.to_string()),
        ("step.reported", place.reported.to_string()),
        ("epoch", place.epoch.to_string()),
        ("begun", place.begun.to_string()),
        ("position", place.position.to_string()),
        ("step.validated", place.validated.to_string()),
        ("finished", place.finished.to_string()),
        ("over", place.over.to_string()),
        ("carried", place.carried.to_string()),
        ("best.epoch", optional(best.map(|best| &best.epoch as &dyn Display))),
        ("best.step", optional(best.map(|best| &best.step as &dyn Display))),
        ("best.validation", optional(best.map(|best| &best.validation as &dyn Display))),
        ("best.reports_since", place.reports_since_best.to_string()),
        ("plateau.lowered", seen.lowered.to_string()),
        ("plateau.best", seen.best.to_string()),
        ("plateau.bad", seen.bad.to_string()),
        ("plateau.cooldown", seen.cooldown.to_string()),
        ("batches.sequences", of.sequences.to_string()),
        ("batches.size", of.size.to_string()),
        ("batches.seed", optional(of.seed.as_ref().map(|seed| seed as &dyn Display))),
        ("batches.truncate", optional(of.truncate.as_ref().map(|steps| steps as &dyn Display))),
        ("batches.generator", optional(generator.as_ref().map(|at| at as &dyn Display))),
    ];
    entries.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect()
}

/// What a file's metadata say.
struct Said<'a> {
    metadata: &'a HashMap<String, String>,
}

/// What a run's batches are made of, and where they stood.
type Placed = (BatchesOf, Batches);

impl Said<'_> {
    fn text(&self, key: &str) -> std::result::Result<&str, String> {
        let stored = self.metadata.get(&format!("{PREFIX}{key}"));
        stored.map(String::as_str).ok_or_else(|| format!("{PREFIX}{key} is missing"))
    }

    fn get<T: FromStr>(&self, key: &str) -> std::result::Result<T, String> {
        let text = self.text(key)?;
        text.parse().map_err(|_| format!("{PREFIX}{key} is {text:?}"))
    }

    /// A number that can be counted on from.
    fn count(&self, key: &str) -> std::result::Result<u64, String> {
        const MOST: u64 = 1 << 53;
        match self.get(key)? {
            count if count <= MOST => Ok(count),
            count => Err(format!("{PREFIX}{key} is {count}")),
        }
    }

    /// `None` where nothing stands there.
    fn optional<T: FromStr>(&self, key: &str) -> std::result::Result<Option<T>, String> {
        if self.text(key)?.is_empty() { Ok(None) } else { self.get(key).map(Some) }
    }

    fn place(&self, settings: &Settings) -> std::result::Result<Place, String> {
        let best = match self.optional("best.epoch")? {
            None => None,
            Some(epoch) => Some(Best {
                epoch,
                step: self.get("best.step")?,
                validation: self.get("best.validation")?,
            }),
        };
        let mut place = Place {
            step: self.count("step")?,
            first: self.count("step.first")?,
            reported: self.count("step.reported")?,
            validated: self.count("step.validated")?,
            epoch: self.count("epoch")? as usize,
            begun: self.get("begun")?,
            position: self.count("position")? as usize,
            finished: self.get("finished")?,
            over: self.get("over")?,
            carried: self.count("carried")? as usize,
            best,
            reports_since_best: self.count("best.reports_since")? as usize,
            ..Place::new(settings)
        };
        place.scheduler.seen = Seen {
            lowered: self.count("plateau.lowered")?.min(u64::from(u32::MAX / 2)) as u32,
            best: self.get("plateau.best")?,
            bad: self.count("plateau.bad")? as usize,
            cooldown: self.count("plateau.cooldown")? as usize,
        };
        Ok(place)
    }

    fn batches(&self, order: Vec<usize>) -> std::result::Result<Placed, String> {
        let of = BatchesOf {
            sequences: self.get("batches.sequences")?,
            size: self.get("batches.size")?,
            seed: self.optional("batches.seed")?,
            truncate: self.optional("batches.truncate")?,
        };
        if order.len() != of.sequences {
            let (stored, said) = (order.len(), of.sequences);
            return Err(format!("the order of {said} sequences is that of {stored}"));
        }
        let batches = Batches::new(of.sequences, of.size);
        let mut batches = match of.seed {
            Some(seed) => batches.shuffle(seed),
            None => batches,
        };
        match batches.go_to(order, self.optional("batches.generator")?) {
            true => Ok((of, batches)),
            false => Err("the order of its sequences is none".to_owned()),
        }
    }
}
