//! The port to what runs plugins.

use async_trait::async_trait;

use crate::outcome::{Candidate, Cause, CauseKind, Proposal, Score};
use crate::plugin::PluginRef;
use crate::session::Guest;

/// What a plugin is given: the task with only the metadata that the operator allows, and its params.
#[derive(Clone, Debug)]
pub struct PluginTask {
    /// The task; its metadata is already reduced.
    pub task: crate::request::Task,
    /// A JSON object, checked against the plugin's schema.
    pub params: String,
}

/// Runs plugins, each call in a fresh instance.
///
/// All that the plugin does goes through `guest`; when a method of it answers
/// [`Stopped`](crate::session::Stopped), the instance must be ended. Dropping the future ends it too.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Runs a strategy to its end.
    async fn deliberate(
        &self,
        strategy: &PluginRef,
        task: PluginTask,
        guest: Guest,
    ) -> Result<Proposal, Error>;

    /// Runs a scorer to its end.
    async fn evaluate(
        &self,
        scorer: &PluginRef,
        task: PluginTask,
        candidates: Vec<Candidate>,
        guest: Guest,
    ) -> Result<Vec<Score>, Error>;
}

/// Why a plugin gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plugin returned its contract's error string.
    #[error("{0}")]
    Refused(String),
    /// It trapped.
    #[error("trapped: {0}")]
    Trapped(String),
    /// It exceeded a limit.
    #[error("exceeded the limit `{limit}`: {detail}")]
    LimitExceeded {
        /// The limit's name in the configuration.
        limit: &'static str,
        /// The bound, with its unit.
        detail: String,
    },
    /// It cannot be loaded.
    #[error("cannot be loaded")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A call of it was answered [`Stopped`](crate::session::Stopped).
    #[error("stopped by the session")]
    Stopped,
}

impl Error {
    /// The cause that this error is of a deliberation's failure; `who` names the plugin.
    #[must_use]
    pub fn cause(&self, who: &str) -> Cause {
        let kind = match self {
            Self::Refused(_) => CauseKind::StrategyFailed,
            Self::Trapped(_) | Self::Stopped => CauseKind::PluginTrapped,
            Self::LimitExceeded { .. } => CauseKind::PluginLimitExceeded,
            Self::Unavailable(source) => {
                return Cause::new(
                    CauseKind::PluginUnavailable,
                    format!("{who} {self}: {source}"),
                );
            }
        };
        Cause::new(kind, format!("{who} {self}"))
    }
}
