//! Draws the pictures of docs/lstm.md, with numbers from the kernels' twins. No GPU, no model.
//!
//! ```text
//! cargo run --example lstm_pictures [-- --out DIR]
//! ```

mod pictures;
mod svg;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Draws the pictures of docs/lstm.md.

  --out DIR   where to, instead of docs/pictures
  --help";

fn draw(out: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(out)?;
    for (name, picture) in pictures::all() {
        let path = out.join(name);
        std::fs::write(&path, &picture)?;
        println!("{} ({} bytes)", path.display(), picture.len());
    }
    Ok(())
}

fn main() -> ExitCode {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let out = match options[..] {
        [] => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pictures")),
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
