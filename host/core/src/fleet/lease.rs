//! A server that a generation has for a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::Chain;
use crate::cluster::Placement;
use crate::endpoint::Endpoint;
use crate::ids::{DeliberationId, ModelName};
use crate::inference;
use crate::slots::Rank;

use super::breaker::Verdict;
use super::server::Grant;
use super::shared::Shared;

/// What a generation needs.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// The endpoint that the request names.
    pub endpoint: Option<&'a Endpoint>,
    /// Whose generation it is: those of one deliberation prefer one server.
    pub affinity: &'a DeliberationId,
    /// How much it takes at most: an estimate of its prompt, and what it may generate.
    pub tokens: u32,
    /// Before which others it is served.
    pub rank: Rank,
    /// Servers that were out of reach just now.
    pub except: &'a [Endpoint],
}

/// Room on a server for one generation. Dropping it gives the room back; a drop without
/// [`Lease::succeeded`] or [`Lease::failed`], as when a generation is cancelled, says nothing of the
/// server.
#[derive(Debug)]
#[must_use]
pub struct Lease {
    /// Where the generation goes.
    pub endpoint: Endpoint,
    /// The cluster that the server runs on, or whose executor sends the generation.
    pub cluster: Option<String>,
    /// The job that the server is, or the executor's.
    pub placement: Option<Placement>,
    /// Answers that one request may ask the server for.
    pub choices_max: usize,
    /// Whether the server heeds a request's priority.
    pub takes_priority: bool,
    /// Whether the server is one of the fleet's own, and not just named by the request.
    pub is_own: bool,
    hold: Hold,
}

/// Gives the room back when it is dropped.
struct Hold {
    shared: Arc<Shared>,
    grant: Grant,
    verdict: Verdict,
}

impl Lease {
    pub(super) fn new(shared: &Arc<Shared>, grant: Grant) -> Self {
        Self {
            endpoint: grant.endpoint.clone(),
            cluster: grant.cluster.clone(),
            placement: grant.placement.clone(),
            choices_max: grant.choices_max,
            takes_priority: grant.takes_priority,
            is_own: grant.is_own,
            hold: Hold {
                shared: Arc::clone(shared),
                grant,
                verdict: Verdict::Nothing,
            },
        }
    }

    /// The server answered.
    pub fn succeeded(mut self) {
        self.hold.verdict = Verdict::Succeeded;
    }

    /// The generation failed. Only what is the server's fault counts against it; a refusal shows that
    /// it is well.
    pub fn failed(mut self, error: &inference::Error) {
        self.hold.verdict = verdict(error);
    }
}

fn verdict(error: &inference::Error) -> Verdict {
    use inference::Error;

    match error {
        Error::UnknownModel { .. } | Error::Rejected { .. } => Verdict::Succeeded,
        // The server is well, and has too much to do.
        Error::NotAllowed { .. } | Error::NoServer { .. } | Error::Overloaded { .. } => {
            Verdict::Nothing
        }
        Error::Unavailable { .. }
        | Error::Stalled { .. }
        | Error::Protocol { .. }
        | Error::Interrupted { .. } => Verdict::Failed(Chain(error).to_string()),
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Self {
            shared,
            grant,
            verdict,
        } = self;
        shared.with(|state, now, served| {
            let Some(model) = state.release(grant, verdict, now) else {
                return;
            };
            state.serve(model, now, served);
            if matches!(verdict, Verdict::Failed(_)) {
                state.refuse(model, now, served);
            }
        });
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("grant", &self.grant)
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}

/// Why there is no server, and waiting for one is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoServer {
    /// The request names no endpoint, and the host serves no such model.
    #[error("the request names no endpoint, and the host serves no model `{model}`")]
    UnknownModel {
        /// The model.
        model: ModelName,
    },
    /// All servers are full, and so many wait that no more may.
    #[error("all servers of model `{model}` are full, and {queued} generations wait already")]
    Full {
        /// The model.
        model: ModelName,
        /// How many wait.
        queued: usize,
        /// When there may be room.
        retry_after: Duration,
    },
    /// No server takes anything, and none is expected soon.
    #[error("no server of model `{model}` is at work: {reason}")]
    Unavailable {
        /// The model.
        model: ModelName,
        /// Why not, for each.
        reason: String,
        /// When one may; `None` where all that there is fails again and again.
        retry_after: Option<Duration>,
    },
    /// The server that the request names has failed too often.
    #[error("{endpoint} is left alone after failures: {cause}")]
    LeftAlone {
        /// The server.
        endpoint: Endpoint,
        /// How it failed last.
        cause: String,
        /// When it is tried again.
        retry_after: Duration,
    },
}

impl NoServer {
    /// When it may be asked for again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::UnknownModel { .. } => None,
            Self::Full { retry_after, .. } | Self::LeftAlone { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Unavailable { retry_after, .. } => *retry_after,
        }
    }
}

/// As the generation's end.
impl From<NoServer> for inference::Error {
    fn from(error: NoServer) -> Self {
        let retry_after = error.retry_after();
        let (model, reason) = match error {
            NoServer::UnknownModel { model } => (
                model,
                "the request names no endpoint, and the host serves no such model".to_owned(),
            ),
            NoServer::Full { model, queued, .. } => (
                model,
                format!("all are full, and {queued} generations wait already"),
            ),
            NoServer::Unavailable { model, reason, .. } => (model, reason),
            // A failure of that server, as the ones before it.
            NoServer::LeftAlone {
                endpoint, cause, ..
            } => {
                return Self::Unavailable {
                    endpoint,
                    retry_after,
                    source: format!("left alone after failures: {cause}").into(),
                };
            }
        };
        Self::NoServer {
            model,
            reason,
            retry_after,
        }
    }
}
