//! Records for the tests of journals: one of each entry, with values that are easily lost on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::entry::{Accepted, Entry, JobInfo, Record, Remaining, SEMANTICS_VERSION};
use crate::execution::Execution;
use crate::generation::{Failure, FinishReason, Generation, Usage};
use crate::ids::{Actor, AgentId, DeliberationId, Digest, JobId, ModelName, Seq, Tenant};
use crate::limits::Limits;
use crate::outcome::{
    Candidate, Cause, CauseKind, Completeness, Outcome, Proposal, Ranked, Score, Spent, Verdict,
};
use crate::plugin::{PluginChoice, PluginRef};
use crate::priority::Priority;
use crate::request::{Agent, DeliberationRequest, Task};

/// The first record of a deliberation.
#[must_use]
pub fn accepted(id: &DeliberationId) -> Record {
    let accepted = Accepted {
        id: id.clone(),
        request: request(),
        strategy: plugin("sample-vote"),
        scorer: plugin("agreement"),
        strategy_draw: None,
        scorer_draw: None,
        metadata_allowed: vec!["tier".to_owned()],
        limits: Limits::default(),
        seed: u64::MAX - 1,
        accepted_at_ms: 1_763_766_000_123,
        semantics: SEMANTICS_VERSION,
        tenant: Tenant::new("research"),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        tracestate: Some("vendor=1".to_owned()),
    };
    Record {
        seq: Seq(1),
        at_ms: 0,
        entry: Entry::Accepted(Box::new(accepted)),
    }
}

/// So many small records behind `after`.
#[must_use]
pub fn records(after: Seq, count: u64) -> Vec<Arc<Record>> {
    let record = |offset| Record {
        seq: Seq(after.0 + offset),
        at_ms: offset,
        entry: Entry::Emitted {
            actor: Actor::STRATEGY,
            kind: "progress".to_owned(),
            payload: format!(r#"{{"round":{offset}}}"#),
        },
    };
    (1..=count).map(record).map(Arc::new).collect()
}

/// The last record of a deliberation, at this place and time.
#[must_use]
pub fn finished(seq: Seq, at_ms: u64, verdict: Verdict) -> Arc<Record> {
    Arc::new(Record {
        seq,
        at_ms,
        entry: Entry::Finished {
            verdict,
            spent: Spent::default(),
        },
    })
}

/// At least one of each kind of entry, in places without gaps; the last one ends the deliberation.
#[must_use]
pub fn every_entry(id: &DeliberationId) -> Vec<Arc<Record>> {
    let mut entries = generations();
    entries.extend(scores());
    entries.extend(others());
    let first = accepted(id);
    let behind = entries.into_iter().zip(2..).map(|(entry, seq)| Record {
        seq: Seq(seq),
        at_ms: seq * 7,
        entry,
    });
    std::iter::once(first).chain(behind).map(Arc::new).collect()
}

fn generations() -> Vec<Entry> {
    let (actor, job) = (Actor::STRATEGY, JobId(1));
    let failures = [
        Failure::Cancelled,
        Failure::DeadlineExceeded,
        Failure::BudgetExhausted("no tokens left".to_owned()),
        Failure::Rejected("the prompt is too long".to_owned()),
        Failure::Unavailable("connection refused".to_owned()),
    ];
    let submitted = Entry::Submitted {
        actor,
        job,
        what: JobInfo {
            agent: AgentId::new("skeptic"),
            model: ModelName::new("tiny"),
            phase: "propose".to_owned(),
            round: 2,
        },
        request: Digest::of(b"request"),
    };
    let completed = |result| Entry::Completed {
        job,
        result,
        wasted_tokens: u32::MAX,
    };
    let attempt = |after| Entry::Attempt {
        job,
        attempt: 2,
        after,
        temperature: Some(0.7),
    };
    let mut entries = vec![submitted, attempt(None), completed(Ok(generation()))];
    for failure in failures {
        entries.extend([attempt(Some(failure.clone())), completed(Err(failure))]);
    }
    entries.push(Entry::Delivered { actor, job });
    entries.push(Entry::Cancelled {
        actor,
        jobs: vec![JobId(2), JobId(u32::MAX)],
    });
    entries
}

fn scores() -> Vec<Entry> {
    let (actor, scorer) = (Actor::STRATEGY, Actor(3));
    let scored = |result| Entry::Scored {
        actor,
        scorer,
        result,
    };
    vec![
        Entry::Scoring {
            actor,
            scorer,
            candidates: vec![candidate()],
        },
        scored(Ok(numbers().map(score).collect())),
        scored(Err(Failure::Rejected("no candidate".to_owned()))),
    ]
}

fn others() -> Vec<Entry> {
    let actor = Actor::STRATEGY;
    vec![
        Entry::Emitted {
            actor,
            kind: "note".to_owned(),
            payload: "{\"text\":\"line\\nbreak \u{2028} \\u0000 \u{1f980}\"}".to_owned(),
        },
        Entry::Budget {
            actor,
            remaining: Remaining {
                generations: Some(0),
                tokens: None,
                wall_ms: Some(u32::MAX),
                open_generations: Some(1),
            },
        },
        Entry::Timer {
            actor,
            until_ms: u64::MAX,
        },
        Entry::CancelRequested {
            reason: "no\nlonger \"needed\"".to_owned(),
        },
        Entry::Paused { wasted_tokens: 7 },
        Entry::Finished {
            verdict: completed(),
            spent: Spent {
                generations: 3,
                completion_tokens: u64::from(u32::MAX) + 1,
                ..Spent::default()
            },
        },
    ]
}

/// The verdicts of deliberations that completed, failed and were cancelled.
pub(super) fn verdicts() -> [Verdict; 3] {
    [
        completed(),
        Verdict::Failed(Cause::new(CauseKind::AllAgentsFailed, "no agent answered")),
        Verdict::Cancelled("no longer needed".to_owned()),
    ]
}

fn completed() -> Verdict {
    Verdict::Completed(Box::new(Outcome {
        proposal: Proposal {
            ranked: numbers()
                .map(|value| Ranked {
                    candidate: candidate(),
                    score: score(value),
                })
                .collect(),
            reasoning: "majority".to_owned(),
            rounds: 1,
            stopped_early: true,
            metadata: BTreeMap::from([("votes".to_owned(), "2/3".to_owned())]),
        },
        completeness: Completeness {
            agents: 3,
            agents_completed: 2,
            agents_failed: 1,
        },
    }))
}

/// Numbers from 0 to 1 whose shortest decimal form is long, or that sit at the edge of the format.
fn numbers() -> impl Iterator<Item = f64> {
    let spread = (1..40_u32).map(|n| (f64::from(n) * 0.618_033_988_749_894_9).fract());
    let edges = [
        0.0,
        1.0,
        0.1 + 0.2,
        1.0 / 3.0,
        f64::MIN_POSITIVE,
        5e-324,
        1.0 - f64::EPSILON,
    ];
    edges.into_iter().chain(spread)
}

fn generation() -> Generation {
    let spread = (1..200_u16).map(|n| -(f32::from(n) * 0.618_034).exp2().recip() * 9.0);
    let edges = [
        -0.0,
        f32::MIN,
        -f32::MIN_POSITIVE,
        -1e-45,
        -1.0 / 3.0,
        -16_777_217.0,
    ];
    Generation {
        text: "Yes: \u{1f980}\t\"7\" is prime\r\n".to_owned(),
        reasoning: Some("6k±1".to_owned()),
        finish: FinishReason::Length,
        usage: Usage {
            prompt_tokens: 12,
            cached_tokens: 4,
            completion_tokens: 5,
        },
        logprobs: edges.into_iter().chain(spread).collect(),
        latency_ms: 431,
        placement: None,
    }
}

fn score(value: f64) -> Score {
    Score {
        value,
        confidence: Some(1.0 - value),
        rationale: None,
    }
}

fn candidate() -> Candidate {
    Candidate {
        agent: AgentId::new("skeptic"),
        content: "yes".to_owned(),
        reasoning: None,
        jobs: vec![JobId(1)],
    }
}

fn plugin(name: &str) -> PluginRef {
    PluginRef {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        digest: Digest::of(name.as_bytes()),
    }
}

fn request() -> DeliberationRequest {
    DeliberationRequest {
        task: Task {
            id: "t-1".to_owned(),
            description: "Is 7 prime?".to_owned(),
            role: String::new(),
            agents: vec![Agent {
                id: AgentId::new("skeptic"),
                role: "doubts".to_owned(),
                model: ModelName::new("tiny"),
                prompt_template: Some("{{ task }}".to_owned()),
            }],
            model: ModelName::new("tiny"),
            metadata: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
        },
        endpoint: Some(Endpoint::parse("http://127.0.0.1:8000").expect("it is a URL")),
        execution: Execution::Direct,
        timeout: Duration::new(300, 999_999_999),
        retries_max: 3,
        strategy: PluginChoice::named("sample-vote"),
        strategy_params: serde_json::json!({"samples": 5, "p": 0.1, "seed": u64::MAX, "low": i64::MIN}),
        scorer: PluginChoice::named("agreement"),
        scorer_params: serde_json::json!({}),
        labels: BTreeMap::from([("team".to_owned(), String::new())]),
        correlation_id: None,
        priority: Priority::default(),
    }
}
