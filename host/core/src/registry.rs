//! The port to the registry of plugins: how they arrive, how operators point names at them, and what
//! is remembered of that.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::channel::{Canary, CanaryRule, Channels, Order, PluginName, Refused, Share};
use crate::ids::Digest;
use crate::plugin::{Kind, Listed, PluginChoice, Source};

/// A component that arrives.
#[derive(Clone)]
pub struct Arrival {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// The detached signature that came with it, as its file holds it.
    pub signature: Option<Vec<u8>>,
    /// Where it comes from.
    pub source: Source,
    /// Who brings it; empty for the host itself.
    pub by: String,
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("bytes", &self.bytes.len())
            .field("source", &self.source)
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

/// What became of an arrival.
#[derive(Clone, Debug)]
pub struct Published {
    /// The plugin as it is listed from now on.
    pub listed: Listed,
    /// Whether these bytes were there before; nothing has changed then.
    pub known: bool,
    /// Whether it serves its name now, because it is the first of it.
    pub serves: bool,
    /// What an operator should know although it was taken, a sentence each.
    pub warnings: Vec<String>,
}

/// What changed a name, as history tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A component arrived.
    Added,
    /// A component became stable.
    Promoted,
    /// A component is tried, or its share or rules changed.
    Canary,
    /// The canary ended, or what was stable before is again.
    RolledBack,
    /// A component was removed.
    Removed,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] = [
        Self::Added,
        Self::Promoted,
        Self::Canary,
        Self::RolledBack,
        Self::Removed,
    ];

    /// The action of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }

    /// The action as a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Promoted => "promoted",
            Self::Canary => "canary",
            Self::RolledBack => "rolled_back",
            Self::Removed => "removed",
        }
    }
}

/// One change of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the history of the host, from 1, rising.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who; empty for the host itself.
    pub by: String,
    /// Of what.
    pub name: PluginName,
    /// What.
    pub action: Action,
    /// The component that it is about; for a rollback the one that serves no more.
    pub digest: Digest,
    /// The version of that component, as it calls itself.
    pub version: String,
    /// The component that was stable before.
    pub stable_before: Option<Digest>,
    /// The component that is stable after.
    pub stable_after: Option<Digest>,
    /// The canary's share after.
    pub share: Option<Share>,
    /// Why, in the words of who did it; may be empty.
    pub reason: String,
}

/// A name, and what it stands for.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub name: PluginName,
    /// What it stands for.
    pub channels: Channels,
    /// What was seen of the canary, in a sentence; `None` without a canary.
    pub evidence: Option<String>,
}

impl Named {
    /// The canary, if there is one.
    #[must_use]
    pub fn canary(&self) -> Option<&Canary> {
        self.channels.canary.as_ref()
    }
}

/// Who wants something, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct By {
    /// Who; empty for the host itself.
    pub who: String,
    /// Why; may be empty.
    pub reason: String,
    /// The revision of the channels that the order was made for; `None` for whatever it is now.
    pub revision: Option<u64>,
}

/// A wish of an operator, which names components as people do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The component becomes stable; by a bare name, the canary does.
    Promote(PluginChoice),
    /// The component is tried; by a bare name, the one that arrived last.
    Canary {
        /// Which.
        choice: PluginChoice,
        /// The share of what no rule matches.
        share: Share,
        /// Others' shares.
        rules: Vec<CanaryRule>,
    },
    /// The canary ends; where there is none, what was stable before is again.
    Rollback(String),
}

impl Wish {
    /// The name that it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Promote(choice) | Self::Canary { choice, .. } => &choice.name,
            Self::Rollback(name) => name,
        }
    }

    /// The order when the choice stands for this component.
    #[must_use]
    pub fn order(self, digest: Option<Digest>) -> Option<Order> {
        Some(match self {
            Self::Promote(_) => Order::Promote(digest),
            Self::Canary { share, rules, .. } => Order::Canary {
                digest: digest?,
                share,
                rules,
            },
            Self::Rollback(_) => Order::Rollback,
        })
    }
}

/// Which changes are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Those of this name only.
    pub name: Option<PluginName>,
    /// Those before this number only.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// Takes plugins, and points names at them.
///
/// What a method has answered is durable. A refusal has changed nothing; a crash leaves the state
/// before or the state after.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Checks a component, compiles it and lists it. It serves its name only if it is the first of it.
    ///
    /// # Errors
    /// [`Error::Refused`] with every reason, [`Error::VersionTaken`], [`Error::Busy`],
    /// [`Error::Unavailable`].
    async fn publish(&self, arrival: Arrival) -> Result<Published, Error>;

    /// What [`Registry::publish`] would answer, as things are now. It changes nothing.
    ///
    /// # Errors
    /// Those of [`Registry::publish`].
    async fn check(&self, arrival: Arrival) -> Result<Published, Error>;

    /// Does what an operator wants of a name. Deliberations that run are not touched; those that
    /// are accepted from now on follow it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Order`], [`Error::Unavailable`]; [`Error::Refused`] for a component
    /// that may not serve.
    async fn order(&self, kind: Kind, wish: Wish, by: By) -> Result<Named, Error>;

    /// Removes a component that no channel points to. Deliberations that run on it go on; its bytes
    /// are deleted when the last of them has ended.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Order`], [`Error::Named`].
    async fn remove(&self, digest: Digest, by: By) -> Result<Listed, Error>;

    /// What every name stands for, by kind and name.
    async fn names(&self) -> Vec<Named>;

    /// Changes of names, latest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn history(&self, query: HistoryQuery) -> Result<Vec<Change>, Error>;
}

/// Why the registry did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The component may not be a plugin.
    #[error("the component is refused: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// Other bytes have the name and version already.
    #[error("{name} {version} is already sha256:{}; a version never changes, raise it", .taken.short())]
    VersionTaken {
        /// The name.
        name: PluginName,
        /// The version.
        version: String,
        /// What it stands for.
        taken: Digest,
    },
    /// No plugin of this name, version or digest is there.
    #[error(transparent)]
    NotFound(#[from] crate::plugin::Error),
    /// No component with this digest is there.
    #[error("no plugin sha256:{0} is here")]
    NoSuchDigest(Digest),
    /// The order does not fit what the name stands for.
    #[error("{name} {refused}")]
    Order {
        /// The name.
        name: PluginName,
        /// Why not.
        refused: Refused,
    },
    /// The configuration names the component, so the host could not start without it.
    #[error("{plugin} is what the setting `{setting}` names; name another one there first")]
    Named {
        /// Which.
        plugin: String,
        /// The setting.
        setting: String,
    },
    /// Others' components are being checked.
    #[error("{0} components wait to be checked, no more are taken; try again later")]
    Busy(usize),
    /// The storage does not answer, or is full; or the component cannot be read or compiled now, for no
    /// fault of its own.
    #[error("the registry of plugins is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A component that was fetched from elsewhere.
#[derive(Clone)]
pub struct Fetched {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// The detached signature that lies beside it, as its file holds it.
    pub signature: Option<Vec<u8>>,
    /// Where it was, with the digest that it was found by.
    pub reference: String,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("bytes", &self.bytes.len())
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

/// Fetches components from where they are published.
///
/// Implementations bound their own time and the bytes that they take.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The component that a reference names.
    ///
    /// # Errors
    /// See [`FetchError`].
    async fn fetch(&self, reference: &str) -> Result<Fetched, FetchError>;
}

/// Why a component was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The reference names no component; what is wrong with it.
    #[error("the reference {0}")]
    Reference(String),
    /// Nothing is there.
    #[error("no `{0}` is there")]
    NotFound(String),
    /// The host may not fetch from there, or not this; why not.
    #[error("{0}")]
    NotAllowed(String),
    /// It is larger than a component may be.
    #[error("the component is larger than {bytes_max} bytes")]
    TooLarge {
        /// Bytes that a component may have.
        bytes_max: u64,
    },
    /// Nobody answers there, or not in time.
    #[error("the component cannot be fetched now")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unavailable(_))
    }
}
