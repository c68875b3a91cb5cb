//! Work that nobody waits for any more is ended, wherever it is.

use std::sync::atomic::Ordering;

use conclave_tests::nats::NatsServer;
use serde_json::json;

use crate::fake::{Fake, MODEL};
use crate::rig::{Host, errand, until};

#[tokio::test]
async fn what_is_dropped_is_cancelled_and_taken_out_of_its_queue() {
    let nats = NatsServer::new().await.unwrap();
    let host = Host::new(&nats.url()).await;
    let mut fake = Fake::new(&nats.url()).await;
    let (queued, kept) = (
        host.begin(errand(MODEL, "tiny", 1)),
        host.begin(errand(MODEL, "tiny", 2)),
    );
    fake.until_depth(2).await;
    queued.cancel();
    assert_eq!(fake.cancelled().await, json!(["deliberation-contract-1-0"]));
    fake.until_depth(1).await;

    let work = fake.take().await;
    assert_eq!(work.id(), "deliberation-contract-2-0");
    work.start().await;
    kept.heard.until_placed().await;
    kept.cancel();
    assert_eq!(fake.cancelled().await, json!(["deliberation-contract-2-0"]));
    fake.until_depth(0).await;
    // What the executor says of its end is for nobody.
    work.store(json!({"outcome": "cancelled", "reason": "host"}))
        .await;
    let counts = host.counts();
    until("the end of the cancelled work", || {
        counts.duplicates.load(Ordering::Relaxed) == 1
    })
    .await;
    assert_eq!(counts.cancelled.load(Ordering::Relaxed), 2);
    assert_eq!(host.view().waiting, 0);
}

#[tokio::test]
async fn executors_that_ask_are_told_what_is_waited_for_and_what_was_given_up() {
    let nats = NatsServer::new().await.unwrap();
    let host = Host::new(&nats.url()).await;
    let fake = Fake::new(&nats.url()).await;
    let running = host.begin(errand(MODEL, "tiny", 1));
    let work = fake.take().await;
    assert_eq!(fake.ask(work.id()).await.as_deref(), Some("run"));
    running.cancel();
    fake.until_depth(0).await;
    assert_eq!(fake.ask(work.id()).await.as_deref(), Some("drop"));
    assert_eq!(fake.ask("deliberation-of-another-host-1-0").await, None);
    assert_eq!(host.counts().redeliveries.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_host_that_stops_carries_out_what_it_was_told_to_cancel() {
    let nats = NatsServer::new().await.unwrap();
    let host = Host::new(&nats.url()).await;
    let fake = Fake::new(&nats.url()).await;
    let running = (1..=300).map(|job| host.begin(errand(MODEL, "tiny", job)));
    let running = running.collect();
    fake.until_depth(300).await;
    host.stop(running).await;
    assert_eq!(fake.depth().await, 0);
}
