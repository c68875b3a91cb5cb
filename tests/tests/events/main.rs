//! What the host tells others of deliberations, on a real NATS server and on its page `/events`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod messages;
mod outage;
mod page;
mod streams;

use std::collections::BTreeSet;

use conclave_tests::draft::{Change as _, draft, vote};
use conclave_tests::host::{Host, Setup};
use conclave_tests::nats::NatsServer;
use conclave_tests::patience::within;
use conclave_tests::python::{Venv, sources};
use conclave_tests::stub_server::StubServer;
use serde_json::json;

use crate::messages::{Mailbox, Message, one_of, subjects};

/// What a vote of three agents tells, of which one fails.
const ALL: [&str; 5] = [
    "ray.deliberation.started",
    "agent.response.completed",
    "agent.response.completed",
    "agent.response.failed",
    "orchestration.deliberation.completed",
];

async fn host(stub: &StubServer, nats_url: &str) -> Host {
    setup(stub, nats_url).start().await.unwrap()
}

fn setup(stub: &StubServer, nats_url: &str) -> Setup {
    Setup::asking(stub)
        .unwrap()
        .set("events.nats_url", nats_url)
}

#[tokio::test]
async fn a_vote_is_told_with_all_headers_and_a_message_for_each_agent() {
    let stub = StubServer::start().await.unwrap();
    let nats = NatsServer::new().await.unwrap();
    let host = host(&stub, &nats.url()).await;
    let client = host.client().await.unwrap();
    let asked = vote(&["answer:yes", "answer:yes", "unknown"]).task(|task| {
        let metadata = [("story_id", "ST-1"), ("plan_id", "p-1")];
        task.metadata = metadata
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
    });
    let done = client.run(asked).await.unwrap();

    let mailbox = Mailbox::open(&nats).await;
    let mut messages = mailbox
        .until("all events", |messages| messages.len() >= ALL.len())
        .await;
    messages.retain(|message| message.deliberation() == done.uid);
    assert_eq!(
        subjects(&messages),
        BTreeSet::from(ALL).into_iter().collect::<Vec<_>>()
    );
    let mut keys = BTreeSet::new();
    for message in &messages {
        let body = &message.body;
        let key = body["idempotency_key"].as_str().unwrap();
        assert_eq!(key.len(), 64);
        keys.insert(key);
        assert_eq!(message.header("Nats-Msg-Id"), key);
        assert_eq!(message.header("ce-id"), key);
        assert_eq!(message.header("ce-type"), body["event_type"]);
        assert_eq!(message.header("ce-time"), body["timestamp"]);
        assert_eq!(message.header("ce-specversion"), "1.0");
        assert_eq!(message.header("ce-source"), "/ray-executor");
        assert_eq!(message.header("traceparent").len(), 55);
        assert_eq!(body["producer"], "ray-executor");
        assert_eq!(body["correlation_id"], done.uid);
        assert_eq!(body["metadata"], json!({}));
    }
    assert_eq!(keys.len(), ALL.len());

    let answered = one_of(&messages, |message| {
        message.body["payload"]["agent_id"] == "a"
    });
    let payload = &answered.body["payload"];
    assert_eq!(
        (
            &payload["proposal"]["content"],
            &payload["num_agents"],
            &payload["success"]
        ),
        (&json!("yes"), &json!(3), &json!(true))
    );
    assert_eq!(
        (
            &payload["constraints"]["story_id"],
            &payload["constraints"]["plan_id"]
        ),
        (&json!("ST-1"), &json!("p-1"))
    );
    assert!(
        payload["proposal"]["tokens"].as_u64() > Some(0),
        "{payload}"
    );
    let failed = one_of(&messages, |message| {
        message.subject == "agent.response.failed"
    });
    let payload = &failed.body["payload"];
    assert_eq!(
        (
            &payload["agent_id"],
            &payload["error_type"],
            &payload["num_agents"]
        ),
        (&json!("c"), &json!("rejected"), &json!(3))
    );
    assert!(!payload["error"].as_str().unwrap().is_empty());
    let end = one_of(&messages, |message| {
        message.subject == "orchestration.deliberation.completed"
    });
    assert_eq!(end.body["payload"]["result"]["proposal"], "yes");
}

#[tokio::test]
async fn a_cancelled_deliberation_tells_each_agent_as_cancelled() {
    let stub = StubServer::start().await.unwrap();
    stub.hold();
    let nats = NatsServer::new().await.unwrap();
    let host = host(&stub, &nats.url()).await;
    let client = host.client().await.unwrap();
    let created = client
        .create(vote(&["answer:a", "answer:b"]))
        .await
        .unwrap();
    within(
        "the generations",
        stub.until(|requests| requests.len() == 2),
    )
    .await
    .unwrap();
    client.cancel(&created.uid, "too late").await.unwrap();

    let mailbox = Mailbox::open(&nats).await;
    let messages = mailbox
        .until("all events", |messages| messages.len() == 4)
        .await;
    let agents: Vec<_> = messages
        .iter()
        .filter(|message| message.subject == "agent.response.failed")
        .collect();
    assert_eq!(agents.len(), 2);
    for agent in agents {
        let payload = &agent.body["payload"];
        assert_eq!(
            (
                &payload["error_type"],
                &payload["error"],
                &payload["num_agents"]
            ),
            (
                &json!("cancelled"),
                &json!("cancelled: too late"),
                &json!(2)
            )
        );
    }
    let end = one_of(&messages, |message| {
        message.subject == "orchestration.deliberation.failed"
    });
    assert_eq!(end.body["payload"]["error"], "cancelled: too late");
}

#[tokio::test]
async fn a_list_of_tasks_is_checked_before_it_is_told() {
    let stub = StubServer::start().await.unwrap();
    let nats = NatsServer::new().await.unwrap();
    let host = host(&stub, &nats.url()).await;
    let client = host.client().await.unwrap();
    let sound = r#"answer:{"tasks":[{"title":"T","description":"D","estimated_hours":8,"deliberation_indices":[0],"priority":1}]}"#;
    for model in [sound, "answer:no JSON"] {
        let asked = draft(&[model]).strategy(
            "sample-vote",
            json!({"samples": 1, "stop": {"rule": "none"}}),
        );
        let asked = asked.task(|task| task.id = "ceremony-C:story-S:task-extraction".to_owned());
        client.run(asked).await.unwrap();
    }
    let mailbox = Mailbox::open(&nats).await;
    let messages = mailbox
        .until("all events", |messages| messages.len() == 6)
        .await;
    let told = one_of(&messages, |message| {
        message.subject == "agent.response.completed.task-extraction"
    });
    assert_eq!(told.body["payload"]["tasks"][0]["estimated_hours"], 8);
    assert_eq!(told.body["payload"]["ceremony_id"], "C");
    let failed = one_of(&messages, |message| {
        message.subject == "agent.response.failed"
    });
    assert_eq!(failed.body["payload"]["error_type"], "invalid_output");
}

#[tokio::test]
async fn a_python_consumer_counts_to_the_number_of_agents() {
    let stub = StubServer::start().await.unwrap();
    let nats = NatsServer::new().await.unwrap();
    let host = host(&stub, &nats.url()).await;
    let client = host.client().await.unwrap();
    client
        .run(vote(&["answer:yes", "unknown", "answer:no"]))
        .await
        .unwrap();
    let mailbox = Mailbox::open(&nats).await;
    mailbox
        .until("all events", |messages: &[Message]| {
            messages.len() == ALL.len()
        })
        .await;

    let venv = tokio::task::spawn_blocking(Venv::ready)
        .await
        .unwrap()
        .unwrap();
    let mut consumer = std::process::Command::new(venv.program("python"));
    consumer
        .arg(sources().join("count_agents.py"))
        .arg(nats.url());
    let ended = tokio::task::spawn_blocking(move || consumer.output());
    let ran = within("the consumer", ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}");
    let counted = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(counted.trim(), "task-1: 2 completed, 1 failed of 3");
}
