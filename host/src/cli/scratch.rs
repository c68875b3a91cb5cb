//! A directory that lives no longer than a command.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// A directory for this user's eyes, removed with all that it holds when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new directory below the system's one for temporary files.
    pub(super) fn new() -> io::Result<Self> {
        let root = std::env::temp_dir();
        let mut last = io::ErrorKind::AlreadyExists.into();
        // A directory that a killed command left behind may have the name already.
        for attempt in 0..100 {
            let path = root.join(format!("conclave-{}-{attempt}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What remains is cleared with other temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_gone_with_its_contents_when_dropped() {
        let (one, other) = (Scratch::new().unwrap(), Scratch::new().unwrap());
        assert_ne!(one.path(), other.path());
        let file = one.path().join("file");
        std::fs::write(&file, "x").unwrap();
        drop(one);
        assert!(!file.exists() && other.path().exists());
    }
}
