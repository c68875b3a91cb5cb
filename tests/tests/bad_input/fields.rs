//! One rule broken each.

use std::collections::HashMap;
use std::time::Duration;

use conclave_tests::client::pb;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{reason, violations};
use conclave_tests::draft::Change as _;
use conclave_tests::host::Host;
use conclave_tests::stub_server::StubServer;
use tonic::Code;

use crate::sound;

type Edit = fn(&mut pb::Deliberation);

fn task(deliberation: &mut pb::Deliberation) -> &mut pb::Task {
    deliberation.task.get_or_insert_default()
}

fn strategy(deliberation: &mut pb::Deliberation) -> &mut pb::PluginSelection {
    deliberation.strategy.get_or_insert_default()
}

fn scorer(deliberation: &mut pb::Deliberation) -> &mut pb::PluginSelection {
    deliberation.scorer.get_or_insert_default()
}

/// More characters than any name or id may have.
fn long() -> String {
    "x".repeat(300)
}

/// A text that would ring a terminal's bell.
fn control() -> String {
    "a\u{7}".to_owned()
}

fn entry(key: &str, value: String) -> HashMap<String, String> {
    HashMap::from([(key.to_owned(), value)])
}

fn entries(count: usize) -> HashMap<String, String> {
    let keys = (0..count).map(|at| (format!("key-{at}"), String::new()));
    keys.collect()
}

/// Params that are a JSON object of more than 256 KiB.
fn large_params() -> String {
    format!(r#"{{"text": "{}"}}"#, "x".repeat(256 << 10))
}

/// Params with an object around 64 arrays.
fn deep_params() -> String {
    format!(r#"{{"list": {}{}}}"#, "[".repeat(64), "]".repeat(64))
}

/// The field, a word of the rule, and how it is broken.
const BROKEN: &[(&str, &str, Edit)] = &[
    ("task.id", "empty", |d| task(d).id.clear()),
    ("task.id", "300 characters", |d| task(d).id = long()),
    ("task.id", "control", |d| task(d).id = control()),
    ("task.description", "empty", |d| {
        task(d).description = " \n ".to_owned();
    }),
    ("task.description", "1048577 bytes", |d| {
        task(d).description = "x".repeat((1 << 20) + 1);
    }),
    ("task.role", "300 characters", |d| task(d).role = long()),
    ("task.role", "control", |d| task(d).role = control()),
    ("task.model", "300 characters", |d| task(d).model = long()),
    ("task.model", "control", |d| task(d).model = control()),
    ("task.agents", "At least one agent", |d| {
        task(d).agents.clear();
    }),
    ("task.agents", "65 agents", |d| {
        let agents = (0..65).map(|at| pb::Agent {
            id: format!("agent-{at}"),
            ..pb::Agent::default()
        });
        task(d).agents = agents.collect();
    }),
    ("task.agents[1].id", "empty", |d| {
        task(d).agents[1].id.clear();
    }),
    ("task.agents[1].id", "twice", |d| {
        task(d).agents[1].id = "a".to_owned();
    }),
    ("task.agents[1].id", "129 characters, at most 128", |d| {
        task(d).agents[1].id = "x".repeat(129);
    }),
    ("task.agents[0].id", "control", |d| {
        task(d).agents[0].id = control();
    }),
    ("task.agents[1].role", "300 characters", |d| {
        task(d).agents[1].role = long();
    }),
    ("task.agents[0].role", "control", |d| {
        task(d).agents[0].role = control();
    }),
    ("task.agents[0].model", "300 characters", |d| {
        task(d).agents[0].model = long();
    }),
    ("task.agents[0].model", "control", |d| {
        task(d).agents[0].model = control();
    }),
    ("task.agents[0].prompt_template", "Jinja", |d| {
        task(d).agents[0].prompt_template = "{{ task".to_owned();
    }),
    ("task.agents[1].prompt_template", "65537 bytes", |d| {
        task(d).agents[1].prompt_template = "x".repeat((64 << 10) + 1);
    }),
    ("task.metadata", "65 entries", |d| {
        task(d).metadata = entries(65);
    }),
    ("task.metadata key", "empty", |d| {
        task(d).metadata = entry("", String::new());
    }),
    ("task.metadata key", "300 characters", |d| {
        task(d).metadata = entry(&long(), String::new());
    }),
    ("task.metadata key", "control", |d| {
        task(d).metadata = entry(&control(), String::new());
    }),
    ("task.metadata[big]", "17408 bytes", |d| {
        task(d).metadata = entry("big", "x".repeat(17 << 10));
    }),
    ("labels", "65 entries", |d| d.labels = entries(65)),
    ("labels key", "empty", |d| {
        d.labels = entry("", String::new());
    }),
    ("labels key", "control", |d| {
        d.labels = entry(&control(), String::new());
    }),
    ("labels[big]", "17408 bytes", |d| {
        d.labels = entry("big", "x".repeat(17 << 10));
    }),
    ("correlation_id", "characters", |d| {
        d.correlation_id = long();
    }),
    ("correlation_id", "control", |d| {
        d.correlation_id = control();
    }),
    ("endpoint", "http", |d| {
        d.endpoint = "ftp://models".to_owned();
    }),
    ("timeout", "above 0", |d| {
        d.timeout = Some(prost_types::Duration::default());
    }),
    ("timeout", "1800", |d| {
        d.timeout = prost_types::Duration::try_from(Duration::from_secs(1801)).ok();
    }),
    ("max_retries", "at most 10", |d| d.max_retries = Some(11)),
    ("max_retries", "negative", |d| d.max_retries = Some(-1)),
    ("strategy.name", "empty", |d| {
        strategy(d).name.clear();
        strategy(d).version = "0.1.0".to_owned();
    }),
    ("strategy.name", "300 characters", |d| {
        strategy(d).name = long();
    }),
    ("strategy.name", "control", |d| strategy(d).name = control()),
    ("strategy.version", "characters", |d| {
        strategy(d).version = long();
    }),
    ("strategy.version", "control", |d| {
        strategy(d).version = control();
    }),
    ("strategy.digest", "64", |d| {
        strategy(d).digest = "abc".to_owned();
    }),
    ("strategy.params_json", "not JSON", |d| {
        strategy(d).params_json = "{".to_owned();
    }),
    ("strategy.params_json", "a JSON object", |d| {
        strategy(d).params_json = "[]".to_owned();
    }),
    ("strategy.params_json", "at most 262144", |d| {
        strategy(d).params_json = large_params();
    }),
    ("strategy.params_json", "65 levels deep, at most 64", |d| {
        strategy(d).params_json = deep_params();
    }),
    ("strategy.params_json/samples", "minimum", |d| {
        strategy(d).params_json = r#"{"samples": 0}"#.to_owned();
    }),
    ("scorer.name", "300 characters", |d| scorer(d).name = long()),
    ("scorer.name", "control", |d| scorer(d).name = control()),
    ("scorer.version", "characters", |d| {
        scorer(d).version = long();
    }),
    ("scorer.version", "control", |d| {
        scorer(d).version = control();
    }),
    ("scorer.digest", "64", |d| {
        scorer(d).digest = "sha256:abc".to_owned();
    }),
    ("scorer.params_json", "not JSON", |d| {
        scorer(d).params_json = "nonsense".to_owned();
    }),
    ("scorer.params_json", "at most 262144", |d| {
        scorer(d).params_json = large_params();
    }),
    ("scorer.params_json", "65 levels deep, at most 64", |d| {
        scorer(d).params_json = deep_params();
    }),
];

#[tokio::test]
async fn every_field_that_breaks_a_rule_is_named_with_the_rule() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    for &(field, word, edit) in BROKEN {
        let mut broken = sound();
        edit(&mut broken);
        let what = format!("{field}, {word}");
        let status = client.create(broken).await.expect_err(&what);
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_FIELD"),
            "{what}: {status}"
        );
        let violations = violations(&status);
        let rules: Vec<_> = violations.values().map(String::as_str).collect();
        let named: Vec<_> = violations.keys().map(String::as_str).collect();
        assert_eq!(named, [format!("deliberation.{field}")], "{what}");
        assert!(rules[0].contains(word), "{what}: {rules:?}");
        let last = field.rsplit('.').next().unwrap_or(field);
        assert!(status.message().contains(last), "{what}: {status}");
    }
    assert_eq!(stub.requests().len(), 0, "a refused request asks no model");
    assert_eq!(client.run(sound()).await.unwrap().state(), State::Completed);
}

#[tokio::test]
async fn all_rules_that_a_request_breaks_are_listed_at_once() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let mut broken = sound().task(|task| task.id.clear());
    broken.max_retries = Some(11);
    let status = client.create(broken).await.unwrap_err();
    let named: Vec<_> = violations(&status).into_keys().collect();
    assert_eq!(named, ["deliberation.max_retries", "deliberation.task.id"]);
    // Neither what is missing altogether.
    let status = client
        .create(pb::Deliberation::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}
