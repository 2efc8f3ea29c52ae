//! Tables in files, beside what they were measured on.

use std::path::{Path, PathBuf};
use std::process::Command;

use gatefold::Device;
use time::OffsetDateTime;

/// What a table was measured on.
pub struct Machine {
    /// The adapter, or the processor.
    pub name: String,
    driver: String,
}

impl Machine {
    pub fn of(device: &Device) -> Machine {
        match device.as_gpu() {
            Some(gpu) => {
                let info = gpu.wgpu_device().adapter_info();
                let driver = format!("{} {} ({:?})", info.driver, info.driver_info, info.backend);
                Machine { name: info.name, driver }
            }
            None => {
                let model = processor().unwrap_or("unknown processor".to_owned());
                Machine { name: format!("{model}, {device}"), driver: "none".to_owned() }
            }
        }
    }

    /// The name as a folder's.
    fn folder(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let dashed: String = self.name.chars().map(plain).collect();
        dashed.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
    }
}

/// The processor's name, where the system says it.
fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map(|(_, name)| name.to_owned())
}

/// What an environment variable says, else what a command prints, else `unknown`.
fn said(variable: &str, command: &mut Command) -> String {
    let given = std::env::var(variable).ok();
    let printed = || {
        let output = command.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let known = given.or_else(printed).map(|text| text.trim().to_owned());
    known.filter(|text| !text.is_empty()).unwrap_or("unknown".to_owned())
}

/// Writes a table to `DIR/<adapter>/<date>.md`, or with a number behind the date where there is such
/// a file; returns where.
pub fn write(directory: &Path, machine: &Machine, table: &str) -> std::io::Result<PathBuf> {
    let folder = directory.join(machine.folder());
    std::fs::create_dir_all(&folder)?;
    let date = OffsetDateTime::now_utc().date();
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=40"]);
    let commit = said("GATEFOLD_COMMIT", git.args(["--exclude", "*"]));
    let rustc = said("GATEFOLD_RUSTC", Command::new("rustc").arg("--version"));
    let text = format!(
        "# Sequences on {name}\n\n\
         | | |\n|---|---|\n\
         | adapter | {name} |\n\
         | driver | {driver} |\n\
         | compiler | {rustc} |\n\
         | commit | {commit} |\n\
         | date | {date} |\n\n\
         {table}",
        name = machine.name,
        driver = machine.driver,
    );
    let numbered = |n: usize| match n {
        1 => format!("{date}.md"),
        n => format!("{date}-{n}.md"),
    };
    let mut n = 1;
    while folder.join(numbered(n)).exists() {
        n += 1;
    }
    let path = folder.join(numbered(n));
    std::fs::write(&path, text)?;
    Ok(path)
}
