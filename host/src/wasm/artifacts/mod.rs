//! What was made of components, on disk: machine code, and verdicts of the check, each sealed and bound
//! to the component's digest and to this engine.
//!
//! A file is written whole under another name, synced, and renamed; it is never changed. Whatever does
//! not prove itself is removed with a warning, and made again.

mod seal;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use conclave_core::ids::Digest;

use self::seal::{HEADER_BYTES, Seal};
use super::code::MachineCode;

/// Bytes of a file that is read at all.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// What every file's name starts with.
const PREFIX: &str = "sha256-";
const PARTIAL: &str = ".partial";
/// After how long a partial file is nobody's any more.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(3_600);

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Code,
    Verdict,
}

impl Content {
    const ALL: [Self; 2] = [Self::Code, Self::Verdict];

    fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Verdict => "verdict",
        }
    }
}

/// What was found on disk.
#[derive(Debug)]
pub(super) enum Found<T> {
    /// It is there and proves itself.
    Good(T),
    /// There is none.
    Absent,
    /// It did not prove itself, or could not be read; it is gone now.
    Refused,
}

/// The directory of what was made for one engine.
#[derive(Debug)]
pub(super) struct Artifacts {
    dir: PathBuf,
    seal: Seal,
    /// Stands for the version of wasmtime and its settings, in hexadecimal digits.
    engine: String,
    bytes_max: u64,
    /// Tells partial files of this process apart.
    writes: AtomicU64,
}

impl Artifacts {
    /// The artifacts in a directory, which is made when it is missing; what other engines left there
    /// is removed.
    pub(super) fn open(dir: &Path, engine: String, bytes_max: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let artifacts = Self {
            dir: dir.to_owned(),
            seal: Seal::of(dir)?,
            engine,
            bytes_max,
            writes: AtomicU64::new(0),
        };
        artifacts.remove_old()?;
        Ok(artifacts)
    }

    /// The machine code of a component.
    pub(super) fn code(&self, digest: &Digest) -> Found<MachineCode> {
        match self.read(digest, Content::Code) {
            Found::Good(file) => Found::Good(MachineCode::of_seal(file, HEADER_BYTES)),
            Found::Absent => Found::Absent,
            Found::Refused => Found::Refused,
        }
    }

    /// What the check found out about a component.
    pub(super) fn verdict(&self, digest: &Digest) -> Found<Vec<u8>> {
        match self.read(digest, Content::Verdict) {
            Found::Good(mut file) => Found::Good(file.split_off(HEADER_BYTES)),
            other => other,
        }
    }

    /// Keeps machine code. Failing to is no failure of the caller's: it is made again when needed.
    pub(super) fn keep_code(&self, digest: &Digest, code: &MachineCode) {
        self.keep(digest, Content::Code, code.bytes());
        if let Err(error) = self.make_room() {
            let dir = self.dir.display();
            tracing::warn!(%dir, %error, "compiled plugins that are too much cannot be removed");
        }
    }

    /// Keeps a verdict; as [`Self::keep_code`].
    pub(super) fn keep_verdict(&self, digest: &Digest, verdict: &[u8]) {
        self.keep(digest, Content::Verdict, verdict);
    }

    /// Removes everything about a component.
    pub(super) fn remove(&self, digest: &Digest) {
        for content in Content::ALL {
            // Most are not there.
            let _ = fs::remove_file(self.path(digest, content));
        }
    }

    fn path(&self, digest: &Digest, content: Content) -> PathBuf {
        let (engine, name) = (&self.engine[..16], content.name());
        self.dir.join(format!("{PREFIX}{digest}.{engine}.{name}"))
    }

    /// What a file is sealed as.
    fn subject(&self, digest: &Digest, content: Content) -> String {
        format!("{} of {digest} for {}", content.name(), self.engine)
    }

    fn read(&self, digest: &Digest, content: Content) -> Found<Vec<u8>> {
        let path = self.path(digest, content);
        let file = match read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Absent,
            Err(error) => return refuse(&path, &error),
        };
        match self.seal.verify(&self.subject(digest, content), &file) {
            Ok(()) => Found::Good(file),
            Err(broken) => refuse(&path, &broken),
        }
    }

    fn keep(&self, digest: &Digest, content: Content, bytes: &[u8]) {
        let path = self.path(digest, content);
        let header = self.seal.header(&self.subject(digest, content), bytes);
        if let Err(error) = self.write(&path, &header, bytes) {
            tracing::warn!(
                path = %path.display(), %error,
                "what was made of a plugin cannot be kept, and is made again after a restart"
            );
        }
    }

    fn write(&self, path: &Path, header: &[u8], bytes: &[u8]) -> io::Result<()> {
        let write = self.writes.fetch_add(1, Ordering::Relaxed);
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}-{write}{PARTIAL}", std::process::id()));
        let partial = PathBuf::from(name);
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&partial)?;
            file.write_all(header)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&partial, path)?;
            File::open(&self.dir)?.sync_all()
        })();
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written
    }

    /// Removes what other engines made, and what a killed host left half written.
    fn remove_old(&self) -> io::Result<()> {
        let own = format!(".{}.", &self.engine[..16]);
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with(PREFIX) && !name.ends_with(PARTIAL) {
                continue;
            }
            let old = if name.ends_with(PARTIAL) {
                entry.metadata().is_ok_and(|found| {
                    let age = found.modified().ok().and_then(|time| time.elapsed().ok());
                    age > Some(PARTIAL_AGE_MAX)
                })
            } else {
                !name.contains(&own)
            };
            if old {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the machine code that was not used for longest, until all fits. What was removed is
    /// compiled again when it is needed.
    fn make_room(&self) -> io::Result<()> {
        let suffix = format!(".{}", Content::Code.name());
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // Another host that shares the directory may remove it meanwhile.
            if let (true, Ok(found)) = (
                entry.file_name().to_string_lossy().ends_with(&suffix),
                entry.metadata(),
            ) {
                kept.push((found.modified()?, found.len(), entry.path()));
            }
        }
        kept.sort_unstable();
        let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in kept {
            if bytes <= self.bytes_max {
                break;
            }
            remove(&path)?;
            bytes -= size;
        }
        Ok(())
    }
}

/// Reads a file whole, and notes that it is in use.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    // Only decides what goes first when there is too much.
    let _ = file.set_modified(SystemTime::now());
    Ok(bytes)
}

fn refuse<T>(path: &Path, error: &dyn std::error::Error) -> Found<T> {
    tracing::warn!(
        path = %path.display(), %error,
        "what was made of a plugin is not believed: it is removed, and made again"
    );
    if let Err(error) = remove(path) {
        tracing::warn!(path = %path.display(), %error, "it cannot be removed");
    }
    Found::Refused
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, engine: &str, bytes_max: u64) -> Artifacts {
        Artifacts::open(dir, engine.repeat(64), bytes_max).unwrap()
    }

    fn code(text: &str) -> MachineCode {
        MachineCode::of_compiler(text.into())
    }

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn what_was_kept_is_found_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"component");
        let artifacts = open(dir.path(), "a", 1 << 20);
        assert!(matches!(artifacts.code(&digest), Found::Absent));
        artifacts.keep_code(&digest, &code("machine code"));
        artifacts.keep_verdict(&digest, b"fine");

        let artifacts = open(dir.path(), "a", 1 << 20);
        let Found::Good(found) = artifacts.code(&digest) else {
            panic!("it was kept");
        };
        assert_eq!(found.bytes(), b"machine code");
        let Found::Good(verdict) = artifacts.verdict(&digest) else {
            panic!("it was kept");
        };
        assert_eq!(verdict, b"fine");
        artifacts.remove(&digest);
        assert!(matches!(artifacts.code(&digest), Found::Absent));
        assert_eq!(names(dir.path()), 1, "the key");
    }

    #[test]
    fn what_does_not_prove_itself_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = open(dir.path(), "a", 1 << 20);
        let [one, other] = [b"1", b"2"].map(|text| Digest::of(text));
        artifacts.keep_code(&one, &code("machine code"));
        // Moved to the name of another component.
        let path = artifacts.path(&one, Content::Code);
        fs::rename(&path, artifacts.path(&other, Content::Code)).unwrap();
        assert!(matches!(artifacts.code(&other), Found::Refused));
        assert!(matches!(artifacts.code(&other), Found::Absent));
        // Taken for the verdict.
        artifacts.keep_code(&one, &code("machine code"));
        fs::rename(&path, artifacts.path(&one, Content::Verdict)).unwrap();
        assert!(matches!(artifacts.verdict(&one), Found::Refused));
        // Cut off.
        artifacts.keep_code(&one, &code("machine code"));
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(50)
            .unwrap();
        assert!(matches!(artifacts.code(&one), Found::Refused));
        // Not even a file.
        fs::create_dir(&path).unwrap();
        assert!(matches!(artifacts.code(&one), Found::Refused));
    }

    #[test]
    fn what_another_engine_made_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"component");
        open(dir.path(), "a", 1 << 20).keep_code(&digest, &code("old"));
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let artifacts = open(dir.path(), "b", 1 << 20);
        assert!(matches!(artifacts.code(&digest), Found::Absent));
        assert_eq!(names(dir.path()), 2, "the key and the notes");
    }

    #[test]
    fn the_least_recently_used_goes_when_there_is_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = open(dir.path(), "a", 3 * 1_100);
        let digests = [b"1", b"2", b"3", b"4"].map(|text| Digest::of(text));
        let long = "x".repeat(1_000);
        for (age, digest) in (1..).zip(&digests[..3]) {
            artifacts.keep_code(digest, &code(&long));
            let file = File::open(artifacts.path(digest, Content::Code)).unwrap();
            let time = SystemTime::now() - Duration::from_secs(100 - age);
            file.set_modified(time).unwrap();
        }
        assert!(matches!(artifacts.code(&digests[0]), Found::Good(_)));
        artifacts.keep_code(&digests[3], &code(&long));
        let found = |digest| matches!(artifacts.code(digest), Found::Good(_));
        assert_eq!(digests.each_ref().map(found), [true, false, true, true]);
    }
}
