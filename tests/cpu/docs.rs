//! What pages say is what the code does: pictures, numbers, quoted lines, listings, links.

#[path = "../../examples/lstm_pictures/pictures.rs"]
mod pictures;
#[path = "../../examples/lstm_pictures/svg.rs"]
mod svg;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use gatefold::command::Limits;
use gatefold::plan::{Head, Plan, Sequences, StackShape, TrainingOptions, Update};
use gatefold::train::{Adam, Optimizer};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

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

/// `[text](target)` and `![text](target)` of a page, outside of blocks; the targets.
fn targets(page: &str) -> Vec<&str> {
    let mut in_block = false;
    let prose = page.lines().filter(|line| {
        let fence = line.starts_with("```");
        in_block ^= fence;
        !fence && !in_block
    });
    prose
        .flat_map(|line| line.split("](").skip(1))
        .map(|rest| rest.split_once(')').unwrap_or_else(|| panic!("no end: {rest}")).0)
        .collect()
}

#[test]
fn pictures_are_those_that_the_program_draws() {
    let mut drawn: Vec<String> = Vec::new();
    for (name, picture) in pictures::all() {
        let kept = read(Path::new("docs/pictures").join(name));
        assert!(
            kept.replace("\r\n", "\n") == picture,
            "docs/pictures/{name} is another: cargo run --example lstm_pictures"
        );
        assert!(picture.len() < 15 * 1024, "{name} has {} bytes", picture.len());
        drawn.push(name.to_owned());
    }
    let page = read("docs/lstm.md");
    for entry in fs::read_dir(root().join("docs/pictures")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(drawn.contains(&name), "{name} is drawn by nothing");
        assert!(page.contains(&format!("](pictures/{name})")), "{name} is on no page");
    }
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
        let file = targets(link)[0];
        let shader = lines(&read(Path::new("docs").join(file)));
        assert!(shader.contains(&code(line).to_owned()), "{file} has no line {line}");
        quoted.push(file.to_owned());
    }
    for name in [
        "lstm_step_forward/step",
        "lstm_step_forward/tiled",
        "lstm_step_backward/step",
        "lstm_step_backward/tiled",
        "matmul/tiled",
        "common/activations",
        "common/pointwise",
        "common/adam_step",
    ] {
        let file = format!("../shaders/{name}.wgsl");
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
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benches/README.md"]
            .map(PathBuf::from)
            .into();
    for folder in ["docs", "examples"] {
        let mut folders = vec![PathBuf::from(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(root().join(&folder)).unwrap() {
                let entry = entry.unwrap();
                let path = folder.join(entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    folders.push(path);
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
    for page in pages() {
        let text = read(&page);
        for target in targets(&text) {
            if target.starts_with("https://") || target.starts_with("http://") {
                continue;
            }
            let (file, heading) = match target.split_once('#') {
                Some((file, heading)) => (file, Some(heading)),
                None => (target, None),
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
