//! Wire messages as JSON: the field names of the .proto file, times as RFC 3339, durations in
//! seconds, absent and empty fields left out.

use serde_json::{Map, Value, json};

use super::pb;
use super::pb::deliberation_event::Event;
use super::pb::generation_finished;

/// A deliberation.
pub(super) fn deliberation(one: &pb::Deliberation) -> Value {
    compact(json!({
        "name": one.name,
        "uid": one.uid,
        "state": one.state().as_str_name(),
        "task": one.task.as_ref().map(task),
        "endpoint": one.endpoint,
        "strategy": one.strategy.as_ref().map(plugin),
        "scorer": one.scorer.as_ref().map(plugin),
        "timeout_seconds": one.timeout.as_ref().map(seconds),
        "max_retries": one.max_retries,
        "labels": one.labels,
        "priority": one.priority,
        "correlation_id": one.correlation_id,
        "create_time": one.create_time.map(|time| time.to_string()),
        "update_time": one.update_time.map(|time| time.to_string()),
        "end_time": one.end_time.map(|time| time.to_string()),
        "deadline_time": one.deadline_time.map(|time| time.to_string()),
        "sequence": one.sequence,
        "usage": one.usage.as_ref().map(usage),
        "outcome": one.outcome.as_ref().map(outcome),
        "failure": one.failure.as_ref().map(failure),
        "cancel_reason": one.cancel_reason,
        "execution": one.execution,
        "open_generations": one.open_generations.iter().map(open_generation).collect::<Vec<_>>(),
    }))
}

fn open_generation(one: &pb::OpenGeneration) -> Value {
    compact(json!({
        "job": one.job,
        "running": one.running,
        "placement": one.placement.as_ref().map(placement),
    }))
}

/// Where a generation runs.
pub(super) fn placement(one: &pb::Placement) -> Value {
    compact(json!({
        "cluster": one.cluster,
        "submission_id": one.submission_id,
        "actor": one.actor,
        "node": one.node,
    }))
}

/// An event; `type` is the name of its field in the .proto file.
pub(super) fn event(event: &pb::DeliberationEvent) -> Value {
    let (name, body) = match &event.event {
        Some(Event::Accepted(one)) => (
            "accepted",
            json!({ "deliberation": one.deliberation.as_ref().map(deliberation) }),
        ),
        Some(Event::GenerationStarted(one)) => (
            "generation_started",
            json!({
                "job": one.job, "agent_id": one.agent_id, "model": one.model, "phase": one.phase,
                "round": one.round, "attempt": one.attempt,
                "retry_cause": one.retry_cause.as_ref().map(generation_failure),
            }),
        ),
        Some(Event::Tokens(one)) => (
            "tokens",
            json!({ "job": one.job, "attempt": one.attempt, "text": one.text }),
        ),
        Some(Event::GenerationFinished(one)) => ("generation_finished", generation_finished(one)),
        Some(Event::CandidatesProposed(one)) => {
            let candidates: Vec<_> = one.candidates.iter().map(candidate).collect();
            (
                "candidates_proposed",
                json!({ "call": one.call, "candidates": candidates }),
            )
        }
        Some(Event::CandidatesScored(one)) => (
            "candidates_scored",
            json!({
                "call": one.call, "scored": one.scored.iter().map(ranked).collect::<Vec<_>>(),
                "failure": one.failure.as_ref().map(generation_failure),
            }),
        ),
        Some(Event::Progress(one)) => {
            // The payload is JSON already, but a plugin's: it may be damaged.
            let payload =
                serde_json::from_str(&one.payload_json).unwrap_or_else(|_| json!(one.payload_json));
            ("progress", json!({ "kind": one.kind, "payload": payload }))
        }
        Some(Event::CancelRequested(one)) => ("cancel_requested", json!({ "reason": one.reason })),
        Some(Event::Paused(one)) => ("paused", json!({ "wasted_tokens": one.wasted_tokens })),
        Some(Event::Finished(one)) => ("finished", finished(one)),
        None => ("unknown", json!({})),
    };
    let mut all = Map::new();
    all.insert("type".to_owned(), json!(name));
    if event.sequence != 0 {
        all.insert("sequence".to_owned(), json!(event.sequence));
    }
    all.insert(
        "time".to_owned(),
        json!(event.time.map(|time| time.to_string())),
    );
    all.extend(body.as_object().cloned().unwrap_or_default());
    compact(Value::Object(all))
}

fn finished(one: &pb::Finished) -> Value {
    compact(json!({
        "state": one.state().as_str_name(),
        "outcome": one.outcome.as_ref().map(outcome),
        "failure": one.failure.as_ref().map(failure),
        "cancel_reason": one.cancel_reason,
        "usage": one.usage.as_ref().map(usage),
    }))
}

fn generation_finished(one: &pb::GenerationFinished) -> Value {
    let (generation, failure) = match &one.result {
        Some(generation_finished::Result::Generation(generation)) => (Some(generation), None),
        Some(generation_finished::Result::Failure(failure)) => (None, Some(failure)),
        None => (None, None),
    };
    compact(json!({
        "job": one.job,
        "agent_id": one.agent_id,
        "generation": generation.map(self::generation),
        "failure": failure.map(generation_failure),
    }))
}

fn generation(one: &pb::Generation) -> Value {
    compact(json!({
        "text": one.text,
        "reasoning": one.reasoning,
        "finish_reason": one.finish_reason().as_str_name(),
        "prompt_tokens": one.prompt_tokens,
        "cached_tokens": one.cached_tokens,
        "completion_tokens": one.completion_tokens,
        "latency_seconds": one.latency.as_ref().map(seconds),
    }))
}

fn task(one: &pb::Task) -> Value {
    let agent = |agent: &pb::Agent| {
        compact(json!({
            "id": agent.id, "role": agent.role, "model": agent.model,
            "prompt_template": agent.prompt_template,
        }))
    };
    compact(json!({
        "id": one.id,
        "title": one.title,
        "description": one.description,
        "role": one.role,
        "agents": one.agents.iter().map(agent).collect::<Vec<_>>(),
        "model": one.model,
        "metadata": one.metadata,
    }))
}

fn plugin(one: &pb::PluginSelection) -> Value {
    let params: Option<Value> = serde_json::from_str(&one.params_json).ok();
    compact(
        json!({ "name": one.name, "version": one.version, "digest": one.digest, "params": params }),
    )
}

fn outcome(one: &pb::Outcome) -> Value {
    compact(json!({
        "ranked": one.ranked.iter().map(ranked).collect::<Vec<_>>(),
        "reasoning": one.reasoning,
        "rounds": one.rounds,
        "stopped_early": one.stopped_early,
        "metadata": one.metadata,
        "completeness": one.completeness.map(|completeness| json!({
            "agents": completeness.agents,
            "agents_completed": completeness.agents_completed,
            "agents_failed": completeness.agents_failed,
        })),
    }))
}

fn ranked(one: &pb::RankedCandidate) -> Value {
    json!({
        "candidate": one.candidate.as_ref().map(candidate),
        "score": one.score.as_ref().map(score),
    })
}

fn score(one: &pb::Score) -> Value {
    compact(json!({
        "value": one.value, "confidence": one.confidence, "rationale": one.rationale,
    }))
}

fn candidate(one: &pb::Candidate) -> Value {
    compact(json!({
        "agent_id": one.agent_id, "content": one.content, "reasoning": one.reasoning, "jobs": one.jobs,
    }))
}

fn usage(one: &pb::Usage) -> Value {
    json!({
        "generations": one.generations,
        "generations_completed": one.generations_completed,
        "generations_failed": one.generations_failed,
        "generations_cancelled": one.generations_cancelled,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "wasted_tokens": one.wasted_tokens,
    })
}

fn failure(one: &pb::Failure) -> Value {
    json!({ "reason": one.reason, "message": one.message })
}

fn generation_failure(one: &pb::GenerationFailure) -> Value {
    json!({ "kind": one.kind, "message": one.message })
}

/// A generation with its attempts.
pub(super) fn generation_record(one: &pb::GenerationRecord) -> Value {
    compact(json!({
        "name": one.name,
        "job": one.job,
        "agent_id": one.agent_id,
        "model": one.model,
        "phase": one.phase,
        "round": one.round,
        "score_call": (one.score_call > 0).then_some(one.score_call),
        "state": one.state().as_str_name(),
        "attempts": one.attempts,
        "retry_causes": one.retry_causes.iter().map(generation_failure).collect::<Vec<_>>(),
        "create_time": one.create_time.map(|time| time.to_string()),
        "start_time": one.start_time.map(|time| time.to_string()),
        "end_time": one.end_time.map(|time| time.to_string()),
        "result": one.result.as_ref().map(generation),
        "failure": one.failure.as_ref().map(generation_failure),
        "wasted_tokens": one.wasted_tokens,
    }))
}

/// A call of the scorer.
pub(super) fn score_record(one: &pb::ScoreRecord) -> Value {
    compact(json!({
        "name": one.name,
        "call": one.call,
        "candidates": one.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "scores": one.scores.iter().map(score).collect::<Vec<_>>(),
        "failure": one.failure.as_ref().map(generation_failure),
        "create_time": one.create_time.map(|time| time.to_string()),
        "end_time": one.end_time.map(|time| time.to_string()),
    }))
}

/// What a deliberation cost, by agent, phase and model.
pub(super) fn usage_by(one: &pb::UsageReport) -> Value {
    let costs = |costs: &[pb::Cost]| {
        let costs = costs.iter().map(|cost| {
            json!({
                "key": cost.key,
                "usage": cost.usage.as_ref().map(usage),
                "cached_tokens": cost.cached_tokens,
                "latency_seconds": cost.latency.as_ref().map(seconds),
            })
        });
        costs.collect::<Vec<_>>()
    };
    json!({
        "agents": costs(&one.agents),
        "phases": costs(&one.phases),
        "models": costs(&one.models),
    })
}

/// A plugin of the host.
pub(super) fn host_plugin(one: &pb::Plugin) -> Value {
    let schema: Option<Value> = serde_json::from_str(&one.params_schema_json).ok();
    compact(json!({
        "name": one.name,
        "plugin_name": one.plugin_name,
        "kind": one.kind().as_str_name(),
        "version": one.version,
        "digest": one.digest,
        "summary": one.summary,
        "contract": one.contract,
        "origin": one.origin().as_str_name(),
        "file_name": one.file_name,
        "size_bytes": one.size_bytes,
        "is_default": one.is_default,
        "add_time": one.add_time.map(|time| time.to_string()),
        "added_by": one.added_by,
        "signed_by": one.signed_by,
        "channel": one.channel().as_str_name(),
        "share_basis_points": one.share_basis_points,
        "held_by_count": one.held_by_count,
        "oci_reference": one.oci_reference,
        "params_schema": schema,
    }))
}

fn seconds(duration: &prost_types::Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

/// Without members that are null, an empty text, or an empty map. Not at every depth: what a plugin or
/// a client wrote stays as it is.
pub(super) fn compact(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, value| !is_absent(value));
    }
    value
}

fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}
