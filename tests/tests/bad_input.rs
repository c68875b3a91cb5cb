//! What is wrong with a request is said in full, and changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use conclave_tests::client::pb;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{reason, violations};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::host::{Host, Setup};
use conclave_tests::stub_server::StubServer;
use serde_json::json;
use tonic::Code;

/// A request that is sound before it is changed.
fn sound() -> pb::Deliberation {
    draft(&["answer:yes", "answer:yes"])
        .strategy("sample-vote", json!({}))
        .scorer("agreement", json!({}))
}

type Edit = fn(&mut pb::Deliberation);

fn task(deliberation: &mut pb::Deliberation) -> &mut pb::Task {
    deliberation.task.get_or_insert_default()
}

fn strategy(deliberation: &mut pb::Deliberation) -> &mut pb::PluginSelection {
    deliberation.strategy.get_or_insert_default()
}

/// One rule broken each: the field, a word of the rule, and how.
const BROKEN: [(&str, &str, Edit); 22] = [
    ("deliberation.task.id", "empty", |d| task(d).id.clear()),
    ("deliberation.task.id", "300", |d| {
        task(d).id = "x".repeat(300);
    }),
    ("deliberation.task.description", "empty", |d| {
        task(d).description = " \n ".to_owned();
    }),
    ("deliberation.task.description", "bytes", |d| {
        task(d).description = "x".repeat((1 << 20) + 1);
    }),
    ("deliberation.task.role", "control", |d| {
        task(d).role = "a\u{7}".to_owned();
    }),
    ("deliberation.task.agents", "At least one agent", |d| {
        task(d).agents.clear();
    }),
    ("deliberation.task.agents", "65", |d| {
        let agents = (0..65).map(|at| pb::Agent {
            id: format!("agent-{at}"),
            ..pb::Agent::default()
        });
        task(d).agents = agents.collect();
    }),
    ("deliberation.task.agents[1].id", "empty", |d| {
        task(d).agents[1].id.clear();
    }),
    ("deliberation.task.agents[1].id", "twice", |d| {
        task(d).agents[1].id = "a".to_owned();
    }),
    ("deliberation.task.agents[0].model", "300", |d| {
        task(d).agents[0].model = "x".repeat(300);
    }),
    (
        "deliberation.task.agents[0].prompt_template",
        "Jinja",
        |d| {
            task(d).agents[0].prompt_template = "{{ task".to_owned();
        },
    ),
    ("deliberation.task.metadata key", "empty", |d| {
        task(d).metadata = HashMap::from([(String::new(), String::new())]);
    }),
    ("deliberation.task.metadata[big]", "bytes", |d| {
        task(d).metadata = HashMap::from([("big".to_owned(), "x".repeat(17 << 10))]);
    }),
    ("deliberation.labels key", "empty", |d| {
        d.labels = HashMap::from([(String::new(), String::new())]);
    }),
    ("deliberation.endpoint", "http", |d| {
        d.endpoint = "ftp://models".to_owned();
    }),
    ("deliberation.timeout", "above 0", |d| {
        d.timeout = Some(prost_types::Duration::default());
    }),
    ("deliberation.timeout", "1800", |d| {
        d.timeout = prost_types::Duration::try_from(Duration::from_secs(1801)).ok();
    }),
    ("deliberation.max_retries", "at most 10", |d| {
        d.max_retries = Some(11);
    }),
    ("deliberation.max_retries", "negative", |d| {
        d.max_retries = Some(-1);
    }),
    ("deliberation.strategy.params_json", "not JSON", |d| {
        strategy(d).params_json = "{".to_owned();
    }),
    (
        "deliberation.strategy.params_json/samples",
        "minimum",
        |d| {
            strategy(d).params_json = r#"{"samples": 0}"#.to_owned();
        },
    ),
    ("deliberation.strategy.digest", "64", |d| {
        strategy(d).digest = "abc".to_owned();
    }),
];

#[tokio::test]
async fn every_field_that_breaks_a_rule_is_named_with_the_rule() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    for (field, word, edit) in BROKEN {
        let mut broken = sound();
        edit(&mut broken);
        let status = client.create(broken).await.expect_err(field);
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_FIELD"),
            "{field}"
        );
        let violations = violations(&status);
        assert!(
            violations
                .get(field)
                .is_some_and(|rule| rule.contains(word)),
            "{field}, {word}: {violations:?}"
        );
        let last = field.rsplit('.').next().unwrap_or(field);
        assert!(status.message().contains(last), "{status}");
    }
    // Several at once are all listed.
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

    assert_eq!(stub.requests().len(), 0, "a refused request asks no model");
    assert_eq!(client.run(sound()).await.unwrap().state(), State::Completed);
}

#[tokio::test]
async fn an_unknown_plugin_is_answered_with_the_names_that_come_near() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let unknown = |strategy: &str, scorer: &str| {
        sound()
            .strategy(strategy, json!({}))
            .scorer(scorer, json!({}))
    };
    let cases = [
        (
            unknown("sampel-vote", "agreement"),
            "deliberation.strategy.name",
            "did you mean `sample-vote`?",
        ),
        (
            unknown("sample-vote", "jugde"),
            "deliberation.scorer.name",
            "did you mean `judge`?",
        ),
        (
            unknown("agreement", "agreement"),
            "deliberation.strategy.name",
            "`critique-revise`",
        ),
        (
            unknown("sample-vote@9.9.9", "agreement"),
            "deliberation.strategy.name",
            "no strategy",
        ),
    ];
    for (deliberation, field, hint) in cases {
        let status = client.create(deliberation).await.expect_err(field);
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "PLUGIN_NOT_FOUND")
        );
        assert!(status.message().contains(hint), "{status}");
        assert_eq!(violations(&status).into_keys().collect::<Vec<_>>(), [field]);
    }
    let mut other_version = sound();
    strategy(&mut other_version).version = "9.9.9".to_owned();
    let status = client.create(other_version).await.unwrap_err();
    assert!(status.message().contains("sample-vote@9.9.9"), "{status}");
}

#[tokio::test]
async fn an_endpoint_that_the_operator_does_not_list_is_refused() {
    let stub = StubServer::start().await.unwrap();
    let other = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    for endpoint in [
        other.url().as_str(),
        "http://169.254.169.254",
        "http://localhost.:1",
    ] {
        let mut asked = sound();
        asked.endpoint = endpoint.to_owned();
        let status = client.create(asked).await.expect_err(endpoint);
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::PermissionDenied, "ENDPOINT_NOT_ALLOWED")
        );
        assert!(
            status.message().contains("inference.allowed_endpoints"),
            "{status}"
        );
    }
    assert_eq!(other.requests().len(), 0);
    let mut own = sound();
    own.endpoint = format!("{}/v1", stub.url());
    assert_eq!(client.run(own).await.unwrap().state(), State::Completed);

    // Without any model server nothing can be run.
    let host = Setup::bare().unwrap().start().await.unwrap();
    let status = host
        .client()
        .await
        .unwrap()
        .create(sound())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "NO_ENDPOINT")
    );
}
