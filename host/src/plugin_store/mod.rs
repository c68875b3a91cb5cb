//! The plugins of this host: their components as files by digest, and the names that clients use.

mod catalogue;
mod files;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use conclave_core::channel::Asking;
use conclave_core::ids::Digest;
use conclave_core::plugin::{self, Assigned, Kind, Plugin, PluginChoice, Plugins};

use crate::wasm::{Components, Engine, NoBytes, Refusal};

use self::catalogue::Catalogue;
pub use self::catalogue::{Ambiguous, Listed, Origin};
pub use self::files::{ComponentFiles, FileError};

/// Name and bytes of each plugin in the box.
const BUILT_IN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

/// Finds plugins by name, and their components by digest.
///
/// A component stays on disk for as long as a name or a pinned session needs it
/// ([`PluginStore::retain`]), so an upgrade of the host or of a plugin ends no session.
#[derive(Debug)]
pub struct PluginStore {
    engine: Arc<Engine>,
    files: Arc<ComponentFiles>,
    catalogue: RwLock<Catalogue>,
}

/// Why plugins cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A component may not be a plugin.
    #[error("the plugin {origin} is refused: {refusal}")]
    Refused {
        /// Which.
        origin: Origin,
        /// Every reason.
        refusal: Refusal,
    },
    /// Two files are the same plugin.
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    /// A component's file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A directory or file of the operator cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl PluginStore {
    /// The store in a directory, which is made when it is missing. No name is known yet.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(dir: impl Into<PathBuf>, engine: Arc<Engine>) -> Result<Self, Error> {
        Ok(Self {
            engine,
            files: Arc::new(ComponentFiles::open(dir)?),
            catalogue: RwLock::default(),
        })
    }

    /// Loads the plugins in the box.
    ///
    /// # Errors
    /// When one cannot be kept.
    pub async fn load_built_in(&self) -> Result<(), Error> {
        for (_, bytes) in BUILT_IN {
            self.add(Arc::from(*bytes), Origin::BuiltIn).await?;
        }
        Ok(())
    }

    /// Loads every `*.wasm` of a directory of the operator's, in the order of their names.
    ///
    /// # Errors
    /// When the directory or a file cannot be read, a component is refused, or two of them are the
    /// same plugin in the same version.
    pub async fn load_dir(&self, dir: &Path) -> Result<Vec<Arc<Plugin>>, Error> {
        let mut loaded = Vec::new();
        for path in components_in(dir).await? {
            let bytes = tokio::fs::read(&path).await;
            let bytes = bytes.map_err(|source| Error::Unreadable {
                path: path.clone(),
                source,
            })?;
            loaded.push(self.add(bytes.into(), Origin::File(path)).await?);
        }
        Ok(loaded)
    }

    /// Checks a component, keeps it, and lists it under its name.
    ///
    /// # Errors
    /// When it is refused, cannot be kept, or is another component of a plugin and version that a
    /// file already holds. Nothing has changed then but that the file may be there.
    pub async fn add(&self, bytes: Arc<[u8]>, origin: Origin) -> Result<Arc<Plugin>, Error> {
        let checked = self.engine.check(Arc::clone(&bytes)).await;
        let checked = checked.map_err(|refusal| Error::Refused {
            origin: origin.clone(),
            refusal,
        })?;
        let size = bytes.len() as u64;
        let files = Arc::clone(&self.files);
        let kept = tokio::task::spawn_blocking(move || files.add(&bytes)).await;
        kept.expect("writing a file does not panic")?;
        let plugin = Arc::new(checked.plugin);
        let listed = Listed {
            plugin: Arc::clone(&plugin),
            origin,
            contract: checked.contract,
            bytes: size,
        };
        self.catalogue
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .add(listed)?;
        Ok(plugin)
    }

    /// Removes every component that neither has a name nor is pinned by an unfinished session, and
    /// returns the digests of what was removed.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn retain(&self, pinned: &BTreeSet<Digest>) -> Result<Vec<Digest>, FileError> {
        let mut kept = self.catalogue().digests();
        kept.extend(pinned);
        let removed = self.files.retain(&kept)?;
        for digest in &removed {
            self.engine.forget(digest);
        }
        Ok(removed)
    }

    /// Every plugin that can be named, by kind, name and version.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.catalogue().list()
    }

    fn catalogue(&self) -> std::sync::RwLockReadGuard<'_, Catalogue> {
        self.catalogue
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl plugin::Catalogue for PluginStore {
    async fn listed(&self) -> Vec<plugin::Listed> {
        let listed = self.list().into_iter();
        let told = listed.map(|listed| plugin::Listed {
            source: match &listed.origin {
                Origin::BuiltIn => plugin::Source::BuiltIn,
                // Where the operator keeps it is nobody's business.
                Origin::File(path) => {
                    let name = path.file_name().unwrap_or_default();
                    plugin::Source::File(name.to_string_lossy().into_owned())
                }
            },
            plugin: listed.plugin,
            contract: listed.contract.to_owned(),
            bytes: listed.bytes,
            added_at_ms: 0,
            added_by: String::new(),
            signed_by: None,
        });
        told.collect()
    }
}

#[async_trait]
impl Plugins for PluginStore {
    async fn resolve(
        &self,
        kind: Kind,
        choice: &PluginChoice,
    ) -> Result<Arc<Plugin>, plugin::Error> {
        self.catalogue().find(kind, choice)
    }

    async fn assign(
        &self,
        kind: Kind,
        choice: &PluginChoice,
        _asking: &Asking<'_>,
    ) -> Result<Assigned, plugin::Error> {
        let plugin = self.resolve(kind, choice).await?;
        Ok(Assigned { plugin, draw: None })
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

async fn components_in(dir: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let unreadable = |source| Error::Unreadable {
        path: dir.to_owned(),
        source,
    };
    let mut paths = BTreeSet::new();
    let mut entries = tokio::fs::read_dir(dir).await.map_err(unreadable)?;
    while let Some(entry) = entries.next_entry().await.map_err(unreadable)? {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            paths.insert(path);
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests;
