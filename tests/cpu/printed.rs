//! The figures of pages are those of examples/printed, which `.ci/run` compares with what the programs print.
//!
//! `<!-- printed: NAME -->` stands before a block or a table: its words follow each other in
//! examples/printed/NAME.txt, in this order. `...` in a block leaves something out. What follows a colon,
//! `<!-- printed: NAME: TITLE -->`, is where in the file the words are looked for: after these.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{read, root};

/// What an example prints.
fn printed(name: &str) -> String {
    read(Path::new("examples/printed").join(format!("{name}.txt")))
}

/// The words of a text, apart by one space each and within two.
fn words(text: &str) -> String {
    text.split_whitespace().fold(" ".to_owned(), |words, word| words + word + " ")
}

/// The parts of the block or the rows of the table that a text begins with, in words.
fn quoted(text: &str) -> Vec<String> {
    let text = text.trim_start();
    if let Some(block) = text.strip_prefix("```text\n") {
        let (block, _) = block.split_once("\n```").expect("the block ends");
        return block.split("...").map(words).filter(|part| part != " ").collect();
    }
    let rows = text.lines().take_while(|line| line.starts_with('|')).skip(2);
    let plain = |row: &str| words(&row.replace(['|', '`', '*'], " "));
    rows.map(plain).collect()
}

/// Every mark of a page, with what stands behind it: the file, where in it, and the parts.
fn marks(page: &str) -> Vec<(String, String, Vec<String>)> {
    let after = page.split("<!-- printed: ").skip(1);
    let mark = |text: &str| {
        let (mark, rest) = text.split_once(" -->").expect("the mark ends");
        let (name, title) = mark.split_once(": ").unwrap_or((mark, ""));
        (name.to_owned(), title.to_owned(), quoted(rest))
    };
    after.map(mark).collect()
}

/// Whether the parts stand in a text, one after the other.
fn stand(text: &str, title: &str, parts: &[String]) -> Result<(), String> {
    let text = words(text);
    let start = text.find(title).ok_or_else(|| format!("there is no {title:?}"))?;
    let mut rest = &text[start..];
    for part in parts {
        let at = rest.find(part).ok_or_else(|| format!("it isn't printed, or not there:{part}"))?;
        // The space at the end is the next word's as well.
        rest = &rest[at + part.len() - 1..];
    }
    Ok(())
}

const PAGES: [&str; 3] =
    ["examples/stocks/README.md", "examples/char_rnn/README.md", "examples/sine/README.md"];

#[test]
fn pages_show_what_is_printed() {
    let mut seen: Vec<String> = Vec::new();
    for page in PAGES {
        for (name, title, parts) in marks(&read(page)) {
            assert!(!parts.is_empty(), "{page}: nothing follows the mark of {name}");
            if let Err(error) = stand(&printed(&name), &title, &parts) {
                panic!("{page} and examples/printed/{name}.txt: {error}");
            }
            seen.push(name);
        }
    }
    for name in ["stocks", "stocks_toy", "stocks_choice", "char_rnn", "char_rnn_choice", "sine"] {
        assert!(seen.iter().any(|seen| seen == name), "no page quotes {name}");
    }
}

/// Every file that is kept is one that the script makes.
#[test]
fn what_is_kept_is_compared() {
    let script = read("examples/printed/check.sh");
    for entry in fs::read_dir(root().join("examples/printed")).unwrap() {
        let path = PathBuf::from(entry.unwrap().file_name());
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(name == "check" || script.contains(name), "check.sh makes no {name}");
    }
    assert!(read(".ci/run").contains("examples/printed/check.sh\n"), "CI compares nothing");
}

/// What sentences say of the forecasts.
#[test]
fn sentences_about_prices_are_the_verdict() {
    let verdict = words(&printed("stocks"));
    let both = "the volatility forecast beats both baselines for all, beyond chance for IBM alone;";
    let price = "the price forecast beats \"as today\" for AAPL alone, beyond chance for none;";
    let direction = "more often than a coin's beyond chance for none.";
    for part in [both, price, direction] {
        assert!(verdict.contains(part), "the pages say otherwise: {part}");
    }
}

/// What sentences say of the settings, and of the toy's seeds.
#[test]
fn sentences_about_many_runs_are_right() {
    let page = words(&read("examples/stocks/README.md"));
    let rows: Vec<Vec<String>> = printed("stocks_choice")
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    let ratios = |ticker: &str| {
        let mine = rows.iter().filter(|row| row[0] == ticker);
        mine.map(|row| row.last().unwrap().parse::<f64>().unwrap()).collect::<Vec<f64>>()
    };
    for ticker in ["GOOG", "IBM", "MSFT", "all"] {
        assert!(ratios(ticker).iter().all(|ratio| *ratio < 1.0), "{ticker}");
    }
    let aapl = ratios("AAPL");
    assert_eq!((aapl.len(), aapl.iter().filter(|ratio| **ratio > 1.0).count()), (9, 6));
    let worst = 100.0 * (aapl.iter().copied().fold(0.0, f64::max) - 1.0);
    let sentence = format!("six of the nine lose to it for AAPL, by {worst:.1} % at most");
    assert!(page.contains(&sentence), "{sentence}");
    // Another seed changes more than a setting does.
    let of = |options: &str| {
        let row = |row: &&Vec<String>| row.join(" ").starts_with(&format!("all {options} 0"));
        rows.iter().find(row).unwrap().last().unwrap().parse::<f64>().unwrap()
    };
    let (first, second) = (of("--window 45 --seed 0"), of("--window 45 --seed 1"));
    let seeds = ["--window 30 --seed 0", "--window 30 --seed 1", "--window 30 --seed 2"].map(of);
    for ratio in [
        "--window 30 --hidden 48",
        "--window 30 --hidden 64",
        "--window 30 --layers 1",
        "--window 60",
    ]
    .map(of)
    {
        assert!((ratio - seeds[0]).abs() < (first - second).abs(), "{ratio}");
    }

    let toy = printed("stocks_toy");
    let predicted: Vec<f64> = toy
        .lines()
        .map(|line| line.split("predicted ").nth(1).unwrap().split(',').next().unwrap())
        .map(|number| number.parse().unwrap())
        .collect();
    let near = |pair: &&[f64]| pair[0].abs() < 0.1 && (pair[1] - 1.0).abs() < 0.1;
    assert_eq!((predicted.len(), predicted.chunks(2).filter(near).count()), (24, 10));
    assert!(page.contains("Of the seeds 0 to 11, ten end within 0.1 of both targets."));
}

#[test]
fn marks_are_found_and_mistakes_seen() {
    let page = "x\n\n<!-- printed: a: Test -->\n\n| a | b |\n|---|--:|\n| `A` | 1.25 |\n| **B** | 2 |\n\n\
                <!-- printed: b -->\n```text\nC 3 ... D\n4\n```\n";
    let found = marks(page);
    assert_eq!(found[0], ("a".into(), "Test".into(), vec![" A 1.25 ".into(), " B 2 ".into()]));
    assert_eq!(found[1], ("b".into(), String::new(), vec![" C 3 ".into(), " D 4 ".into()]));
    let text = "Test\nA  1.25\nB 2\n";
    assert!(stand(text, "Test", &found[0].2).is_ok());
    for (other, title) in [
        ("Test\nA  1.251\nB 2\n", "Test"),
        ("Test\nB 2\nA 1.25\n", "Test"),
        ("A 1.25\nB 2\nTest\n", "Test"),
        (text, "Training"),
    ] {
        assert!(stand(other, title, &found[0].2).is_err(), "{other}");
    }
}

/// What char_rnn's page says of zoneout and of dropout in the cell, for the mean of three seeds.
#[test]
fn zoneout_and_dropout_pay_late() {
    let rows = printed("char_rnn_choice");
    let mean = |options: &str| {
        let losses: Vec<f64> = (0..3)
            .map(|seed| {
                let start = format!("{options} --seed {seed} ");
                let row = rows.lines().find_map(|row| row.strip_prefix(&start)).expect(&start);
                row.split_whitespace().next().unwrap().parse().unwrap()
            })
            .collect();
        losses.iter().sum::<f64>() / 3.0
    };
    for option in ["--zoneout 0.1", "--recurrent-dropout 0.1"] {
        let costs = mean(&format!("--epochs 10 {option}")) - mean("--epochs 10");
        let gains = mean("--epochs 30") - mean(&format!("--epochs 30 {option}"));
        assert!((0.005..0.025).contains(&costs), "{option} costs {costs}");
        assert!((0.015..0.04).contains(&gains), "{option} gains {gains}");
    }
}
