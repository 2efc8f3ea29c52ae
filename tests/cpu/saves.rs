//! Files of processes that are killed while they save.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gatefold::checkpoint::{self, Checkpoint};
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Dataset, Device, Error, Forecaster, LstmConfig};

use crate::common::random::{Random, normal};

/// Names the folder that a process saves into until it is killed.
const FOLDER: &str = "GATEFOLD_TEST_SAVES";

/// Set where it saves the second first.
const SECOND: &str = "GATEFOLD_TEST_SECOND";

const KILLS: usize = 200;

/// Everything that is written, in a folder.
const FILES: [&str; 4] = [
    "tensors.safetensors",
    "forecaster.safetensors",
    "run/trainer.safetensors",
    "run/model.safetensors",
];

/// What is saved: the same in every process.
struct Saved {
    tensors: Vec<(String, Array)>,
    entries: HashMap<String, String>,
    trainer: Trainer,
}

impl Saved {
    fn new(seed: u64) -> Saved {
        let config = LstmConfig::new(3, 96).seed(seed);
        let model = Forecaster::new(&Device::cpu(), config, 1).unwrap();
        let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01)).batch_size(2);
        trainer = trainer.epochs(1 + seed as usize);
        let x = Array::new(normal(4 * 2 * 3, 1.0, seed), &[4, 2, 3]).unwrap();
        let y = Array::new(normal(4, 1.0, seed), &[4, 1]).unwrap();
        trainer.fit(&Dataset::new(x, y).unwrap(), None, |_| ()).unwrap();
        let tensors = trainer.model().state_dict().unwrap();
        Saved { tensors, entries: HashMap::from([("seed".into(), seed.to_string())]), trainer }
    }

    fn both() -> [Saved; 2] {
        [1, 2].map(Saved::new)
    }

    /// By every public function that writes.
    fn save(&self, folder: &Path) {
        let [tensors, forecaster, ..] = FILES.map(|name| folder.join(name));
        checkpoint::write(tensors, &self.tensors, &self.entries).unwrap();
        self.trainer.model().save_with(forecaster, &self.entries).unwrap();
        self.trainer.save_with(folder.join("run"), &self.entries).unwrap();
    }
}

fn read(folder: &Path) -> Vec<Option<Checkpoint>> {
    let file = |name| match checkpoint::read(folder.join(name)) {
        Ok(file) => Some(file),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("half a file: {error}"),
    };
    FILES.into_iter().map(file).collect()
}

/// What saves have left in a folder that is no file of theirs.
fn left(folder: &Path) -> Vec<PathBuf> {
    let known = FILES.map(|name| folder.join(name));
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    let all = [entries(folder), entries(&folder.join("run"))].concat();
    all.into_iter().filter(|path| !known.contains(path)).collect()
}

/// A process that saves one and then the other, until it is killed.
#[test]
#[ignore = "a process that another test starts and kills"]
fn saving_for_ever() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let both = Saved::both();
    println!("\nready");
    std::io::stdout().flush().unwrap();
    let first = usize::from(std::env::var_os(SECOND).is_some());
    for saved in both.iter().cycle().skip(first) {
        saved.save(Path::new(&folder));
    }
}

fn start(folder: &Path, second: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "saves::saving_for_ever", "--ignored", "--nocapture"]);
    command.env(FOLDER, folder).stdout(Stdio::piped());
    if second {
        command.env(SECOND, "1");
    }
    let mut child = command.spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.map_while(Result::ok).any(|line| line == "ready"), "it is over already");
    child
}

/// Killed at 200 moments, a process leaves each file as it was or as it was to become, and nothing that
/// stays.
#[test]
fn killed_while_saving() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut round = Duration::ZERO;
    let expected = Saved::both().map(|saved| {
        let folder = tempfile::tempdir().unwrap();
        let start = Instant::now();
        saved.save(folder.path());
        round = start.elapsed();
        read(folder.path()).into_iter().map(Option::unwrap).collect::<Vec<_>>()
    });
    assert!(expected[0].iter().zip(&expected[1]).all(|(a, b)| a.tensors != b.tensors));
    let mut random = Random::new(1);
    let (mut inside, mut seen) = (0, [0; 2]);
    for kill in 0..KILLS {
        let mut child = start(folder, kill % 2 == 1);
        std::thread::sleep(3 * round * random.below(1000) as u32 / 1000);
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        inside += usize::from(!left(folder).is_empty());
        for (i, file) in read(folder).into_iter().enumerate() {
            let Some(file) = file else {
                // Until it has been written for the first time.
                assert!(kill < KILLS / 2, "{} has never been written", FILES[i]);
                continue;
            };
            let which = expected.iter().position(|expected| expected[i] == file);
            let which = which.unwrap_or_else(|| panic!("{} is neither, kill {kill}", FILES[i]));
            seen[which] += 1;
        }
        assert!(left(folder).len() <= FILES.len(), "they pile up: {:?}", left(folder));
    }
    println!(
        "{inside} of {KILLS} kills left a temporary file; {seen:?} files of each; {round:?} a round"
    );
    assert!(inside >= KILLS / 20, "only {inside} kills fell into a save");
    assert!(seen.iter().all(|&count| count > KILLS / 10), "{seen:?}");

    let [mut saved, _] = Saved::both();
    saved.trainer.resume(folder.join("run")).unwrap();
    Forecaster::load(&Device::cpu(), folder.join(FILES[1])).unwrap();
    // The next save takes away what was left.
    let of_another = folder.join(".tensors.safetensors.abc.tmp");
    let ours = folder.join(".tensors.safetensors.abcdef.tmp");
    std::fs::write(&of_another, "no temporary file of ours").unwrap();
    std::fs::write(&ours, "half a fi").unwrap();
    saved.save(folder);
    assert_eq!(left(folder), [of_another]);
}

/// Threads that save to one path don't take each other's temporary files for ones that are left over.
#[test]
fn saves_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tensors.safetensors");
    let tensors = |seed: u64| {
        vec![("values".to_owned(), Array::new(normal(1 << 12, 1.0, seed), &[1 << 12]).unwrap())]
    };
    let all: Vec<_> = (0..4).map(tensors).collect();
    std::thread::scope(|scope| {
        for tensors in &all {
            scope.spawn(|| {
                for _ in 0..50 {
                    checkpoint::write(&path, tensors, &HashMap::new()).unwrap();
                    let found = checkpoint::read(&path).unwrap().tensors;
                    assert!(all.contains(&found));
                }
            });
        }
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn some() -> Vec<(String, Array)> {
    vec![("values".to_owned(), Array::new(vec![1.0, 2.0], &[2]).unwrap())]
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<PathBuf> = entries.collect();
    names.sort();
    names
}

/// A link stays one, and what it leads to is written.
#[test]
fn saves_through_links() {
    let folder = tempfile::tempdir().unwrap();
    let [there, here] = ["there", "here"].map(|name| folder.path().join(name));
    std::fs::create_dir(&there).unwrap();
    std::fs::create_dir(&here).unwrap();
    let (target, link, second) =
        (there.join("target.safetensors"), here.join("link"), here.join("second"));
    std::fs::write(&target, "old").unwrap();
    std::os::unix::fs::symlink("../there/target.safetensors", &link).unwrap();
    std::os::unix::fs::symlink("link", &second).unwrap();
    checkpoint::write(&second, &some(), &HashMap::new()).unwrap();
    assert_eq!(checkpoint::read(&target).unwrap().tensors, some());
    assert!(link.is_symlink() && second.is_symlink());
    assert_eq!(names(&there), std::slice::from_ref(&target));
    assert_eq!(names(&here), [link.clone(), second]);
    // One that leads nowhere is replaced.
    std::fs::remove_file(&target).unwrap();
    checkpoint::write(&link, &some(), &HashMap::new()).unwrap();
    assert!(!link.is_symlink() && !target.exists());
    assert_eq!(checkpoint::read(&link).unwrap().tensors, some());
}

/// Who could read a file before can read it after, and nobody else.
#[test]
fn saves_keep_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tensors.safetensors");
    checkpoint::write(&path, &some(), &HashMap::new()).unwrap();
    // Also those that a new file wouldn't get.
    for mode in [0o600, 0o640, 0o666, 0o444] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        checkpoint::write(&path, &some(), &HashMap::new()).unwrap();
        let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{found:o} instead of {mode:o}");
    }
}

/// What has the name of a temporary file and is none is left alone, and not waited for; what isn't a file
/// isn't replaced by one.
#[test]
fn saves_beside_what_isnt_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tensors.safetensors");
    let pipe = folder.path().join(".tensors.safetensors.abcdef.tmp");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (sender, done) = std::sync::mpsc::channel();
    let saved = path.clone();
    std::thread::spawn(move || sender.send(checkpoint::write(saved, &some(), &HashMap::new())));
    done.recv_timeout(Duration::from_secs(60)).expect("it waits for a pipe").unwrap();
    assert_eq!(names(folder.path()), [pipe.clone(), path]);
    let error = checkpoint::write(&pipe, &some(), &HashMap::new()).unwrap_err();
    assert!(error.to_string().contains("regular file"), "{error}");
    assert!(!pipe.is_file());
}
