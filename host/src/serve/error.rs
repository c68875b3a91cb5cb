//! Why a host does not start.

use std::net::SocketAddr;

use conclave_core::journal;

use crate::wasm::EngineError;
use crate::{access, arrivals, clusters, nats, openai, plugin_store, sqlite, tls};

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {addr}; set `{key}` to another address")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// The setting that it comes from.
        key: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A socket that was bound has no address.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Connections cannot be encrypted.
    #[error("cannot set up TLS")]
    Tls(#[from] tls::Error),
    /// Callers cannot be checked.
    #[error("cannot set up access control")]
    Access(#[from] access::Error),
    /// The journal cannot be opened.
    #[error("cannot open the journal")]
    Journal(#[from] sqlite::OpenError),
    /// The journal cannot be read.
    #[error("cannot read what the last run did not finish")]
    Recovery(#[from] journal::Error),
    /// The plugin engine does not start.
    #[error("cannot start the plugin engine")]
    Engine(#[from] EngineError),
    /// Plugins cannot be loaded.
    #[error("cannot load the plugins")]
    Plugins(#[from] plugin_store::Error),
    /// The plugins of the operator's folder cannot be loaded.
    #[error("cannot load the plugins of `plugins.dir`")]
    Folder(#[from] arrivals::folder::Error),
    /// The adapter of registries cannot be made.
    #[error("cannot import plugins from registries")]
    Oci(#[from] arrivals::oci::InvalidSettings),
    /// A plugin that the settings name is not there.
    #[error("`{key}` names a plugin that is not loaded")]
    NamedPlugin {
        /// The setting.
        key: String,
        /// What is there instead.
        source: conclave_core::plugin::Error,
    },
    /// Params that the settings hold do not fit their plugin.
    #[error("params do not fit their plugin: {}", .0.join("; "))]
    NamedParams(Vec<String>),
    /// Events cannot be published with these settings.
    #[error("cannot publish events; see `[events]` in the configuration")]
    Events(#[from] nats::InvalidSettings),
    /// Clusters cannot be used.
    #[error("cannot use the Ray clusters; see `[[clusters]]` in the configuration")]
    Clusters(#[from] clusters::Error),
    /// The adapter of model servers cannot be made.
    #[error("cannot call model servers")]
    Inference(#[from] openai::InvalidSettings),
}
