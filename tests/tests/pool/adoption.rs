//! A host that was killed finds its work again.

use std::sync::atomic::Ordering;

use conclave::errand::Errand;
use conclave::pool::{HostId, Queue};
use conclave_tests::nats::NatsServer;
use serde_json::json;

use crate::fake::{Fake, MODEL, Taken, answered};
use crate::rig::{CLUSTER, Host, cluster, errand, resumed};

/// A server with work that was taken by an executor, of a host that was killed since.
struct Orphaned {
    nats: NatsServer,
    fake: Fake,
    work: Taken,
    id: HostId,
}

impl Orphaned {
    async fn new(queue: Queue) -> Self {
        let nats = NatsServer::new().await.unwrap();
        let id = HostId::generate().unwrap();
        let host = Host::with(&nats.url(), &id, cluster()).await;
        let fake = Fake::of(&nats.url(), queue.as_str()).await;
        let running = host.begin_in(queue, errand(MODEL, "tiny", 1));
        let work = fake.take().await;
        host.kill(running).await;
        assert_eq!(fake.depth().await, 1, "it is not cancelled");
        Self {
            nats,
            fake,
            work,
            id,
        }
    }

    async fn restart(&self) -> Host {
        Host::with(&self.nats.url(), &self.id, cluster()).await
    }
}

#[tokio::test]
async fn work_that_runs_is_found_and_not_run_twice() {
    let orphaned = Orphaned::new(Queue::pool()).await;
    let host = orphaned.restart().await;
    let running = host.begin(resumed(MODEL, "tiny", 1));
    let id = orphaned.work.id().to_owned();
    // The executor's list tells where it runs: its first message is gone.
    host.until("NATS", |view| view.ready && view.waiting == 1)
        .await;
    orphaned.fake.beat(&[&id]).await;
    running.heard.until_placed().await;
    assert_eq!(orphaned.fake.depth().await, 1, "it is queued once");
    orphaned.work.answer("It is").await;
    let heard = running.heard.clone();
    assert_eq!(running.answer().await.text, "It is");
    assert_eq!(heard.tokens(), [(0, 1, "It is".to_owned())]);
    let counts = host.counts();
    assert_eq!(counts.adopted.load(Ordering::Relaxed), 1);
    assert_eq!(counts.published.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn work_that_has_ended_meanwhile_is_found() {
    let orphaned = Orphaned::new(Queue::pool()).await;
    orphaned.work.answer("It was").await;
    let host = Host::with(&orphaned.nats.url(), &orphaned.id, cluster()).await;
    let running = host.begin(resumed(MODEL, "tiny", 1));
    assert_eq!(running.answer().await.text, "It was");
    assert_eq!(orphaned.fake.depth().await, 0);
    assert_eq!(host.counts().published.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn work_that_was_cancelled_before_is_run_afresh() {
    let orphaned = Orphaned::new(Queue::pool()).await;
    let cancelled = json!({"outcome": "cancelled", "reason": "host"});
    orphaned.work.end(cancelled).await;
    let host = Host::with(&orphaned.nats.url(), &orphaned.id, cluster()).await;
    let running = host.begin(resumed(MODEL, "tiny", 1));
    orphaned.fake.take().await.answer("anew").await;
    assert_eq!(running.answer().await.text, "anew");
}

#[tokio::test]
async fn another_attempt_is_other_work() {
    let orphaned = Orphaned::new(Queue::pool()).await;
    let host = orphaned.restart().await;
    let mut retry = errand(MODEL, "tiny", 1);
    (retry.request.id.attempt, retry.request.retries) = (2, 1);
    let running = host.begin(retry);
    let work = orphaned.fake.take().await;
    assert_eq!(work.id(), "deliberation-contract-1-1");
    work.answer("anew").await;
    assert_eq!(running.answer().await.text, "anew");
}

#[tokio::test]
async fn work_of_a_wave_that_nobody_serves_any_more_is_moved() {
    let old = Queue::wave("old").unwrap();
    let orphaned = Orphaned::new(old).await;
    let host = orphaned.restart().await;
    let fake = Fake::of(&orphaned.nats.url(), "wave-new").await;
    let running = host.begin_in(Queue::wave("new").unwrap(), resumed(MODEL, "tiny", 1));
    fake.take().await.answer("moved").await;
    assert_eq!(running.answer().await.text, "moved");
    fake.until_depth(0).await;
}

#[tokio::test]
async fn work_of_a_wave_that_is_served_still_is_waited_for() {
    let old = Queue::wave("old").unwrap();
    let orphaned = Orphaned::new(old).await;
    let host = orphaned.restart().await;
    let running = host.begin_in(Queue::wave("new").unwrap(), resumed(MODEL, "tiny", 1));
    host.until("NATS", |view| view.ready && view.waiting == 1)
        .await;
    orphaned.fake.beat(&[orphaned.work.id()]).await;
    running.heard.until_placed().await;
    orphaned.work.end(answered(&["there"])).await;
    assert_eq!(running.answer().await.text, "there");
    assert_eq!(host.counts().adopted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_cluster_is_known_that_holds_what_a_host_has_left() {
    let orphaned = Orphaned::new(Queue::pool()).await;
    let host = orphaned.restart().await;
    let holder = async |errand: Errand| {
        let holder = host.pool.holder(&errand.request, errand.choices).await;
        holder.map(str::to_owned)
    };
    let left = || resumed(MODEL, "tiny", 1);
    assert_eq!(holder(left()).await.as_deref(), Some(CLUSTER));
    assert_eq!(holder(resumed(MODEL, "tiny", 2)).await, None);
    assert_eq!(holder(errand(MODEL, "tiny", 1)).await, None, "it is new");
    orphaned.work.answer("It is").await;
    orphaned.fake.until_depth(0).await;
    assert_eq!(holder(left()).await.as_deref(), Some(CLUSTER), "its result");
}

#[tokio::test]
async fn work_that_nobody_asks_for_any_more_is_cancelled() {
    let nats = NatsServer::new().await.unwrap();
    let id = HostId::generate().unwrap();
    let (host, other) = (
        Host::with(&nats.url(), &id, cluster()).await,
        Host::new(&nats.url()).await,
    );
    let mut fake = Fake::new(&nats.url()).await;
    let [first, _second, _third] = [1, 2, 3].map(|job| host.begin(errand(MODEL, "tiny", job)));
    let _of_another = other.begin(errand(MODEL, "tiny", 9));
    fake.until_depth(4).await;
    host.kill(first).await;

    let host = Host::with(&nats.url(), &id, cluster()).await;
    let new = host.begin(errand(MODEL, "tiny", 4));
    fake.until_depth(5).await;
    host.cancel_orphans(&["deliberation-contract-2-0"]);
    fake.until_depth(3).await;
    let mut cancelled = Vec::new();
    while cancelled.len() < 2 {
        let ids = fake.cancelled().await;
        cancelled.extend(ids.as_array().unwrap().iter().cloned());
    }
    cancelled.sort_by_key(ToString::to_string);
    let orphans = ["deliberation-contract-1-0", "deliberation-contract-3-0"];
    assert_eq!(cancelled, orphans);
    assert_eq!(fake.ask(orphans[0]).await.as_deref(), Some("drop"));

    // What is asked for is found, and what is new is let be.
    let running = host.begin(resumed(MODEL, "tiny", 2));
    for _ in 0..3 {
        let work = fake.take().await;
        let id = work.id().to_owned();
        work.answer(&id).await;
    }
    assert_eq!(running.answer().await.text, "deliberation-contract-2-0");
    assert_eq!(new.answer().await.text, "deliberation-contract-4-0");
    assert_eq!(host.counts().adopted.load(Ordering::Relaxed), 1);
}
