//! Work that nobody waits for any more is ended, wherever it is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_tests::nats::NatsServer;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;

use crate::fake::{Fake, MODEL};
use crate::proxy::Proxy;
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

#[tokio::test]
async fn a_cancel_that_failed_is_carried_out_while_others_come() {
    let nats = NatsServer::new().await.unwrap();
    let proxy = Proxy::new(&nats.url()).await;
    let host = Host::new(&proxy.url()).await;
    let mut fake = Fake::new(&nats.url()).await;
    let running = (1..=60).map(|job| host.begin(errand(MODEL, "tiny", job)));
    let mut running = running.collect::<Vec<_>>().into_iter();
    fake.until_depth(60).await;
    proxy.cut();
    host.until("the cut", |view| !view.ready).await;
    running.next().unwrap().cancel();
    until("the drop", || host.view().waiting == 59).await;
    let mut told = Vec::new();
    for (number, one) in running.enumerate() {
        one.cancel();
        if number == 5 {
            proxy.mend();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        while let Some(Some(cancel)) = fake.cancels.next().now_or_never() {
            told.extend_from_slice(&cancel.payload);
        }
        if String::from_utf8_lossy(&told).contains("deliberation-contract-1-0") {
            return;
        }
    }
    unreachable!("the first cancel waits for the others to end");
}
