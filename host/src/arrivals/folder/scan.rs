//! What lies in the folder: which files, and their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Plugins that a folder may hold; what exceeds them, by name, is not read.
pub(super) const FILES_MAX: usize = 1_000;

/// A signature is some hundred bytes.
const SIGNATURE_BYTES_MAX: u64 = 16 << 10;

/// Ends the name of a component's file.
pub(super) const COMPONENT: &str = ".wasm";

/// Ends the name of its signature's file, behind the whole name of the component's.
pub(super) const SIGNATURE: &str = ".sig";

/// The directory itself; another one may come into its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Tells one state of a file from another without reading it. Of a link it is that of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) identity: Identity,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            identity: Identity::of(metadata),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A component's file, as it is seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) stamp: Stamp,
    pub(super) signature: Option<Stamp>,
    /// Whether it is a symbolic link: those are swapped as a whole.
    pub(super) is_link: bool,
}

/// What a look into the folder found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Components' files by name; with an error instead of what cannot be one.
    pub(super) files: BTreeMap<String, Result<Entry, String>>,
    /// How many files there are beyond [`FILES_MAX`].
    pub(super) surplus: usize,
}

/// Whether a file of this name may be a component's. Hidden files are those of tools that copy.
pub(super) fn is_component(name: &str) -> bool {
    name.ends_with(COMPONENT) && !name.starts_with('.') && !name.chars().any(char::is_control)
}

/// Lists what there is, and reads none of it.
pub(super) fn scan(dir: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        // A name that is no UTF-8 could not be told in any answer.
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        if !is_component(&name) {
            continue;
        }
        names.insert(name);
        if names.len() > FILES_MAX {
            names.pop_last();
            scan.surplus += 1;
        }
    }
    for name in names {
        match entry(&dir.join(&name)) {
            Ok(found) => scan.files.insert(name, found),
            // It went since.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(dir, &name) => None,
            Err(error) => scan.files.insert(name, Err(error.to_string())),
        };
    }
    Ok(scan)
}

fn is_link(dir: &Path, name: &str) -> bool {
    fs::symlink_metadata(dir.join(name)).is_ok_and(|metadata| metadata.is_symlink())
}

fn entry(path: &Path) -> io::Result<Result<Entry, String>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(Err("it is no file".to_owned()));
    }
    Ok(Ok(Entry {
        stamp: Stamp::of(&metadata),
        signature: fs::metadata(beside(path))
            .ok()
            .filter(Metadata::is_file)
            .map(|metadata| Stamp::of(&metadata)),
        is_link: fs::symlink_metadata(path)?.is_symlink(),
    }))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SIGNATURE);
    name.into()
}

/// A component with the signature that lies beside it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Complete {
    pub(super) bytes: Vec<u8>,
    pub(super) signature: Option<Vec<u8>>,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// Another look will tell.
    #[error("it changed while it was read")]
    Changed,
    #[error("{what} has {bytes} bytes, more than the {bytes_max} that it may have")]
    TooLarge {
        what: &'static str,
        bytes: u64,
        bytes_max: u64,
    },
    #[error("{what} cannot be read")]
    Failed {
        what: &'static str,
        source: io::Error,
    },
}

/// Reads a component and its signature, if they are still what a scan saw.
pub(super) fn read(
    dir: &Path,
    name: &str,
    seen: &Entry,
    bytes_max: u64,
) -> Result<Complete, Unread> {
    let path = dir.join(name);
    let bytes = read_file("it", &path, &seen.stamp, bytes_max)?;
    let signature = seen.signature.map(|stamp| {
        let path = beside(&path);
        read_file("its signature", &path, &stamp, SIGNATURE_BYTES_MAX)
    });
    Ok(Complete {
        bytes,
        signature: signature.transpose()?,
    })
}

fn read_file(
    what: &'static str,
    path: &Path,
    seen: &Stamp,
    bytes_max: u64,
) -> Result<Vec<u8>, Unread> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Unread::Changed,
        _ => Unread::Failed { what, source },
    };
    if seen.bytes > bytes_max {
        return Err(Unread::TooLarge {
            what,
            bytes: seen.bytes,
            bytes_max,
        });
    }
    // A pipe may have come into the place of the file: to open it must not wait for a writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(nonblocking).open(path);
    let mut file = file.map_err(failed)?;
    let is_same = |file: &File| -> Result<bool, Unread> {
        let metadata = file.metadata().map_err(failed)?;
        Ok(metadata.is_file() && Stamp::of(&metadata) == *seen)
    };
    if !is_same(&file)? {
        return Err(Unread::Changed);
    }
    let mut bytes = Vec::new();
    let read = file.by_ref().take(seen.bytes + 1).read_to_end(&mut bytes);
    read.map_err(failed)?;
    if bytes.len() as u64 != seen.bytes || !is_same(&file)? {
        return Err(Unread::Changed);
    }
    Ok(bytes)
}

#[cfg(test)]
impl Entry {
    /// A file that nobody has to write.
    pub(super) fn fake(inode: u64, bytes: u64) -> Self {
        let stamp = Stamp {
            identity: Identity { device: 1, inode },
            bytes,
            modified: (0, 0),
            changed: (0, 0),
        };
        Self {
            stamp,
            signature: None,
            is_link: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(dir: &Path, name: &str) -> Entry {
        *scan(dir).unwrap().files[name].as_ref().unwrap()
    }

    #[test]
    fn only_components_are_listed_each_with_its_signature() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.wasm",
            "a.wasm",
            "a.wasm.sig",
            "c.wasm.partial",
            ".d.wasm",
            ".wasm",
        ] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("dir.wasm")).unwrap();
        symlink("loop.wasm", dir.path().join("loop.wasm")).unwrap();
        symlink("nowhere", dir.path().join("nowhere.wasm")).unwrap();
        let scan = scan(dir.path()).unwrap();
        let names: Vec<_> = scan.files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["a.wasm", "b.wasm", "dir.wasm", "loop.wasm", "nowhere.wasm"]
        );
        assert!(found(dir.path(), "a.wasm").signature.is_some());
        assert!(found(dir.path(), "b.wasm").signature.is_none());
        for name in ["dir.wasm", "loop.wasm", "nowhere.wasm"] {
            assert!(scan.files[name].is_err(), "{name}");
        }
        let read = read(dir.path(), "a.wasm", &found(dir.path(), "a.wasm"), 6).unwrap();
        assert_eq!(read.bytes, b"a.wasm");
        assert_eq!(read.signature.unwrap(), b"a.wasm.sig");
    }

    #[test]
    fn what_is_too_large_or_changed_since_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wasm");
        fs::write(&path, "1234").unwrap();
        let seen = found(dir.path(), "a.wasm");
        let too_large = read(dir.path(), "a.wasm", &seen, 3).err().unwrap();
        assert_eq!(
            too_large.to_string(),
            "it has 4 bytes, more than the 3 that it may have"
        );
        fs::write(&path, "12345").unwrap();
        let changed = read(dir.path(), "a.wasm", &seen, 9);
        assert!(matches!(changed, Err(Unread::Changed)));
        fs::remove_file(&path).unwrap();
        let gone = read(dir.path(), "a.wasm", &seen, 9);
        assert!(matches!(gone, Err(Unread::Changed)));
    }

    #[test]
    fn a_link_is_known_by_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["1", "2"] {
            let target = dir.path().join(version);
            fs::create_dir(&target).unwrap();
            fs::write(target.join("a.wasm"), version).unwrap();
        }
        let data = dir.path().join("..data");
        symlink("1", &data).unwrap();
        symlink("..data/a.wasm", dir.path().join("a.wasm")).unwrap();
        let before = found(dir.path(), "a.wasm");
        symlink("2", dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), &data).unwrap();
        let after = found(dir.path(), "a.wasm");
        assert!(before.is_link && after.is_link);
        assert_ne!(before.stamp.identity, after.stamp.identity);
        assert_eq!(read(dir.path(), "a.wasm", &after, 9).unwrap().bytes, b"2");
    }

    #[test]
    fn a_folder_that_is_too_full_is_read_up_to_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..FILES_MAX + 2 {
            fs::write(dir.path().join(format!("{number:04}.wasm")), "").unwrap();
        }
        let scan = scan(dir.path()).unwrap();
        assert_eq!((scan.files.len(), scan.surplus), (FILES_MAX, 2));
        assert!(!scan.files.contains_key("1001.wasm"));
    }
}
