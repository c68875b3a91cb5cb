//! The plugins of this host: their components as files by digest, the registry of what names stand for,
//! and the table that every submit reads.
//!
//! A change is kept in the registry's file first and shown in the table then, each as a whole: who reads
//! never waits, and a crash leaves the state before or the state after. Bytes are written before anything
//! points to them, and deleted when nothing does.

mod built_in;
mod canaries;
mod database;
mod files;
mod orders;
mod publish;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use conclave_core::canary::{ErrorRate, Watch};
use conclave_core::chain::Chain;
use conclave_core::channel::{Asking, PluginName};
use conclave_core::clock::Clock;
use conclave_core::ids::Digest;
use conclave_core::plugin::{
    self, Assigned, Catalogue, Kind, Listed, Plugin, PluginChoice, Plugins, Source,
};
use conclave_core::registry;
use tokio::sync::Semaphore;

use crate::signature::Policy;
use crate::sqlite::open_private;
use crate::wasm::{ComponentError, Components, Engine, NoBytes};

use self::database::{Database, Step};
use self::table::{Entry, Table};

pub use self::built_in::built_in;
pub use self::database::Error as DatabaseError;
pub use self::files::{ComponentFiles, FileError};

/// The registry's file, beside the components.
const REGISTRY: &str = "registry.sqlite";

/// Components that are checked at once or wait for it; one more is refused.
const ARRIVING_MAX: usize = 8;

/// How long the bytes of a removed component stay at least: a submit that was given it just before has
/// become a deliberation that holds it by then.
const REMOVED_KEPT: Duration = Duration::from_secs(60);

/// What the operator has decided about plugins that arrive.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Canaries that are no worse than stable are found worse at this rate.
    pub error_rate: ErrorRate,
    /// Whose signatures count, and what becomes of a plugin without one.
    pub signatures: Policy,
    /// What the settings name, which is not removed.
    pub named: Vec<Named>,
}

/// A plugin that the settings name.
#[derive(Clone, Debug)]
pub struct Named {
    /// Which kind it is.
    pub kind: Kind,
    /// Which plugin.
    pub choice: PluginChoice,
    /// The setting's key.
    pub key: String,
}

/// Keeps plugins and finds them.
pub struct PluginStore {
    engine: Arc<Engine>,
    files: Arc<ComponentFiles>,
    database: Arc<Mutex<Database>>,
    table: ArcSwap<Table>,
    clock: Clock,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    arriving: Semaphore,
    /// Judges canaries by how deliberations end.
    watch: Arc<Watch>,
    rules: Rules,
    removed: Mutex<BTreeMap<Digest, Instant>>,
}

impl std::fmt::Debug for PluginStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginStore")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Why plugins cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry cannot be used.
    #[error("cannot use the registry of plugins `{path}`")]
    Registry {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: DatabaseError,
    },
    /// A plugin cannot be taken.
    #[error("cannot load the plugin {origin}")]
    Plugin {
        /// Which.
        origin: String,
        /// Why not.
        source: registry::Error,
    },
    /// A component's file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The registry's file cannot be opened.
    #[error("cannot open `{path}`")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl PluginStore {
    /// The store in a directory, which is made when it is missing, with what it held before.
    ///
    /// # Errors
    /// When the directory or the registry in it cannot be used.
    pub fn open(dir: impl Into<PathBuf>, engine: Arc<Engine>, rules: Rules) -> Result<Self, Error> {
        let dir = dir.into();
        let files = ComponentFiles::open(&dir)?;
        let path = dir.join(REGISTRY);
        let unreadable = |source| Error::Unreadable {
            path: path.clone(),
            source,
        };
        open_private(&path).map_err(unreadable)?;
        let failed = |source| Error::Registry {
            path: path.clone(),
            source,
        };
        let database = Database::open(&path).map_err(failed)?;
        let table = database.load().map_err(failed)?;
        let trials = database.evidence().map_err(failed)?;
        let watch = Arc::new(Watch::default());
        canaries::watch_all(&watch, &table, trials, rules.error_rate);
        Ok(Self {
            engine,
            files: Arc::new(files),
            database: Arc::new(Mutex::new(database)),
            table: ArcSwap::from_pointee(table),
            clock: Clock::system(),
            changing: tokio::sync::Mutex::new(()),
            arriving: Semaphore::new(ARRIVING_MAX),
            watch,
            rules,
            removed: Mutex::default(),
        })
    }

    /// A copy of the store of a host, which may run, with its names and components.
    ///
    /// # Errors
    /// When one of the directories cannot be used.
    pub fn copy_of(
        dir: &Path,
        to: impl Into<PathBuf>,
        engine: Arc<Engine>,
        rules: Rules,
    ) -> Result<Self, Error> {
        let to = to.into();
        let registry = dir.join(REGISTRY);
        if registry.is_file() {
            let copied = Database::copy(&registry, &to.join(REGISTRY));
            copied.map_err(|source| Error::Registry {
                path: registry,
                source,
            })?;
        }
        Self::open(to, engine, rules)
    }

    /// Makes ready to run whatever serves or is tried, so that no request waits for it. One that cannot
    /// be made ready is told in the log: deliberations that are pinned to it fail.
    pub async fn warm(&self) {
        let table = self.table.load_full();
        for digest in table.pointed() {
            let Some((name, listed)) = table.find(&digest) else {
                continue;
            };
            let reference = &listed.plugin.reference;
            if let Err(reason) = self.trusted(listed) {
                tracing::error!(
                    plugin = %reference, kind = %name.kind, %digest, reason,
                    "a plugin serves that could not be promoted now; promote a signed version"
                );
            }
            if let Err(error) = self.ready(digest).await {
                tracing::error!(
                    plugin = %reference, kind = %name.kind, %digest, error = %Chain(&error),
                    "a plugin that serves cannot be run; promote another version"
                );
            }
        }
    }

    /// Whether the operator's rule of signatures, as it is now, lets a component serve that arrived under
    /// another; why not.
    fn trusted(&self, listed: &Listed) -> Result<(), String> {
        let signer = listed.signed_by.as_deref();
        if listed.source == Source::BuiltIn || self.rules.signatures.still_admits(signer) {
            return Ok(());
        }
        let reference = &listed.plugin.reference;
        Err(match signer {
            None => format!(
                "{reference} arrived without a signature, and `plugins.signatures` requires one; sign it, \
                 remove it and push it again, or push a signed version"
            ),
            Some(key) => format!(
                "{reference} is signed by key {key}, which `plugins.trusted_keys` does not list; sign it \
                 with a trusted key, remove it and push it again, or push a signed version"
            ),
        })
    }

    /// Has the component compiled and in memory.
    async fn ready(&self, digest: Digest) -> Result<(), registry::Error> {
        let files = Arc::clone(&self.files);
        let bytes = tokio::task::spawn_blocking(move || files.get(&digest)).await;
        let bytes = bytes.expect("reading a file does not panic");
        let bytes = bytes.map_err(|error| match error {
            FileError::Io { .. } => registry::Error::Unavailable(error.into()),
            FileError::Missing { .. } | FileError::Damaged { .. } => {
                registry::Error::Refused(vec![error.to_string()])
            }
        })?;
        let warmed = self.engine.warm(digest, bytes.into()).await;
        warmed.map_err(not_ready)
    }

    /// Deletes the bytes of every component that has no name, is held by no deliberation of `held`, and
    /// was not removed just now; the digests of what was deleted.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub async fn sweep(&self, held: &BTreeSet<Digest>) -> Result<Vec<Digest>, FileError> {
        let _changing = self.changing.lock().await;
        let mut kept = self.table.load().digests();
        kept.extend(held);
        {
            let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
            removed.retain(|_, at| at.elapsed() < REMOVED_KEPT);
            kept.extend(removed.keys());
        }
        let files = Arc::clone(&self.files);
        let deleted = tokio::task::spawn_blocking(move || files.retain(&kept)).await;
        let deleted = deleted.expect("deleting files does not panic")?;
        for digest in &deleted {
            self.engine.forget(digest);
        }
        Ok(deleted)
    }

    /// Every plugin that can be named, by kind, name and version.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.table.load().list()
    }

    /// Keeps a step, and shows the entry that it leads to.
    async fn commit(&self, step: OwnedStep, entry: Entry) -> Result<(), registry::Error> {
        let OwnedStep {
            name,
            added,
            removed,
            changes,
        } = step;
        let channels = (!entry.components.is_empty()).then(|| entry.channels.clone());
        let canary = entry.channels.canary.as_ref().map(|canary| canary.since);
        let database = Arc::clone(&self.database);
        let of = name.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let mut step = Step {
                name: &of,
                added: added.as_ref(),
                removed,
                channels: channels.as_ref(),
                changes,
            };
            let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
            database.keep(&mut step)
        });
        let kept = kept.await.expect("the registry's file does not panic");
        kept.map_err(|error| registry::Error::Unavailable(error.into()))?;
        canaries::watch(&self.watch, &name, canary, self.rules.error_rate);
        let table = self.table.load().with(name, entry);
        self.table.store(Arc::new(table));
        Ok(())
    }
}

/// What the registry says of a component that is not made ready: what only this host lacks now is no
/// fault of the component's.
fn not_ready(error: ComponentError) -> registry::Error {
    match error {
        ComponentError::Refused(refusal) => registry::Error::Refused(refusal.reasons),
        not_now @ ComponentError::NotNow(_) => registry::Error::Unavailable(not_now.into()),
    }
}

/// A [`Step`] that moves to the thread that keeps it.
#[derive(Debug)]
struct OwnedStep {
    name: PluginName,
    added: Option<Listed>,
    removed: Option<Digest>,
    changes: Vec<registry::Change>,
}

#[async_trait]
impl Catalogue for PluginStore {
    async fn listed(&self) -> Vec<Listed> {
        self.list()
    }
}

#[async_trait]
impl Plugins for PluginStore {
    async fn resolve(
        &self,
        kind: Kind,
        choice: &PluginChoice,
    ) -> Result<Arc<Plugin>, plugin::Error> {
        let table = self.table.load();
        let listed = table.resolve(kind, choice)?;
        Ok(Arc::clone(&listed.plugin))
    }

    async fn assign(
        &self,
        kind: Kind,
        choice: &PluginChoice,
        asking: &Asking<'_>,
    ) -> Result<Assigned, plugin::Error> {
        self.table.load().assign(kind, choice, asking)
    }
}

impl Components for PluginStore {
    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, NoBytes> {
        self.files.get(digest).map_err(|error| match error {
            FileError::Io { .. } => NoBytes::Unreadable(error.into()),
            FileError::Missing { .. } | FileError::Damaged { .. } => NoBytes::Gone(error.into()),
        })
    }
}

#[cfg(test)]
mod tests;
