//! The examples `train_by_hand` and `numpy_cell` as a user runs them.

use crate::run;

/// What it prints where all is well.
fn printed(example: &str, arguments: &[&str]) -> String {
    let text = crate::printed(example, arguments);
    assert!(text.starts_with("Running on CPU"), "{text}");
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    text
}

#[test]
fn training_by_hand_arrives() {
    let text = printed("train_by_hand", &[]);
    for line in [
        "\nEpoch [1/50000], Loss: 0.327184\n",     // the seed's weights
        "\nEpoch [50000/50000], Loss: 0.028419\n", // half of (1 - tanh 1)^2
        "\nCompany B: predicted 0.762, observed 1.000\n",
        "\nEpoch [1/50000], Loss: 0.447825\n",
        "\nEpoch [50000/50000], Loss: 0.000000\n",
        "\nCompany B: predicted 0.999, observed 1.000\n",
        "\nConverged: within 0.001 of both.",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert_eq!(text.matches("Company A: predicted 0.000, observed 0.000\n").count(), 2, "{text}");
    assert_eq!(text.matches("\nEpoch [").count(), 12, "{text}");
    assert_eq!(text, printed("train_by_hand", &[]));
}

/// Other weights stall for a while.
#[test]
fn training_by_hand_may_stall() {
    let text = printed("train_by_hand", &["--seed", "4", "--epochs", "500"]);
    assert!(text.contains("\nNot converged: 0.500 off."), "{text}");
    assert!(text.contains("\nEpoch [500/500], Loss: 0.2"), "{text}");
    // Longer training gets over it.
    assert!(printed("train_by_hand", &["--seed", "4"]).contains("\nConverged"));
    // Fewer epochs than reports, and one.
    assert!(printed("train_by_hand", &["--epochs", "7"]).contains("\nEpoch [7/7], Loss: "));
    assert!(printed("train_by_hand", &["--epochs", "1"]).contains("\nEpoch [1/1], Loss: "));
}

#[test]
fn numpy_cell_equals_its_loops() {
    let text = printed("numpy_cell", &[]);
    let apart = text.split("are at most ").nth(1).and_then(|rest| rest.split(' ').next());
    let apart: f64 = apart.unwrap().parse().unwrap();
    assert!(apart > 0.0 && apart < 1e-6, "{text}");
    assert!(text.contains("ends with the same bits"), "{text}");
    for line in ["Wf [3, 4]", "bf [1, 4]", "weight_ih_l0 [16, 3]", "\n   4  ["] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    // The state matters: the last input alone gives something else.
    let states: Vec<&str> =
        text.lines().filter_map(|line| line.split_once('[')).map(|s| s.1).collect();
    assert_ne!(states[states.len() - 1], states[states.len() - 2], "{text}");

    assert_eq!(text, printed("numpy_cell", &[]));
    assert_ne!(text, printed("numpy_cell", &["--seed", "1"]));
    let longer = printed("numpy_cell", &["--steps", "7"]);
    assert!(longer.contains("\n   6  [") && longer.contains("ends with the same bits"), "{longer}");
}

#[test]
fn examples_by_hand_say_what_is_wrong() {
    for (example, arguments, expected) in [
        ("train_by_hand", &["--epochs", "many"][..], "--epochs"),
        ("train_by_hand", &["--epochs", "0"], "--epochs: \"0\" is not from 1"),
        ("train_by_hand", &["--seed", "-1"], "--seed"),
        ("train_by_hand", &["--seed"], "--seed"),
        ("train_by_hand", &["--hidden", "2"], "--hidden"),
        ("numpy_cell", &["--steps", "0"], "--steps: \"0\" is not from 1"),
        ("numpy_cell", &["--steps", "x"], "--steps"),
        ("numpy_cell", &["--seed", "x"], "--seed"),
        ("numpy_cell", &["five"], "five"),
    ] {
        let output = run(example, arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{example} {arguments:?}");
        assert!(message.contains(expected) && message.contains("--help"), "{message}");
        assert!(!message.contains("panicked") && output.stdout.is_empty(), "{message}");
    }
    for (example, option) in [("train_by_hand", "--epochs N"), ("numpy_cell", "--steps N")] {
        let help = run(example, &["--help"]);
        let text = String::from_utf8_lossy(&help.stdout);
        assert!(help.status.success() && text.contains(option) && text.contains("--seed N"));
    }
}
