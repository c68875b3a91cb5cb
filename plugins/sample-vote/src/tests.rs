//! The whole strategy, on a scripted host.

use std::cell::Cell;

use conclave_sdk::testing::{Script, task};
use conclave_sdk::{Failure, Outcome, Score, Task};
use serde_json::{Value, json};

use super::*;

fn with(params: &Value, agents: &[&str]) -> Task {
    let mut task = task("What is 3 + 4?", agents);
    task.params = params.to_string();
    task
}

/// Answers the n-th request with the n-th text; `!` fails.
fn texts(texts: &'static [&'static str]) -> Script {
    let next = Cell::new(0);
    Script::new(move |_| {
        let text = texts[next.get()];
        next.set(next.get() + 1);
        match text {
            "!" => Err(Failure::Unavailable("no backend".to_owned())),
            text => Ok(text.to_owned()),
        }
    })
}

fn fact<'a>(outcome: &'a Outcome, key: &str) -> &'a str {
    let fact = outcome.metadata.iter().find(|(name, _)| name == key);
    &fact.unwrap().1
}

fn integers(samples: u32, stop: &Value) -> Value {
    json!({"samples": samples, "extract": {"rule": "last_integer"}, "stop": stop})
}

#[test]
fn the_most_frequent_answer_wins_and_every_agent_has_a_candidate() {
    let script = texts(&["It is 7.", "8", "7", "seven: 7", "no idea"]);
    let params = integers(5, &json!({"rule": "none"}));
    let outcome = script
        .deliberate::<SampleVote>(with(&params, &["a", "b", "c"]))
        .unwrap();
    let candidates: Vec<_> = outcome
        .ranked
        .iter()
        .map(|one| {
            let candidate = &one.candidate;
            (
                candidate.agent.as_str(),
                candidate.content.as_str(),
                candidate.jobs.clone(),
            )
        })
        .collect();
    assert_eq!(
        candidates,
        [
            ("a", "It is 7.", vec![1, 4]),
            ("c", "7", vec![3]),
            ("b", "8", vec![2]),
            ("b", "no idea", vec![5]),
        ]
    );
    assert_eq!(fact(&outcome, "answer"), "7");
    assert_eq!(fact(&outcome, "votes"), r#"{"7":3,"8":1}"#);
    assert_eq!(fact(&outcome, "samples_planned"), "5");
    assert_eq!(fact(&outcome, "samples_used"), "5");
    assert_eq!(fact(&outcome, "abstained"), "1");
    assert_eq!(fact(&outcome, "failed"), "0");
    assert!(!outcome.stopped_early);
    assert_eq!(outcome.reasoning, "`7` has 3 of 4 votes");
    let (kind, payload) = script.events().pop().unwrap();
    assert_eq!(kind, "vote");
    assert_eq!(
        payload,
        r#"{"answers":{"7":3,"8":1},"samples":5,"abstained":1,"failed":0}"#
    );
}

#[test]
fn without_parameters_every_agent_is_asked_once_with_its_own_prompt_and_role() {
    let script = texts(&["yes", "Yes", "no"]);
    let mut task = with(&json!({}), &["a", "b", "c"]);
    task.agents[1].role = "DEV".to_owned();
    task.agents[1].prompt_template = Some("{{ role }}: {{ task }}".to_owned());
    let outcome = script.deliberate::<SampleVote>(task).unwrap();
    assert_eq!(fact(&outcome, "answer"), "yes");

    let requests = script.requests();
    let prompts: Vec<Vec<&str>> = requests
        .iter()
        .map(|request| {
            request
                .messages
                .iter()
                .map(|one| one.content.as_str())
                .collect()
        })
        .collect();
    let plain = vec!["What is 3 + 4?"];
    assert_eq!(
        prompts,
        [
            plain.clone(),
            vec!["You answer as DEV.", "DEV: What is 3 + 4?"],
            plain
        ]
    );
    let seeds: Vec<_> = requests
        .iter()
        .map(|request| request.sampling.seed)
        .collect();
    // The other prompt has a seed of its own; the same one has seeds that follow one another.
    assert_eq!(seeds, [Some(0), Some(1), Some(1)]);
}

#[test]
fn unanimous_agents_stop_beta_after_four_samples() {
    let script = Script::new(|_| Ok("7".to_owned()));
    let params = integers(40, &json!({"rule": "beta"}));
    let outcome = script
        .deliberate::<SampleVote>(with(&params, &["a"]))
        .unwrap();
    assert_eq!(script.requests().len(), 4);
    assert_eq!(outcome.ranked[0].candidate.jobs, [1, 2, 3, 4]);
    assert!(outcome.stopped_early);
    assert_eq!(
        outcome.reasoning,
        "`7` has 4 of 4 votes; sampling stopped at a posterior of 0.9688"
    );
}

/// What the rule alone says about a sequence of answers, one after the other.
fn sequential(stop: Stop, answers: &[bool]) -> usize {
    let mut tally = conclave_sdk::vote::Tally::new();
    let mut votes = Vec::new();
    for answer in answers {
        let place = tally.add(if *answer { "1" } else { "0" }, 1);
        votes.push(crate::stop::Vote::For(place));
        if stop.is_met(&tally, &votes) {
            break;
        }
    }
    votes.len()
}

#[test]
fn as_many_samples_are_taken_as_one_after_the_other_would_be() {
    let rules = [
        (Stop::default(), json!({"rule": "beta"})),
        (
            Stop::Window { size: 5 },
            json!({"rule": "window", "size": 5}),
        ),
    ];
    for pattern in 0..256_u32 {
        // A fixed mixture of long and short runs: bits of a multiplicative hash.
        let bits = u64::from(pattern + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let answers: Vec<bool> = (0..40).map(|n| bits >> n & 0b11 != 0).collect();
        for (stop, json) in &rules {
            let given = answers.clone();
            let next = Cell::new(0);
            let script = Script::new(move |_| {
                let answer = given[next.get()];
                next.set(next.get() + 1);
                Ok(u32::from(answer).to_string())
            });
            let outcome = script
                .deliberate::<SampleVote>(with(&integers(40, json), &["a", "b"]))
                .unwrap();
            let expected = sequential(*stop, &answers);
            assert_eq!(fact(&outcome, "samples_used"), expected.to_string());
            assert_eq!(script.requests().len(), expected);
            assert!(script.cancelled().is_empty());
        }
    }
}

#[test]
fn the_first_m_to_finish_are_kept_and_the_rest_cancelled() {
    let script = Script::new(|request| Ok(request.agent.clone())).latency(|request| {
        let latency = request.agent.trim_start_matches('a').parse();
        latency.unwrap()
    });
    let params = json!({"stop": {"rule": "first-m", "m": 2}});
    let outcome = script
        .deliberate::<SampleVote>(with(&params, &["a40", "a10", "a30", "a20"]))
        .unwrap();
    assert_eq!(script.now_ms(), 20);
    let mut cancelled = script.cancelled();
    cancelled.sort_unstable();
    assert_eq!(cancelled, [1, 3]);
    assert_eq!(fact(&outcome, "samples_used"), "2");
    assert!(outcome.stopped_early);
}

#[test]
fn a_failure_costs_its_vote_only() {
    let script = texts(&["!", "7", "!", "7"]);
    let params = integers(4, &json!({"rule": "none"}));
    let outcome = script
        .deliberate::<SampleVote>(with(&params, &["a"]))
        .unwrap();
    assert_eq!(fact(&outcome, "votes"), r#"{"7":2}"#);
    assert_eq!(fact(&outcome, "failed"), "2");
}

#[test]
fn when_all_fail_the_error_carries_the_last_failure() {
    let script = texts(&["!", "!"]);
    let error = script.deliberate::<SampleVote>(with(&json!({}), &["a", "b"]));
    assert_eq!(
        error.unwrap_err(),
        "no generation succeeded: no model server could answer: no backend"
    );
}

#[test]
fn when_all_abstain_whole_texts_are_compared() {
    let script = texts(&["red", "Blue", " blue"]);
    let params = integers(3, &json!({"rule": "none"}));
    let outcome = script
        .deliberate::<SampleVote>(with(&params, &["a"]))
        .unwrap();
    assert_eq!(fact(&outcome, "answer"), "blue");
    assert_eq!(fact(&outcome, "abstained"), "3");
    assert_eq!(outcome.ranked[0].candidate.content, "Blue");
}

#[test]
fn the_score_decides_between_answers_with_equally_many_votes() {
    let script = texts(&["1", "2"]).scorer(|candidates| {
        let score = |content: &str| Score::new(if content == "2" { 0.9 } else { 0.1 });
        Ok(candidates.iter().map(|one| score(&one.content)).collect())
    });
    let outcome = script
        .deliberate::<SampleVote>(with(&json!({}), &["a", "b"]))
        .unwrap();
    assert_eq!(fact(&outcome, "answer"), "2");
    assert_eq!(outcome.ranked[0].score.value, 0.9);
    assert_eq!(
        outcome.reasoning,
        "`2` has 1 of 2 votes, as many as another answer; the score decided"
    );
}

#[test]
fn the_limits_of_the_deliberation_are_kept() {
    let script = Script::new(|_| Ok("7".to_owned())).limits(Some(3), Some(2));
    let params = integers(8, &json!({"rule": "none"}));
    let outcome = script
        .deliberate::<SampleVote>(with(&params, &["a"]))
        .unwrap();
    assert_eq!(fact(&outcome, "samples_planned"), "8");
    assert_eq!(fact(&outcome, "samples_used"), "3");
    assert!(!outcome.stopped_early);
}
