//! NATS comes late, goes away, comes back, and forgets.

use std::sync::atomic::Ordering;

use conclave::pool::HostId;
use conclave_core::inference::Error;
use conclave_tests::nats::{NatsPlace, NatsServer};

use crate::fake::{Fake, MODEL};
use crate::proxy::Proxy;
use crate::rig::{Host, cluster, errand, until};

#[tokio::test]
async fn work_waits_a_while_for_nats_and_fails_without_it() {
    let place = NatsPlace::new().unwrap();
    let host = Host::new(&place.url()).await;
    let waiting = host.begin(errand(MODEL, "tiny", 1));
    let nats = place.start().await.unwrap();
    let fake = Fake::new(&nats.url()).await;
    fake.take().await.answer("at last").await;
    assert_eq!(waiting.answer().await.text, "at last");

    let _place = nats.stop().await.unwrap();
    host.until("the loss of NATS", |view| !view.ready).await;
    let error = host.begin(errand(MODEL, "tiny", 2)).error().await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.is_retryable());
    // Nothing of it was queued, and nothing is cancelled.
    assert_eq!(host.counts().published.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_result_that_came_while_the_host_was_cut_off_is_found() {
    let nats = NatsServer::new().await.unwrap();
    let proxy = Proxy::new(&nats.url()).await;
    let host = Host::new(&proxy.url()).await;
    let fake = Fake::new(&nats.url()).await;
    let running = host.begin(errand(MODEL, "tiny", 1));
    let work = fake.take().await;
    proxy.cut();
    host.until("the cut", |view| !view.ready).await;
    work.answer("meanwhile").await;
    proxy.mend();
    assert_eq!(running.answer().await.text, "meanwhile");
    assert_eq!(host.counts().found.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_dropped_while_the_host_is_cut_off_is_cancelled_afterwards() {
    let nats = NatsServer::new().await.unwrap();
    let proxy = Proxy::new(&nats.url()).await;
    let host = Host::new(&proxy.url()).await;
    let mut fake = Fake::new(&nats.url()).await;
    let running = host.begin(errand(MODEL, "tiny", 1));
    let work = fake.take().await;
    proxy.cut();
    host.until("the cut", |view| !view.ready).await;
    running.cancel();
    until("the drop", || host.view().waiting == 0).await;
    proxy.mend();
    assert_eq!(fake.cancelled().await[0], work.id());
    fake.until_depth(0).await;
}

#[tokio::test]
async fn a_server_that_has_lost_its_store_is_given_its_streams_again_and_the_work_fails() {
    let place = NatsPlace::new().unwrap();
    let nats = place.start().await.unwrap();
    let host = Host::with(&place.url(), &HostId::generate().unwrap(), cluster()).await;
    let fake = Fake::new(&place.url()).await;
    let running = host.begin(errand(MODEL, "tiny", 1));
    fake.until_depth(1).await;
    let place = nats.stop().await.unwrap();
    place.forget().unwrap();
    let _nats = place.start().await.unwrap();
    let error = running.error().await;
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(why, "queue `pool` of cluster `east` has lost the work");
    assert!(error.is_retryable());
    let fake = Fake::new(&place.url()).await;
    let running = host.begin(errand(MODEL, "tiny", 2));
    fake.take().await.answer("yes").await;
    assert_eq!(running.answer().await.text, "yes");
}

#[tokio::test]
async fn work_survives_a_restart_of_nats() {
    let nats = NatsServer::new().await.unwrap();
    let host = Host::new(&nats.url()).await;
    let fake = Fake::new(&nats.url()).await;
    let running = host.begin(errand(MODEL, "tiny", 1));
    fake.until_depth(1).await;
    let nats = nats.stop().await.unwrap().start().await.unwrap();
    let fake = Fake::new(&nats.url()).await;
    fake.take().await.answer("still").await;
    assert_eq!(running.answer().await.text, "still");
}
