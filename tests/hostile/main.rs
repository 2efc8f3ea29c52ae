//! Files from anybody: no panic, an error that names the file and what is wrong with it, and no more
//! memory than a small multiple of the file, whatever it claims. SECURITY.md says what is promised.

#[path = "../../fuzz/bodies.rs"]
mod bodies;
mod cases;
mod files;
mod keras;
mod memory;
mod npz;
mod onnx;
#[path = "../common/random.rs"]
#[allow(dead_code, reason = "other suites use the rest")]
mod random;

use random::Random;

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;

/// Feeds a body with files and with so many mutations of them; some have to be accepted, and some refused.
fn driven(
    seed: u64,
    files: &[Vec<u8>],
    count: usize,
    mutate: fn(&mut Random, &[u8]) -> Vec<u8>,
    body: fn(&[u8]) -> bool,
) {
    for file in files {
        body(file);
    }
    let mut random = Random::new(seed);
    let (mut accepted, mut different) = (0, std::collections::HashSet::new());
    for number in 0..count {
        let file = &files[random.below(files.len())];
        let bytes = mutate(&mut random, file);
        let result = std::panic::catch_unwind(|| body(&bytes));
        let Ok(was_accepted) = result else {
            panic!("input {number} of seed {seed}: {}", bytes.escape_ascii());
        };
        accepted += usize::from(was_accepted);
        different.insert(bytes);
    }
    let (refused, different) = (count - accepted, different.len());
    println!("{count} inputs, {different} different, {accepted} accepted, {refused} refused");
    assert!(different >= count / 2, "{different} different inputs of {count}");
    assert!(accepted >= count / 50, "{accepted} of {count} accepted");
    assert!(refused >= count / 4, "{refused} of {count} refused");
}

#[test]
fn mutated_checkpoints() {
    let files = files::checkpoints();
    for (i, file) in files.iter().enumerate() {
        // The last one is for a converter.
        assert_eq!(bodies::checkpoint(file), i + 1 < files.len(), "file {i}");
    }
    driven(1, &files, 20_000, files::mutated, bodies::checkpoint);
}

#[test]
fn mutated_trainer_states() {
    let files = files::states();
    assert!(files.iter().all(|file| bodies::trainer_state(file)));
    driven(2, &files, 4_000, files::mutated, bodies::trainer_state);
}

#[test]
fn mutated_tables() {
    let files = files::tables();
    assert!(files.iter().all(|file| bodies::csv(file)));
    driven(3, &files, 40_000, files::mutated_table, bodies::csv);
}

#[test]
fn mutated_imports() {
    let files = files::imports();
    assert!(files.iter().all(|file| bodies::import(file)));
    driven(4, &files, 10_000, files::mutated_bytes, bodies::import);
}

#[test]
fn mutated_onnx_models() {
    let files = files::onnx_models();
    assert!(files.iter().all(|file| bodies::import(file)));
    driven(5, &files, 10_000, files::mutated_bytes, bodies::import);
}

#[test]
fn mutated_keras_files() {
    let files = files::keras_files();
    // The one of weights alone has several LSTMs, and no model.
    assert!(files.iter().all(|file| bodies::import(file)));
    driven(6, &files, 10_000, files::mutated_bytes, bodies::import);
}

#[test]
fn mutated_named_arrays() {
    let files = files::named_arrays();
    assert!(files.iter().all(|file| bodies::import(file)));
    driven(7, &files, 10_000, files::mutated_bytes, bodies::import);
}

/// What bodies write is in memory: it mustn't stay there.
#[test]
fn folders_go_with_their_threads() {
    let body = || {
        assert!(bodies::checkpoint(&files::checkpoints()[0]));
        bodies::folder()
    };
    let folder = std::thread::spawn(body).join().unwrap();
    assert!(!folder.exists(), "{} is left", folder.display());
}

/// `cargo test --test hostile -- --ignored`: what `cargo fuzz` starts from.
#[test]
#[ignore = "writes fuzz/corpus"]
fn write_corpus() {
    let folders = [
        ("checkpoint", files::checkpoints()),
        ("trainer_state", files::states()),
        ("csv", files::tables()),
        ("import_pytorch", files::imports()),
        ("import_onnx", files::onnx_models()),
        ("import_keras", files::keras_files()),
        ("import_arrays", files::named_arrays()),
    ];
    for (name, files) in folders {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (i, file) in files.iter().enumerate() {
            std::fs::write(folder.join(format!("{i}")), file).unwrap();
        }
    }
}
