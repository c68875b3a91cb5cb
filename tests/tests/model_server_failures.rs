//! What can go wrong at a model server is told by its cause, and ends only what depended on it.

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{answers, failure, pb};
use conclave_tests::draft::{Change as _, vote};
use conclave_tests::host::{Host, Setup};
use conclave_tests::stub_server::StubServer;
use tokio::net::TcpListener;

/// Nothing is tried again.
fn once(models: &[&str]) -> pb::Deliberation {
    vote(models).retries(0)
}

/// A host that does not wait for long.
async fn impatient(stub: &StubServer, dead: &str) -> Host {
    let setup = Setup::asking(stub).expect("there is a place for data");
    let setup = setup
        .set("inference.allowed_endpoints", dead)
        .set("inference.first_byte_timeout_seconds", "1")
        .set("inference.idle_timeout_seconds", "1");
    setup.start().await.expect("the host starts")
}

/// An endpoint where nobody listens.
async fn dead_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

#[tokio::test]
async fn each_failure_of_a_model_server_names_its_cause() {
    let stub = StubServer::start().await.unwrap();
    let host = impatient(&stub, "").await;
    let client = host.client().await.unwrap();
    let cases = [
        ("hang", "sent nothing for 1 s"),
        ("hang-after:2", "sent nothing for 1 s"),
        ("status:400", "rejected the request with status 400"),
        ("unknown-model", "model `unknown-model` is not served"),
        ("status:429", "is overloaded (status 429)"),
        ("status:500", "status 500"),
        ("half-stream", "ended before the answer was complete"),
        ("invalid-json", "no chat completion"),
        ("plain:invalid-json", "no chat completion"),
        ("error-event", "the stub's engine died"),
    ];
    for (model, cause) in cases {
        let done = client.run(once(&[model])).await.unwrap();
        let (reason, message) = failure(&done);
        assert_eq!(
            (done.state(), reason),
            (State::Failed, "ALL_AGENTS_FAILED"),
            "{model}: {message}"
        );
        assert!(message.contains(cause), "{model}: {message}");
        assert!(
            !message.contains("Is 7 prime?"),
            "{model} repeats the prompt: {message}"
        );
    }
}

#[tokio::test]
async fn a_refused_connection_names_the_server() {
    let stub = StubServer::start().await.unwrap();
    let dead = dead_endpoint().await;
    let host = impatient(&stub, &dead).await;
    let client = host.client().await.unwrap();
    let mut asked = once(&["answer:yes"]);
    asked.endpoint.clone_from(&dead);
    let done = client.run(asked).await.unwrap();
    let (reason, message) = failure(&done);
    assert_eq!(reason, "ALL_AGENTS_FAILED", "{message}");
    assert!(
        message.contains(&format!("{dead} is unavailable")),
        "{message}"
    );
    assert!(message.to_lowercase().contains("refused"), "{message}");
}

#[tokio::test]
async fn an_agent_that_fails_leaves_a_degraded_outcome_that_looks_like_one() {
    let stub = StubServer::start().await.unwrap();
    let host = impatient(&stub, "").await;
    let client = host.client().await.unwrap();
    let done = client
        .run(once(&["answer:yes", "status:500", "half-stream"]))
        .await
        .unwrap();
    assert_eq!(answers(&done), ["yes"]);
    let outcome = done.outcome.unwrap();
    let completeness = outcome.completeness.unwrap();
    assert_eq!(
        (
            completeness.agents,
            completeness.agents_completed,
            completeness.agents_failed
        ),
        (3, 1, 2)
    );
    assert_eq!(outcome.metadata["failed"], "2");
    let usage = done.usage.unwrap();
    assert_eq!(
        (usage.generations_completed, usage.generations_failed),
        (1, 2)
    );
}
