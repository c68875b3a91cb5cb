//! The events of whole journals.

use serde_json::{Value, json};

use super::*;
use crate::entry::JobInfo;
use crate::generation::{Failure, FinishReason, Generation, Usage};
use crate::ids::{Actor, AgentId, JobId, ModelName};
use crate::outcome::{
    Candidate, Cause, CauseKind, Completeness, Outcome, Proposal, Ranked, Score, Spent, Verdict,
};
use crate::request::{Agent, Task};
use crate::testkit::journal::accepted as sample;

/// A journal in the making.
struct Journal(Vec<Record>);

impl Journal {
    /// With an agent for each id.
    fn of(agents: &[&str], change: impl FnOnce(&mut Accepted)) -> Self {
        let id = DeliberationId::new("deliberation-019aa5f1c0e07b3c8d2e4f5a6b7c8d9e");
        let mut first = sample(&id);
        let Entry::Accepted(accepted) = &mut first.entry else {
            unreachable!("it is the first entry");
        };
        accepted.accepted_at_ms = 1_764_671_400_000;
        let task: &mut Task = &mut accepted.request.task;
        task.agents = agents
            .iter()
            .map(|id| Agent {
                id: AgentId::new(*id),
                role: "AgentRole.DEV".to_owned(),
                model: ModelName::new("tiny"),
                prompt_template: None,
            })
            .collect();
        change(accepted);
        Self(vec![first])
    }

    fn push(&mut self, at_ms: u64, entry: Entry) {
        let seq = Seq(self.0.len() as u64 + 1);
        self.0.push(Record { seq, at_ms, entry });
    }

    /// Agent `agent` is asked as job `job` at `at_ms`, and has its result after 100 ms.
    fn asked(&mut self, job: u32, agent: &str, at_ms: u64, result: Result<&str, Failure>) {
        let job = JobId(job);
        let what = JobInfo {
            agent: AgentId::new(agent),
            model: ModelName::new("tiny-served"),
            phase: "answer".to_owned(),
            round: 0,
        };
        self.push(
            at_ms,
            Entry::Submitted {
                actor: Actor::STRATEGY,
                job,
                what,
                request: Digest::of(b"request"),
            },
        );
        self.push(
            at_ms,
            Entry::Attempt {
                job,
                attempt: 1,
                after: None,
                temperature: Some(0.7),
            },
        );
        let result = result.map(|text| Generation {
            text: text.to_owned(),
            reasoning: Some("thought".to_owned()),
            finish: FinishReason::Stop,
            usage: Usage {
                completion_tokens: 412,
                ..Usage::default()
            },
            logprobs: Vec::new(),
            latency_ms: 100,
            placement: None,
        });
        self.push(
            at_ms + 100,
            Entry::Completed {
                job,
                result,
                wasted_tokens: 0,
            },
        );
    }

    fn finish(&mut self, at_ms: u64, verdict: Verdict) {
        let spent = Spent::default();
        self.push(at_ms, Entry::Finished { verdict, spent });
    }

    fn events(&self) -> Vec<Event> {
        of(&self.0, Seq::START, Telling::Progress)
    }
}

fn completed(ranked: &[(&str, u32, &str, f64)]) -> Verdict {
    let ranked = ranked.iter().map(|(agent, job, content, value)| Ranked {
        candidate: Candidate {
            agent: AgentId::new(*agent),
            content: (*content).to_owned(),
            reasoning: None,
            jobs: vec![JobId(*job)],
        },
        score: Score {
            value: *value,
            confidence: None,
            rationale: None,
        },
    });
    Verdict::Completed(Box::new(Outcome {
        proposal: Proposal {
            ranked: ranked.collect(),
            reasoning: "majority".to_owned(),
            rounds: 1,
            stopped_early: false,
            metadata: [("votes".to_owned(), "2".to_owned())].into(),
        },
        completeness: Completeness {
            agents: 2,
            agents_completed: 1,
            agents_failed: 1,
        },
    }))
}

fn body(event: &Event) -> Value {
    serde_json::from_str(&event.body).unwrap()
}

fn subjects(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.subject.as_str()).collect()
}

fn metadata(accepted: &mut Accepted, entries: &[(&str, &str)]) {
    let entries = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    accepted.request.task.metadata = entries.collect();
}

/// Two agents, of which one fails, in a backlog review.
fn review() -> Journal {
    let mut journal = Journal::of(&["a", "b"], |accepted| {
        let id = "ceremony-BRC-123:story-ST-456:role-ARCHITECT";
        accepted.request.task.id = "task".to_owned();
        metadata(accepted, &[("task_id", id), ("plan_id", "p-1")]);
        accepted.request.correlation_id = Some("c-1".to_owned());
    });
    journal.asked(1, "a", 1_000, Ok("yes"));
    journal.asked(
        2,
        "b",
        1_000,
        Err(Failure::Unavailable("refused".to_owned())),
    );
    journal.push(
        1_200,
        Entry::Emitted {
            actor: Actor::STRATEGY,
            kind: "vote.cast".to_owned(),
            payload: r#"{"yes":1}"#.to_owned(),
        },
    );
    journal.finish(1_500, completed(&[("a", 1, "yes", 0.9)]));
    journal
}

#[test]
fn a_completed_deliberation_tells_its_start_its_agents_and_its_end() {
    let journal = review();
    let events = journal.events();
    assert_eq!(
        subjects(&events),
        [
            "ray.deliberation.started",
            "conclave.progress.vote_cast",
            "agent.response.completed.backlog-review.role",
            "agent.response.failed",
            "orchestration.deliberation.completed",
        ]
    );
    let task_id = "ceremony-BRC-123:story-ST-456:role-ARCHITECT";
    let id = "deliberation-019aa5f1c0e07b3c8d2e4f5a6b7c8d9e";
    let [start, progress, answered, failed, end] = &events[..] else {
        unreachable!("{events:?}");
    };
    assert_eq!(
        body(start),
        json!({
            "event_type": "deliberation.started",
            "payload": {"deliberation_id": id, "task_id": task_id, "status": "started",
                        "timestamp": "2025-12-02T10:30:01.000+00:00"},
            "idempotency_key": start.key.to_string(), "correlation_id": "c-1",
            "timestamp": "2025-12-02T10:30:01.000+00:00", "producer": "ray-executor", "metadata": {}
        })
    );
    assert_eq!(body(progress)["event_type"], "deliberation.progress");
    assert_eq!(body(progress)["payload"]["kind"], "vote.cast");
    assert_eq!(body(progress)["payload"]["data"], json!({"yes": 1}));
    let time = "2025-12-02T10:30:01.500+00:00";
    assert_eq!(
        body(answered)["payload"],
        json!({
            "task_id": task_id, "agent_id": "a", "role": "DEV", "status": "completed",
            "duration_ms": 100, "timestamp": time,
            "proposal": {"content": "yes", "author_id": "a", "author_role": "DEV",
                         "model": "tiny-served", "temperature": 0.7, "tokens": 412,
                         "reasoning": "thought", "score": 0.9},
            "operations": [], "artifacts": {}, "audit_trail": [], "success": true,
            "model": "tiny-served", "enable_tools": false, "diversity": false, "num_agents": 2,
            "constraints": {"story_id": "ST-456", "plan_id": "p-1", "timeout": 300, "max_retries": 3,
                "metadata": {"task_id": task_id, "plan_id": "p-1", "story_id": "ST-456", "num_agents": 2}}
        })
    );
    assert_eq!(body(answered)["event_type"], "agent.response.completed");
    assert_eq!(
        body(failed)["payload"],
        json!({
            "task_id": task_id, "agent_id": "b", "role": "DEV", "status": "failed",
            "duration_ms": 100, "timestamp": time, "error": "refused", "error_type": "unavailable",
            "success": false, "model": "tiny", "num_agents": 2, "story_id": "ST-456",
            "metadata": {"task_id": task_id}
        })
    );
    let result = body(end)["payload"]["result"].clone();
    assert_eq!(
        (
            &result["agent_id"],
            &result["proposal"],
            &result["reasoning"],
            &result["score"]
        ),
        (&json!("a"), &json!("yes"), &json!("majority"), &json!(0.9))
    );
    assert_eq!(
        (
            &result["metadata"]["total_agents"],
            &result["metadata"]["votes"]
        ),
        (&json!("2"), &json!("2"))
    );
    assert!(body(end)["payload"].get("error").is_none());
}

#[test]
fn every_event_has_a_key_of_its_own_and_headers_that_say_what_it_is() {
    let events = review().events();
    let mut keys: Vec<_> = events.iter().map(|event| event.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), events.len());
    for event in &events {
        let body = body(event);
        assert_eq!(body["idempotency_key"], event.key.to_string());
        assert_eq!(body["correlation_id"], "c-1");
        let headers: std::collections::BTreeMap<_, _> = event.headers().into();
        assert_eq!(headers["ce-id"], event.key.to_string());
        assert_eq!(headers["ce-type"], body["event_type"].as_str().unwrap());
        assert_eq!(headers["ce-time"], body["timestamp"].as_str().unwrap());
        assert_eq!(headers["ce-specversion"], "1.0");
        assert_eq!(headers["ce-subject"], event.deliberation.as_str());
        assert_eq!(
            headers["traceparent"],
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        );
        assert_eq!(event.tenant, Tenant::new("research"));
    }
}

#[test]
fn the_events_behind_a_place_are_the_same_events() {
    let journal = review();
    let all = journal.events();
    for after in 0..=journal.0.len() as u64 {
        let behind = of(&journal.0, Seq(after), Telling::Progress);
        let expected: Vec<_> = all
            .iter()
            .filter(|event| event.seq > Seq(after))
            .cloned()
            .collect();
        assert_eq!(behind, expected, "behind {after}");
    }
    let lifecycle = of(&journal.0, Seq::START, Telling::Lifecycle);
    assert_eq!(lifecycle.len(), all.len() - 1, "all but the progress");
    assert_eq!(of(&journal.0, Seq::START, Telling::Nothing), []);
}

#[test]
fn an_agent_without_an_answer_says_why() {
    let failed = |verdict: Verdict| {
        let mut journal = Journal::of(&["asked", "never-asked"], |_| ());
        journal.asked(1, "asked", 10, Err(Failure::Cancelled));
        journal.finish(500, verdict);
        let events = journal.events();
        let told: Vec<_> = events
            .iter()
            .filter(|event| event.subject == "agent.response.failed")
            .map(|event| {
                let payload = &body(event)["payload"];
                let text = |key: &str| payload[key].as_str().unwrap().to_owned();
                (
                    text("error_type"),
                    text("error"),
                    payload["num_agents"].clone(),
                )
            })
            .collect();
        assert_eq!(told.len(), 2, "{events:?}");
        assert_eq!(told[0], told[1]);
        let (error_type, error, num_agents) = told[0].clone();
        assert_eq!(num_agents, 2);
        let end = body(events.last().unwrap());
        (error_type, error, end["payload"]["error"].clone())
    };
    assert_eq!(
        failed(Verdict::Cancelled(String::new())),
        (
            "cancelled".to_owned(),
            "cancelled: no reason was given".to_owned(),
            json!("cancelled: no reason was given")
        )
    );
    let cause = Cause::new(CauseKind::DeadlineExceeded, "too slow");
    assert_eq!(
        failed(Verdict::Failed(cause)),
        (
            "deadline_exceeded".to_owned(),
            "too slow".to_owned(),
            json!("too slow")
        )
    );
    let (error_type, error, _) = failed(completed(&[("", 9, "nobody's", 1.0)]));
    assert_eq!(error_type, "cancelled");
    assert!(!error.is_empty());
}

#[test]
fn a_deliberation_that_sent_nothing_has_no_start() {
    let mut journal = Journal::of(&["a"], |accepted| accepted.traceparent = None);
    journal.finish(5, Verdict::Cancelled("too late".to_owned()));
    let events = journal.events();
    assert_eq!(
        subjects(&events),
        ["agent.response.failed", "orchestration.deliberation.failed"]
    );
    assert_eq!(body(&events[1])["payload"]["error"], "cancelled: too late");
    assert_eq!(
        body(&events[1])["correlation_id"],
        events[1].deliberation.as_str()
    );
    // Without the client's, a trace of its own ties its events together.
    assert_eq!(events[0].traceparent, events[1].traceparent);
    assert_eq!(events[0].traceparent.len(), 55);
}

fn extraction(agents: &[&str], answer: &str) -> Vec<Event> {
    let mut journal = Journal::of(agents, |accepted| {
        accepted.request.task.id = "ceremony-BRC-1:story-ST-2:task-extraction".to_owned();
        metadata(accepted, &[]);
    });
    let mut ranked = Vec::new();
    for (agent, job) in agents.iter().zip(1..) {
        journal.asked(job, agent, 10, Ok(answer));
        ranked.push((*agent, job, answer, 1.0));
    }
    journal.finish(900, completed(&ranked));
    journal.events()
}

#[test]
fn the_winners_list_of_tasks_is_told_once_and_checked_again() {
    let task = json!({"title": "Login", "description": "Let people in", "estimated_hours": 8,
                      "deliberation_indices": [0], "priority": 2});
    let events = extraction(&["a", "b"], &json!({"tasks": [task]}).to_string());
    assert_eq!(
        subjects(&events)[1..],
        [
            "agent.response.completed.task-extraction",
            "agent.response.completed",
            "orchestration.deliberation.completed"
        ]
    );
    let time = "2025-12-02T10:30:00.900+00:00";
    assert_eq!(
        body(&events[1])["payload"],
        json!({
            "task_id": "ceremony-BRC-1:story-ST-2:task-extraction", "story_id": "ST-2",
            "ceremony_id": "BRC-1", "tasks": [task], "model": "tiny-served", "timestamp": time,
            "duration_ms": 100, "validated_at": time
        })
    );
    assert_eq!(body(&events[1])["event_type"], "agent.response.completed");

    let broken = json!({"tasks": [{"title": "Login", "description": "Let people in",
        "estimated_hours": 0, "deliberation_indices": [0], "priority": 2}]});
    let events = extraction(&["a"], &broken.to_string());
    assert_eq!(events[1].subject, "agent.response.failed");
    let payload = &body(&events[1])["payload"];
    assert_eq!(payload["error_type"], "invalid_output");
    assert_eq!(
        payload["error"],
        "tasks[0].estimated_hours is 0, it must be 1 to 200"
    );
}

#[test]
fn a_deliberation_whose_journal_is_damaged_has_an_end_too() {
    let id = DeliberationId::new("deliberation-019aa5f1c0e07b3c8d2e4f5a6b7c8d9e");
    let event = damaged(&id, Seq(9), "entry 3 is damaged");
    assert_eq!(event.subject, "orchestration.deliberation.failed");
    assert_eq!(event, damaged(&id, Seq(9), "entry 3 is damaged"));
    let error = body(&event)["payload"]["error"].clone();
    assert_eq!(
        error,
        "the journal of the deliberation is damaged: entry 3 is damaged"
    );
}
