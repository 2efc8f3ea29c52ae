//! The examples `sequence_classification` and `sine` as a user runs them.

use std::path::Path;

use crate::run;

/// What a run into a folder prints.
fn printed(example: &str, out: &Path, arguments: &[&str]) -> String {
    let arguments = [&["--out", out.to_str().unwrap()], arguments].concat();
    let text = crate::printed(example, &arguments);
    assert!(text.starts_with("Running on CPU"), "{text}");
    text
}

/// The number behind some words.
fn number(text: &str, words: &str) -> f64 {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("{words:?} in {text}"));
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-');
    rest[..end.unwrap_or(rest.len())].parse().unwrap_or_else(|_| panic!("{words:?} in {text}"))
}

#[test]
fn classes_need_a_memory() {
    let folder = tempfile::tempdir().unwrap();
    let text = printed("sequence_classification", folder.path(), &[]);
    for line in
        ["x [3, 7, 5] -> logits [3, 2]", "[16, 10, 5] with random labels", "first of 60 timesteps"]
    {
        assert!(text.contains(line), "{text}");
    }
    for epoch in [1, 5, 10, 15, 20] {
        assert!(text.contains(&format!("Epoch [{epoch}/20], Loss: 0.")), "{text}");
    }
    // All sixteen by heart, and of the 1000 others a half: 0.016 is the standard error of a coin.
    assert_eq!(number(&text, "After 500 epochs: accuracy"), 1.0);
    let others = number(&text, "After 500 epochs: accuracy 1.000 on these,");
    assert!((others - 0.5).abs() < 0.08, "{text}");
    // Guessing is right once in four; 0.014 is its standard error over 1000.
    for chance in ["last timestep alone", "PyTorch's biases "] {
        let accuracy = number(&text, chance);
        assert!((accuracy - 0.25).abs() < 0.07, "{text}");
    }
    assert!(number(&text, "forget gate's bias 5 ") >= 0.95, "{text}");
    assert!(text.contains("loaded again, it gives the same classes"), "{text}");
    assert!(folder.path().join("model.safetensors").exists());
    // Other sequences and weights, which take longer than most.
    let text = printed("sequence_classification", folder.path(), &["--seed", "3"]);
    assert!(number(&text, "forget gate's bias 5 ") >= 0.95, "{text}");
}

#[test]
fn the_sine_is_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let text = printed("sine", folder.path(), &[]);
    let (predicted, mean) =
        (number(&text, "It predicts"), number(&text, "the mean of the targets is"));
    assert!((predicted - mean).abs() < 2e-3, "{text}");
    assert!(text.contains("180 windows to train on; 80 later ones"), "{text}");
    for epoch in (10..=200).step_by(10) {
        assert!(text.contains(&format!("Epoch [{epoch}/200], Loss: 0.0")), "{text}");
    }
    // At most 1.5 times the noise, which is 0.1, and better than no model.
    let (error, naive) =
        (number(&text, "RMSE on unseen windows:"), number(&text, "\"as it is now\":"));
    assert!(error < naive && error <= 0.15, "{text}");
    // Nor is it better than the noise lets it be; 80 windows measure the noise within 8 %.
    assert!(error > 0.08, "{text}");
    let equal = text.matches("60 of 60 losses are equal to the last bit").count();
    assert_eq!(equal, 2, "{text}");
    let plot: Vec<&str> = text.lines().filter(|line| line.contains(" |")).collect();
    assert_eq!(plot.len(), 17);
    assert!(
        plot.iter().all(|line| line.contains(['.', 'o', '@']) || line.ends_with('|')),
        "{text}"
    );
    let png = std::fs::read(folder.path().join("sine.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000);
    assert!(folder.path().join("by_hand.safetensors").exists());
}

#[test]
fn the_same_seed_prints_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (example, small) in [
        ("sequence_classification", &["--steps", "7", "--hidden", "5", "--epochs", "2"][..]),
        ("sine", &["--points", "100", "--epochs", "3"]),
    ] {
        let seeded =
            |seed: &str| printed(example, folder.path(), &[small, &["--seed", seed]].concat());
        let first = seeded("1");
        assert_eq!(first, seeded("1"));
        assert_ne!(first, seeded("2"));
    }
}

#[test]
fn bad_options_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("a file");
    std::fs::write(&blocked, "not a folder").unwrap();
    let blocked = blocked.to_str().unwrap();
    for (example, options) in [
        ("sequence_classification", &["--steps", "--hidden", "--epochs", "--seed", "--out"][..]),
        ("sine", &["--points", "--epochs", "--seed", "--out"]),
    ] {
        let help = run(example, &["--help"]);
        let help = String::from_utf8(help.stdout).unwrap();
        for option in options {
            assert!(help.contains(option), "{option} in {help}");
        }
        let mut bad = vec![(vec!["--what"], "--what"), (vec!["--out", blocked], blocked)];
        for &option in &options[..options.len() - 1] {
            bad.extend([(vec![option, "many"], option), (vec![option, "-1"], option)]);
            bad.push((vec![option, "99999999999999999999"], option));
            bad.push((vec![option], option));
        }
        for (arguments, expected) in bad {
            let output = run(example, &arguments);
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{arguments:?}");
            assert!(message.starts_with("error: "), "{arguments:?}: {message}");
            assert!(message.contains(expected), "{arguments:?}: {message}");
        }
    }
    let zero = run("sine", &["--epochs", "0"]);
    let message = String::from_utf8_lossy(&zero.stderr);
    assert!(message.contains("--epochs: \"0\" is not from 1 to 100000"), "{message}");
}
