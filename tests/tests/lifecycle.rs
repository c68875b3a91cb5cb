//! A deliberation is waited for, cancelled, timed out, tried again, and submitted twice.

use std::collections::HashMap;
use std::time::Duration;

use conclave_tests::client::pb;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::pb::deliberation_event::Event;
use conclave_tests::client::{answers, failure, reason};
use conclave_tests::draft::{Change as _, vote};
use conclave_tests::host::Host;
use conclave_tests::patience::within;
use conclave_tests::stub_server::{self, StubServer};
use tonic::Code;

#[tokio::test]
async fn waiting_ends_with_the_outcome_or_with_its_own_timeout() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    stub.hold();
    let created = client.create(vote(&["answer:yes"])).await.unwrap();
    let waited = client
        .wait_for(&created.uid, Duration::from_millis(50))
        .await
        .unwrap();
    assert_eq!((waited.state(), waited.outcome), (State::Running, None));
    assert_eq!(
        client.get(&created.uid).await.unwrap().state(),
        State::Running
    );
    let (waited, ()) = tokio::join!(client.wait(&created.uid), async { stub.release() });
    assert_eq!(waited.unwrap().state(), State::Completed);
    let unknown = client.wait("deliberation-0").await.unwrap_err();
    assert_eq!(
        (unknown.code(), reason(&unknown).as_str()),
        (Code::NotFound, "DELIBERATION_NOT_FOUND")
    );
}

#[tokio::test]
async fn a_cancelled_deliberation_aborts_its_generations_in_the_model_server() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let endless = "slow-tokens:100000:5";
    let created = client.create(vote(&[endless, endless])).await.unwrap();
    let mut events = client.watch(&created.uid, 0).await.unwrap();
    events
        .until("a token", |event| matches!(event, Event::Tokens(_)))
        .await
        .unwrap();
    within(
        "both generations",
        stub.until(|requests| requests.len() == 2),
    )
    .await
    .unwrap();

    let cancelled = client.cancel(&created.uid, "enough").await.unwrap();
    assert_eq!(
        (cancelled.state(), cancelled.cancel_reason.as_str()),
        (State::Cancelled, "enough")
    );
    let usage = cancelled.usage.unwrap();
    assert_eq!(usage.generations_cancelled, 2);
    assert!(usage.wasted_tokens > 0, "{usage:?}");
    let aborted = stub.until(|requests| {
        requests
            .iter()
            .all(|one| one.state == stub_server::State::Aborted)
    });
    within("the model server to be told", aborted)
        .await
        .unwrap();
    events
        .until("the last event", |event| {
            matches!(event, Event::Finished(_))
        })
        .await
        .unwrap();
    // A second cancel changes nothing.
    assert_eq!(
        client.cancel(&created.uid, "again").await.unwrap(),
        cancelled
    );
    assert_eq!(
        client
            .cancel("deliberation-0", "")
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn the_timeout_of_a_request_ends_it_and_its_generations() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let done = client
        .run(vote(&["hang"]).timeout(Duration::from_secs(5)))
        .await
        .unwrap();
    assert_eq!(done.state(), State::Failed);
    let (reason, message) = failure(&done);
    assert_eq!(reason, "DEADLINE_EXCEEDED");
    assert!(message.contains("5 s"), "{message}");
    let aborted = stub.until(|requests| {
        let first = requests.first();
        first.is_some_and(|first| first.state == stub_server::State::Aborted)
    });
    within("the model server to be told", aborted)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_failed_generation_is_tried_again_as_often_as_the_request_allows() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let created = client
        .create(vote(&["flaky:2:answer:yes"]).retries(2))
        .await
        .unwrap();
    let events = client.history(&created.uid).await.unwrap();
    let started = |event: &pb::DeliberationEvent| match &event.event {
        Some(Event::GenerationStarted(started)) => {
            Some((started.attempt, started.retry_cause.clone()))
        }
        _ => None,
    };
    let causes: Vec<_> = events.iter().filter_map(started).collect();
    assert_eq!(
        causes
            .iter()
            .map(|(attempt, _)| *attempt)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(causes[0].1, None);
    for (_, cause) in &causes[1..] {
        let cause = cause.clone().unwrap();
        assert_eq!(cause.kind, "unavailable");
        assert!(cause.message.contains("503"), "{cause:?}");
    }
    let ids: Vec<_> = stub
        .requests()
        .into_iter()
        .filter_map(|request| request.request_id)
        .collect();
    let expected = [1, 2, 3].map(|attempt| format!("{}-1-{attempt}", created.uid));
    assert_eq!(ids, expected);
    assert_eq!(answers(&client.wait(&created.uid).await.unwrap()), ["yes"]);

    stub.reset();
    let done = client
        .run(vote(&["flaky:2:answer:yes"]).retries(1))
        .await
        .unwrap();
    let (reason, message) = failure(&done);
    assert_eq!((reason, stub.requests().len()), ("ALL_AGENTS_FAILED", 2));
    assert!(message.contains("503"), "{message}");
}

#[tokio::test]
async fn labels_and_the_correlation_id_come_back_and_reach_no_prompt() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let mut asked = vote(&["echo"]);
    asked.labels = HashMap::from([("team".to_owned(), "platform".to_owned())]);
    asked.correlation_id = "ceremony-7".to_owned();
    let done = client.run(asked.clone()).await.unwrap();
    assert_eq!(
        (&done.labels, &done.correlation_id),
        (&asked.labels, &asked.correlation_id)
    );
    assert_eq!(answers(&done), ["Is 7 prime?"]);
}

#[tokio::test]
async fn the_same_request_id_is_the_same_deliberation() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let first = client
        .create_as("key-1", vote(&["answer:yes"]))
        .await
        .unwrap();
    client.wait(&first.uid).await.unwrap();
    let again = client
        .create_as("key-1", vote(&["answer:yes"]))
        .await
        .unwrap();
    assert_eq!((&again.uid, stub.requests().len()), (&first.uid, 1));
    let conflict = client
        .create_as("key-1", vote(&["answer:no"]))
        .await
        .unwrap_err();
    assert_eq!(
        (conflict.code(), reason(&conflict).as_str()),
        (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
    );
    assert!(conflict.message().contains("agents"), "{conflict}");
    let without = client.create(vote(&["answer:yes"])).await.unwrap();
    assert_ne!(without.uid, first.uid);
}
