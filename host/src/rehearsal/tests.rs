//! Rehearsals of the plugins in the box: what a rehearsal shows, and that they keep the rules.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::entry::Entry;
use conclave_core::generation::GenerationRequest;
use conclave_core::ids::JobId;
use conclave_core::outcome::Verdict;
use serde_json::json;

use super::case::{Case, Ran, Scorers};
use super::conformance::{self, Subject};
use super::replay::{again, anew};
use super::{Answer, Answers, Grades, Lead, Play, Played, Scene, Score, play, record};
use crate::plugin_store::built_in;
use crate::wasm::{Checked, Engine, EngineConfig, Solo};

fn engine() -> Engine {
    Engine::start(EngineConfig {
        instances_max: 1,
        ..EngineConfig::default()
    })
    .unwrap()
}

async fn plugin(engine: &Engine, name: &str) -> (Solo, Checked) {
    let bytes = built_in(name).unwrap();
    let checked = engine.check(bytes).await.unwrap();
    let solo = engine.solo(bytes.into()).await.unwrap();
    (solo, checked)
}

struct BuiltIn;

impl Scorers for BuiltIn {
    fn built_in(&self, name: &str) -> Option<Vec<u8>> {
        built_in(name).map(<[u8]>::to_vec)
    }
}

/// Runs a case, given as text, with a plugin in the box.
async fn run(name: &str, text: &str) -> Ran {
    let engine = engine();
    let (solo, checked) = plugin(&engine, name).await;
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), text, &solo, &checked, &engine).await
}

async fn run_in(dir: &Path, text: &str, solo: &Solo, checked: &Checked, engine: &Engine) -> Ran {
    let path = dir.join("case.toml");
    std::fs::write(&path, text).unwrap();
    let case = Case::read(&path).unwrap();
    case.run(solo, checked, engine, &BuiltIn).await.unwrap()
}

const MAJORITY: &str = r#"
[task]
description = "Is 7 prime?"
agents = ["a", "b", "c"]
[params]
samples = 3
stop = { rule = "none" }
[[generation]]
agent = "a"
text = "no"
latency_ms = 3000000
[[generation]]
text = "yes"
[expect]
winner = "yes"
generations = 3
"#;

#[tokio::test]
async fn fifty_minutes_of_generation_take_no_time_and_the_outcome_is_as_scripted() {
    let ran = run("sample-vote", MAJORITY).await;
    assert!(ran.problems.is_empty(), "{:?}", ran.problems);
    let Played { records, took, .. } = &ran.played;
    assert!(records.last().unwrap().at_ms >= 3_000_000, "{records:?}");
    assert!(took.as_secs() < 60, "{took:?}");
    assert_eq!(ran.played.leaked, 0);
}

#[tokio::test]
async fn what_differs_is_named_with_what_was_expected_and_what_came() {
    let text = MAJORITY
        .replace(
            "winner = \"yes\"",
            "winner = { content = \"no\", agent = \"c\" }",
        )
        .replace("generations = 3", "generations = { max = 2 }");
    let ran = run("sample-vote", &text).await;
    let problems = ran.problems.join("\n");
    for part in [
        "winner.content: expected \"no\", got \"yes\"",
        "generations: expected at most 2, got 3",
    ] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
}

#[tokio::test]
async fn a_generation_that_no_rule_fits_fails_the_case() {
    let text = MAJORITY.replace(
        "[[generation]]\ntext",
        "[[generation]]\nagent = \"b\"\ntext",
    );
    let problems = run("sample-vote", &text).await.problems.join("\n");
    assert!(
        problems.contains("fits no [[generation]]: agent `c`"),
        "{problems}"
    );
}

#[tokio::test]
async fn a_scorer_grades_the_candidates_of_its_case() {
    let ran = run(
        "agreement",
        r#"
candidates = ["yes", { agent = "b", content = "no" }, "Yes"]
[task]
description = "Is 7 prime?"
[expect]
scores = [0.667, 0.333, 0.667]
winner = { agent = "agent-1" }
"#,
    )
    .await;
    assert!(ran.problems.is_empty(), "{:?}", ran.problems);
}

#[tokio::test]
async fn a_record_replays_without_divergence_and_shows_where_another_plugin_diverges() {
    let ran = run("sample-vote", MAJORITY).await;
    let bytes = record::write(&ran.played.records);
    let records = record::read(&bytes).unwrap();
    let engine = engine();
    let (solo, checked) = plugin(&engine, "sample-vote").await;
    let replayed = again(&records, &solo, &checked.plugin.reference)
        .await
        .unwrap();
    assert_eq!(replayed.divergence, None);
    assert_eq!(replayed.played.verdict, ran.played.verdict);
    assert_eq!(replayed.played.requests.len(), 3, "prompts are seen again");
    let mut otherwise = records.clone();
    if let Some(Entry::Finished {
        verdict: Verdict::Completed(outcome),
        ..
    }) = otherwise.last_mut().map(|record| &mut record.entry)
    {
        outcome.proposal.reasoning = "a reason of old".to_owned();
    }
    let replayed = again(&otherwise, &solo, &checked.plugin.reference)
        .await
        .unwrap();
    let divergence = replayed.divergence.unwrap();
    assert!(
        divergence.contains("another outcome: reasoning: expected \"a reason of old\", got \""),
        "{divergence}"
    );

    let (other, checked) = plugin(&engine, "critique-revise").await;
    let reference = &checked.plugin.reference;
    // Its params are others': the record's are of `sample-vote`.
    let mut foreign = records.clone();
    if let Entry::Accepted(accepted) = &mut foreign[0].entry {
        accepted.request.strategy_params = json!({});
    }
    let replayed = again(&foreign, &other, reference).await.unwrap();
    let divergence = replayed.divergence.unwrap();
    assert!(
        divergence.contains("diverged from its journal at entry "),
        "{divergence}"
    );
    let begun = anew(&foreign, &other, reference, None).await.unwrap();
    assert!(
        begun.unrecorded[0].contains("is not in the record"),
        "{:?}",
        begun.unrecorded
    );
    assert!(matches!(begun.played.verdict, Verdict::Failed(_)));

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.jsonl"), &bytes).unwrap();
    let (solo, checked) = plugin(&engine, "sample-vote").await;
    for text in [
        "record = \"x.jsonl\"\n",
        "record = \"x.jsonl\"\n[expect]\nwinner = \"yes\"\ngenerations = 3\n",
    ] {
        let ran = run_in(dir.path(), text, &solo, &checked, &engine).await;
        assert!(ran.problems.is_empty(), "{:?}", ran.problems);
    }
    let text = "record = \"x.jsonl\"\n[expect]\ndivergence = true\n";
    let ran = run_in(dir.path(), text, &solo, &checked, &engine).await;
    assert_eq!(ran.problems.len(), 1, "{:?}", ran.problems);
}

#[tokio::test]
async fn a_cancelled_deliberation_is_repeated_up_to_its_cancel() {
    let text = format!("cancel_at_ms = 500\n{MAJORITY}").replace(
        "[expect]\nwinner = \"yes\"",
        "[expect]\noutcome = \"cancelled\"",
    );
    let ran = run("sample-vote", &text).await;
    assert!(ran.problems.is_empty(), "{:?}", ran.problems);
    let engine = engine();
    let (solo, checked) = plugin(&engine, "sample-vote").await;
    let reference = &checked.plugin.reference;
    let replayed = again(&ran.played.records, &solo, reference).await.unwrap();
    assert_eq!(replayed.divergence, None);
}

#[tokio::test]
async fn a_scorer_is_replayed_on_every_recorded_call() {
    let ran = run("sample-vote", MAJORITY).await;
    let engine = engine();
    let (solo, checked) = plugin(&engine, "agreement").await;
    let reference = &checked.plugin.reference;
    let mut records = ran.played.records;
    let replayed = again(&records, &solo, reference).await.unwrap();
    assert_eq!(replayed.divergence, None);
    for record in &mut records {
        if let Entry::Scored {
            result: Ok(scores), ..
        } = &mut record.entry
        {
            scores[0].value = 0.125;
        }
    }
    let replayed = again(&records, &solo, reference).await.unwrap();
    let divergence = replayed.divergence.unwrap();
    assert!(
        divergence.starts_with("score call 1: recorded [0.125"),
        "{divergence}"
    );
}

#[tokio::test]
async fn the_plugins_in_the_box_conform() {
    let engine = engine();
    for name in [
        "agreement",
        "critique-revise",
        "judge",
        "sample-vote",
        "task-extraction",
    ] {
        let (solo, checked) = plugin(&engine, name).await;
        let subject = Subject::new(solo, &checked, json!({})).unwrap();
        let mut checks = 0;
        for rule in conformance::rules(subject.kind()) {
            let found = conformance::check(rule, &subject).await;
            assert_eq!(found.result, Ok(()), "{name}: {}", rule.name);
            checks += 1;
        }
        assert!(checks >= 15, "{name}");
    }
}

#[test]
fn every_rule_has_a_check_a_sentence_and_a_place() {
    let contract = include_str!("../../../wit/0.1.0/deliberation.wit");
    for rule in conformance::RULES {
        assert!(rule.says.ends_with('.'), "{}", rule.name);
        let subject = rule.stands.split(':').next().unwrap();
        let word = subject.split(' ').next_back().unwrap();
        let word = word.split('.').next_back().unwrap();
        assert!(
            contract.to_lowercase().contains(&word.to_lowercase()),
            "{}: `{word}` is not in the contract",
            rule.name
        );
    }
}

/// Tells how nice the thread is that asks.
struct HowNice(std::sync::Mutex<Option<i32>>);

impl Answers for HowNice {
    fn answer(&self, _: JobId, _: &GenerationRequest) -> Answer {
        let nice = rustix::process::getpriority_process(None).unwrap();
        *self.0.lock().unwrap() = Some(nice);
        Answer::text("42", Duration::from_secs(1))
    }
}

#[tokio::test]
async fn a_rehearsal_gives_way_and_leaves_nobody_else_nicer() {
    let engine = engine();
    let (solo, checked) = plugin(&engine, "sample-vote").await;
    let mut scene = Scene::of_agents(3);
    scene.strategy = checked.plugin.reference.clone();
    let before = rustix::process::getpriority_process(None).unwrap();
    let answers = Arc::new(HowNice(std::sync::Mutex::default()));
    let played = play(Play {
        records: vec![scene.accepted().unwrap()],
        strategy: Lead::Component(solo),
        scorer: Score::Grades(Grades::falling()),
        answers: answers.clone(),
        cancel_at_ms: None,
    });
    played.await.unwrap();
    let within = answers.0.lock().unwrap().unwrap();
    assert!(within > before || before == 19, "{before}, then {within}");
    let blocking = tokio::task::spawn_blocking(|| rustix::process::getpriority_process(None));
    assert_eq!(blocking.await.unwrap().unwrap(), before);
}
