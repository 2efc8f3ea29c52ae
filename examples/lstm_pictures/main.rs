//! Draws the pictures of the pages: those of docs/lstm.md with numbers from the kernels' twins, the chart of
//! speed from a record of `benches/peers`. No GPU, no model.
//!
//! ```text
//! cargo run --example lstm_pictures [-- --out DIR]
//! ```

mod pages;
mod pictures;
mod speed;
mod svg;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Draws the pictures of the pages, and writes by which addresses rustdoc finds pictures and pages.

  --out DIR   where to, instead of docs
  --help";

fn draw(out: &Path) -> std::io::Result<()> {
    for folder in ["pictures", "rustdoc"] {
        std::fs::create_dir_all(out.join(folder))?;
    }
    for (name, text) in pages::files(Path::new(env!("CARGO_MANIFEST_DIR")))? {
        let path = out.join(name);
        std::fs::write(&path, &text)?;
        println!("{} ({} bytes)", path.display(), text.len());
    }
    Ok(())
}

fn main() -> ExitCode {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let out = match options[..] {
        [] => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")),
        ["--out", folder] => PathBuf::from(folder),
        ["--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("lstm_pictures: can't make sense of {:?}; see --help", options.join(" "));
            return ExitCode::FAILURE;
        }
    };
    println!("Without a device: numbers from the twins in gatefold::reference");
    for (name, value) in pictures::worked().named() {
        println!("{name:>12} {value:>11.7}");
    }
    match draw(&out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lstm_pictures: {}: {error}", out.display());
            ExitCode::FAILURE
        }
    }
}
