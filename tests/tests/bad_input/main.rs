//! What is wrong with a request is said in full, and changes nothing.

mod configuration;
mod fields;

use conclave_tests::beside::Beside;
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
    other_version.strategy.get_or_insert_default().version = "9.9.9".to_owned();
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

#[tokio::test]
async fn a_prompt_that_is_too_large_is_refused_with_its_bound() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    let sized = |bytes: usize| sound().task(|task| task.description = "x".repeat(bytes));

    // Above what a message may have, nothing of it is read.
    let status = client.create(sized(5 << 20)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        "{status}"
    );
    for words in ["4194304 bytes", "grpc.message_bytes_max"] {
        assert!(status.message().contains(words), "{status}");
    }

    // Above what the field may have.
    let status = client.create(sized((1 << 20) + 1)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD"),
        "{status}"
    );
    let rules = violations(&status);
    assert_eq!(
        rules["deliberation.task.description"],
        "has 1048577 bytes, at most 1048576 are allowed"
    );

    let done = client.run(sized(1 << 20)).await.unwrap();
    assert_eq!(done.state(), State::Completed, "{:?}", done.failure);
    beside.ends_unaffected(&stub, &client).await.unwrap();
}
