//! The journal's files: created for this user alone, and claimed for one host.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::sqlite::OpenError;

/// Claims the journal at `path` and creates its file, if there is none, with its directories. The
/// claim holds as long as the answer lives, or the process does.
///
/// The claim is a lock file beside the journal: SQLite's own locks on the file are lost when the
/// process closes any other descriptor of it, and its exclusive mode would shut out the readers.
pub(super) fn claim(path: &Path) -> Result<File, OpenError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| OpenError::File { path, source }
    };
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    create_directory(directory).map_err(failed(directory))?;
    let lock_path = beside(path, ".lock");
    let lock = open_private(&lock_path).map_err(failed(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
    }
    open_private(path).map_err(failed(path))?;
    sync_directory(directory).map_err(failed(directory))?;
    Ok(lock)
}

/// The path of a file beside the journal.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Opens a file, and creates it when there is none. SQLite gives its own files the same mode.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Creates what is missing of a directory's path, durably.
fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_directory(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    // Another process may have been faster.
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    sync_directory(parent.unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable; where the system opens no directories, it does so itself.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
