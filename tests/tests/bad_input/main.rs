//! What is wrong with a request is said in full, and changes nothing.

mod fields;

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
