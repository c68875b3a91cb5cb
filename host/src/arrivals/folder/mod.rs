//! A folder that is watched: every component that is complete there is published.
//!
//! A file is complete when it gets its name by a rename, or when it is a link that is made or swapped
//! (as volumes of Kubernetes are). What is written in place is left alone until it is renamed, for a
//! half-written file cannot be told from a whole one. Events of the operating system are a hint only:
//! every half a minute the folder is looked at in any case, so a filesystem without events is served
//! too, there with files that have not changed between two looks.
//!
//! A component whose version is higher than the stable one's becomes stable, but only when nothing has
//! happened to its name since it arrived: a restart does not undo a rollback, and does finish what a
//! crash cut short.

mod deliver;
mod events;
mod ledger;
mod scan;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::ids::Digest;
use conclave_core::plugin::Plugins;
use conclave_core::registry::{self, Registry};
use notify::RecommendedWatcher;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::deliver::{Delivered, Delivery};
use self::events::Ear;
use self::ledger::{Ledger, Note};
use self::scan::{Complete, Entry, FILES_MAX, Identity, Scan, Unread};

/// How often the folder is looked at when nothing is heard of it.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How often a folder that is gone is looked for.
const LOOK_FOR_EVERY: Duration = Duration::from_secs(1);

/// How long it must be silent before it is looked at: files come in bursts, and a signature may come
/// behind its component.
const SETTLE: Duration = Duration::from_secs(1);

/// How long a burst may put off the look.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// What became of the files that lay in the folder at the start.
#[derive(Debug, Default)]
pub struct TakenIn {
    /// How many are plugins.
    pub count: usize,
    /// Why each of the others is none.
    pub failed: Vec<Error>,
}

/// Why the folder or a file of it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be read, or is too large for a component.
    #[error("cannot read the plugin `{path}`: {reason}")]
    UnusableFile {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file is not taken as a plugin.
    #[error("the plugin `{path}` cannot be used")]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: registry::Error,
    },
}

/// A folder whose components are published as they come.
pub struct Folder {
    dir: PathBuf,
    bytes_max: u64,
    delivery: Delivery,
    ear: Arc<Ear>,
    eye: Eye,
    ledger: Ledger,
    was_gone: bool,
    surplus: usize,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Listens to the directory that is there now.
#[derive(Default)]
struct Eye {
    listening: Option<(Identity, RecommendedWatcher)>,
    /// Whether it was told that the system tells nothing.
    is_deaf: bool,
}

impl Eye {
    /// Lists what is there. It listens from before that on, so nothing that comes later is missed.
    fn look(&mut self, dir: &Path, ear: &Arc<Ear>) -> io::Result<Scan> {
        let metadata = fs::metadata(dir).inspect_err(|_| self.listening = None)?;
        let identity = Identity::of(&metadata);
        if !matches!(&self.listening, Some((of, _)) if *of == identity) {
            // Events of a directory that was moved away are none of this one's.
            self.listening = None;
            // What is behind a link is listened to, not the link.
            let resolved = fs::canonicalize(dir)?;
            match events::listen(&resolved, Arc::clone(ear)) {
                Ok(watcher) => self.listening = Some((identity, watcher)),
                Err(error) => {
                    if !std::mem::replace(&mut self.is_deaf, true) {
                        tracing::warn!(
                            dir = %dir.display(),
                            error = %Chain(&error),
                            "the system does not tell what happens in the plugin folder; it is looked \
                             at every {} s",
                            LOOK_EVERY.as_secs()
                        );
                    }
                }
            }
        }
        scan::scan(dir)
    }
}

impl Folder {
    /// A folder that nothing was taken from yet. Components have at most `bytes_max` bytes.
    #[must_use]
    pub fn new(
        dir: impl Into<PathBuf>,
        bytes_max: u64,
        registry: Arc<dyn Registry>,
        plugins: Arc<dyn Plugins>,
    ) -> Self {
        Self {
            dir: dir.into(),
            bytes_max,
            delivery: Delivery { registry, plugins },
            ear: Arc::default(),
            eye: Eye::default(),
            ledger: Ledger::default(),
            was_gone: false,
            surplus: 0,
        }
    }

    /// Takes what lies there at the start of the host, in the order of the names, and begins to
    /// listen. A file that is not taken is told in the log, as later, and stops nothing: the plugins that
    /// were taken before serve.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn take_in(&mut self) -> Result<TakenIn, Error> {
        let notes = self.look().await.map_err(|source| Error::Unreadable {
            path: self.dir.clone(),
            source,
        })?;
        let mut taken_in = TakenIn::default();
        for note in notes {
            tell(&note);
            if let Note::Unusable(name, reason) = note {
                taken_in.failed.push(self.unusable(&name, reason));
            }
        }
        for (name, entry) in self.ledger.due() {
            match self.take(&name, entry).await {
                Ok(()) => taken_in.count += 1,
                Err(error) => taken_in.failed.push(error),
            }
        }
        Ok(taken_in)
    }

    /// Takes what comes, until `stop`. A component that is being checked then is left for the next
    /// start.
    pub async fn watch(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.next()).await.is_some() {}
    }

    async fn next(&mut self) {
        self.wait().await;
        self.take_what_came().await;
    }

    async fn wait(&self) {
        let every = if self.was_gone {
            LOOK_FOR_EVERY
        } else {
            LOOK_EVERY
        };
        let by = Instant::now() + every;
        let by = self.ledger.next_retry().map_or(by, |at| at.min(by));
        tokio::select! {
            () = self.ear.rings() => {
                let latest = Instant::now() + SETTLE_MAX;
                let silence = async { while timeout(SETTLE, self.ear.rings()).await.is_ok() {} };
                // Whichever comes first is the time to look.
                let _ = timeout_at(latest, silence).await;
            }
            () = sleep_until(by) => {}
        }
    }

    async fn take_what_came(&mut self) {
        let notes = match self.look().await {
            Ok(notes) => notes,
            Err(error) => {
                if !std::mem::replace(&mut self.was_gone, true) {
                    tracing::error!(
                        dir = %self.dir.display(),
                        error = %Chain(&error),
                        "the plugin folder cannot be read; its plugins go on to serve, and it is \
                         looked for"
                    );
                }
                return;
            }
        };
        if std::mem::take(&mut self.was_gone) {
            tracing::info!(dir = %self.dir.display(), "the plugin folder is there again");
        }
        notes.iter().for_each(tell);
        for (name, entry) in self.ledger.due() {
            // It is told, and looked at again when that may help.
            let _ = self.take(&name, entry).await;
        }
    }

    /// Looks into the folder, and takes in what it sees and heard.
    async fn look(&mut self) -> io::Result<Vec<Note>> {
        let (dir, ear) = (self.dir.clone(), Arc::clone(&self.ear));
        let mut eye = std::mem::take(&mut self.eye);
        // What happens between this and the scan is heard for the next look, and seen by this one.
        let heard = ear.take();
        let looked = tokio::task::spawn_blocking(move || {
            let scan = eye.look(&dir, &ear);
            (eye, scan)
        });
        let (eye, scan) = looked.await.expect("reading a directory does not panic");
        self.eye = eye;
        let scan = scan?;
        if scan.surplus > 0 && self.surplus == 0 {
            tracing::warn!(
                dir = %self.dir.display(),
                surplus = scan.surplus,
                "the plugin folder has more than {FILES_MAX} components; the last ones by name are not \
                 read: remove some"
            );
        }
        self.surplus = scan.surplus;
        Ok(self.ledger.look(scan, heard, Instant::now()))
    }

    /// Reads a file and delivers it. Why that failed is told in the log, too.
    async fn take(&mut self, name: &str, entry: Entry) -> Result<(), Error> {
        let complete = match self.read(name, entry).await {
            Ok(complete) => complete,
            Err(unread) => {
                let reason = Chain(&unread).to_string();
                if matches!(unread, Unread::Changed) {
                    self.ledger.unsettle(name, Instant::now());
                } else {
                    tell(&Note::Unusable(name.to_owned(), reason.clone()));
                    self.ledger.settle(name, None, None);
                }
                return Err(self.unusable(name, reason));
            }
        };
        let content = content(&complete);
        if self.ledger.is_known(name, &content) {
            return Ok(());
        }
        let error = match self.delivery.deliver(name, complete).await {
            Ok(delivered) => {
                self.settle(name, content, &delivered);
                return Ok(());
            }
            Err(error) => error,
        };
        if error.is_retryable() {
            let wait = self.ledger.retry(name, Instant::now());
            tracing::warn!(
                file = name,
                error = %Chain(&error),
                "the plugin cannot be taken now; it is tried again in {} s",
                wait.as_secs()
            );
        } else {
            tracing::error!(
                file = name,
                error = %Chain(&error),
                "the plugin is refused, and nothing has changed; it is looked at again when the \
                 file is another"
            );
            self.ledger.settle(name, Some(content), None);
        }
        Err(Error::Refused {
            path: self.dir.join(name),
            source: error,
        })
    }

    fn unusable(&self, name: &str, reason: String) -> Error {
        let path = self.dir.join(name);
        Error::UnusableFile { path, reason }
    }

    fn settle(&mut self, name: &str, content: ledger::Content, delivered: &Delivered) {
        delivered.tell(name);
        let plugin = delivered.plugin();
        self.ledger.settle(name, Some(content), Some(plugin));
    }

    async fn read(&self, name: &str, entry: Entry) -> Result<Complete, Unread> {
        let (dir, name, bytes_max) = (self.dir.clone(), name.to_owned(), self.bytes_max);
        let read = tokio::task::spawn_blocking(move || scan::read(&dir, &name, &entry, bytes_max));
        read.await.expect("reading a file does not panic")
    }
}

fn content(complete: &Complete) -> ledger::Content {
    let signature = complete.signature.as_ref();
    (
        Digest::of(&complete.bytes),
        signature.map(|signature| Digest::of(signature)),
    )
}

fn tell(note: &Note) {
    match note {
        Note::InPlace(name) => tracing::warn!(
            file = name,
            "a plugin is written in place and is not read, since a half-written one cannot be told \
             from a whole one; write it beside, as `{name}.partial`, and rename it"
        ),
        Note::Unusable(name, reason) => tracing::error!(
            file = name,
            reason,
            "a file of the plugin folder cannot be a plugin; it is looked at again when it is another"
        ),
        Note::Gone(name, plugin) => tracing::info!(
            file = name,
            plugin,
            "a file was removed from the plugin folder; its plugin stays until `conclave plugin remove \
             {plugin}`"
        ),
    }
}

#[cfg(test)]
mod tests;
