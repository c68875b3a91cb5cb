//! The port to where generations run.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::cluster::Placement;
use crate::endpoint::Endpoint;
use crate::execution::Execution;
use crate::generation::{Generation, Message, Sampling};
use crate::ids::{DeliberationId, JobId, ModelName};
use crate::live::lock;
use crate::slots::Rank;
use crate::wave::Wave;

/// Names one attempt at a generation, for a backend's own deduplication and logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttemptId {
    /// The deliberation.
    pub deliberation: DeliberationId,
    /// Its generation.
    pub job: JobId,
    /// From 1.
    pub attempt: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.deliberation, self.job, self.attempt)
    }
}

/// One call to a language model.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which attempt it is.
    pub id: AttemptId,
    /// How many attempts failed before it. Attempts that only a restart of the host separates have the
    /// same number.
    pub retries: u32,
    /// What its plugin asked for together with it.
    pub wave: Arc<Wave>,
    /// How it reaches an engine.
    pub execution: Execution,
    /// Where the model is served; `None` where the host itself serves it.
    pub endpoint: Option<Endpoint>,
    /// Which model.
    pub model: ModelName,
    /// The prompt.
    pub messages: Arc<[Message]>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// What is left until the generation's or the deliberation's deadline. The session enforces it;
    /// an adapter may tell the engine.
    pub timeout: Duration,
    /// Before which others it should be worked on.
    pub rank: Rank,
    /// W3C trace context of the deliberation's submit.
    pub traceparent: Option<String>,
    /// What tracing systems of the client add to it.
    pub tracestate: Option<String>,
}

impl Request {
    /// Names the work, for backends that outlive the host: what a restart sends again has the same
    /// name, and what is tried again because it failed has another.
    #[must_use]
    pub fn work_id(&self) -> String {
        work_id(&self.id.deliberation, self.id.job, self.retries)
    }
}

/// As [`Request::work_id`], of a generation before whose next attempt so many have failed.
#[must_use]
pub fn work_id(deliberation: &DeliberationId, job: JobId, retries: u32) -> String {
    format!("{deliberation}-{job}-{retries}")
}

/// Receives the tokens of one attempt while they come.
pub struct Progress {
    tokens: AtomicU32,
    placement: Mutex<Option<Arc<Placement>>>,
    sink: Box<dyn Fn(&str) + Send + Sync>,
}

impl Progress {
    /// Calls `sink` with each piece of text.
    pub fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            tokens: AtomicU32::new(0),
            placement: Mutex::default(),
            sink: Box::new(sink),
        }
    }

    /// Counts tokens and shows them to nobody.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    /// One token, or a few that came together, of the answer.
    pub fn token(&self, text: &str) {
        self.tokens_came(1, text);
    }

    /// As [`Progress::token`], for so many that came together.
    pub fn tokens_came(&self, count: u32, text: &str) {
        self.tokens.fetch_add(count, Ordering::Relaxed);
        (self.sink)(text);
    }

    /// Tells where the attempt runs now.
    pub fn placed(&self, placement: Placement) {
        *lock(&self.placement) = Some(Arc::new(placement));
    }

    /// Where it runs, where that is known.
    #[must_use]
    pub fn placement(&self) -> Option<Arc<Placement>> {
        lock(&self.placement).clone()
    }

    /// Tokens so far.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.tokens.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

/// Runs generations on language models.
///
/// Dropping the returned future aborts the generation in the engine, not only the wait. An
/// implementation bounds its own time and never retries (but once on a pooled connection that died
/// before any byte): retrying is the session's decision.
#[async_trait]
pub trait Inference: Send + Sync {
    /// Runs one generation and reports its tokens while they come.
    async fn generate(&self, request: &Request, progress: &Progress) -> Result<Generation, Error>;
}

/// What lies behind an [`Error`].
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a generation did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server does not know the model.
    #[error("model `{model}` is not served at {endpoint}: {message}")]
    UnknownModel {
        /// The model.
        model: ModelName,
        /// The server.
        endpoint: Endpoint,
        /// What the server said.
        message: String,
    },
    /// The server will never accept the request.
    #[error("{endpoint} rejected the request with status {status}: {message}")]
    Rejected {
        /// The server.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
        /// What the server said.
        message: String,
    },
    /// The host may not call the endpoint.
    #[error("{endpoint} may not be called: {reason}")]
    NotAllowed {
        /// The server.
        endpoint: Endpoint,
        /// Which rule forbids it.
        reason: String,
    },
    /// Nothing that serves the model can take the request now; it was not sent.
    #[error("no server of model `{model}` can take the request: {reason}")]
    NoServer {
        /// The model.
        model: ModelName,
        /// Why none can.
        reason: String,
        /// When to ask again, where one may be able to later: that is waiting, and no attempt.
        retry_after: Option<Duration>,
    },
    /// The server has too much to do.
    #[error("{endpoint} is overloaded (status {status})")]
    Overloaded {
        /// The server.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
        /// When the server asks to be called again.
        retry_after: Option<Duration>,
    },
    /// The server cannot be reached, or failed.
    #[error("{endpoint} is unavailable")]
    Unavailable {
        /// The server.
        endpoint: Endpoint,
        /// When the server asks to be called again.
        retry_after: Option<Duration>,
        /// What happened.
        #[source]
        source: Source,
    },
    /// The server did not answer, or stopped sending, for too long.
    #[error("{endpoint} sent nothing for {} s", .silence.as_secs())]
    Stalled {
        /// The server.
        endpoint: Endpoint,
        /// For how long.
        silence: Duration,
    },
    /// The server answered what no model server should.
    #[error("{endpoint} gave an answer that is no chat completion: {reason}")]
    Protocol {
        /// The server.
        endpoint: Endpoint,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer ended in its middle.
    #[error("the stream of {endpoint} ended before the answer was complete")]
    Interrupted {
        /// The server.
        endpoint: Endpoint,
        /// What happened, where it is known.
        #[source]
        source: Option<Source>,
    },
}

impl Error {
    /// Whether another attempt may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoServer { .. }
            | Self::Overloaded { .. }
            | Self::Unavailable { .. }
            | Self::Stalled { .. }
            | Self::Interrupted { .. } => true,
            Self::UnknownModel { .. }
            | Self::Rejected { .. }
            | Self::NotAllowed { .. }
            | Self::Protocol { .. } => false,
        }
    }

    /// Whether the request was not sent, and only has to wait until it can be.
    #[must_use]
    pub fn is_wait(&self) -> bool {
        matches!(
            self,
            Self::NoServer {
                retry_after: Some(_),
                ..
            }
        )
    }

    /// The variant's name, for metrics and traces.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "unknown_model",
            Self::Rejected { .. } => "rejected",
            Self::NotAllowed { .. } => "not_allowed",
            Self::NoServer { .. } => "no_server",
            Self::Overloaded { .. } => "overloaded",
            Self::Unavailable { .. } => "unavailable",
            Self::Stalled { .. } => "stalled",
            Self::Protocol { .. } => "protocol",
            Self::Interrupted { .. } => "interrupted",
        }
    }

    /// When the server asks to be called again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoServer { retry_after, .. }
            | Self::Overloaded { retry_after, .. }
            | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
