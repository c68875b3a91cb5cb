//! NATS comes late, goes away, comes back, and forgets.

use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave::pool::{ClusterSettings, HostId};
use conclave_core::inference::Error;
use conclave_tests::nats::{NatsPlace, NatsServer};

use crate::fake::{Fake, MODEL};
use crate::proxy::Proxy;
use crate::rig::{Host, cluster, errand, resumed, until};

#[tokio::test]
async fn without_nats_work_waits_a_while_and_is_told_to_come_back() {
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
    assert!(matches!(error, Error::NoServer { .. }), "{error:?}");
    assert!(error.is_retryable() && error.retry_after().is_some());
    // Nothing of it was queued, and nothing is cancelled.
    assert_eq!(host.counts().published.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn queued_work_waits_for_as_long_as_nats_is_away() {
    let silence = Duration::from_secs(1);
    let settings = ClusterSettings {
        silence_queued: silence,
        silence_running: silence,
        ..cluster()
    };
    let nats = NatsServer::new().await.unwrap();
    let host = Host::with(&nats.url(), &HostId::generate().unwrap(), settings).await;
    let fake = Fake::new(&nats.url()).await;
    fake.beat(&[]).await;
    host.until("the actor", |view| view.actors.len() == 1).await;
    let running = host.begin(errand(MODEL, "tiny", 1));
    fake.until_depth(1).await;
    let place = nats.stop().await.unwrap();
    host.until("the loss of NATS", |view| !view.ready).await;
    tokio::time::sleep(silence * 3).await;
    assert_eq!(host.view().waiting, 1);
    let nats = place.start().await.unwrap();
    let fake = Fake::new(&nats.url()).await;
    fake.take().await.answer("still").await;
    assert_eq!(running.answer().await.text, "still");
}

#[tokio::test]
async fn what_a_host_before_had_queued_is_found_though_nats_comes_late() {
    let nats = NatsServer::new().await.unwrap();
    let id = HostId::generate().unwrap();
    let host = Host::with(&nats.url(), &id, cluster()).await;
    let fake = Fake::new(&nats.url()).await;
    let running = host.begin(errand(MODEL, "tiny", 1));
    fake.until_depth(1).await;
    host.kill(running).await;
    let place = nats.stop().await.unwrap();

    let host = Host::with(&place.url(), &id, cluster()).await;
    let error = host.begin(resumed(MODEL, "tiny", 1)).error().await;
    assert!(matches!(error, Error::NoServer { .. }), "{error:?}");
    let nats = place.start().await.unwrap();
    let fake = Fake::new(&nats.url()).await;
    let running = host.begin(resumed(MODEL, "tiny", 1));
    fake.take().await.answer("found").await;
    assert_eq!(running.answer().await.text, "found");
    let counts = host.counts();
    assert_eq!(counts.adopted.load(Ordering::Relaxed), 1);
    assert_eq!(counts.cancelled.load(Ordering::Relaxed), 0);
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
