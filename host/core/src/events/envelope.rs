//! What all events share: envelope, key, time, trace context, and the client's own references.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Event, PRODUCER, time};
use crate::entry::{Accepted, Record};
use crate::ids::{DeliberationId, Digest, Seq, Tenant};
use crate::task_type::TaskType;

/// One entry of a deliberation, about to be told.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) accepted: &'a Accepted,
    pub(super) seq: Seq,
    /// Milliseconds since acceptance.
    pub(super) at_ms: u64,
    /// When, as RFC 3339 says it.
    pub(super) time: String,
}

impl<'a> Context<'a> {
    pub(super) fn new(accepted: &'a Accepted, record: &Record) -> Self {
        Self {
            accepted,
            seq: record.seq,
            at_ms: record.at_ms,
            time: time::rfc3339(accepted.accepted_at_ms.saturating_add(record.at_ms)),
        }
    }

    /// The client's metadata under this key; empty and missing are the same.
    pub(super) fn metadata(&self, key: &str) -> Option<&'a str> {
        let metadata = &self.accepted.request.task.metadata;
        metadata
            .get(key)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// The task's id, the same in every event of the deliberation: `metadata.task_id` wins.
    pub(super) fn task_id(&self) -> &'a str {
        self.metadata("task_id")
            .unwrap_or(&self.accepted.request.task.id)
    }

    /// What kind of work it is.
    pub(super) fn task_type(&self) -> TaskType {
        let task = &self.accepted.request.task;
        TaskType::of(&task.id, &task.metadata)
    }

    /// The event itself. `distinction` is what makes its key unlike that of others of its type and
    /// deliberation: an agent, or a place in the journal.
    pub(super) fn event(
        &self,
        subject: impl Into<String>,
        event_type: &'static str,
        distinction: &str,
        payload: impl Serialize,
    ) -> Event {
        let accepted = self.accepted;
        let id = &accepted.id;
        let given = accepted.request.correlation_id.as_deref();
        let head = Head {
            deliberation: id,
            seq: self.seq,
            tenant: &accepted.tenant,
            time: &self.time,
            correlation_id: given.unwrap_or(id.as_str()),
            traceparent: accepted.traceparent.as_deref(),
        };
        head.event(subject.into(), event_type, distinction, payload)
    }
}

/// What an envelope says beside its payload.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) deliberation: &'a DeliberationId,
    pub(super) seq: Seq,
    pub(super) tenant: &'a Tenant,
    pub(super) time: &'a str,
    pub(super) correlation_id: &'a str,
    pub(super) traceparent: Option<&'a str>,
}

#[derive(Serialize)]
struct Envelope<'a, P> {
    event_type: &'static str,
    payload: P,
    idempotency_key: Digest,
    correlation_id: &'a str,
    timestamp: &'a str,
    producer: &'static str,
    metadata: Map<String, Value>,
}

impl Head<'_> {
    pub(super) fn event(
        &self,
        subject: String,
        event_type: &'static str,
        distinction: &str,
        payload: impl Serialize,
    ) -> Event {
        let key = key(event_type, self.deliberation, distinction);
        let envelope = Envelope {
            event_type,
            payload,
            idempotency_key: key,
            correlation_id: self.correlation_id,
            timestamp: self.time,
            producer: PRODUCER,
            metadata: Map::new(),
        };
        Event {
            deliberation: self.deliberation.clone(),
            seq: self.seq,
            tenant: self.tenant.clone(),
            subject,
            event_type,
            key,
            time: self.time.to_owned(),
            traceparent: traceparent(self.traceparent, self.deliberation),
            body: serde_json::to_string(&envelope)
                .expect("payloads have text keys and finite numbers"),
        }
    }
}

/// A digest of what makes the event what it is. The parts stand in a JSON array, so that no two lists
/// of parts look the same.
fn key(event_type: &str, deliberation: &DeliberationId, distinction: &str) -> Digest {
    crate::entry::digest_of(&(event_type, deliberation, distinction))
}

/// The client's trace context; without one, a trace of the deliberation's own that is not sampled, so
/// that its events still belong together.
fn traceparent(given: Option<&str>, deliberation: &DeliberationId) -> String {
    given.map_or_else(
        || {
            let digits = Digest::of(deliberation.as_str().as_bytes()).to_string();
            format!("00-{}-{}-00", &digits[..32], &digits[32..48])
        },
        str::to_owned,
    )
}
