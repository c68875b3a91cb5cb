//! What can go wrong at a model server is told by its cause, and ends only what depended on it.

use conclave_tests::beside::Beside;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{answers, failure, pb};
use conclave_tests::dead_server::DeadServer;
use conclave_tests::draft::{Change as _, vote};
use conclave_tests::host::{Host, Setup};
use conclave_tests::stub_server::StubServer;

/// Nothing is tried again.
fn once(models: &[&str]) -> pb::Deliberation {
    vote(models).retries(0)
}

/// A host that does not wait for long, and may ask one more endpoint.
async fn impatient(stub: &StubServer, allowed: &str) -> Host {
    let setup = Setup::asking(stub).expect("there is a place for data");
    let setup = setup
        .set("inference.allowed_endpoints", allowed)
        .set("inference.first_byte_timeout_seconds", "5")
        .set("inference.idle_timeout_seconds", "5");
    setup.start().await.expect("the host starts")
}

/// Models that fail, with words of the cause.
const FAILURES: [(&str, &str); 11] = [
    ("hang", "sent nothing for 5 s"),
    ("hang-after:2", "sent nothing for 5 s"),
    ("status:400", "rejected the request with status 400"),
    ("unknown-model", "model `unknown-model` is not served"),
    ("status:429", "is overloaded (status 429)"),
    ("status:500", "status 500"),
    ("status:503", "status 503"),
    ("half-stream", "ended before the answer was complete"),
    ("invalid-json", "no chat completion"),
    ("plain:invalid-json", "no chat completion"),
    ("error-event", "the stub's engine died"),
];

#[tokio::test]
async fn each_failure_of_a_model_server_names_its_cause_and_ends_its_deliberation_alone() {
    let stub = StubServer::start().await.unwrap();
    let host = impatient(&stub, "").await;
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    // All at once: those that hang, hang at the same time.
    let mut failing = Vec::new();
    for (model, cause) in FAILURES {
        let created = client.create(once(&[model])).await.unwrap();
        failing.push((created.uid, model, cause));
    }
    for (uid, model, cause) in failing {
        let done = client.wait(&uid).await.unwrap();
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
    beside.ends_unaffected(&stub, &client).await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_names_the_server_and_ends_its_deliberation_alone() {
    let stub = StubServer::start().await.unwrap();
    let dead = DeadServer::bind().unwrap();
    let host = impatient(&stub, &dead.url()).await;
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    let mut asked = once(&["answer:yes"]);
    asked.endpoint = dead.url();
    let done = client.run(asked).await.unwrap();
    let (reason, message) = failure(&done);
    assert_eq!(reason, "ALL_AGENTS_FAILED", "{message}");
    assert!(
        message.contains(&format!("{} is unavailable", dead.url())),
        "{message}"
    );
    assert!(message.to_lowercase().contains("refused"), "{message}");
    beside.ends_unaffected(&stub, &client).await.unwrap();
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
