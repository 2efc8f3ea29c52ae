//! Files that are there as a whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, TryLockError};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

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
///
/// A link is followed, and the file keeps its permissions.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    let path = &target(path)?;
    let old = match std::fs::metadata(path) {
        Ok(old) if !old.is_file() => {
            return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        old => old.ok(),
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| Error::from(ErrorKind::InvalidFilename))?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    remove_left(folder, &prefix);
    let mut temporary = create(folder, &prefix, old.as_ref())?;
    temporary.write_all(contents)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

/// What a path leads to: another one where it is a link, and that is there.
fn target(path: &Path) -> Result<PathBuf> {
    if !path.is_symlink() {
        return Ok(path.to_owned());
    }
    match std::fs::canonicalize(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(path.to_owned()),
        target => target,
    }
}

/// A temporary file that is locked, in place of an old one where there is one.
#[cfg_attr(not(unix), allow(unused_variables, reason = "other systems have no modes"))]
fn create(folder: &Path, prefix: &OsStr, old: Option<&Metadata>) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(SUFFIX).rand_bytes(RANDOM);
    // A temporary file is for its owner alone; this one becomes a file like any other, or like the old one.
    // It is never open to more than that one was.
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt;
        let mode = old.map_or(0o666, |old| old.permissions().mode() & 0o777);
        std::fs::Permissions::from_mode(mode)
    };
    #[cfg(unix)]
    builder.permissions(permissions.clone());
    loop {
        let temporary = builder.tempfile_in(folder)?;
        // Before it was locked, another process may have taken it for one that is left over. Where a
        // file system has no locks, none is taken for that.
        let taken = matches!(temporary.as_file().try_lock(), Err(TryLockError::WouldBlock));
        if !taken && temporary.path().exists() {
            // What the process's mask has taken away. A file system without permissions has none to lose.
            #[cfg(unix)]
            if old.is_some() {
                let _ = temporary.as_file().set_permissions(permissions);
            }
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
        // To open a pipe would be to wait for who writes into it.
        if entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = File::open(&path)
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
