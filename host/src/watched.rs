//! What is made of files, and made again when they change.

use conclave_core::chain::Chain;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// How often the files are looked at, at most: a look-up in the file system's cache.
const LOOK: Duration = Duration::from_secs(1);

/// A value that is made of files. It is made again when it is asked for after they have changed, and
/// stays as it was when that fails.
pub(crate) struct Watched<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    /// What the log calls it.
    name: &'static str,
    paths: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<T, Failure> + Send + Sync>,
    current: RwLock<Arc<T>>,
    looked: Mutex<Looked>,
}

struct Looked {
    at: Instant,
    files: Vec<Stamp>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What changes with a file's content; `None` when the file is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

impl<T: Send + Sync + 'static> Watched<T> {
    /// Makes it for the first time. The files are read here: call it where that may block.
    pub(crate) fn load<E>(
        name: &'static str,
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        // Before the files are read: what changes while they are, is seen.
        let files = stamps(&paths);
        let current = RwLock::new(Arc::new(load()?));
        let at = Instant::now();
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                paths,
                load: Box::new(move || load().map_err(Into::into)),
                current,
                looked: Mutex::new(Looked { at, files }),
            }),
        })
    }

    /// The value of the files as they are now, or were a second ago.
    pub(crate) async fn current(&self) -> Arc<T> {
        if self.inner.is_due() {
            let inner = Arc::clone(&self.inner);
            // An error means that the runtime stops.
            let _ = tokio::task::spawn_blocking(move || inner.look()).await;
        }
        let current = self.inner.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Inner<T> {
    /// Whether it is time to look; whoever learns it looks.
    fn is_due(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.at.elapsed() >= LOOK;
        if due {
            looked.at = Instant::now();
        }
        due
    }

    fn look(&self) {
        let files = stamps(&self.paths);
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.files == files {
                return;
            }
            looked.files = files;
        }
        match (self.load)() {
            Ok(value) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                tracing::info!(what = self.name, "files have changed and were read again");
            }
            Err(error) => tracing::warn!(
                what = self.name,
                error = %Chain(&*error),
                "files have changed and cannot be used; what was read before stays"
            ),
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    paths.iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("paths", &self.inner.paths)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_and_a_broken_one_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("1");
        let read = path.clone();
        let number = Watched::load("the number", vec![path.clone()], move || {
            let text = std::fs::read_to_string(&read)?;
            text.parse::<u32>().map_err(std::io::Error::other)
        });
        let number = number.unwrap();
        assert_eq!(*number.current().await, 1);
        write("22");
        assert_eq!(*number.current().await, 1, "it has just been read");
        tokio::time::advance(LOOK).await;
        assert_eq!(*number.current().await, 22);
        for broken in ["nothing of the kind", ""] {
            write(broken);
            tokio::time::advance(LOOK).await;
            assert_eq!(*number.current().await, 22);
        }
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(LOOK).await;
        assert_eq!(*number.current().await, 22);
        write("4444");
        tokio::time::advance(LOOK).await;
        assert_eq!(*number.current().await, 4444);
    }
}
