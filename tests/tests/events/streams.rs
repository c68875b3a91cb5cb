//! Which streams the host makes, and what becomes of events that no stream covers.

use async_nats::jetstream::stream::Config;
use conclave_tests::draft::vote;
use conclave_tests::nats::NatsServer;
use conclave_tests::patience::within;
use conclave_tests::stub_server::StubServer;
use futures::StreamExt as _;

use crate::messages::{Mailbox, subjects};
use crate::{host, setup};

fn stream(name: &str, subject: &str) -> Config {
    Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        ..Config::default()
    }
}

#[tokio::test]
async fn missing_streams_are_made_beside_those_that_are_there() {
    let stub = StubServer::start().await.unwrap();
    let nats = NatsServer::new().await.unwrap();
    let mailbox = Mailbox::open(&nats).await;
    let theirs = stream("theirs", "agent.response.completed");
    mailbox.jetstream().create_stream(theirs).await.unwrap();
    let host = host(&stub, &nats.url()).await;
    let client = host.client().await.unwrap();
    client.run(vote(&["answer:yes", "unknown"])).await.unwrap();
    // Nothing overlaps: `agent.response.failed` has no stream, and holds up nothing.
    let messages = mailbox
        .until("the events", |messages| messages.len() == 3)
        .await;
    assert_eq!(
        subjects(&messages),
        [
            "agent.response.completed",
            "orchestration.deliberation.completed",
            "ray.deliberation.started"
        ]
    );
    assert_eq!(
        mailbox.streams().await,
        ["ORCHESTRATOR_EVENTS", "RAY_DELIBERATIONS", "theirs"]
    );
    let week = mailbox
        .jetstream()
        .get_stream("ORCHESTRATOR_EVENTS")
        .await
        .unwrap();
    assert_eq!(week.cached_info().config.max_age.as_secs(), 7 * 86_400);
    assert!(host.log().contains("agent.response.failed"), "it is told");
}

#[tokio::test]
async fn without_making_streams_an_uncovered_subject_goes_out_plain_and_blocks_nothing() {
    let stub = StubServer::start().await.unwrap();
    let nats = NatsServer::new().await.unwrap();
    let mailbox = Mailbox::open(&nats).await;
    for (name, subject) in [
        ("AGENT_RESPONSES", "agent.response.>"),
        ("ORCHESTRATOR_EVENTS", "orchestration.>"),
    ] {
        mailbox
            .jetstream()
            .create_stream(stream(name, subject))
            .await
            .unwrap();
    }
    let client = async_nats::connect(nats.url()).await.unwrap();
    let mut plain = client.subscribe("ray.deliberation.started").await.unwrap();
    client.flush().await.unwrap();

    let setup = setup(&stub, &nats.url()).set("events.create_streams", "false");
    let host = setup.start().await.unwrap();
    host.client()
        .await
        .unwrap()
        .run(vote(&["answer:yes"]))
        .await
        .unwrap();
    mailbox
        .until("the other events", |messages| messages.len() == 2)
        .await;
    let message = within("a plain message", plain.next())
        .await
        .unwrap()
        .unwrap();
    let headers = message.headers.unwrap();
    assert_eq!(headers.get("Nats-Msg-Id").unwrap().as_str().len(), 64);
    let (_, status) = host.page("/readyz", "*/*").await.unwrap();
    let told =
        "ready\nno stream keeps `ray.deliberation.started`: who does not listen loses its events\n";
    assert_eq!(status, told);
    assert_eq!(
        mailbox.streams().await,
        ["AGENT_RESPONSES", "ORCHESTRATOR_EVENTS"]
    );
}

/// Whoever listens to the subject answers in no stream's stead: then nothing but silence tells that the
/// stream is gone.
#[tokio::test]
async fn a_stream_that_is_deleted_while_somebody_listens_is_made_again() {
    let stub = StubServer::start().await.unwrap();
    let nats = NatsServer::new().await.unwrap();
    let mailbox = Mailbox::open(&nats).await;
    let setup = setup(&stub, &nats.url()).set("events.ack_timeout_seconds", "1");
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    client.run(vote(&["answer:yes"])).await.unwrap();
    mailbox
        .until("the first events", |messages| messages.len() == 3)
        .await;
    let listener = async_nats::connect(nats.url()).await.unwrap();
    let _heard = listener.subscribe("orchestration.>").await.unwrap();
    listener.flush().await.unwrap();
    let deleted = mailbox.jetstream().delete_stream("ORCHESTRATOR_EVENTS");
    deleted.await.unwrap();

    client.run(vote(&["answer:no"])).await.unwrap();
    // Those of the first deliberation that were in the stream are gone with it.
    let messages = mailbox
        .until("the second events", |messages| messages.len() == 2 + 3)
        .await;
    let completed = "orchestration.deliberation.completed";
    let kept = subjects(&messages).into_iter();
    assert_eq!(kept.filter(|subject| *subject == completed).count(), 1);
}

#[tokio::test]
async fn progress_is_told_where_the_setting_says_so() {
    let stub = StubServer::start().await.unwrap();
    let nats = NatsServer::new().await.unwrap();
    let setup = setup(&stub, &nats.url()).set("events.progress", "true");
    let host = setup.start().await.unwrap();
    host.client()
        .await
        .unwrap()
        .run(vote(&["answer:yes", "answer:no"]))
        .await
        .unwrap();
    let mailbox = Mailbox::open(&nats).await;
    let is_progress = |subject: &str| subject.starts_with("conclave.progress.");
    let messages = mailbox
        .until("all events", |messages| messages.len() >= 4 + 2)
        .await;
    let progress: Vec<_> = messages
        .iter()
        .filter(|message| is_progress(&message.subject))
        .collect();
    assert_eq!(progress.len(), 2, "one for each sample: {messages:?}");
    for message in progress {
        assert_eq!(message.header("ce-type"), "deliberation.progress");
        assert!(message.body["payload"]["data"].is_object(), "{message:?}");
        assert_eq!(message.subject.split('.').count(), 3);
    }
}

#[tokio::test]
async fn the_stream_of_progress_that_an_earlier_version_made_keeps_no_tokens_any_more() {
    let stub = StubServer::start().await.unwrap();
    let nats = NatsServer::new().await.unwrap();
    let mailbox = Mailbox::open(&nats).await;
    let before = stream("CONCLAVE_PROGRESS", "conclave.progress.>");
    mailbox.jetstream().create_stream(before).await.unwrap();
    let setup = setup(&stub, &nats.url()).set("events.progress", "true");
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    client.run(vote(&["answer:yes"])).await.unwrap();
    mailbox
        .until("all events", |messages| messages.len() > 3)
        .await;
    let after = mailbox.jetstream().get_stream("CONCLAVE_PROGRESS").await;
    let after = after.unwrap();
    assert_eq!(after.cached_info().config.subjects, ["conclave.progress.*"]);
}
