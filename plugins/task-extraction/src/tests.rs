//! The whole strategy, on a scripted host.

use std::cell::RefCell;
use std::collections::BTreeMap;

use conclave_sdk::testing::{Script, task};
use conclave_sdk::{Failure, MessageRole, Outcome, Score};
use serde_json::{Value, json};

use super::*;

const VALID: &str = r#"{"tasks": [{"title": "T", "description": "D", "estimated_hours": 2, "deliberation_indices": [0], "priority": 3}]}"#;
const CANONICAL: &str = r#"{"tasks":[{"deliberation_indices":[0],"description":"D","estimated_hours":2,"priority":3,"title":"T"}]}"#;

fn with(params: &Value, agents: &[&str]) -> Task {
    let mut task = task("Extract the tasks.", agents);
    task.params = params.to_string();
    task
}

/// Answers each agent with its own texts in turn; the last one stays, and `!` fails.
fn texts(of_agents: &[(&str, &[&str])]) -> Script {
    let texts = of_agents.iter().map(|(agent, texts)| {
        let mut texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        texts.reverse();
        ((*agent).to_owned(), texts)
    });
    let left: RefCell<BTreeMap<String, Vec<String>>> = RefCell::new(texts.collect());
    Script::new(move |request| {
        let mut left = left.borrow_mut();
        let texts = left.get_mut(&request.agent).unwrap();
        let text = if texts.len() > 1 {
            texts.pop().unwrap()
        } else {
            texts[0].clone()
        };
        match text.as_str() {
            "!" => Err(Failure::Unavailable("no backend".to_owned())),
            _ => Ok(text),
        }
    })
}

fn facts(outcome: &Outcome) -> Vec<&str> {
    outcome
        .metadata
        .iter()
        .map(|(_, value)| value.as_str())
        .collect()
}

fn winners(outcome: &Outcome) -> Vec<&str> {
    let ranked = outcome.ranked.iter();
    ranked.map(|one| one.candidate.agent.as_str()).collect()
}

#[test]
fn json_is_asked_for_by_schema_at_temperature_0_and_answered_canonically() {
    let script = texts(&[("a", &[VALID])]);
    let mut asked = with(&json!({"max_tokens": 99}), &["a"]);
    asked.agents[0].prompt_template = Some("As {{ agent }}: {{ task }}".to_owned());
    let outcome = script.deliberate::<TaskExtraction>(asked).unwrap();
    let request = &script.requests()[0];
    assert_eq!(request.sampling.temperature, Some(0.0));
    assert_eq!(request.sampling.max_tokens, Some(99));
    let schema: Value =
        serde_json::from_str(request.sampling.json_schema.as_ref().unwrap()).unwrap();
    assert_eq!(schema, answer::schema());
    assert_eq!(request.messages[1].content, "As a: Extract the tasks.");
    assert_eq!(outcome.ranked[0].candidate.content, CANONICAL);
    // tasks, asks, invalid, failed
    assert_eq!(facts(&outcome), ["1", "1", "0", "0"]);
}

#[test]
fn an_invalid_answer_is_asked_for_again_with_its_violations() {
    let wrong = VALID.replace("\"priority\": 3", "\"priority\": 9, \"x\": 1");
    let script = texts(&[("a", &["Sure!", &wrong, VALID])]);
    let outcome = script
        .deliberate::<TaskExtraction>(with(&json!({}), &["a"]))
        .unwrap();
    let requests = script.requests();
    let rounds: Vec<_> = requests
        .iter()
        .map(|one| (one.phase.as_str(), one.round))
        .collect();
    assert_eq!(rounds, [("answer", 0), ("correct", 1), ("correct", 2)]);
    let last = &requests[2];
    let roles: Vec<_> = last.messages.iter().map(|one| one.role).collect();
    assert_eq!(
        roles,
        [
            MessageRole::System,
            MessageRole::User,
            MessageRole::Assistant,
            MessageRole::User
        ]
    );
    assert_eq!(last.messages[2].content, wrong);
    assert_eq!(
        last.messages[3].content,
        "Your answer is not valid:\n- tasks[0].priority is 9, it must be a whole number from 1 to 5\n\
         - tasks[0].x is no member that there is\n\
         Reply with the whole corrected JSON object and nothing else."
    );
    assert_eq!(
        (
            last.sampling.temperature,
            last.sampling.json_schema.is_some()
        ),
        (Some(0.0), true)
    );
    // Only the valid generation votes.
    assert_eq!(outcome.ranked[0].candidate.jobs, [3]);
    assert_eq!(facts(&outcome), ["1", "3", "0", "0"]);
    let events: Vec<_> = script
        .events()
        .into_iter()
        .map(|(_, payload)| payload)
        .collect();
    assert_eq!(events[1], r#"{"agent":"a","ask":2,"violations":2}"#);
}

#[test]
fn an_agent_is_asked_as_often_as_the_params_say_and_the_error_lists_the_last_violations() {
    let script = texts(&[("a", &["no", "{}"]), ("b", &["[]"])]);
    let error = script.deliberate::<TaskExtraction>(with(&json!({"asks_max": 2}), &["a", "b"]));
    assert_eq!(
        error.unwrap_err(),
        "no agent gave valid tasks: agent `a`: asked 2 times: tasks is missing; \
         agent `b`: asked 2 times: the answer is [], it must be a JSON object"
    );
    assert_eq!(script.requests().len(), 4);
    let once = texts(&[("a", &["no"])]);
    let error = once
        .deliberate::<TaskExtraction>(with(&json!({"asks_max": 1}), &["a"]))
        .unwrap_err();
    assert!(
        error.contains("asked once: the answer is not one JSON"),
        "{error}"
    );
}

#[test]
fn agents_are_fallbacks_and_the_first_of_equals_wins() {
    let script = texts(&[
        ("a", &["!"]),
        ("b", &["never"]),
        ("c", &[VALID]),
        ("d", &[VALID]),
    ]);
    let outcome = script
        .deliberate::<TaskExtraction>(with(&json!({}), &["a", "b", "c", "d"]))
        .unwrap();
    assert_eq!(winners(&outcome), ["c", "d"]);
    assert_eq!(facts(&outcome), ["1", "5", "1", "1"]);
    assert_eq!(
        outcome.reasoning,
        "the best-scored of 2 valid answers of 4 agents"
    );
}

#[test]
fn a_scorer_ranks_the_valid_answers() {
    let two = VALID.replace("}]", r#"}, {"title": "U", "description": "D", "estimated_hours": 1, "deliberation_indices": [], "priority": 1}]"#);
    let script = texts(&[("a", &[VALID]), ("b", &[&two])]).scorer(|candidates| {
        let score = |content: &str| Score::new(content.len() as f64 / 1_000.0);
        Ok(candidates.iter().map(|one| score(&one.content)).collect())
    });
    let outcome = script
        .deliberate::<TaskExtraction>(with(&json!({}), &["a", "b"]))
        .unwrap();
    assert_eq!(winners(&outcome), ["b", "a"]);
    assert_eq!(facts(&outcome)[0], "2");
}

#[test]
fn when_the_budget_is_used_up_nobody_is_asked_again() {
    let script = texts(&[("a", &["no"]), ("b", &[VALID])]).limits(Some(2), None);
    let outcome = script
        .deliberate::<TaskExtraction>(with(&json!({}), &["a", "b"]))
        .unwrap();
    assert_eq!((winners(&outcome), script.requests().len()), (vec!["b"], 2));
    let script = texts(&[("a", &["{}"])]).limits(Some(2), None);
    let error = script
        .deliberate::<TaskExtraction>(with(&json!({}), &["a"]))
        .unwrap_err();
    assert_eq!(
        error,
        "no agent gave valid tasks: agent `a`: asked 2 times, and not again \
         (a limit is used up: generations): tasks is missing"
    );
}

#[test]
fn when_no_generation_succeeds_the_error_carries_the_failures() {
    let script = texts(&[("a", &["!"])]);
    let error = script
        .deliberate::<TaskExtraction>(with(&json!({}), &["a"]))
        .unwrap_err();
    assert_eq!(
        error,
        "no agent gave valid tasks: agent `a`: no model server could answer: no backend"
    );
}
