//! Files that are there as a whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Random letters in a temporary file's name.
const RANDOM: usize = 6;

/// What its name ends in.
const SUFFIX: &str = ".tmp";

/// Makes `contents` those of the file `path`. Whoever reads finds the old ones or the new ones, also where
/// this process is killed or the machine stops halfway; once it returns, the new ones stay.
///
/// The temporary file beside it, `.name.XXXXXX.tmp`, is locked by who writes it. Those that nobody locks
/// are left over from processes that were killed, and are removed.
pub(super) fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| Error::from(ErrorKind::InvalidFilename))?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    remove_left(folder, &prefix);
    let mut temporary = create(folder, &prefix)?;
    temporary.write_all(contents)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

/// A temporary file that is locked.
fn create(folder: &Path, prefix: &OsStr) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(SUFFIX).rand_bytes(RANDOM);
    // A temporary file is for its owner alone; this one becomes a file like any other.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let temporary = builder.tempfile_in(folder)?;
        // Before it was locked, another process may have taken it for one that is left over. Where a
        // file system has no locks, none is taken for that.
        let taken = matches!(temporary.as_file().try_lock(), Err(TryLockError::WouldBlock));
        if !taken && temporary.path().exists() {
            return Ok(temporary);
        }
    }
}

/// Removes what processes that were killed have left. What can't be removed does no harm.
fn remove_left(folder: &Path, prefix: &OsStr) {
    let ours = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        let random = name.strip_prefix(prefix.as_encoded_bytes());
        let random = random.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        random.is_some_and(|r| r.len() == RANDOM && r.iter().all(u8::is_ascii_alphanumeric))
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| ours(&entry.file_name())) {
        let path = entry.path();
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            // Still locked: nobody can take it for a new one meanwhile.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// A name stays once its folder is written.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    match File::open(folder)?.sync_all() {
        // Of a file system that has nothing to write there.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Other systems have no such call.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}
