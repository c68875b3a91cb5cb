//! NATS goes and comes back; the host is killed meanwhile: everything arrives, each event once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::draft::vote;
use conclave_tests::host::{Host, bare_command};
use conclave_tests::nats::{NatsPlace, NatsServer};
use conclave_tests::patience::within;
use conclave_tests::python::Venv;
use conclave_tests::stub_server::StubServer;

use crate::messages::{Mailbox, Message};
use crate::{host, setup};

const DELIBERATIONS: usize = 12;

/// A start, three agents and an end.
const EVENTS: usize = 5;

async fn start_all(host: &Host) -> Vec<String> {
    let client = host.client().await.unwrap();
    let mut uids = Vec::new();
    for _ in 0..DELIBERATIONS {
        let asked = vote(&["answer:yes", "answer:yes", "answer:no"]);
        uids.push(client.create(asked).await.unwrap().uid);
    }
    uids
}

async fn finish_all(host: &Host, uids: &[String]) {
    let client = host.client().await.unwrap();
    for uid in uids {
        let done = client.wait(uid).await.unwrap();
        assert_eq!(done.state(), State::Completed);
    }
}

/// The messages of each deliberation, once all have arrived; each event is there once.
async fn all_arrive(nats: &NatsServer, uids: &[String]) {
    let mailbox = Mailbox::open(nats).await;
    let whole = |messages: &[Message]| {
        let keys: BTreeSet<_> = messages.iter().map(Message::key).collect();
        keys.len() >= uids.len() * EVENTS
    };
    let messages = mailbox
        .until("the events of all deliberations", whole)
        .await;
    let mut by_uid: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for message in &messages {
        let keys = by_uid.entry(message.deliberation()).or_default();
        *keys.entry(message.key()).or_default() += 1;
    }
    assert_eq!(by_uid.len(), uids.len());
    for uid in uids {
        let keys = &by_uid[uid.as_str()];
        assert_eq!(keys.len(), EVENTS, "{uid}: {keys:?}");
        assert!(keys.values().all(|count| *count == 1), "{uid}: {keys:?}");
    }
}

/// What the older API says of the host.
async fn status(host: &Host) -> String {
    let venv = tokio::task::spawn_blocking(Venv::ready)
        .await
        .unwrap()
        .unwrap();
    let mut command = bare_command(&venv.program("grpcurl"));
    command.args(["-plaintext", "-d", "{}"]);
    command.arg(host.grpc_addr().to_string());
    command.arg("ray_executor.v1.RayExecutorService/GetStatus");
    let ran = tokio::task::spawn_blocking(move || command.output());
    let ran = within("grpcurl", ran).await.unwrap().unwrap().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    told["status"].as_str().unwrap_or_default().to_owned()
}

async fn until_status(host: &Host, wanted: &str) {
    let waited = async {
        while status(host).await != wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(wanted, waited).await.unwrap();
}

#[tokio::test]
async fn events_of_an_outage_arrive_after_it_each_once() {
    let stub = StubServer::start().await.unwrap();
    stub.hold();
    let nats = NatsServer::new().await.unwrap();
    let host = host(&stub, &nats.url()).await;
    let uids = start_all(&host).await;
    // Some starts are told, and some ends happen while there is nobody to tell.
    let mailbox = Mailbox::open(&nats).await;
    mailbox
        .until("some starts", |messages| messages.len() >= 3)
        .await;
    let place = nats.stop().await.unwrap();
    until_status(&host, "degraded").await;
    stub.release();
    finish_all(&host, &uids).await;
    let nats = place.start().await.unwrap();
    all_arrive(&nats, &uids).await;
    until_status(&host, "healthy").await;
}

#[tokio::test]
async fn a_host_that_is_killed_in_an_outage_tells_all_after_its_restart() {
    let stub = StubServer::start().await.unwrap();
    let place = NatsPlace::new().unwrap();
    // It starts without NATS.
    let host = host(&stub, &place.url()).await;
    let uids = start_all(&host).await;
    finish_all(&host, &uids).await;
    let again = host.kill().unwrap();
    let nats = place.start().await.unwrap();
    let host = again.start().await.unwrap();
    all_arrive(&nats, &uids).await;
    drop(host);
}

#[tokio::test]
async fn what_a_kill_cut_off_is_told_as_the_same_events() {
    let stub = StubServer::start().await.unwrap();
    stub.hold();
    let nats = NatsServer::new().await.unwrap();
    let host = setup(&stub, &nats.url()).start().await.unwrap();
    let uids = start_all(&host).await;
    let mailbox = Mailbox::open(&nats).await;
    mailbox
        .until("all starts", |messages| messages.len() >= DELIBERATIONS)
        .await;
    let host = host.kill().unwrap().start().await.unwrap();
    stub.release();
    finish_all(&host, &uids).await;
    all_arrive(&nats, &uids).await;
    // A stop tells what is owed first.
    let more = start_all(&host).await;
    finish_all(&host, &more).await;
    host.stop().await.unwrap();
    let all: Vec<_> = uids.into_iter().chain(more).collect();
    all_arrive(&nats, &all).await;
}
