//! That a deliberation started, told something, and ended.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::envelope::{Context, Head};
use super::{Event, time};
use crate::ids::{DeliberationId, Seq, Tenant};
use crate::outcome::{Outcome, Verdict};

#[derive(Serialize)]
struct Payload<'a> {
    deliberation_id: &'a str,
    task_id: &'a str,
    status: &'static str,
    timestamp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Winner<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

#[derive(Serialize)]
struct Winner<'a> {
    agent_id: &'a str,
    proposal: &'a str,
    reasoning: &'a str,
    score: f64,
    metadata: BTreeMap<&'a str, String>,
}

impl<'a> Payload<'a> {
    fn new(context: &'a Context<'_>, status: &'static str) -> Self {
        Self {
            deliberation_id: context.accepted.id.as_str(),
            task_id: context.task_id(),
            status,
            timestamp: &context.time,
            result: None,
            error: None,
            kind: None,
            data: None,
        }
    }
}

/// That the first generation is sent.
pub(super) fn started(context: &Context<'_>) -> Event {
    let payload = Payload::new(context, "started");
    let (subject, event_type) = ("ray.deliberation.started", "deliberation.started");
    context.event(subject, event_type, "", payload)
}

/// What a plugin told watchers.
pub(super) fn progress(context: &Context<'_>, kind: &str, data: &str) -> Event {
    let mut payload = Payload::new(context, "running");
    payload.kind = Some(kind);
    let parsed = serde_json::from_str(data);
    payload.data = Some(parsed.unwrap_or_else(|_| Value::String(data.to_owned())));
    let subject = format!("conclave.progress.{}", token(kind));
    let place = context.seq.to_string();
    context.event(subject, "deliberation.progress", &place, payload)
}

/// How it ended.
pub(super) fn ended(context: &Context<'_>, verdict: &Verdict) -> Event {
    if let Verdict::Completed(outcome) = verdict {
        let mut payload = Payload::new(context, "completed");
        payload.result = Some(winner(context, outcome));
        return context.event(COMPLETED.0, COMPLETED.1, "", payload);
    }
    let mut payload = Payload::new(context, "failed");
    payload.error = Some(match verdict {
        Verdict::Cancelled(reason) => cancelled(reason),
        Verdict::Failed(cause) => cause.message.clone(),
        Verdict::Completed(_) => String::new(),
    });
    context.event(FAILED.0, FAILED.1, "", payload)
}

const COMPLETED: (&str, &str) = (
    "orchestration.deliberation.completed",
    "deliberation.completed",
);
const FAILED: (&str, &str) = ("orchestration.deliberation.failed", "deliberation.failed");

/// A cancelled deliberation as `GetDeliberationStatus` tells it.
pub(super) fn cancelled(reason: &str) -> String {
    match reason {
        "" => "cancelled: no reason was given".to_owned(),
        reason => format!("cancelled: {reason}"),
    }
}

/// The winner, with the facts that `GetDeliberationStatus` gives.
fn winner<'a>(context: &Context<'a>, outcome: &'a Outcome) -> Winner<'a> {
    let winner = outcome.winner();
    let completeness = outcome.completeness;
    let own = outcome.proposal.metadata.iter();
    let mut metadata: BTreeMap<_, _> = own
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    metadata.extend([
        ("total_agents", completeness.agents.to_string()),
        (
            "completed_agents",
            completeness.agents_completed.to_string(),
        ),
        ("failed_agents", completeness.agents_failed.to_string()),
        ("average_score", format!("{:.4}", outcome.average_score())),
        ("strategy", context.accepted.strategy.to_string()),
        ("scorer", context.accepted.scorer.to_string()),
    ]);
    let reasoning = winner.candidate.reasoning.as_ref();
    Winner {
        agent_id: winner.candidate.agent.as_str(),
        proposal: &winner.candidate.content,
        reasoning: reasoning.unwrap_or(&outcome.proposal.reasoning),
        score: winner.score.value,
        metadata,
    }
}

/// That a deliberation failed whose journal can no longer be read: all that is known is its id, and
/// from that, when it was accepted.
#[must_use]
pub fn damaged(id: &DeliberationId, seq: Seq, reason: &str) -> Event {
    let time = time::rfc3339(created_at_ms(id));
    let payload = Payload {
        deliberation_id: id.as_str(),
        task_id: "",
        status: "failed",
        timestamp: &time,
        result: None,
        error: Some(format!(
            "the journal of the deliberation is damaged: {reason}"
        )),
        kind: None,
        data: None,
    };
    let head = Head {
        deliberation: id,
        seq,
        tenant: &Tenant::default(),
        time: &time,
        correlation_id: id.as_str(),
        traceparent: None,
    };
    head.event(FAILED.0.to_owned(), FAILED.1, "", &payload)
}

/// When an id was made: the first 48 bits of its UUID of version 7.
fn created_at_ms(id: &DeliberationId) -> u64 {
    let digits = id.as_str().strip_prefix(DeliberationId::PREFIX);
    digits
        .and_then(|digits| u64::from_str_radix(digits.get(..12)?, 16).ok())
        .unwrap_or_default()
}

/// Letters of a plugin's word that go into a subject.
const TOKEN_CHARS_MAX: usize = 64;

/// A plugin's word as one token of a subject, so that a plugin never chooses a subject.
fn token(kind: &str) -> String {
    let safe = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
        _ => '_',
    };
    match kind {
        "" => "_".to_owned(),
        kind => kind.chars().take(TOKEN_CHARS_MAX).map(safe).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_token() {
        for (kind, expected) in [
            ("vote", "vote"),
            ("a.b", "a_b"),
            (">", "_"),
            ("*", "_"),
            ("", "_"),
            ("zwölf x\r\n", "zw_lf_x__"),
            ("Round-2_b", "Round-2_b"),
        ] {
            assert_eq!(token(kind), expected, "{kind:?}");
        }
        assert_eq!(token(&"x".repeat(1000)).len(), TOKEN_CHARS_MAX);
    }

    #[test]
    fn an_id_says_when_it_was_made() {
        let id = DeliberationId::new("deliberation-019aa5f1c0e07b3c8d2e4f5a6b7c8d9e");
        assert_eq!(created_at_ms(&id), 0x019a_a5f1_c0e0);
        assert_eq!(created_at_ms(&DeliberationId::new("deliberation-x")), 0);
    }
}
