//! What pages say is what the code does: pictures, numbers, quoted lines, listings, links.

#[path = "../../examples/lstm_pictures/pages.rs"]
mod pages;
#[path = "../../examples/lstm_pictures/pictures.rs"]
mod pictures;
#[path = "../../examples/lstm_pictures/speed.rs"]
mod speed;
#[path = "../../examples/lstm_pictures/svg.rs"]
mod svg;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use gatefold::command::Limits;
use gatefold::plan::{Head, Plan, Sequences, StackShape, TrainingOptions, Update};
use gatefold::train::{Adam, Optimizer};

use crate::{read, root};

/// The lines of the table that follows each such marker in a page, without its head.
fn tables(page: &str, marker: &str) -> Vec<Vec<Vec<String>>> {
    let marker = format!("<!-- checked: {marker} -->");
    let rows = |text: &str| {
        let lines = text.trim_start().lines().take_while(|line| line.starts_with('|'));
        lines.skip(2).map(cells).collect()
    };
    page.split(&marker).skip(1).map(rows).collect()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// What stands in the backquotes of a cell that holds nothing else.
fn code(cell: &str) -> &str {
    let inner = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
    inner.unwrap_or_else(|| panic!("{cell} is not code"))
}

/// The fenced blocks of a page: what is said after the fence, and the lines.
fn blocks(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut lines = page.lines();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            blocks.push((kind, lines.by_ref().take_while(|line| *line != "```").collect()));
        }
    }
    blocks
}

/// A page without its blocks.
fn prose(page: &str) -> String {
    let mut in_block = false;
    let lines = page.lines().filter(|line| {
        let fence = line.starts_with("```");
        in_block ^= fence;
        !fence && !in_block
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// `[text](target)` and `![text](target)` of a page, outside of blocks; the targets.
fn inline_targets(page: &str) -> Vec<String> {
    let prose = prose(page);
    let parts = prose.split("](").skip(1);
    parts.map(|rest| rest.split_once(')').expect("the target ends").0.to_owned()).collect()
}

/// `[text][name]` and `![text][name]` of a page, outside of blocks; the names.
fn names(page: &str) -> Vec<String> {
    let prose = prose(page);
    let parts = prose.split("][").skip(1);
    parts.map(|rest| rest.split_once(']').expect("the name ends").0.to_owned()).collect()
}

/// Where all links of a page lead, from there.
fn targets(page: &str) -> Vec<String> {
    let mut targets = inline_targets(page);
    targets.extend(pages::links(page).into_values().map(str::to_owned));
    targets
}

/// A path from a page, from the root.
fn from_root(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn pictures_and_lists_are_those_that_the_program_writes() {
    let files = pages::files(root()).unwrap();
    let shown: Vec<String> = pages::GUIDE.iter().flat_map(|(page, _)| names(&read(page))).collect();
    for (name, text) in &files {
        let kept = read(Path::new("docs").join(name));
        assert!(
            kept.replace("\r\n", "\n") == *text,
            "docs/{name} is another: cargo run --example lstm_pictures"
        );
        if name.starts_with("pictures/") {
            assert!(text.len() < 15 * 1024, "{name} has {} bytes", text.len());
            assert!(shown.contains(&format!("docs/{name}")), "{name} is on no page");
        }
    }
    for folder in ["pictures", "rustdoc"] {
        for entry in fs::read_dir(root().join("docs").join(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap());
            assert!(files.iter().any(|(file, _)| *file == name), "{name} is written by nothing");
        }
    }
}

/// What the program puts in front of pages has a place for each of their links.
#[test]
fn rustdoc_finds_what_pages_link_to() {
    let manifest = read("Cargo.toml");
    let exclude = manifest.lines().find_map(|line| line.strip_prefix("exclude = ")).unwrap();
    // A folder with a manifest of its own is in no package.
    let left_out: Vec<&str> =
        exclude.split('"').skip(1).step_by(2).chain(["/benches/peers"]).collect();
    let items = [read("src/lib.rs"), read("src/guide.rs"), read("src/train/mod.rs")].concat();
    for (page, _) in pages::GUIDE {
        let text = read(page);
        let links = pages::links(&text);
        let inline = inline_targets(&text);
        let fixed = |target: &String| target.contains("://") || target.starts_with('#');
        assert!(
            inline.iter().all(fixed),
            "{page}: links by name, so that rustdoc has its own: {inline:?}"
        );
        for name in names(&text) {
            assert!(links.contains_key(name.as_str()), "{page}: [{name}] is said nowhere");
        }
        for (name, target) in &links {
            assert_eq!(from_root(page, target), *name, "{page} calls {target} something else");
        }
        let list = page.strip_prefix("docs/").unwrap_or(page);
        let [own, list] = [page.to_owned(), format!("docs/rustdoc/{list}")].map(|file| {
            items.find(&format!("../{file}\")")).unwrap_or_else(|| panic!("{file} is in no item"))
        });
        assert!(list < own, "the list comes first");
    }
    for (name, text) in pages::files(root()).unwrap() {
        for line in text.lines().filter(|_| name.starts_with("rustdoc/")) {
            let (_, target) = line.split_once("]: ").unwrap_or(("", "crate"));
            let Some(file) = target.strip_prefix(pages::SOURCE) else {
                assert!(target.starts_with("data:") || target.starts_with("crate"), "{line}");
                continue;
            };
            let inside = |folder: &&str| format!("/{file}").starts_with(*folder);
            assert!(root().join(file).exists(), "{name}: there is no {file}");
            assert!(!left_out.iter().any(inside), "{name}: {file} isn't in the package");
        }
    }
}

/// The tables of docs/speed.md and its sentence are the records'; the chart is drawn from them.
#[test]
fn speed_is_the_records() {
    let page = read("docs/speed.md");
    let llvmpipe = "benches/record/llvmpipe-llvm-15-0-6-256-bits/2026-11-21-peers.md";
    for (marker, record, columns) in [
        (
            "peers",
            speed::RECORD,
            &[
                ("inference", "pytorch"),
                ("inference", "onnxruntime"),
                ("step", "pytorch"),
                ("step", "burn-flex"),
            ][..],
        ),
        ("wgpu", llvmpipe, &[("inference", "burn-wgpu"), ("forward_backward", "burn-wgpu")]),
    ] {
        assert!(page.contains(record), "the page doesn't name {record}");
        let measured = speed::rows(&read(record));
        let table = tables(&page, marker).concat();
        assert!(table.len() > 1);
        for row in table {
            for ((kind, peer), shown) in columns.iter().zip(&row[1..]) {
                let same =
                    |r: &&speed::Row| r.kind == *kind && r.peer == *peer && r.shape == row[0];
                let ratio = &measured.iter().find(same).unwrap_or_else(|| panic!("{row:?}")).ratio;
                let digits = shown.split_once('.').expect("a decimal point").1.len();
                // A ratio that ends in 5 has two neighbours that are as near.
                let (ratio, unit) = (ratio.parse::<f64>().unwrap(), 0.1f64.powi(digits as i32));
                let apart = (shown.parse::<f64>().unwrap() - ratio).abs();
                assert!(apart < 0.5001 * unit, "{ratio}: {kind}, {peer}, {row:?}");
            }
        }
    }
    let record = read("benches/record/amd-epyc-cpu-2-threads-avx-512/2026-11-21.md");
    let share = |shape: &str| {
        let rows = record.lines().map(cells);
        let mut row = rows.filter(|row| row.len() > 6 && row[0] == shape && row[1] == "inference");
        row.next().unwrap()[6].parse::<f64>().unwrap()
    };
    let shares = ["64x32x64x128", "64x64x256x256", "128x32x512x512"].map(share);
    let (least, most) =
        (shares[0].min(shares[1]).min(shares[2]), shares[0].max(shares[1]).max(shares[2]));
    let sentence = format!("reach {} to {} %", least.floor(), most.floor());
    assert!(page.contains(&sentence), "{sentence}");
    // The chart has a point for each row that was timed.
    let measured = speed::rows(&read(speed::RECORD));
    let shown = measured.iter().filter(|row| row.kind != "forward_backward").count();
    let (_, chart) = speed::drawn(root()).unwrap();
    // And one for each library beside its name.
    assert_eq!(chart.matches("<circle").count(), shown + 4);
    assert!(measured.iter().all(|row| (0.7..=200.0).contains(&row.times())), "outside the axis");
    assert!(shown >= 12 * 6, "{shown}");
}

#[test]
fn worked_numbers_are_those_of_the_twins() {
    let page = read("docs/lstm.md");
    let mut expected: HashMap<_, _> = pictures::worked().named().into_iter().collect();
    for row in tables(&page, "numbers").concat() {
        let (name, shown) = (code(&row[0]), row.last().unwrap());
        let value = expected.remove(name).unwrap_or_else(|| panic!("{name}: unknown, or twice"));
        let digits = shown.split_once('.').expect("a decimal point").1.len();
        assert_eq!(*shown, format!("{value:.digits$}"), "{name}");
    }
    assert!(expected.is_empty(), "not shown: {expected:?}");
}

#[test]
fn the_twelve_numbers_are_those_of_lstm_by_hand() {
    let example = read("examples/lstm_by_hand/main.rs");
    let rows = tables(&read("docs/lstm.md"), "weights").concat();
    for column in 1..4 {
        // PyTorch's order, as the table's rows.
        let values: Vec<f32> = rows.iter().map(|row| row[column].parse().unwrap()).collect();
        assert_eq!(values.len(), 4);
        assert!(example.contains(&format!("{values:?}")), "lstm_by_hand has no {values:?}");
    }
}

#[test]
fn quoted_lines_stand_in_their_shaders() {
    let page = read("docs/lstm.md");
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let rows = tables(&page, "lines").concat();
    let mut quoted = Vec::new();
    for row in &rows {
        let [_, link, line] = row.as_slice() else { panic!("{row:?}") };
        let file = names(link).remove(0);
        let shader = lines(&read(&file));
        assert!(shader.contains(&code(line).to_owned()), "{file} has no line {line}");
        quoted.push(file);
    }
    for name in [
        "lstm_step_forward/step",
        "lstm_step_forward/tiled",
        "lstm_step_backward/step",
        "lstm_step_backward/tiled",
        "matmul/tiled",
        "common/activations",
        "common/cell",
        "common/pointwise",
        "common/adam_step",
    ] {
        let file = format!("shaders/{name}.wgsl");
        assert!(quoted.contains(&file), "nothing is quoted from {file}");
    }
    let mut count = 0;
    for (_, block) in blocks(&page).into_iter().filter(|(kind, _)| *kind == "wgsl") {
        let file = block[0].strip_prefix("// ").expect("the file in the first line");
        let (shader, block) = (lines(&read(file)), lines(&block[1..].join("\n")));
        assert!(
            shader.windows(block.len()).any(|window| window == block),
            "{file} doesn't hold, line after line: {block:#?}"
        );
        count += 1;
    }
    assert!(count > 0, "no block of WGSL");
}

#[test]
fn the_listing_is_one_that_a_plan_prints() {
    let shape = StackShape { head: Head::Linear(1), ..StackShape::lstm(4, 96) };
    let update = Optimizer::from(Adam::new(0.01)).update();
    let update = Some(Update { norm: true, ..update });
    let options = TrainingOptions { update, ..Default::default() };
    let plan = Plan::training(&shape, &Sequences::new(3, 20), &options, &Limits::WEBGPU).unwrap();
    let listing = plan.to_string();
    let page = read("docs/lstm.md");
    let (_, after) = page.split_once("<!-- checked: plan -->").unwrap();
    let (_, quoted) = blocks(after).swap_remove(0);
    // Lines may be left out, and the bindings are.
    let mut lines = listing.lines();
    for line in quoted {
        let whole = format!("{line} (");
        assert!(lines.any(|l| l.starts_with(&whole)), "not in this order, or not at all: {line}");
    }
}

/// Every page that GitHub shows.
fn every_page() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "DESIGN.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "benches/README.md",
    ]
    .map(PathBuf::from)
    .into();
    for folder in ["docs", "examples"] {
        let mut folders = vec![PathBuf::from(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(root().join(&folder)).unwrap() {
                let entry = entry.unwrap();
                let path = folder.join(entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    // Lists for rustdoc, whose links are not for GitHub.
                    folders.extend((!path.ends_with("docs/rustdoc")).then_some(path));
                } else if path.extension().is_some_and(|extension| extension == "md") {
                    pages.push(path);
                }
            }
        }
    }
    pages
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in every_page() {
        let text = read(&page);
        for target in targets(&text) {
            if target.starts_with("https://") || target.starts_with("http://") {
                continue;
            }
            let (file, heading) = match target.split_once('#') {
                Some((file, heading)) => (file, Some(heading)),
                None => (target.as_str(), None),
            };
            let path = match file {
                "" => root().join(&page),
                _ => root().join(&page).with_file_name("").join(file),
            };
            let there = path.exists()
                && heading.is_none_or(|heading| {
                    let text = fs::read_to_string(&path).unwrap();
                    text.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
                });
            if !there {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_example_stands_on_the_page_of_examples() {
    let page = read("examples/README.md");
    let manifest = read("Cargo.toml");
    let mut count = 0;
    for section in manifest.split("[[example]]").skip(1) {
        let name = section.split('"').nth(1).unwrap();
        assert!(page.contains(&format!("| `{name}` |")), "examples/README.md lacks {name}");
        count += 1;
    }
    assert!(count >= 7, "only {count} examples found");
}

/// The front page: on one screen, with a line for every name at the crate's root.
#[test]
fn the_front_page_is_short_and_whole() {
    let page = read("README.md");
    assert!(page.lines().count() <= 75, "{} lines", page.lines().count());
    let manifest = read("Cargo.toml");
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert!(page.contains(&format!("Rust {} or newer", rust.trim_matches('"'))));
    // Of a crate of one's own; here the crate itself is built so, and what calls go through.
    assert!(page.contains("[profile.dev.package.\"*\"]\nopt-level = 3"));
    assert!(manifest.contains("[profile.dev]\nopt-level = 3"));

    let source = read("src/lib.rs");
    let (front, items) = source.split_once("#![warn(missing_docs)]").unwrap();
    let used = items.split("pub use ").skip(1).map(|rest| rest.split_once(';').unwrap().0);
    let words = used.flat_map(|used| {
        let used = used.rsplit_once("::{").map_or(used, |(_, list)| list.trim_end_matches('}'));
        used.split(',').map(|name| name.rsplit("::").next().unwrap().trim().to_owned())
    });
    let names: Vec<String> = words.filter(|name| !name.is_empty()).collect();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let there =
            [format!("[`{name}`]"), format!("[`{name}()`]")].iter().any(|n| front.contains(n));
        assert!(there, "the front page has no line for {name}");
    }
}

/// The checks that docs/verification.md names are there, and the files.
#[test]
fn checks_have_their_names() {
    let page = read("docs/verification.md");
    let mut count = 0;
    for name in page.split('`').skip(1).step_by(2) {
        if ["tests/", "benches/", "examples/"].iter().any(|start| name.starts_with(start)) {
            assert!(root().join(name).exists(), "there is no {name}");
        } else if name.contains("::")
            && !name.starts_with("reference::")
            && !name.starts_with("gatefold::")
        {
            let there = crate::common::CHECKS.iter().any(|(check, _)| *check == name);
            assert!(there, "there is no check {name}");
            count += 1;
        }
    }
    assert!(count > 30, "only {count} checks found");
}

/// The arithmetic of docs/lstm.md, part 5.
#[test]
fn worked_factors_are_right() {
    let page = read("docs/lstm.md");
    let factor = |w: f64| w * (1.0 - 0.5f64.powi(2));
    assert_eq!((factor(1.0), factor(1.5)), (0.75, 1.125));
    let (lost, grown) = (factor(1.0).powi(100), factor(1.5).powi(100));
    for said in
        ["that is 0.75".to_owned(), format!("{lost:.1e} of the gradient"), "1.125, and".to_owned()]
    {
        assert!(page.contains(&said), "{said}");
    }
    let thousands = (grown / 1e4).round() as u64 * 10;
    assert!(page.contains(&format!("{thousands},000 times")), "{grown}");
}

/// Up to 64 units a launch runs all timesteps, with more it is one each.
#[test]
fn small_layers_are_one_launch() {
    let steps = |hidden: usize| {
        let shape = StackShape::lstm(4, hidden);
        let limits = Limits::WEBGPU;
        let plan = Plan::forward(&shape, &Sequences::new(10, 20), &limits).unwrap();
        plan.to_string().lines().filter(|line| line.contains("lstm_s")).count()
    };
    assert_eq!((steps(64), steps(65)), (1, 10));
    assert!(read("docs/limits.md").contains("up to 64 units"));
    assert!(read("docs/lstm.md").contains("up to 64 units"));
}

/// Scripts build what the lock files say.
#[test]
fn builds_of_scripts_are_locked() {
    let mut builds = 0;
    for script in [
        "test.sh",
        ".ci/run",
        "tests/drivers.sh",
        "benches/bundle.sh",
        "benches/peers/run.sh",
        "examples/printed/check.sh",
    ] {
        let text = read(script);
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let runs = ["test", "build", "run", "bench", "clippy", "doc", "package", "\"${@:2}\""]
                .iter()
                .any(|command| line.contains(&format!("cargo {command} ")));
            if runs && !line.contains("echo") {
                assert!(line.contains(" --locked"), "{script}: {line}");
                builds += 1;
            }
        }
    }
    assert!(builds > 12, "only {builds} found");
}
