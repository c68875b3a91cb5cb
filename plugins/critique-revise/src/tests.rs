//! The whole strategy, on a scripted host.

use conclave_sdk::testing::{Script, task};
use conclave_sdk::{Failure, GenerationRequest, Outcome, Score, Task};
use serde_json::{Value, json};

use super::*;

fn with(params: &Value, agents: &[&str]) -> Task {
    let mut task = task("Write a line.", agents);
    task.params = params.to_string();
    task
}

fn prompt(request: &GenerationRequest) -> &str {
    &request.messages.last().unwrap().content
}

/// Answers are the agent's id; a revision is the old answer and the reviser's id.
fn echo(request: &GenerationRequest) -> String {
    let answer = || {
        let rest = prompt(request).split("answer\n").nth(1).unwrap();
        rest.lines().next().unwrap().to_owned()
    };
    match request.phase.as_str() {
        "answer" => request.agent.clone(),
        "critique" => "too short".to_owned(),
        _ => format!("{}{}", answer(), request.agent),
    }
}

/// Longer is better.
fn by_length(script: Script) -> Script {
    script.scorer(|candidates| {
        let score = |content: &str| Score::new(content.len() as f64 / 10.0);
        Ok(candidates.iter().map(|one| score(&one.content)).collect())
    })
}

fn answers(outcome: &Outcome) -> Vec<(&str, &str)> {
    let candidates = outcome.ranked.iter().map(|one| &one.candidate);
    candidates
        .map(|one| (one.agent.as_str(), one.content.as_str()))
        .collect()
}

#[test]
fn each_agent_revises_its_neighbour_s_answer_and_better_ones_are_kept() {
    let script = by_length(Script::new(|request| Ok(echo(request))));
    let outcome = script
        .deliberate::<CritiqueRevise>(with(&json!({"rounds": 2}), &["a", "b", "c"]))
        .unwrap();
    assert_eq!(
        answers(&outcome),
        [("a", "acc"), ("b", "baa"), ("c", "cbb")]
    );
    assert_eq!(script.requests().len(), 3 * (1 + 2 * 2));
    assert_eq!(outcome.rounds, 2);
    assert_eq!(outcome.ranked[0].candidate.jobs.len(), 5);
    assert_eq!(outcome.metadata[0].1, r#"{"a":2,"b":2,"c":2}"#);
    assert!(prompt(&script.requests()[6]).contains("# Criticism\ntoo short"));
    let (kind, payload) = &script.events()[0];
    assert_eq!(kind, "round");
    assert_eq!(
        payload,
        r#"{"revised":["a","b","c"],"round":1,"scores":{"a":0.2,"b":0.2,"c":0.2}}"#
    );
}

#[test]
fn a_revision_that_is_not_better_is_dropped() {
    let script = Script::new(|request| Ok(echo(request)));
    let outcome = script
        .deliberate::<CritiqueRevise>(with(&json!({}), &["a", "b"]))
        .unwrap();
    assert_eq!(answers(&outcome), [("a", "a"), ("b", "b")]);
    assert_eq!(outcome.ranked[0].candidate.jobs, [1]);
    assert_eq!(
        outcome.reasoning,
        "the best-scored of 2 answers after 1 round in which 0 revisions were kept"
    );
}

#[test]
fn failures_leave_answers_as_they_are_and_agents_out_of_the_ring() {
    let script = by_length(Script::new(|request| {
        match (request.agent.as_str(), request.phase.as_str()) {
            ("b", "answer") | ("c", "critique") => Err(Failure::DeadlineExceeded),
            _ => Ok(echo(request)),
        }
    }));
    let outcome = script
        .deliberate::<CritiqueRevise>(with(&json!({}), &["a", "b", "c"]))
        .unwrap();
    assert_eq!(answers(&outcome), [("c", "ca"), ("a", "a")]);
    assert_eq!(outcome.metadata[1], ("failed".to_owned(), "2".to_owned()));
}

#[test]
fn when_no_agent_answers_the_error_carries_the_last_failure() {
    let script = Script::new(|_| Err(Failure::DeadlineExceeded));
    assert_eq!(
        script
            .deliberate::<CritiqueRevise>(with(&json!({}), &["a"]))
            .unwrap_err(),
        "no generation succeeded: the generation's deadline passed"
    );
}

#[test]
fn a_round_that_the_budget_cannot_pay_is_not_begun() {
    let script = by_length(Script::new(|request| Ok(echo(request)))).limits(Some(7), None);
    let outcome = script
        .deliberate::<CritiqueRevise>(with(&json!({"rounds": 3}), &["a", "b"]))
        .unwrap();
    assert_eq!(outcome.rounds, 1);
    assert!(outcome.stopped_early);
    assert_eq!(script.requests().len(), 6);
}
