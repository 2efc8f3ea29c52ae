//! The examples as a person runs them.

mod char_rnn;
#[allow(dead_code, reason = "other suites use the rest")]
#[path = "../common/random.rs"]
mod random;
mod seeds_by_hand;
mod seeds_classes;
mod stocks;

use std::process::{Command, Output};

/// Runs one of the examples on the CPU; plain `cargo test` builds them with the tests, `./test.sh` leaves both
/// to the routine.
pub fn run(example: &str, arguments: &[&str]) -> Output {
    let target = std::env::current_exe().unwrap();
    let program = target.ancestors().nth(2).unwrap().join("examples").join(example);
    let program = program.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.exists(), "plain `cargo test` builds the examples first");
    Command::new(program).args(arguments).env("GATEFOLD_DEVICE", "cpu").output().unwrap()
}

/// What it prints where all is well.
pub fn printed(example: &str, arguments: &[&str]) -> String {
    let output = run(example, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const ALL: [&str; 13] = [
    "lstm_by_hand",
    "train_by_hand",
    "numpy_cell",
    "sequence_classification",
    "sequences_of_different_lengths",
    "sine",
    "stocks",
    "char_rnn",
    "load_pytorch",
    "embed",
    "streams",
    "autodiff_hook",
    "lstm_pictures",
];

/// Every example tells what it is for, and names an option that it doesn't have.
#[test]
fn every_example_has_help() {
    for example in ALL {
        let help = printed(example, &["--help"]);
        assert!(help.lines().count() > 1, "{example}: {help}");
        let refused = run(example, &["--no-such-option"]);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && text.contains("--no-such-option"),
            "{example}: {text}"
        );
    }
}

/// Numbers that no program can use: the error names the option.
#[test]
fn numbers_that_are_none_are_refused() {
    for (example, option, value) in [
        ("stocks", "--epochs", "0"),
        ("stocks", "--hidden", "0"),
        ("stocks", "--seed", "abc"),
        ("char_rnn", "--layers", "0"),
        ("char_rnn", "--temperature", "NaN"),
        ("char_rnn", "--epochs", "1.5"),
    ] {
        let refused = run(example, &[option, value]);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && text.contains(option), "{example}: {text}");
        assert!(refused.stdout.is_empty(), "{example} had begun");
    }
}

/// The twelve numbers: every stage and an updated weight, as docs/lstm.md tells them.
#[test]
fn the_cell_by_hand() {
    let text = printed("lstm_by_hand", &[]);
    for line in [
        "Long-term memory keep percentage: 0.9974\n",
        "Potential memory: 0.9661\n",
        "Potential keep percentage: 0.9862\n",
        "New long-term memory: 2.9476\n",
        "Output gate percentage: 0.9917\n",
        "New short-term memory: 0.9862\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert!(text.contains("2.7000    2.6990\n"), "{text}");
    assert_eq!(text, printed("lstm_by_hand", &[]));
}

#[test]
fn a_model_of_pytorch_is_run() {
    let text = printed("load_pytorch", &[]);
    assert!(text.contains("model(x)") && text.contains("largest difference"), "{text}");
}

/// The example has as few lines as is said of it.
#[test]
fn a_classifier_takes_few_lines() {
    let program = include_str!("../../examples/sequences_of_different_lengths/main.rs");
    let help = program.find("const HELP").unwrap()..program.find("fn run").unwrap();
    let program = program.replace(&program[help], "");
    let matters = |line: &&str| {
        !line.trim_start().starts_with("//") && line.contains(|c: char| c.is_alphanumeric())
    };
    let lines = program.lines().filter(matters).count();
    assert!(lines <= 35, "{lines} lines");
    let text = printed("sequences_of_different_lengths", &[]);
    assert!(text.contains("epoch 20: ") && text.contains("Accuracy on 300 others: 0.9"), "{text}");
}
