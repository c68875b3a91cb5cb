//! The port to whoever wants to know what deliberations do, and the events that they are told.
//!
//! Events are derived from the journal and from nothing else: the same entries always give the same
//! events, byte by byte, so that one that is published again is recognised by its key.

mod agents;
mod envelope;
mod extraction;
mod facts;
mod lifecycle;
mod time;

#[cfg(test)]
mod tests;

use async_trait::async_trait;

use crate::entry::{Accepted, Entry, Record};
use crate::ids::{DeliberationId, Digest, Seq, Tenant};

use self::envelope::Context;
pub use self::lifecycle::damaged;

/// Publishes events.
#[async_trait]
pub trait Events: Send + Sync {
    /// Publishes an event. When this has returned, the sink keeps it; it may be published again, and
    /// is the same event then by its key. Every wait is bounded.
    ///
    /// # Errors
    /// See [`Error`].
    async fn publish(&self, event: &Event) -> Result<(), Error>;
}

/// What a cause is.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may be later.
    #[error("the event sink is unavailable")]
    Unavailable(#[source] Source),
    /// It never will be.
    #[error("the event sink does not take an event of `{subject}`")]
    Refused {
        /// The event's subject.
        subject: String,
        /// Why.
        source: Source,
    },
}

impl Error {
    /// Whether the same event may be published later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Something that happened in a deliberation, as it is told to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The deliberation.
    pub deliberation: DeliberationId,
    /// The entry of its journal that the event tells of.
    pub seq: Seq,
    /// Whose it is.
    pub tenant: Tenant,
    /// Where it is published: tokens with dots between them.
    pub subject: String,
    /// What happened.
    pub event_type: &'static str,
    /// The idempotency key: no two events have the same, and one that is published again has it again.
    pub key: Digest,
    /// When it happened, as RFC 3339 says it.
    pub time: String,
    /// W3C trace context.
    pub traceparent: String,
    /// The envelope, as JSON.
    pub body: String,
}

/// Who publishes, as the envelope and the header `ce-source` say.
pub const PRODUCER: &str = "ray-executor";

impl Event {
    /// The message's headers, beside a sink's own: the trace context, and the attributes of
    /// CloudEvents 1.0 in binary mode.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, String); 8] {
        [
            ("traceparent", self.traceparent.clone()),
            ("ce-id", self.key.to_string()),
            ("ce-source", format!("/{PRODUCER}")),
            ("ce-type", self.event_type.to_owned()),
            ("ce-specversion", "1.0".to_owned()),
            ("ce-time", self.time.clone()),
            ("ce-subject", self.deliberation.to_string()),
            ("content-type", "application/json".to_owned()),
        ]
    }
}

/// Which entries are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// None.
    #[default]
    Nothing,
    /// The first attempt at a generation, and the end.
    Lifecycle,
    /// What plugins emit, besides.
    Progress,
}

impl Telling {
    /// Whether an event may come of an entry. Of attempts only the first of a deliberation is told.
    #[must_use]
    pub fn tells(self, entry: &Entry) -> bool {
        match entry {
            Entry::Attempt { .. } | Entry::Finished { .. } => self != Self::Nothing,
            Entry::Emitted { .. } => self == Self::Progress,
            _ => false,
        }
    }
}

/// The events of the records behind `after`, in order. `records` is the journal from its first record
/// on; the last events tell what all of it came to.
#[must_use]
pub fn of(records: &[Record], after: Seq, telling: Telling) -> Vec<Event> {
    let Some(accepted) = accepted(records) else {
        return Vec::new();
    };
    let mut events = Vec::new();
    let mut started = false;
    for record in records.iter().filter(|record| telling.tells(&record.entry)) {
        let is_start = matches!(record.entry, Entry::Attempt { .. }) && !started;
        started |= is_start;
        if record.seq <= after {
            continue;
        }
        let context = Context::new(accepted, record);
        match &record.entry {
            Entry::Attempt { .. } if is_start => events.push(lifecycle::started(&context)),
            Entry::Emitted { kind, payload, .. } => {
                events.push(lifecycle::progress(&context, kind, payload));
            }
            Entry::Finished { verdict, .. } => {
                events.extend(agents::responses(&context, records, verdict));
                events.push(lifecycle::ended(&context, verdict));
            }
            _ => {}
        }
    }
    events
}

fn accepted(records: &[Record]) -> Option<&Accepted> {
    match records.first().map(|record| &record.entry) {
        Some(Entry::Accepted(accepted)) => Some(accepted),
        _ => None,
    }
}
