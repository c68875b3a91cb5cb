//! Components as files, named by what they hold.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use conclave_core::ids::Digest;

const PREFIX: &str = "sha256-";
const SUFFIX: &str = ".wasm";

/// A directory of components. A file is written whole or not at all, never changed, and verified
/// against its name when it is read.
#[derive(Debug)]
pub struct ComponentFiles {
    dir: PathBuf,
}

/// What can go wrong with a component's file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("no component sha256:{digest} is in `{dir}`")]
    Missing {
        /// The component.
        digest: Digest,
        /// Where it should be.
        dir: PathBuf,
    },
    /// It holds something else than its name says.
    #[error(
        "`{path}` is damaged: its bytes have the digest sha256:{actual}; remove it, and add the component again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest of its bytes.
        actual: Digest,
    },
    /// It cannot be read or written.
    #[error("cannot access `{path}`")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ComponentFiles {
    /// The files in `dir`, which is made when it is missing. What a crash left half-written is
    /// removed.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, FileError> {
        let files = Self { dir: dir.into() };
        fs::create_dir_all(&files.dir).map_err(|source| failed(&files.dir, source))?;
        for path in files.paths()? {
            if path
                .extension()
                .is_some_and(|extension| extension == "partial")
            {
                fs::remove_file(&path).map_err(|source| failed(&path, source))?;
            }
        }
        Ok(files)
    }

    /// Keeps a component. When this returns, it is durable.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&self, bytes: &[u8]) -> Result<Digest, FileError> {
        let digest = Digest::of(bytes);
        let path = self.path(&digest);
        // A file of this name that is damaged is written anew.
        if matches!(self.get(&digest), Ok(kept) if kept == bytes) {
            return Ok(digest);
        }
        let partial = path.with_extension("partial");
        let written = write_durably(&partial, bytes);
        written.map_err(|source| failed(&partial, source))?;
        let renamed =
            fs::rename(&partial, &path).and_then(|()| fs::File::open(&self.dir)?.sync_all());
        renamed.map_err(|source| failed(&path, source))?;
        Ok(digest)
    }

    /// The files in `dir`, to be read only: nothing there is made or removed, so a host may run on them.
    #[must_use]
    pub fn reading(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The bytes of a component.
    ///
    /// # Errors
    /// When it is missing, damaged or cannot be read.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, FileError> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => FileError::Missing {
                digest: *digest,
                dir: self.dir.clone(),
            },
            _ => failed(&path, source),
        })?;
        let actual = Digest::of(&bytes);
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(FileError::Damaged { path, actual })
        }
    }

    /// Removes every component but these, and returns what was removed.
    ///
    /// # Errors
    /// When a file cannot be removed; those before it are gone.
    pub fn retain(&self, kept: &BTreeSet<Digest>) -> Result<Vec<Digest>, FileError> {
        let mut removed = Vec::new();
        for path in self.paths()? {
            let Some(digest) = digest_in_name(&path) else {
                continue;
            };
            if !kept.contains(&digest) {
                fs::remove_file(&path).map_err(|source| failed(&path, source))?;
                removed.push(digest);
            }
        }
        Ok(removed)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{PREFIX}{digest}{SUFFIX}"))
    }

    fn paths(&self) -> Result<Vec<PathBuf>, FileError> {
        let entries = fs::read_dir(&self.dir);
        let paths = entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        paths.map_err(|source| failed(&self.dir, source))
    }
}

fn failed(path: &Path, source: io::Error) -> FileError {
    FileError::Io {
        path: path.to_owned(),
        source,
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn digest_in_name(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?
        .strip_suffix(SUFFIX)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_read_back_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let digest = ComponentFiles::open(dir.path())
            .unwrap()
            .add(b"component")
            .unwrap();
        fs::write(dir.path().join("sha256-00.partial"), b"half").unwrap();
        let files = ComponentFiles::open(dir.path()).unwrap();
        assert_eq!(files.get(&digest).unwrap(), b"component");
        assert_eq!(files.paths().unwrap().len(), 1);
        assert_eq!(files.add(b"component").unwrap(), digest);
    }

    #[test]
    fn a_damaged_file_is_told_from_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let files = ComponentFiles::open(dir.path()).unwrap();
        let digest = files.add(b"component").unwrap();
        fs::write(files.path(&digest), b"compoment").unwrap();
        assert!(matches!(files.get(&digest), Err(FileError::Damaged { .. })));
        assert!(matches!(
            files.get(&Digest::of(b"")),
            Err(FileError::Missing { .. })
        ));
        files.add(b"component").unwrap();
        assert!(files.get(&digest).is_ok(), "adding it again repairs it");
    }

    #[test]
    fn only_what_is_not_needed_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = ComponentFiles::open(dir.path()).unwrap();
        let [kept, other] = [b"a", b"b"].map(|bytes| files.add(bytes).unwrap());
        fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
        assert_eq!(files.retain(&BTreeSet::from([kept])).unwrap(), [other]);
        assert!(files.get(&kept).is_ok() && files.get(&other).is_err());
        assert!(dir.path().join("notes.txt").exists());
    }
}
