//! The messages between host and executors, as `deploy/ray/PROTOCOL.md` has them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::settings::Bounds;
use crate::openai::Chunk;

/// The version of the messages that this host sends and understands.
pub(super) const VERSION: u32 = 1;

/// Work, without the body of its request.
#[derive(Debug, Serialize)]
struct WorkHead<'a> {
    v: u32,
    id: &'a str,
    endpoint: &'a str,
    headers: &'a BTreeMap<&'static str, String>,
    choices: usize,
    deadline_ms: u64,
    connect_timeout_ms: u64,
    first_byte_timeout_ms: u64,
    idle_timeout_ms: u64,
    answer_bytes_max: usize,
}

/// What a request for work is made of.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) id: &'a str,
    /// The base URL of the model server.
    pub(super) endpoint: &'a str,
    pub(super) headers: &'a BTreeMap<&'static str, String>,
    pub(super) choices: usize,
    /// What is left until the deadline.
    pub(super) timeout: Duration,
    pub(super) bounds: Bounds,
    /// JSON.
    pub(super) body: &'a [u8],
}

impl Work<'_> {
    /// The message.
    ///
    /// # Errors
    /// Never, as far as is known.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let deadline = now.unwrap_or_default().saturating_add(self.timeout);
        let head = WorkHead {
            v: VERSION,
            id: self.id,
            endpoint: self.endpoint,
            headers: self.headers,
            choices: self.choices,
            deadline_ms: ms(deadline),
            connect_timeout_ms: ms(self.bounds.connect_timeout),
            first_byte_timeout_ms: ms(self.bounds.first_byte_timeout),
            idle_timeout_ms: ms(self.bounds.idle_timeout),
            answer_bytes_max: self.bounds.answer_bytes_max,
        };
        let mut json = Vec::with_capacity(self.body.len() + 640);
        serde_json::to_writer(&mut json, &head)?;
        // The body is JSON already, with its fields in the order that matters to engines.
        let closed = json.pop();
        debug_assert_eq!(closed, Some(b'}'));
        json.extend_from_slice(b",\"body\":");
        json.extend_from_slice(self.body);
        json.push(b'}');
        Ok(json)
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where work runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Place {
    pub(super) submission_id: String,
    pub(super) actor: String,
    pub(super) node: String,
}

/// How work comes along.
#[derive(Debug, Deserialize)]
pub(super) struct Progress<'a> {
    #[serde(default)]
    pub(super) started: Option<Place>,
    #[serde(borrow, default)]
    pub(super) choices: Vec<Piece<'a>>,
}

/// What is new of one answer.
#[derive(Debug, Deserialize)]
pub(super) struct Piece<'a> {
    pub(super) index: usize,
    pub(super) tokens: u32,
    #[serde(borrow)]
    pub(super) text: Cow<'a, str>,
}

/// How work ended; which fields there are depends on the outcome.
#[derive(Debug, Deserialize)]
pub(super) struct ResultMessage<'a> {
    pub(super) v: u32,
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) answer: Option<Chunk<'a>>,
    #[serde(default)]
    pub(super) status: Option<u16>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) silence_ms: Option<u64>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) place: Option<Place>,
    #[serde(default)]
    pub(super) queued_ms: u64,
    #[serde(default)]
    pub(super) ran_ms: u64,
}

/// Only how work ended.
#[derive(Debug, Deserialize)]
struct OutcomeOnly<'a> {
    #[serde(borrow)]
    outcome: Cow<'a, str>,
}

/// Whether a result says that the work was ended before its end.
pub(super) fn is_cancelled(result: &[u8]) -> bool {
    has_outcome(result, "cancelled")
}

/// Whether a result says that the work went to the dead letters.
pub(super) fn is_dead(result: &[u8]) -> bool {
    has_outcome(result, "dead")
}

fn has_outcome(result: &[u8], outcome: &str) -> bool {
    let read = serde_json::from_slice::<OutcomeOnly<'_>>(result);
    read.is_ok_and(|result| result.outcome == outcome)
}

/// A question about work that was delivered again.
#[derive(Debug, Deserialize)]
pub(super) struct Ask<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Somebody waits for it.
    Run,
    /// It was given up.
    Drop,
}

impl Verdict {
    /// The answer to the question.
    pub(super) fn encode(self) -> &'static [u8] {
        match self {
            Self::Run => br#"{"v":1,"verdict":"run"}"#,
            Self::Drop => br#"{"v":1,"verdict":"drop"}"#,
        }
    }
}

/// Ends work before its end.
#[derive(Debug, Serialize)]
pub(super) struct Cancel<'a> {
    pub(super) v: u32,
    pub(super) ids: Vec<&'a str>,
}

/// An actor's sign of life.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Heartbeat {
    pub(super) queue: String,
    #[serde(flatten)]
    pub(super) place: Place,
    #[serde(default)]
    pub(super) node_ip: String,
    #[serde(default)]
    pub(super) slots: u32,
    #[serde(default)]
    pub(super) running: Vec<String>,
    #[serde(default)]
    pub(super) done: u64,
    #[serde(default)]
    pub(super) version: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn work_has_every_field_of_the_protocol() {
        let headers = BTreeMap::from([("x-request-id", "a".to_owned())]);
        let bounds = Bounds {
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(60),
            answer_bytes_max: 7,
        };
        let work = Work {
            id: "W",
            endpoint: "http://h:8000",
            headers: &headers,
            choices: 2,
            timeout: Duration::from_secs(30),
            bounds,
            body: br#"{"model":"m","z":1,"a":2}"#,
        };
        let message = work.encode().unwrap();
        let mut read: Value = serde_json::from_slice(&message).unwrap();
        let deadline = read["deadline_ms"].take().as_u64().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(deadline.abs_diff(ms(now) + 30_000) < 5_000, "{deadline}");
        assert_eq!(
            read,
            json!({
                "v": 1, "id": "W", "endpoint": "http://h:8000",
                "headers": {"x-request-id": "a"}, "choices": 2, "deadline_ms": null,
                "connect_timeout_ms": 5000, "first_byte_timeout_ms": 300_000,
                "idle_timeout_ms": 60_000, "answer_bytes_max": 7,
                "body": {"model": "m", "z": 1, "a": 2},
            })
        );
        let text = String::from_utf8(message).unwrap();
        assert!(
            text.contains(r#""z":1,"a":2"#),
            "the body is as it was: {text}"
        );
    }

    #[test]
    fn only_a_cancelled_result_is_cancelled() {
        assert!(is_cancelled(
            br#"{"v":1,"outcome":"cancelled","reason":"host"}"#
        ));
        for other in [&br#"{"v":1,"outcome":"answered"}"#[..], b"{", b""] {
            assert!(!is_cancelled(other));
        }
    }

    #[test]
    fn a_heartbeat_is_read_with_fields_that_nobody_knows() {
        let beat = json!({
            "v": 1, "queue": "pool", "submission_id": "s", "actor": "a", "node": "n",
            "node_ip": "10.0.0.7", "pid": 4711, "slots": 64, "running": ["W"], "done": 5,
            "version": "0.1.0", "new": {},
        });
        let beat: Heartbeat = serde_json::from_value(beat).unwrap();
        assert_eq!((beat.slots, beat.done), (64, 5));
        assert_eq!(beat.place.actor, "a");
    }
}
