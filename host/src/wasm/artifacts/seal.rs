//! Proves that a file was written by this host, or one that shares its directory, for what it is read
//! as: an HMAC-SHA256 under a key that lies beside the files and that only this user can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::OFlags;
use rustix::process::geteuid;

/// The file of the key, in the directory.
const KEY_FILE: &str = "seal.key";
const KEY_BYTES: usize = 32;
/// Says what a file is, and in which form.
const MAGIC: &[u8; 16] = b"conclave sealed1";
const TAG_BYTES: usize = 32;
/// What stands before the content: the magic, and the tag.
pub(super) const HEADER_BYTES: usize = MAGIC.len() + TAG_BYTES;

/// A file that does not prove where it comes from: damaged, cut off, of another directory, or forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its seal is not this host's")]
pub(super) struct Broken;

/// Seals what is written, and verifies what is read.
#[derive(Debug)]
pub(super) struct Seal {
    key: hmac::Key,
}

impl Seal {
    /// The seal of a directory. Its key is made when there is none, and made anew when others than this
    /// user could read it or put one of theirs there: what was sealed before is then not believed.
    ///
    /// # Errors
    /// When the directory is another user's.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let path = dir.join(KEY_FILE);
        if was_open_to_others(dir)? {
            remove(&path)?;
        }
        if let Some(key) = read_key(&path)? {
            return Ok(Self { key });
        }
        make_key(dir, &path)?;
        let key = read_key(&path)?.ok_or_else(|| {
            io::Error::other(format!(
                "`{}` can be read by others however it is made",
                path.display()
            ))
        })?;
        Ok(Self { key })
    }

    /// What must stand before the content in a file that is read as `subject`.
    pub(super) fn header(&self, subject: &str, content: &[u8]) -> Vec<u8> {
        let tag = hmac::sign(&self.key_of(subject), content);
        [&MAGIC[..], tag.as_ref()].concat()
    }

    /// Verifies a whole file that is read as `subject`; the content starts at [`HEADER_BYTES`].
    pub(super) fn verify(&self, subject: &str, file: &[u8]) -> Result<(), Broken> {
        let (header, content) = file.split_at_checked(HEADER_BYTES).ok_or(Broken)?;
        let tag = header.strip_prefix(MAGIC).ok_or(Broken)?;
        hmac::verify(&self.key_of(subject), content, tag).map_err(|_| Broken)
    }

    /// A key for each subject: content that is sealed as one thing is never another.
    fn key_of(&self, subject: &str) -> hmac::Key {
        let derived = hmac::sign(&self.key, subject.as_bytes());
        hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
    }
}

/// Whether others than this user could put files into a directory; from now on they cannot. Volumes that
/// are mounted for a group, as those of Kubernetes with `fsGroup`, come so.
fn was_open_to_others(dir: &Path) -> io::Result<bool> {
    let found = fs::metadata(dir)?;
    let user = geteuid().as_raw();
    if found.uid() != user {
        return Err(io::Error::other(format!(
            "it belongs to the user {}, who could have this host, of the user {user}, run what they put \
             there: remove it, or have it owned by the host's user",
            found.uid()
        )));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 == 0 {
        return Ok(false);
    }
    tracing::warn!(
        path = %dir.display(),
        mode = format!("{mode:o}"),
        "others could write to the directory of the compiled plugins: now they cannot, and plugins are \
         compiled again"
    );
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    Ok(true)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The key, unless there is none that can be trusted.
fn read_key(path: &Path) -> io::Result<Option<hmac::Key>> {
    let mut options = OpenOptions::new();
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = match options.read(true).custom_flags(no_link).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut key = Vec::with_capacity(KEY_BYTES);
    (&mut file)
        .take(KEY_BYTES as u64 + 1)
        .read_to_end(&mut key)?;
    let found = file.metadata()?;
    let private = found.mode() & 0o077 == 0 && found.uid() == geteuid().as_raw();
    if private && key.len() == KEY_BYTES {
        return Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, &key)));
    }
    tracing::warn!(
        path = %path.display(),
        "the key of the compiled plugins is not of this user alone, or is damaged: it is made anew, and \
         plugins are compiled again"
    );
    fs::remove_file(path)?;
    Ok(None)
}

/// Makes the key all at once, unless another process was quicker.
fn make_key(dir: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| io::Error::other("this machine has no random numbers"))?;
    let partial = dir.join(format!("{KEY_FILE}.{}.partial", std::process::id()));
    // Of a process before with this id.
    let _ = fs::remove_file(&partial);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(&key)?;
    file.sync_all()?;
    // Unlike a rename, a link does not replace the key that another process has put there.
    let linked = fs::hard_link(&partial, path);
    fs::remove_file(&partial)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(dir)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(seal: &Seal, subject: &str, content: &[u8]) -> Vec<u8> {
        [&seal.header(subject, content)[..], content].concat()
    }

    #[test]
    fn only_what_was_sealed_as_this_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let seal = Seal::of(dir.path()).unwrap();
        let file = sealed(&seal, "code a", b"content");
        assert_eq!(seal.verify("code a", &file), Ok(()));
        assert_eq!(&file[HEADER_BYTES..], b"content");
        assert_eq!(seal.verify("code b", &file), Err(Broken));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert_eq!(seal.verify("code a", &damaged), Err(Broken), "byte {at}");
            assert_eq!(seal.verify("code a", &file[..at]), Err(Broken), "cut {at}");
        }
        let longer = [&file[..], b"x"].concat();
        assert_eq!(seal.verify("code a", &longer), Err(Broken));
    }

    #[test]
    fn the_key_outlives_the_process_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = sealed(&Seal::of(dir.path()).unwrap(), "a", b"content");
        assert_eq!(Seal::of(dir.path()).unwrap().verify("a", &file), Ok(()));
        let path = dir.path().join(KEY_FILE);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        let other = tempfile::tempdir().unwrap();
        let other = Seal::of(other.path()).unwrap();
        assert_eq!(other.verify("a", &file), Err(Broken));
    }

    /// That a directory of another user is refused takes another user to test.
    #[test]
    fn a_directory_that_others_could_write_to_is_closed_and_nothing_in_it_believed() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o720, 0o702, 0o1777] {
            let file = sealed(&Seal::of(dir.path()).unwrap(), "a", b"content");
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let seal = Seal::of(dir.path()).unwrap();
            assert_eq!(seal.verify("a", &file), Err(Broken), "{mode:o}");
            let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700);
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = sealed(&Seal::of(dir.path()).unwrap(), "a", b"content");
        let seal = Seal::of(dir.path()).unwrap();
        assert_eq!(seal.verify("a", &file), Ok(()));
    }

    #[test]
    fn a_key_that_is_a_link_is_not_followed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Seal::of(other.path()).unwrap();
        std::os::unix::fs::symlink(other.path().join(KEY_FILE), dir.path().join(KEY_FILE)).unwrap();
        assert!(Seal::of(dir.path()).is_err());
    }

    #[test]
    fn a_key_that_others_could_read_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = sealed(&Seal::of(dir.path()).unwrap(), "a", b"content");
        let path = dir.path().join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            Seal::of(dir.path()).unwrap().verify("a", &file),
            Err(Broken)
        );
        fs::write(&path, b"short").unwrap();
        assert!(Seal::of(dir.path()).is_ok());
    }
}
