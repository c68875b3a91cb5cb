//! The whole scorer, on a scripted host.

use std::cell::Cell;

use conclave_sdk::testing::{Script, task};
use conclave_sdk::{Failure, MessageRole};
use serde_json::json;

use super::*;

fn candidates(contents: &[&str]) -> Vec<Candidate> {
    contents
        .iter()
        .map(|content| Candidate {
            agent: "ada".to_owned(),
            content: (*content).to_owned(),
            reasoning: None,
            jobs: Vec::new(),
        })
        .collect()
}

fn evaluate(script: &Script, params: &serde_json::Value) -> Result<Vec<Score>, String> {
    let mut task = task("Say hello.", &["ada"]);
    task.params = params.to_string();
    script.evaluate::<Judge>(task, candidates(&["hello", "bye"]))
}

#[test]
fn candidates_are_graded_at_the_same_time_and_mapped_to_0_to_1() {
    let script = Script::new(|request| {
        let good = request.messages[1].content.contains("# Answer\nhello");
        let grade = if good { 10 } else { 1 };
        Ok(json!({"rationale": "Because.", "grade": grade}).to_string())
    });
    let scores = evaluate(&script, &json!({})).unwrap();
    assert_eq!(scores[0].value, 1.0);
    assert_eq!(scores[1].value, 0.0);
    assert_eq!(scores[0].rationale.as_deref(), Some("10 of 10: Because."));
    assert_eq!(scores[0].confidence, None);
    assert_eq!(script.now_ms(), 1);
    let request = &script.requests()[0];
    assert_eq!(request.agent, "");
    assert_eq!(request.phase, "judge");
    assert!(request.sampling.json_schema.is_some());
}

#[test]
fn several_grades_are_averaged_and_their_spread_lowers_the_confidence() {
    let next = Cell::new(0);
    let script = Script::new(move |_| {
        next.set(next.get() + 1);
        Ok(if next.get() % 2 == 0 { "1" } else { "5" }.to_owned())
    });
    let scores = evaluate(&script, &json!({"samples": 2, "scale": 5})).unwrap();
    assert_eq!(scores[0].value, 0.5);
    assert_eq!(scores[0].confidence, Some(0.0));
    assert_eq!(scores[0].rationale.as_deref(), Some("5, 1 of 5"));
}

#[test]
fn a_verdict_without_a_grade_is_asked_for_once_more() {
    let script = Script::new(|request| {
        let again = request
            .messages
            .last()
            .unwrap()
            .content
            .starts_with("Reply with");
        Ok(if again { "4" } else { "Nice." }.to_owned())
    });
    let scores = evaluate(&script, &json!({"scale": 4})).unwrap();
    assert_eq!(scores[0].value, 1.0);
    let roles: Vec<_> = script.requests()[2]
        .messages
        .iter()
        .map(|one| one.role)
        .collect();
    assert_eq!(
        roles,
        [
            MessageRole::System,
            MessageRole::User,
            MessageRole::Assistant,
            MessageRole::User
        ]
    );
}

#[test]
fn a_candidate_without_any_grade_fails_the_evaluation() {
    let script = Script::new(|_| Ok("Nice.".to_owned()));
    assert_eq!(
        evaluate(&script, &json!({})).unwrap_err(),
        "the answer of agent `ada`: the model gave no grade, asked twice"
    );
    let script = Script::new(|_| Err(Failure::Unavailable("down".to_owned())));
    assert_eq!(
        evaluate(&script, &json!({})).unwrap_err(),
        "the answer of agent `ada`: no model server could answer: down"
    );
}
