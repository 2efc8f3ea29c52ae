//! What is drawn and written into docs: pictures, and where rustdoc finds what the pages link to.
//!
//! A page names its links and pictures by their path from the repository's root, and says at its end where
//! they are from there: `[docs/training.md]: training.md`. That is for a checkout. rustdoc has the pages as
//! modules and no files beside them. So `src/lib.rs` puts a list of the same names in front of each page, of
//! which Markdown takes the first: pages as modules, pictures as addresses that hold all of the picture, other
//! files where docs.rs shows the package's source.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use super::{pictures, speed, svg};

/// The pages that rustdoc has, and where; README.md is the front page.
pub const GUIDE: [(&str, &str); 11] = [
    ("README.md", "crate"),
    ("docs/lstm.md", "crate::guide::what_an_lstm_is"),
    ("docs/training.md", "crate::train"),
    ("docs/pytorch.md", "crate::guide::pytorch"),
    ("docs/cells.md", "crate::guide::cells"),
    ("docs/import.md", "crate::guide::files_of_other_libraries"),
    ("docs/devices.md", "crate::guide::devices"),
    ("docs/embedding.md", "crate::guide::in_your_program"),
    ("docs/speed.md", "crate::guide::speed"),
    ("docs/verification.md", "crate::guide::verification"),
    ("docs/limits.md", "crate::guide::limits"),
];

/// Where docs.rs shows the files of the package.
pub const SOURCE: &str = "https://docs.rs/crate/gatefold/latest/source/";

/// Every picture and the name of its file.
pub fn pictures(root: &Path) -> io::Result<Vec<(&'static str, String)>> {
    let mut all = pictures::all();
    all.push(speed::drawn(root)?);
    Ok(all)
}

/// The names that a page gives its links, and where they lead from there.
pub fn links(page: &str) -> BTreeMap<&str, &str> {
    let definition = |line| str::strip_prefix(line, '[')?.split_once("]: ");
    let ours = |(name, target): &(&str, &str)| !name.contains(']') && !target.contains("://");
    page.lines().filter_map(definition).filter(ours).collect()
}

/// All that is written, by its path in docs.
pub fn files(root: &Path) -> io::Result<Vec<(String, String)>> {
    let pictures = pictures(root)?;
    let mut files: Vec<(String, String)> = Vec::new();
    for (page, _) in GUIDE {
        let mut list = String::new();
        for name in links(&fs::read_to_string(root.join(page))?).into_keys() {
            let target = target(name, &pictures);
            writeln!(list, "[{name}]: {target}").expect("a string takes all");
        }
        list.push('\n');
        let name = page.strip_prefix("docs/").unwrap_or(page);
        files.push((format!("rustdoc/{name}"), list));
    }
    let pictures = pictures.into_iter().map(|(name, text)| (format!("pictures/{name}"), text));
    files.extend(pictures);
    Ok(files)
}

/// Where a name leads in rustdoc.
fn target(name: &str, pictures: &[(&'static str, String)]) -> String {
    let picture = name.strip_prefix("docs/pictures/");
    if let Some((_, text)) = pictures.iter().find(|(file, _)| Some(*file) == picture) {
        return svg::address(text);
    }
    match GUIDE.iter().find(|(page, _)| *page == name) {
        Some((_, item)) => (*item).to_owned(),
        None => format!("{SOURCE}{name}"),
    }
}
