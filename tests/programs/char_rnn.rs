//! The example `char_rnn`: its baseline and its samples are what they are said to be, a run that was
//! stopped goes on, what is wrong is named.

#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/char_rnn/text.rs"]
mod text;
#[path = "../../examples/char_rnn/writer.rs"]
mod writer;

use std::fs;
use std::path::Path;
use std::process::Command;

use gatefold::{Array, Device, Forecaster, LstmConfig, checkpoint};
use text::Text;
use writer::{Writer, draw};

/// The example, which cargo builds with the tests.
fn program() -> Command {
    let target = std::env::current_exe().unwrap();
    let program = target.ancestors().nth(2).unwrap().join("examples").join("char_rnn");
    let program = program.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.exists(), "plain `cargo test` builds the examples first");
    let mut command = Command::new(program);
    command.env("GATEFOLD_DEVICE", "cpu");
    command
}

/// What it prints, where all goes well.
fn printed(arguments: &[&str]) -> String {
    let output = program().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The number behind the last `label` of a text.
fn number(text: &str, label: &str) -> f64 {
    let rest = text.rsplit_once(label).unwrap_or_else(|| panic!("no {label:?} in {text}")).1;
    rest.split_whitespace().next().unwrap().trim_end_matches(':').parse().unwrap()
}

#[test]
fn streams_and_baseline_are_theirs() {
    // Nine of its eleven characters train.
    let text = Text::new("abcabcabcab");
    assert_eq!(text.vocabulary, ['a', 'b', 'c']);
    assert_eq!((text.training(), text.held_out()), (&[0, 1, 2, 0, 1, 2, 0, 1, 2][..], &[0, 1][..]));

    let streams = text.streams(2).unwrap();
    assert_eq!(streams.x().shape(), [2, 4]);
    assert_eq!(streams.x().data(), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0]);
    assert_eq!(streams.y().data(), [1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    // One that doesn't come out even loses its rest.
    assert_eq!(text.streams(3).unwrap().x().data(), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    let held_out = text.held_out_sequence().unwrap();
    assert_eq!((held_out.x().data(), held_out.y().data()), (&[2.0, 0.0][..], &[0.0, 1.0][..]));

    // P(a | c) = (2 + 1) / (2 + 3), P(b | a) = (3 + 1) / (3 + 3).
    let expected = -((3.0f64 / 5.0).ln() + (4.0f64 / 6.0).ln()) / 2.0;
    approx::assert_abs_diff_eq!(text.bigram_loss(), expected, epsilon = 1e-12);
    assert_ne!(text.checksum(), Text::new("abcabcabcba").checksum());
}

/// The table of the example's page: what a model without an LSTM comes to, and how much text there is.
#[test]
fn baselines_of_the_page() {
    let page = include_str!("../../examples/char_rnn/README.md");
    let text = Text::new(include_str!("../../examples/char_rnn/alice.txt"));
    let vocabulary = text.vocabulary.len();
    let row = |name: &str, loss: f64| format!("| {name} | {loss:.4} | {:.2} |", loss.exp());
    let alike = (vocabulary as f64).ln();
    assert!(page.contains(&format!("| every character alike | {alike:.4} | {vocabulary} |")));
    assert!(page.contains(&row("bigram, add-one", text.bigram_loss())));
    let mut counts = std::collections::HashMap::new();
    let mut pairs = std::collections::HashMap::new();
    for three in text.training().windows(3) {
        *counts.entry(three).or_insert(0.0) += 1.0;
        *pairs.entry(&three[..2]).or_insert(0.0) += 1.0;
    }
    let start = text.training().len() - 2;
    let all = [&text.training()[start..], text.held_out()].concat();
    let loss = |three: &[usize]| {
        let (count, pair) =
            (counts.get(three).unwrap_or(&0.0), pairs.get(&three[..2]).unwrap_or(&0.0));
        -((count + 1.0f64) / (pair + vocabulary as f64)).ln()
    };
    let trigram = all.windows(3).map(loss).sum::<f64>() / text.held_out().len() as f64;
    assert!(page.contains(&row("trigram, add-one", trigram)), "{trigram}");
    let thousands = text.training().len() / 1000;
    let trained = format!("of {thousands},{:03} characters", text.training().len() % 1000);
    assert!(page.contains(&trained), "{trained}");
}

#[test]
fn a_number_draws_a_character() {
    let logits = [0.0, 2.0f32.ln(), 5.0f32.ln()]; // 1/8, 2/8, 5/8
    for (drawn, expected) in [(0.0, 0), (0.124, 0), (0.126, 1), (0.374, 1), (0.376, 2), (0.999, 2)]
    {
        assert_eq!(draw(&logits, 1.0, drawn), expected, "{drawn}");
        assert_eq!(draw(&logits, 0.0, drawn), 2, "{drawn}");
        assert_eq!(draw(&logits, 1e-300, drawn), 2, "{drawn}");
    }
    // 1/30, 4/30, 25/30.
    assert_eq!([0.03, 0.04, 0.16, 0.17].map(|drawn| draw(&logits, 0.5, drawn)), [0, 1, 1, 2]);
}

/// Character by character it is the same model.
#[test]
fn what_is_written_is_the_models() {
    let vocabulary: Vec<char> = ('a'..='i').collect();
    let config = LstmConfig::new(5, 12).embedding(9).layers(2).seed(3);
    let model = Forecaster::every_step(&Device::cpu(), config, 9).unwrap();
    let writer = Writer::new(&model, &vocabulary).unwrap();
    let written = writer.write("bad", 40, 0.0, 0).unwrap();
    let whole = format!("bad{written}");
    let codes: Vec<usize> = whole.chars().map(|c| vocabulary.binary_search(&c).unwrap()).collect();
    let x = Array::new(codes.iter().map(|&code| code as f32).collect(), &[1, 43]).unwrap();
    let classes = model.classes(&x).unwrap();
    let likeliest: Vec<usize> = classes.data().iter().map(|&class| class as usize).collect();
    assert_eq!(likeliest[2..42], codes[3..]);

    let warm = |seed| writer.write("bad", 40, 1.0, seed).unwrap();
    assert_eq!(warm(1), warm(1));
    assert_ne!(warm(1), warm(2));
    assert!(writer.write("", 1, 1.0, 0).is_err());
    assert!(Writer::new(&model, &vocabulary[1..]).is_err());
}

/// Little enough for a second: 65 steps an epoch.
const SMALL: [&str; 6] = ["--hidden", "16", "--batch", "64", "--epochs", "1"];

#[test]
fn a_small_run_learns_saves_and_writes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let text = printed(&[&SMALL[..], &["--out", out]].concat());
    assert!(text.starts_with("Running on CPU"), "{text}");
    assert!(text.contains("alice.txt: 146821 characters, 67 of them distinct"), "{text}");
    approx::assert_abs_diff_eq!(number(&text, "Bigram model  "), 2.4773, epsilon = 1e-4);
    let chance = 67.0f64.ln();
    approx::assert_abs_diff_eq!(number(&text, "step     0, held-out loss "), chance, epsilon = 0.2);
    assert!(number(&text, "Held-out loss ") < chance - 0.7, "{text}");
    // A line for each of the samples on the way: every 7 steps, and after the last.
    assert_eq!(text.matches(", held-out loss ").count(), 11, "{text}");

    let sample = ["--out", out, "--sample", "30", "--prompt", "Alice ", "--temperature"];
    let at = |temperature| printed(&[&sample[..], &[temperature]].concat());
    let (cold, warm) = (at("0"), at("1"));
    assert_eq!(cold, at("0"));
    assert_eq!(warm, at("1"));
    assert_ne!(cold, warm);
    let (_, written) = cold.split_once('\n').unwrap();
    assert!(written.starts_with("Alice ") && written.chars().count() == 6 + 30 + 1, "{cold}");
    // A run that has ended isn't begun anew.
    let again = printed(&[&SMALL[..], &["--out", out, "--resume"]].concat());
    assert!(again.contains("Going on after step 65 of 65"), "{again}");
    assert_eq!(number(&again, "Held-out loss "), number(&text, "Held-out loss "));
}

/// With ctrl-C, and to the last bit.
#[cfg(unix)]
#[test]
fn a_run_that_was_stopped_goes_on() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let settings = ["--hidden", "16", "--batch", "64", "--epochs", "4", "--seed", "5", "--out"];
    let whole = printed(&[&settings[..], &[&path("whole")]].concat());

    let stopped = path("stopped");
    let mut process =
        program().args(settings).arg(&stopped).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("  step    26, ")));
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let rest: Vec<String> = lines.collect();
    assert!(process.wait().unwrap().success());
    let end = rest.iter().find(|line| line.starts_with("Stopped after step ")).unwrap();
    assert!(end.contains(" of 260 and saved in"), "{end}");
    assert_eq!(rest.last().unwrap(), "The same command with --resume goes on");

    // Another seed's run isn't this one.
    let other = [&settings[..6], &["--resume", "--out", &stopped]].concat();
    let output = program().args(other).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && message.contains("seed is 5 there and 0 here"),
        "{message}"
    );

    let resumed = printed(&[&settings[..], &[&stopped, "--resume"]].concat());
    let result = |text: &str| {
        let (_, trained) = text.split_once("Trained in ").unwrap();
        trained.split_once('\n').unwrap().1.to_owned()
    };
    assert_eq!(result(&whole), result(&resumed));
    let tensors = |folder: &str| {
        let path = Path::new(folder).join("trainer.safetensors");
        let mut tensors = checkpoint::read(path).unwrap().tensors;
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        tensors
    };
    assert_eq!(tensors(&path("whole")), tensors(&stopped));
}

#[test]
fn the_example_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let short = file("short.txt", "Brevity.".as_bytes());
    let empty = file("empty.txt", b"");
    let same = file("same.txt", "a".repeat(2000).as_bytes());
    let latin = file("latin.txt", &[b'a', 0xE9, b'b']);
    for (arguments, expected) in [
        (&["--steps", "1"][..], "--steps"),
        (&["--epochs", "many"], "many"),
        (&["--epochs", "0"], "--epochs"),
        (&["--batch", "0"], "--batch"),
        (&["--hidden", "0", "--out", out], "hidden"),
        (&["--temperature", "-1"], "--temperature"),
        (&["--temperature", "NaN"], "--temperature"),
        (&["--resume", "--sample", "5"], "--sample"),
        (&["--text", "no/such.txt"], "no/such.txt"),
        (&["--text", &short], "short.txt: is too short: 8 characters, 1139 are needed"),
        (&["--text", &empty], "empty.txt: is too short"),
        (&["--batch", "18446744073709551615"], "is too short"),
        (&["--text", &same], "same.txt: holds nothing but 'a'"),
        (&["--text", &latin], "latin.txt"),
        (&["--prompt", "", "--out", out], "--prompt"),
        (&["--prompt", "Größe", "--out", out], "'ö'"),
        (&["--out", &short], "short.txt"),
        (&["--out", out, "--resume"], "model.safetensors"),
        (&["--out", out, "--sample", "5"], "model.safetensors"),
    ] {
        let output = program().args(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(expected), "{arguments:?}: {message}");
        assert!(!message.contains("panicked"), "{message}");
    }
    // A model of something else.
    let model = Forecaster::new(&Device::cpu(), LstmConfig::new(2, 3), 1).unwrap();
    model.save(Path::new(out).join("model.safetensors")).unwrap();
    for wish in [&["--resume"][..], &["--sample", "5"]] {
        let output = program().args(["--out", out]).args(wish).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("char_rnn.") && message.contains("missing"), "{message}");
    }
    assert!(printed(&["--help"]).contains("--temperature X"));
}

/// Any characters will do.
#[test]
fn a_text_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.txt");
    fs::write(&path, "Ωß→ über 😀\r\n".repeat(80)).unwrap();
    let (path, out) = (path.to_str().unwrap(), folder.path().join("out"));
    let settings = ["--batch", "2", "--epochs", "2", "--hidden", "8", "--layers", "2"];
    let own = ["--text", path, "--prompt", "→", "--out", out.to_str().unwrap()];
    let text = printed(&[&settings[..], &own].concat());
    assert!(text.contains("own.txt: 960 characters, 11 of them distinct"), "{text}");
    assert!(number(&text, "Held-out loss ") < 11.0f64.ln(), "{text}");
}
