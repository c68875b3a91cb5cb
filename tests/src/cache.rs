//! What tests keep in the user's cache, beside what the Makefile does.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The directory of all of it.
///
/// # Errors
/// When there is no place for it.
pub fn dir() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache
        .or_else(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("conclave"))
}

/// Makes a directory unless it is there and complete. Of several processes one makes it, and the others
/// wait.
///
/// # Errors
/// When it cannot be made.
pub fn make_once(dir: &Path, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    let lock = File::create(dir.with_extension("lock"))?;
    lock.lock()?;
    let complete = dir.join("complete");
    if complete.is_file() {
        return Ok(());
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    make(dir)?;
    File::create(complete)?;
    Ok(())
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
